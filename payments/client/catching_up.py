"""Catching up: reads one partition into the index on request, from the stored position on.

Without requests it costs nothing; a request sees all records acknowledged before it. The reading
continues to the end even when the request times out, so that the next request finds more. When much
is to be read, slots limit the memory: a few large chunks, and one fetch of each other partition.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import Any, NamedTuple

from exactstage import Record, TopicPartition
from exactstage.errors import PositionLost
from exactstage.kafka import Trouble
from payments.client.chunks import Chunks
from payments.client.index import Index
from payments.client.runs import RUN_RECORDS
from payments.client.transport import Transport

CHUNKS_AT_ONCE = 2
"""Large chunks in memory: one is stored while the next is read."""

_FETCHES = 16
"""Maximum number of fetches in a chunk; it ends earlier with the records of a run."""

_INLINE_RECORDS = 100
"""Up to this number, records are stored in the event loop; more in a thread."""

_IDLE_SECONDS = 0.005
"""Pause before the end is asked for again, where records that are decided are not there yet."""


class Intake(NamedTuple):
    """How the records of a topic get into the index."""

    pick: Callable[[Sequence[Record]], list[Any]]
    """Returns the items to store of these records."""

    store: Callable[[TopicPartition, str, list[Any], int, int], None]
    """Stores the items, with their source and the positions before and after them."""

    slots: asyncio.Semaphore
    """Held by each chunk of more than one fetch."""


class PartitionView:
    """Keeps the index of one partition up to date; concurrent requests share the work."""

    def __init__(
        self, transport: Transport, at: TopicPartition, index: Index, intake: Intake
    ) -> None:
        self.at = at
        self._transport, self._index, self._intake = transport, index, intake
        self._source: str | None = None
        self._begun = 0
        self._run: asyncio.Task[None] | None = None
        self._position = self._end = 0
        self._chunks = Chunks(transport, at, headers=False)

    @property
    def progress(self) -> str | None:
        """How far the reading is, in words; None at the end."""
        if self._run is None or self._run.done() or self._position >= self._end:
            return None
        return f"{self.at} is read up to offset {self._position:,} of {self._end:,}"

    def trouble(self, servers: str) -> Trouble | None:
        """Return why fetches return no records now; see ``Standing.trouble``."""
        return self._chunks.trouble(servers)

    async def refresh(self) -> None:
        """Return when the index has all records that the partition had at the call."""
        begun = self._begun
        if self._run is not None and not self._run.done():
            # This run may have requested the end before this call.
            await asyncio.wait([self._run])
        if self._begun == begun:
            self._begun += 1
            self._run = asyncio.create_task(self._catch_up(), name=f"catch up with {self.at}")
            self._run.add_done_callback(_retrieve_error)
        assert self._run is not None, "it was begun"
        await asyncio.shield(self._run)

    async def until(self, enough: Callable[[], bool]) -> None:
        """Read on until ``enough()``; the records needed for it must be decided already."""
        if self._source is None:
            await self.refresh()  # The stored data may be of another topic.
        while not enough():
            before = self._position
            await self.refresh()
            if self._position == before and not enough():
                await asyncio.sleep(_IDLE_SECONDS)

    async def close(self) -> None:
        """Stop reading."""
        if self._run is not None:
            self._run.cancel()
            await asyncio.gather(self._run, return_exceptions=True)

    async def _catch_up(self) -> None:
        """Read up to the current end."""
        await self._transport.add_topics([self.at.topic])
        # First, since it raises a clear error when the topic does not exist.
        position = await self._known_position()
        if position is not None:
            # Only the end: usually there is nothing new, and this is the only request.
            end = (await self._transport.ends([self.at]))[self.at]
            if position <= end:
                with suppress(PositionLost):
                    await self._read_on(position, end)
                    return
            # Records were deleted unread, or the topic was recreated: the stored data is not valid.
            self._source = None
            await self._known_position()
        first, end = (await self._transport.bounds([self.at]))[self.at]
        await asyncio.to_thread(self._index.restart, self.at, self._known_source, first)
        await self._read_on(first, end)

    async def _read_on(self, position: int, end: int) -> None:
        """Read and store up to ``end``. Raises ``PositionLost`` when records were deleted."""
        self._position, self._end = position, end
        try:
            while position < end:
                following = await self._take(position, end)
                await self._chunks.pause()
                position = self._position = following
        finally:
            self._chunks.end()

    async def _take(self, begin: int, end: int) -> int:
        """Read and store one chunk; return the position after it."""
        position, picked = await self._fetch(begin)
        # The first fetch takes no slot, so that a broker that does not answer blocks none.
        is_large = begin < position < end
        async with self._intake.slots if is_large else nullcontext():
            for _ in range(_FETCHES - 1):
                if not begin < position < end or len(picked) >= RUN_RECORDS:
                    break
                following, more = await self._fetch(position)
                picked += more
                if following == position:
                    break
                position = following
            if position != begin:
                await self._store(picked, begin, position)
        return position

    async def _fetch(self, position: int) -> tuple[int, list[Any]]:
        """Return the position after a fetch, and the items to store of it."""
        chunk = await self._chunks.read(position)
        return chunk.position, self._intake.pick(chunk.records)

    async def _store(self, picked: list[Any], begin: int, position: int) -> None:
        stored = self.at, self._known_source, picked, begin, position
        if len(picked) <= _INLINE_RECORDS and self._index.is_free:
            self._intake.store(*stored)
        else:
            await asyncio.to_thread(self._intake.store, *stored)

    async def _known_position(self) -> int | None:
        if self._source is None:
            cluster = await self._transport.describe([self.at.topic])
            self._source = f"{cluster.id}/{cluster.topics[self.at.topic]}"
        return self._index.position(self.at, self._source)

    @property
    def _known_source(self) -> str:
        assert self._source is not None, "_known_position sets it"
        return self._source


def _retrieve_error(run: "asyncio.Task[None]") -> None:
    """Retrieve the exception, so that asyncio does not report it when no caller waits."""
    if not run.cancelled():
        run.exception()
