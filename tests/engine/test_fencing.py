"""A former owner that wakes up: what it has in flight is refused, at whatever moment it arrives."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import pytest

from exactstage.errors import Fenced
from exactstage.limits import Limits
from exactstage.log import Batch, Channel, TopicPartition, Writer
from exactstage.memory import MemoryLog
from exactstage.stage import topics_of

from .harness import Worker, counted
from .test_committing import turns, until
from .wordcount import word_count

WORDS = TopicPartition("words", 0)
NEVER_IDLE = Limits(tick_seconds=0.01, idle_seconds=60.0)


class Gate(MemoryLog):
    """A log of one partition that holds back every append of a channel, until it is let through."""

    def __init__(self) -> None:
        super().__init__(topics_of([word_count()]), 1)
        self.channel: Channel | None = None
        self.held: list[asyncio.Event] = []

    async def append(
        self, batches: Sequence[Batch], channel: Channel
    ) -> Mapping[TopicPartition, int]:
        """Append, later."""
        if channel is self.channel:
            self.held.append(asyncio.Event())
            await self.held[-1].wait()
        return await super().append(batches, channel)

    async def holds(self, count: int) -> None:
        """Wait until that many appends have come."""
        await until(lambda: len(self.held) >= count, self)

    def open(self) -> None:
        """Let everything through."""
        self.channel = None
        for event in self.held:
            event.set()


@asynccontextmanager
async def owner_with_an_append_under_way(log: Gate, channel: Channel) -> AsyncIterator[Worker]:
    """Yield a worker that was stopped (SIGSTOP) with one append of this channel on its way."""
    worker = await Worker(log, word_count(), NEVER_IDLE).start(range(1))
    await until(lambda: worker.engine.is_idle, log)
    log.channel = channel
    log.produce(WORDS, b"w0", b"x")
    await log.holds(1)
    yield worker
    await worker.kill()


@pytest.mark.parametrize("arrives", ["after the fence", "after the takeover"])
async def test_a_commit_that_arrives_late_is_refused_and_decided_anew(arrives: str) -> None:
    log = Gate()
    async with owner_with_an_append_under_way(log, Channel.JOURNAL) as old:
        new = Worker(log, word_count(), NEVER_IDLE)
        taking_over = asyncio.create_task(new.start(range(1)))
        await log.holds(2)
        log.held[1].set()  # The fence; what comes next is the next owner's first commit.
        await log.holds(3)
        if arrives == "after the takeover":
            log.open()
            await taking_over
            await until(lambda: new.engine.is_idle, log)
        log.held[0].set()
        await old.ended.wait()
        assert isinstance(old.failure, Fenced)
        log.open()
        await taking_over
        await until(lambda: bool(log.records("counts")), log)
        await new.stop()
    assert new.failure is None
    assert counted(log) == {b"w0": [1]}
    rows = [record.value for record in log.records("words-count-changelog") if record.key == b"w0"]
    assert rows == [b"1"], "only the next owner's commit is in the journal"


async def test_a_commit_that_arrives_just_before_the_fence_is_restored_and_published() -> None:
    log = Gate()
    async with owner_with_an_append_under_way(log, Channel.JOURNAL) as old:
        new = Worker(log, word_count(), NEVER_IDLE)
        taking_over = asyncio.create_task(new.start(range(1)))
        await log.holds(2)  # The fence: nothing of the journal may be read before it.
        log.held[0].set()
        await old.ended.wait()
        assert isinstance(old.failure, Fenced), "it may not publish what it has journalled"
        log.open()
        await taking_over
        await until(lambda: bool(log.records("counts")), log)
        await new.stop()
    assert new.failure is None
    assert counted(log) == {b"w0": [1]}
    rows = [record.value for record in log.records("words-count-changelog") if record.key == b"w0"]
    assert rows == [b"1"], "the next owner has not decided it anew"


async def test_outputs_that_arrive_late_are_refused_and_published_by_the_next_owner() -> None:
    log = Gate()
    async with owner_with_an_append_under_way(log, Channel.PUBLISH) as old:
        new = Worker(log, word_count(), NEVER_IDLE)
        taking_over = asyncio.create_task(new.start(range(1)))
        await log.holds(2)  # The next owner has read the tail, and is about to publish.
        log.held[0].set()
        await old.ended.wait()
        assert isinstance(old.failure, Fenced)
        log.open()
        await taking_over
        await new.stop()
    assert new.failure is None
    assert counted(log) == {b"w0": [1]}


async def test_a_takeover_continues_only_when_all_is_published_again() -> None:
    log = Gate()
    async with owner_with_an_append_under_way(log, Channel.PUBLISH):
        new = Worker(log, word_count(), NEVER_IDLE)
        taking_over = asyncio.create_task(new.start(range(1)))
        await log.holds(2)
        await turns()
        assert not taking_over.done()
        log.open()
        await taking_over
        await new.stop()


async def test_a_claim_is_renewed_over_public_outputs_and_journals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Gate()
    worker = await Worker(log, word_count(), NEVER_IDLE).start(range(1))
    [writer] = worker.engine.owned.writers().values()
    renewed: list[tuple[str, Writer, set[str]]] = []

    async def renew(name: str, owner: Writer, fenced: Sequence[TopicPartition]) -> None:
        renewed.append((name, owner, set(map(str, fenced))))

    monkeypatch.setattr(log, "renew", renew)
    await worker.engine.timers._renew(0, writer)
    assert renewed == [
        ("words-0", writer, {"counts/0", "dead-words/0", "words-count-changelog/0"}),
    ]
    await worker.stop()
