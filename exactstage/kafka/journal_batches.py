"""Batches: reads a journal batch by batch, to recognise those of other programs.

A stage appends whole commits, each a batch that ends with its checkpoint; a takeover appends a
fence. So a batch whose last record is neither was written by another program, whatever its keys and
values are. (Compaction keeps the last offset of a batch, but may remove its record: then the batch
can't be judged, since a stage's rows may remain without their checkpoint.)
"""

from collections.abc import AsyncIterator, Sequence
from struct import Struct
from typing import NamedTuple

from exactstage.checkpoint import RESERVED
from exactstage.errors import FailStop
from exactstage.log import Bounds, Record, TopicPartition

from .connection import error_for
from .fetched import decode_batches
from .log import KafkaLog
from .wire import Fetch

_HEAD = Struct(">qi")
"""Base offset, and the length of what follows."""

_LAST_DELTA = Struct(">i")
_LAST_DELTA_AT, _ATTRIBUTES_AT = 23, 21
_CONTROL = 0x20
_BYTES = 8 * 1024 * 1024


class JournalBatch(NamedTuple):
    """Records that were appended together, as far as they are still there."""

    records: Sequence[Record]
    last_offset: int
    """Offset of the last record that it had at first."""

    @property
    def is_foreign(self) -> bool:
        """Whether no stage and no takeover can have written it."""
        last = self.records[-1]
        if last.offset != self.last_offset:
            return False
        return last.key is None or last.key[:1] != RESERVED


async def journal_batches(
    log: KafkaLog, at: TopicPartition, held: Bounds
) -> AsyncIterator[JournalBatch]:
    """Yield the batches of one journal. Raises ``FailStop`` when the broker refuses."""
    connection, position = log.connection, held.first
    while position < held.end:
        node = connection.leader(at)
        if node is None:
            message = f"the end of {at} can't be read; is its leader up?"
            raise FailStop(message)
        request = Fetch(
            {at.topic: [(at.partition, position)]},
            wait_ms=250,
            min_bytes=1,
            max_bytes=_BYTES,
            partition_bytes=_BYTES,
            committed_only=False,
        )
        code, parts = await connection.send(node, request)
        for part in parts:
            error = error_for(code) or error_for(part.code)
            if error is not None:
                message = f"reading {at}/{position} was refused: {error.__name__}"
                raise FailStop(message)
            found = decode_batches(at, part.batches, position, None)
            for batch in _split(part.batches, found.records, position):
                yield batch
            position = max(position, found.position)
        if not any(part.batches for part in parts):
            return


def _split(data: bytes, records: Sequence[Record], position: int) -> list[JournalBatch]:
    """Put records into the batches that they came in; control batches have none."""
    found: list[JournalBatch] = []
    start = index = 0
    while start + _HEAD.size <= len(data):
        base, length = _HEAD.unpack_from(data, start)
        end = start + _HEAD.size + length
        if end > len(data):
            break  # The broker truncates the last batch; the next fetch has all of it.
        (delta,) = _LAST_DELTA.unpack_from(data, start + _LAST_DELTA_AT)
        is_control = data[start + _ATTRIBUTES_AT + 1] & _CONTROL
        start, last = end, base + delta
        begin = index
        while index < len(records) and records[index].offset <= last:
            index += 1
        if not is_control and last >= position and index > begin:
            found.append(JournalBatch(records[begin:index], last))
    return found
