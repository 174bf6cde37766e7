"""Records of a batch that is too large, or broken, are told one by one in little memory.

What the engine answers to them is in ``test_unreadable_batches.py``, real clients on a broker in
``tests/broker/test_codecs.py``.
"""

import tracemalloc
import zlib
from collections.abc import Callable

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exactstage.errors import BATCH_TOO_LARGE, UNDECODABLE_BATCH
from exactstage.kafka.codecs import TooLarge, Undecodable, inflate
from exactstage.kafka.inflating import pieces
from exactstage.limits import Limits
from exactstage.log import Record

from .test_batches import (
    BOMBS,
    COMPRESS,
    GZIP,
    LZ4,
    MIB,
    ZSTD,
    New,
    body,
    damaged,
    packed,
    read,
    sealed,
    some_records,
    xerial,
)

SMALL = Limits(inflated_bytes=1, head_bytes=1000)
"""Limits that no batch of a test is within."""


def heads(data: bytes, limits: Limits = SMALL) -> list[Record]:
    """Return what is told of the only batch of an answer, which can't be read."""
    unreadable = read(data, limits=limits).unreadable
    assert unreadable is not None
    told = list(unreadable.heads)
    assert list(unreadable.heads) == told, "they can be gone through again"
    return told


@pytest.mark.parametrize("codec", [codec for codec in COMPRESS if codec != "none"])
@settings(max_examples=30)
@given(records=some_records)
def test_every_codec_shows_key_value_offset_and_time(codec: str, records: list[New]) -> None:
    told = heads(packed(codec, records))
    assert [(r.offset, r.timestamp, r.key, r.value) for r in told] == [
        (7 + index, 1000, key, value) for index, (key, value, _) in enumerate(records)
    ]


def records_of(count: int, size: int) -> list[New]:
    return [(b"p%d" % n, b"%d" % n * size, [("h", b"v")]) for n in range(count)]


def members(data: bytes, size: int) -> bytes:
    """Compress with gzip, a member for so many bytes, as ``cat a.gz b.gz`` has them."""
    parts = (data[at : at + size] for at in range(0, len(data), size))
    return b"".join(zlib.compress(part, wbits=31) for part in parts)


LARGE: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    **{codec: COMPRESS[codec] for codec in COMPRESS if codec != "none"},
    "linked gzip level 9": (GZIP, lambda data: zlib.compress(data, 9, wbits=31)),
    "gzip of large members": (GZIP, lambda data: members(data, 500_000)),
    "gzip of small members": (GZIP, lambda data: members(data, 3000)),
    "zstd of two frames": (
        ZSTD,
        lambda data: (
            bytes(cramjam.zstd.compress(data[:9999])) + bytes(cramjam.zstd.compress(data[9999:]))
        ),
    ),
    "zstd level 19": (ZSTD, lambda data: bytes(cramjam.zstd.compress(data, 19))),
    "xerial of small blocks": (COMPRESS["xerial"][0], lambda data: xerial(data, block=1000)),
}


@pytest.mark.parametrize("codec", LARGE)
def test_what_is_much_larger_than_a_piece_is_found_to_its_end(codec: str) -> None:
    records = records_of(300, 20_000)
    number, compress = LARGE[codec]
    told = heads(sealed(compress(body(records)), codec=number, count=300))
    assert [record.key for record in told] == [key for key, _, _ in records]
    assert [record.value for record in told] == [None] * 300, "it is too large to be looked at"


@pytest.mark.parametrize("codec", ["gzip", "snappy", "xerial", "lz4", "zstd"])
@settings(max_examples=40)
@given(parts=st.lists(st.binary(max_size=50_000), min_size=1, max_size=6), rest=st.binary())
def test_a_batch_is_inflated_to_the_same_bytes_at_once_and_in_pieces(
    codec: str, parts: list[bytes], rest: bytes
) -> None:
    """Several frames, and what follows them: else a batch over the limit had other commands.

    Of lz4 a broker reads the first frame alone, and snappy as librdkafka has it is one block.
    """
    number, compress = COMPRESS[codec]
    if codec in {"snappy", "lz4"}:
        parts = [b"".join(parts)]
    data = b"".join(map(compress, parts))
    if codec == "gzip":
        data += b"\0" + rest
    whole = memoryview(data)
    assert bytes(inflate(number, whole, MIB)) == b"".join(parts)
    assert b"".join(pieces(number, whole)) == b"".join(parts)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_gzip_members_that_end_too_early_are_broken(count: int) -> None:
    data = memoryview(members(b"x" * 3000 * count, 3000))[:-5]
    with pytest.raises(Undecodable, match="ends too early"):
        inflate(GZIP, data, MIB)
    with pytest.raises(Undecodable, match="ends too early"):
        list(pieces(GZIP, data))


def test_gzip_members_are_too_large_together() -> None:
    data = memoryview(members(bytes(MIB), MIB // 4))
    assert len(inflate(GZIP, data, MIB)) == MIB
    with pytest.raises(TooLarge):
        inflate(GZIP, data, MIB - 1)


@pytest.mark.parametrize("codec", BOMBS)
def test_a_bomb_costs_the_memory_of_some_pieces(codec: str) -> None:
    size = 20 * MIB if codec == "snappy" else 120 * MIB
    payload = BOMBS[codec](body([(b"first", b"x", []), (b"k", bytes(size), [])]))
    bomb = sealed(payload, codec=COMPRESS[codec][0], count=2)
    told = read(bomb, limits=Limits(inflated_bytes=2 * MIB, heads_bytes=90 * MIB)).unreadable
    assert told is not None
    assert told.reason == BATCH_TOO_LARGE
    tracemalloc.start()
    try:
        found = [record.key for record in told.heads]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == ([b"first", b"k"] if codec == "snappy" else [b"first"])
    # One block of snappy as librdkafka writes it is inflated whole: 32 MiB at most.
    assert peak < (33 if codec == "snappy" else 13) * MIB + len(bomb)


def test_so_many_records_and_no_more() -> None:
    limits = Limits(inflated_bytes=1, heads_records=50)
    assert len(heads(packed("zstd", records_of(80, 1)), limits)) == 50


@pytest.mark.parametrize("codec", ["gzip", "xerial", "lz4", "zstd"])
def test_what_stands_before_a_break_is_found(codec: str) -> None:
    records: list[New] = [(b"p%d" % n, zlib.compress(b"%d" % n) * 500, []) for n in range(400)]
    number, compress = COMPRESS[codec]
    payload = compress(body(records))
    found = read(sealed(payload[: len(payload) * 9 // 10], codec=number, count=400)).unreadable
    assert found is not None
    assert found.reason == UNDECODABLE_BATCH
    told = [record.key for record in found.heads]
    assert told == [key for key, _, _ in records[: len(told)]]
    assert len(told) > 100


@pytest.mark.parametrize("codec", COMPRESS)
@settings(max_examples=60)
@given(data=st.data())
def test_damage_ends_them_and_raises_nothing(codec: str, data: st.DataObject) -> None:
    number, compress = COMPRESS[codec]
    payload = bytearray(compress(body(records_of(30, 10))))
    for _ in range(data.draw(st.integers(1, 4))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    found = read(sealed(bytes(payload), codec=number, count=30), limits=SMALL).unreadable
    if found is not None:
        told = [record.offset for record in found.heads]
        assert told == [*range(7, 7 + len(told))]


@settings(max_examples=100)
@given(payload=st.binary(max_size=200), codec=st.integers(0, 7), count=st.integers(-2, 2**31 - 1))
def test_noise_shows_nothing_wrong(payload: bytes, codec: int, count: int) -> None:
    found = read(sealed(payload, codec=codec, count=count, last=5), limits=SMALL).unreadable
    if found is not None:
        assert len(list(found.heads)) <= 6


def test_a_batch_with_a_wrong_checksum_shows_nothing() -> None:
    batch = packed("zstd", records_of(3, 1))
    assert heads(damaged(batch, len(batch) - 3)) == []


def test_an_lz4_frame_with_sizes_and_checksums_is_decoded() -> None:
    """The frame's optional parts, as other libraries write them."""
    packed_block = bytes(cramjam.lz4.compress_block(body(records_of(3, 9)), store_size=False))
    size = len(packed_block).to_bytes(4, "little")
    frame = b"\x04\x22\x4d\x18\x7c\x40" + bytes(8) + b"\0" + size + packed_block + bytes(4 + 4)
    told = heads(sealed(frame, codec=LZ4, count=3))
    assert [record.key for record in told] == [b"p0", b"p1", b"p2"]
