"""Receiving: takes what is handed over to one stage into its journals (DESIGN 4.4)."""

import asyncio
from functools import partial

from .committer import Committer
from .handover import MAX_GROUPS_AHEAD_HANDED, Handed, Handover
from .journal import Journal
from .limits import Limits
from .ownership import Ownership
from .processing import Processing


class Receiving:
    """Takes what is handed to one stage."""

    def __init__(
        self,
        processing: Processing,
        handover: Handover,
        owned: Ownership,
        committer: Committer,
        limits: Limits,
    ) -> None:
        stage = processing.stage.name
        self._processing = processing
        self._handover = handover
        self._waiting = handover.waiting[stage]
        self._journals = owned.of(stage)
        self._committer = committer
        self._yield_every = limits.yield_every

    async def run(self) -> None:
        """Take messages for ever."""
        while True:
            handed = await self._waiting.first()
            # A partition is given up only when nothing is under way: so it is there.
            journal = self._journals[handed.at.partition]
            await self._take(handed, journal)
            self._waiting.finish(handed)
            # What was taken is in the open group or an earlier one.
            journal.when_journalled(partial(self._committer.part_done, handed.cycle))
            self._committer.touch(journal)

    async def _take(self, handed: Handed, journal: Journal) -> None:
        taken = 0
        while handed.messages:
            if journal.is_full:
                self._committer.touch(journal)
                await journal.room()
            if journal.ahead >= MAX_GROUPS_AHEAD_HANDED:
                for shipment in self._handover.withdraw(handed.at):
                    self._committer.ship(shipment)
            elif handed.messages:
                record, source = handed.messages.popleft()
                self._processing.take_handed(record, source, journal)
                taken += 1
                if not taken % self._yield_every:
                    self._committer.touch(journal)
                    await asyncio.sleep(0)
        self._processing.handled += taken
