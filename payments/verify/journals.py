"""Journals: the consistent snapshot that each journal's checkpoints define.

The snapshot of a partition is the end of its journal. Everything decided by then is in its rows.
Its outputs are those that were published with an output id up to the last commit, and those that
the last checkpoints hold and that are not published yet. So tables and public topics can be
compared exactly while workers run.
"""

import re
from dataclasses import dataclass, field

from exactstage import Record
from exactstage.errors import JournalBroken
from exactstage.inspection import (
    FENCE_KEY,
    MOVED_KEY,
    NOTE_KEY,
    RESERVED,
    Checkpoint,
    Output,
    OutputId,
    decode_checkpoint,
)

from .findings import Findings, Kind, Place
from .numbering import Numbering

_HEAD = re.compile(rb'\{"n":(\d+),"published":(\d+),')


@dataclass(slots=True)
class Snapshot:
    """State of one journal at its end."""

    n: int = 0
    """The last commit that was journalled."""

    inputs: dict[str, int] = field(default_factory=dict)
    """Next offset to handle, by input topic."""

    unpublished: list[tuple[OutputId, Output]] = field(default_factory=list)
    """Outputs that may not be in their topics yet."""

    time_ms: int = 0
    """When the last checkpoint was appended, by the broker's clock."""

    def handled(self, topic: str, offset: int) -> bool:
        """Whether the record at ``offset`` was decided or forwarded before the snapshot."""
        return offset < self.inputs.get(topic, 0)


class Checkpoints:
    """Keeps the last checkpoints of one stage's journals."""

    def __init__(self, findings: Findings, numbering: Numbering) -> None:
        self._findings, self._numbering = findings, numbering
        self._malformed: dict[tuple[int, bytes], Place] = {}
        """Last record of a partition and key, where that is no checkpoint's."""
        self._kept: dict[int, dict[int, Record]] = {}
        """By partition: the last checkpoint, and those that it does not call published."""

    def take(self, record: Record) -> bool:
        """Note a record of the engine's own; False when it is a row."""
        key, value = record.key, record.value
        if key is None or key[:1] != RESERVED:
            return False
        if self._malformed:
            self._malformed.pop((record.partition, key), None)  # A later record undoes it.
        if key in {FENCE_KEY, MOVED_KEY} or value is None:
            return True
        if key == NOTE_KEY:
            self._note(record, value)
            return True
        head = _HEAD.match(value)
        if head is None:
            self._malformed[record.partition, key] = Place(*record[:3])
            return True
        n, published = int(head[1]), int(head[2])
        kept = self._kept.setdefault(record.partition, {})
        for number in [number for number in kept if number <= published]:
            del kept[number]
        kept[n] = record
        return True

    def judge(self) -> None:
        """Report malformed records that no later record replaced; all journals have been read."""
        for place in self._malformed.values():
            self._findings.add(Kind.MALFORMED_RECORD, place, "no checkpoint's value")

    def _note(self, record: Record, value: bytes) -> None:
        try:
            self._numbering.note(record.partition, value)
        except ValueError as error:
            message = f"the note of a rebuild can't be read: {error}"
            self._findings.add(Kind.MALFORMED_RECORD, Place(*record[:3]), message)

    def snapshot(self, partition: int) -> Snapshot:
        """Return the snapshot of a partition, whose journal has been read to its end."""
        kept = self._kept.get(partition)
        if not kept:
            return Snapshot()
        checkpoints = {n: self._decode(record) for n, record in kept.items()}
        last = checkpoints[max(kept)]
        time_ms = kept[max(kept)].timestamp
        if last is None:
            return Snapshot(max(kept), time_ms=time_ms)
        snapshot = Snapshot(last.n, last.inputs, time_ms=time_ms)
        for n in range(last.published + 1, last.n + 1):
            checkpoint = checkpoints.get(n)
            if checkpoint is not None:
                snapshot.unpublished += [
                    ((n, i), output) for i, output in enumerate(checkpoint.outputs)
                ]
            elif n not in kept:
                place = Place(*kept[last.n][:3])
                message = (
                    f"checkpoint {n} is not in the journal, and its outputs may be unpublished"
                )
                self._findings.add(Kind.JOURNAL_BROKEN, place, message)
        return snapshot

    def _decode(self, record: Record) -> Checkpoint | None:
        try:
            return decode_checkpoint(record.value or b"")
        except JournalBroken as error:
            self._findings.add(Kind.MALFORMED_RECORD, Place(*record[:3]), str(error))
            return None
