"""Receiving: takes locally delivered messages into a stage's journals (docs/design.md 4.4)."""

import asyncio
from functools import partial

from .journal import Journal
from .limits import Limits
from .local_delivery import MAX_COMMITS_AHEAD_LOCAL, LocalDelivery, LocalRun
from .ownership import Ownership
from .pipeline import CommitPipeline
from .processing import Processing


class Receiving:
    """Accepts the messages that are delivered locally to one stage."""

    def __init__(
        self,
        *,
        processing: Processing,
        local_delivery: LocalDelivery,
        owned: Ownership,
        pipeline: CommitPipeline,
        limits: Limits,
    ) -> None:
        stage = processing.stage.name
        self._processing = processing
        self._local_delivery = local_delivery
        self._waiting = local_delivery.waiting[stage]
        self._journals = owned.of(stage)
        self._pipeline = pipeline
        self._yield_every = limits.yield_every

    async def run(self) -> None:
        """Take messages for ever."""
        while True:
            run = await self._waiting.first()
            # A partition is given up only when nothing is in flight: so it is there.
            journal = self._journals[run.at.partition]
            assert journal.partition == run.at.partition, f"{journal} is not {run.at}"
            await self._take(run, journal)
            self._waiting.finish(run)
            # What was taken is in the open commit or an earlier one.
            journal.when_journalled(partial(self._pipeline.part_done, run.commit_round))
            self._pipeline.touch(journal)

    async def _take(self, run: LocalRun, journal: Journal) -> None:
        taken = 0
        while run.messages:
            if journal.is_full:
                self._pipeline.touch(journal)
                await journal.wait_capacity()
            if journal.ahead >= MAX_COMMITS_AHEAD_LOCAL:
                for job in self._local_delivery.spill_to_log(run.at):
                    self._pipeline.to_publish.put_nowait(job)
            elif run.messages:
                record, source = run.messages.popleft()
                is_new = self._processing.take_message(record, source, journal)
                assert is_new, f"{journal} skips a message of {source} that is in no log"
                taken += 1
                if not taken % self._yield_every:
                    self._pipeline.touch(journal)
                    await asyncio.sleep(0)
        self._processing.handled += taken
