"""Configurations and rights while a worker runs: what would refuse its next start is said.

Someone who changes a topic's configuration sees no worker end by it. But a journal that deletes has
lost rows when the next worker takes over, and an input that is compacted has lost commands. Nor is
a right missed that only a start needs, such as to read the results.
"""

import asyncio
import logging
from collections.abc import Collection

from .errors import FailStop
from .log import Log

logger = logging.getLogger(__name__)


class ConfigWatch:
    """Looks at the configurations again and again, and warns of each change for the worse once."""

    def __init__(
        self,
        log: Log,
        *,
        inputs: Collection[str],
        journals: Collection[str],
        between_seconds: float,
    ) -> None:
        self._log = log
        self._inputs, self._journals = inputs, journals
        self._between_seconds = between_seconds
        self._told = ""

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await asyncio.sleep(self._between_seconds)
            await self.look()

    async def look(self) -> None:
        """Warn where a start would be refused now, and say when that is over."""
        try:
            await self._log.require_configs(inputs=self._inputs, journals=self._journals)
        except FailStop as error:
            found = str(error)
            if found != self._told:
                logger.warning("this worker goes on, but its next start is refused: %s", found)
        else:
            found = ""
            if self._told:
                logger.warning("the next start is not refused any more: all fits again")
        self._told = found
