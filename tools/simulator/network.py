"""The network: requests travel, wait, get lost, come late, or come twice.

What is carried out at the other end happens at one instant there; all the time goes into the ways.
Requests of one connection arrive in the order in which they were sent. A caller that is told that
its connection is broken uses a new one, while the old one may still deliver what was sent on it.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

from .faults import REQUEST_KINDS, Fault, Faults, Kind
from .loop import Process, SimulatedLoop

MAX_REQUEST_FAULT_RATE = 0.04
"""Of each kind: worse than this and nothing gets done at all."""

_MOMENTS = ("", "", "", "", "init", "add", "end", "journal", "bounds", "fetch", "publish")
"""Kinds of requests that others may come right behind; any kind where there is no name."""

_MOST_OF_ALL, _MOST_OF_A_KIND = 300, 6
_LOST_WITH_ITS_SENDER, _DELAYED_WITH_ITS_SENDER, _DONE_ALL_THE_SAME = 0.3, 0.7, 0.5

Reply = Callable[[object], None]
"""Takes the answer to a request, or the exception that stands for it."""

Handler = Callable[[Fault | None, Reply], None]
"""Carries a request out and replies, now or later; the fault says to do a part of it."""


class Retriable(Exception):
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
        self.loop = loop
        self._random = random
        self._faults = faults
        self._latency_seconds = latency_seconds
        self.timeout_seconds = request_timeout_seconds
        self._odds = [
            (kind, faults.rates[kind] * MAX_REQUEST_FAULT_RATE)
            for kind in REQUEST_KINDS
            if kind in faults.rates
        ]
        self._serial = count()
        self._arrivals: Counter[str] = Counter()
        self._waiting: dict[str, list[tuple[int, int, Callable[[], object]]]] = defaultdict(list)
        """What is to come after so many arrivals of a kind, in the order of that."""
        self._last_arrival: dict[tuple[str, str], float] = {}
        self._cut_off: dict[str, float] = {}

    def cut_off(self, process_name: str, seconds: float) -> None:
        """Let nothing through to and from a process for a while."""
        self._cut_off[process_name] = self.loop.time() + seconds

    def at_moment(self, chance: float, callback: Callable[[], object]) -> str:
        """Call back right after the n-th request from now on, of one kind or any; return which.

        A takeover takes few requests and little time: what is to come in the middle of one is aimed
        better by this than by the clock. ``chance`` (0 to 1) says which request it is.
        """
        what = _MOMENTS[int(chance * len(_MOMENTS))]
        most = _MOST_OF_A_KIND if what else _MOST_OF_ALL
        number = int(most ** ((chance * len(_MOMENTS)) % 1))
        due = self._arrivals[what] + number
        heappush(self._waiting[what], (due, next(self._serial), callback))
        return f"{what or 'request'} #{number} from now"

    def count_arrival(self, what: str) -> None:
        """Call back what waits for this arrival."""
        for kind in ("", what):
            self._arrivals[kind] += 1
            waiting = self._waiting[kind]
            while waiting and waiting[0][0] <= self._arrivals[kind]:
                _, _, callback = heappop(waiting)
                self.loop.in_no_process(self.loop.time(), callback)

    async def call(self, caller: Process, connection: str, what: str, handler: Handler) -> Any:
        """Send a request and wait for its answer. Raises ``Retriable``, and what the handler says.

        Every request ends: with its answer, or with ``Retriable`` when its time is over.
        """
        answer: asyncio.Future[Any] = self.loop.create_future()
        if caller.is_alive:
            fault = self._faults.strikes(f"{caller.name} {what}", self._odds)
            request = _Request(self, caller, what, fault=fault, handler=handler, answer=answer)
            request.send(connection)
        # Nothing leaves a dead process, and it will never know.
        return await answer

    def give_connection_up(self, process_name: str, connection: str) -> None:
        """Let what comes next overtake what was sent: it goes over another connection."""
        self._last_arrival.pop((process_name, connection), None)

    def tosses(self, share: float) -> bool:
        """Return True so often."""
        return self._random.random() < share

    def share(self) -> float:
        """Return a number from 0 to 1."""
        return self._random.random()

    def is_cut_off(self, process_name: str) -> bool:
        """Whether nothing gets through to and from a process."""
        until = self._cut_off.get(process_name)
        return until is not None and until > self.loop.time() and not self._faults.is_over

    def latency(self) -> float:
        """Return how long one way takes."""
        return self._random.expovariate(1 / self._latency_seconds)

    def arrival(self, process_name: str, connection: str) -> float:
        """Return when what is sent now arrives: behind what was sent before."""
        address = (process_name, connection)
        earliest = self._last_arrival.get(address, 0.0)
        arrival = max(earliest, self.loop.time() + self.latency())
        self._last_arrival[address] = arrival
        return arrival


class _Request:
    """One request on its way there, and its answer on its way back."""

    def __init__(
        self,
        network: Network,
        caller: Process,
        what: str,
        *,
        fault: Fault | None,
        handler: Handler,
        answer: asyncio.Future[Any],
    ) -> None:
        self._network, self._caller, self._what = network, caller, what
        self._fault, self._handler, self._answer = fault, handler, answer
        self._kind = None if fault is None else fault.kind
        self._size = 0.0 if fault is None else fault.size
        self._sent = network.loop.time()
        self._later = network.loop.in_no_process

    def send(self, connection: str) -> None:
        """Let it arrive in time, late, twice, or never."""
        network, name, timeout = self._network, self._caller.name, self._network.timeout_seconds
        end = self._sent + max(0.001, self._size * timeout)
        arrival = network.arrival(name, connection)
        if network.is_cut_off(name):
            self._later(self._sent + timeout, self._give_up)
            return
        if self._kind is Kind.LOST_REQUEST:
            self._later(end, self._give_up)
            return
        if self._kind is Kind.LATE_REQUEST:
            network.give_connection_up(name, connection)
            self._later(end, self._give_up)
            if network.tosses(0.5):
                network.at_moment(network.share(), self._arrive)
                return
            arrival = end + network.share() * timeout
        elif self._kind is Kind.REPEATED_REQUEST:
            self._later(arrival + self._size * timeout, self._handler, None, _ignore)
        self._later(arrival, self._arrive)

    def _arrive(self) -> None:
        self._network.count_arrival(self._what)
        if not self._caller.is_alive:
            self._arrive_from_the_dead()
        elif self._kind is Kind.RETRIABLE_ERROR:
            # Half of them are told after it was done, as with NOT_ENOUGH_REPLICAS_AFTER_APPEND.
            if self._size > _DONE_ALL_THE_SAME:
                self._handler(None, _ignore)
            self._reply(Retriable("the broker says: try again"))
        else:
            part = self._fault if self._kind is Kind.PART_OF_A_REQUEST else None
            self._handler(part, self._reply)

    def _arrive_from_the_dead(self) -> None:
        """Carry out, now or later or never, what a dead process had sent."""
        network = self._network
        if network.tosses(_LOST_WITH_ITS_SENDER):
            return
        if network.tosses(_DELAYED_WITH_ITS_SENDER):
            network.at_moment(network.share(), lambda: self._handler(None, _ignore))
        else:
            self._handler(None, _ignore)

    def _reply(self, result: object) -> None:
        network = self._network
        now, timeout = network.loop.time(), network.timeout_seconds
        if self._kind is Kind.LOST_ANSWER:
            self._later(max(now, self._sent + self._size * timeout), self._give_up)
        elif network.is_cut_off(self._caller.name):
            self._later(max(now, self._sent + timeout), self._give_up)
        else:
            self._later(now + network.latency(), self._settle, result)

    def _give_up(self) -> None:
        self._settle(Retriable(f"{self._what}: no answer came"))

    def _settle(self, result: object) -> None:
        answer = self._answer
        if answer.done():
            return
        if isinstance(result, Exception):
            answer.set_exception(result)
            answer.exception()  # Whoever waited may be gone: then nobody takes it.
        else:
            answer.set_result(result)


def _ignore(_answer: object) -> None:
    """Nobody waits for this one."""
