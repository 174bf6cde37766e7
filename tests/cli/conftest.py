"""The command line over a log in memory: the application runs embedded, in a loop of its own."""

import asyncio
import functools
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import pytest

import payments.client
import payments.dead_letters.reading
from payments.client import LogTransport, PaymentsClient
from payments.dead_letters.reading import DeadLetters
from payments.settings import Settings
from payments.testing import PaymentsTestbed
from tests import command_line
from tests.command_line import Ended

OPENING = 100_000
WEEK_MS = 7 * 86_400_000
Value = TypeVar("Value")


def run(
    *arguments: str, stdin: bytes | None = None, color: bool = False, **environment: str
) -> Ended:
    """Run the command line as a user would; ``color`` as on a terminal."""
    return command_line.run(*arguments, environment=environment, stdin=stdin, color=color)


class Embedded:
    """An installation; commands of the test and coroutines of the tests share its loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.bed = PaymentsTestbed(opening_balance=OPENING)
        self.min_retention_ms = WEEK_MS

    def do(self, coroutine: Coroutine[Any, Any, Value]) -> Value:
        """Run a coroutine in the installation's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=120)

    def run(
        self, *arguments: str, stdin: bytes | None = None, color: bool = False, **environment: str
    ) -> Ended:
        """Run the command line against the installation."""
        settings = {"PAYMENTS_PARTITIONS": str(self.bed.settings.partitions)}
        return run(*arguments, stdin=stdin, color=color, **settings, **environment)

    def receive(self, key: bytes | None, value: bytes | None, *, for_account: bool = False) -> None:
        """Let a record come in as from any client, on one of the two topics of commands."""
        topics = self.bed.settings.topics
        topic = topics.account_commands if for_account else topics.commands

        async def send() -> None:
            self.bed.produce(topic, key, value)
            await self.bed.quiet()

        self.do(send())

    @asynccontextmanager
    async def dead_letters(
        self,
        settings: Settings,
        others: Sequence[str] = (),
    ) -> AsyncIterator[DeadLetters]:
        """Stand for ``open_dead_letters``."""
        yield DeadLetters(
            self.bed.log, settings, min_retention_ms=self.min_retention_ms, clock_ms=self.bed.clock
        )


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Embedded]:
    """Return an installation that the command line talks to."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    made = Embedded(loop)
    transport = LogTransport(made.bed.log)
    client = functools.partial(PaymentsClient, transport=transport)
    monkeypatch.setattr(payments.client, "PaymentsClient", client)
    monkeypatch.setattr(payments.dead_letters.reading, "open_dead_letters", made.dead_letters)
    made.do(made.bed.__aenter__())
    monkeypatch.setattr(asyncio, "run", made.do)
    yield made
    monkeypatch.undo()
    made.do(made.bed.__aexit__(None, None, None))
    loop.call_soon_threadsafe(loop.stop)
    thread.join(timeout=10)
    loop.close()
