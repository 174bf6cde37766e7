"""When the short way between stages is open, and how what waits on it goes to the log instead."""

import asyncio
from collections import deque
from dataclasses import replace

import pytest

from exactstage.journal import Journal
from exactstage.limits import Limits
from exactstage.local_delivery import LocalQueue, LocalRun, Receiving
from exactstage.log import Batch, Channel, NewRecord, Record, TopicPartition
from exactstage.outputs import Source
from exactstage.pipeline import CommitRound

from .harness import Worker, counted, until_counted
from .test_committing import AT, ELSEWHERE, ONE_EACH, SlowLog, started, turns, until

INBOX = TopicPartition("inbox", AT.partition)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch, pure_python: None) -> asyncio.Event:
    """Let nothing be taken from memory until the gate is opened."""
    opened, take = asyncio.Event(), Receiving._take

    async def later(self: Receiving, run: LocalRun, journal: Journal) -> None:
        await opened.wait()
        await take(self, run, journal)

    monkeypatch.setattr(Receiving, "_take", later)
    return opened


def waiting(worker: Worker) -> int:
    """Return how many messages wait in memory."""
    return sum(len(run.messages) for run in worker.engine._local_delivery.waiting["count"]._runs)


async def test_what_waits_in_memory_goes_to_the_log_first_and_is_waited_for(
    gate: asyncio.Event,
) -> None:
    log = SlowLog()
    worker, _ = await started(log, replace(ONE_EACH, local_queue_bytes=1000))
    sender = worker.engine.owned.of("count")[ELSEWHERE.partition]
    before = sender.n
    for count in (1, 2, 3):  # Three reach the limit of bytes.
        log.produce(ELSEWHERE, b"w0", b"x")
        await until(lambda count=count: waiting(worker) == count, log)  # type: ignore[misc]
    log.held = Channel.PUBLISH
    log.produce(ELSEWHERE, b"w0", b"x")
    await until(lambda: log.waiting > 0, log)
    log.produce(ELSEWHERE, b"w0", b"x")
    await until(lambda: sender.n == before + 5, log)
    await turns()
    assert waiting(worker) == 0, "it would overtake those on their way to the log"
    gate.set()
    await turns()
    assert sender.published == before, "nothing has reached the log or its receiver"
    log.release()
    await until_counted(log, 5, worker)
    await until(lambda: worker.engine.is_idle, log)
    log.produce(ELSEWHERE, b"w0", b"x")  # The short way is open again.
    await until_counted(log, 6, worker)
    await worker.stop()
    assert worker.failure is None
    assert counted(log) == {b"w0": [1, 2, 3, 4, 5, 6]}
    sent = [dict(record.headers)["src"] for record in log.records("inbox")]
    assert sent == [b"count/%d/%d/0" % (sender.partition, before + n) for n in (1, 2, 3, 4, 5)]


async def test_local_delivery_is_open_when_everything_in_the_log_has_been_read() -> None:
    log = SlowLog()
    worker, journal = await started(log)
    local_delivery = worker.engine._local_delivery

    def is_open(read: int) -> bool:
        journal.inputs["inbox"] = read
        return local_delivery._is_open(INBOX)

    local_delivery.note_log_ends({INBOX: 9})
    assert [is_open(8), is_open(9)] == [False, True]
    record: NewRecord = (b"w0", b"x", [])
    batch = Batch(INBOX, await log.new_writer(), [record] * 3)
    local_delivery._in_flight[INBOX] += 3
    assert not is_open(99)
    local_delivery.acknowledged([batch], {INBOX: 10})
    assert [is_open(12), is_open(13)] == [False, True]
    local_delivery.note_log_ends({INBOX: 20})
    assert [is_open(19), is_open(20)] == [False, True]
    local_delivery.note_log_ends({INBOX: 15})
    assert [is_open(19), is_open(20)] == [False, True], "an end is never taken back"
    await worker.kill()


async def test_a_message_counts_as_published_when_its_receiver_is_journalled() -> None:
    log = SlowLog()
    worker, receiver = await started(log)
    sender = worker.engine.owned.of("count")[ELSEWHERE.partition]
    before = sender.n
    log.held = Channel.JOURNAL
    log.allowed.release()  # The sender's commit; the receiver's has to wait.
    log.produce(ELSEWHERE, b"w0", b"x")
    await until(lambda: receiver.rows.get(b"w0") == b"1", log)
    await turns()
    assert (sender.n, sender.published) == (before + 1, before)
    log.release()
    await until(lambda: sender.published == before + 1, log)
    await worker.stop()
    assert counted(log) == {b"w0": [1]}


async def test_a_partition_lost_without_a_drain_still_takes_what_was_delivered_to_it(
    gate: asyncio.Event,
) -> None:
    log = SlowLog()
    worker, _ = await started(log)
    log.produce(ELSEWHERE, b"w0", b"x")
    await until(lambda: waiting(worker) == 1, log)
    kept = {TopicPartition(topic, ELSEWHERE.partition) for topic in worker.stage.inputs}
    losing = asyncio.create_task(worker.engine.rebalance(kept))
    await turns()
    assert not losing.done()
    gate.set()
    await losing
    assert counted(log) == {b"w0": [1]}
    await worker.stop()
    assert worker.failure is None


def test_nothing_weighs_where_nothing_waits_any_more() -> None:
    waiting, commit_round = LocalQueue(), CommitRound(())
    message = Record(*INBOX, -1, 0, b"w0", b"x", ()), Source("count/0", (1, 0))
    for _ in range(2):
        waiting.add(LocalRun(INBOX, commit_round, deque([message]), size=100))
    first, second = waiting._runs
    first.messages.popleft()
    assert waiting.size(INBOX) == 200
    assert [list(run.messages) for run in waiting.drain(INBOX)] == [[message]]
    for run in (first, second):
        waiting.finish(run)
        assert waiting.size(INBOX) == 0


async def test_what_is_delivered_locally_joins_the_next_commit_of_its_receiver() -> None:
    log = SlowLog()
    worker, journal = await started(log, Limits(tick_seconds=60.0))
    before = journal.n
    log.held = Channel.JOURNAL
    log.produce(ELSEWHERE, b"w0", b"x")  # Passed on to the right partition, in memory.
    await until(lambda: log.waiting > 0, log)
    log.produce(AT, b"w0", b"x")  # Its commit is open when the message is handed over.
    await until(lambda: journal.is_open, log)
    log.release()
    await until_counted(log, 2, worker)
    await worker.stop()
    assert worker.failure is None
    ids = [dict(record.headers)["ce_id"] for record in log.records("counts")]
    assert ids == [b"count/%d/%d/%d" % (AT.partition, before + 1, index) for index in (0, 1)]
