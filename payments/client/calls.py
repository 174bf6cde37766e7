"""Calls: commands in flight, each with the future of its result and a deadline."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from exactstage.log import NO_HEADERS
from payments.client.arguments import require_seconds
from payments.client.errors import (
    BrokersUnavailable,
    ClientClosed,
    DeadlineExceeded,
    Overloaded,
)
from payments.client.transport import CommandRecord

MAX_SECONDS = 86_400.0
"""Longest deadline: a day."""

TICK_SECONDS = 0.02
"""Width of a bucket of ``Deadlines``: the maximum delay of a deadline. A deadline is never early by
more than the millisecond that an event loop's clock may be off."""

PAYMENT_IN_DOUBT = "send it again, unchanged, to get its result"
"""The next step after a command for a payment whose outcome is unknown."""

ACCOUNT_IN_DOUBT = (
    "read the account first, and send it again only if no one else has changed it since"
)
"""That of a command for an account: it sets a state, so a late repeat undoes a later command."""

_NOT_SENT: CommandRecord = (b"", b"", NO_HEADERS)


def require_deadline(seconds: float, name: str = "deadline_seconds") -> None:
    """Raise ``TypeError`` or ``ValueError`` unless ``seconds`` is a deadline."""
    if type(seconds) is not float:  # Usually it is, and every call has one.
        require_seconds(name, seconds)
    if not 0 < seconds <= MAX_SECONDS:  # Refuses NaN too.
        message = f"{name} must be over 0 and at most {MAX_SECONDS:.0f}, not {seconds}"
        raise ValueError(message)


def require_result_seconds(seconds: float | None) -> None:
    """Raise unless ``seconds`` is None (the same as the deadline) or a time to wait."""
    if seconds is not None:
        require_deadline(seconds, "result_seconds")


class Answered(Protocol):
    """A result: what it answers."""

    @property
    def command(self) -> str | None:
        """The id of the command that is answered; None in a notice."""


@dataclass(slots=True, eq=False)
class Call:
    """One command in flight."""

    key: bytes
    """The payment's id, encoded as the key of its records."""

    partition: int
    command: str
    """The command's own id."""

    answer: asyncio.Future[Any]
    """That of its result."""

    record: CommandRecord = _NOT_SENT
    """The record to send; of a call that ``resume`` waits for, none."""

    size: int = 0
    """Bytes that the record takes in a batch."""

    tick: int = 0
    """See ``Timed``."""

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

    def __init__(self, limit: int, in_doubt: str) -> None:
        """``in_doubt`` is the next step after a command whose outcome is unknown."""
        self._limit = limit
        self.expire = partial(expire, in_doubt=in_doubt)
        self._count = 0
        self.by_payment: dict[bytes, dict[str, list[Call]]] = {}
        """By the payment's key, then by command id: thousands may wait for one payment."""
        self._deadlines = Deadlines[Call](self.expire)

    def __len__(self) -> int:
        """Return how many calls are in flight."""
        return self._count

    def add(self, call: Call, deadline_seconds: float) -> None:
        """Add a call. Raises ``Overloaded`` at the limit."""
        if self._count >= self._limit:
            message = f"{self._limit} calls are in flight, as many as PAYMENTS_CLIENT_MAX_CALLS"
            raise Overloaded(message)
        self._count += 1
        commands = self.by_payment.setdefault(call.key, {})
        commands.setdefault(call.command, []).append(call)
        self._deadlines.add(call, deadline_seconds)

    def discard(self, call: Call) -> None:
        """Remove a call, however it ended."""
        self._count -= 1
        commands = self.by_payment[call.key]
        calls = commands[call.command]
        calls.remove(call)
        if not calls:
            del commands[call.command]
            if not commands:
                del self.by_payment[call.key]
        self._deadlines.discard(call)

    def answer(self, key: bytes, result: Answered) -> None:
        """End the calls whose command has this result; only a command's first result counts."""
        commands = self.by_payment.get(key)
        if commands is not None and result.command is not None:
            for call in commands.get(result.command, ()):
                if not call.answer.done():
                    call.answer.set_result(result)

    def close(self) -> None:
        """End all calls with ``ClientClosed``."""
        sent = "the client was closed; the command may still be carried out"
        unsent = "the client was closed; the command was not sent"
        for commands in self.by_payment.values():
            for calls in commands.values():
                for call in calls:
                    fail(call, ClientClosed(sent if call.sent else unsent))
        self._deadlines.close()


def fail(call: Call, error: Exception) -> None:
    """End a call with an error, unless it has ended already."""
    if not call.answer.done():
        call.answer.set_exception(error)


def expire(call: Call, in_doubt: str) -> None:
    """End a call whose deadline has passed; ``in_doubt`` is the next step if it was sent."""
    if call.sent:
        message = (
            f"no result came before the deadline; the command may still be carried out: {in_doubt}"
        )
        fail(call, DeadlineExceeded(message))
    else:
        message = "the brokers could not be reached before the deadline; the command was not sent"
        fail(call, BrokersUnavailable(message))


class Timed(Protocol):
    """An item with a deadline."""

    tick: int
    """Its bucket."""


Item = TypeVar("Item", bound=Timed)


class Deadlines(Generic[Item]):
    """Calls ``expire`` with each item whose deadline passes; two dictionary changes for each item.

    At most one timer is set: for the earliest bucket when it was set.
    """

    def __init__(self, expire: Callable[[Item], None]) -> None:
        self._expire = expire
        self._buckets: dict[int, dict[Item, None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0

    def add(self, item: Item, seconds: float) -> None:
        """Let ``item`` expire in ``seconds``."""
        loop = asyncio.get_running_loop()
        tick = item.tick = int((loop.time() + seconds) / TICK_SECONDS) + 1
        self._buckets.setdefault(tick, {})[item] = None
        if self._timer is None or tick < self._timer_tick:
            self._set_timer(tick)

    def discard(self, item: Item) -> None:
        """Forget an item, expired or not."""
        bucket = self._buckets.get(item.tick)
        if bucket is not None:
            bucket.pop(item, None)
            if not bucket:
                del self._buckets[item.tick]

    def close(self) -> None:
        """Forget all items and the timer."""
        self._buckets.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_tick = tick
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(tick * TICK_SECONDS, self._run)

    def _run(self) -> None:
        self._timer = None
        # A loop's timer may fire a little early.
        now = max(self._timer_tick, int(asyncio.get_running_loop().time() / TICK_SECONDS))
        for tick in sorted(tick for tick in self._buckets if tick <= now):
            for item in self._buckets.pop(tick, {}):
                self._expire(item)
        if self._buckets and self._timer is None:
            self._set_timer(min(self._buckets))
