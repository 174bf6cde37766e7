"""A transport whose appends fail as a test asks for."""

import asyncio
from collections.abc import Mapping, Sequence

from exactstage.kafka import AppendFailure
from exactstage.log import Batch, Bounds, TopicPartition
from exactstage.memory import MemoryLog
from payments.client.transport import LogTransport, Unavailable


class FaultyTransport(LogTransport):
    """Like a broker behind a bad line. ``faults`` are taken one by one, one for each append."""

    def __init__(self, log: MemoryLog) -> None:
        super().__init__(log)
        self.faults: list[AppendFailure | None] = []
        self.fault: AppendFailure | None = None
        """What every append meets once ``faults`` are used up."""
        self.stores_before_it_fails = False
        self.leaderless = False
        self.node = 0
        self.away = False
        self.sizes: list[int] = []
        """Commands in each batch that was tried."""
        self.opened = 0
        self._stored: set[int] = set()
        self._kept: list[Batch] = []
        self.held: asyncio.Event | None = None
        """Appends wait for it."""
        self.trying = asyncio.Event()

    async def open(self, topics: Sequence[str]) -> None:
        """Count the connections."""
        self.opened += 1
        await super().open(topics)

    def leader(self, at: TopicPartition) -> int | None:
        """Return the node of now, or that there is none."""
        return None if self.leaderless else self.node

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Answer, unless the brokers are away."""
        if self.away:
            raise Unavailable("away")
        return await super().bounds(at)

    async def ends(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Answer, unless the brokers are away."""
        if self.away:
            raise Unavailable("away")
        return await super().ends(at)

    async def append(
        self, node: int, batches: Mapping[TopicPartition, Batch]
    ) -> Mapping[TopicPartition, AppendFailure]:
        """Append, or meet the next fault."""
        self.trying.set()
        self.sizes += [len(batch.records) for batch in batches.values()]
        if self.held is not None:
            await self.held.wait()
        fault = self.faults.pop(0) if self.faults else self.fault
        if fault is None or self.stores_before_it_fails:
            # The broker knows a batch that it has, by its sequence number.
            new = {at: b for at, b in batches.items() if id(b) not in self._stored}
            self._stored |= {id(batch) for batch in new.values()}
            self._kept += new.values()
            await super().append(node, new)
        return {} if fault is None else dict.fromkeys(batches, fault)


LOST = AppendFailure(OSError("lost"), arrived=True, retriable=True)
NOT_SENT = AppendFailure(OSError("no connection"), arrived=False, retriable=True)
REFUSED = AppendFailure(PermissionError("refused"), arrived=False, retriable=False)
