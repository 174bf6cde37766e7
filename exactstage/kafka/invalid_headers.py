r"""Records read byte by byte, where aiokafka's reader gives up: it says what is wrong, or reads on.

What it reads on after is a header whose name is not UTF-8: a broker takes it, aiokafka can't read
it. The name is Kafka's only text in a record, and no client may stop a worker by it: the bytes that
are no text are written as ``\xff``. The layout is that of the record format (KIP-82, and the
protocol guide's "Record"). Every length is checked against what there is.
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

    ``append_time`` is the time of every record, where the topic says LogAppendTime.
    """
    cursor = _Cursor(data)
    for index in range(count):
        size = cursor.varint()
        end = cursor.at + size
        if not 0 < size <= cursor.left:
            message = f"record {index} of {count} is said to have {size} bytes"
            raise Undecodable(message)
        cursor.at += 1  # A byte of attributes, which mean nothing yet.
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
    """Raise ``TooLarge`` where one of ``count`` records has more headers than the limit.

    A header of two bytes is an object of seventy, so this is to be known before they are read.
    """
    cursor = _Cursor(data)
    for _ in range(count):
        size = cursor.varint()
        end = cursor.at + size
        if not 0 < size <= cursor.left:
            return  # It is for whoever reads the records to say what is wrong.
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
        """Bytes that are not read yet."""
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
            message = f"{size} bytes are announced at byte {self.at} of the records, not there"
            raise Undecodable(message)
        piece = bytes(self._data[self.at : self.at + size])
        self.at += size
        return piece

    def skip(self) -> None:
        """Pass a byte string."""
        size = self.varint()
        self.at += max(size, 0)

    def headers(self) -> Iterator[Header]:
        """Read headers."""
        count = self.varint()
        if not 0 <= count <= self.left:
            message = f"a record is said to have {count} headers"
            raise Undecodable(message)
        for _ in range(count):
            name = self.take()
            if name is None:
                message = "a header has no name"
                raise Undecodable(message)
            yield name.decode(errors="backslashreplace"), self.take()
