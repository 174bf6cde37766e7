"""Standing partitions of a client: logged once, then at long intervals, as by a worker."""

import asyncio
from collections.abc import Callable, Sequence

from exactstage.kafka import Readiness, Trouble, troubles_in_words

_CHECK_SECONDS = 1.0

Troubles = Callable[[], Sequence[Trouble]]
"""Returns the partitions that stand still, even if only for a moment."""


class StandingWatch:
    """Checks once a second the partitions that a client reads."""

    def __init__(self, stall_seconds: float, *, results: Troubles, accounts: Troubles) -> None:
        """Report partitions that stand still for ``stall_seconds``."""
        self._stall_seconds = stall_seconds
        self._results, self._accounts = results, accounts
        self._readiness = Readiness(stall_seconds)

    async def run(self) -> None:
        """Log standing partitions, and when they are read again, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(_CHECK_SECONDS, self._stall_seconds))
            self._readiness.look([*self._results(), *self._accounts()], loop.time())

    def accounts_trouble(self) -> str | None:
        """Return in words why accounts can't be read to the end, if it lasts; else None."""
        now = asyncio.get_running_loop().time()
        lasting = [
            trouble for trouble in self._accounts() if now - trouble.since >= self._stall_seconds
        ]
        return "; ".join(troubles_in_words(lasting)) or None
