"""Heads: key, offset, time and small values of the records of a batch that is not decoded.

They are enough to answer the clients. A batch that is too large is inflated piece by piece, within
two limits, in little memory and bounded time. A batch with a fault has the heads before the fault.
"""

from collections.abc import Iterator
from struct import Struct

from exactstage.limits import Limits
from exactstage.log import NO_HEADERS, Record, TopicPartition

from .codecs import Inflated, Undecodable
from .inflating import pieces

_HEADER = Struct(">qiibIhiqqqhii")
"""See ``fetched``."""

_CODEC, _LOG_APPEND_TIME = 0x07, 0x08
_VARINT_BITS = 64


class Heads:
    """The heads of one batch; each iteration begins at the first record."""

    def __init__(self, at: TopicPartition, data: bytes, limits: Limits) -> None:
        """Take a complete batch of format 2 whose checksum is right."""
        self._at = at
        self._data = data
        self._limits = limits

    def __iter__(self) -> Iterator[Record]:
        """Yield them in order, without headers; a value over ``Limits.head_bytes`` is None."""
        try:
            yield from self._records()
        except Undecodable:
            return  # Records after a fault can't be read.

    def _records(self) -> Iterator[Record]:
        base, _, _, _, _, attributes, delta, first_ms, newest_ms, _, _, _, count = (
            _HEADER.unpack_from(self._data)
        )
        limits = self._limits
        packed = memoryview(self._data)[_HEADER.size :]
        stream = _Stream(pieces(attributes & _CODEC, packed), limits.heads_bytes)
        for index in range(min(count, delta + 1, limits.heads_records)):
            size = stream.varint()
            end = stream.position + size
            stream.skip(1)  # A byte of attributes, which is unused.
            time_ms = first_ms + stream.varint()
            if attributes & _LOG_APPEND_TIME:
                time_ms = newest_ms
            if stream.varint() != index:
                return
            key = stream.take(limits.head_bytes)
            value = stream.take(limits.head_bytes)
            stream.skip(end - stream.position)
            yield Record(*self._at, base + index, time_ms, key, value, NO_HEADERS)


class _Stream:
    """Reads numbers and byte strings from pieces. Raises ``Undecodable`` at the end of the data."""

    def __init__(self, inflated: Iterator[Inflated], limit_bytes: int) -> None:
        self._pieces = inflated
        self._limit = limit_bytes
        self._piece: Inflated = b""
        self._at = 0
        self._before = 0
        """Bytes in the pieces before this one."""

    @property
    def position(self) -> int:
        """Number of bytes read."""
        return self._before + self._at

    def _next_piece(self) -> None:
        self._before += len(self._piece)
        self._at, self._piece = 0, b""
        if self._before > self._limit:
            message = f"it is larger than {self._limit} bytes"
            raise Undecodable(message)
        for piece in self._pieces:
            if piece:
                self._piece = piece
                return
        message = f"it ends at byte {self._before} of its records"
        raise Undecodable(message)

    def varint(self) -> int:
        """Read a signed number of variable length (zigzag)."""
        number = 0
        for shift in range(0, _VARINT_BITS, 7):
            if self._at == len(self._piece):
                self._next_piece()
            byte = self._piece[self._at]
            self._at += 1
            number |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return (number >> 1) ^ -(number & 1)
        message = "a number has no end"
        raise Undecodable(message)

    def take(self, limit_bytes: int) -> bytes | None:
        """Read a byte string with its length; None for a null, and for one above the limit."""
        size = self.varint()
        if size > limit_bytes:
            self.skip(size)
            return None
        end = self._at + max(size, 0)
        if end <= len(self._piece):
            taken = bytes(self._piece[self._at : end])
            self._at = end
            return taken if size >= 0 else None
        taken = b""
        while len(taken) < size:
            if self._at == len(self._piece):
                self._next_piece()
            some = bytes(self._piece[self._at : self._at + size - len(taken)])
            self._at += len(some)
            taken += some
        return taken

    def skip(self, size: int) -> None:
        """Skip ``size`` bytes."""
        if size < 0:
            message = f"a length of {size} at byte {self.position} of its records"
            raise Undecodable(message)
        while size > len(self._piece) - self._at:
            size -= len(self._piece) - self._at
            self._next_piece()
        self._at += size
