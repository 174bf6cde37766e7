"""What a fetch brought: record batches become records, as far as a reader may see them."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka import errors
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.memory_records import MemoryRecords

from payments.engine.log import Anonymous, Record, TopicPartition

from .tolerant import tolerantly_read


class Fetched(NamedTuple):
    """The records of one partition, and the offset at which its reader goes on."""

    records: list[Record]
    position: int


_new = tuple.__new__

AbortedTransactions = Sequence[tuple[int, int]]
"""Producer id and first offset of each transaction in the fetch that was aborted."""


def unpack(
    at: TopicPartition, data: bytes, position: int, aborted: AbortedTransactions | None
) -> Fetched:
    """Return the records of ``data`` from ``position`` on.

    ``aborted`` is None for a reader that takes uncommitted records too. Control records are never
    shown, but the position passes them. Raises ``CorruptRecordException`` for a batch whose
    checksum is wrong.
    """
    visible = None if aborted is None else _Visible(aborted)
    found: list[Record] = []
    batches = MemoryRecords(data)
    while batches.has_next():
        batch = batches.next_batch()
        if not batch.validate_crc():
            message = f"{at} at {batch.base_offset}"
            raise errors.CorruptRecordException(message)
        if visible.shows(batch) if visible is not None else not batch.is_control_batch:
            found += [record for record in _records(at, batch, data) if record.offset >= position]
        # The end of the batch, not of its last record: compaction may have removed that one.
        position = max(position, batch.next_offset)
    return Fetched(found, position)


def _records(at: TopicPartition, batch: Any, data: bytes) -> list[Record]:  # noqa: ANN401 - a compiled class without types
    """Return the records of a batch."""
    try:
        # ``_new`` because a named tuple's own constructor is one more Python call for each record.
        kind = Record if batch.producer_id >= 0 else Anonymous
        return [_new(kind, (*at, r.offset, r.timestamp, r.key, r.value, r.headers)) for r in batch]
    except UnicodeDecodeError:
        return list(tolerantly_read(at, data, batch.base_offset))


class _Visible:
    """Follows aborted transactions through the batches of one partition."""

    def __init__(self, aborted: AbortedTransactions) -> None:
        self._to_come = sorted(aborted, key=lambda each: each[1], reverse=True)
        self._producers: set[int] = set()

    def shows(self, batch: Any) -> bool:  # noqa: ANN401 - a compiled class without types
        """Whether the next batch holds records for a reader of committed ones."""
        while self._to_come and self._to_come[-1][1] <= batch.base_offset:
            self._producers.add(self._to_come.pop()[0])
        if batch.is_control_batch:
            marker = next(batch)
            if ControlRecord.parse(marker.key) == ABORT_MARKER:
                self._producers.discard(batch.producer_id)
            return False
        return not (batch.is_transactional and batch.producer_id in self._producers)
