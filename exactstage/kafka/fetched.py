"""Fetched batches: decodes the record batches of a fetch, step by step, as the reader needs them.

Each batch is decoded only when its records are next, in memory of a limited size: a compressed
batch takes no more memory than one that is not compressed.
"""

import struct
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct
from typing import Any, NamedTuple

from aiokafka.errors import CorruptRecordException
from aiokafka.record.control_record import ABORT_MARKER, ControlRecord
from aiokafka.record.default_records import DefaultRecordBatch

from exactstage.anonymous import Anonymous
from exactstage.errors import BATCH_TOO_LARGE, UNDECODABLE_BATCH, UnreadableBatch
from exactstage.limits import Limits
from exactstage.log import NO_EPOCH, Record, TopicPartition

from .bare import bare_records
from .codecs import Inflated, TooLarge, Undecodable, inflate
from .heads import Heads
from .invalid_headers import decode_with_invalid_header_names, require_few_headers

_HEADER = Struct(">qiibIhiqqqhii")
"""Base offset, length, leader epoch, magic, checksum, attributes, last offset delta, first and
newest timestamp, producer id and epoch, sequence, number of records."""

_BASE_OFFSET, _LENGTH = Struct(">q"), Struct(">i")
_EPOCH_AT, _EPOCH = 12, Struct(">i")
_LENGTH_AT, _LENGTH_END = 8, 12
_MAGIC_AT, _MAGIC, _OLD_MAGICS = 16, 2, (0, 1)
_ATTRIBUTES_AT, _ATTRIBUTES = 21, Struct(">h")
_CODEC, _LOG_APPEND_TIME, _TRANSACTIONAL, _CONTROL = 0x07, 0x08, 0x10, 0x20
_NOT_PLAIN = _CODEC | _CONTROL
_LARGE_BATCH_BYTES = 1024 * 1024
"""The records of a batch that is larger once inflated are returned in several steps."""

_LARGE_RECORD_BYTES = 1024
"""If the records of a batch are larger on average, their headers count like records."""

_YEAR_10_000_MS = 253_402_300_800_000

_MISREAD = (CorruptRecordException, ValueError, OverflowError, MemoryError)
"""What aiokafka raises for records that it can't read; ``MemoryError`` for an absurd length."""

_new = tuple.__new__

AbortedTransactions = Sequence[tuple[int, int]]
"""Producer id and first offset of each aborted transaction in the fetch."""


class Header(NamedTuple):
    """Header of a batch, and where the batch begins and ends in the fetched data."""

    start: int
    end: int
    base_offset: int
    attributes: int
    last_offset: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    records: int
    """Number of records."""

    epoch: int
    """Leader epoch under which it was appended (KIP-101)."""


class Budget:
    """Limit of what is decoded at once; beyond it, batches stay as they were fetched."""

    def __init__(self, size_bytes: int, records: int) -> None:
        self.bytes_left = size_bytes
        self.records_left = records

    @property
    def is_left(self) -> bool:
        """Whether another batch may be decoded."""
        return self.bytes_left > 0 and self.records_left > 0


class Batches:
    """The batches of one partition in one answer, and how far they are decoded.

    An unreadable batch stops the decoding until it is skipped.
    """

    def __init__(
        self,
        at: TopicPartition,
        data: bytes,
        position: int,
        *,
        aborted: AbortedTransactions | None,
        limits: Limits,
        closing: bytes | None = None,
        headers: bool = True,
    ) -> None:
        """Begin at ``position``, which may be within the first batch.

        ``aborted`` is None for a reader of uncommitted records too. Control records are never
        returned; the position moves past them. For ``closing`` see ``Log.open_reader``. Without
        ``headers``, the records of most batches have none, which saves most of the decoding time.
        """
        self.at = at
        self.position = position
        """Next offset to return."""
        self.epoch = NO_EPOCH
        """Leader epoch of the last decoded batch."""
        self.claimants: set[int] = set()
        """Producers of the control records, for a reader of uncommitted records."""
        self.is_done = False
        """Whether all records are returned."""
        self.unreadable: UnreadableBatch | None = None
        """The batch at which decoding stopped."""
        self.may_be_transient = False
        """Whether another fetch might return that batch intact: its checksum is wrong."""
        self._data = data
        self._view = memoryview(data)
        self._next = 0
        self._committed = None if aborted is None else _CommittedOnly(aborted)
        self._shows_all = not aborted
        self._limits = limits
        self._closing = closing
        self._headers = headers
        self._rest: Iterator[Record] | None = None
        """The remaining records of a large batch."""
        self._rest_last_offset = 0

    @property
    def first_epoch(self) -> int:
        """Leader epoch of the first batch; ``NO_EPOCH`` when it has none."""
        data = self._data
        if len(data) <= _MAGIC_AT or data[_MAGIC_AT] != _MAGIC:
            return NO_EPOCH
        (epoch,) = _EPOCH.unpack_from(data, _EPOCH_AT)
        return int(epoch)

    def take(self, budget: Budget) -> list[Record]:
        """Return the next records, up to the budget or to an unreadable batch."""
        found: list[Record] = []
        while self.unreadable is None and not self.is_done and budget.is_left:
            if self._rest is not None:
                found += self._take_rest(budget)
                continue
            if plain := self._take_plain(budget):
                found += plain
                continue
            try:
                header = self._header()
                if header is None:
                    self.is_done = True
                else:
                    found += self._decode(header, budget)
            except Undecodable as fault:
                self._stop_at(fault)
        return found

    def _take_plain(self, budget: Budget) -> list[Record] | None:
        """Return the records of the next batch if it is a plain one; else None, nothing changed.

        A plain batch is complete, small, not compressed, without gaps and not a control batch, as
        nearly all are. ``_decode`` handles all batches, but takes twice as long for one record.
        """
        data, start, position = self._data, self._next, self.position
        if len(data) - start < _HEADER.size or not self._shows_all:
            return None
        base, length, epoch, magic, _, attributes, delta, first, newest, producer, _, _, count = (
            _HEADER.unpack_from(data, start)
        )
        end = start + _LENGTH_END + length
        if (
            magic != _MAGIC
            or attributes & _NOT_PLAIN
            or base < position
            or not 0 < count == delta + 1
            or count > self._limits.fetch_records
            or length > _LARGE_RECORD_BYTES * count
            or not start + _HEADER.size <= end <= len(data)
            or length > _LARGE_BATCH_BYTES
        ):
            return None
        batch = DefaultRecordBatch(self._view[start:end])
        if not batch.validate_crc():
            return None
        topic, partition = self.at
        kind = Record if producer >= 0 else Anonymous
        try:
            if self._headers:
                found: list[Record] = [
                    _new(kind, (topic, partition, r.offset, r.timestamp, r.key, r.value, r.headers))
                    for r in batch
                ]
            else:
                given = newest if attributes & _LOG_APPEND_TIME else None
                part = start + _HEADER.size, end
                found = bare_records(
                    self.at, kind, data, part, (base, first, count), newest_ms=given
                )
        except _MISREAD:
            return None
        if [record[2] for record in found] != list(range(base, base + count)):
            return None
        if self._closing is not None:
            found = _as_closed(found, offset_of_last=base + delta, closing=self._closing)
        budget.bytes_left -= length
        budget.records_left -= count
        self._next, self.position, self.epoch = end, base + count, epoch
        return found

    def skip(self, batch: UnreadableBatch) -> None:
        """Continue after an unreadable batch."""
        assert batch is self.unreadable, "only the batch that was raised is skipped"
        self.unreadable, self.may_be_transient = None, False
        self._move_past(self._end_of_batch(), batch.last_offset)

    def _move_past(self, end: int, last_offset: int) -> None:
        self._next = end
        self.position = max(self.position, last_offset + 1)

    def _end_of_batch(self) -> int:
        """Return where the next batch ends by its length; beyond the data if it is truncated."""
        (length,) = _LENGTH.unpack_from(self._data, self._next + _LENGTH_AT)
        return self._next + _LENGTH_END + max(int(length), 0)

    def _header(self) -> Header | None:
        """Return the header of the next batch; None when no complete batch follows."""
        data, start = self._data, self._next
        if start + _LENGTH_END > len(data):
            return None
        end = self._end_of_batch()
        if end > len(data):
            if start:
                return None
            # A broker's answer has at least one complete batch (KIP-74).
            self.may_be_transient = True
            message = f"its length is {end} bytes, and the broker returned {len(data)} of it"
            raise Undecodable(message)
        header = _header_at(data, start, end)
        if header is None:
            magic = data[start + _MAGIC_AT] if end - start > _MAGIC_AT else None
            self.may_be_transient = magic not in _OLD_MAGICS
            message = f"its message format is {magic}, not {_MAGIC} (that of Kafka since 0.11)"
            raise Undecodable(message)
        return header

    def _decode(self, header: Header, budget: Budget) -> list[Record]:
        """Return the records of a batch that this reader may see, and move past it."""
        self.epoch = header.epoch
        plain: Inflated = self._view[header.start : header.end]
        batch = DefaultRecordBatch(plain)
        if not batch.validate_crc():
            self.may_be_transient = True
            message = "its checksum is wrong"
            raise Undecodable(message)
        if header.records < 0 or header.last_offset < header.base_offset:
            message = f"its header has {header.records} records up to {header.last_offset}"
            raise Undecodable(message)
        if not self._shows(header, batch) or header.last_offset < self.position:
            self._move_past(header.end, header.last_offset)
            return []
        if header.attributes & _CODEC:
            plain = _inflated(header, self._view, self._limits.inflated_bytes)
            batch = DefaultRecordBatch(plain)
        records = _Records(self.at, header, plain)
        budget.bytes_left -= len(plain)
        if len(plain) > _LARGE_BATCH_BYTES or header.records > self._limits.fetch_records:
            # It is checked first, so that all of its records are returned or none.
            checked = records.checked(self._limits.fetch_records, self._closing)
            self._rest = _from(self.position, checked)
            self._rest_last_offset = header.last_offset
            return []
        found = records.read(batch)
        if self._closing is not None:
            found = _as_closed(found, offset_of_last=header.last_offset, closing=self._closing)
        if header.base_offset < self.position:
            found = [record for record in found if record.offset >= self.position]
        budget.records_left -= len(found)
        if len(plain) > _LARGE_RECORD_BYTES * header.records:
            budget.records_left -= sum(len(record.headers) for record in found)
        # The end of the batch, not of its last record: compaction may have removed that record.
        self._move_past(header.end, header.last_offset)
        return found

    def _shows(self, header: Header, batch: Any) -> bool:
        if self._committed is not None and not self._committed.shows(header, batch):
            return False
        if header.attributes & _CONTROL:
            self.claimants.add(header.producer_id)
            return False
        return header.records > 0

    def _take_rest(self, budget: Budget) -> list[Record]:
        """Return the next records of a large batch."""
        assert self._rest is not None
        some: list[Record] = []
        for record in self._rest:
            some.append(record)
            budget.records_left -= 1 + len(record.headers)
            if budget.records_left <= 0:
                self.position = record.offset + 1
                return some
        self._rest = None
        self._move_past(self._end_of_batch(), self._rest_last_offset)
        return some

    def _stop_at(self, fault: Undecodable) -> None:
        """Stop at the next batch, which is unreadable."""
        data, start = self._data, self._next
        end = min(self._end_of_batch(), len(data))
        (base_offset,) = _BASE_OFFSET.unpack_from(data, start)
        header = _header_at(data, start, end)
        # The checksum does not cover the epoch, so a damaged batch's epoch is not used.
        self.epoch = NO_EPOCH if header is None or self.may_be_transient else header.epoch
        bare = data[start:end]
        heads: Iterable[Record] = ()
        if header is None:
            # In the old formats this is the message's offset, or that of a set's last message.
            last_offset, timestamp = base_offset, 0
            magic = data[start + _MAGIC_AT] if end - start > _MAGIC_AT else None
            end_is_known = magic in _OLD_MAGICS and not self.may_be_transient
        else:
            last_offset, timestamp = header.last_offset, header.max_timestamp
            end_is_known = last_offset >= base_offset
            heads = Heads(self.at, bare, self._limits)
            if self.may_be_transient:
                # The end is known if the header is consistent and agrees with the next batch.
                heads = ()
                following = last_offset + 1
                end_is_known = header.records == following - base_offset and (
                    end + _LENGTH_END > len(data)
                    or _BASE_OFFSET.unpack_from(data, end)[0] == following
                )
        self.unreadable = UnreadableBatch(
            *self.at,
            offset=base_offset,
            last_offset=max(last_offset, base_offset),
            end_is_known=end_is_known,
            timestamp=timestamp if 0 <= timestamp < _YEAR_10_000_MS else 0,
            reason=BATCH_TOO_LARGE if isinstance(fault, TooLarge) else UNDECODABLE_BATCH,
            cause=str(fault),
            data=bare,
            heads=heads,
        )


class Fetched(NamedTuple):
    """The records of one partition, and the next offset to read."""

    records: list[Record]
    position: int


def decode_batches(
    at: TopicPartition, data: bytes, position: int, aborted: AbortedTransactions | None
) -> Fetched:
    """Return all records of one answer at once. Raises ``UnreadableBatch``."""
    limits = Limits()
    batches = Batches(at, data, position, aborted=aborted, limits=limits)
    found: list[Record] = []
    while not batches.is_done:
        found += batches.take(Budget(limits.inflated_bytes, limits.fetch_records))
        if batches.unreadable is not None:
            raise batches.unreadable
    return Fetched(found, batches.position)


def _as_closed(found: list[Record], *, offset_of_last: int, closing: bytes) -> list[Record]:
    """Return the records of a batch as ``Anonymous`` if its last record does not close it.

    If compaction has removed the last record, the records stay as they are.
    """
    if not found or found[-1].offset != offset_of_last:
        return found
    if (found[-1].key or b"").startswith(closing):
        return found
    return [_new(Anonymous, record) for record in found]


def _from(position: int, records: Iterator[Record]) -> Iterator[Record]:
    """Yield the records from a position on."""
    for record in records:  # mypyc would make a list of a generator expression.
        if record.offset >= position:
            yield record


def _header_at(data: bytes, start: int, end: int) -> Header | None:
    """Return the header of a batch; None when it is not in format 2."""
    if end - start < _HEADER.size or data[start + _MAGIC_AT] != _MAGIC:
        return None
    base, _, epoch, _, _, attributes, delta, first, newest, producer, _, _, count = (
        _HEADER.unpack_from(data, start)
    )
    last = base + delta
    return _new(Header, (start, end, base, attributes, last, first, newest, producer, count, epoch))


def _inflated(header: Header, data: memoryview, limit: int) -> Inflated:
    """Return a batch without its compression; its length and checksum stay those it had."""
    first_record = header.start + _HEADER.size
    head = bytearray(data[header.start : first_record])
    _ATTRIBUTES.pack_into(head, _ATTRIBUTES_AT, header.attributes & ~_CODEC)
    records = inflate(header.attributes & _CODEC, data[first_record : header.end], limit)
    return b"".join((head, records))


class _Records:
    """The records of one inflated batch."""

    def __init__(self, at: TopicPartition, header: Header, plain: Inflated) -> None:
        self._at = at
        self._header = header
        self._plain = plain
        self._kind = Record if header.producer_id >= 0 else Anonymous

    def read(self, batch: Any) -> list[Record]:
        """Return all records; ``batch`` is aiokafka's reader of them. Raises ``Undecodable``."""
        at, kind = self._at, self._kind
        try:
            # ``_new`` saves a Python call for each record: a named tuple's own constructor.
            found: list[Record] = [
                _new(kind, (*at, r.offset, r.timestamp, r.key, r.value, r.headers)) for r in batch
            ]
            self._require_order(found)
        except _MISREAD:
            found = list(self._tolerantly())
            self._require_order(found)
        return found

    def _require_order(self, found: Sequence[Record]) -> None:
        """Raise ``Undecodable`` unless the offsets are those of the batch."""
        offsets = [record[2] for record in found]
        first, last = self._header.base_offset, self._header.last_offset
        if first + len(offsets) - 1 != last or offsets != list(range(first, last + 1)):
            _require_order(self._header, found)

    def checked(self, max_headers: int, closing: bytes | None) -> Iterator[Record]:
        """Return an iterator over the records, after all were checked (see ``_as_closed``)."""
        bare = memoryview(self._plain)[_HEADER.size :]
        require_few_headers(bare, self._header.records, max_headers)
        is_plain = True
        try:
            last = _require_order(self._header, self._plainly())
        except _MISREAD:
            is_plain = False
            last = _require_order(self._header, self._tolerantly())
        if closing is not None and last is not None and not self._is_closed(last, closing):
            self._kind = Anonymous
        return self._plainly() if is_plain else self._tolerantly()

    def _is_closed(self, last: Record, closing: bytes) -> bool:
        return last.offset != self._header.last_offset or (last.key or b"").startswith(closing)

    def _plainly(self) -> Iterator[Record]:
        at, kind = self._at, self._kind
        for r in DefaultRecordBatch(self._plain):
            yield _new(kind, (*at, r.offset, r.timestamp, r.key, r.value, r.headers))

    def _tolerantly(self) -> Iterator[Record]:
        header = self._header
        append_time = header.max_timestamp if header.attributes & _LOG_APPEND_TIME else None
        return decode_with_invalid_header_names(
            self._at,
            memoryview(self._plain)[_HEADER.size :],
            base_offset=header.base_offset,
            count=header.records,
            first_timestamp=header.first_timestamp,
            append_time=append_time,
            kind=self._kind,
        )


def _require_order(header: Header, records: Iterable[Record]) -> Record | None:
    """Return the last one. Raises ``Undecodable`` if offsets do not rise, or leave the batch.

    Brokers do not check the offsets in a batch that is not compressed, and readers continue after
    the last one. Gaps are allowed: compaction leaves them.
    """
    previous, record = header.base_offset - 1, None
    for record in records:
        offset = record[2]
        if not previous < offset <= header.last_offset:
            message = f"a record has offset {offset}, after offset {previous}"
            raise Undecodable(message)
        previous = offset
    return record


class _CommittedOnly:
    """Follows aborted transactions through the batches of one partition."""

    def __init__(self, aborted: AbortedTransactions) -> None:
        self._to_come = sorted(aborted, key=lambda each: each[1], reverse=True)
        self._producers: set[int] = set()

    def shows(self, header: Header, batch: Any) -> bool:
        """Whether the next batch has committed records."""
        while self._to_come and self._to_come[-1][1] <= header.base_offset:
            self._producers.add(self._to_come.pop()[0])
        if header.attributes & _CONTROL:
            if header.records and _is_abort(batch):
                self._producers.discard(header.producer_id)
            return False
        return not (header.attributes & _TRANSACTIONAL and header.producer_id in self._producers)


def _is_abort(batch: Any) -> bool:
    """Whether a control batch ends an aborted transaction."""
    try:
        marker = next(batch)
        return bool(ControlRecord.parse(marker.key) == ABORT_MARKER)
    except (*_MISREAD, TypeError, struct.error) as error:
        message = f"its control record can't be read: {error!r}"
        raise Undecodable(message) from error
