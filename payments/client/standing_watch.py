"""Partitions that stand still for a client: logged once and then rarely, as by a worker."""

import asyncio
from collections.abc import Callable, Sequence

from exactstage.readiness import Readiness
from exactstage.troubles import Trouble, in_words

_LOOK_SECONDS = 1.0

Troubles = Callable[[], Sequence[Trouble]]
"""Tells what stands still, however short it lasts."""


class StandingWatch:
    """Looks once a second at the partitions that a client reads."""

    def __init__(self, stall_seconds: float, *, results: Troubles, accounts: Troubles) -> None:
        """Tell what stands still for ``stall_seconds``."""
        self._stall_seconds = stall_seconds
        self._results, self._accounts = results, accounts
        self._readiness = Readiness(stall_seconds)

    async def run(self) -> None:
        """Log what stands still, and that it goes on again, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, self._stall_seconds))
            self._readiness.look([*self._results(), *self._accounts()], loop.time())

    def accounts_trouble(self) -> str | None:
        """Return why accounts can't be read to the end, if that lasts, in words."""
        now = asyncio.get_running_loop().time()
        lasting = [
            trouble for trouble in self._accounts() if now - trouble.since >= self._stall_seconds
        ]
        return "; ".join(in_words(lasting)) or None
