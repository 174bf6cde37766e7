r"""How the former build (0.1.0 as of 22 November 2026) reads what is in the topics: frozen.

Only its rules, as they were then; nothing of this is imported from the package. A journal's record
is a fence (key ``\0fence``), a checkpoint (``\0`` and its slot of 64), or a row (any other key). A
checkpoint is one line of JSON, a line feed, and the bytes of its outputs. The last header of a
message is ``src``, ``<stage>/<partition>/<commit>/<index>``; before it, ``origin`` marks a command
that was forwarded. A public record's first ``ce_id`` is such a position. A row is JSON with the
fields listed here.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

RING = 64
FENCE = b"\0fence"
SOURCE_ROTATION_CHECKPOINTS = 62
PAYMENT_FIELDS = {"state", "time_ms"}
ACCOUNT_FIELDS = {"balance", "sequence", "currency"}


class Entry(NamedTuple):
    """One record as it comes from a log."""

    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]


class Position(NamedTuple):
    """Where an output was made."""

    sender: str
    commit: int
    place: int


class Outputs(NamedTuple):
    """A checkpoint's fields that the former build uses."""

    n: int
    published: int
    inputs: dict[str, int]
    sources: dict[str, tuple[int, int]]
    outputs: list[tuple[Any, ...]]


def position_of(text: bytes | None) -> Position:
    """Read a position."""
    stage, partition, commit, index = (text or b"").decode().split("/")
    return Position(f"{stage}/{int(partition)}", int(commit), int(index))


def checkpoint_of(value: bytes) -> Outputs:
    """Read a checkpoint; what the former build does not know is passed over."""
    line, _, body = value.partition(b"\n")
    fields = json.loads(line)
    outputs: list[tuple[Any, ...]] = []
    at = 0

    def take(size: int | None) -> bytes | None:
        nonlocal at
        if size is None:
            return None
        piece, at = body[at : at + size], at + size
        assert len(piece) == size
        return piece

    for topic, partition, key_size, value_size, kind, time_ms, *rest in fields["outputs"]:
        key, content = take(key_size), take(value_size)
        headers = [(name, take(size)) for name, size in (rest[0] if rest else ())]
        outputs.append((topic, partition, key, content, kind, time_ms, headers))
    sources = {name: (at[0], at[1]) for name, at in fields["sources"].items()}
    return Outputs(fields["n"], fields["published"], fields["inputs"], sources, outputs)


def restore(journal: Sequence[Entry]) -> tuple[dict[bytes, dict[str, Any]], list[Outputs]]:
    """Return the rows and the checkpoints that the former build finds in a journal."""
    rows: dict[bytes, dict[str, Any]] = {}
    slots: dict[int, Outputs] = {}
    for key, value, _ in journal:
        assert key
        if key == FENCE:
            continue
        if key[:1] == b"\0":
            assert value is not None
            slots[int(key[1:])] = checkpoint_of(value)
        elif value is None:
            rows.pop(key, None)
        else:
            rows[key] = json.loads(value)
    found = sorted(slots.values(), key=lambda checkpoint: checkpoint.n)
    assert all(checkpoint.n % RING == slot for slot, checkpoint in slots.items())
    last = found[-1]
    have = {checkpoint.n for checkpoint in found}
    assert have >= set(range(last.published + 1, last.n + 1)), "it lacks checkpoints"
    return rows, found


def source_of(message: Entry) -> tuple[Position, bool]:
    """Return who sent an internal message, and whether it is a command that was forwarded."""
    *headers, (name, position) = message.headers
    assert name == "src"
    return position_of(position), bool(headers) and headers[-1][0] == "origin"


def visible_position(record: Entry) -> Position:
    """Return where a public record was made."""
    return position_of(next(value for name, value in record.headers if name == "ce_id"))
