"""The commit pipeline: the commits of all journals of one worker, from open to published.

What decides (processing, receiving, timers) touches a journal here; the committer takes what may be
sealed, appends it as one round, and publishes its outputs. A round has parts: its outputs in the
log, and each run of messages that is delivered locally. What completes a part
reports it here. So these parts of the engine know the pipeline, and not one another.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .journal import CommitBatch, Journal
from .log import Clock
from .outputs import Selected


@dataclass(eq=False, slots=True)
class CommitRound:
    """Commits that were journalled together; they are published when no part is left."""

    commits: Sequence[CommitBatch]
    parts_left: int = 1


class PublishJob(NamedTuple):
    """What goes to the log of one round, as one of its parts."""

    commit_round: CommitRound
    outputs: Sequence[Selected]


class CommitCounts(NamedTuple):
    """What was done since the start."""

    commits: int
    commit_rounds: int


class CommitPipeline:
    """Open commits, rounds in flight, and what waits for the publisher."""

    def __init__(self, clock: Clock | None = None) -> None:
        """``clock`` is the log's time, for what is called back when a commit is published."""
        self._clock = clock
        self.dirty: dict[Journal, None] = {}
        """Journals that have an open commit, or should write a checkpoint, oldest first."""
        self.touched = asyncio.Event()
        """Set when a journal may be sealed that could not be before."""
        self.to_publish: asyncio.Queue[PublishJob] = asyncio.Queue()
        """What the publisher has not taken up yet, in order."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._in_flight = 0
        """Rounds that are sealed and not published."""
        self._journalled: deque[CommitRound] = deque()
        """Those of them that are journalled, in order."""
        self._commits = self._rounds = 0

    @property
    def counts(self) -> CommitCounts:
        """Commits and rounds journalled so far."""
        return CommitCounts(self._commits, self._rounds)

    def touch(self, journal: Journal) -> None:
        """Say that ``journal`` has an open commit, or should write a checkpoint."""
        self.dirty[journal] = None
        self._idle.clear()
        self.touched.set()

    def forget(self, journal: Journal) -> None:
        """Drop a journal that this worker no longer owns."""
        journal.release_waiters()
        self.dirty.pop(journal, None)
        self._settle()

    @property
    def is_idle(self) -> bool:
        """Whether everything decided so far is journalled and published."""
        return self._idle.is_set()

    async def flush(self) -> None:
        """Wait until everything decided so far is journalled and published."""
        await self._idle.wait()

    def seal_ready(self) -> list[CommitBatch]:
        """Seal the open commit of every dirty journal whose ring has a free slot: a round."""
        commits = []
        for journal in list(self.dirty):
            if journal.may_seal:
                del self.dirty[journal]
                commits.append(journal.seal())
        if commits:
            self._in_flight += 1
        return commits

    def journalled(self, commits: Sequence[CommitBatch]) -> CommitRound:
        """Note that the commits of a round are journalled, and call back what waits for that."""
        self._commits += len(commits)
        self._rounds += 1
        commit_round = CommitRound(commits)
        self._journalled.append(commit_round)
        for commit in commits:
            for callback in commit.callbacks:
                callback()
            # They know the rounds whose messages this commit took, whose commits knew earlier
            # ones: under load that is a chain without an end.
            commit.callbacks.clear()
        return commit_round

    def published(self, jobs: Sequence[PublishJob]) -> None:
        """Note that these are in the log."""
        for job in jobs:
            self.part_done(job.commit_round)

    def part_done(self, commit_round: CommitRound) -> None:
        """Note that a part of a round is published: in the log, or taken by its receiver."""
        assert commit_round.parts_left > 0, "a part that is done twice would hide one that is not"
        commit_round.parts_left -= 1
        while self._journalled and not self._journalled[0].parts_left:
            for commit in self._journalled.popleft().commits:
                journal, number = commit.journal, commit.publication.commit
                assert journal.published < number <= journal.n, (
                    f"{journal}: {number} is out of order"
                )
                journal.published = number
                if commit.when_published and self._clock is not None:
                    now_ms = self._clock()
                    for callback in commit.when_published:
                        callback(now_ms)
            self._in_flight -= 1
        self._settle()

    def _settle(self) -> None:
        if self.dirty:
            self.touched.set()
        elif not self._in_flight:
            self._idle.set()
