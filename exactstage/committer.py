"""The committer: journals open commits, then publishes their outputs (docs/design.md 4.2).

It runs as fast as the log answers, so it tunes itself: commits are small when there is little to do
and large under load. Two loops overlap: while the outputs of one round are published, the
next one is journalled, on connections of their own. Where appends are slow, both are one under
load.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from .errors import FailStop, as_fail_stop
from .journal import CommitBatch, Journal
from .limits import Limits
from .local_delivery import CommitRound, LocalDelivery, PublishJob
from .log import Batch, Channel, Log, Writer
from .outputs import Rounds, message_headers, position_header, size_of


class CommitterCounts(NamedTuple):
    """What was done since the start."""

    commits: int
    commit_rounds: int


class _Piggyback(NamedTuple):
    """Outputs of a round that are appended together with the next commits."""

    jobs: Sequence[PublishJob]
    batches: Sequence[Batch]


_NOTHING_PIGGYBACKED = _Piggyback((), ())


class Committer:
    """Appends the commits of all journals of one worker."""

    def __init__(
        self,
        log: Log,
        messenger: Writer,
        local_delivery: LocalDelivery,
        limits: Limits,
        on_failure: Callable[[FailStop], None],
    ) -> None:
        self._log = log
        self._local_delivery = local_delivery
        self._messenger = messenger
        self._limits = limits
        self._on_failure = on_failure
        self._dirty: dict[Journal, None] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._rounds_in_flight = 0
        self._commit_rounds: deque[CommitRound] = deque()
        """Journalled, not yet published."""
        self._shipments: asyncio.Queue[PublishJob] = asyncio.Queue()
        self._is_publishing = False
        self._append_seconds = 0.0
        """How long the last append of commits took."""
        self._taken = asyncio.Event()
        """Set whenever the publisher has taken what had queued up."""
        self._tasks: list[asyncio.Task[None]] = []
        self._counted_groups = 0
        self._counted_cycles = 0

    def start(self) -> None:
        """Start both loops in the running event loop."""
        self._tasks = [
            asyncio.create_task(self._guard(self._journal_loop), name="journal"),
            asyncio.create_task(self._guard(self._publish_loop), name="publish"),
        ]

    async def stop(self) -> None:
        """End both loops where they are. What is not journalled was never decided."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    @property
    def counts(self) -> CommitterCounts:
        """Commits and commit_rounds journalled so far."""
        return CommitterCounts(self._counted_groups, self._counted_cycles)

    def touch(self, journal: Journal) -> None:
        """Say that ``journal`` has an open commit, or should write a checkpoint."""
        self._dirty[journal] = None
        self._idle.clear()
        self._wake.set()

    def forget(self, journal: Journal) -> None:
        """Drop a journal that this worker no longer owns."""
        journal.release_waiters()
        self._dirty.pop(journal, None)
        self._settle()

    @property
    def is_idle(self) -> bool:
        """Whether everything decided so far is journalled and published."""
        return self._idle.is_set()

    async def flush(self) -> None:
        """Wait until everything decided so far is journalled and published."""
        await self._idle.wait()

    async def _guard(self, loop: Callable[[], Awaitable[None]]) -> None:
        try:
            await loop()
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must not hang
            self._on_failure(as_fail_stop("the committer", error))

    async def _journal_loop(self) -> None:
        """Take the open commits of all dirty journals, append each as one batch, route its outputs.

        1. wait a little until locally delivered messages are accepted, so that they join these
           commits and not the next ones: fewer and fuller commits;
        2. seal the open commit of every dirty journal whose ring has a free slot;
        3. append all their batches at once;
        4. deliver locally what a receiver here can accept, and give the rest to the publisher
           (waits while it is too far behind), or append it together with the next commits.
        """
        ride, now = _NOTHING_PIGGYBACKED, asyncio.get_running_loop().time
        while True:
            ready = await self._ready(at_once=ride is not _NOTHING_PIGGYBACKED)
            if not ready:
                self._ship_all(ride.jobs)
                ride = _NOTHING_PIGGYBACKED
                continue
            for journal in ready:
                del self._dirty[journal]
            commits = [journal.seal() for journal in ready]
            self._rounds_in_flight += 1
            batches = [commit.batch for commit in commits]
            began = now()
            offsets = await self._log.append([*batches, *ride.batches], Channel.JOURNAL)
            self._append_seconds = now() - began
            self._local_delivery.acknowledged(ride.batches, offsets)
            self._all_done(ride.jobs)
            jobs = self._local_delivery.route(self._journalled(commits))
            ride = self._ride_of(jobs)
            if ride is _NOTHING_PIGGYBACKED:
                self._ship_all(jobs)
                while self._shipments.qsize() > self._limits.publish_queue:
                    self._taken.clear()
                    await self._taken.wait()

    async def _ready(self, *, at_once: bool) -> list[Journal]:
        """Return the journals whose commits may be sealed; wait until there may be some."""
        if not at_once:
            await self._wake.wait()
        self._wake.clear()
        # Not for ever: a receiver may itself wait for a seal.
        for _ in range(self._limits.loop_iterations_before_seal):
            if self._local_delivery.all_taken:
                break
            await asyncio.sleep(0)
        return [journal for journal in self._dirty if journal.may_seal]

    def _journalled(self, commits: Sequence[CommitBatch]) -> CommitRound:
        """Note that commits are journalled, and call back what waits for that."""
        self._counted_groups += len(commits)
        self._counted_cycles += 1
        commit_round = CommitRound(commits)
        self._commit_rounds.append(commit_round)
        for commit in commits:
            for callback in commit.callbacks:
                callback()
            # They know the rounds whose messages this commit took, whose commits knew earlier
            # ones: under load that is a chain without an end.
            commit.callbacks.clear()
        return commit_round

    def _ride_of(self, jobs: Sequence[PublishJob]) -> _Piggyback:
        """Return the outputs that may wait for the next commits; none: publish them now.

        Where appends are slow, that makes fewer of them, and fuller commits. A few outputs don't
        wait: their acknowledgement would keep the commits from going on. Nor do outputs wait when
        others are being published (they would overtake those), when no commit will be sealed now,
        or when they need more than one append.
        """
        count = sum(len(indexes) for job in jobs for _, indexes in job.outputs)
        if (
            self._append_seconds < self._limits.slow_append_seconds
            or count < self._limits.piggyback_min_outputs
            or self._is_publishing
            or not self._shipments.empty()
            or (not self._dirty and self._local_delivery.all_taken)
        ):
            return _NOTHING_PIGGYBACKED
        rounds = list(self._rounds(jobs))
        return _Piggyback(jobs, rounds[0]) if len(rounds) == 1 else _NOTHING_PIGGYBACKED

    async def _publish_loop(self) -> None:
        """Publish what is journalled, all that has queued up at once, then note it.

        The next rounds' outputs follow only when these are acknowledged, so that what any
        partition holds of a journal's messages is always a beginning of them, in order (DESIGN
        4.4).
        """
        while True:
            jobs = [await self._shipments.get()]
            self._is_publishing = True
            while not self._shipments.empty():
                jobs.append(self._shipments.get_nowait())
            self._taken.set()
            for batches in self._rounds(jobs):
                offsets = await self._log.append(batches, Channel.PUBLISH)
                self._local_delivery.acknowledged(batches, offsets)
            self._is_publishing = False
            self._all_done(jobs)

    def _rounds(self, jobs: Sequence[PublishJob]) -> Rounds:
        rounds = Rounds(self._limits.batch_bytes)
        for job in jobs:
            self._add(job, rounds)
        return rounds

    def _add(self, job: PublishJob, rounds: Rounds) -> None:
        for record, source in job.messages:
            key, value = record.key, record.value
            size = size_of(key, value, record.headers)
            owner = self._local_delivery.owner_header(source.name)
            new = key, value, message_headers(record.headers, owner, position_header(source))
            rounds.add(record.topic, record.partition, self._messenger, new, size)
        for publication, indexes in job.outputs:
            publication.add_to(rounds, self._messenger, only=indexes)

    def enqueue(self, job: PublishJob) -> None:
        """Publish this behind what was given before."""
        self._shipments.put_nowait(job)

    def _ship_all(self, jobs: Sequence[PublishJob]) -> None:
        for job in jobs:
            self.enqueue(job)

    def _all_done(self, jobs: Sequence[PublishJob]) -> None:
        for job in jobs:
            self.part_done(job.commit_round)

    def part_done(self, commit_round: CommitRound) -> None:
        """Note that a part of a round is published: in the log, or taken by its receiver."""
        assert commit_round.parts_left > 0, "a part that is done twice would hide one that is not"
        commit_round.parts_left -= 1
        while self._commit_rounds and not self._commit_rounds[0].parts_left:
            for commit in self._commit_rounds.popleft().commits:
                journal, number = commit.journal, commit.publication.commit
                assert journal.published < number <= journal.n, (
                    f"{journal}: {number} is out of order"
                )
                journal.published = number
            self._rounds_in_flight -= 1
        self._settle()

    def _settle(self) -> None:
        if self._dirty:
            self._wake.set()
        elif not self._rounds_in_flight:
            self._idle.set()


async def publish(log: Log, rounds: Rounds) -> None:
    """Append outputs in order, in as few appends as their sizes allow."""
    for batches in rounds:
        await log.append(batches, Channel.PUBLISH)
