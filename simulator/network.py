"""The network: requests travel, wait, get lost, come late, or come twice.

What is carried out at the other end happens at one instant there; all the time goes into the ways.
Requests of one connection arrive in the order in which they were sent. A caller that is told that its
connection is broken uses a new one, while the old one may still deliver what was sent on it.
"""

import asyncio
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from .faults import REQUEST_KINDS, Fault, Faults, Kind
from .loop import Process, SimulatedLoop

MAX_REQUEST_FAULT_RATE = 0.04
"""Of each kind: worse than this and nothing gets done at all."""

_MOST_ARRIVALS = 300

Reply = Callable[[object], None]
"""Takes the answer to a request, or the exception that stands for it."""

Handler = Callable[[Fault | None, Reply], None]
"""Carries a request out and replies, now or later; the fault says to do a part of it."""


class Retriable(Exception):  # noqa: N818 - named after what is done about it
    """The request may succeed when it is sent again; it may have been carried out already."""


class Network:
    """Carries requests of processes to the brokers, and answers back."""

    def __init__(
        self,
        loop: SimulatedLoop,
        random: Random,
        faults: Faults,
        *,
        latency_seconds: float,
        request_timeout_seconds: float,
    ) -> None:
        self._loop = loop
        self._random = random
        self._faults = faults
        self._latency_seconds = latency_seconds
        self._timeout_seconds = request_timeout_seconds
        self._odds = [
            (kind, faults.rates[kind] * MAX_REQUEST_FAULT_RATE)
            for kind in REQUEST_KINDS
            if kind in faults.rates
        ]
        self._arrivals = 0
        self._serial = count()
        self._waiting: list[tuple[int, int, Callable[[], object]]] = []
        """What is to come after so many arrivals, in the order of that."""
        self._last_arrival: dict[tuple[str, str], float] = {}
        self._cut_off: dict[str, float] = {}

    def cut_off(self, process_name: str, seconds: float) -> None:
        """Let nothing through to and from a process for a while."""
        self._cut_off[process_name] = self._loop.time() + seconds

    def after_arrivals(self, number: int, callback: Callable[[], object]) -> None:
        """Call back right after so many more requests have arrived.

        A takeover takes few requests and little time: what is to come in the middle of one is aimed
        better by this than by the clock.
        """
        heappush(self._waiting, (self._arrivals + number, next(self._serial), callback))

    def _count_arrival(self) -> None:
        self._arrivals += 1
        while self._waiting and self._waiting[0][0] <= self._arrivals:
            _, _, callback = heappop(self._waiting)
            self._loop.in_no_process(self._loop.time(), callback)

    async def call(self, caller: Process, connection: str, what: str, handler: Handler) -> Any:  # noqa: ANN401 - as the handler replies
        """Send a request and wait for its answer. Raises ``Retriable``, and what the handler says.

        Every request ends: with its answer, or with ``Retriable`` when its time is over.
        """
        answer: asyncio.Future[Any] = self._loop.create_future()
        if not caller.is_alive:
            return await answer  # Nothing leaves a dead process, and it will never know.

        def settle(result: object) -> None:
            if answer.done():
                return
            if isinstance(result, Exception):
                answer.set_exception(result)
                answer.exception()  # Whoever waited may be gone: then nobody takes it.
            else:
                answer.set_result(result)

        def give_up() -> None:
            settle(Retriable(f"{what}: no answer came"))

        fault = self._faults.strikes(f"{caller.name} {what}", self._odds)
        self._send(caller, connection, fault, handler, settle, give_up)
        return await answer

    def _send(
        self,
        caller: Process,
        connection: str,
        fault: Fault | None,
        handler: Handler,
        settle: Reply,
        give_up: Callable[[], None],
    ) -> None:
        now, later = self._loop.time(), self._loop.in_no_process
        kind = None if fault is None else fault.kind
        size = 0.0 if fault is None else fault.size
        end = now + max(0.001, size * self._timeout_seconds)
        arrival = self._arrival(caller.name, connection)

        def reply(result: object) -> None:
            if kind is Kind.LOST_ANSWER:
                later(max(end, self._loop.time()), give_up)
            elif self._is_cut_off(caller.name):
                later(now + self._timeout_seconds, give_up)
            else:
                later(self._loop.time() + self._latency(), settle, result)

        def arrive() -> None:
            self._count_arrival()
            if not caller.is_alive and self._random.random() < 0.5:  # noqa: PLR2004 - a coin
                return
            if kind is Kind.RETRIABLE_ERROR:
                # Half of them are told after it was done, as with NOT_ENOUGH_REPLICAS_AFTER_APPEND.
                if size > 0.5:  # noqa: PLR2004 - a coin
                    handler(None, _ignore)
                reply(Retriable("the broker says: try again"))
            else:
                handler(fault if kind is Kind.PART_OF_A_REQUEST else None, reply)

        if kind is Kind.LOST_REQUEST or self._is_cut_off(caller.name):
            later(end if kind else now + self._timeout_seconds, give_up)
            return
        if kind is Kind.LATE_REQUEST:
            # Its connection is given up, and what comes next overtakes it on another one.
            del self._last_arrival[caller.name, connection]
            later(end, give_up)
            if self._random.random() < 0.5:  # noqa: PLR2004 - a coin
                self.after_arrivals(few_or_many(self._random.random()), arrive)
                return
            arrival = now + self._random.random() * 2 * self._timeout_seconds
        elif kind is Kind.REPEATED_REQUEST:
            later(arrival + size * self._timeout_seconds, handler, None, _ignore)
        later(arrival, arrive)

    def _is_cut_off(self, process_name: str) -> bool:
        until = self._cut_off.get(process_name)
        return until is not None and until > self._loop.time() and not self._faults.is_over

    def _latency(self) -> float:
        return self._random.expovariate(1 / self._latency_seconds)

    def _arrival(self, process_name: str, connection: str) -> float:
        address = (process_name, connection)
        earliest = self._last_arrival.get(address, 0.0)
        arrival = max(earliest, self._loop.time() + self._latency())
        self._last_arrival[address] = arrival
        return arrival


def few_or_many(size: float) -> int:
    """Return a number of arrivals, from one to some hundred, each magnitude as likely as another."""
    return int(_MOST_ARRIVALS**size)


def _ignore(_answer: object) -> None:
    """Nobody waits for this one."""
