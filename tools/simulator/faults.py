"""Faults: which kinds there are, how often each strikes in a run, and a list of those that did.

Each run has some kinds switched on and others off, with rates of its own, all drawn from its seed
("swarm testing": a run in which everything happens all the time reaches less than many runs with a
few kinds each). Every fault that is injected is noted with the point where it was: a list of them
replays the run, and a part of the list is how a failure is shrunk.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from random import Random
from typing import NamedTuple


class Kind(StrEnum):
    """What may go wrong."""

    # A worker, at any await.
    CRASH = "crash"
    PAUSE = "pause"
    # A request of a worker.
    LOST_REQUEST = "lost request"
    LOST_ANSWER = "lost answer"
    REPEATED_REQUEST = "repeated request"
    LATE_REQUEST = "late request"
    RETRIABLE_ERROR = "retriable error"
    PART_OF_A_REQUEST = "part of a request"
    # The brokers.
    LEADER_CHANGE = "leader change"
    SLOW_MARKERS = "slow control records"
    COMPACTION = "compaction"
    RETENTION = "retention"
    # The group.
    REBALANCE = "rebalance"
    TWO_OWNERS = "two owners"
    LOST_HEARTBEAT = "lost heartbeats"
    # The surroundings.
    CUT_OFF = "worker cut off"
    CLOCK_JUMP = "clock jump"
    STOP = "worker stopped"
    SCALE = "scaled"
    # What Kafka promises not to do.
    LOST_TAIL = "acknowledged tail lost"


REQUEST_KINDS = (
    Kind.LOST_REQUEST,
    Kind.LOST_ANSWER,
    Kind.REPEATED_REQUEST,
    Kind.LATE_REQUEST,
    Kind.RETRIABLE_ERROR,
    Kind.PART_OF_A_REQUEST,
)
STEP_KINDS = (Kind.CRASH, Kind.PAUSE)
TIMED_KINDS = tuple(
    kind
    for kind in Kind
    if kind not in REQUEST_KINDS and kind not in STEP_KINDS and kind is not Kind.SLOW_MARKERS
)


LOSING_RUNS = 1 / 8
"""Share of the runs in which acknowledged records are lost: such a run ends when it is noticed."""


class Point(NamedTuple):
    """Where a fault can strike: the n-th time that something is done somewhere."""

    where: str
    number: int


class Fault(NamedTuple):
    """A fault at a point; ``size`` (0 to 1) is what its length and such are made from."""

    point: Point
    kind: Kind
    size: float

    def __str__(self) -> str:
        """Return a readable form."""
        return f"{self.kind} at {self.point.where} #{self.point.number} (size {self.size:.3f})"


def draw_rates(random: Random, losing_runs: float = LOSING_RUNS) -> dict[Kind, float]:
    """Return the kinds of one run, each with a rate from 0 to 1: how bad it is.

    ``losing_runs`` is the share of runs in which acknowledged records are lost.
    """
    share = random.random()
    usual = [kind for kind in Kind if kind is not Kind.LOST_TAIL]
    rates: dict[Kind, float] = {}
    rates |= {kind: random.random() ** 2 for kind in usual if random.random() < share}
    if random.random() < losing_runs:
        rates[Kind.LOST_TAIL] = 0.0  # Once.
    return rates


class Faults:
    """Decides at each point whether a fault strikes there, and notes those that did."""

    def __init__(
        self,
        random: Random,
        rates: Mapping[Kind, float],
        planned: Sequence[Fault] | None = None,
    ) -> None:
        self.rates = rates
        self.injected: list[Fault] = []
        self.is_over = False
        """Everything heals: nothing strikes any more."""
        self._random = random
        self._planned = None if planned is None else {fault.point: fault for fault in planned}
        self._numbers: dict[str, int] = {}

    def strikes(self, where: str, odds: Iterable[tuple[Kind, float]]) -> Fault | None:
        """Return the fault that strikes here this time, if any does."""
        if self.is_over:
            return None
        number = self._numbers[where] = self._numbers.get(where, 0) + 1
        if self._planned is not None:
            fault = self._planned.get(Point(where, number))
        else:
            fault = self._draw(where, number, odds)
        if fault is not None:
            self.injected.append(fault)
        return fault

    def _draw(self, where: str, number: int, odds: Iterable[tuple[Kind, float]]) -> Fault | None:
        chance = self._random.random()
        for kind, rate in odds:
            chance -= rate
            if chance < 0:
                return Fault(Point(where, number), kind, self._random.random())
        return None

    def next_step(self, where: str, after: int) -> Fault | None:
        """Return the next fault of a process that strikes at a step, later than ``after``."""
        if self.is_over:
            return None
        if self._planned is not None:
            left = [f for f in self._planned.values() if f.point > Point(where, after)]
            left = [f for f in left if f.point.where == where and f.kind in STEP_KINDS]
            return min(left, default=None)
        kinds = [kind for kind in STEP_KINDS if kind in self.rates]
        if not kinds:
            return None
        kind = kinds[int(self._random.random() * len(kinds))]
        # From a few steps (inside a takeover) to many, each size as likely as the next.
        step = after + int(4 * 10 ** (self._random.random() * (3.7 - 1.5 * self.rates[kind])))
        return Fault(Point(where, step), kind, self._random.random())

    def note(self, fault: Fault) -> None:
        """Say that a fault of ``next_step`` has struck."""
        self.injected.append(fault)
