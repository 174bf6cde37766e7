"""A worker of the simulation: a real engine, hosted as the Faust app hosts it.

What ``exactstage/hosting`` does is done here without Faust, step by step: an agent for each
stage, a drain before each rebalance, takeovers one after the other, and the end of the process at
any failure.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from exactstage.clock import BrokerClock
from exactstage.engine import Engine
from exactstage.errors import (
    FailStop,
    Fenced,
    JournalBroken,
    NotOurs,
    PositionLost,
    RecordsLost,
    as_fail_stop,
)
from exactstage.journal import Journal
from exactstage.limits import Limits
from exactstage.log import TopicPartition
from exactstage.reading import Delivery
from exactstage.stage import Stage
from exactstage.takeover import TakeoverReport

from .brokers import Brokers
from .disk import SimulatedState
from .faults import Fault
from .group import Group
from .log import SimulatedLog, Unreachable
from .loop import Process
from .network import Handler, Network, Reply, Retriable

_HEARTBEAT_SECONDS = 2.5
_RETRY_SECONDS = 0.2


class TooSlow(FailStop):
    """What was decided could not be published before a rebalance."""


EXPECTED_FAILURES = (Fenced, Unreachable, TooSlow)
"""Ends that faults may bring about. Every other one is a finding."""

NOTICED = (RecordsLost, NotOurs, JournalBroken, PositionLost)
"""Ends by which a worker says that acknowledged records are gone; findings where none were lost."""


class Worker:
    """One life of a worker process; after its end another one begins."""

    def __init__(
        self,
        process: Process,
        *,
        brokers: Brokers,
        network: Network,
        group: Group,
        app_id: str,
        stages: Sequence[Stage],
        limits: Limits,
        wall_ms: Callable[[], int],
        renewal_seconds: float,
        local_delivery: bool,
        drain_timeout_seconds: float,
        delivery_timeout_seconds: float,
        on_end: Callable[["Worker", FailStop | None], None],
        state: SimulatedState | None = None,
    ) -> None:
        self.process = process
        self._open = partial(
            Engine.open,
            app_id=app_id,
            stages=stages,
            log=SimulatedLog(
                process,
                brokers,
                network,
                clock=BrokerClock(monotonic=network.loop.time, wall_ms=wall_ms),
                delivery_timeout_seconds=delivery_timeout_seconds,
            ),
            deliver=self._deliver,
            on_failure=self._fail,
            limits=limits,
            renewal_seconds=renewal_seconds,
            local_delivery=local_delivery,
            state=state,
        )
        self._engine: Engine | None = None
        self.takeovers = 0
        self._partitions = brokers.partition_counts
        self._network = network
        self._group = group
        self._drain_timeout_seconds = drain_timeout_seconds
        self._on_end = on_end
        self._channels: dict[str, asyncio.Queue[Delivery]] = {
            stage.name: asyncio.Queue() for stage in stages
        }
        self._inputs = [topic for stage in stages for topic in stage.inputs]
        self._assigned: tuple[int, frozenset[int]] = (0, frozenset())
        self._assignment_came = asyncio.Event()
        self._is_stopping = False

    def start(self) -> None:
        """Begin."""
        self.process.spawn(self._run(), "main")

    def stop(self) -> None:
        """End as after SIGTERM: finish what is decided, leave the group, exit."""
        if not self._is_stopping:
            self._is_stopping = True
            if self._engine is not None:
                self.process.spawn(self._stop(), "stop")
            else:
                self._end(None)

    @property
    def engine(self) -> Engine:
        """Its engine, once it has started."""
        assert self._engine is not None
        return self._engine

    @property
    def journals(self) -> Sequence[Journal]:
        """Journals that it believes to own."""
        return [] if self._engine is None else self._engine.owned.journals()

    @property
    def owned(self) -> frozenset[int]:
        """Partitions that it believes to own."""
        return frozenset(journal.partition for journal in self.journals)

    def serves(self, partition: int) -> bool:
        """Whether a partition is its own, or was assigned to it."""
        return partition in self.owned or partition in self._assigned[1]

    async def _run(self) -> None:
        try:
            self._engine = await self._open()
        except Exception as error:  # noqa: BLE001 - without the engine there is no worker
            self._fail(as_fail_stop("the start", error))
            return
        self._agents = [asyncio.create_task(self._agent(stage)) for stage in self._channels]
        self._recovery = asyncio.create_task(self._take_over_for_ever())
        while not self._is_stopping:
            await self._join()
            await self._stay()
            await self._drain()

    # --- records ---------------------------------------------------------------------------------

    async def _deliver(self, delivery: Delivery) -> None:
        await self._channels[delivery.stage].put(delivery)

    async def _agent(self, stage: str) -> None:
        while True:
            await self.engine.handle(await self._channels[stage].get())

    # --- membership ------------------------------------------------------------------------------

    async def _join(self) -> None:
        name, group = self.process.name, self._group
        handler: Handler = lambda _fault, reply: group.join(name, reply)  # noqa: E731 - a name for its type
        while True:
            try:
                self._assigned = await self._network.call(self.process, "group", "join", handler)
            except Retriable:
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._assignment_came.set()
                return

    async def _stay(self) -> None:
        """Send heartbeats until the group asks for another join."""
        name, group, generation = self.process.name, self._group, self._assigned[0]
        handler: Handler = lambda _fault, reply: reply(group.heartbeat(name, generation))  # noqa: E731 - a name for its type
        while True:
            await asyncio.sleep(_HEARTBEAT_SECONDS)
            try:
                if not await self._network.call(self.process, "group", "heartbeat", handler):
                    return
            except Retriable:
                continue

    async def _take_over_for_ever(self) -> None:
        """Own what was assigned last; one takeover after the other, as in ``EngineRecovery``."""
        while True:
            await self._assignment_came.wait()
            self._assignment_came.clear()
            generation, partitions = self._assigned
            inputs = {TopicPartition(topic, p) for topic in self._inputs for p in partitions}
            superseded = partial(self._is_superseded, generation)
            try:
                await self.engine.rebalance(
                    inputs, is_superseded=superseded, settle=self._note_takeover
                )
            except Exception as error:  # noqa: BLE001 - half a takeover must end the process
                self._fail(as_fail_stop("the takeover", error))
                return

    async def _note_takeover(self, report: TakeoverReport | None) -> None:
        if report is not None:
            self.takeovers += len(report.partitions)
            if report.missing_messages:
                # A real worker warns and goes on; here it is how a loss was noticed.
                raise RecordsLost("; ".join(report.missing_messages))

    def _is_superseded(self, generation: int) -> bool:
        is_older = self._assignment_came.is_set() or generation != self._assigned[0]
        return is_older or self._is_stopping

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._drain_timeout_seconds):
                await self.engine.drain()
        except TimeoutError:
            self._fail(TooSlow("what was decided could not be published in time"))

    # --- the end ---------------------------------------------------------------------------------

    async def _stop(self) -> None:
        await self._drain()
        name, group = self.process.name, self._group

        def leave(_fault: Fault | None, reply: Reply) -> None:
            group.leave(name)
            reply(None)

        with suppress(Retriable):  # Else it is put out when its session ends.
            await self._network.call(self.process, "group", "leave", leave)
        await self.engine.stop()
        self._end(None)

    def _fail(self, failure: FailStop) -> None:
        self._end(failure)

    def _end(self, failure: FailStop | None) -> None:
        if self.process.is_alive:
            self.process.kill()
            self._on_end(self, failure)
