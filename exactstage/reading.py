"""Reading: records of the owned partitions, from the journals' positions, one fetch at a time.

All records of one fetch that belong to a stage travel as one delivery, so whatever carries them (an
agent's channel) is paid for once per fetch. A stage has few deliveries in flight; the reader waits
for it, so what is taken but not yet decided is bounded.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from .errors import UnreadableBatch
from .limits import Limits
from .log import NO_EPOCH, Reader, TopicPartition
from .processing import Run

_FETCH_SECONDS = 60.0


@dataclass(eq=False, slots=True)
class Delivery:
    """What one fetch brought for one stage."""

    stage: str
    runs: Sequence[Run]
    reading: "Reading"

    def is_stopped(self) -> bool:
        """Whether the assignment that it was read for has ended."""
        return self.reading.stopped

    @contextmanager
    def being_handled(self) -> Iterator[bool]:
        """Handle it inside, once; False when it is left to the next assignment.

        The next delivery comes when this one is handled to its end, without an error.
        """
        if self.reading.stopped:
            yield False
            return
        self.reading.begin()
        try:
            yield True
            if not self.reading.stopped:
                self.reading.done(self.stage)  # Else it may not have been handled to its end.
        finally:
            self.reading.end()


Deliver = Callable[[Delivery], Awaitable[None]]


class EndSeen(NamedTuple):
    """The end of a partition: every record that was appended before the question is before it."""

    end: int
    asked_seconds: float
    """When the question was asked, by the clock of the event loop; ``math.inf`` is now."""


class Reading:
    """Fetches for one assignment, until it is stopped."""

    def __init__(
        self,
        reader: Reader,
        stage_of: Mapping[str, str],
        deliver: Deliver,
        limits: Limits,
        *,
        public: AbstractSet[str] = frozenset(),
    ) -> None:
        """Read for these stages. ``public`` are the topics that anyone may write.

        A batch that can't be decoded is dead-lettered there; on all others it is the process's end.
        """
        self._reader = reader
        self._public = public
        self._stage_of = stage_of
        self._deliver = deliver
        self._slots = {
            stage: asyncio.Semaphore(limits.deliveries) for stage in set(stage_of.values())
        }
        self._taken = dict.fromkeys(self._slots, 0)
        """Deliveries of each stage that were fetched but are not handled yet."""
        self._being_handled = 0
        self._ended = asyncio.Event()
        self._ended.set()
        self.waiting_since: float | None = None
        """Since when a delivery waits for its stage to handle those before it (the loop's time)."""
        self.stopped = False
        """Deliveries that were not begun when this was set are left to the next assignment."""

    async def run(self) -> None:
        """Read what is assigned to the reader, for ever. Raises what the reader raises."""
        while True:
            stages: dict[str, list[Run]] = {}
            for run in await self._next_runs():
                stages.setdefault(self._stage_of[run.at.topic], []).append(run)
            for stage in stages:
                self._taken[stage] += 1
            for stage, runs in stages.items():
                if self._slots[stage].locked():
                    self.waiting_since = asyncio.get_running_loop().time()
                await self._slots[stage].acquire()
                self.waiting_since = None
                await self._deliver(Delivery(stage, runs, self))

    async def _next_runs(self) -> list[Run]:
        """Return what the next fetch brings: records, or a batch that has to be dead-lettered."""
        try:
            fetched = await self._reader.fetch(timeout_seconds=_FETCH_SECONDS)
        except UnreadableBatch as batch:
            if batch.topic not in self._public or not batch.end_is_known:
                raise
            self._reader.skip(batch)
            at = TopicPartition(batch.topic, batch.partition)
            epoch = self.epochs().get(at, NO_EPOCH)
            return [Run(at, (), unreadable=batch, epoch=epoch)]
        epochs = self.epochs()
        return [Run(at, records, epoch=epochs.get(at, NO_EPOCH)) for at, records in fetched.items()]

    def epochs(self) -> Mapping[TopicPartition, int]:
        """Return the leader epoch of what was fetched last of each partition, where known."""
        return self._reader.epochs()

    def begin(self) -> None:
        """Note that a delivery is being handled."""
        self._being_handled += 1
        self._ended.clear()

    def end(self) -> None:
        """Note that the handling of a delivery has ended."""
        self._being_handled -= 1
        if not self._being_handled:
            self._ended.set()

    def done(self, stage: str) -> None:
        """Free the slot of a delivery."""
        self._taken[stage] -= 1
        self._slots[stage].release()

    def handled(self) -> Mapping[TopicPartition, int]:
        """Return the next offset of each partition of stages that have handled all they were given.

        Control records at the end of a partition are passed, which no handled record shows.
        """
        idle = {stage for stage, count in self._taken.items() if not count}
        return {
            at: position
            for at, position in self._reader.positions().items()
            if self._stage_of[at.topic] in idle
        }

    def position(self, at: TopicPartition, handled: int) -> int:
        """Return the next offset of one partition; ``handled`` is that of its journal.

        As ``handled`` does it passes control records, where the stage has handled all it was given.
        """
        if self._taken[self._stage_of[at.topic]]:
            return handled
        return max(handled, self._reader.positions().get(at, 0))

    def end_seen(self, at: TopicPartition) -> EndSeen | None:
        """Return the end of a partition as its leader named it last; None before that."""
        asked_seconds = self._reader.end_asked(at)
        return (
            None if asked_seconds is None else EndSeen(self._reader.seen_ends()[at], asked_seconds)
        )

    async def handling_ended(self) -> None:
        """Wait until no delivery is being handled."""
        await self._ended.wait()
