"""Configurations and rights while a worker runs: what would refuse its next start is said.

Someone who changes a topic's configuration sees no worker end by it. But a journal that deletes has
lost rows when the next worker takes over, and an input that is compacted has lost commands. Nor is
a right missed that only a start needs, such as to read the results. And a retention that deletes
the ledger refuses no start at all: until it is needed for a rebuild.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence

from .errors import FailStop
from .log import Log

logger = logging.getLogger(__name__)


class ConfigWatch:
    """Looks at the configurations again and again, and warns of each change for the worse once.

    ``keeps`` has for how many seconds records have to stay in topics.
    """

    def __init__(
        self,
        log: Log,
        *,
        inputs: Collection[str],
        journals: Collection[str],
        keeps: Mapping[str, float],
        between_seconds: float,
    ) -> None:
        self._log = log
        self._inputs, self._journals, self._keeps = inputs, journals, keeps
        self._between_seconds = between_seconds
        self._logged = ""
        self._logged_losses: Sequence[str] = ()

    async def run(self) -> None:
        """Look for ever; at once at what no start looks at."""
        await self.look_at_losses()
        while True:
            await asyncio.sleep(self._between_seconds)
            await self.look()
            await self.look_at_losses()

    async def look(self) -> None:
        """Warn where a start would be refused now, and say when that is over."""
        try:
            await self._log.require_configs(inputs=self._inputs, journals=self._journals)
        except FailStop as error:
            found = str(error)
            if found != self._logged:
                logger.warning("this worker continues, but its next start is refused: %s", found)
        else:
            found = ""
            if self._logged:
                logger.warning("the next start is not refused any more: all fits again")
        self._logged = found

    async def look_at_losses(self) -> None:
        """Warn where records are deleted that have to be kept, and say when that is over."""
        try:
            found = list(await self._log.losses(self._keeps))
        except FailStop as error:
            logger.debug("the retention of topics can't be read: %s", error)  # Appends report it.
            return
        if found and found != self._logged_losses:
            logger.warning("records will be lost that are still needed: %s", "; ".join(found))
        elif self._logged_losses and not found:
            logger.warning("the retention of the topics keeps what is needed again")
        self._logged_losses = found
