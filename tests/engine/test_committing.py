"""The committer with a log whose acknowledgements come when the test says so."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from exactstage.checkpoint import Checkpoint, checkpoint_key, encode_checkpoint
from exactstage.committer import Committer
from exactstage.journal import Journal
from exactstage.limits import MAX_COMMITS_AHEAD, Limits
from exactstage.local_delivery import Receiving
from exactstage.log import NO_HEADERS, Batch, Channel, TopicPartition, Writer
from exactstage.memory import MemoryLog
from exactstage.outputs import Output, Rounds, publish
from exactstage.partitioner import partition_of
from exactstage.pipeline import CommitPipeline

from .harness import LIMIT_SECONDS, PARTITIONS, CrashingLog, Worker, counted, until_counted
from .wordcount import word_count

AT = TopicPartition("words", partition_of(b"w0", PARTITIONS))
ELSEWHERE = TopicPartition("words", (AT.partition + 1) % PARTITIONS)
ANOTHER_WORD = next(
    word
    for word in (b"w%d" % number for number in range(100))
    if partition_of(word, PARTITIONS) == ELSEWHERE.partition
)
ONE_EACH = Limits(commit_bytes=1, publish_queue=1000, tick_seconds=60.0)
"""A commit for every record, no end to what waits to be published, and no timer that helps."""


class SlowLog(CrashingLog):
    """A log that lets appends of one channel through only as far as the test allows."""

    def __init__(self) -> None:
        super().__init__(word_count())
        self.held: Channel | None = None
        self.allowed = asyncio.Semaphore(0)
        self.waiting = 0
        self.appended: list[tuple[Channel, set[str]]] = []
        """Channel and topics of each append, in the order of their acknowledgements."""
        self._in_flight: set[tuple[TopicPartition, int]] = set()

    async def append(
        self, batches: Sequence[Batch], channel: Channel
    ) -> Mapping[TopicPartition, int]:
        """Append when it is allowed; never two of one writer to one partition at a time."""
        at = {(batch.at, batch.writer.producer_id) for batch in batches}
        assert not at & self._in_flight, "two appends to one partition are in flight"
        self._in_flight |= at
        try:
            if channel is self.held:
                self.waiting += 1
                await self.allowed.acquire()
                self.waiting -= 1
            offsets = await super().append(batches, channel)
        finally:  # Or it was given up, before it came to the log.
            self._in_flight -= at
        self.appended.append((channel, {topic for (topic, _), _ in at}))
        return offsets

    def release(self) -> None:
        """Let everything through from now on."""
        self.held = None
        for _ in range(1000):
            self.allowed.release()

    def send(self, count: int) -> None:
        """Send records of one word."""
        for _ in range(count):
            self.produce(AT, b"w0", b"x")

    @property
    def piggybacked(self) -> bool:
        """Whether outputs were appended together with commits."""
        return any({"counts", "words-count-changelog"} <= topics for _, topics in self.appended)


async def until(condition: Callable[[], bool], log: MemoryLog) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():
            await log.grown(0.001)


async def turns(count: int = 50) -> None:
    """Let everything happen that may happen."""
    for _ in range(count):
        await asyncio.sleep(0)


async def started(log: SlowLog, limits: Limits = ONE_EACH) -> tuple[Worker, Journal]:
    worker = await Worker(log, word_count(), limits).start()
    await until(lambda: worker.engine.is_idle, log)
    return worker, worker.engine.owned.of("count")[AT.partition]


async def test_outputs_are_published_in_order_and_count_when_they_are_acknowledged() -> None:
    log = SlowLog()
    worker, journal = await started(log)
    before = journal.published
    log.held = Channel.PUBLISH
    log.send(3)
    await until(lambda: journal.n == before + 3, log)
    await turns()
    assert journal.published == before
    log.allowed.release()
    await until(lambda: journal.published > before, log)
    await turns()
    assert not worker.engine.is_idle, "later commits are not published yet"
    log.release()
    await worker.stop()
    assert worker.failure is None
    assert counted(log) == {b"w0": [1, 2, 3]}


async def test_many_outputs_are_piggybacked_on_the_next_commits_and_the_last_ones_do_not_wait() -> (
    None
):
    log = SlowLog()
    worker, journal = await started(
        log, replace(ONE_EACH, piggyback_min_outputs=1, slow_append_seconds=0)
    )
    log.held = Channel.JOURNAL
    log.send(2)
    await until(lambda: log.waiting == 1, log)
    await turns()  # The second record's commit is open by now.
    before = journal.published
    log.appended.clear()
    log.allowed.release()
    await until(lambda: log.waiting == 1 and bool(log.appended), log)
    assert counted(log) == {}, "the outputs of the first wait for the second's commit"
    assert journal.published == before
    log.release()
    await until_counted(log, 2, worker)
    await worker.stop()
    assert counted(log) == {b"w0": [1, 2]}
    journalled = (Channel.JOURNAL, {"words-count-changelog"})
    assert log.appended[:3] == [
        journalled,
        (Channel.JOURNAL, {"words-count-changelog", "counts"}),
        (Channel.PUBLISH, {"counts"}),
    ]


@pytest.mark.parametrize(
    ("outputs", "seconds"), [(2, 0), (1, 60)], ids=["few outputs", "fast appends"]
)
async def test_outputs_are_published_at_once_where_nothing_is_gained_by_waiting(
    outputs: int, seconds: float
) -> None:
    log = SlowLog()
    limits = replace(ONE_EACH, piggyback_min_outputs=outputs, slow_append_seconds=seconds)
    worker, _ = await started(log, limits)
    log.send(10)
    await until_counted(log, 10, worker)
    await worker.stop()
    assert not log.piggybacked


async def test_outputs_are_not_piggybacked_past_those_that_are_being_published() -> None:
    log = SlowLog()
    worker, journal = await started(
        log, replace(ONE_EACH, piggyback_min_outputs=1, slow_append_seconds=0)
    )
    log.held = Channel.PUBLISH
    log.send(1)
    await until(lambda: log.waiting == 1, log)
    n = journal.n
    log.send(20)
    await until(lambda: journal.n == n + 20, log)
    await turns()
    assert counted(log) == {}
    log.release()
    await until_counted(log, 21, worker)
    await worker.stop()
    assert worker.failure is None
    assert counted(log) == {b"w0": [*range(1, 22)]}


async def test_outputs_whose_next_commits_can_not_be_sealed_are_published_without_them() -> None:
    log = SlowLog()
    worker, journal = await started(
        log, replace(ONE_EACH, piggyback_min_outputs=1, slow_append_seconds=0)
    )
    other = worker.engine.owned.of("count")[ELSEWHERE.partition]
    log.held = Channel.JOURNAL
    log.send(1)
    await until(lambda: log.waiting == 1, log)
    other.published -= MAX_COMMITS_AHEAD  # As if its outputs were not taken by their receiver.
    log.produce(ELSEWHERE, ANOTHER_WORD, b"x")
    await until(lambda: other.is_open, log)
    log.release()
    await until(lambda: counted(log) == {b"w0": [1]}, log)
    assert not log.piggybacked
    other.published += MAX_COMMITS_AHEAD
    worker.engine._pipeline.touch(other)
    await until_counted(log, 2, worker)
    await worker.stop()
    assert journal.published_on_record


@pytest.mark.parametrize("fewest", [1, 3])
async def test_piggybacked_outputs_are_neither_lost_nor_doubled_by_a_kill(fewest: int) -> None:
    for appends in range(1, 12):
        log = SlowLog()
        worker, _ = await started(
            log, replace(ONE_EACH, piggyback_min_outputs=fewest, slow_append_seconds=0)
        )
        log.held = Channel.JOURNAL
        log.send(8)
        for _ in range(appends):
            log.allowed.release()
        await turns(200)
        await worker.kill()
        log.release()
        next_owner = await Worker(log, word_count(), ONE_EACH).start()
        await until_counted(log, 8, next_owner)
        await next_owner.stop()
        assert counted(log) == {b"w0": [*range(1, 9)]}


async def test_a_journal_is_never_further_ahead_than_its_ring() -> None:
    log = SlowLog()
    worker, journal = await started(log)
    log.held = Channel.PUBLISH
    log.send(MAX_COMMITS_AHEAD + 20)
    await until(lambda: journal.n - journal.published == MAX_COMMITS_AHEAD, log)
    await turns()
    assert journal.n - journal.published == MAX_COMMITS_AHEAD
    log.release()
    await until_counted(log, MAX_COMMITS_AHEAD + 20, worker)
    await worker.stop()
    assert worker.failure is None
    assert counted(log) == {b"w0": [*range(1, MAX_COMMITS_AHEAD + 21)]}


async def test_a_commit_counts_as_published_only_when_all_earlier_ones_are(
    monkeypatch: pytest.MonkeyPatch, pure_python: None
) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    log = SlowLog()
    with monkeypatch.context() as stopped:
        stopped.setattr(Receiving, "_take", never)
        worker = await Worker(log, word_count()).start()
        await until(lambda: worker.engine.is_idle, log)
        log.produce(ELSEWHERE, b"w0", b"x")  # It waits in memory for the partition of its word.
        waiting = worker.engine._local_delivery.waiting["count"]
        await until(lambda: waiting.size(TopicPartition("inbox", AT.partition)) > 0, log)
        sender = worker.engine.owned.of("count")[ELSEWHERE.partition]
        n = sender.n
        log.produce(ELSEWHERE, ANOTHER_WORD, b"x")
        await until_counted(log, 1, worker)
        await until(lambda: sender.n > n + 1, log)  # When it is idle, it says what is published.
        assert sender.published < n
        await worker.kill()
    next_owner = await Worker(log, word_count()).start()
    await until_counted(log, 2, next_owner)
    await next_owner.stop()
    assert counted(log) == {ANOTHER_WORD: [1], b"w0": [1]}


async def test_deliveries_are_handled_in_their_order_even_when_one_has_to_wait() -> None:
    log = SlowLog()
    worker, _ = await started(log)
    log.held = Channel.JOURNAL
    log.send(5)
    await until(lambda: log.waiting > 0, log)
    log.send(5)
    await turns()
    log.release()
    await until_counted(log, 10, worker)
    await worker.stop()
    assert counted(log) == {b"w0": [*range(1, 11)]}


async def test_a_drain_waits_for_the_delivery_that_is_being_handled() -> None:
    log = SlowLog()
    worker, journal = await started(log)
    log.held = Channel.JOURNAL
    log.send(10)
    await until(lambda: log.waiting > 0, log)
    draining = asyncio.create_task(worker.engine.drain())
    await turns()
    assert not draining.done()
    log.release()
    await draining
    assert journal.inputs["words"] == 10
    assert journal.published_on_record
    n = journal.n
    await turns()
    assert journal.n == n, "nothing is decided any more"
    await worker.stop()


async def test_a_takeover_publishes_while_the_worker_does_so_too() -> None:
    log = SlowLog()
    # An earlier owner of another partition has journalled a message, and not published it.
    writer = await log.claim(f"words-{ELSEWHERE.partition}", [])
    message = Output("inbox", AT.partition, b"w0", b"x", "", 0)
    checkpoint = Checkpoint(1, 0, {"words": 0, "inbox": 0}, {}, [message])
    record = (checkpoint_key(1), encode_checkpoint(checkpoint), NO_HEADERS)
    journal = TopicPartition("words-count-changelog", ELSEWHERE.partition)
    await log.append([Batch(journal, writer, [record])], Channel.JOURNAL)
    own = next(p for p in range(PARTITIONS) if p not in {AT.partition, ELSEWHERE.partition})
    worker = Worker(log, word_count(), ONE_EACH)
    await worker.open()
    await worker.assign(range(own, own + 1))
    await until(lambda: worker.engine.is_idle, log)
    log.held = Channel.PUBLISH
    log.produce(TopicPartition("words", own), b"w0", b"x")  # On a wrong partition: forwarded.
    await until(lambda: log.waiting == 1, log)
    assigning = asyncio.create_task(worker.assign(range(PARTITIONS)))
    await until(lambda: log.waiting == 2, log)
    log.release()
    await assigning
    await until_counted(log, 2, worker)
    await worker.stop()
    assert worker.failure is None
    assert counted(log) == {b"w0": [1, 2]}


async def test_rounds_follow_one_another() -> None:
    log = SlowLog()
    rounds = Rounds(batch_bytes=100)
    writer = Writer(7, 0)
    for index in range(3):
        rounds.add("counts", 0, writer, (b"w", b"%d" % index, []), 100)
    await publish(log, rounds)
    assert [record.value for record in log.records("counts")] == [b"0", b"1", b"2"]


async def test_a_journal_that_is_given_up_is_not_written_and_nothing_waits_for_it() -> None:
    log = SlowLog()
    worker, journal = await started(log)
    pipeline = CommitPipeline()
    committer = Committer(
        log=log,
        messenger=Writer(8, 0),
        pipeline=pipeline,
        local_delivery=worker.engine._local_delivery,
        limits=ONE_EACH,
        on_failure=lambda _: None,
    )
    journal.put(b"w0", b"")
    journal.accept()
    pipeline.touch(journal)
    waiting = asyncio.create_task(journal.wait_capacity())
    await turns()
    assert (pipeline.is_idle, waiting.done()) == (False, False)
    pipeline.forget(journal)
    await waiting
    assert pipeline.is_idle is True
    n = journal.n
    committer.start()
    await turns()
    await committer.stop()
    assert journal.n == n
    await worker.stop()


async def test_a_timer_waits_for_capacity_like_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    log = SlowLog()
    worker, journal = await started(log)
    ticks: list[bytes] = []

    def tick(journal: Journal, now_ms: int, limit: int) -> bool:
        ticks.append(b"%d" % len(ticks))
        journal.put(ticks[-1], b"row")
        return len(ticks) < 10

    monkeypatch.setattr(worker.engine.stages["count"].callbacks, "tick", tick)
    log.held = Channel.JOURNAL
    ticking = asyncio.create_task(worker.engine.timers.tick(journal))
    await turns()
    assert len(ticks) == 2, "one is on its way to the log, one in the open commit"
    log.release()
    await ticking
    await worker.stop()
    assert [journal.rows[key] for key in ticks] == [b"row"] * 10
