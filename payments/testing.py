"""Testing without a broker: the whole application embedded, on a log in memory.

The engine, the agents (Faust's test agents) and the domain are those of a worker; only the log and
the clock are replaced. For tests of your own service::

    async with PaymentsTestbed(opening_balance=1000) as payments:
        result = await payments.send("pay-1", {"type": "make", "account": "abc", "amount": 100})
        assert result.outcome == "completed"
        assert payments.ledger("abc")[-1].balance == 900

Time moves only by ``advance``: holds lapse then, payments expire, and timers run::

        await payments.send("pay-2", {"type": "authorize", "account": "abc", "amount": 100})
        await payments.advance(payments.settings.hold_seconds + payments.settings.window_seconds)
        assert payments.results("pay-2")[-1].outcome == "lapsed"

``payments.pytest_plugin`` has it as a fixture. A failure that would end a worker's process, such as
a journal that can't be written, is raised in the test as ``exactstage.errors.FailStop``.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from exactstage import FailStop, Headers, MemoryLog, Record, TopicPartition, partition_of, topics_of
from exactstage.hosting import EngineApp
from exactstage.inspection import HEADER_PREFIX
from payments.app import create_app
from payments.client import LogTransport, PaymentsClient
from payments.domain.results import Outcome, Reason
from payments.records.record_models import AccountResult, LedgerEntry, Result
from payments.settings import Settings

__all__ = [
    "AccountResult",
    "Clock",
    "LedgerEntry",
    "Outcome",
    "PaymentsClient",
    "PaymentsTestbed",
    "Reason",
    "Record",
    "Result",
    "Settings",
    "Testbed",
    "TopicPartition",
]

LIMIT_SECONDS = 10.0
"""How long a test waits before it fails."""

START_MS = 1_767_225_600_000
"""The clock's first time: 2026-01-01T00:00:00Z."""


class Clock:
    """A clock that changes only by ``advance``, in milliseconds since 1970."""

    def __init__(self, now_ms: int = START_MS) -> None:
        self.now_ms = now_ms

    def __call__(self) -> int:
        """Return the time."""
        return self.now_ms

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self.now_ms += int(seconds * 1000)


class Testbed:
    """Runs any engine app embedded. ``make_app`` gets the log, whose time is that of ``clock``."""

    __test__ = False  # It is no test case, whatever pytest thinks of its name.

    def __init__(
        self, make_app: Callable[[MemoryLog], EngineApp], topics: Sequence[str], partitions: int
    ) -> None:
        self.clock = Clock()
        self.log = MemoryLog(topics, partitions, self.clock)
        self.app = make_app(self.log)
        expected = int(self.app.conf.topic_partitions)
        if partitions != expected:
            message = (
                f"the app has {expected} partitions by its settings, the test bed {partitions}"
            )
            raise ValueError(message)
        self._running = AsyncExitStack()
        self._entered = self._was_entered = False
        self._failure: FailStop | None = None
        self._user: asyncio.Task[Any] | None = None
        self._cancelled: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> Self:
        """Start the agents."""
        self._user = asyncio.current_task()
        await self._running.enter_async_context(self.app.test_context(self._fail))
        self._entered = self._was_entered = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the agents. Raises the ``FailStop`` that would have ended a worker's process."""
        self._entered = False
        self._user = asyncio.current_task()
        try:
            await self._running.__aexit__(kind, error, trace)
        finally:
            if self._cancelled is not None:
                self._cancelled.uncancel()

    def _fail(self, failure: FailStop) -> None:
        """Cancel the block that runs this test bed; ``__aexit__`` raises the failure."""
        if self._failure is None:
            self._failure = failure
            if self._user is not None and self._user.cancel(str(failure)):
                self._cancelled = self._user

    def _require_running(self) -> None:
        """Raise the reason for which the test bed does not run."""
        if self._failure is not None:
            raise self._failure
        if not self._entered:
            name = type(self).__name__
            raise RuntimeError(f"it is not running: use it as ``async with {name}(...) as ...:``")

    def produce(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: Headers = (),
        partition: int | None = None,
    ) -> TopicPartition:
        """Write a record as a client would; ``partition`` stands for another partitioner."""
        if partition is None:
            partition = partition_of(key or b"", self.app.partitions)
        at = TopicPartition(topic, partition)
        self.log.produce(at, key, value, headers)
        return at

    def records(self, topic: str) -> list[Record]:
        """Return all records of a topic, after the block too.

        Raises ``RuntimeError`` where it was never entered: an empty list would say that nothing
        happened.
        """
        if not self._was_entered:
            self._require_running()
        return self.log.records(topic)

    async def quiet(self) -> None:
        """Wait until all inputs are handled and published. Raises ``TimeoutError``."""
        async with asyncio.timeout(LIMIT_SECONDS):
            self._require_running()
            while self._behind() or not self.app.engine.is_idle:
                await self.log.grown(0.001)
                self._require_running()

    def _behind(self) -> bool:
        return any(
            offset < self.log.end(TopicPartition(topic, journal.partition))
            for journal in self.app.engine.owned.journals()
            for topic, offset in journal.inputs.items()
        )

    async def advance(self, seconds: float) -> None:
        """Move the clock forward and run the timers that are due.

        A hold lapses up to ``settings.window_seconds`` after its end, and a payment expires as long
        after its retention, since each window is handled as a whole.
        """
        self._require_running()
        self.clock.advance(seconds)
        await self.app.engine.timers.tick_all()
        await self.quiet()


class PaymentsTestbed(Testbed):
    """The payments application; keyword arguments are settings (``opening_balance=1000``)."""

    def __init__(self, **settings: Any) -> None:
        self.settings = Settings(**{"partitions": 4, **settings})

        def make_app(log: MemoryLog) -> EngineApp:
            return create_app(self.settings, log=log)

        stages = create_app(self.settings).stages.values()
        super().__init__(make_app, topics_of(stages), self.settings.partitions)

    def client(self) -> PaymentsClient:
        """Return a client of this application, to be entered with ``async with``."""
        self._require_running()
        return PaymentsClient(settings=self.settings, transport=LogTransport(self.log))

    async def send(
        self,
        payment: str,
        command: Mapping[str, Any] | bytes,
        *,
        headers: Headers = (),
        partition: int | None = None,
    ) -> Result:
        """Send one command, and return its result once it is there."""
        self._require_running()
        before = len(self.results(payment))
        self.post(payment, command, headers=headers, partition=partition)
        await self.quiet()
        # Notices answer no command: a capture may find that the hold has lapsed.
        results = [result for result in self.results(payment)[before:] if result.command]
        assert len(results) == 1, f"one result expected, got {results}"
        return results[0]

    def post(
        self,
        payment: str,
        command: Mapping[str, Any] | bytes,
        *,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        """Send one command without waiting; then ``quiet`` waits until it is handled."""
        if not isinstance(payment, str):
            raise TypeError(f"a payment's id is text (str), not {type(payment).__name__}")
        value = command if isinstance(command, bytes) else json.dumps(command).encode()
        topic = self.settings.topics.commands
        self.produce(topic, payment.encode(), value, headers=headers, partition=partition)

    async def send_account(
        self,
        account: str,
        command: Mapping[str, Any] | bytes,
        *,
        headers: Headers = (),
        partition: int | None = None,
    ) -> AccountResult:
        """Send one command for an account, and return its result once it is there."""
        self._require_running()
        before = len(self.account_results(account))
        self.post_account(account, command, headers=headers, partition=partition)
        await self.quiet()
        results = self.account_results(account)[before:]
        assert len(results) == 1, f"one result expected, got {results}"
        return results[0]

    def post_account(
        self,
        account: str,
        command: Mapping[str, Any] | bytes,
        *,
        headers: Headers = (),
        partition: int | None = None,
    ) -> None:
        """Send one command for an account without waiting; then ``quiet`` waits for it."""
        if not isinstance(account, str):
            raise TypeError(f"an account's id is text (str), not {type(account).__name__}")
        value = command if isinstance(command, bytes) else json.dumps(command).encode()
        topic = self.settings.topics.account_commands
        self.produce(topic, account.encode(), value, headers=headers, partition=partition)

    def account_results(self, account: str | None = None) -> list[AccountResult]:
        """Return the results of commands for accounts so far, of one account or of all."""
        return [
            AccountResult.model_validate_json(record.value or b"")
            for record in self.records(self.settings.topics.account_results)
            if account is None or record.key == account.encode()
        ]

    def results(self, payment: str | None = None) -> list[Result]:
        """Return the results so far, of one payment or of all."""
        return [
            Result.model_validate_json(record.value or b"")
            for record in self.records(self.settings.topics.results)
            if payment is None or record.key == payment.encode()
        ]

    def ledger(self, account: str | None = None) -> list[LedgerEntry]:
        """Return the ledger so far, of one account or of all."""
        return [
            LedgerEntry.model_validate_json(record.value or b"")
            for record in self.records(self.settings.topics.ledger)
            if account is None or record.key == account.encode()
        ]

    def dead_letters(self) -> list[dict[str, Any]]:
        """Return the dead letters of both stages: key, value, and what their headers say."""
        mark = HEADER_PREFIX
        return [
            {
                "key": record.key,
                "value": record.value,
                **{
                    name.removeprefix(mark): content.decode()
                    for name, content in record.headers
                    if name.startswith(mark) and content is not None
                },
            }
            for stage in ("payments", "accounts")
            for record in self.records(self.settings.topics.dead_letters(stage))
        ]
