"""Catching up: one partition is read when somebody asks, from where it was left to its end.

So it costs nothing while nobody asks, and a read sees all that was acknowledged before it began.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from payments.client.transport import Transport
from payments.engine.log import Record, TopicPartition

_CHUNK_BYTES = 1024 * 1024
_IDLE_SECONDS = 0.005
"""Pause before the next look at a partition that has nothing new yet."""


class Fold(Protocol):
    """What is kept of a partition."""

    def take(self, records: Sequence[Record]) -> None:
        """Add records, in order. Those before an exception count, and are not shown again."""

    @property
    def position(self) -> int | None:
        """Offset behind the last record taken; None when there was none."""


class Partition:
    """Keeps one fold up to date on demand; any number of readers share the work."""

    def __init__(self, transport: Transport, at: TopicPartition, fold: Fold) -> None:
        self.at = at
        self._transport = transport
        self._fold = fold
        self._position: int | None = None
        self._reading = asyncio.Lock()
        self._turn = 0
        self._fresh_turn = 0
        """The fold holds all that was in the partition when this turn began."""

    async def refresh(self) -> None:
        """Return when the fold holds all that was in the partition at the call."""
        self._turn += 1
        mine = self._turn
        async with self._reading:
            if self._fresh_turn > mine:
                return  # Somebody else began to read after this call did.
            self._turn += 1
            begun = self._turn
            end = (await self._transport.bounds([self.at]))[self.at].end
            while await self._next_position() < end:
                await self._read_chunk()
            self._fresh_turn = begun

    async def until(self, enough: Callable[[], bool]) -> None:
        """Read on until ``enough()``: what is asked for must be on its way already."""
        while not enough():
            async with self._reading:
                if not enough():
                    await self._read_chunk()

    async def _next_position(self) -> int:
        if self._position is None:
            self._position = (await self._transport.bounds([self.at]))[self.at].first
        return self._position

    async def _read_chunk(self) -> None:
        position = await self._next_position()
        chunk = await self._transport.read(self.at, position, max_bytes=_CHUNK_BYTES)
        try:
            self._fold.take(chunk.records)
        except Exception:
            taken = self._fold.position
            self._position = position if taken is None else max(position, taken)
            raise
        self._position = chunk.position
        # With nothing new it is a pause, else only a turn for the others in this loop.
        await asyncio.sleep(_IDLE_SECONDS if chunk.position == position else 0)
