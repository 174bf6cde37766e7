"""Numbering: the name of a command without an id of its own, also in copied topics.

Such a command is named by its record address. Where the topics were copied and the journals rebuilt
from them (``payments rebuild --copied``), earlier results name addresses of the former topic:
commands of that time are matched by their payment only. The rebuilt journals have a note of it.
Where the commands topic was recreated (``payments journal adopt``), the commands of earlier results
are gone, and the journals have a note of that: earlier results can't be matched with commands.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

COPIED = "\0copied"
"""Name of every copied command without an id of its own; no id begins with a zero byte."""


@dataclass(frozen=True, slots=True)
class _Note:
    base: int
    """Commit number from which the rebuilt journal counts."""

    before: int
    """Commands before this offset are copies."""

    former: str
    """Name that the commands topic had before."""

    commands_are_gone: bool
    """Whether all commands of earlier commits were deleted with their topic."""


class Numbering:
    """Knows which commands are copies."""

    def __init__(self, commands: str) -> None:
        self._commands = commands
        self._notes: dict[int, _Note] = {}

    def note(self, partition: int, value: bytes) -> None:
        """Take a journal's note. Raises ``ValueError`` when it is something else."""
        fields: Any = json.loads(value)
        try:
            gone = fields.get("commands_are_gone", False)
            if fields["copied"] or gone:
                former = fields["former_topic"] or self._commands
                before = fields["commands_before"]
                self._notes[partition] = _Note(fields["base"], before, former, gone)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(repr(error)) from error

    @property
    def lacks_commands(self) -> bool:
        """Whether commands were deleted with their topic."""
        return any(note.commands_are_gone for note in self._notes.values())

    def is_copy(self, partition: int, offset: int) -> bool:
        """Whether a command came with a copy."""
        note = self._notes.get(partition)
        return note is not None and offset < note.before

    def command(self, own: str | None, partition: int, offset: int) -> str:
        """Return the name of a command with this id of its own, or with none."""
        note = self._notes.get(partition)
        if note is not None and offset < note.before and (own is None or note.commands_are_gone):
            return COPIED
        return own or f"{self._commands}/{partition}/{offset}"

    def answered(self, own: str, journal: int, commit: int | None) -> str:
        """Return the name of the command that a result of a commit answers.

        ``journal`` is the partition of the result; ``commit`` is None for a command that waits.
        """
        if not self._notes:
            return own
        note = self._notes.get(journal)
        if (
            note is not None
            and note.commands_are_gone
            and commit is not None
            and commit < note.base
        ):
            return COPIED
        found = re.fullmatch(r"(.+)/(\d+)/(\d+)", own)
        if found is None:
            return own
        return COPIED if self._names_copy(found, journal, commit) else own

    def _names_copy(self, found: "re.Match[str]", journal: int, commit: int | None) -> bool:
        topic, partition, offset = found[1], int(found[2]), int(found[3])
        note = self._notes.get(journal)
        if note is not None and commit is not None and commit < note.base:
            return topic == note.former
        return topic == self._commands and self.is_copy(partition, offset)

    def letter_names_copy(self, place: str, journal: int, commit: int) -> bool:
        """Whether a dead letter of a commit is that of a copied command."""
        return self.answered(place, journal, commit) == COPIED
