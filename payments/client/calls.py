"""Calls: commands in flight, each with the future of its result."""

import asyncio
from dataclasses import dataclass, field

from exactstage import Header
from exactstage.log import NO_HEADERS
from payments.client.deadlines import Deadlines
from payments.client.errors import (
    BrokersUnavailable,
    ClientClosed,
    DeadlineExceeded,
    Overloaded,
)
from payments.records.record_models import Result


@dataclass(slots=True, eq=False)
class Call:
    """One command in flight."""

    key: bytes
    """The payment's id, encoded as the key of its records."""

    partition: int
    command: str
    """The command's own id."""

    value: bytes
    answer: asyncio.Future[Result]
    headers: list[Header] = field(default_factory=lambda: NO_HEADERS)
    size: int = 0
    """Bytes that it takes in a batch."""

    tick: int = 0
    """See ``deadlines.Timed``."""

    sent: bool = False
    """Whether a broker may have the command."""

    stored: asyncio.Future[None] | None = None
    """Done when a broker has acknowledged it; only for ``submit``."""

    def mark_stored(self, _: object = None) -> None:
        """Record that a broker has acknowledged it, or that the call has ended."""
        if self.stored is not None and not self.stored.done():
            self.stored.set_result(None)


class Calls:
    """The table of all calls in flight: found by payment, ended by a result or their deadline."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._by_key: dict[bytes, dict[str, list[Call]]] = {}
        """By payment, then by command id: thousands may wait for one payment."""
        self._deadlines = Deadlines[Call](expire)

    def __len__(self) -> int:
        """Return how many calls are in flight."""
        return self._count

    def add(self, call: Call, deadline_seconds: float) -> None:
        """Add a call. Raises ``Overloaded`` at the limit."""
        if self._count >= self._limit:
            message = f"{self._limit} calls are in flight, as many as PAYMENTS_CLIENT_MAX_CALLS"
            raise Overloaded(message)
        self._count += 1
        commands = self._by_key.setdefault(call.key, {})
        commands.setdefault(call.command, []).append(call)
        self._deadlines.add(call, deadline_seconds)

    def discard(self, call: Call) -> None:
        """Remove a call, however it ended."""
        self._count -= 1
        commands = self._by_key[call.key]
        calls = commands[call.command]
        calls.remove(call)
        if not calls:
            del commands[call.command]
            if not commands:
                del self._by_key[call.key]
        self._deadlines.discard(call)

    def awaits(self, key: bytes | None) -> bool:
        """Whether a call for this payment is in flight, so its results must be parsed."""
        return key in self._by_key

    def answer(self, key: bytes, result: Result) -> None:
        """End the calls whose command has this result; only a command's first result counts."""
        commands = self._by_key.get(key)
        if commands is not None and result.command is not None:
            for call in commands.get(result.command, ()):
                if not call.answer.done():
                    call.answer.set_result(result)

    def close(self) -> None:
        """End all calls with ``ClientClosed``."""
        sent = "the client was closed; the command may still be carried out"
        unsent = "the client was closed; the command was not sent"
        for commands in self._by_key.values():
            for calls in commands.values():
                for call in calls:
                    fail(call, ClientClosed(sent if call.sent else unsent))
        self._deadlines.close()


def fail(call: Call, error: Exception) -> None:
    """End a call with an error, unless it has ended already."""
    if not call.answer.done():
        call.answer.set_exception(error)


def expire(call: Call) -> None:
    """End a call whose deadline has passed."""
    if call.sent:
        message = (
            "no result came before the deadline; the command may still be carried out: send it "
            "again, unchanged, to get its result"
        )
        fail(call, DeadlineExceeded(message))
    else:
        message = "the brokers could not be reached before the deadline; the command was not sent"
        fail(call, BrokersUnavailable(message))
