"""The gateway's interface to the client library, so that tests can replace it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Protocol, TypeVar

from payments.client.commands import CheckedId
from payments.client.resuming import Mark
from payments.domain.account_commands import AccountCommand
from payments.domain.commands import Command
from payments.records.record_models import (
    AccountBalance,
    AccountResult,
    LedgerEntry,
    Result,
)

C_contra = TypeVar("C_contra", contravariant=True)
R = TypeVar("R")


class Commands(Protocol[C_contra, R]):
    """What sends commands of payments, or of accounts, that the gateway has checked."""

    async def send(
        self,
        payment: CheckedId,
        command: C_contra,
        *,
        deadline_seconds: float = 30,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> R:
        """Send a command and return its result."""

    async def submit(
        self,
        payment: CheckedId,
        command: C_contra,
        *,
        deadline_seconds: float = 30,
        result_seconds: float | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> asyncio.Future[R]:
        """Send a command; return when the brokers have it, with the future of its result."""

    async def mark(self, payment: CheckedId, *, deadline_seconds: float = 30) -> Mark:
        """Return a mark before the records of any command sent from now on."""

    async def resume(
        self,
        payment: CheckedId,
        command_id: str,
        mark: Mark,
        *,
        deadline_seconds: float = 30,
        result_seconds: float | None = None,
    ) -> asyncio.Future[R] | None:
        """Return the future of the result of a command sent after ``mark``; None for no command."""


class Service(Commands[Command, Result], Protocol):
    """The part of ``PaymentsClient`` that the gateway uses."""

    @property
    def account_commands(self) -> Commands[AccountCommand, AccountResult]:
        """What sends commands for accounts."""

    def watch(self, payment: CheckedId) -> AsyncIterator[Result]:
        """Return all later results of a payment."""

    async def account(self, account: str, *, deadline_seconds: float = 30) -> AccountBalance | None:
        """Return an account's balance; None when it does not exist."""

    async def entries(
        self, account: str, *, after: int = 0, limit: int = 100, deadline_seconds: float = 30
    ) -> Sequence[LedgerEntry] | None:
        """Return an account's ledger entries after a sequence number; None as for ``account``."""

    def healthy(self) -> bool:
        """Whether commands can be sent, and results read, now."""

    def trouble(self) -> str | None:
        """Return why it is not healthy, or why accounts can't be read; else None."""
