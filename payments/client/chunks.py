"""Chunks: reads one partition fetch by fetch, and knows whether it stands still.

The caller has a deadline, so there is none here. With a reader of its own for a whole range, see
``exactstage.inspection.read_ranges``; this needs no connection of its own and keeps none.
"""

import asyncio
from typing import TYPE_CHECKING

from exactstage import TopicPartition
from exactstage.kafka import Chunk, Trouble
from payments.client.transport import Transport, standing_at

if TYPE_CHECKING:
    from exactstage.kafka import Standing

_BYTES = 1024 * 1024

_IDLE_SECONDS = 0.005
"""Pause before the next fetch from a partition that has no new records yet."""

_STANDING_SECONDS = 0.1
"""The same while an open transaction blocks it, which may last for minutes."""


class Chunks:
    """The chunks of one partition; ``headers`` as in ``Transport.read``."""

    def __init__(self, transport: Transport, at: TopicPartition, *, headers: bool = True) -> None:
        self._transport, self._at, self._headers = transport, at, headers
        self._standing: Standing | None = None
        self._has_moved = True

    async def read(self, position: int) -> Chunk:
        """Return the chunk at a position. Raises what ``Transport.read`` raises."""
        chunk = await self._transport.read(
            self._at, position, max_bytes=_BYTES, headers=self._headers
        )
        now = asyncio.get_running_loop().time()
        self._standing = standing_at(position, chunk, self._standing, now)
        self._has_moved = chunk.position != position
        return chunk

    async def pause(self) -> None:
        """Wait a little if the last chunk brought nothing; else only let other tasks run."""
        idle = _IDLE_SECONDS if self._standing is None else _STANDING_SECONDS
        await asyncio.sleep(0 if self._has_moved else idle)

    def end(self) -> None:
        """Note that nobody reads any more."""
        self._standing = None

    def trouble(self, servers: str) -> Trouble | None:
        """Return why fetches return no records now; see ``Standing.trouble``."""
        return None if self._standing is None else self._standing.trouble(self._at, servers)
