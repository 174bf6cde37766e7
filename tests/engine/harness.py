"""Workers of the word counter on a shared in-memory log, that can be crashed at any append."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Literal

from exactstage.engine import Engine
from exactstage.errors import FailStop
from exactstage.limits import Limits
from exactstage.log import Batch, Channel, TopicPartition
from exactstage.memory import MemoryLog
from exactstage.partitioner import partition_of
from exactstage.reading import Delivery
from exactstage.stage import Stage, topics_of

from .wordcount import word_count

PARTITIONS = 3
LIMIT_SECONDS = 60.0

CrashMode = Literal["before", "half", "after"]
"""What of the crashing append reaches the log: nothing, its first batch, or all of it."""


class Killed(Exception):
    """The worker is gone at this point."""


class CrashingLog(MemoryLog):
    """A log whose n-th append kills the worker that makes it."""

    def __init__(self, stage: Stage, partitions: int = PARTITIONS) -> None:
        super().__init__(topics_of([stage]), partitions)
        self.appends = 0
        self.crash_at: int | None = None
        self.crash_mode: CrashMode = "before"

    async def append(
        self, batches: Sequence[Batch], channel: Channel
    ) -> Mapping[TopicPartition, int]:
        """Append, or crash on the way."""
        self.appends += 1
        if self.appends != self.crash_at:
            return await super().append(batches, channel)
        if self.crash_mode == "half":
            await super().append(batches[:1], channel)
        elif self.crash_mode == "after":
            await super().append(batches, channel)
        raise Killed


class Worker:
    """One engine with its agents, as a host would run it."""

    def __init__(
        self,
        log: MemoryLog,
        stage: Stage,
        limits: Limits | None = None,
        *,
        local_delivery: bool = True,
        app_id: str = "words",
    ) -> None:
        self.stage = stage
        self.app_id = app_id
        self.failure: FailStop | None = None
        self.ended = asyncio.Event()
        self._agents: set[asyncio.Task[int]] = set()
        self._log = log
        self._limits = limits or Limits(tick_seconds=0.01, idle_seconds=0.02)
        self._local_delivery = local_delivery
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """Its engine, once it is open."""
        assert self._engine is not None
        return self._engine

    @property
    def is_open(self) -> bool:
        """Whether it has an engine."""
        return self._engine is not None

    async def open(self) -> "Worker":
        """Start, and own nothing yet."""
        self._engine = await Engine.open(
            app_id=self.app_id,
            stages=[self.stage],
            log=self._log,
            deliver=self._deliver,
            on_failure=self._fail,
            limits=self._limits,
            local_delivery=self._local_delivery,
        )
        return self

    async def start(self, partitions: range = range(PARTITIONS)) -> "Worker":
        """Start, own ``partitions``, and read."""
        await self.open()
        await self.assign(partitions)
        return self

    async def assign(self, partitions: range) -> None:
        """Own exactly these partitions."""
        await self.engine.rebalance(
            {TopicPartition(topic, p) for topic in self.stage.inputs for p in partitions}
        )

    async def stop(self) -> None:
        """End cleanly."""
        await self.engine.drain()
        await self.engine.stop()

    async def kill(self) -> None:
        """End where it is, or was before it was open."""
        if self._engine is not None:
            await self._engine.stop()

    async def _deliver(self, delivery: Delivery) -> None:
        task = asyncio.create_task(self.engine.handle(delivery))
        self._agents.add(task)
        task.add_done_callback(self._agents.discard)

    def _fail(self, failure: FailStop) -> None:
        self.failure = failure
        self.ended.set()


def produce(log: MemoryLog, count: int, *, words: int = 5, wrong_partition: bool = True) -> None:
    """Send ``count`` records of ``words`` words, every third one to a wrong partition."""
    for index in range(count):
        word = b"w%d" % (index % words)
        right = partition_of(word, PARTITIONS)
        wrong = wrong_partition and index % 3 == 0
        log.produce(TopicPartition("words", (right + wrong) % PARTITIONS), word, b"x")


def counted(log: MemoryLog) -> dict[bytes, list[int]]:
    """Return the counts that were published for each word, in order."""
    found: dict[bytes, list[int]] = {}
    for record in log.records("counts"):
        assert record.key is not None
        assert record.value is not None
        found.setdefault(record.key, []).append(int(record.value))
    return found


async def until_counted(log: MemoryLog, count: int, worker: Worker) -> None:
    """Wait until ``count`` results are published, or the worker has failed."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while len(log.records("counts")) < count and worker.failure is None:
            await log.grown(0.05)


def new_log() -> tuple[CrashingLog, Stage]:
    """Return an empty log and the stage that uses it."""
    stage = word_count()
    return CrashingLog(stage), stage
