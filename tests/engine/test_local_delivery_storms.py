"""Messages between stages of one worker: which way they take, in order, and each taken once."""

import asyncio
import gc
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from exactstage import local_delivery
from exactstage.journal import Journal
from exactstage.limits import Limits
from exactstage.local_delivery import LocalRun, Receiving
from exactstage.log import Batch, Channel, TopicPartition
from exactstage.partitioner import partition_of
from exactstage.pipeline import CommitRound

from .harness import LIMIT_SECONDS, PARTITIONS, CrashingLog, Worker, counted, new_log, until_counted
from .wordcount import word_count

WORD = b"w0"
RIGHT = partition_of(WORD, PARTITIONS)
WRONG = (RIGHT + 1) % PARTITIONS
OTHER = (RIGHT + 2) % PARTITIONS
INBOX = TopicPartition("inbox", RIGHT)

LIMITS = Limits(yield_every=1, tick_seconds=0.01, idle_seconds=0.02)


@pytest.fixture
def slow_receiving(monkeypatch: pytest.MonkeyPatch, pure_python: None) -> None:
    """Let messages wait in memory while others are journalled."""
    take = Receiving._take

    async def slowly(self: Receiving, run: LocalRun, journal: Journal) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        await take(self, run, journal)

    monkeypatch.setattr(Receiving, "_take", slowly)


def send(log: CrashingLog, count: int, partition: int = WRONG) -> None:
    """Send ``count`` records that have to be forwarded."""
    for _ in range(count):
        log.produce(TopicPartition("words", partition), WORD, b"x")


async def counts_exactly(log: CrashingLog, worker: Worker, total: int) -> None:
    """Wait for ``total`` counts; see each of them once, in order."""
    await until_counted(log, total, worker)
    assert worker.failure is None
    assert counted(log) == {WORD: list(range(1, total + 1))}


class CyclesCounted(CrashingLog):
    """A log that counts, at some of the appends, how many commit_rounds are in memory."""

    def __init__(self) -> None:
        self.stage = word_count()
        super().__init__(self.stage)
        self.commit_rounds: list[int] = []

    async def append(
        self, batches: Sequence[Batch], channel: Channel
    ) -> Mapping[TopicPartition, int]:
        """Append, and count."""
        if self.appends % 20 == 0:
            self.commit_rounds.append(sum(type(found) is CommitRound for found in gc.get_objects()))
        return await super().append(batches, channel)


async def test_what_is_published_is_forgotten_while_the_load_continues() -> None:
    log = CyclesCounted()
    worker = await Worker(log, log.stage, replace(LIMITS, commit_bytes=1)).start()
    gc.freeze()  # What other tests have left is neither counted nor looked through.
    try:
        send(log, 300)
        await counts_exactly(log, worker, 300)
    finally:
        gc.unfreeze()
    await worker.stop()
    assert len(log.commit_rounds) > 10
    assert max(log.commit_rounds) < log.commit_rounds[0] + 20, (
        "each commit keeps the round whose message it took"
    )


async def test_messages_to_a_partition_of_the_same_worker_never_see_the_log() -> None:
    log, stage = new_log()
    worker = await Worker(log, stage).start()
    send(log, 50)
    await counts_exactly(log, worker, 50)
    await worker.stop()
    assert not log.records("inbox")


async def test_messages_to_a_partition_of_another_worker_take_the_log() -> None:
    log, stage = new_log()
    sender = await Worker(log, stage).start(range(WRONG, WRONG + 1))
    receiver = await Worker(log, stage).start(range(RIGHT, RIGHT + 1))
    send(log, 50)
    await counts_exactly(log, receiver, 50)
    assert len(log.records("inbox")) == 50
    await sender.stop()
    await receiver.stop()


@pytest.mark.usefixtures("slow_receiving")
async def test_after_a_crash_the_next_owner_publishes_what_only_memory_had() -> None:
    log, stage = new_log()
    dying = await Worker(log, stage, LIMITS).start()
    send(log, 50)
    async with asyncio.timeout(LIMIT_SECONDS):
        while not dying.engine._local_delivery.waiting[stage.name].size(INBOX):
            await log.grown(0)
    await dying.kill()
    assert not log.records("inbox")
    assert len(log.records("counts")) < 50
    next_owner = await Worker(log, stage).start()
    assert log.records("inbox")
    await counts_exactly(log, next_owner, 50)
    await next_owner.stop()


async def test_nothing_overtakes_a_message_that_is_still_in_the_log() -> None:
    log, stage = new_log()
    first = await Worker(log, stage).start(range(WRONG, WRONG + 1))
    send(log, 20)  # Journalled and published, and nobody reads the inbox yet.
    async with asyncio.timeout(LIMIT_SECONDS):
        while len(log.records("inbox")) < 20:
            await log.grown(0.01)
    send(log, 20)
    both = {TopicPartition(topic, p) for topic in stage.inputs for p in (RIGHT, WRONG)}
    await first.engine.rebalance(both)
    await counts_exactly(log, first, 40)
    send(log, 5)
    await counts_exactly(log, first, 45)
    await first.stop()
    assert len(log.records("inbox")) < 45, "the last ones were handed over"


@pytest.mark.usefixtures("slow_receiving")
@pytest.mark.parametrize("limit", [0, 1, 3000])
async def test_when_too_many_wait_all_of_them_take_the_log_in_order(limit: int) -> None:
    log, stage = new_log()
    worker = await Worker(log, stage, replace(LIMITS, local_queue_bytes=limit)).start()
    for _ in range(10):
        send(log, 30)
        send(log, 30, OTHER)
        await asyncio.sleep(0)
    await counts_exactly(log, worker, 600)
    await worker.stop()
    assert log.records("inbox"), "nothing took the log: the limit was never met"


async def test_a_journal_that_is_far_ahead_gets_nothing_locally(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local_delivery, "MAX_COMMITS_AHEAD_LOCAL", 1)
    log, stage = new_log()
    worker = await Worker(log, stage, replace(LIMITS, commit_bytes=1500)).start()
    send(log, 200)
    await counts_exactly(log, worker, 200)
    await worker.stop()
    assert log.records("inbox")


class SlowOutputs(CrashingLog):
    """A log that takes outputs only when it is told to."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.open = asyncio.Event()

    async def append(
        self, batches: Sequence[Batch], channel: Channel
    ) -> Mapping[TopicPartition, int]:
        """Append, outputs when they are let in."""
        if channel is Channel.PUBLISH:
            await self.open.wait()
        return await super().append(batches, channel)


async def test_a_drain_waits_for_what_was_delivered_locally() -> None:
    _, stage = new_log()
    log = SlowOutputs(stage)
    log.open.set()
    worker = await Worker(log, stage).start()
    log.open.clear()
    send(log, 30)
    async with asyncio.timeout(LIMIT_SECONDS):
        while not worker.engine.owned.of(stage.name)[RIGHT].senders.positions:
            await log.grown(0.01)
    draining = asyncio.create_task(worker.engine.drain())
    await asyncio.sleep(0)
    assert not draining.done()
    log.open.set()
    async with asyncio.timeout(LIMIT_SECONDS):
        await draining
    handled = worker.engine.owned.of(stage.name)[WRONG].inputs["words"]
    assert len(log.records("counts")) == handled
    assert all(not journal.ahead for journal in worker.engine.owned.journals())
    await worker.kill()


async def test_a_batch_whose_place_in_the_log_is_not_known_closes_local_delivery() -> None:
    log, stage = new_log()
    worker = await Worker(log, stage).start()
    batch = Batch(INBOX, await log.new_writer(), [(WORD, b"x", [])])
    worker.engine._local_delivery._in_flight[INBOX] += 1
    worker.engine._local_delivery.acknowledged([batch], {INBOX: -1})
    send(log, 5)
    await counts_exactly(log, worker, 5)
    assert len(log.records("inbox")) == 5
    await worker.assign(range(PARTITIONS))
    send(log, 5)
    await counts_exactly(log, worker, 10)
    await worker.stop()
    assert len(log.records("inbox")) == 5
