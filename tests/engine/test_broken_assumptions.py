"""Wrong assumptions that would lose money end the worker first, and the next owner has all.

Each test breaks a part of the engine as no input can: what the part before or behind it then checks
has to end the worker. What is broken by input, a broker or a crash is in the tests of each part.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from exactstage import takeover
from exactstage.checkpoint import Checkpoint
from exactstage.identity import Identity
from exactstage.journal import Journal
from exactstage.limits import MAX_COMMITS_AHEAD, Limits
from exactstage.local_delivery import (
    NO_OFFSET,
    LocalDelivery,
    LocalQueue,
    LocalRun,
    Receiving,
)
from exactstage.log import Batch, Record, TopicPartition
from exactstage.outputs import Publication, Rounds, Source
from exactstage.pipeline import CommitPipeline, CommitRound
from exactstage.processing import Processing
from exactstage.recovery import Claimed, renew_identity
from exactstage.restoring import Restored, read_journals

from .harness import CrashingLog, Worker, counted, new_log, until_counted
from .test_committing import AT, ELSEWHERE
from .test_journal import emit, new_journal
from .test_takeover import JOURNAL, journalled, output, published
from .wordcount import word_count

LIMIT_SECONDS = 10.0
"""A worker that continues in spite of what is broken is noticed by then."""

Break = Callable[[pytest.MonkeyPatch], None]


def _lossy_route(broken: pytest.MonkeyPatch) -> None:
    """Keep in memory the last of the messages of a round for one receiver."""

    def begin(_: LocalDelivery, at: TopicPartition, of: CommitRound, jobs: object) -> LocalRun:
        return LocalRun(at, of, deque(maxlen=1))

    broken.setattr(LocalDelivery, "_begin", begin)


def _left_in_memory(broken: pytest.MonkeyPatch) -> None:
    """Leave the last run in memory when queued messages go to the log: it would be overtaken."""
    drain = LocalQueue.drain

    def too_few(queue: LocalQueue, at: TopicPartition) -> Iterator[LocalRun]:
        *gone, last = drain(queue, at)
        last.size = 1
        queue.add(last)
        yield from gone

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    broken.setattr(LocalQueue, "drain", too_few)
    broken.setattr(Receiving, "_take", never)


def _acknowledged_twice(broken: pytest.MonkeyPatch) -> None:
    """Count messages in flight as in the log: later ones could overtake them in memory."""
    acknowledged = LocalDelivery.acknowledged

    def twice(
        delivery: LocalDelivery,
        batches: Sequence[Batch],
        offsets: Mapping[TopicPartition, int],
    ) -> None:
        acknowledged(delivery, batches, offsets)
        acknowledged(delivery, batches, offsets)

    broken.setattr(LocalDelivery, "acknowledged", twice)


def _done_twice(broken: pytest.MonkeyPatch) -> None:
    """Count one part of a round for another one, which is not published."""
    part_done = CommitPipeline.part_done

    def twice(pipeline: CommitPipeline, commit_round: CommitRound) -> None:
        part_done(pipeline, commit_round)
        part_done(pipeline, commit_round)

    broken.setattr(CommitPipeline, "part_done", twice)


def _output_left_out(broken: pytest.MonkeyPatch) -> None:
    """Leave out the last output of each commit."""
    add_to = Publication.add_to

    def shorter(
        publication: Publication, rounds: Rounds, *args: Any, only: Sequence[int], **more: Any
    ) -> None:
        add_to(publication, rounds, *args, only=only[:-1], **more)

    broken.setattr(Publication, "add_to", shorter)


def _taken_for_a_repeat(broken: pytest.MonkeyPatch) -> None:
    """Skip messages that are nowhere but in memory; they would count as taken."""
    broken.setattr(Processing, "take_message", lambda *_: False)


@pytest.mark.parametrize(
    ("breaks", "local_delivery", "cause"),
    [
        (_lossy_route, True, "an output would be lost, or go both ways"),
        (_left_in_memory, True, "later ones would overtake it"),
        (_acknowledged_twice, False, "one more than was sent"),
        (_done_twice, True, "a part that is done twice would hide one that is not"),
        (_output_left_out, True, "an output would be lost or doubled"),
        (_taken_for_a_repeat, True, "skips a message of .* that is in no log"),
    ],
)
async def test_a_worker_that_would_lose_a_message_ends_and_the_next_owner_handles_it(
    breaks: Break,
    local_delivery: bool,
    cause: str,
    monkeypatch: pytest.MonkeyPatch,
    pure_python: None,
) -> None:
    log = CrashingLog(word_count())
    limits = Limits(local_queue_bytes=1000, commit_bytes=1 if breaks is _left_in_memory else 10**6)
    with monkeypatch.context() as broken:
        breaks(broken)
        for _ in range(10):  # On a wrong partition: each is sent on to the right one.
            log.produce(ELSEWHERE, b"w0", b"x")
        worker = await Worker(log, word_count(), limits, local_delivery=local_delivery).start()
        async with asyncio.timeout(LIMIT_SECONDS):
            await worker.ended.wait()
        await worker.kill()
    assert re.search(cause, str(worker.failure))
    next_owner = await Worker(log, word_count()).start()
    await until_counted(log, 10, next_owner)
    await next_owner.stop()
    assert next_owner.failure is None
    assert counted(log) == {b"w0": [*range(1, 11)]}


def _rounds_of(journal: Journal, pipeline: CommitPipeline, count: int) -> list[CommitRound]:
    """Journal ``count`` rounds, each with one commit that has an output."""
    rounds = []
    for number in range(count):
        emit(journal, b"%d" % number)
        journal.accept()
        pipeline.touch(journal)
        rounds.append(pipeline.journalled(pipeline.seal_ready()))
    return rounds


def test_a_part_that_is_done_twice_is_refused_and_leaves_the_others_open() -> None:
    journal, pipeline = new_journal(), CommitPipeline()
    first, second = _rounds_of(journal, pipeline, 2)
    pipeline.part_done(first)
    with pytest.raises(AssertionError, match="done twice"):
        pipeline.part_done(first)
    assert (journal.published, pipeline.is_idle) == (1, False)
    pipeline.part_done(second)
    assert (journal.published, pipeline.is_idle) == (2, True)


@pytest.mark.parametrize("published", [1, 2])
def test_a_commit_never_takes_back_what_is_published(published: int) -> None:
    journal, pipeline = new_journal(), CommitPipeline()
    first, _ = _rounds_of(journal, pipeline, 2)
    journal.published = published
    with pytest.raises(AssertionError, match="count/0: 1 is out of order"):
        pipeline.part_done(first)
    assert journal.published == published


def test_a_checkpoint_that_a_restart_would_need_is_never_overwritten() -> None:
    journal = new_journal()
    for _ in range(MAX_COMMITS_AHEAD):
        journal.advance("words", journal.n + 1)
        journal.seal()
    journal.advance("words", 1000)
    with pytest.raises(AssertionError, match="would overwrite a needed checkpoint"):
        journal.seal()
    assert (journal.n, journal.is_open) == (MAX_COMMITS_AHEAD, True)


@pytest.mark.parametrize("staged", ["row", "output"])
def test_half_a_decision_is_never_sealed(staged: str) -> None:
    journal = new_journal()
    journal.advance("words", 1)
    if staged == "row":
        journal.put(b"w", b"1")
    else:
        emit(journal, b"1")
    with pytest.raises(AssertionError, match="half a decision"):
        journal.seal()
    assert journal.n == 0
    journal.accept()
    assert len(journal.seal().batch.records) == (2 if staged == "row" else 1)


async def test_a_takeover_that_lost_a_commit_on_its_way_publishes_nothing(
    monkeypatch: pytest.MonkeyPatch, pure_python: None
) -> None:
    async def with_a_gap(*given: Any) -> Restored:
        restored = await read_journals(*given)
        gone = {each: [found[0], *found[2:]] for each, found in restored.checkpoints.items()}
        return restored._replace(checkpoints=gone)

    log, _ = new_log()
    await journalled(log, [(n, 0, [output(n)]) for n in (1, 2, 3)])
    with monkeypatch.context() as broken:
        broken.setattr(takeover, "read_journals", with_a_gap)
        worker = await Worker(log, word_count()).open()
        with pytest.raises(AssertionError, match="outputs of a commit would be lost"):
            await worker.assign(range(1))
        await worker.kill()
    assert published(log) == []
    next_owner = await Worker(log, word_count()).start(range(1))
    await next_owner.stop()
    assert published(log) == [b"1", b"2", b"3"]


async def test_a_takeover_publishes_nothing_where_another_worker_is_the_owner() -> None:
    log, _ = new_log()
    await journalled(log, [(1, 0, [output(1), output(2)._replace(partition=1)])])
    worker = await Worker(log, word_count()).open()
    with pytest.raises(AssertionError, match="where another worker is the owner"):
        await worker.assign(range(1))
    await worker.kill()
    assert published(log) == []


async def test_records_are_never_read_twice_at_a_time() -> None:
    log, _ = new_log()
    worker = await Worker(log, word_count()).start()
    with pytest.raises(AssertionError, match="deliver a record twice"):
        worker.engine._intake.start(worker.engine.owned.journals())
    log.produce(AT, b"w0", b"x")
    await until_counted(log, 1, worker)
    await worker.stop()
    assert counted(log) == {b"w0": [1]}


@pytest.mark.parametrize("later", [0, 1, 2])
async def test_a_journal_that_has_outputs_to_publish_is_not_given_a_new_identity(
    later: int,
) -> None:
    """The commits after the one with outputs, of which there are ``later``, have none."""
    log, stage = new_log()
    await journalled(log, [(1, 0, [output(1)])])
    claimed = Claimed(log, "words", [stage], [0])
    await claimed.claim()
    before = log.records(JOURNAL.topic)
    with pytest.raises(AssertionError, match="words-count-changelog/0 has outputs"):
        await renew_identity(
            log,
            JOURNAL,
            claimed,
            checkpoints=[
                Checkpoint(n, 0, {"words": 0, "inbox": 0}, {}, [] if n > 1 else [output(1)])
                for n in range(1, later + 2)
            ],
            identity=Identity("words/a", "words", "memory", "count", 0, 3, {}),
            inputs={"words": 0, "inbox": 0},
        )
    assert log.records(JOURNAL.topic) == before


def run_of(*messages: bytes) -> LocalRun:
    at = TopicPartition("inbox", 0)
    taken = [
        (Record(*at, NO_OFFSET, 0, b"w0", value, ()), Source("count/0", (1, index)))
        for index, value in enumerate(messages)
    ]
    return LocalRun(at, CommitRound(()), deque(taken))


def test_a_run_that_is_not_taken_never_leaves_the_memory() -> None:
    queue, run = LocalQueue(), run_of(b"x", b"y")
    queue.add(run)
    run.messages.popleft()
    with pytest.raises(AssertionError, match="a message would be lost"):
        queue.finish(run)


def test_runs_leave_the_memory_in_their_order() -> None:
    queue, runs = LocalQueue(), [run_of(), run_of()]
    for run in runs:
        queue.add(run)
    with pytest.raises(AssertionError, match="another run"):
        queue.finish(runs[1])
