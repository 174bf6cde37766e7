"""The committer: journals open commits, then publishes their outputs (docs/design.md 4.2).

It runs as fast as the log answers, so it tunes itself: commits are small when there is little to do
and large under load. Two loops overlap: while the outputs of one round are published, the
next one is journalled, on connections of their own. Where appends are slow, both are one under
load.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from .counts import AppendCounts
from .errors import FailStop
from .guarded_tasks import GuardedTasks
from .journal import CommitBatch
from .limits import Limits
from .local_delivery import LocalDelivery
from .log import Batch, Channel, Log, TopicPartition, Writer
from .measured_appends import MeasuredAppends
from .outputs import Rounds, rounds_of
from .pipeline import CommitPipeline, PublishJob
from .slow_disk import when_disk_allows


class _Piggyback(NamedTuple):
    """Outputs of a round that are appended together with the next commits."""

    jobs: Sequence[PublishJob]
    batches: Sequence[Batch]


_NOTHING_PIGGYBACKED = _Piggyback((), ())


class Committer:
    """Appends the commits of all journals of one worker, and publishes their outputs."""

    def __init__(
        self,
        *,
        log: Log,
        messenger: Writer,
        pipeline: CommitPipeline,
        local_delivery: LocalDelivery,
        limits: Limits,
        on_failure: Callable[[FailStop], None],
    ) -> None:
        self._log, self._clock = MeasuredAppends(log), log.clock
        self._messenger = messenger
        self._pipeline = pipeline
        self._local_delivery = local_delivery
        self._limits = limits
        self._is_publishing = False
        self._append_seconds = 0.0
        """How long the last append of commits took."""
        self._taken_up = asyncio.Event()
        """Set whenever the publisher has taken up what had queued up."""
        self._tasks = GuardedTasks(on_failure)

    @property
    def appends(self) -> Mapping[Channel, AppendCounts]:
        """What was appended since the start."""
        return self._log.counts

    def start(self) -> None:
        """Start both loops in the running event loop."""
        self._tasks.spawn("the committer's journal loop", self._journal_loop())
        self._tasks.spawn("the committer's publish loop", self._publish_loop())

    async def stop(self) -> None:
        """End both loops where they are. What is not journalled was never decided."""
        await self._tasks.cancel_all()

    async def _journal_loop(self) -> None:
        """Take the open commits of all dirty journals, append each as one batch, route its outputs.

        1. wait a little until locally delivered messages are accepted, so that they join these
           commits and not the next ones: fewer and fuller commits;
        2. seal the open commit of every dirty journal whose ring has a free slot;
        3. append all their batches at once;
        4. take them into the local copies, where rows are on disk;
        5. deliver locally what a receiver here can accept, and give the rest to the publisher
           (waits while it is too far behind), or piggyback it on the next commits.
        """
        piggyback, now = _NOTHING_PIGGYBACKED, asyncio.get_running_loop().time
        pipeline, local_delivery = self._pipeline, self._local_delivery
        while True:
            commits = await self._sealed(at_once=piggyback is not _NOTHING_PIGGYBACKED)
            if not commits:
                self._publish(piggyback.jobs)
                piggyback = _NOTHING_PIGGYBACKED
                continue
            batches = [commit.batch for commit in commits]
            began = now()
            offsets = await self._log.append([*batches, *piggyback.batches], Channel.JOURNAL)
            self._append_seconds = now() - began
            if piggyback is not _NOTHING_PIGGYBACKED:
                local_delivery.acknowledged(piggyback.batches, offsets)
                pipeline.published(piggyback.jobs)
            await self._keep(commits, offsets)
            jobs = local_delivery.route(pipeline.journalled(commits))
            piggyback = self._piggyback_of(jobs)
            if piggyback is _NOTHING_PIGGYBACKED:
                self._publish(jobs)
                while pipeline.to_publish.qsize() > self._limits.publish_queue:
                    self._taken_up.clear()
                    await self._taken_up.wait()

    async def _keep(
        self, commits: Sequence[CommitBatch], offsets: Mapping[TopicPartition, int]
    ) -> None:
        """Take what is journalled into the local copies, where rows are on disk.

        It waits for a slow disk: until a copy has a commit, its rows are in memory.
        """
        for commit in commits:
            journal, at = commit.journal, commit.batch.at
            if journal.local is not None:
                await when_disk_allows(
                    at, partial(journal.acknowledged, commit, offsets[at], self._clock)
                )

    async def _sealed(self, *, at_once: bool) -> list[CommitBatch]:
        """Return the commits of the next round, sealed; wait until there may be some."""
        if not at_once:
            await self._pipeline.touched.wait()
        self._pipeline.touched.clear()
        # A limit, since a receiver may itself wait for a seal.
        for _ in range(self._limits.loop_iterations_before_seal):
            if not self._local_delivery.runs_waiting:
                break
            await asyncio.sleep(0)
        return self._pipeline.seal_ready()

    def _piggyback_of(self, jobs: Sequence[PublishJob]) -> _Piggyback:
        """Return the outputs that may wait for the next commits; none: publish them now.

        Where appends are slow, that makes fewer of them, and fuller commits. A few outputs don't
        wait: the next commits would wait for their acknowledgement. Nor do outputs wait when
        others are being published (they would overtake those), when no commit will be sealed now,
        or when they need more than one append.
        """
        count = sum(len(indexes) for job in jobs for _, indexes in job.outputs)
        if (
            self._append_seconds < self._limits.slow_append_seconds
            or count < self._limits.piggyback_min_outputs
            or self._is_publishing
            or not self._pipeline.to_publish.empty()
            or not (self._pipeline.dirty or self._local_delivery.runs_waiting)
        ):
            return _NOTHING_PIGGYBACKED
        rounds = list(self._rounds(jobs))
        return _Piggyback(jobs, rounds[0]) if len(rounds) == 1 else _NOTHING_PIGGYBACKED

    async def _publish_loop(self) -> None:
        """Publish what is journalled, all that has queued up at once, then note it.

        The next rounds' outputs follow only when these are acknowledged, so that each partition
        always holds a prefix of a journal's messages for it, in order (docs/design.md 4.4).
        """
        queue = self._pipeline.to_publish
        while True:
            jobs = [await queue.get()]
            self._is_publishing = True
            while not queue.empty():
                jobs.append(queue.get_nowait())
            self._taken_up.set()
            for batches in self._rounds(jobs):
                offsets = await self._log.append(batches, Channel.PUBLISH)
                self._local_delivery.acknowledged(batches, offsets)
            self._is_publishing = False
            self._pipeline.published(jobs)

    def _rounds(self, jobs: Sequence[PublishJob]) -> Rounds:
        outputs = [selected for job in jobs for selected in job.outputs]
        return rounds_of(outputs, self._messenger, self._limits.batch_bytes)

    def _publish(self, jobs: Sequence[PublishJob]) -> None:
        """Give these to the publisher, behind what it was given before."""
        for job in jobs:
            self._pipeline.to_publish.put_nowait(job)
