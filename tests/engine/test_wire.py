"""Requests laid out by hand have the bytes of aiokafka's schemas, and read what those write."""

import gc
import weakref
from io import BytesIO
from struct import pack

import pytest
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11
from aiokafka.protocol.offset import OffsetRequest_v3, OffsetResponse_v3
from aiokafka.protocol.produce import ProduceRequest_v7, ProduceResponse_v7
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.util import calc_crc32c

from exactstage.kafka.fetched import Batches, Budget, decode_batches
from exactstage.kafka.invalid_headers import decode_with_invalid_header_names
from exactstage.kafka.wire import Fetch, FetchedBytes, ListOffsets, Offset, Produce, Produced
from exactstage.limits import Limits
from exactstage.log import Record, TopicPartition

AT = TopicPartition("inbox", 1)
ABORT, COMMIT = b"\0\0\0\0", b"\0\0\0\1"
BY_NAME, BY_ID = {0: (3, 12), 1: (4, 12)}, {0: (3, 13), 1: (4, 18)}
"""Versions of Kafka 3.9, were it not for its Fetch 17, and of Kafka 4.1."""

IDS = {"a": bytes(range(16)), "b": bytes(range(16, 32)), "unused": bytes(16)}


def test_produce_is_laid_out_as_version_7() -> None:
    batches = {"a-topic": [(0, b"first"), (7, b"second")], "b": [(1, b"")]}
    expected = ProduceRequest_v7(None, -1, 5000, list(batches.items()))
    assert Produce(batches, 5000).prepare(BY_ID).encode() == expected.encode()


def test_the_answer_to_produce_is_read() -> None:
    body = ProduceResponse_v7(
        [("a", [(0, 0, 42, 1_767_225_600_000, 0), (1, 6, -1, -1, -1)])], 0
    ).encode()
    assert Produce({}, 1).decode(BytesIO(body)) == [
        Produced("a", 0, 0, 42, 1_767_225_600_000),
        Produced("a", 1, 6, -1, -1),
    ]


def test_answers_state_for_how_long_the_broker_throttles() -> None:
    produce = Produce({}, 1)
    produce.decode(BytesIO(ProduceResponse_v7([("a", [(0, 0, 42, 1, 0)])], 1500).encode()))
    fetch = Fetch({}, wait_ms=0, min_bytes=0, max_bytes=0, partition_bytes=0, committed_only=False)
    fetch.decode(BytesIO(FetchResponse_v11(2500, 0, 0, []).encode()))
    assert (produce.throttle_ms, fetch.throttle_ms) == (1500, 2500)


def test_fetch_is_laid_out_as_version_11() -> None:
    ours = Fetch(
        {"a": [(0, 42), (1, 7)]},
        wait_ms=250,
        min_bytes=1,
        max_bytes=1000,
        partition_bytes=100,
        committed_only=True,
    )
    partitions = [(0, -1, 42, -1, 100), (1, -1, 7, -1, 100)]
    expected = FetchRequest_v11(-1, 250, 1, 1000, 1, 0, -1, [("a", partitions)], [], "")
    assert ours.prepare(BY_ID).encode() == expected.encode()


@pytest.mark.parametrize(
    ("ids", "versions", "version"),
    [
        (IDS, BY_ID, 13),
        (IDS, BY_NAME, 7),
        ({"a": IDS["a"]}, BY_ID, 7),  # mixed: all topics or none
        ({}, BY_ID, 7),
    ],
)
def test_topics_are_named_by_id_where_all_ids_and_the_version_are_known(
    ids: dict[str, bytes], versions: dict[int, tuple[int, int]], version: int
) -> None:
    request = Produce({"a": [(0, b"one")], "b": [(1, b"two")]}, 1, ids=ids).prepare(versions)
    assert version == request.API_VERSION
    request.build_request_header(7, "me")
    header = pack(">hhih", 0, version, 7, 2) + b"me" + (b"\0" if version == 13 else b"")
    assert request.encode().startswith(header)
    tags = b"\1\5\1?" if version == 13 else b""  # one field of one byte
    answer = BytesIO(pack(">i", 7) + tags + b"body")
    assert request.parse_response_header(answer).correlation_id == 7
    assert answer.read() == b"body"


def test_produce_is_laid_out_as_version_13() -> None:
    """By the protocol guide; ``tests/broker/test_recreated_topics.py`` asks a broker."""
    long = bytes(200)
    request = Produce({"a": [(0, b"first"), (7, long)], "b": [(1, b"")]}, 5000, ids=IDS)
    assert request.prepare(BY_ID).encode() == b"".join(
        [
            pack(">bhi", 0, -1, 5000),  # no transactional id, acks, timeout
            b"\3",  # two topics
            *(IDS["a"], b"\3"),  # two partitions
            *(pack(">i", 0), b"\6first", b"\0"),
            *(pack(">i", 7), b"\xc9\1", long, b"\0"),  # 201 in two bytes
            b"\0",
            *(IDS["b"], b"\2", pack(">i", 1), b"\1", b"\0", b"\0"),
            b"\0",
        ]
    )


def test_the_answer_to_produce_of_version_13_is_read() -> None:
    """Leaders and errors of records are passed over: the next metadata has the leaders."""
    request = Produce({"a": [(0, b""), (1, b"")], "b": [(5, b"")]}, 1, ids=IDS).prepare(BY_ID)
    body = b"".join(
        [
            b"\3",
            *(IDS["a"], b"\3"),
            *(pack(">ihqqq", 0, 0, 42, 1_767_225_600_000, 0), b"\1\0\0"),
            *(pack(">ihqqq", 1, 6, -1, -1, -1), b"\1\4why\1\0\x08", pack(">ii", 3, 9)),
            b"\0",
            *(IDS["b"], b"\2", pack(">ihqqq", 5, 87, -1, -1, -1)),
            *(b"\3", pack(">i", 0), b"\0\0", pack(">i", 1), b"\4bad\0"),  # of records
            b"\0\0",  # no message, no tags
            b"\0",
            pack(">i", 1500),
            b"\0",
        ]
    )
    assert request.decode(BytesIO(body)) == [
        Produced("a", 0, 0, 42, 1_767_225_600_000),
        Produced("a", 1, 6, -1, -1),
        Produced("b", 5, 87, -1, -1),
    ]
    assert request.throttle_ms == 1500


def by_id() -> Fetch:
    request = Fetch(
        {"a": [(0, 42), (1, 7)], "b": [(3, 9)]},
        wait_ms=250,
        min_bytes=1,
        max_bytes=1000,
        partition_bytes=100,
        committed_only=True,
        ids=IDS,
    )
    request.prepare(BY_ID)
    return request


def test_fetch_is_laid_out_as_version_13() -> None:
    assert by_id().encode() == b"".join(
        [
            pack(">iiiibii", -1, 250, 1, 1000, 1, 0, -1),
            b"\3",
            *(IDS["a"], b"\3"),
            *(pack(">iiqiqi", 0, -1, 42, -1, -1, 100), b"\0"),
            *(pack(">iiqiqi", 1, -1, 7, -1, -1, 100), b"\0"),
            b"\0",
            *(IDS["b"], b"\2", pack(">iiqiqi", 3, -1, 9, -1, -1, 100), b"\0", b"\0"),
            b"\1\1\0",  # no forgotten topics, empty rack, no tags
        ]
    )


def test_the_answer_to_fetch_of_version_13_is_read() -> None:
    body = b"".join(
        [
            pack(">ihi", 2500, 0, 0),
            b"\3",
            *(IDS["a"], b"\3"),
            *(pack(">ihqqq", 0, 0, 9, 4, 0), b"\2", pack(">qq", 5, 3), b"\0"),
            *(pack(">i", -1), b"\x08batches", b"\0"),
            *(pack(">ihqqq", 1, 1, -1, -1, -1), b"\0", pack(">i", -1), b"\0", b"\0"),
            b"\0",
            *(IDS["b"], b"\2", pack(">ihqqq", 3, 0, 9, 9, 0), b"\1", pack(">i", -1)),
            *(b"\xc9\1", bytes(200), b"\1\1\x08", pack(">ii", 1, 4)),  # the current leader
            b"\0",
            b"\0",
        ]
    )
    request = by_id()
    assert request.decode(BytesIO(body)) == (
        0,
        [
            FetchedBytes("a", 0, 0, [(5, 3)], b"batches", 4, 9),
            FetchedBytes("a", 1, 1, [], b"", -1, -1),
            FetchedBytes("b", 3, 0, [], bytes(200), 9, 9),
        ],
    )
    assert request.throttle_ms == 2500


def test_the_answer_to_fetch_is_read() -> None:
    partitions = [(0, 0, 9, 4, 0, [(5, 3)], -1, b"batches"), (1, 1, -1, -1, -1, None, -1, b"")]
    body = FetchResponse_v11(0, 0, 0, [("a", partitions)]).encode()
    fetch = Fetch({}, wait_ms=0, min_bytes=0, max_bytes=0, partition_bytes=0, committed_only=False)
    assert fetch.decode(BytesIO(body)) == (
        0,
        [
            FetchedBytes("a", 0, 0, [(5, 3)], b"batches", 4, 9),
            FetchedBytes("a", 1, 1, [], b"", -1, -1),
        ],
    )


def test_list_offsets_is_laid_out_as_version_3() -> None:
    times = {"a-topic": [(0, -1), (7, -2)], "b": [(1, 1_767_225_600_000)]}
    for committed_only in (False, True):
        ours = ListOffsets(times, committed_only=committed_only)
        expected = OffsetRequest_v3(-1, int(committed_only), list(times.items()))
        assert ours.encode() == expected.encode()


def test_the_answer_to_list_offsets_is_read() -> None:
    body = OffsetResponse_v3(0, [("a", [(0, 0, -1, 42), (7, 6, -1, -1)]), ("b", [])]).encode()
    answer = ListOffsets({}, committed_only=False).decode(BytesIO(body))
    assert answer == [Offset("a", 0, 0, 42), Offset("a", 7, 6, -1)]


class Held(dict[str, list[tuple[int, bytes]]]):
    """What a request holds, so that its end is seen: a compiled request has no weak references."""


def test_a_request_is_freed_as_soon_as_it_was_answered() -> None:
    held = Held(a=[(0, b"batch")])
    gone = weakref.ref(held)
    request = Produce(held, 1000)
    request.prepare(BY_ID).build_request_header(1, "client")
    assert request.RESPONSE_TYPE is request
    gc.disable()
    try:
        del held
        assert gone() is not None
        del request
        assert gone() is None, "a request in a circle keeps its batches"
    finally:
        gc.enable()


@pytest.mark.parametrize("versions", [{}, {0: (0, 6)}, {0: (8, 12)}])
def test_a_broker_that_does_not_know_the_version_is_refused(
    versions: dict[int, tuple[int, int]],
) -> None:
    with pytest.raises(IncompatibleBrokerVersion, match="version 7 of Produce"):
        Produce({}, 1).prepare(versions)


def batch(first: int, values: list[bytes], *, producer: int = -1, transactional: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, transactional, producer, 0, 0, 1 << 20)
    for index, value in enumerate(values):
        builder.append(index, 1000 + index, b"k", value, [])
    data = bytearray(builder.build())
    data[0:8] = first.to_bytes(8, "big")  # The base offset is not in the checksum.
    return bytes(data)


def control(first: int, marker: bytes, *, producer: int) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 1, producer, 0, 0, 1 << 20)
    builder.append(0, 1000, marker, b"\0\0\0\0\0\0", [])
    data = bytearray(builder.build())
    data[22] |= 0x20  # The control bit of the attributes; then the checksum again.
    data[17:21] = calc_crc32c(bytes(data[21:])).to_bytes(4, "big")
    data[0:8] = first.to_bytes(8, "big")
    return bytes(data)


def test_records_are_unpacked_from_the_position_on() -> None:
    data = batch(10, [b"a", b"b", b"c"]) + batch(20, [b"d"])
    fetched = decode_batches(AT, data, 11, None)
    assert [(r.offset, r.value, r.topic, r.partition) for r in fetched.records] == [
        (11, b"b", "inbox", 1),
        (12, b"c", "inbox", 1),
        (20, b"d", "inbox", 1),
    ]
    assert fetched.position == 21


def test_control_records_are_passed_but_never_shown() -> None:
    data = batch(0, [b"a"]) + control(1, ABORT, producer=5) + control(2, COMMIT, producer=6)
    nothing: list[tuple[int, int]] = []
    for aborted in (None, nothing):
        fetched = decode_batches(AT, data, 0, aborted)
        assert [r.value for r in fetched.records] == [b"a"]
        assert fetched.position == 3


def test_aborted_records_are_hidden_from_readers_of_committed_ones() -> None:
    data = (
        batch(0, [b"aborted"], producer=5, transactional=1)
        + batch(1, [b"other"], producer=6, transactional=1)
        + control(2, ABORT, producer=5)
        + control(3, COMMIT, producer=6)
        + batch(4, [b"later"], producer=5, transactional=1)
    )
    committed = decode_batches(AT, data, 0, [(5, 0)])
    assert [r.value for r in committed.records] == [b"other", b"later"]
    assert committed.position == 5
    assert [r.value for r in decode_batches(AT, data, 0, None).records] == [
        b"aborted",
        b"other",
        b"later",
    ]


def test_a_batch_with_a_wrong_checksum_is_an_error() -> None:
    data = bytearray(batch(0, [b"a"]))
    data[-1] ^= 1
    batches = Batches(AT, bytes(data), 0, aborted=None, limits=Limits())
    assert batches.take(Budget(1 << 20, 100)) == []
    assert "inbox/1/0" in str(batches.unreadable)
    assert batches.may_be_transient


@pytest.mark.parametrize("compression", [0, 1])
def test_a_header_name_that_is_no_text_does_not_hide_the_records(compression: int) -> None:
    builder = DefaultRecordBatchBuilder(2, compression, 0, -1, -1, 0, 1 << 20)
    for index, value in enumerate((b"a", None)):
        builder.append(index, 1000 + index, b"k", value, [("name", b"v"), ("other", None)])
    plain = bytes(builder.build())
    reference = decode_batches(AT, plain, 0, None)
    for place in [plain.index(b"name")] if not compression else []:
        broken = bytearray(plain)
        broken[place] = 0xFF
        broken[17:21] = calc_crc32c(bytes(broken[21:])).to_bytes(4, "big")
        data = batch(0, [b"before"]) + rebased(bytes(broken), 1)
        fetched = decode_batches(AT, data, 0, None)
        assert [(r.offset, r.value, r.timestamp) for r in fetched.records] == [
            (0, b"before", 1000),
            (1, b"a", 1000),
            (2, None, 1001),
        ]
        assert list(fetched.records[1].headers) == [("\\xffame", b"v"), ("other", None)]
    # What the tolerant reader reads of a sound batch is what aiokafka reads.
    if not compression:
        read = decode_with_invalid_header_names(
            AT,
            memoryview(plain)[61:],
            base_offset=0,
            count=2,
            first_timestamp=1000,
            append_time=None,
            kind=Record,
        )
        assert [tuple(r) for r in read] == [(*r[:6], list(r.headers)) for r in reference.records]


def rebased(data: bytes, first: int) -> bytes:
    return first.to_bytes(8, "big") + data[8:]
