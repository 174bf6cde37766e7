"""Test stages without a broker: this module is for their authors.

A log in memory, a clock that a test moves, a worker that a test kills::

    async with StageTestbed(stage) as bed:
        await bed.send("words", b"a")
        await bed.crash()
        await bed.send("words", b"a")
        assert [record.value for record in bed.records("counts")] == [b"1", b"2"]

``crash_at_every_append`` runs a scenario with a crash at each moment at which one could matter.
``exactstage.pytest_plugin`` has the test bed as a fixture.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from .errors import FailStop
from .limits import Limits
from .local_copy import StateDirectory
from .log import Batch, Channel, Headers, Record, TopicPartition
from .memory import MemoryLog
from .partitioner import partition_of
from .plain_host import PlainHost
from .stage import Stage, topics_of

__all__ = ["Arrived", "MemoryLog", "Published", "StageTestbed", "crash_at_every_append"]

LIMIT_SECONDS = 10.0
"""How long a test waits before it fails."""

START_MS = 1_767_225_600_000
"""Where the clock stands at first: 2026-01-01T00:00:00Z."""

_PROMPT = Limits(tick_seconds=0.01, idle_seconds=0.02)
"""Timers run often: a test that moves the clock does not wait for them."""

Arrived = Literal["nothing", "part", "all"]
"""What of the append at which a worker is killed the log has: none of its batches, the first, or
all of them (but the worker never learns it)."""

Published = Mapping[TopicPartition, Sequence[tuple[bytes | None, bytes | None]]]
"""Keys and values of records by partition, in order."""


class _Killed(FailStop):
    """The test has killed the worker at this append."""

    def __init__(self) -> None:
        super().__init__("the test has killed the worker")


class _Log(MemoryLog):
    """A log in memory on which a worker can be killed at one of its appends."""

    crash_at: int | None = None
    """Appends until the one at which the worker is killed."""
    arrived: Arrived = "nothing"
    killed = False
    """Whether the present worker is dead: nothing more comes from it."""

    async def append(
        self, batches: Sequence[Batch], channel: Channel
    ) -> Mapping[TopicPartition, int]:
        """Append, or kill the worker on the way."""
        if self.killed:
            raise _Killed
        if self.crash_at is None:
            return await super().append(batches, channel)
        self.crash_at -= 1
        if self.crash_at:
            return await super().append(batches, channel)
        self.crash_at, self.killed = None, True
        survive = {"nothing": 0, "part": 1, "all": len(batches)}[self.arrived]
        if survive:
            await super().append(batches[:survive], channel)
        raise _Killed

    async def append_again(self, batches: Sequence[Batch]) -> None:
        """Append what no worker of the test bed appends."""
        await super().append(batches, Channel.PUBLISH)


class StageTestbed:
    """Runs stages of one application on a log in memory, while it is entered.

    With ``local_delivery=False`` every message between stages goes through its topic, as it does
    between workers. With a ``state_directory`` its rows are on disk.
    """

    __test__ = False  # It is no test case, whatever pytest thinks of its name.

    def __init__(
        self,
        *stages: Stage,
        app_id: str = "testbed",
        partitions: int = 3,
        local_delivery: bool = True,
        state_directory: Path | None = None,
    ) -> None:
        self._state_directory = state_directory
        self.now_ms = START_MS
        """The brokers' time, in milliseconds since 1970, UTC; it stands still."""
        self._log = _Log(topics_of(stages), partitions, lambda: self.now_ms)
        self.crashes = 0
        """How often the worker was killed."""
        self._app_id, self._stages, self._partitions = app_id, stages, partitions
        self._local_delivery = local_delivery
        self._host: PlainHost | None = None

    @property
    def log(self) -> MemoryLog:
        """The log: what a broker would have."""
        return self._log

    async def __aenter__(self) -> Self:
        """Start the stages."""
        await self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the stages. Raises what would have ended a worker's process (``FailStop``)."""
        while True:
            host, self._host = self._running(), None
            try:
                await host.__aexit__(kind, error, trace)
            except _Killed:
                await self._start()  # At its last append: the next worker ends cleanly.
            else:
                return

    async def send(
        self,
        topic: str,
        key: bytes,
        value: bytes | None = b"",
        *,
        partition: int | None = None,
        headers: Headers = (),
        times: int = 1,
    ) -> TopicPartition:
        """Produce a record, and wait until all that follows from it is published.

        The partition is that of the key, unless one is given. ``times`` above 1 is a client that
        retries without idempotence: each time is a record of its own. Raises ``FailStop`` where a
        stage's worker would have ended.
        """
        number = partition_of(key, self._partitions) if partition is None else partition
        at = TopicPartition(topic, number)
        for _ in range(times):
            self._log.produce(at, key, value, list(headers))
        await self.settle()
        return at

    async def redeliver(self, topic: str) -> int:
        """Append all messages of an internal topic a second time; return how many.

        A worker that publishes again what it may have published before does that; a stage never
        sees such a message twice. Messages are there with ``local_delivery=False`` only, and
        after a crash.
        """
        messages = self.records(topic)
        writer = await self._log.new_writer()
        for record in messages:
            at = TopicPartition(topic, record.partition)
            again = (record.key, record.value, list(record.headers))
            await self._log.append_again([Batch(at, writer, [again])])
        await self.settle()
        return len(messages)

    async def settle(self) -> None:
        """Wait until every record is handled and everything is published. Raises ``FailStop``."""
        async with asyncio.timeout(LIMIT_SECONDS):
            while not await self._is_settled():
                await self._log.grown(0.005)

    async def advance(self, seconds: float) -> None:
        """Move the clock, and wait for what the timers of the stages do then."""
        self.now_ms += int(seconds * 1000)
        for name in ("first", "second"):  # What a timer emits may be another stage's input.
            del name
            await self._running().engine.timers.tick_all()
            await self.settle()

    async def crash(self, *stages: Stage) -> None:
        """Kill the worker where it is, and start another: nothing may be lost or doubled.

        With ``stages`` the other one has these: a new version of the application.
        """
        self._stages = stages or self._stages
        await self._kill()
        await self._start()
        await self.settle()

    def crash_at(self, append: int, arrived: Arrived = "nothing") -> None:
        """Kill the worker at this append from now on (1 is its next one); another one starts then.

        Each append is a moment at which a crash could leave something half done. Before the test
        bed is entered, the first append is the takeover's.
        """
        self._log.crash_at, self._log.arrived = append, arrived

    def records(self, topic: str) -> Sequence[Record]:
        """Return the records of a topic, partition by partition."""
        return self._log.records(topic)

    def published(self) -> Published:
        """Return what the stages have published for others to see, dead letters too."""
        found: dict[TopicPartition, list[tuple[bytes | None, bytes | None]]] = {}
        for topic in sorted({topic for stage in self._stages for topic in stage.public}):
            for record in self.records(topic):
                at = TopicPartition(topic, record.partition)
                found.setdefault(at, []).append((record.key, record.value))
        return found

    async def _start(self) -> None:
        """Start a worker; one that is killed while it starts is followed by another."""
        while True:
            self._log.killed = False
            host = PlainHost(
                self._app_id,
                self._stages,
                self._log,
                limits=_PROMPT,
                local_delivery=self._local_delivery,
                state=self._state(),
            )
            try:
                self._host = await host.__aenter__()
            except _Killed:
                self.crashes += 1
            else:
                return

    def _state(self) -> StateDirectory | None:
        directory = self._state_directory
        return None if directory is None else StateDirectory(directory, memory_bytes=8 * 1024**2)

    async def _kill(self) -> None:
        self.crashes += 1
        self._log.killed = True
        await self._running().kill()

    def _running(self) -> PlainHost:
        if self._host is None:
            name = type(self).__name__
            raise RuntimeError(f"it is not running: use it as ``async with {name}(...) as ...:``")
        return self._host

    async def _is_settled(self) -> bool:
        host = self._running()
        if isinstance(host.failure, _Killed):
            await self._kill()
            await self._start()
            return False
        if host.failure is not None:
            raise host.failure
        journals = host.engine.owned.journals()
        return host.engine.is_idle and all(
            offset >= self._log.partition(TopicPartition(topic, journal.partition)).end
            and not journal.is_open
            for journal in journals
            for topic, offset in journal.inputs.items()
        )


async def crash_at_every_append(
    new_bed: Callable[[], StageTestbed], scenario: Callable[[StageTestbed], Awaitable[None]]
) -> int:
    """Run a scenario once for each append at which a worker could be killed; return how often.

    Each append is tried three ways (``Arrived``). Raises ``AssertionError`` where the stages then
    publish anything else, or in another order within a partition, than without a crash; and what
    the scenario raises. The scenario must be the same each time.
    """
    async with new_bed() as bed:
        await scenario(bed)
    expected, runs = bed.published(), 0
    ways: tuple[Arrived, ...] = ("nothing", "part", "all")
    for arrived in ways:
        append, crashed = 0, True
        while crashed:
            append += 1
            bed = new_bed()
            bed.crash_at(append, arrived)
            async with bed:
                await scenario(bed)
            found, crashed = bed.published(), bed.crashes > 0
            if found != expected:
                raise AssertionError(_difference(append, arrived, found, expected))
            runs += crashed
    return runs


def _difference(append: int, arrived: Arrived, found: Published, expected: Published) -> str:
    lines = [
        f"killed at append {append}, of which {arrived} arrived, the stages publish something else:"
    ]
    for at in sorted({*found, *expected}):
        here, there = list(found.get(at, ())), list(expected.get(at, ()))
        if here != there:
            lines.append(f"{at}: {here} and not {there}")
    return "\n".join(lines)
