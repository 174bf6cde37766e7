"""Inflating piece by piece: the records of a compressed batch in little memory, whatever its size.

The codecs are those of ``codecs``, which inflates a whole batch at once. gzip and zstd are streams,
lz4 frames and the Java client's snappy are blocks of a few megabytes at most. Snappy as librdkafka
writes it is one block that begins with its size.
"""

from collections.abc import Callable, Iterator

import cramjam

from .codecs import (
    NAMES,
    PIECE_BYTES,
    Inflated,
    Undecodable,
    gzip_pieces,
    snappy_blocks,
    unsnap_block,
)

_ZSTD_WINDOW_BYTES = 32 * 1024 * 1024
"""Maximum window of a zstd frame. Levels up to 19 need 8 MiB."""

_SNAPPY_BLOCK_BYTES = 32 * 1024 * 1024
"""Maximum size of a snappy block: snappy compresses to 1/21 at best, and brokers accept batches of
1 MiB by default."""

_LZ4_MAGIC = b"\x04\x22\x4d\x18"
_LZ4_FLAGS_AT, _LZ4_HEADER_BYTES = 4, 7
_LZ4_BLOCK_CHECKSUM, _LZ4_SIZE, _LZ4_DICTIONARY = 0x10, 0x08, 0x01
_LZ4_STORED = 1 << 31
_LZ4_BLOCK_BYTES = 4 * 1024 * 1024


def pieces(codec: int, data: memoryview) -> Iterator[Inflated]:
    """Yield ``data`` inflated. Raises ``Undecodable`` for data of another format."""
    inflating = _CODECS.get(codec)
    if inflating is None:
        message = f"no codec has the number {codec}"
        raise Undecodable(message)
    try:
        yield from inflating(data)
    except cramjam.DecompressionError as error:
        message = f"{NAMES[codec]}: {error}"
        raise Undecodable(message) from error


def _plain(data: memoryview) -> Iterator[Inflated]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]


def _unsnap(data: memoryview) -> Iterator[Inflated]:
    for block in snappy_blocks(data):
        yield unsnap_block(block, _SNAPPY_BLOCK_BYTES, _SNAPPY_BLOCK_BYTES)


def _unlz4(data: memoryview) -> Iterator[Inflated]:
    """Inflate the independent blocks of the first frame: brokers accept no other blocks.

    The layout is that of the LZ4 frame format 1.6.
    """
    if data[: len(_LZ4_MAGIC)] != _LZ4_MAGIC or len(data) < _LZ4_HEADER_BYTES:
        message = "lz4: there is no frame"
        raise Undecodable(message)
    flags = data[_LZ4_FLAGS_AT]
    at = _LZ4_HEADER_BYTES + 8 * bool(flags & _LZ4_SIZE) + 4 * bool(flags & _LZ4_DICTIONARY)
    block = bytearray(_LZ4_BLOCK_BYTES)
    while (length := int.from_bytes(data[at : at + 4], "little")) != 0:
        stored, size = bool(length & _LZ4_STORED), length & ~_LZ4_STORED
        at += 4
        packed = data[at : at + size]
        if len(packed) < size or size > _LZ4_BLOCK_BYTES:
            message = "lz4: the data ends too early"
            raise Undecodable(message)
        at += size + 4 * bool(flags & _LZ4_BLOCK_CHECKSUM)
        if stored:
            yield packed
        else:
            yield bytes(block[: cramjam.lz4.decompress_block_into(packed, block)])


def _unzstd(data: memoryview) -> Iterator[Inflated]:
    import zstandard  # noqa: PLC0415 - the client is installed without it, and never calls this

    reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).stream_reader(
        data, read_across_frames=True
    )
    try:
        while piece := reader.read(PIECE_BYTES):
            yield piece
    except zstandard.ZstdError as error:
        message = f"zstd: {error}"
        raise Undecodable(message) from error


_CODECS: dict[int, Callable[[memoryview], Iterator[Inflated]]] = {
    0: _plain,
    1: gzip_pieces,
    2: _unsnap,
    3: _unlz4,
    4: _unzstd,
}
