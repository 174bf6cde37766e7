"""Codecs: inflates the compressed records of a batch in memory of a limited size.

The codecs and their numbers are those of Kafka's record format: gzip, snappy (raw, as librdkafka
writes it, and in the blocks of the Java client), lz4 frames, zstd.
"""

import zlib
from collections.abc import Callable, Iterator

import cramjam

NONE = 0
NAMES = {0: "none", 1: "gzip", 2: "snappy", 3: "lz4", 4: "zstd"}
"""Codecs by their number in a batch's attributes."""

_FIRST_GUESS = 8
"""Size of the first buffer, as a multiple of the compressed size."""

_GROWTH = 8
_LEAST_BYTES = 4096
GZIP_WINDOW = 31
"""zlib's ``wbits`` for data with a gzip header."""

PIECE_BYTES = 256 * 1024
"""Maximum size of a piece when a batch is inflated piece by piece."""

_INPUT_BYTES = 16 * 1024
_GZIP = b"\x1f\x8b"
_XERIAL = b"\x82SNAPPY\0"
"""Begins a stream of snappy blocks as the Java client writes it (xerial's snappy-java), followed by
two numbers of 4 bytes: its version and the oldest version that can read it."""

_XERIAL_BYTES, _LENGTH_BYTES = 16, 4
_BUFFER_IS_FULL = "failed to write whole buffer"

Inflated = bytes | bytearray | memoryview


class Undecodable(ValueError):
    """These bytes can't be decoded; the message says why."""


class TooLarge(Undecodable):
    """The inflated bytes would be larger than the limit."""


def inflate(codec: int, data: memoryview, limit: int) -> Inflated:
    """Return ``data`` inflated, in memory of about ``limit`` bytes at most.

    Raises ``TooLarge`` when it is larger, ``Undecodable`` for data of another format.
    """
    decompress = _CODECS.get(codec)
    if decompress is None:
        message = f"no codec has the number {codec}"
        raise Undecodable(message)
    return decompress(data, limit)


def _gunzip(data: memoryview, limit: int) -> Inflated:
    """Inflate all gzip members (cramjam's gzip has no limit); clients write one."""
    first = zlib.decompressobj(GZIP_WINDOW)
    try:
        piece = first.decompress(data, limit + 1)
    except zlib.error as error:
        message = f"gzip: {error}"
        raise Undecodable(message) from error
    inflated = bytearray()
    size = len(piece)
    if size <= limit and not first.eof:
        raise _too_short_gzip()
    following = memoryview(first.unused_data)
    for more in gzip_pieces(following) if _begins_member(following) else ():
        inflated += more
        if size + len(inflated) > limit:
            break
    if size + len(inflated) > limit:
        raise _too_large(limit)
    return piece + inflated if inflated else piece


def gzip_pieces(data: memoryview) -> Iterator[bytes]:
    """Inflate one gzip member after the other in pieces; ``data`` begins with a member.

    Bytes after the last member are ignored, as Java's reader, and so a broker, does.
    """
    while True:
        member = zlib.decompressobj(GZIP_WINDOW)
        at = 0
        # The input is passed in small parts, since zlib copies what follows a member.
        while at < len(data) and not member.eof:
            rest: Inflated = data[at : at + _INPUT_BYTES]
            at += len(rest)
            while rest and not member.eof:
                try:
                    yield member.decompress(rest, PIECE_BYTES)
                except zlib.error as error:
                    message = f"gzip: {error}"
                    raise Undecodable(message) from error
                rest = member.unconsumed_tail
        while piece := member.decompress(b"", PIECE_BYTES):
            yield piece
        if not member.eof:
            raise _too_short_gzip()
        data = data[at - len(member.unused_data) :]
        if not _begins_member(data):
            return


def _begins_member(data: memoryview) -> bool:
    return data[: len(_GZIP)] == _GZIP


def _too_short_gzip() -> Undecodable:
    return Undecodable("gzip: the data ends too early")


def _unsnap(data: memoryview, limit: int) -> Inflated:
    if data[: len(_XERIAL)] != _XERIAL:
        return unsnap_block(data, limit, limit)
    inflated = bytearray()
    for block in snappy_blocks(data):
        inflated += unsnap_block(block, limit - len(inflated), limit)
    return inflated


def snappy_blocks(data: memoryview) -> Iterator[memoryview]:
    """Yield the compressed snappy blocks: several from the Java client, else one."""
    if data[: len(_XERIAL)] != _XERIAL:
        yield data
        return
    at = 0
    while at < len(data):
        if data[at : at + len(_XERIAL)] == _XERIAL:
            at += _XERIAL_BYTES
            continue
        end = at + _LENGTH_BYTES + int.from_bytes(data[at : at + _LENGTH_BYTES], "big")
        if end > len(data):
            message = "snappy: the data ends too early"
            raise Undecodable(message)
        yield data[at + _LENGTH_BYTES : end]
        at = end


def unsnap_block(data: memoryview, bytes_left: int, limit: int) -> Inflated:
    """Inflate a snappy block, which begins with its size; at most ``bytes_left`` are allocated.

    ``limit`` is that of the whole batch, for the message of ``TooLarge``.
    """
    try:
        size = cramjam.snappy.decompress_raw_len(data)
        if size > bytes_left:
            raise _too_large(limit)
        block = bytearray(size)
        written = cramjam.snappy.decompress_raw_into(data, block)
    except cramjam.DecompressionError as error:
        message = str(error)
        raise Undecodable(message) from error
    return memoryview(block)[:written]


def _into_buffer(
    name: str, decompress_into: Callable[[memoryview, bytearray], int]
) -> Callable[[memoryview, int], Inflated]:
    """Return an ``inflate`` that fills a buffer, which grows from a small one to the limit."""

    def inflate_into(data: memoryview, limit: int) -> Inflated:
        size = min(limit, max(_LEAST_BYTES, len(data) * _FIRST_GUESS))
        while True:
            buffer = bytearray(size)
            try:
                return memoryview(buffer)[: decompress_into(data, buffer)]
            except cramjam.DecompressionError as error:
                if _BUFFER_IS_FULL not in str(error):
                    message = f"{name}: {error}"
                    raise Undecodable(message) from error
                if size == limit:
                    raise _too_large(limit) from error
            size = min(limit, size * _GROWTH)

    return inflate_into


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"its records are more than {limit} bytes when they are inflated")


_CODECS: dict[int, Callable[[memoryview, int], Inflated]] = {
    1: _gunzip,
    2: _unsnap,
    3: _into_buffer("lz4", cramjam.lz4.decompress_into),
    4: _into_buffer("zstd", cramjam.zstd.decompress_into),
}
