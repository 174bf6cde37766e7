"""A partition in memory: its records, and a broker's rules for accepting batches.

The rules are those of Kafka's producer state (``ProducerAppendInfo``; KIP-98, KIP-360) and of its
log cleaner:

- a batch of an older epoch than the partition has seen is refused, whether a batch or a control
  record brought the newer epoch;
- each of a producer's last five batches is recognised by its sequence when it is sent again, and a
  batch that does not follow the last one is refused;
- a producer that has been idle for long is forgotten, and so is the fence against its older epochs;
- a reader of committed records sees nothing after the first record of an open transaction.
"""

import asyncio  # noqa: TC003 - an attribute's type, which docs may read
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from exactstage.anonymous import Anonymous
from exactstage.errors import OUT_OF_ORDER, FailStop, Fenced, PositionLost, UnreadableBatch
from exactstage.log import (
    NO_EPOCH,
    SEQUENCE_MODULUS,
    Bounds,
    NewRecord,
    Record,
    TopicPartition,
    Writer,
)

REMEMBERED_BATCHES = 5
"""Number of a producer's last batches that a partition recognises when they are sent again."""

_ANY_SEQUENCE = -1
"""Next sequence of a producer of which all remembered batches were lost."""

PRODUCER_EXPIRY_MS = 86_400_000
"""Kafka's ``producer.id.expiration.ms``."""


@dataclass(slots=True)
class _Producer:
    """State of one producer id in a partition."""

    epoch: int
    last_ms: int
    next_sequence: int = 0
    recent: deque[tuple[int, int, int]] = field(
        default_factory=lambda: deque(maxlen=REMEMBERED_BATCHES)
    )
    """Sequence, count and offset of its last batches."""


class MemoryPartition:
    """One partition: its records, and the state of their producers."""

    def __init__(self, at: TopicPartition, clock_ms: Callable[[], int]) -> None:
        self.at = at
        self.first = 0
        self.end = 0
        self.records: list[Record] = []
        self._offsets: list[int] = []
        self._epochs = [(0, 0)]
        """Each leader epoch with the offset at which it began (``LeaderEpochFileCache``)."""
        self._leader_epoch = 0
        self._clock_ms = clock_ms
        self._marks: list[tuple[int, int]] = []
        """Offset and producer of each control record."""
        self._producers: dict[int, _Producer] = {}
        self._open: dict[int, list[int]] = {}
        """Offsets of the records of each transaction that has not ended, by producer id."""
        self._aborted: set[int] = set()
        self.unreadable: dict[int, UnreadableBatch] = {}
        """Batches that no reader can decode, by their first offset."""
        self.waiting: dict[asyncio.Event, None] = {}
        """Set when the partition has changed: more to read, or another leader."""

    def offset_since(self, time_ms: int) -> int:
        """Return the offset of the first record at or after that time; else the end."""
        return next((r.offset for r in self.records if r.timestamp >= time_ms), self.end)

    # --- writing ---------------------------------------------------------------------------------

    def append(
        self, writer: Writer, sequence: int, records: Sequence[NewRecord], *, in_transaction: bool
    ) -> int:
        """Append a batch, unless it is recognised; return its first offset.

        Raises ``Fenced`` for an older epoch, ``FailStop`` for a sequence that does not follow.
        """
        now_ms, count = self._clock_ms(), len(records)
        known = self._known(writer.producer_id, now_ms)
        if known is not None and writer.epoch < known.epoch:
            message = (
                f"an append to {self.at} was refused: epoch {writer.epoch}, known is {known.epoch}"
            )
            raise Fenced(message)
        if known is None:
            # The producer is unknown, so any sequence is accepted.
            known = self._producers[writer.producer_id] = _Producer(writer.epoch, now_ms, sequence)
        expected = known.next_sequence if writer.epoch == known.epoch else 0
        if writer.epoch == known.epoch:
            for first, size, offset in known.recent:
                if (first, size) == (sequence, count):
                    return offset
        if expected not in {sequence, _ANY_SEQUENCE}:
            message = (
                f"an append to {self.at} was refused: sequence {sequence}, not {expected} "
                f"({OUT_OF_ORDER})"
            )
            raise FailStop(message)
        if writer.epoch > known.epoch:
            known.recent.clear()
        known.epoch, known.last_ms = writer.epoch, now_ms
        known.next_sequence = (sequence + count) % SEQUENCE_MODULUS
        known.recent.append((sequence, count, self.end))
        if in_transaction:
            self._open.setdefault(writer.producer_id, []).extend(range(self.end, self.end + count))
        return self.store(records, Record)

    def store(self, records: Sequence[NewRecord], kind: type[Record] = Anonymous) -> int:
        """Append records of a client without a producer id; return the first offset."""
        first, now_ms = self.end, self._clock_ms()
        self.records += [
            kind(*self.at, first + index, now_ms, key, value, tuple(headers))
            for index, (key, value, headers) in enumerate(records)
        ]
        self._grow(len(records))
        self._offsets += range(first, self.end)
        return first

    def store_unreadable(
        self, count: int, reason: str, heads: Sequence[NewRecord] = ()
    ) -> UnreadableBatch:
        """Append a batch that no reader can decode, with the heads of its first records."""
        now_ms = self._clock_ms()
        batch = self.unreadable[self.end] = UnreadableBatch(
            *self.at,
            offset=self.end,
            last_offset=self.end + count - 1,
            end_is_known=True,
            timestamp=now_ms,
            reason=reason,
            cause="its records are no records",
            data=b"the batch's bytes",
            heads=[
                Record(*self.at, self.end + index, now_ms, key, value, ())
                for index, (key, value, _) in enumerate(heads)
            ],
        )
        self._grow(count)
        return batch

    def unreadable_at(self, position: int) -> UnreadableBatch | None:
        """Return the unreadable batch at a position; None when there is none."""
        for batch in self.unreadable.values():
            if batch.offset <= position <= batch.last_offset:
                return batch
        return None

    def mark(self, producer_id: int, epoch: int, *, commit: bool) -> None:
        """Write the control record that ends a transaction, unless its epoch is out of date."""
        now_ms = self._clock_ms()
        known = self._known(producer_id, now_ms)
        if known is None:
            known = self._producers[producer_id] = _Producer(epoch, now_ms)
        elif epoch < known.epoch:
            return
        elif epoch > known.epoch:
            known.epoch, known.next_sequence = epoch, 0
            known.recent.clear()
        known.last_ms = now_ms
        ended = self._open.pop(producer_id, [])
        if not commit:
            self._aborted.update(ended)
        self._marks.append((self.end, producer_id))
        self._grow(1)

    def _grow(self, count: int) -> None:
        self.end += count
        self._wake()

    def _wake(self) -> None:
        for changed in self.waiting:
            changed.set()

    def _known(self, producer_id: int, now_ms: int) -> _Producer | None:
        known = self._producers.get(producer_id)
        if known is None or now_ms - known.last_ms < PRODUCER_EXPIRY_MS:
            return known
        if producer_id in self._open:
            return known
        del self._producers[producer_id]
        return None

    # --- reading ---------------------------------------------------------------------------------

    @property
    def bounds(self) -> Bounds:
        """First offset, and the offset after the last record; includes open transactions."""
        return Bounds(self.first, self.end)

    def claimants(self, first: int, end: int) -> set[int]:
        """Return the producers of the control records from offset ``first`` up to ``end``."""
        return {producer_id for offset, producer_id in self._marks if first <= offset < end}

    def epoch_before(self, position: int) -> int:
        """Return the leader epoch before a position; ``NO_EPOCH`` at the start of the log."""
        return max((e for e, start in self._epochs if start < position), default=NO_EPOCH)

    def epoch_end(self, epoch: int) -> int | None:
        """Return where a leader epoch ended (the log's end for the latest); None if it is newer."""
        if epoch == self._leader_epoch:
            return self.end
        return next((start for newer, start in self._epochs if newer > epoch), None)

    @property
    def stable_end(self) -> int:
        """Last stable offset: records after it may belong to an open transaction."""
        return min((offsets[0] for offsets in self._open.values()), default=self.end)

    def read(
        self, position: int, *, committed_only: bool, limit: int | None = None
    ) -> tuple[Sequence[Record], int]:
        """Return at most ``limit`` records from ``position`` on, and the next position.

        Raises ``PositionLost`` when the position is outside of the partition.
        """
        if not self.first <= position <= self.end:
            message = f"{self.at} has {self.first} to {self.end}, not {position}"
            raise PositionLost(message)
        end = max(position, self.stable_end) if committed_only else self.end
        end = min((first for first in self.unreadable if position <= first < end), default=end)
        start = bisect_left(self._offsets, position)
        stop = bisect_left(self._offsets, end)
        if limit is not None and start + limit < stop:
            stop = start + limit
            end = self._offsets[stop]
        found = self.records[start:stop]
        if committed_only and self._aborted:
            found = [record for record in found if record.offset not in self._aborted]
        return found, end

    def is_aborted(self, offset: int) -> bool:
        """Whether the record at an offset belongs to an aborted transaction."""
        return offset in self._aborted

    # --- leaders ---------------------------------------------------------------------------------

    def elect(self) -> None:
        """Begin another leader epoch."""
        self._leader_epoch += 1
        self._epochs.append((self._leader_epoch, self.end))
        self._wake()

    # --- cleaning --------------------------------------------------------------------------------

    def compact(self, before: int, tombstones_before_ms: int) -> int:
        """Delete all but the last record of each key before an offset; return how many.

        Tombstones older than the given time are deleted too. Offsets do not change.
        """
        stop = bisect_left(self._offsets, before)
        last = {record.key: record.offset for record in self.records[:stop]}
        kept = [
            record
            for record in self.records[:stop]
            if last[record.key] == record.offset
            and (record.value is not None or record.timestamp >= tombstones_before_ms)
        ]
        self.records[:stop] = kept
        self._offsets[:stop] = [record.offset for record in kept]
        return stop - len(kept)

    def truncate(self, offset: int) -> int:
        """Lose all records from an offset on, acknowledged or not; return how many.

        Begins another leader epoch. A producer continues after the last of its remaining batches.
        """
        stop = bisect_left(self._offsets, offset)
        lost = len(self._offsets) - stop
        del self.records[stop:]
        del self._offsets[stop:]
        self.end = max(offset, self.first)
        self._epochs = [entry for entry in self._epochs if entry[1] < self.end]
        self._marks = [mark for mark in self._marks if mark[0] < self.end]
        self.elect()
        for known in self._producers.values():
            removed = [sequence for sequence, _, at in known.recent if at >= offset]
            if len(removed) == REMEMBERED_BATCHES:
                known.next_sequence = _ANY_SEQUENCE
            elif removed:
                known.next_sequence = removed[0]
            left = [batch for batch in known.recent if batch[2] < offset]
            known.recent.clear()
            known.recent.extend(left)
        return lost

    def delete_before(self, offset: int) -> None:
        """Delete all records before an offset, as retention does."""
        self.first = max(self.first, min(offset, self.end))
        stop = bisect_left(self._offsets, self.first)
        del self.records[:stop]
        del self._offsets[:stop]
