"""Notes of the recovery commands: what they write into journals and dead letters for the audit."""

import json

from msgspec import Struct, field
from msgspec.json import Decoder
from msgspec.structs import asdict

SKIPPED = "skipped"
"""Reason code of the notice of ``payments journal skip``: no record was dead-lettered."""


class JournalNote(Struct, frozen=True):
    """A journal that does not continue from its topics as they are: what ``payments verify`` needs.

    A later note replaces an earlier one, whose results are all earlier too.
    """

    base: int
    """Commit number from which the journal counts."""

    copied: bool
    """Whether the topics were copied, so that earlier results name other addresses."""

    former_topic: str | None
    """Name that the commands topic had before; None for the same."""

    commands_before: int
    """Commands before this offset are copies."""

    commands_are_gone: bool = False
    """Whether all commands of earlier commits were deleted. Not in notes of earlier versions."""


def note_without_commands(base: int, commands_before: int) -> JournalNote:
    """Return the note that the commands of results before commit ``base`` are gone."""
    return JournalNote(
        base=base,
        copied=False,
        former_topic=None,
        commands_before=commands_before,
        commands_are_gone=True,
    )


def encode_note(note: JournalNote) -> bytes:
    """Return the value of a note's record."""
    return json.dumps(asdict(note)).encode()


decode_note = Decoder(JournalNote).decode


class SkippedRange(Struct, frozen=True):
    """Offsets of an input that were given up."""

    first: int = field(name="from")
    end: int = field(name="to")
    """Offset after the last one."""


class _SkipNotice(Struct, frozen=True):
    skipped: SkippedRange


def encode_skip_notice(first: int, end: int) -> bytes:
    """Return the value of the notice that ``first`` to before ``end`` were given up."""
    return b'{"skipped": {"from": %d, "to": %d}}' % (first, end)


_decode_skip_notice = Decoder(_SkipNotice).decode


def decode_skip_notice(value: bytes) -> SkippedRange:
    """Return the range that a notice names. Raises ``msgspec.DecodeError`` for another record."""
    return _decode_skip_notice(value).skipped
