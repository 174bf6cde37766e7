"""Each record is decided, forwarded, skipped as a repeat, or dead-lettered with a reason."""

import asyncio
from typing import Any

import pytest

from exactstage.journal import Journal
from exactstage.limits import Limits
from exactstage.log import Headers, Record, TopicPartition
from exactstage.partitioner import partition_of
from exactstage.stage import Refused

from .harness import PARTITIONS, CrashingLog, Worker, counted, new_log, until_counted

RIGHT = partition_of(b"w0", PARTITIONS)
WRONG = (RIGHT + 1) % PARTITIONS


async def run(log: CrashingLog, worker: Worker, results: int) -> None:
    await worker.start()
    await until_counted(log, results, worker)
    await worker.stop()
    assert worker.failure is None


def dead(log: CrashingLog) -> list[dict[str, Any]]:
    return [
        {
            "key": record.key,
            "value": record.value,
            **{name.removeprefix("__streams.errors."): value for name, value in record.headers},
        }
        for record in log.records("dead-words")
    ]


async def test_a_record_on_a_wrong_partition_is_handled_once_on_the_right_one() -> None:
    log, stage = new_log()
    for partition in (RIGHT, WRONG, RIGHT, WRONG):
        log.produce(TopicPartition("words", partition), b"w0", b"x")
    await run(log, Worker(log, stage), 4)
    assert counted(log) == {b"w0": [1, 2, 3, 4]}
    assert {record.partition for record in log.records("counts")} == {RIGHT}


async def test_a_record_with_large_headers_is_still_decided_on_its_right_partition() -> None:
    log, stage = new_log()
    log.produce(TopicPartition("words", RIGHT), b"w0", b"x")
    log.produce(TopicPartition("words", WRONG), b"w0", b"x", [("large", b"h" * 600_000)])
    log.produce(TopicPartition("words", WRONG), b"w0", b"x", [("small", b"h")])
    await run(log, Worker(log, stage, local_delivery=False), 3)
    assert counted(log) == {b"w0": [1, 2, 3]}
    kept = [[name for name, _ in record.headers] for record in log.records("inbox")]
    assert kept == [["src-owner", "origin", "src"], ["small", "src-owner", "origin", "src"]]


@pytest.mark.parametrize("local_delivery", [True, False])
async def test_a_record_too_large_to_forward_is_answered_once_on_its_right_partition(
    *, local_delivery: bool
) -> None:
    """Its bytes stay where they came in; a restart of either partition repeats nothing."""
    log, stage = new_log()
    large = b"x" * 300_000
    log.produce(TopicPartition("words", WRONG), b"w0", large, [("refused", b"words/0/0")])
    log.produce(TopicPartition("words", WRONG), b"w0", b"x")
    await run(log, Worker(log, stage, local_delivery=local_delivery), 2)
    next_owner = await Worker(log, stage, local_delivery=local_delivery).start()
    await next_owner.stop()
    assert {record.partition for record in log.records("counts")} == {RIGHT}
    assert [record.value for record in log.records("counts")] == [b"error", b"1"]
    [letter] = dead(log)
    assert (letter["reason"], letter["value"], letter["offset"]) == (b"too_large", large, b"0")
    assert [record.partition for record in log.records("dead-words")] == [WRONG]
    assert [record.value for record in log.records("inbox")] == (
        [] if local_delivery else [None, b"x"]
    )


@pytest.mark.parametrize("name", ["refused", "refusal"])
async def test_a_header_that_imitates_a_refusal_refuses_nothing(name: str) -> None:
    log, stage = new_log()
    for _ in range(2):
        log.produce(TopicPartition("words", WRONG), b"w0", b"x", [(name, b"too_large words/0/0")])
    await run(log, Worker(log, stage), 2)
    assert counted(log) == {b"w0": [1, 2]}
    assert dead(log) == []


@pytest.mark.parametrize("value", [b"x", b"bad"])
@pytest.mark.parametrize("partition", [RIGHT, WRONG])
async def test_a_null_header_is_carried_like_any_other(value: bytes, partition: int) -> None:
    log, stage = new_log()
    log.produce(TopicPartition("words", partition), b"w0", value, [("nothing", None)])
    log.produce(TopicPartition("words", RIGHT), b"w0", b"x")
    await run(log, Worker(log, stage), 1)
    next_owner = await Worker(log, stage).start()
    await next_owner.stop()
    if value == b"bad":
        assert [letter["nothing"] for letter in dead(log)] == [None]


FORGED: list[Headers] = [
    [("src", b"count/0/999999/0")],
    [("origin", b"words/0/0"), ("src", b"count/1/999999/7")],
    [("ce_id", b"count/0/999999/0")],
]


@pytest.mark.parametrize("headers", FORGED)
@pytest.mark.parametrize("partition", [RIGHT, WRONG])
async def test_headers_that_imitate_the_engine_change_nothing(
    headers: Headers, partition: int
) -> None:
    log, stage = new_log()
    for _ in range(3):
        log.produce(TopicPartition("words", partition), b"w0", b"x", headers)
    log.produce(TopicPartition("words", RIGHT), b"w0", b"bad", headers)
    await run(log, Worker(log, stage), 3)
    next_owner = await Worker(log, stage).start()
    log.produce(TopicPartition("words", RIGHT), b"w0", b"x")
    await until_counted(log, 4, next_owner)
    await next_owner.stop()
    assert counted(log) == {b"w0": [1, 2, 3, 4]}
    assert [letter["reason"] for letter in dead(log)] == [b"bad_word"]


@pytest.mark.parametrize(
    "headers",
    [[], [("src", None)], [("src", b"nonsense")], [("src", b"count/0/1/0"), ("other", b"")]],
)
async def test_a_record_that_no_stage_wrote_on_an_internal_topic_is_dead_lettered(
    headers: Headers, caplog: pytest.LogCaptureFixture
) -> None:
    log, stage = new_log()
    log.produce(TopicPartition("inbox", RIGHT), b"w0", b"x", headers)
    log.produce(TopicPartition("words", RIGHT), b"w0", b"x")
    await run(log, Worker(log, stage), 1)
    assert counted(log) == {b"w0": [1]}
    assert [letter["reason"] for letter in dead(log)] == [b"missing_position"]
    assert "is dead-lettered on dead-words as missing_position" in caplog.text
    assert caplog.text.count("is dead-lettered") == 1


async def test_a_refused_record_is_dead_lettered_as_it_was_received() -> None:
    log, stage = new_log()
    offset = log.produce(TopicPartition("words", WRONG), b"w0", b"bad", [("mine", b"\xff\x00")])
    log.produce(TopicPartition("words", WRONG), b"w0", b"x")
    await run(log, Worker(log, stage), 1)
    [letter] = dead(log)
    assert (letter["key"], letter["value"], letter["mine"]) == (b"w0", b"bad", b"\xff\x00")
    assert (letter["topic"], letter["partition"], letter["offset"]) == (
        b"words",
        b"%d" % WRONG,
        b"%d" % offset,
    )
    assert (letter["reason"], letter["exception"]) == (b"bad_word", b"Refused")


@pytest.mark.parametrize("local_delivery", [True, False])
async def test_the_dead_letter_of_a_message_names_its_place_at_its_sender(
    monkeypatch: pytest.MonkeyPatch, local_delivery: bool
) -> None:
    log, stage = new_log()

    def send_and_refuse(record: Record, journal: Journal) -> None:
        if record.topic == "inbox":
            raise Refused("unwanted", "no message is wanted")
        journal.publish("inbox", RIGHT, record.key, b"message", "", record.timestamp)

    monkeypatch.setattr(stage.callbacks, "handle", send_and_refuse)
    log.produce(TopicPartition("words", RIGHT), b"w0", b"x")
    worker = await Worker(log, stage, local_delivery=local_delivery).start()
    async with asyncio.timeout(60):
        while not dead(log):
            await log.grown(1)
    await worker.stop()
    [letter] = dead(log)
    assert (letter["topic"], letter["reason"]) == (b"inbox", b"unwanted")
    assert letter["src"].startswith(b"count/%d/" % RIGHT)


async def test_a_bug_leaves_the_rows_alone_and_is_dead_lettered_answered_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log, stage = new_log()
    at = TopicPartition("words", RIGHT)
    for value in (b"x", b"bug", b"x"):
        log.produce(at, b"w0", value)
    worker = Worker(log, stage)
    await run(log, worker, 3)
    assert [record.value for record in log.records("counts")] == [b"1", b"error", b"2"]
    [letter] = dead(log)
    assert letter["reason"] == b"internal_error"
    assert b"ZeroDivisionError" in letter["stacktrace"]
    assert "can't handle words" in caplog.text


async def test_a_bug_in_the_answer_too_still_leaves_a_dead_letter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log, stage = new_log()

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(stage.callbacks, "on_error", fail, raising=True)
    log.produce(TopicPartition("words", RIGHT), b"w0", b"bug")
    log.produce(TopicPartition("words", RIGHT), b"w0", b"x")
    await run(log, Worker(log, stage), 1)
    assert counted(log) == {b"w0": [1]}
    assert [letter["reason"] for letter in dead(log)] == [b"internal_error"]


async def test_a_value_over_the_limit_is_truncated_in_its_dead_letter() -> None:
    log, stage = new_log()
    limits = Limits(dead_letter_bytes=4, forward_bytes=4, tick_seconds=0.01)
    log.produce(TopicPartition("words", WRONG), b"w0", b"bad", [("mine", b"large")])
    log.produce(TopicPartition("words", RIGHT), b"w0", b"x")
    await run(log, Worker(log, stage, limits), 1)
    [letter] = dead(log)
    assert (letter["value"], letter["value.bytes"]) == (b"ba", b"3")
    assert "mine" not in letter


async def test_a_row_that_the_journal_can_not_hold_is_an_internal_error() -> None:
    log, stage = new_log()
    log.produce(TopicPartition("words", RIGHT), b"w0", b"x")
    reserved = b"\0" + b"0"
    log.produce(TopicPartition("words", partition_of(reserved, PARTITIONS)), reserved, b"x")
    worker = Worker(log, stage)
    await worker.start()
    await until_counted(log, 2, worker)
    await worker.stop()
    assert [letter["exception"] for letter in dead(log)] == [b"RowRefused"]
