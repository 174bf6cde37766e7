"""Balance: a worker joins its group again when partitions can move to where their rows are.

Only with standbys: ``assignment`` moves nothing to a worker that has to read all rows first.
"""

import asyncio
import logging

from .assignment import StandbyAssignor
from .host import Host
from .membership import MembershipConsumer

Held = frozenset[tuple[str, frozenset[int]]]

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0

PATIENCE_SECONDS = 600.0
"""After this the leader of the group moves partitions to who has not read all rows yet. Kafka
Streams' interval of probing rebalances has the same default."""


class Balance:
    """Watches whether partitions should move, for one worker."""

    def __init__(self, host: Host, assignor: StandbyAssignor) -> None:
        self._host, self._assignor = host, assignor
        self._asked: Held | None = None
        """For which distribution of partitions it joined again: twice changes nothing."""
        self._since = 0.0
        self._seen: Held | None = None

    async def watch(self, membership: MembershipConsumer) -> None:
        """Look once a second, until the worker ends."""
        while not self._host.should_stop:
            await self._host.sleep(_LOOK_SECONDS)
            if self.should_move(asyncio.get_running_loop().time()):
                logger.info("standby: partitions can move here, the group shares them out again")
                await membership.rejoin()

    def should_move(self, now: float) -> bool:
        """Whether the group should share the partitions out again; yes once for what is."""
        engine, assignor = self._host.engine, self._assignor
        held = assignor.held()
        if held != self._seen:
            self._seen, self._since = held, now
        if self._host.rebalancing or not engine.is_reading or held == self._asked:
            return False
        is_ready = engine.standbys.is_complete and assignor.may_take()
        is_late = assignor.left_uneven and now - self._since > PATIENCE_SECONDS
        if not (is_ready or is_late):
            return False
        self._asked = held
        return True
