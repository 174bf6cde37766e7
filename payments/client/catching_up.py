"""Catching up: one partition is read into the index when somebody asks, from where it was left.

So it costs nothing while nobody asks, and a read sees all that was acknowledged before it began.
Who asks may give up: the reading goes on to the end, and the next one finds more. Where much is to
be read, partitions take turns: in memory are a few large chunks, and one fetch of each other.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from exactstage.errors import PositionLost
from exactstage.log import Record, TopicPartition
from exactstage.troubles import Trouble
from payments.client.index import Index
from payments.client.runs import RUN_RECORDS
from payments.client.transport import Chunk, Transport, standing_at

if TYPE_CHECKING:
    from exactstage.kafka.standing import Standing

CHUNKS_AT_ONCE = 2
"""Large chunks in memory: one is stored while another is read."""

_FETCH_BYTES = 1024 * 1024
_FETCHES = 16
"""A chunk has as many, or the records of a run if they are fewer."""

_INLINE_RECORDS = 100
"""As many are stored at once, if nothing else is; more in a thread, so that the loop goes on."""

_IDLE_SECONDS = 0.005
"""Pause before the next look at a partition that has nothing new yet."""

_STANDING_SECONDS = 0.1
"""The same while an open transaction blocks it: that may last for minutes."""


class Intake(NamedTuple):
    """How the records of a topic get into the index."""

    pick: Callable[[Sequence[Record]], list[Any]]
    """Returns what is stored of them."""

    store: Callable[[TopicPartition, str, list[Any], int, int], None]
    """Stores what was picked: with its source, and the positions before and behind it."""

    turns: asyncio.Semaphore
    """Held by each chunk of more than one fetch."""


class PartitionView:
    """Keeps what the index has of one partition up to date; all who ask share the work."""

    def __init__(
        self, transport: Transport, at: TopicPartition, index: Index, intake: Intake
    ) -> None:
        self.at = at
        self._transport, self._index, self._intake = transport, index, intake
        self._source: str | None = None
        self._begun = 0
        self._run: asyncio.Task[None] | None = None
        self._position = self._end = 0
        self._standing: Standing | None = None

    @property
    def progress(self) -> str | None:
        """How far the reading has come, in words; None when it is at the end."""
        if self._run is None or self._run.done() or self._position >= self._end:
            return None
        return f"{self.at} is read up to offset {self._position:,} of {self._end:,}"

    def trouble(self, servers: str) -> Trouble | None:
        """Return why records don't come, however short it lasts; see ``Standing.trouble``."""
        return None if self._standing is None else self._standing.trouble(self.at, servers)

    async def refresh(self) -> None:
        """Return when the index has all that was in the partition at the call."""
        begun = self._begun
        if self._run is not None and not self._run.done():
            # It may have asked for the end before this call.
            await asyncio.wait([self._run])
        if self._begun == begun:
            self._begun += 1
            self._run = asyncio.create_task(self._catch_up(), name=f"catch up with {self.at}")
            self._run.add_done_callback(_look_at_error)
        assert self._run is not None, "it was begun"
        await asyncio.shield(self._run)

    async def until(self, enough: Callable[[], bool]) -> None:
        """Read on until ``enough()``: what is asked for must be on its way already."""
        if self._source is None:
            await self.refresh()  # What is stored may be of another topic.
        while not enough():
            before = self._position
            await self.refresh()
            if self._position == before and not enough():
                await asyncio.sleep(_IDLE_SECONDS)

    async def close(self) -> None:
        """End the reading."""
        if self._run is not None:
            self._run.cancel()
            await asyncio.gather(self._run, return_exceptions=True)

    async def _catch_up(self) -> None:
        """Read up to the end of now."""
        await self._transport.read_topics_too([self.at.topic])
        # First, since it says so where there is no such topic.
        position = await self._known_position()
        if position is not None:
            # Its end alone: most often nothing is new, and then this is all there is to ask.
            end = (await self._transport.ends([self.at]))[self.at]
            if position <= end:
                with suppress(PositionLost):
                    await self._read_on(position, end)
                    return
            # Records were deleted unread, or the topic is another one: what is held does not fit.
            self._source = None
            await self._known_position()
        first, end = (await self._transport.bounds([self.at]))[self.at]
        await asyncio.to_thread(self._index.restart, self.at, self._known_source, first)
        await self._read_on(first, end)

    async def _read_on(self, position: int, end: int) -> None:
        """Read and store up to ``end``. Raises ``PositionLost`` where records were deleted."""
        self._position, self._end = position, end
        try:
            while position < end:
                following = await self._take(position, end)
                # With nothing new it is a pause, else only a turn for the others in this loop.
                await asyncio.sleep(0 if following != position else self._pause_seconds())
                position = self._position = following
        finally:
            self._standing = None

    async def _take(self, begin: int, end: int) -> int:
        """Read and store one chunk; return the position behind it."""
        position, picked = await self._fetch(begin)
        # Not for the first fetch: a broker that does not answer keeps no turn from the others.
        is_large = begin < position < end
        async with self._intake.turns if is_large else nullcontext():
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
        """Return the position behind what a fetch brought, and what is to be stored of it."""
        chunk = await self._transport.read(self.at, position, max_bytes=_FETCH_BYTES, headers=False)
        self._note(chunk, position)
        return chunk.position, self._intake.pick(chunk.records)

    async def _store(self, picked: list[Any], begin: int, position: int) -> None:
        stored = self.at, self._known_source, picked, begin, position
        if len(picked) <= _INLINE_RECORDS and self._index.is_free:
            self._intake.store(*stored)
        else:
            await asyncio.to_thread(self._intake.store, *stored)

    def _note(self, chunk: Chunk, position: int) -> None:
        """Note whether the partition has records of which none came."""
        now = asyncio.get_running_loop().time()
        self._standing = standing_at(position, chunk, self._standing, now)

    def _pause_seconds(self) -> float:
        return _IDLE_SECONDS if self._standing is None else _STANDING_SECONDS

    async def _known_position(self) -> int | None:
        if self._source is None:
            cluster = await self._transport.describe([self.at.topic])
            self._source = f"{cluster.id}/{cluster.topics[self.at.topic]}"
        return self._index.position(self.at, self._source)

    @property
    def _known_source(self) -> str:
        assert self._source is not None, "the position was asked for with it"
        return self._source


def _look_at_error(run: "asyncio.Task[None]") -> None:
    """Mark an error as seen: it is raised to whoever waits, and all may have given up."""
    if not run.cancelled():
        run.exception()
