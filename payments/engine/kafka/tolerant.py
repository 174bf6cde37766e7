r"""Batches with a header whose name is not UTF-8: a broker takes them, aiokafka can't read them.

The name is Kafka's only text in a record, and no client may stop a worker by it. So such a batch is
read again here, by the record format (KIP-82, and the protocol guide's "Record"), with the bytes
that are no text written as ``\xff``.
"""

from collections.abc import Iterator

from aiokafka.record.default_records import _DefaultRecordBatchPy

from payments.engine.log import Header, Record, TopicPartition

_LENGTH_AT, _HEADER_BYTES = 8, 12
"""A batch begins with its base offset and the length of what follows these."""

_LOG_APPEND_TIME = 1


def tolerantly_read(at: TopicPartition, data: bytes, base_offset: int) -> Iterator[Record]:
    """Yield the records of the batch at ``base_offset`` within the batches of ``data``."""
    start = 0
    while int.from_bytes(data[start : start + _LENGTH_AT], "big") != base_offset:
        start += _HEADER_BYTES + _length(data, start)
    end = start + _HEADER_BYTES + _length(data, start)
    batch = _DefaultRecordBatchPy(data[start:end])
    batch._maybe_uncompress()  # noqa: SLF001 - it knows the codecs
    cursor = _Cursor(bytes(batch._buffer), batch._pos)  # noqa: SLF001 - where the records begin
    count = int.from_bytes(data[start + 57 : start + 61], "big")
    for _ in range(count):
        cursor.varint()  # The length of the record, and a byte of attributes.
        cursor.at += 1
        timestamp = batch.first_timestamp + cursor.varint()
        if batch.timestamp_type == _LOG_APPEND_TIME:
            timestamp = batch.max_timestamp
        offset = base_offset + cursor.varint()
        key, value = cursor.take(), cursor.take()
        headers: list[Header] = []
        for _ in range(cursor.varint()):
            name = cursor.take() or b""
            headers.append((name.decode(errors="backslashreplace"), cursor.take()))
        yield Record(*at, offset, timestamp, key, value, headers)


def _length(data: bytes, start: int) -> int:
    return int.from_bytes(data[start + _LENGTH_AT : start + _HEADER_BYTES], "big")


class _Cursor:
    """Reads numbers and byte strings one after the other."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def varint(self) -> int:
        """Read a signed number of variable length (zigzag)."""
        shift = number = 0
        while True:
            byte = self._data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return (number >> 1) ^ -(number & 1)
            shift += 7

    def take(self) -> bytes | None:
        """Read a byte string with its length; None for a null."""
        size = self.varint()
        if size < 0:
            return None
        piece = self._data[self.at : self.at + size]
        self.at += size
        return piece
