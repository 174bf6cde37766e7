r"""Records with invalid header names: decodes records that aiokafka can't, or reports the fault.

Brokers accept a header name that is not UTF-8, aiokafka raises an error for it. No client may stop
a worker with such a name, so its invalid bytes are decoded as ``\xff``. The layout is that of the
record format (KIP-82, and the protocol guide's "Record"). Every length is checked against the data.
"""

from collections.abc import Iterator

from exactstage.log import Header, Record, TopicPartition

from .codecs import TooLarge, Undecodable

_VARINT_BITS = 64
_HEADER_BYTES = 2
"""The least that a header takes: two lengths."""


def decode_with_invalid_header_names(
    at: TopicPartition,
    data: memoryview,
    *,
    base_offset: int,
    count: int,
    first_timestamp: int,
    append_time: int | None,
    kind: type[Record],
) -> Iterator[Record]:
    """Yield the ``count`` records that ``data`` begins with. Raises ``Undecodable``.

    ``append_time`` is the time of every record when the topic has LogAppendTime.
    """
    cursor = _Cursor(data)
    for index in range(count):
        size = cursor.varint()
        end = cursor.at + size
        if not 0 < size <= cursor.left:
            message = f"the length of record {index} of {count} is {size} bytes"
            raise Undecodable(message)
        cursor.at += 1  # A byte of attributes, which is unused.
        delta = cursor.varint()
        timestamp = first_timestamp + delta if append_time is None else append_time
        offset = base_offset + cursor.varint()
        key, value = cursor.take(), cursor.take()
        headers = list(cursor.headers())
        if cursor.at != end:
            message = f"record {index} has {size} bytes, but its fields end at {cursor.at - end:+}"
            raise Undecodable(message)
        yield kind(*at, offset, timestamp, key, value, headers)
    if cursor.left:
        message = f"{cursor.left} bytes follow the last of {count} records"
        raise Undecodable(message)


def require_few_headers(data: memoryview, count: int, limit: int) -> None:
    """Raise ``TooLarge`` when one of ``count`` records has more headers than the limit.

    A header of two bytes becomes an object of seventy, so this is checked before decoding.
    """
    cursor = _Cursor(data)
    for _ in range(count):
        size = cursor.varint()
        end = cursor.at + size
        if not 0 < size <= cursor.left:
            return  # Decoding the records reports this fault.
        if size > limit * _HEADER_BYTES:
            cursor.at += 1
            cursor.varint()
            cursor.varint()
            cursor.skip()
            cursor.skip()
            headers = cursor.varint()
            if headers > limit:
                message = f"a record has {headers} headers, allowed are {limit}"
                raise TooLarge(message)
        cursor.at = end


class _Cursor:
    """Reads numbers and byte strings one after the other."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.at = 0

    @property
    def left(self) -> int:
        """Number of bytes not read yet."""
        return len(self._data) - self.at

    def varint(self) -> int:
        """Read a signed number of variable length (zigzag)."""
        number = 0
        for shift in range(0, _VARINT_BITS, 7):
            if self.at >= len(self._data):
                break
            byte = self._data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return (number >> 1) ^ -(number & 1)
        message = f"the number that ends at byte {self.at} of the records has no end"
        raise Undecodable(message)

    def take(self) -> bytes | None:
        """Read a byte string with its length; None for a null."""
        size = self.varint()
        if size < 0:
            return None
        if size > self.left:
            message = f"a field of {size} bytes at byte {self.at} of the records is truncated"
            raise Undecodable(message)
        piece = bytes(self._data[self.at : self.at + size])
        self.at += size
        return piece

    def skip(self) -> None:
        """Skip a byte string."""
        size = self.varint()
        self.at += max(size, 0)

    def headers(self) -> Iterator[Header]:
        """Read headers."""
        count = self.varint()
        if not 0 <= count <= self.left:
            message = f"a record's number of headers is {count}"
            raise Undecodable(message)
        for _ in range(count):
            name = self.take()
            if name is None:
                message = "a header has no name"
                raise Undecodable(message)
            yield name.decode(errors="backslashreplace"), self.take()
