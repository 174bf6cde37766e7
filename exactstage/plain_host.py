"""A plain host: stages in the event loop at hand, without Faust and without a consumer group.

The partitions of a process are given, not negotiated: for one process, for tests, or where
something else decides who runs what. Two processes that are given the same partition do no harm:
the later one fences the earlier one, which ends.
"""

import asyncio
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

from .engine import Engine
from .errors import FailStop
from .guarded_tasks import unless
from .limits import Limits
from .local_copy import StateDirectory
from .log import Log, TopicPartition
from .reading import Delivery
from .stage import Stage


class PlainHost:
    """Runs stages on these partitions while it is entered (``async with``).

    ``partitions`` defaults to all. Leaving it drains: what was decided is journalled and published.
    ``local_delivery=False`` sends every message between stages through its topic.
    """

    def __init__(
        self,
        app_id: str,
        stages: Sequence[Stage],
        log: Log,
        *,
        partitions: Iterable[int] | None = None,
        limits: Limits | None = None,
        local_delivery: bool = True,
        state: StateDirectory | None = None,
    ) -> None:
        self.failure: FailStop | None = None
        """Why it has ended, once it has."""
        self._partitions = None if partitions is None else frozenset(partitions)
        self._queues: dict[str, asyncio.Queue[Delivery]] = {
            stage.name: asyncio.Queue() for stage in stages
        }
        self._agents: list[asyncio.Task[None]] = []
        self._ended = asyncio.Event()
        self._app_id, self._stages, self._log, self._limits = app_id, stages, log, limits
        self._local_delivery, self._state = local_delivery, state
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine, once the host is entered. Raises ``RuntimeError`` before."""
        if self._engine is None:
            raise RuntimeError("it is not running: use it as ``async with PlainHost(...):``")
        return self._engine

    async def __aenter__(self) -> Self:
        """Start, take the partitions over, and read. Raises ``FailStop``."""
        try:
            self._engine = await Engine.open(
                app_id=self._app_id,
                stages=self._stages,
                log=self._log,
                deliver=self._deliver,
                on_failure=self._fail,
                limits=self._limits,
                local_delivery=self._local_delivery,
                state=self._state,
            )
            self._agents = [asyncio.create_task(self._handle(name)) for name in self._queues]
            await self.engine.rebalance(self._inputs())
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drain and end. Raises what has ended it before (``FailStop``)."""
        try:
            if self.failure is None and not self._ended.is_set():
                await self._drain()
        finally:
            await self.kill()
        if self.failure is not None:
            raise self.failure

    async def _drain(self) -> None:
        """Drain, unless it fails on the way: what never is published is not waited for."""
        await unless(self._ended, self.engine.drain())

    async def run(self) -> None:
        """Wait until it fails. Raises ``FailStop``: the process has to end."""
        await self._ended.wait()
        if self.failure is not None:
            raise self.failure

    async def kill(self) -> None:
        """End where it is, as a crash would: what is decided and not journalled is forgotten."""
        self._ended.set()
        for agent in self._agents:
            agent.cancel()
        await asyncio.gather(*self._agents, return_exceptions=True)
        if self._engine is not None:
            await self._engine.stop()

    def _inputs(self) -> set[TopicPartition]:
        wanted = self._partitions
        numbers = range(self.engine.partitions) if wanted is None else wanted
        stages = self.engine.stages.values()
        return {TopicPartition(t, p) for stage in stages for t in stage.inputs for p in numbers}

    async def _deliver(self, delivery: Delivery) -> None:
        await self._queues[delivery.stage].put(delivery)

    async def _handle(self, stage: str) -> None:
        while not self._ended.is_set():
            await self.engine.handle(await self._queues[stage].get())

    def _fail(self, failure: FailStop) -> None:
        self.failure = self.failure or failure
        self._ended.set()
