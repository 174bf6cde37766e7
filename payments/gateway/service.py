"""What the gateway needs of the client library, so that a test can stand in for it."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from payments.client.resuming import Mark
from payments.records.record_models import LedgerEntry, Result


class Balance(Protocol):
    """An account as the client tells it."""

    @property
    def account(self) -> str:
        """Its id."""

    @property
    def balance(self) -> int:
        """What is on it, in minor units."""

    @property
    def currency(self) -> str:
        """The currency it is kept in."""

    @property
    def sequence(self) -> int:
        """The number of its last entry."""


class Service(Protocol):
    """The part of ``PaymentsClient`` that the gateway is built on."""

    async def send(
        self,
        payment: str,
        command: Mapping[str, object],
        *,
        deadline_seconds: float = 30,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> Result:
        """Send a command and return its result."""

    async def submit(
        self,
        payment: str,
        command: Mapping[str, object],
        *,
        deadline_seconds: float = 30,
        result_seconds: float | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> asyncio.Future[Result]:
        """Send a command; return when the brokers have it, with the future of its result."""

    async def mark(self, payment: str, *, deadline_seconds: float = 30) -> Mark:
        """Return a mark before the records of any command sent from now on."""

    async def resume(
        self,
        payment: str,
        command_id: str,
        mark: Mark,
        *,
        deadline_seconds: float = 30,
        result_seconds: float | None = None,
    ) -> asyncio.Future[Result] | None:
        """Return the future of the result of a command sent after ``mark``; None for no command."""

    def watch(self, payment: str) -> AsyncIterator[Result]:
        """Return all later results of a payment."""

    async def account(self, account: str, *, deadline_seconds: float = 30) -> Balance | None:
        """Return an account's balance; None where there is no such account."""

    async def entries(
        self, account: str, *, after: int = 0, limit: int = 100, deadline_seconds: float = 30
    ) -> Sequence[LedgerEntry] | None:
        """Return an account's ledger entries after a sequence number; None as ``account``."""

    def healthy(self) -> bool:
        """Whether commands can be sent, and results read, just now."""

    def trouble(self) -> str | None:
        """Return what is wrong: why it is not healthy, or accounts can't be read; else None."""
