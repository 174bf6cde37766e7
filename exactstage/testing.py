"""Testing stages without a broker: a log in memory, a clock that a test moves, crashes on demand.

::

    async with StageTestbed(stage) as bed:
        await bed.send("words", b"a")
        await bed.crash()
        await bed.send("words", b"a")
        assert [record.value for record in bed.records("counts")] == [b"1", b"2"]
"""

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from .errors import FailStop
from .limits import Limits
from .log import Headers, Record, TopicPartition
from .memory import MemoryLog
from .partitioner import partition_of
from .plain_host import PlainHost
from .stage import Stage, topics_of

LIMIT_SECONDS = 10.0
"""How long a test waits before it fails."""

START_MS = 1_767_225_600_000
"""Where the clock stands at first: 2026-01-01T00:00:00Z."""

_PROMPT = Limits(tick_seconds=0.01, idle_seconds=0.02)
"""Timers run often: a test that moves the clock does not wait for them."""


class StageTestbed:
    """Runs stages of one application on a log in memory, while it is entered."""

    __test__ = False  # It is no test case, whatever pytest thinks of its name.

    def __init__(self, *stages: Stage, app_id: str = "testbed", partitions: int = 3) -> None:
        self.now_ms = START_MS
        """The brokers' time, in milliseconds since 1970, UTC; it stands still."""
        self.log = MemoryLog(topics_of(stages), partitions, lambda: self.now_ms)
        self._app_id, self._stages, self._partitions = app_id, stages, partitions
        self._host: PlainHost | None = None

    async def __aenter__(self) -> Self:
        """Start the stages."""
        self._host = await self._new_host().__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the stages. Raises what would have ended a worker's process (``FailStop``)."""
        host, self._host = self._running(), None
        await host.__aexit__(kind, error, trace)

    async def send(
        self,
        topic: str,
        key: bytes,
        value: bytes | None = b"",
        *,
        partition: int | None = None,
        headers: Headers = (),
    ) -> TopicPartition:
        """Produce a record, and wait until all that follows from it is published.

        The partition is that of the key, unless one is given. Raises ``FailStop`` where a stage's
        worker would have ended.
        """
        number = partition_of(key, self._partitions) if partition is None else partition
        at = TopicPartition(topic, number)
        self.log.produce(at, key, value, list(headers))
        await self.settle()
        return at

    async def settle(self) -> None:
        """Wait until every record is handled and everything is published. Raises ``FailStop``."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not self._is_settled():
                await self.log.grown(0.005)

    async def advance(self, seconds: float) -> None:
        """Move the clock, and wait for what the timers of the stages do then."""
        self.now_ms += int(seconds * 1000)
        for name in ("first", "second"):  # What a timer emits may be another stage's input.
            del name
            await self._running().engine.timers.tick_all()
            await self.settle()

    async def crash(self) -> None:
        """Kill the worker where it is, and start another: nothing may be lost or doubled."""
        await self._running().kill()
        self._host = await self._new_host().__aenter__()
        await self.settle()

    def records(self, topic: str) -> Sequence[Record]:
        """Return the records of a topic, partition by partition."""
        return self.log.records(topic)

    def _new_host(self) -> PlainHost:
        return PlainHost(self._app_id, self._stages, self.log, limits=_PROMPT)

    def _running(self) -> PlainHost:
        if self._host is None:
            name = type(self).__name__
            raise RuntimeError(f"it is not running: use it as ``async with {name}(...) as ...:``")
        return self._host

    def _is_settled(self) -> bool:
        host = self._running()
        if isinstance(host.failure, FailStop):
            raise host.failure
        journals = host.engine.owned.journals()
        return host.engine.is_idle and all(
            offset >= self.log.partition(TopicPartition(topic, journal.partition)).end
            and not journal.is_open
            for journal in journals
            for topic, offset in journal.inputs.items()
        )
