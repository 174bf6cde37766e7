"""What the comparison decides: ours through theirs, and what it should be."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tools.bench.loading import MEASURES
from tools.bench.peers.peer_results import Cell, ratio
from tools.bench.peers.peer_system import HTTP, TOPICS

RATE, P50, _, P99, CPU = MEASURES


class Goal(NamedTuple):
    """Ours through theirs; a rate must be at least, all else at most the target."""

    part: str
    workload: str
    concurrency: int
    measure: str
    ours: str
    theirs: str
    target: float


GOALS: Sequence[Goal] = (
    Goal(HTTP, "unique", 64, RATE, "payments-8-flush", "restate", 3),
    Goal(HTTP, "unique", 64, P99, "payments-8-flush", "restate", 0.5),
    Goal(HTTP, "unique", 256, RATE, "payments-8-flush", "restate", 4),
    Goal(HTTP, "unique", 256, P99, "payments-8-flush", "restate", 0.5),
    Goal(HTTP, "unique", 64, RATE, "payments-8", "restate", 7),
    Goal(HTTP, "unique", 256, RATE, "payments-8", "restate", 8),
    Goal(HTTP, "unique", 64, RATE, "payments-2-flush", "restate-2", 2.5),
    Goal(HTTP, "unique", 256, RATE, "payments-2-flush", "restate-2", 5),
    Goal(HTTP, "unique", 1, P50, "payments-8-flush", "restate", 0.75),
    Goal(HTTP, "hot", 64, RATE, "payments-8-flush", "restate", 8),
    Goal(HTTP, "storm", 64, RATE, "payments-2-flush", "restate-1", 2),
    Goal(HTTP, "unique", 64, CPU, "payments-8-flush", "restate", 0.3),
    Goal(TOPICS, "unique", 1, RATE, "payments-8", "streams-best", 8),
    Goal(TOPICS, "unique", 16, RATE, "payments-8", "streams-best", 3),
    Goal(TOPICS, "unique", 64, RATE, "payments-8", "streams-best", 2.5),
    Goal(TOPICS, "unique", 256, RATE, "payments-8", "streams-best", 1.6),
    Goal(TOPICS, "unique", 1000, RATE, "payments-8", "streams-best", 1.2),
    Goal(TOPICS, "unique", 64, P50, "payments-8", "streams", 0.1),
)


def goal_rows(found: Sequence[Cell]) -> Iterator[list[str]]:
    """Yield a row for every goal whose two sides were measured."""
    by_key = {(cell.part, cell.workload, cell.concurrency, cell.system): cell for cell in found}
    for goal in GOALS:
        sides = [by_key.get((*goal[:3], system)) for system in (goal.ours, goal.theirs)]
        ours, theirs = sides
        if ours is None or theirs is None or (value := ratio(ours, theirs, goal.measure)) is None:
            continue
        is_rate = goal.measure == RATE
        met = value >= goal.target if is_rate else value <= goal.target
        yield [
            f"{goal.measure}, {goal.part}, {goal.workload}, concurrency {goal.concurrency}",
            f"{ours.name}, {ours.durability}",
            f"{theirs.name}, {theirs.durability}",
            f"{'≥' if is_rate else '≤'} {goal.target:g} x",
            f"{value:.2f} x" if met else f"{value:.2f} x, **missed**",
        ]
