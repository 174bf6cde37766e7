"""A batch that can't be decoded: dead-lettered once where anyone may write, else the end."""

import struct

import pytest

from exactstage.errors import BATCH_TOO_LARGE, UNDECODABLE_BATCH, FailStop, UnreadableBatch
from exactstage.limits import Limits
from exactstage.log import NewRecord, TopicPartition
from exactstage.partitioner import partition_of
from payments.dead_letters.letter import read_letter

from .harness import (
    PARTITIONS,
    CrashingLog,
    CrashMode,
    Killed,
    Worker,
    counted,
    new_log,
    until_counted,
)
from .test_batches import New, body, damaged, packed, sealed
from .test_kafka_errors import AT, Brokers, fetched, reader, values

RIGHT = partition_of(b"w0", PARTITIONS)
WORDS = TopicPartition("words", RIGHT)


def produce(log: CrashingLog) -> UnreadableBatch:
    """Write a word, a batch of three records that nobody can read, and a word."""
    log.produce(WORDS, b"w0", b"x")
    batch = log.produce_unreadable(WORDS, 3, UNDECODABLE_BATCH)
    log.produce(WORDS, b"w0", b"x")
    return batch


@pytest.mark.parametrize("mode", ["before", "half", "after"])
async def test_it_is_put_aside_once_whatever_append_a_worker_dies_at(mode: CrashMode) -> None:
    crash_at, crashed = 0, True
    while crashed:
        crash_at += 1
        log, stage = new_log()
        log.crash_at, log.crash_mode = crash_at, mode
        batch = produce(log)
        worker = Worker(log, stage)
        try:
            await worker.start()
            await until_counted(log, 2, worker)
            crashed = worker.failure is not None
        except Killed:
            crashed = True
        await worker.kill()
        log.crash_at = None
        next_owner = await Worker(log, stage).start()
        await until_counted(log, 2, next_owner)
        await next_owner.stop()
        assert next_owner.failure is None
        assert counted(log) == {b"w0": [1, 2]}
        [letter] = [read_letter(record) for record in log.records("dead-words")]
        assert (letter.reason, letter.source) == (UNDECODABLE_BATCH, f"words/{RIGHT}/1")
        assert (letter.last_offset, letter.key, letter.value) == (3, None, batch.data)
    assert crash_at > 5


@pytest.mark.parametrize("mode", ["before", "half", "after"])
async def test_its_records_are_refused_once_each_whatever_append_a_worker_dies_at(
    mode: CrashMode,
) -> None:
    """Each in the partition of its key, in order, although their commits are small.

    Of the same kind: a batch beyond the limit, and one that breaks off, both on a broker
    (``tests/broker/test_codecs.py``); records that are refused for their own size
    (``test_processing.py``).
    """
    keys = [b"w%d" % (n % 7) for n in range(40)]
    told: list[NewRecord] = [(key, b"a value", []) for key in keys]
    limits = Limits(commit_bytes=600, yield_every=5, tick_seconds=0.01, idle_seconds=0.02)
    crash_at, crashed = 0, True
    while crashed:
        crash_at += 1
        log, stage = new_log()
        log.crash_at, log.crash_mode = crash_at, mode
        log.produce(WORDS, b"w0", b"x")
        batch = log.produce_unreadable(WORDS, 45, BATCH_TOO_LARGE, [(None, b"x", []), *told])
        log.produce(WORDS, b"w0", b"x")
        worker = Worker(log, stage, limits)
        try:
            await worker.start()
            await until_counted(log, 42, worker)
            crashed = worker.failure is not None
        except Killed:
            crashed = True
        await worker.kill()
        log.crash_at = None
        next_owner = await Worker(log, stage, limits).start()
        await until_counted(log, 42, next_owner)
        await next_owner.stop()
        assert next_owner.failure is None
        answers = [(record.partition, record.key) for record in log.records("counts")]
        assert sorted(answers) == sorted(
            (partition_of(key, PARTITIONS), key) for key in [*keys, b"w0", b"w0"]
        )
        [letter] = [read_letter(record) for record in log.records("dead-words")]
        assert (letter.value, letter.facts["unanswered"]) == (batch.data, "4")
        assert letter.last_offset == batch.last_offset
        assert letter.headers == []
    assert crash_at > 15


async def test_a_rebalance_does_not_wait_for_a_whole_batch() -> None:
    """The next assignment goes on within it; a stop, or another owner, is the same to it."""
    log, stage = new_log()
    told: list[NewRecord] = [(b"w0", None, [])] * 3000
    log.produce_unreadable(WORDS, 3000, BATCH_TOO_LARGE, told)
    limits = Limits(commit_bytes=4000, yield_every=10, tick_seconds=0.01, idle_seconds=0.02)
    worker = await Worker(log, stage, limits).start()
    await until_counted(log, 50, worker)
    await worker.assign(range(PARTITIONS))
    assert not log.records("dead-words"), "it is not at its end yet"
    await until_counted(log, 200, worker)
    await worker.stop()
    assert 200 <= len(log.records("counts")) < 3000
    next_owner = await Worker(log, stage, limits).start()
    await until_counted(log, 3000, next_owner)
    await next_owner.stop()
    assert [record.value for record in log.records("counts")] == [b"error"] * 3000
    assert len(log.records("dead-words")) == 1


async def test_it_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    log, stage = new_log()
    produce(log)
    worker = await Worker(log, stage).start()
    await until_counted(log, 2, worker)
    assert worker.engine.counts().dead_lettered == {"count": {UNDECODABLE_BATCH: 1}}
    await worker.stop()
    assert (
        f"words/{RIGHT}/1: the batch of offsets 1 to 3 is dead-lettered on dead-words"
        in caplog.text
    )


async def test_among_messages_between_stages_it_ends_the_process() -> None:
    log, stage = new_log()
    log.produce_unreadable(TopicPartition("inbox", RIGHT), 2, BATCH_TOO_LARGE)
    worker = await Worker(log, stage).start()
    await worker.ended.wait()
    await worker.kill()
    assert str(worker.failure).startswith(
        f"inbox/{RIGHT}/0: the batch of offsets 0 to 1 can't be read (batch_too_large): "
    )
    assert log.records("dead-words") == []


async def test_where_nobody_knows_its_end_it_ends_the_process_too() -> None:
    log, stage = new_log()
    log.produce_unreadable(WORDS, 2, UNDECODABLE_BATCH).end_is_known = False
    worker = await Worker(log, stage).start()
    await worker.ended.wait()
    await worker.kill()
    assert isinstance(worker.failure, UnreadableBatch)


async def test_in_a_journal_it_ends_a_takeover() -> None:
    log, stage = new_log()
    log.produce_unreadable(TopicPartition(stage.changelog, RIGHT), 2, UNDECODABLE_BATCH)
    worker = Worker(log, stage)
    with pytest.raises(FailStop, match=f"{stage.changelog}/{RIGHT}/0: the batch of offsets 0 to 1"):
        await worker.start()
    await worker.kill()


SOUND = packed("none", [(b"k", b"a", [])], base=0)
BROKEN = damaged(SOUND, len(SOUND) - 2)
NEXT = packed("none", [(b"k", b"b", [])], base=1)


async def test_a_damage_on_the_way_is_fetched_again() -> None:
    brokers = Brokers([(0, [fetched(data=BROKEN)]), (0, [fetched(data=SOUND)])])
    assert await values(reader(brokers)) == [b"a"]
    assert brokers.refreshed


async def test_a_damage_that_stays_is_reported_again_until_it_is_skipped() -> None:
    brokers = Brokers([(0, [fetched(data=BROKEN + NEXT)])])
    reading = reader(brokers)
    with pytest.raises(UnreadableBatch, match="inbox/0/0") as told:
        await reading.fetch(timeout_seconds=5)
    tries = len(brokers.requests)
    assert 2 <= tries <= 5
    with pytest.raises(UnreadableBatch) as again:
        await reading.fetch(timeout_seconds=5)
    assert again.value is told.value
    assert reading.positions()[AT] == 0
    reading.skip(told.value)
    assert await values(reading) == [b"b"]


async def test_no_other_batch_is_skipped_than_the_one_that_was_reported() -> None:
    one, another = (reader(Brokers([(0, [fetched(data=BROKEN + NEXT)])])) for _ in range(2))
    for reading in (one, another):
        with pytest.raises(UnreadableBatch) as told:
            await reading.fetch(timeout_seconds=5)
    with pytest.raises(AssertionError, match="only the batch that was raised"):
        one.skip(told.value)
    assert one.positions()[AT] == 0
    await one.close()
    await another.close()


async def test_what_comes_before_it_and_beside_it_is_given_out_first() -> None:
    stray = sealed(body([(b"k", b"x", [])] * 2, [1, 0]), codec=0, count=2, base=1)
    beside = TopicPartition("inbox", 1)
    parts = [fetched(data=SOUND + stray), fetched(data=SOUND, at=beside)]
    reading = reader(Brokers([(0, parts)]), AT, beside)
    found = await reading.fetch(timeout_seconds=5)
    assert {at: [r.value for r in records] for at, records in found.items()} == {
        AT: [b"a"],
        beside: [b"a"],
    }
    with pytest.raises(UnreadableBatch, match="inbox/0/1: the batch of offsets 1 to 2"):
        await reading.fetch(timeout_seconds=5)
    await reading.close()


async def test_an_answer_that_is_much_larger_than_it_looks_is_given_out_in_parts() -> None:
    record: New = (b"k", bytes(1024 * 1024 - 200), [])
    one = packed("zstd", [record])
    data = b"".join(struct.pack(">q", n) + one[8:] for n in range(100))
    brokers = Brokers([(0, [fetched(data=data)])])
    reading = reader(brokers)
    total = 0
    while total < 100:
        [records] = (await reading.fetch(timeout_seconds=5)).values()
        assert len(records) <= 9
        assert [record.offset for record in records] == [*range(total, total + len(records))]
        total += len(records)
        if total < 100:
            assert len(brokers.requests) == 1, "what waits is decoded before more is fetched"
    await reading.close()
