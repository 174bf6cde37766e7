"""Batches of every codec become the same records; what is none of them fails in bounded memory.

What clients on a real broker write is tried in ``tests/broker/test_codecs.py``; what a batch that
can't be decoded becomes in the engine in ``test_unreadable_batches.py``.
"""

import struct
import tracemalloc
import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import cramjam
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from aiokafka.record.util import calc_crc32c, encode_varint
from hypothesis import given, settings
from hypothesis import strategies as st

from exactstage.anonymous import Anonymous
from exactstage.errors import BATCH_TOO_LARGE, UNDECODABLE_BATCH, UnreadableBatch
from exactstage.kafka.fetched import AbortedTransactions, Batches, Budget
from exactstage.limits import Limits
from exactstage.log import Header, Record, TopicPartition

AT = TopicPartition("commands", 3)
MIB = 1024 * 1024
HEADER_BYTES = 61
LOG_APPEND_TIME = 8
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
CODECS = [0, GZIP, SNAPPY, LZ4, ZSTD]

New = tuple[bytes | None, bytes | None, list[Header]]


def xerial(data: bytes, block: int = 32 * 1024) -> bytes:
    """Compress as the Java client does."""
    out = b"\x82SNAPPY\0" + struct.pack(">ii", 1, 1)
    for start in range(0, len(data), block):
        piece = bytes(cramjam.snappy.compress_raw(data[start : start + block]))
        out += struct.pack(">i", len(piece)) + piece
    return out


def lz4(data: bytes) -> bytes:
    """Compress in blocks that don't refer to each other: a broker takes no others."""
    compressor = cramjam.lz4.Compressor(level=1, content_checksum=False, block_linked=False)
    compressor.compress(data)
    return bytes(compressor.finish())


COMPRESS: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "none": (0, bytes),
    "gzip": (GZIP, partial(zlib.compress, wbits=31)),
    "snappy": (SNAPPY, lambda data: bytes(cramjam.snappy.compress_raw(data))),
    "xerial": (SNAPPY, xerial),
    "lz4": (LZ4, lz4),
    "zstd": (ZSTD, lambda data: bytes(cramjam.zstd.compress(data))),
}


def body(records: list[New], offsets: list[int] | None = None) -> bytes:
    """Return records as they are in a batch that is not compressed."""
    out = bytearray()
    for index, (key, value, headers) in enumerate(records):
        record = bytearray(b"\0\0")  # Attributes, and no difference of time.
        encode_varint(index if offsets is None else offsets[index], record.append)
        for text in (key, value):
            append(record, text)
        encode_varint(len(headers), record.append)
        for name, content in headers:
            append(record, name.encode())
            append(record, content)
        encode_varint(len(record), out.append)
        out += record
    return bytes(out)


def append(record: bytearray, text: bytes | None) -> None:
    encode_varint(-1 if text is None else len(text), record.append)
    record += text or b""


def sealed(
    payload: bytes, *, codec: int, count: int, base: int = 7, last: int | None = None
) -> bytes:
    """Return a batch around a payload, with a right checksum."""
    delta = count - 1 if last is None else last
    covered = struct.pack(">hiqqqhii", codec, delta, 1000, 1000, -1, -1, -1, count) + payload
    after_length = struct.pack(">ibI", 0, 2, calc_crc32c(covered)) + covered
    return struct.pack(">qi", base, len(after_length)) + after_length


def packed(codec: str, records: list[New], base: int = 7) -> bytes:
    number, compress = COMPRESS[codec]
    return sealed(compress(body(records)), codec=number, count=len(records), base=base)


class Read(NamedTuple):
    """All that was decoded of one answer, and what was not."""

    records: list[Record]
    unreadable: UnreadableBatch | None
    position: int


def read(
    data: bytes,
    position: int = 0,
    limits: Limits | None = None,
    aborted: AbortedTransactions | None = None,
    *,
    headers: bool = True,
) -> Read:
    """Decode an answer to its end, or to a batch that can't be decoded."""
    limits = limits or Limits()
    batches = Batches(AT, data, position, aborted=aborted, limits=limits, headers=headers)
    records: list[Record] = []
    while not batches.is_done and batches.unreadable is None:
        records += batches.take(Budget(8 * MIB, limits.fetch_records))
    return Read(records, batches.unreadable, batches.position)


def seen(records: list[Record]) -> list[New]:
    return [(record.key, record.value, list(record.headers)) for record in records]


texts = st.none() | st.binary(max_size=60)
headers = st.lists(st.tuples(st.text(max_size=5), texts), max_size=3)
some_records = st.lists(st.tuples(texts, texts, headers), min_size=1, max_size=20)


@pytest.mark.parametrize("codec", COMPRESS)
@settings(max_examples=30)
@given(records=some_records)
def test_every_codec_gives_the_same_records(codec: str, records: list[New]) -> None:
    found = read(packed(codec, records) + packed("none", records, base=7 + len(records)))
    assert seen(found.records) == records * 2
    assert [record.offset for record in found.records] == [*range(7, 7 + 2 * len(records))]
    assert found.position == 7 + 2 * len(records)


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=20)
@given(records=some_records)
def test_what_aiokafka_packs_is_read(codec: int, records: list[New]) -> None:
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, 0, MIB)
    for index, (key, value, more) in enumerate(records):
        builder.append(index, 1000, key, value, more)
    assert seen(read(bytes(builder.build())).records) == records


@pytest.mark.parametrize("codec", COMPRESS)
@settings(max_examples=60)
@given(data=st.data())
def test_damage_is_reported_and_never_misread(codec: str, data: st.DataObject) -> None:
    """Bytes are flipped or lost behind the header, and the checksum made right again."""
    records: list[New] = [(b"p%d" % n, b'{"type":"get"}' * 5, [("h", b"v")]) for n in range(30)]
    number, compress = COMPRESS[codec]
    payload = bytearray(compress(body(records)))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(payload) - 1))
        payload[place] = data.draw(st.integers(0, 255))
    payload = payload[: data.draw(st.just(len(payload)) | st.integers(0, len(payload)))]
    found = read(sealed(bytes(payload), codec=number, count=30))
    if found.unreadable is None:
        assert [record.offset for record in found.records] == [*range(7, 37)]
    else:
        assert found.records == []
        assert found.unreadable.reason == UNDECODABLE_BATCH
        assert (found.unreadable.offset, found.unreadable.last_offset) == (7, 36)
        assert found.unreadable.end_is_known


ANOTHER_PRODUCER_LATER: AbortedTransactions = [(99, 2**62)]
"""It hides nothing here, but lets every batch be decoded with all questions asked."""


@settings(max_examples=150)
@given(data=st.data(), records=some_records, position=st.integers(0, 40))
def test_small_plain_batches_are_read_as_all_others_are(
    data: st.DataObject, records: list[New], position: int
) -> None:
    """They have a way of their own, since nearly all are such: it may only be faster."""
    payload = bytearray(body(records))
    for _ in range(data.draw(st.integers(0, 2))):
        payload[data.draw(st.integers(0, len(payload) - 1))] = data.draw(st.integers(0, 255))
    count = len(records) + data.draw(st.sampled_from([0, 0, 0, -1, 1]))
    first = sealed(bytes(payload), codec=0, count=count)
    answer = first + packed("none", records, base=7 + max(count, 1))
    answer = answer[: data.draw(st.just(len(answer)) | st.integers(0, len(answer)))]
    found = read(answer, position)
    expected = read(answer, position, aborted=ANOTHER_PRODUCER_LATER)
    assert (found.records, found.position) == (expected.records, expected.position)
    assert repr(found.unreadable) == repr(expected.unreadable)
    bare = read(answer, position, headers=False)
    if expected.unreadable is None or bare.unreadable is not None:
        assert [r[:6] for r in bare.records] == [r[:6] for r in expected.records]
        assert bare.position == expected.position
        assert repr(bare.unreadable) == repr(expected.unreadable)
    else:
        assert records_without_headers_are_whole(bare, expected), "a fault of headers"


def records_without_headers_are_whole(bare: Read, expected: Read) -> bool:
    offsets = [record.offset for record in bare.records]
    before = [record[:6] for record in expected.records]
    held = [record[:6] for record in bare.records]
    return held[: len(before)] == before and offsets == sorted(set(offsets))


@pytest.mark.parametrize("attributes", [0, LOG_APPEND_TIME])
@pytest.mark.parametrize("large", [False, True])
def test_records_without_headers_are_the_same_but_for_them(attributes: int, large: bool) -> None:
    """Lengths of one byte and of several, times that rise and fall, and nulls."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, 5, 1, 0, 10 * MIB)
    sizes = [0, 1, 63, 64, 900, *([100_000] if large else [])]
    for offset, (size, time_ms) in enumerate(zip(sizes, [9, 2_000, 7, 8, 9, 10**9], strict=False)):
        text = b"x" * size
        builder.append(offset, time_ms, text[:700], text, [("h", b"v")] * 7)
    builder.append(len(sizes), 5, None, None, [])
    answer = with_attributes(bytes(builder.build()), attributes)
    found, bare = read(answer), read(answer, headers=False)
    assert len(found.records) == len(sizes) + 1
    assert [r[:6] for r in bare.records] == [r[:6] for r in found.records]
    assert any(r.headers for r in bare.records) is large, "of large records they are not left out"
    assert bare.position == found.position


def with_attributes(batch: bytes, attributes: int) -> bytes:
    """Return a batch with other attributes, and a newest time of its own."""
    changed = bytearray(batch)
    struct.pack_into(">h", changed, 21, attributes)
    struct.pack_into(">q", changed, 35, 10**10)
    struct.pack_into(">I", changed, 17, calc_crc32c(bytes(changed[21:])))
    return bytes(changed)


def test_a_number_without_an_end_is_found_at_once() -> None:
    payload = b"\x80" * MIB
    answer = sealed(payload, codec=0, count=2000)
    assert read(answer, headers=False).unreadable is not None


@settings(max_examples=100)
@given(payload=st.binary(max_size=200), codec=st.integers(0, 7), count=st.integers(-2, 2**31 - 1))
def test_noise_is_reported(payload: bytes, codec: int, count: int) -> None:
    found = read(sealed(payload, codec=codec, count=count, last=5))
    assert found.records == [] or len(found.records) == count
    assert found.unreadable is None or found.unreadable.data.endswith(payload)


BOMBS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": partial(zlib.compress, wbits=31),
    "xerial": partial(xerial, block=4 * MIB),
    "snappy": COMPRESS["snappy"][1],
    "lz4": COMPRESS["lz4"][1],
    "zstd": COMPRESS["zstd"][1],
}


@pytest.mark.parametrize("codec", BOMBS)
def test_a_batch_over_the_limit_costs_no_more_memory_than_the_limit(codec: str) -> None:
    limits = Limits(inflated_bytes=2 * MIB)
    payload = BOMBS[codec](bytes(40 * MIB))
    bomb = sealed(payload, codec=COMPRESS[codec][0], count=1)
    tracemalloc.start()
    try:
        found = read(bomb, limits=limits)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.unreadable is not None
    assert found.unreadable.reason == BATCH_TOO_LARGE
    assert found.unreadable.end_is_known
    assert peak < 5 * MIB + len(bomb)


@pytest.mark.parametrize("codec", COMPRESS)
def test_a_batch_of_the_limit_is_read_and_one_byte_more_is_not(codec: str) -> None:
    records: list[New] = [(b"k", bytes(10_000), [])]
    size = len(body(records))
    assert seen(read(packed(codec, records), limits=Limits(inflated_bytes=size)).records) == records
    if codec != "none":
        found = read(packed(codec, records), limits=Limits(inflated_bytes=size - 1))
        assert found.unreadable is not None
        assert found.unreadable.reason == BATCH_TOO_LARGE


def test_batches_of_one_answer_are_decoded_as_memory_allows() -> None:
    one = packed("zstd", [(b"k", bytes(MIB - 100), [])])
    data = b"".join(struct.pack(">q", n) + one[8:] for n in range(200))
    batches = Batches(AT, data, 0, aborted=None, limits=Limits())
    sizes: list[int] = []
    while not batches.is_done:
        sizes.append(len(batches.take(Budget(8 * MIB, 100))))
        assert batches.position == sum(sizes)
    assert sum(sizes) == 200
    assert max(sizes) <= 9


@pytest.mark.parametrize("codec", ["none", "zstd"])
def test_very_many_records_of_one_batch_are_given_out_by_and_by(codec: str) -> None:
    records: list[New] = [(b"%d" % n, None, []) for n in range(1000)]
    limits = Limits(fetch_records=100)
    batches = Batches(AT, packed(codec, records), 9, aborted=None, limits=limits)
    found: list[Record] = []
    while not batches.is_done:
        some = batches.take(Budget(MIB, 100))
        assert len(some) <= 100
        found += some
        assert batches.position == 9 + len(found)
    assert seen(found) == records[2:]


def test_very_many_records_with_a_fault_behind_them_are_not_begun() -> None:
    records: list[New] = [(b"%d" % n, None, []) for n in range(1000)]
    data = sealed(body(records) + b"more", codec=0, count=1000)
    found = read(data, limits=Limits(fetch_records=100))
    assert found.records == []
    assert found.unreadable is not None
    assert "4 bytes follow the last of 1000 records" in found.unreadable.cause


def test_a_record_of_nothing_but_headers_is_too_large() -> None:
    records: list[New] = [(b"k", None, [("", None)] * 600_000)]
    found = read(packed("zstd", records))
    assert found.unreadable is not None
    assert found.unreadable.reason == BATCH_TOO_LARGE


@pytest.mark.parametrize("codec", ["none", "lz4"])
@pytest.mark.parametrize("offsets", [[0, 1_000_000], [1, 0], [0, 0], [-1, 1]])
def test_offsets_that_leave_the_batch_or_fall_move_no_position(
    codec: str, offsets: list[int]
) -> None:
    """A broker takes them in a batch that is not compressed, and would skip what comes next."""
    number, compress = COMPRESS[codec]
    records: list[New] = [(b"k", b"v", [])] * 2
    found = read(sealed(compress(body(records, offsets)), codec=number, count=2))
    assert found.records == []
    assert found.unreadable is not None
    assert (found.unreadable.last_offset, found.position) == (8, 0)


@pytest.mark.parametrize("limits", [Limits(), Limits(fetch_records=1)], ids=["whole", "in steps"])
def test_records_of_a_batch_that_is_not_closed_are_no_workers(limits: Limits) -> None:
    """Java's client is idempotent by default: only how its batches end tells that it was no worker.

    Compaction may have removed the end; what is left of such a batch is taken as it is.
    """
    closed: list[New] = [(b"row", b"1", []), (b"\0end", b"", [])]
    cut = sealed(body(closed[:1]), codec=0, count=1, last=1, base=9)
    for codec in ("none", "zstd"):
        answer = packed(codec, closed) + cut + packed(codec, closed[:1], base=11)
        batches = Batches(
            AT, as_written_by(5, answer), 0, aborted=None, limits=limits, closing=b"\0"
        )
        kinds = [type(record) for record in batches.take(Budget(MIB, 100))]
        assert kinds == [Record, Record, Record, Anonymous]


def as_written_by(producer: int, answer: bytes) -> bytes:
    """Return batches as a producer with this id has written them."""
    out, start = b"", 0
    while start < len(answer):
        (length,) = struct.unpack_from(">i", answer, start + 8)
        batch = bytearray(answer[start : start + 12 + length])
        struct.pack_into(">q", batch, 43, producer)
        struct.pack_into(">I", batch, 17, calc_crc32c(bytes(batch[21:])))
        out, start = out + bytes(batch), start + 12 + length
    return out


def test_gaps_that_compaction_leaves_are_no_fault() -> None:
    records: list[New] = [(b"a", b"1", []), (b"b", b"2", [])]
    data = sealed(body(records, [3, 6]), codec=0, count=2, last=9)
    empty = sealed(b"", codec=ZSTD, count=0, last=4, base=17)
    found = read(data + empty)
    assert [record.offset for record in found.records] == [10, 13]
    assert (found.unreadable, found.position) == (None, 22)


def test_what_follows_gzipped_records_is_passed_as_a_broker_does() -> None:
    records: list[New] = [(b"k", b"v", [])] * 2
    pack = COMPRESS["gzip"][1]
    for more in (b"garbage!!", pack(b"")):
        payload = pack(body(records)[:9]) + pack(body(records)[9:]) + more
        assert seen(read(sealed(payload, codec=GZIP, count=2)).records) == records


def test_a_record_with_attributes_of_a_later_version_is_read() -> None:
    payload = bytearray(body([(b"k", b"v", [("h", b"x")])]))
    payload[1] = 0x80
    found = read(sealed(bytes(payload), codec=0, count=1))
    assert seen(found.records) == [(b"k", b"v", [("h", b"x")])]


@pytest.mark.parametrize("codec", [5, 6, 7])
def test_a_codec_that_kafka_does_not_have_is_reported(codec: int) -> None:
    found = read(sealed(b"x" * 50, codec=codec, count=3))
    assert found.unreadable is not None
    assert f"no codec has the number {codec}" in found.unreadable.cause
    assert (found.unreadable.offset, found.unreadable.last_offset) == (7, 9)


@pytest.mark.parametrize("magic", [0, 1])
def test_a_message_of_an_old_format_is_reported(magic: int) -> None:
    builder = LegacyRecordBatchBuilder(magic, 0, MIB)
    builder.append(0, 1000, b"k", b"v")
    found = read(bytes(builder.build()))
    assert found.unreadable is not None
    assert f"its message format is {magic}" in found.unreadable.cause
    assert found.unreadable.end_is_known
    assert found.unreadable.last_offset == 0


def damaged(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def test_the_end_of_a_damaged_batch_is_known_only_where_all_agrees() -> None:
    """The checksum does not cover where a batch is, and the rest may be what is damaged."""
    first = packed("none", [(b"k", b"v", [])] * 3)
    second = packed("none", [(b"k", b"v", [])], base=10)
    places = {"value": len(first) - 2, "last offset": 26, "count": 60}
    known = {}
    for what, place in places.items():
        found = read(damaged(first, place) + second)
        assert found.unreadable is not None
        known[what] = found.unreadable.end_is_known
    assert known == {"value": True, "last offset": False, "count": False}
    beyond = read(damaged(first, len(first) - 2) + packed("none", [(b"k", b"v", [])], base=99))
    assert beyond.unreadable is not None
    assert not beyond.unreadable.end_is_known


@pytest.mark.parametrize("place", range(HEADER_BYTES))
def test_no_damaged_header_is_skipped_in_silence(place: int) -> None:
    data = packed("none", [(b"k", b"v", [])] * 3)
    changed = damaged(data, place)
    found = read(changed)
    # Where a batch is, and who led the partition then, no checksum covers.
    assert found.unreadable is not None or place in {*range(8), *range(12, 16)}
