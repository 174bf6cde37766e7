"""Inspecting: the contents of a partition's journal. Read-only; works while workers run."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from exactstage import Log, Record, Stage, TopicPartition
from exactstage.errors import JournalBroken, NewerFormat, UnreadableBatch
from exactstage.inspection import (
    FENCE_KEY,
    NOTE_KEY,
    NOTHING,
    RESERVED,
    RING,
    SOURCE_ROTATION_CHECKPOINTS,
    Checkpoint,
    Identity,
    Tail,
    decode_checkpoint,
    is_removal,
    read_ranges,
    read_tails,
)
from exactstage.log import Bounds

MAX_FOREIGN_KEPT = 100
"""Foreign records that are named one by one; more are only counted."""


@dataclass(slots=True)
class Foreign:
    """A record on a journal that no stage wrote."""

    offset: int
    key: bytes | None
    why: str
    undone: bool = False
    """Whether a later record of its key, a repair's or a worker's, has undone its effect."""


def undo(foreign: Iterable[Foreign], key: bytes) -> None:
    """Note that a later record has undone the foreign ones of its key."""
    for each in foreign:
        if each.key == key:
            each.undone = True


@dataclass(slots=True)
class Unreadable:
    """A batch of a journal that can't be read."""

    offset: int
    last_offset: int
    why: str


@dataclass(slots=True)
class Held:
    """The contents of one journal."""

    at: TopicPartition
    bounds: Bounds
    rows: dict[bytes, int] = field(default_factory=dict)
    """Offset of the last row of each key."""

    checkpoints: dict[int, Checkpoint] = field(default_factory=dict)
    """By slot of the ring."""

    foreign: list[Foreign] = field(default_factory=list)
    foreign_count: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    records: int = 0

    @property
    def last(self) -> Checkpoint | None:
        """The last checkpoint."""
        return max(self.checkpoints.values(), key=lambda c: c.n, default=None)

    @property
    def identity(self) -> Identity | None:
        """The identity that the journal's last checkpoint with one has."""
        found = [c for c in self.checkpoints.values() if c.identity is not None]
        return max(found, key=lambda c: c.n).identity if found else None

    @property
    def unpublished(self) -> int:
        """Outputs of commits that are not known to be published."""
        last = self.last
        if last is None:
            return 0
        return sum(
            len(c.outputs)
            for c in self.checkpoints.values()
            if last.published < c.n and c.n > last.n - RING
        )

    @property
    def missing(self) -> list[int]:
        """Checkpoints that a restart needs and that are not there."""
        last = self.last
        if last is None:
            return []
        have = {c.n for c in self.checkpoints.values()}
        first = min(last.published, max(0, last.n - SOURCE_ROTATION_CHECKPOINTS)) + 1
        return [n for n in range(first, last.n + 1) if n not in have]

    def take(self, records: Sequence[Record]) -> None:
        """Note records, in their order."""
        for record in records:
            self._take(record)

    def _take(self, record: Record) -> None:
        self.records += 1
        if record.key and record.key[:1] == RESERVED and is_removal(record):
            undo(self.foreign, record.key)
            return
        why = foreign_reason(record.key, record.value)
        if why is not None:
            self.foreign_count += 1
            if len(self.foreign) < MAX_FOREIGN_KEPT:
                self.foreign.append(Foreign(record.offset, record.key, why))
            return
        key, value = record.key, record.value
        assert key is not None, "a record without a key is foreign"
        if key[:1] != RESERVED:
            if value is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = record.offset
        elif key not in {FENCE_KEY, NOTE_KEY} and value is not None:
            self.checkpoints[int(key[1:])] = decode_checkpoint(value)


def foreign_reason(key: bytes | None, value: bytes | None) -> str | None:
    """Return why no stage can have written such a record; None for one that a stage may have."""
    if not key:
        return "it has no key"
    if key[:1] != RESERVED:
        return None
    if key == FENCE_KEY:
        return None if value is None else "a fence has no value"
    if key == NOTE_KEY:
        return "a tombstone over the note of a rebuild" if value is None else None
    return _foreign_checkpoint(key[1:], value)


def _foreign_checkpoint(slot: bytes, value: bytes | None) -> str | None:
    if not slot.isdigit() or int(slot) >= RING or b"%d" % int(slot) != slot:
        return "its key is reserved for checkpoints, and names none"
    if value is None:
        return "a tombstone over a checkpoint"
    try:
        n = decode_checkpoint(value).n
    except NewerFormat:
        raise  # It is no foreign record: a repair would put an older one in its place.
    except JournalBroken:
        return "its key is a checkpoint's, its value is none"
    return None if n % RING == int(slot) else f"checkpoint {n} in another slot of the ring"


async def read_held(log: Log, journals: Sequence[TopicPartition]) -> dict[TopicPartition, Held]:
    """Read journals from their first record to their present end. Raises ``UnreadableBatch``."""
    bounds = await log.bounds(journals)
    held = {tp: Held(tp, bounds[tp]) for tp in journals}
    async with aclosing(read_ranges(log, bounds, committed_only=False)) as fetched:
        async for at, records in fetched:
            held[at].take(records)
    return held


async def read_readable(log: Log, at: Sequence[TopicPartition]) -> dict[TopicPartition, Held]:
    """Read journals as ``read_held`` does, and skip batches that can't be read."""
    bounds = await log.bounds(at)
    held = {tp: Held(tp, bounds[tp]) for tp in at}

    def note(batch: UnreadableBatch, last_offset: int) -> None:
        tp = TopicPartition(batch.topic, batch.partition)
        why = f"{batch.reason}: {batch.cause}"
        held[tp].unreadable.append(Unreadable(batch.offset, last_offset, why))

    async with aclosing(
        read_ranges(log, bounds, committed_only=False, on_unreadable=note)
    ) as fetched:
        async for tp, records in fetched:
            held[tp].take(records)
    return held


ForeignRecords = Callable[[str, TopicPartition], Awaitable[list[Foreign]]]
"""Finds foreign records by the batches of a broker: of a stage, in a journal."""


@dataclass(frozen=True, slots=True)
class Input:
    """The next offset of a journal in one input, and the broker's bounds of that partition."""

    topic: str
    position: int | None
    first: int
    end: int
    truncated_at: int | None = None
    """First offset of lost records that had been handled; None where no such loss is known."""

    @property
    def lost(self) -> int:
        """Records before or behind the broker's bounds that were not handled."""
        if self.position is None:
            return 0
        return max(0, self.first - self.position) + max(0, self.position - self.end)

    @property
    def behind(self) -> int | None:
        """Records that are there and not handled yet (control records count too)."""
        return None if self.position is None else max(0, self.end - self.position)

    def as_json(self) -> dict[str, Any]:
        """Return the object of ``--json``."""
        return {
            "topic": self.topic,
            "position": self.position,
            "first": self.first,
            "end": self.end,
            "behind": self.behind,
            "lost": self.lost,
            "cut": self.truncated_at,  # The name is part of the printed format.
        }


@dataclass(frozen=True, slots=True)
class Inspected:
    """The contents of one journal, and the bounds and tails of the topics around it."""

    stage: str
    held: Held
    inputs: list[Input]
    tails: Mapping[str, Tail]
    """End of what the stage published, by public topic; read after the journal."""

    tails_ahead: Sequence[str]
    """Public topics that have outputs which the journal does not know."""

    def as_json(self) -> dict[str, Any]:
        """Return the object of ``--json``."""
        held, last = self.held, self.held.last
        return {
            "stage": self.stage,
            "partition": held.at.partition,
            "topic": held.at.topic,
            "first_offset": held.bounds.first,
            "end_offset": held.bounds.end,
            "records": held.records,
            "rows": len(held.rows),
            "last_group": None if last is None else last.n,
            "published": None if last is None else last.published,
            "unpublished_outputs": held.unpublished,
            "missing_checkpoints": held.missing,
            "inputs": [each.as_json() for each in self.inputs],
            "identity": None if held.identity is None else held.identity.as_fields(),
            "sources": _sources(held),
            "tails": {
                topic: None if tail.output_id == NOTHING else list(tail.output_id)
                for topic, tail in self.tails.items()
            },
            "tails_ahead": list(self.tails_ahead),
            "foreign_records": held.foreign_count,
            "unreadable": [
                {"offset": each.offset, "last_offset": each.last_offset, "why": each.why}
                for each in held.unreadable
            ],
            "foreign": [
                {
                    "offset": each.offset,
                    "key": None if each.key is None else each.key.decode(errors="backslashreplace"),
                    "why": each.why,
                    "undone": each.undone,
                }
                for each in held.foreign
            ],
        }


def _sources(held: Held) -> dict[str, list[int]]:
    found: dict[str, tuple[int, int]] = {}
    for checkpoint in sorted(held.checkpoints.values(), key=lambda c: c.n):
        found.update(checkpoint.sources)
    return {name: list(position) for name, position in sorted(found.items())}


async def _truncated(log: Log, journal: Held) -> dict[str, int]:
    """Return by topic the offset from which handled records were lost (``exactstage.kafka``)."""
    if (last := journal.last) is None:
        return {}
    partition = journal.at.partition
    ends = await log.epoch_ends({TopicPartition(t, partition): e for t, e in last.epochs.items()})
    return {at.topic: end for at, end in ends.items() if end < last.inputs.get(at.topic, 0)}


def _ahead(held: Held, tails: Mapping[str, Tail]) -> list[str]:
    """Return the public topics that have outputs of later commits than a journal has."""
    n = 0 if held.last is None else held.last.n
    return [topic for topic, tail in tails.items() if tail.output_id[0] > n]


async def _still_ahead(
    log: Log, journals: Iterable[Held], tails: Mapping[TopicPartition, Mapping[str, Tail]]
) -> dict[TopicPartition, list[str]]:
    """Return by journal the topics ahead of it, after reading what was appended to it since.

    The tails were read after the journals, and a worker may have worked in between. A commit is
    in the journal before its outputs are published, so the appended part must have it.
    """
    behind = {held.at: held for held in journals if _ahead(held, tails[held.at])}
    if not behind:
        return {}
    grown = await log.bounds(list(behind))
    rest = {at: Bounds(held.bounds.end, grown[at].end) for at, held in behind.items()}
    later = {
        at: Held(at, bounds, checkpoints=behind[at].checkpoints.copy())
        for at, bounds in rest.items()
    }
    async with aclosing(
        read_ranges(log, rest, committed_only=False, on_unreadable=lambda _batch, _last: None)
    ) as fetched:
        async for at, records in fetched:
            later[at].take(records)
    return {at: _ahead(held, tails[at]) for at, held in later.items()}


async def inspect(
    log: Log,
    stages: Iterable[Stage],
    partitions: Iterable[int],
    foreign_records: ForeignRecords | None = None,
) -> list[Inspected]:
    """Look at the journals of these stages and partitions. Raises what the log raises."""
    numbers = sorted(partitions)
    found: list[Inspected] = []
    for stage in stages:
        held = await read_readable(log, [TopicPartition(stage.changelog, p) for p in numbers])
        if foreign_records is not None:
            for at, journal in held.items():
                if journal.unreadable or (journal.identity is not None and journal.identity.copied):
                    continue  # Its batches say nothing: only foreign keys are known.
                journal.foreign = await foreign_records(stage.name, at)
                journal.foreign_count = len(journal.foreign)
        public = [TopicPartition(topic, p) for topic in sorted(stage.public) for p in numbers]
        ends = await read_tails(log, dict.fromkeys(public, stage.name))
        tails: dict[TopicPartition, dict[str, Tail]] = {
            at: {tp.topic: tail for tp, tail in ends.items() if tp.partition == at.partition}
            for at in held
        }
        ahead = await _still_ahead(log, held.values(), tails)
        bounds = await log.bounds([TopicPartition(t, p) for t in stage.inputs for p in numbers])
        for partition in numbers:
            journal = held[TopicPartition(stage.changelog, partition)]
            positions = {} if journal.last is None else journal.last.inputs
            truncated = await _truncated(log, journal)
            inputs = [
                Input(
                    topic,
                    positions.get(topic),
                    *bounds[TopicPartition(topic, partition)],
                    truncated.get(topic),
                )
                for topic in stage.inputs
            ]
            at = journal.at
            found.append(Inspected(stage.name, journal, inputs, tails[at], ahead.get(at, [])))
    return found
