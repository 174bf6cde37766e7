"""Both stages on a log in memory: run, killed at any append, rebuilt, run again, audited."""

import asyncio
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from exactstage.engine import Engine
from exactstage.errors import FailStop
from exactstage.limits import Limits
from exactstage.log import Batch, Channel, TopicPartition
from exactstage.memory import MemoryLog
from exactstage.memory.partition import MemoryPartition
from exactstage.partitioner import partition_of
from exactstage.ranges import show_nothing
from exactstage.reading import Delivery
from exactstage.stage import topics_of
from payments.recovery.gathering import Source
from payments.recovery.installation import stages_of
from payments.recovery.rebuilding import Plan
from payments.recovery.run import Options, rebuild
from payments.settings import Settings
from payments.testing import Clock
from payments.verify.auditor import Auditor
from payments.verify.findings import Report
from payments.verify.reading import audit

LIMIT_SECONDS = 60.0
CrashMode = Literal["before", "half", "after"]


class Killed(Exception):
    """The worker is gone at this point."""


class Installation(MemoryLog):
    """The topics of one installation, and who works on them."""

    def __init__(self, clock: Clock | None = None, **values: Any) -> None:
        given: dict[str, Any] = {"partitions": 3, "opening_balance": 1000} | values
        self._given = given
        self.settings = Settings(**given)
        self.time = clock or Clock()
        super().__init__(topics_of(stages_of(self.settings)), self.settings.partitions, self.time)
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
            await super().append(batches[: len(batches) // 2], channel)
        elif self.crash_mode == "after":
            await super().append(batches, channel)
        raise Killed

    def command(self, payment: str, command: Mapping[str, Any], *, wrong: bool = False) -> None:
        """Let a command come in, on its right partition or on a wrong one."""
        self.receive(payment.encode(), json.dumps(command).encode(), wrong=wrong)

    def receive(self, key: bytes | None, value: bytes | None, *, wrong: bool = False) -> None:
        """Let any record come in."""
        count = self.settings.partitions
        partition = (partition_of(key or b"", count) + wrong) % count
        at = TopicPartition(self.settings.topics.commands, partition)
        self.produce(at, key, value)

    def forget(self, topic: str) -> None:
        """Delete a topic and make it anew."""
        for partition in range(self.settings.partitions):
            at = TopicPartition(topic, partition)
            self._partitions[at] = MemoryPartition(at, self.time)

    def lose_journals(self) -> None:
        """Delete both journals."""
        for stage in stages_of(self.settings):
            self.forget(stage.changelog)

    def copied(self) -> "Installation":
        """Return a copy on another cluster: the public topics, with other offsets and times."""
        copy = Installation(self.time, **self._given)
        for stage in stages_of(self.settings):
            for topic in (*stage.public_inputs, *stage.public):
                for record in self.records(topic):
                    at = TopicPartition(topic, record.partition)
                    if record.offset % 3 == 0:
                        copy.partition(at).mark(record.offset, 0, commit=False)
                    copy.produce(at, record.key, record.value, record.headers)
        return copy

    # --- workers ---------------------------------------------------------------------------------

    async def work(self, *, local_delivery: bool = True) -> FailStop | None:
        """Run one worker until all is handled, and stop it; return why it ended before."""
        worker = Worker(self, local_delivery=local_delivery)
        ended = await worker.run()
        self.crash_at = None  # It may have needed fewer appends: nobody else is to be killed.
        return ended

    async def rebuild(self, **options: Any) -> Plan:
        """Rebuild the journals, as ``payments rebuild --yes`` does."""

        async def offline() -> None: ...

        async def anew(topics: Sequence[str]) -> None:
            for topic in topics:
                self.forget(topic)

        source = Source(options.pop("copied", False), merged=options.pop("merged", False))
        return await rebuild(
            self,
            self.settings,
            Options(source=source, **options),
            dry_run=False,
            require_offline=offline,
            recreate=anew,
            now_ms=self.time(),
            show=show_nothing,
        )

    async def audit(self) -> Report:
        """Audit it."""
        return await audit(self, Auditor(self.settings), show=show_nothing)

    async def require_clean(self) -> Report:
        """Audit it; nothing is violated, and nothing is in flight."""
        report = await self.audit()
        shown = "\n".join(map(str, report.violations))
        assert report.ok, shown
        assert (report.in_flight, report.pending) == (0, 0)
        return report

    def results(self) -> list[dict[str, Any]]:
        """Return all results."""
        topic = self.settings.topics.results
        return [json.loads(record.value or b"") for record in self.records(topic)]

    def entries(self) -> list[dict[str, Any]]:
        """Return all ledger entries."""
        topic = self.settings.topics.ledger
        return [json.loads(record.value or b"") for record in self.records(topic)]


class Worker:
    """One engine with both stages, for all partitions or some; works on ``until`` a condition."""

    def __init__(
        self,
        log: Installation,
        *,
        local_delivery: bool = True,
        partitions: Iterable[int] | None = None,
        until: Callable[[], bool] = lambda: True,
    ) -> None:
        self._log = log
        self._partitions = range(log.settings.partitions) if partitions is None else partitions
        self._until = until
        self._failure: FailStop | None = None
        self._ended = asyncio.Event()
        self._agents: set[asyncio.Task[int]] = set()
        self._local_delivery = local_delivery

    async def run(self) -> FailStop | None:
        """Work until all is handled or the worker ends."""
        engine: Engine | None = None
        try:
            engine = await self._open()
            inputs = {topic for stage in engine.stages.values() for topic in stage.inputs}
            await engine.rebalance({TopicPartition(t, p) for t in inputs for p in self._partitions})
            async with asyncio.timeout(LIMIT_SECONDS):
                work = asyncio.create_task(self._work(engine))
                ended = asyncio.create_task(self._ended.wait())
                await asyncio.wait((work, ended), return_when=asyncio.FIRST_COMPLETED)
                work.cancel()
                ended.cancel()
        except (FailStop, Killed) as failure:
            if isinstance(failure, FailStop):
                self._failure = self._failure or failure
            else:
                self._failure = FailStop("killed")
        if engine is not None:
            await engine.stop()
        return self._failure

    async def _open(self) -> Engine:
        async def deliver(delivery: Delivery) -> None:
            task = asyncio.create_task(engine.handle(delivery))
            self._agents.add(task)
            task.add_done_callback(self._agents.discard)

        engine = await Engine.open(
            app_id=self._log.settings.app_id,
            stages=stages_of(self._log.settings),
            log=self._log,
            deliver=deliver,
            on_failure=self._fail,
            limits=Limits(tick_seconds=0.01, idle_seconds=0.02),
            local_delivery=self._local_delivery,
        )
        return engine

    async def _work(self, engine: Engine) -> None:
        while self._behind(engine) or not engine.is_idle or not self._until():
            await self._log.grown(0.001)
        await engine.timers.tick_all()
        await engine.drain()

    def _behind(self, engine: Engine) -> bool:
        return any(
            offset < self._log.end(TopicPartition(topic, journal.partition))
            for journal in engine.owned.journals()
            for topic, offset in journal.inputs.items()
        )

    def _fail(self, failure: FailStop) -> None:
        self._failure = failure
        self._ended.set()
