"""What ours should reach beside each peer: ratios within one run, and whether they are reached."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tools.bench.peers.summary import MEASURES, Cell, ratio
from tools.bench.peers.targets import HTTP, TOPICS

RATE, P50, P99, CPU = MEASURES


class Goal(NamedTuple):
    """Ours through the best of theirs; a rate must be at least, all else at most the target."""

    transport: str
    workload: str
    concurrency: int
    measure: str
    ours: str
    theirs: tuple[str, ...]
    target: float


TUNED = ("restate-1", "restate-2")
GOALS: Sequence[Goal] = (
    Goal(HTTP, "unique", 64, RATE, "payments-8-flush", ("restate",), 3),
    Goal(HTTP, "unique", 64, P99, "payments-8-flush", ("restate",), 0.5),
    Goal(HTTP, "unique", 256, RATE, "payments-8-flush", ("restate",), 4),
    Goal(HTTP, "unique", 256, P99, "payments-8-flush", ("restate",), 0.5),
    Goal(HTTP, "unique", 64, RATE, "payments-8", ("restate",), 7),
    Goal(HTTP, "unique", 256, RATE, "payments-8", ("restate",), 8),
    Goal(HTTP, "unique", 64, RATE, "payments-2-flush", TUNED, 2.5),
    Goal(HTTP, "unique", 256, RATE, "payments-2-flush", TUNED, 5),
    Goal(HTTP, "unique", 1, P50, "payments-8-flush", ("restate",), 0.75),
    Goal(HTTP, "hot", 64, RATE, "payments-8-flush", ("restate",), 8),
    Goal(HTTP, "storm", 64, RATE, "payments-2-flush", TUNED, 2),
    Goal(HTTP, "unique", 64, CPU, "payments-8-flush", ("restate",), 0.3),
    Goal(TOPICS, "unique", 1, RATE, "payments-8", ("streams-best",), 8),
    Goal(TOPICS, "unique", 16, RATE, "payments-8", ("streams-best",), 3),
    Goal(TOPICS, "unique", 64, RATE, "payments-8", ("streams-best",), 2.5),
    Goal(TOPICS, "unique", 256, RATE, "payments-8", ("streams-best",), 1.6),
    Goal(TOPICS, "unique", 1000, RATE, "payments-8", ("streams-best",), 1.2),
    Goal(TOPICS, "unique", 64, P50, "payments-8", ("streams",), 0.1),
)


class Reached(NamedTuple):
    """A goal, the peer's cell that it was held against, and the ratio."""

    goal: Goal
    ours: Cell
    theirs: Cell
    ratio: float

    @property
    def met(self) -> bool:
        """Whether the target is reached."""
        if self.goal.measure == RATE:
            return self.ratio >= self.goal.target
        return self.ratio <= self.goal.target


def reached(cells: Sequence[Cell]) -> Iterator[Reached]:
    """Return every goal whose two sides were measured."""
    by_key = {(c.transport, c.system, c.workload, c.concurrency): c for c in cells}
    for goal in GOALS:
        place = goal.workload, goal.concurrency
        ours = by_key.get((goal.transport, goal.ours, *place))
        theirs = [by_key.get((goal.transport, system, *place)) for system in goal.theirs]
        known = [cell for cell in theirs if cell is not None]
        if ours is None or not known:
            continue
        best = max if goal.measure == RATE else min
        other = best(known, key=lambda cell: cell.median(MEASURES[goal.measure]) or 0.0)
        found = ratio(ours, other, goal.measure)
        if found is not None:
            yield Reached(goal, ours, other, found)
