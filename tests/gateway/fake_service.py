"""A service that answers when the test says so."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from msgspec import to_builtins

from payments.client import AccountBalance
from payments.client.commands import CheckedId
from payments.client.resuming import Mark
from payments.domain.account_commands import AccountCommand
from payments.domain.commands import Command, Get
from payments.domain.results import Outcome
from payments.gateway.service import Commands
from payments.records.record_models import AccountResult, LedgerEntry, Result

TIME = "2026-01-01T00:00:00.000Z"


def result(payment: str, command: str, **changes: Any) -> Result:
    """Return the result of a completed make, or one that differs from it."""
    values: dict[str, Any] = {
        "payment": payment,
        "command": command,
        "type": "make",
        "outcome": Outcome.COMPLETED,
        "reason": None,
        "message": None,
        "replayed": False,
        "state": "completed",
        "account": "abc",
        "amount": 100,
        "currency": "EUR",
        "time": TIME,
    }
    return Result(**values | changes)


class FakeService:
    """Commands wait until ``release`` is set; ``error`` is raised instead of a result."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.error: Exception | None = None
        self.changes: dict[str, Any] = {}
        self.sent: list[tuple[str, Mapping[str, object]]] = []
        self.headers: Sequence[tuple[str, bytes]] = ()
        """Those of the last command."""
        self.waiting = 0
        self.is_healthy = True
        self.told = "the brokers are away"
        self.shown: asyncio.Queue[Result | Exception] = asyncio.Queue()

    async def send(
        self,
        payment: CheckedId,
        command: Command,
        *,
        deadline_seconds: float = 30,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> Result:
        """Answer when released."""
        self.sent.append((payment.text, to_builtins(command)))
        self.headers = headers
        self.waiting += 1
        try:
            await self.release.wait()
        finally:
            self.waiting -= 1
        if self.error is not None:
            raise self.error
        own = command.id or f"command-{len(self.sent)}"
        found = result(payment.text, own, **{"type": command.type, **self.changes})
        if isinstance(command, Get):
            self.shown.put_nowait(found)
        return found

    async def submit(
        self,
        payment: CheckedId,
        command: Command,
        *,
        deadline_seconds: float = 30,
        result_seconds: float | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> "asyncio.Future[Result]":
        """Take a command at once."""
        answer = self.send(payment, command, headers=headers)
        return asyncio.ensure_future(answer)

    async def mark(self, payment: CheckedId, *, deadline_seconds: float = 30) -> Mark:
        """Return the same mark always."""
        return Mark(4, 3)

    async def resume(
        self,
        payment: CheckedId,
        command_id: str,
        mark: Mark,
        *,
        deadline_seconds: float = 30,
        result_seconds: float | None = None,
    ) -> "asyncio.Future[Result] | None":
        """Know no command."""
        return None

    async def watch(self, payment: CheckedId) -> AsyncIterator[Result]:
        """Show what the test puts into ``shown``."""
        while True:
            shown = await self.shown.get()
            if isinstance(shown, Exception):
                raise shown
            yield shown

    async def account(self, account: str, *, deadline_seconds: float = 30) -> AccountBalance | None:
        """Answer with a balance."""
        if self.error is not None:
            raise self.error
        return AccountBalance(account=account, balance=5, currency="EUR", sequence=1)

    async def entries(
        self, account: str, *, after: int = 0, limit: int = 100, deadline_seconds: float = 30
    ) -> Sequence[LedgerEntry]:
        """Answer with nothing."""
        return []

    @property
    def account_commands(self) -> Commands[AccountCommand, AccountResult]:
        """None: tests of these commands use the real client."""
        raise NotImplementedError

    def healthy(self) -> bool:
        """Whatever the test says; as the client, only in its event loop."""
        asyncio.get_running_loop()
        return self.is_healthy

    def trouble(self) -> str | None:
        """Whatever the test says."""
        return None if self.is_healthy else self.told
