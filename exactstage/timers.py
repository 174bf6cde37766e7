"""Timers: what the passing of time asks of a worker (docs/design.md 4.2, 4.3, 5).

Timers of the stages, one more checkpoint for journals that have become idle, and the renewal of
claims.
"""

import asyncio
from collections.abc import Mapping

from .errors import Fenced
from .idle import IdleJournals
from .intake import Intake
from .journal import Journal
from .limits import Limits
from .local_delivery import LocalDelivery
from .log import Clock, Writer
from .ownership import Ownership
from .partition_claims import PartitionClaims
from .pipeline import CommitPipeline
from .progress import Progress
from .stage import Stage


class Timers:
    """Looks after the journals of one worker."""

    def __init__(
        self,
        *,
        stages: Mapping[str, Stage],
        owned: Ownership,
        pipeline: CommitPipeline,
        intake: Intake,
        local_delivery: LocalDelivery,
        claims: PartitionClaims,
        limits: Limits,
        clock: Clock,
        renewal_seconds: float,
    ) -> None:
        self._stages = stages
        self._owned = owned
        self._limits = limits
        self._pipeline = pipeline
        self._intake = intake
        self._claims = claims
        self._clock = clock
        self._renewal_seconds = renewal_seconds
        self._progress = Progress(stages, intake, local_delivery)
        self._idle = IdleJournals(owned, pipeline, clock=clock, limits=limits)

    async def tick_forever(self) -> None:
        """Run the stages' timers, and write the checkpoints that idle journals are due."""
        limits = self._limits
        ticks_until_idle = max(1, round(limits.idle_seconds / limits.tick_seconds))
        ticks = 0
        while True:
            await asyncio.sleep(limits.tick_seconds)
            ticks += 1
            await self.tick_all()
            if ticks % ticks_until_idle == 0:
                self.write_idle_checkpoints()

    async def tick_all(self) -> None:
        """Run the timers of all journals once."""
        for journal in self._owned.journals():
            await self.tick(journal)

    async def tick(self, journal: Journal) -> None:
        """Run the timer of one journal's stage, in pieces, until nothing is due."""
        limits = self._limits
        logic = self._stages[journal.stage].callbacks
        more = True
        # Between two assignments nothing is decided, by the clock no more than by records.
        while more and self._intake.reading is not None and self._owned.holds(journal):
            if journal.is_full:
                self._pipeline.touch(journal)
                await journal.wait_capacity()
                continue
            now_ms = self._clock()
            journal.read_until_ms = self._progress.read_until_ms(journal, now_ms)
            more = journal.tick(logic.tick, now_ms, limits.expiry_rows)
            if journal.is_open:
                self._pipeline.touch(journal)
            await asyncio.sleep(0)

    def write_idle_checkpoints(self) -> None:
        """Append the checkpoints that idle journals are due; see ``idle``."""
        if (reading := self._intake.reading) is None:
            self._idle.write_published({}, {})
        else:
            self._idle.write_published(reading.handled(), reading.epochs())
        self._idle.close_segments()
        self._idle.ask_for_time()

    async def renew_forever(self) -> None:
        """Renew the claim of each owned partition, over its public outputs and its journals."""
        while True:
            await asyncio.sleep(self._renewal_seconds)
            for partition, writer in self._owned.writers().items():
                await self._renew(partition, writer)

    async def _renew(self, partition: int, writer: Writer) -> None:
        """Renew one claim, unless the partition has moved since the round began."""
        if self._owned.writers().get(partition) is not writer:
            return
        try:
            await self._claims.renew(partition, writer)
        except Fenced:
            if self._owned.writers().get(partition) is writer:
                raise
            return
        if self._intake.reading is None:
            return  # Between two assignments the partition may be another worker's already.
        # The control records of a renewal look to a local copy like records that were compacted
        # away; the checkpoint of one more commit says that it has the journal past them.
        for journal in self._owned.journals():
            if journal.partition == partition and journal.local is not None:
                self._pipeline.touch(journal)
