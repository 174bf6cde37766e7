"""The committer: journals open groups, then publishes their outputs (DESIGN 4.2).

It runs as fast as the log answers, so it tunes itself: groups are small when there is little to do
and large under load. Two loops overlap: while the outputs of one cycle are published, the next one
is journalled, on connections of their own. Where appends are slow, both are one under load.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from .errors import FailStop, as_fail_stop
from .handover import Cycle, Handover, Shipment
from .journal import Group, Journal
from .limits import Limits
from .log import Batch, Lane, Log, Writer
from .outputs import Rounds, message_headers, position_header, size_of


class CommitterCounts(NamedTuple):
    """What was done since the start."""

    groups: int
    cycles: int


class _Ride(NamedTuple):
    """Outputs of a cycle that are appended together with the next groups."""

    shipments: Sequence[Shipment]
    batches: Sequence[Batch]


_NO_RIDE = _Ride((), ())


class Committer:
    """Appends the groups of all journals of one worker."""

    def __init__(
        self,
        log: Log,
        messenger: Writer,
        handover: Handover,
        limits: Limits,
        on_failure: Callable[[FailStop], None],
    ) -> None:
        self._log = log
        self._handover = handover
        self._messenger = messenger
        self._limits = limits
        self._on_failure = on_failure
        self._dirty: dict[Journal, None] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._cycles_under_way = 0
        self._cycles: deque[Cycle] = deque()
        """Journalled, not yet published."""
        self._shipments: asyncio.Queue[Shipment] = asyncio.Queue()
        self._is_publishing = False
        self._append_seconds = 0.0
        """How long the last append of groups took."""
        self._taken = asyncio.Event()
        """Set whenever the publisher has taken what had queued up."""
        self._tasks: list[asyncio.Task[None]] = []
        self._counted_groups = 0
        self._counted_cycles = 0

    def start(self) -> None:
        """Start both loops in the running event loop."""
        self._tasks = [
            asyncio.create_task(self._guard(self._journal_loop), name="journal"),
            asyncio.create_task(self._guard(self._publish_loop), name="publish"),
        ]

    async def stop(self) -> None:
        """End both loops where they are. What is not journalled was never decided."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    @property
    def counts(self) -> CommitterCounts:
        """Groups and cycles journalled so far."""
        return CommitterCounts(self._counted_groups, self._counted_cycles)

    def touch(self, journal: Journal) -> None:
        """Say that ``journal`` has an open group, or should write a checkpoint."""
        self._dirty[journal] = None
        self._idle.clear()
        self._wake.set()

    def forget(self, journal: Journal) -> None:
        """Drop a journal that this worker no longer owns."""
        journal.abandon()
        self._dirty.pop(journal, None)
        self._settle()

    @property
    def is_quiet(self) -> bool:
        """Whether everything decided so far is journalled and published."""
        return self._idle.is_set()

    async def quiet(self) -> None:
        """Wait until everything decided so far is journalled and published."""
        await self._idle.wait()

    async def _guard(self, loop: Callable[[], Awaitable[None]]) -> None:
        try:
            await loop()
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must not hang
            self._on_failure(as_fail_stop("the committer", error))

    async def _journal_loop(self) -> None:
        """Take the open groups of all dirty journals, append each as one batch, hand them on.

        1. wait a little until what was handed over is taken, so that it joins these groups and not
           the next ones: fewer and fuller groups;
        2. cut the open group of every dirty journal that has room in its ring;
        3. append all their batches at once;
        4. hand over what its receiver can take from memory, and give the rest to the publisher
           (waits while it is too far behind), or append it together with the next groups.
        """
        ride, now = _NO_RIDE, asyncio.get_running_loop().time
        while True:
            ready = await self._ready(at_once=ride is not _NO_RIDE)
            if not ready:
                self._ship_all(ride.shipments)
                ride = _NO_RIDE
                continue
            for journal in ready:
                del self._dirty[journal]
            groups = [journal.cut() for journal in ready]
            self._cycles_under_way += 1
            batches = [group.batch for group in groups]
            began = now()
            offsets = await self._log.append([*batches, *ride.batches], Lane.JOURNAL)
            self._append_seconds = now() - began
            self._handover.acknowledged(ride.batches, offsets)
            self._all_done(ride.shipments)
            shipments = self._handover.split(self._journalled(groups))
            ride = self._ride_of(shipments)
            if ride is _NO_RIDE:
                self._ship_all(shipments)
                while self._shipments.qsize() > self._limits.publish_queue:
                    self._taken.clear()
                    await self._taken.wait()

    async def _ready(self, *, at_once: bool) -> list[Journal]:
        """Return the journals whose groups may be cut; wait until there may be some."""
        if not at_once:
            await self._wake.wait()
        self._wake.clear()
        # Not for ever: a receiver may itself wait for a cut.
        for _ in range(self._limits.turns_before_cut):
            if self._handover.all_taken:
                break
            await asyncio.sleep(0)
        return [journal for journal in self._dirty if journal.may_cut]

    def _journalled(self, groups: Sequence[Group]) -> Cycle:
        """Note that groups are journalled, and tell whoever waits for that."""
        self._counted_groups += len(groups)
        self._counted_cycles += 1
        cycle = Cycle(groups)
        self._cycles.append(cycle)
        for group in groups:
            for callback in group.callbacks:
                callback()
            # They know the cycles whose messages this group took, whose groups knew earlier ones:
            # under load that is a chain without an end.
            group.callbacks.clear()
        return cycle

    def _ride_of(self, shipments: Sequence[Shipment]) -> _Ride:
        """Return the outputs that may wait for the next groups, or ``_NO_RIDE``: publish them now.

        Where appends are slow, that makes fewer of them, and fuller groups. A few outputs don't
        wait: their acknowledgement would keep the groups from going on. Nor do outputs wait when
        others are being published (they would overtake those), when no group will be cut now, or
        when they need more than one append.
        """
        count = sum(len(indexes) for shipment in shipments for _, indexes in shipment.outputs)
        if (
            self._append_seconds < self._limits.riding_seconds
            or count < self._limits.riding_outputs
            or self._is_publishing
            or not self._shipments.empty()
            or (not self._dirty and self._handover.all_taken)
        ):
            return _NO_RIDE
        rounds = list(self._rounds(shipments))
        return _Ride(shipments, rounds[0]) if len(rounds) == 1 else _NO_RIDE

    async def _publish_loop(self) -> None:
        """Publish what is journalled, all that has queued up at once, then note it.

        The next cycles' outputs follow only when these are acknowledged, so that what any partition
        holds of a journal's messages is always a beginning of them, in order (DESIGN 4.4).
        """
        while True:
            shipments = [await self._shipments.get()]
            self._is_publishing = True
            while not self._shipments.empty():
                shipments.append(self._shipments.get_nowait())
            self._taken.set()
            for batches in self._rounds(shipments):
                self._handover.acknowledged(batches, await self._log.append(batches, Lane.PUBLISH))
            self._is_publishing = False
            self._all_done(shipments)

    def _rounds(self, shipments: Sequence[Shipment]) -> Rounds:
        rounds = Rounds(self._limits.batch_bytes)
        for shipment in shipments:
            self._add(shipment, rounds)
        return rounds

    def _add(self, shipment: Shipment, rounds: Rounds) -> None:
        for record, source in shipment.messages:
            key, value = record.key, record.value
            size = size_of(key, value, record.headers)
            owner = self._handover.owner_header(source.name)
            new = key, value, message_headers(record.headers, owner, position_header(source))
            rounds.add(record.topic, record.partition, self._messenger, new, size)
        for publication, indexes in shipment.outputs:
            publication.add_to(rounds, self._messenger, only=indexes)

    def ship(self, shipment: Shipment) -> None:
        """Publish this behind what was given before."""
        self._shipments.put_nowait(shipment)

    def _ship_all(self, shipments: Sequence[Shipment]) -> None:
        for shipment in shipments:
            self.ship(shipment)

    def _all_done(self, shipments: Sequence[Shipment]) -> None:
        for shipment in shipments:
            self.part_done(shipment.cycle)

    def part_done(self, cycle: Cycle) -> None:
        """Note that a part of a cycle is published: it is in the log, or its receiver has it."""
        cycle.parts_left -= 1
        while self._cycles and not self._cycles[0].parts_left:
            for group in self._cycles.popleft().groups:
                group.journal.published = group.publication.group
            self._cycles_under_way -= 1
        self._settle()

    def _settle(self) -> None:
        if self._dirty:
            self._wake.set()
        elif not self._cycles_under_way:
            self._idle.set()


async def publish(log: Log, rounds: Rounds) -> None:
    """Append outputs in order, in as few appends as their sizes allow."""
    for batches in rounds:
        await log.append(batches, Lane.PUBLISH)
