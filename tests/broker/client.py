"""A client of the topics and a supervisor of worker processes, for tests on a real broker."""

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from exactstage.partitioner import partition_of
from payments.settings import Settings
from tests.broker_fixture import process_environment

LIMIT_SECONDS = 120.0


class Client:
    """Sends commands with ids of their own and collects every result that appears."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.sent: list[str] = []
        self.results: dict[str, list[dict[str, Any]]] = {}
        self.notices: list[dict[str, Any]] = []
        self._producer = AIOKafkaProducer(
            **settings.connection(), linger_ms=2, enable_idempotence=True
        )
        self._consumer = AIOKafkaConsumer(
            settings.topics.results,
            **settings.connection(),
            auto_offset_reset="earliest",
            isolation_level="read_committed",
        )
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        """Connect, and read results from the beginning."""
        await self._producer.start()
        await self._consumer.start()
        self._task = asyncio.create_task(self._collect())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._consumer.stop()
        await self._producer.stop()

    async def _collect(self) -> None:
        async for record in self._consumer:
            result = json.loads(record.value)
            async with self._news:
                if result["command"] is None:
                    self.notices.append(result)
                else:
                    self.results.setdefault(result["command"], []).append(result)
                self._news.notify_all()

    async def post(
        self, payment: str, command: Mapping[str, Any], *, wrong_partition: bool = False
    ) -> str:
        """Send a command without waiting; return its id."""
        command_id = f"{payment}#{len(self.sent)}"
        self.sent.append(command_id)
        right = partition_of(payment.encode(), self.settings.partitions)
        await self._producer.send(
            self.settings.topics.commands,
            key=payment.encode(),
            value=json.dumps({**command, "id": command_id}).encode(),
            partition=(right + wrong_partition) % self.settings.partitions,
        )
        return command_id

    async def send(
        self, payment: str, command: Mapping[str, Any], *, wrong_partition: bool = False
    ) -> dict[str, Any]:
        """Send a command and return its result."""
        command_id = await self.post(payment, command, wrong_partition=wrong_partition)
        await self.until(lambda: command_id in self.results)
        return self.results[command_id][0]

    async def answered(self) -> None:
        """Wait until every command has a result."""
        await self.until(lambda: len(self.results) >= len(self.sent))

    async def until(self, condition: Any, limit_seconds: float = LIMIT_SECONDS) -> None:
        """Wait until ``condition()`` holds after some result. Raises ``TimeoutError``."""
        async with asyncio.timeout(limit_seconds), self._news:
            await self._news.wait_for(condition)


class WorkerProcess:
    """One ``payments worker`` as a process; its log is kept for the report of a failure."""

    def __init__(self, settings: Settings, *command: str) -> None:
        self._settings = settings
        self._command = command or (sys.executable, "-m", "payments.cli", "worker")
        with tempfile.NamedTemporaryFile(prefix="worker-", suffix=".log", delete=False) as log:
            self.log = Path(log.name)
        self._process: subprocess.Popen[bytes] | None = None
        self.variables: dict[str, str] = {}
        """Variables of its environment beside the settings, from the next start on."""

    async def start(self) -> Self:
        """Start it, and wait until it is ready."""
        ready = self.ready_count()
        self.spawn()
        await self.until(lambda: self.ready_count() > ready, "is not ready")
        return self

    def spawn(self) -> None:
        """Start it and do not wait."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=process_environment(self._settings) | self.variables,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def ready_count(self) -> int:
        """Return how often a worker with this log became ready, rebalances included."""
        return self.log.read_text().count("worker ready")

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process. It exists from ``spawn`` on."""
        assert self._process is not None
        return self._process

    def signal(self, which: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(which)

    async def ended(self) -> int:
        """Wait for its end; return the exit code."""
        await self.until(lambda: self.process.poll() is not None, "does not end", alive=False)
        return int(self.process.returncode)

    async def kill(self) -> None:
        """Kill it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            await self.ended()

    async def stop(self) -> int:
        """End it with SIGTERM; return the exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    async def until(self, condition: Any, complaint: str, *, alive: bool = True) -> None:
        """Wait for a condition, with a limit, as long as the process lives."""
        waiter = asyncio.Event()
        loop = asyncio.get_running_loop()
        limit = loop.time() + LIMIT_SECONDS
        while not condition():
            dead = alive and self.process.poll() is not None
            assert not dead, f"the worker ended:\n{self.log.read_text()[-3000:]}"
            assert loop.time() < limit, f"the worker {complaint}:\n{self.log.read_text()[-3000:]}"
            loop.call_later(0.02, waiter.set)
            await waiter.wait()
            waiter.clear()


async def read_all(settings: Settings, topic: str) -> list[Any]:
    """Return every record of a topic, in order for each partition."""
    consumer = AIOKafkaConsumer(
        **settings.connection(), enable_auto_commit=False, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        at = [TopicPartition(topic, p) for p in range(settings.partitions)]
        consumer.assign(at)
        await consumer.seek_to_beginning(*at)
        ends = await consumer.end_offsets(at)
        found: list[Any] = []
        async with asyncio.timeout(LIMIT_SECONDS):
            while any([await consumer.position(tp) < ends[tp] for tp in at]):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found += records
        return found
    finally:
        await consumer.stop()


async def audit(settings: Settings, client: Client, *, opening_balance: int) -> None:
    """Check what a user may rely on: one result per command, money once, a gapless ledger."""
    doubled = {command for command, results in client.results.items() if len(results) > 1}
    assert not doubled, f"answered twice: {sorted(doubled)[:5]}"
    missing = set(client.sent) - set(client.results)
    assert not missing, f"not answered: {sorted(missing)[:5]}"
    entries = [json.loads(r.value) for r in await read_all(settings, settings.topics.ledger)]
    state: dict[str, tuple[int, int]] = {}
    moves: Counter[tuple[str | None, str]] = Counter()
    for entry in entries:
        balance, sequence = state.get(entry["account"], (0, 0))
        assert entry["sequence"] == sequence + 1, f"a gap in the ledger: {entry}"
        assert entry["balance"] == balance + entry["amount"] >= 0, f"a wrong balance: {entry}"
        state[entry["account"]] = entry["balance"], entry["sequence"]
        if entry["kind"] == "opening":
            assert entry["amount"] == opening_balance
        else:
            moves[entry["payment"], entry["kind"]] += 1
    assert all(count == 1 for count in moves.values()), "money moved twice for one payment"
    results = [result for [result] in client.results.values()]
    completed = {r["payment"] for r in results if r["outcome"] == "completed"}
    moved = {payment for payment, kind in moves if kind in {"make", "deposit"}}
    assert completed <= moved, f"completed without money: {sorted(completed - moved)[:5]}"
