"""Checkpoints, outputs and partitions in the form in which they stand in Kafka."""

import json

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from exactstage.checkpoint import (
    Checkpoint,
    checkpoint_key,
    decode_checkpoint,
    encode_checkpoint,
)
from exactstage.errors import JournalBroken
from exactstage.kafka.appender import encode_batch
from exactstage.limits import RING
from exactstage.log import Writer
from exactstage.outputs import (
    Output,
    Publication,
    Rounds,
    iso_time,
    parse_source,
    size_of,
)
from exactstage.partitioner import murmur2, partition_of

optional_bytes = st.none() | st.binary(max_size=40)
outputs = st.builds(
    Output,
    topic=st.sampled_from(["results", "ledger"]),
    partition=st.integers(0, 63),
    key=optional_bytes,
    value=optional_bytes,
    type=st.sampled_from(["", "payments.result"]),
    time_ms=st.integers(0, 2**42),
    headers=st.lists(st.tuples(st.text(max_size=8), optional_bytes), max_size=3),
)


@given(
    st.builds(
        Checkpoint,
        n=st.integers(1, 2**50),
        published=st.integers(0, 2**50),
        inputs=st.dictionaries(st.text(max_size=8), st.integers(0, 2**60), max_size=3),
        sources=st.dictionaries(
            st.text(max_size=8), st.tuples(st.integers(0), st.integers(0)), max_size=3
        ).map(lambda d: {k: (min(n, 2**60), min(i, 2**60)) for k, (n, i) in d.items()}),
        outputs=st.lists(outputs, max_size=5),
    )
)
def test_a_checkpoint_is_read_as_it_was_written(checkpoint: Checkpoint) -> None:
    assert decode_checkpoint(encode_checkpoint(checkpoint)) == checkpoint


@given(outputs, st.text(max_size=8))
def test_the_line_of_a_checkpoint_is_compact_json_in_utf8(output: Output, topic: str) -> None:
    value = encode_checkpoint(Checkpoint(2**50, 0, {topic: 2**60}, {}, [output]))
    line = value.partition(b"\n")[0].decode()
    assert json.dumps(json.loads(line), ensure_ascii=False, separators=(",", ":")) == line


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"{}",
        b"[]\n",
        b"nonsense\n",
        b"\xff\n",
        b'{"n":1}\n',
        b'{"n":NaN}\n',
        b'{"n":1e400}\n',
        b'{"n":%s}\n' % (b"9" * 5000),
        b'{"n":"\\ud800"}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_a_checkpoint_that_is_something_else_is_an_error(value: bytes) -> None:
    with pytest.raises(JournalBroken, match="can't be read"):
        decode_checkpoint(value)


def test_a_truncated_checkpoint_is_an_error() -> None:
    output = Output("results", 0, b"key", b"value", "", 0)
    value = encode_checkpoint(Checkpoint(1, 0, {}, {}, [output]))
    with pytest.raises(JournalBroken, match="bytes expected"):
        decode_checkpoint(value[:-1])


def test_a_slot_of_the_ring_is_used_again_after_64_commits() -> None:
    assert checkpoint_key(7) == checkpoint_key(7 + RING)
    assert len({checkpoint_key(n) for n in range(RING)}) == RING


def test_an_output_is_never_larger_than_its_estimate() -> None:
    writer = Writer(1, 0)
    output = Output("results", 63, b"k" * 300, b"v" * 300, "type", 2**41, [("name", b"content")])
    size = size_of(output.key, output.value, output.headers)
    publication = Publication(
        "payments", 63, 2**40, [output], [size], frozenset({"results"}), writer
    )
    rounds = Rounds(10**6)
    publication.add_to(rounds, writer)
    [[batch]] = rounds
    assert len(encode_batch(batch)) < size


@given(st.binary(max_size=300))
def test_keys_are_hashed_as_other_kafka_clients_do(key: bytes) -> None:
    assert murmur2(key) == aiokafka_murmur2(key) & 0xFFFFFFFF


def test_a_key_has_the_partition_that_java_clients_give_it() -> None:
    # Values of Kafka's own UtilsTest.testMurmur2, as signed numbers.
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    for key, signed in known.items():
        assert murmur2(key) == signed & 0xFFFFFFFF
        # With eight partitions the sign of the hash would make no difference.
        for partitions in (3, 8, 12):
            assert partition_of(key, partitions) == (signed & 0x7FFFFFFF) % partitions


@pytest.mark.parametrize(
    "text", [b"", b"payments/1/2", b"payments/x/2/3", b"\xff/1/2/3", b"a/b/1/2/3"]
)
def test_a_position_that_is_something_else_is_an_error(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any of its subclasses
        parse_source(text)


def test_times_are_iso_8601_in_utc_with_milliseconds() -> None:
    assert iso_time(1_767_225_600_007) == b"2026-01-01T00:00:00.007Z"


def test_outputs_for_one_partition_are_split_into_rounds_and_keep_their_order() -> None:
    writer = Writer(1, 0)
    rounds = Rounds(batch_bytes=250)
    for index in range(5):
        rounds.add("results", 0, writer, (b"%d" % index, None, []), 100)
    rounds.add("results", 1, writer, (b"x", None, []), 100)
    found = [{batch.at.partition: [r[0] for r in batch.records] for batch in r} for r in rounds]
    assert found == [{0: [b"0", b"1"], 1: [b"x"]}, {0: [b"2", b"3"]}, {0: [b"4"]}]
    assert rounds.count == 6


def test_a_record_over_the_limit_is_a_batch_of_its_own() -> None:
    rounds = Rounds(batch_bytes=100)
    for size in (900, 10, 10):
        rounds.add("results", 0, Writer(1, 0), (b"k", None, []), size)
    assert [[len(batch.records) for batch in batches] for batches in rounds] == [[1], [2]]
