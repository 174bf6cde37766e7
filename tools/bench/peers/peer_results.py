"""Results: one system, started afresh, once through all its loads or killed. Each is a file.

A run that was interrupted goes on where it stopped, since what has its file is not measured again;
and whatever is there makes the report.
"""

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec

from tools.bench.failures import BenchError
from tools.bench.loading import MEASURES, Load, median
from tools.bench.peers.audit import Audit
from tools.bench.peers.peer_system import HTTP, TOPICS

KILLS = "kills"


@dataclass(slots=True)
class KillFigures:
    """What one run with kills ended in."""

    kills: int
    audit: Audit
    back_seconds: list[float | None]
    """From each kill to the first result of a payment that was sent after it."""

    kill_seconds: list[float]
    timeline: list[int]
    """Results in each step of ``SLICE_SECONDS``."""


@dataclass(slots=True)
class Result:
    """What was measured of one system; ``environment`` says when, on what."""

    part: str
    """Over HTTP, over topics, or with kills."""

    system: str
    name: str
    peer: str
    durability: str
    repeat: int
    asked: str
    """The loads or kills that were asked for."""

    seconds: float
    environment: str
    loads: list[Load] = field(default_factory=list)
    missing_in_warm_up: int = 0
    kills: KillFigures | None = None
    refused: str | None = None
    """Why it was not measured."""


def write_result(folder: Path, result: Result) -> None:
    """Write a result that is complete; a half-written file is never taken for one."""
    file = _file(folder, result)
    partial = file.with_suffix(".partial")
    partial.write_bytes(msgspec.json.format(msgspec.json.encode(result)) + b"\n")
    partial.rename(file)


def is_there(folder: Path, wanted: Result) -> bool:
    """Return whether a result is there, of the same loads or kills."""
    file = _file(folder, wanted)
    if not file.exists():
        return False
    found = _read(file)
    return found.refused is None and found.asked == wanted.asked


def read_results(folder: Path) -> Sequence[Result]:
    """Return all results that are there, in the order of their names."""
    return sorted(map(_read, folder.glob("*.json")), key=lambda r: (r.part, r.system, r.repeat))


def _file(folder: Path, result: Result) -> Path:
    return folder / f"{result.part}-{result.system}-{result.repeat}.json"


def _read(file: Path) -> Result:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Result)
    except msgspec.MsgspecError as error:
        raise BenchError(f"{file} is no result of this version, delete it: {error}") from error


class Cell(NamedTuple):
    """All loads of one system at one setting, by repeat."""

    part: str
    system: str
    name: str
    durability: str
    workload: str
    concurrency: int
    loads: dict[int, Load]

    def median(self, measure: Callable[[Load], float | None]) -> float | None:
        """Return the median of one measure over the loads in which it is known."""
        return median(self.loads.values(), measure)


def cells(results: Iterable[Result]) -> list[Cell]:
    """Return the cells of all results, in the order in which they were met."""
    found: dict[tuple[str, str, str, int], Cell] = {}
    for result in results:
        for load in result.loads:
            key = result.part, result.system, load.workload, load.concurrency
            names = result.name, result.durability
            cell = found.setdefault(key, Cell(*key[:2], *names, *key[2:], {}))
            cell.loads[result.repeat] = load
    return list(found.values())


def ratio(ours: Cell, theirs: Cell, measure: str) -> float | None:
    """Return ours through theirs: the median over the repeats in which both ran."""
    read = MEASURES[measure]
    both = [(read(ours.loads[n]), read(theirs.loads[n])) for n in ours.loads if n in theirs.loads]
    pairs = [mine / yours for mine, yours in both if mine is not None and yours]
    return statistics.median(pairs) if pairs else None


class Goal(NamedTuple):
    """Ours through the best of theirs; a rate must be at least, all else at most the target."""

    part: str
    workload: str
    concurrency: int
    measure: str
    ours: str
    theirs: tuple[str, ...]
    target: float


RATE, P50, _, P99, CPU = MEASURES
_TUNED = ("restate-1", "restate-2")
GOALS: Sequence[Goal] = (
    Goal(HTTP, "unique", 64, RATE, "payments-8-flush", ("restate",), 3),
    Goal(HTTP, "unique", 64, P99, "payments-8-flush", ("restate",), 0.5),
    Goal(HTTP, "unique", 256, RATE, "payments-8-flush", ("restate",), 4),
    Goal(HTTP, "unique", 256, P99, "payments-8-flush", ("restate",), 0.5),
    Goal(HTTP, "unique", 64, RATE, "payments-8", ("restate",), 7),
    Goal(HTTP, "unique", 256, RATE, "payments-8", ("restate",), 8),
    Goal(HTTP, "unique", 64, RATE, "payments-2-flush", _TUNED, 2.5),
    Goal(HTTP, "unique", 256, RATE, "payments-2-flush", _TUNED, 5),
    Goal(HTTP, "unique", 1, P50, "payments-8-flush", ("restate",), 0.75),
    Goal(HTTP, "hot", 64, RATE, "payments-8-flush", ("restate",), 8),
    Goal(HTTP, "storm", 64, RATE, "payments-2-flush", _TUNED, 2),
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


def reached(found: Sequence[Cell]) -> Iterator[Reached]:
    """Return every goal whose two sides were measured."""
    by_key = {(cell.part, cell.system, cell.workload, cell.concurrency): cell for cell in found}
    for goal in GOALS:
        place = goal.workload, goal.concurrency
        ours = by_key.get((goal.part, goal.ours, *place))
        keys = [(goal.part, system, *place) for system in goal.theirs]
        known = [by_key[key] for key in keys if key in by_key]
        if ours is None or not known:
            continue
        best, read = max if goal.measure == RATE else min, MEASURES[goal.measure]
        other = best(known, key=lambda cell: cell.median(read) or 0.0)
        if (measured := ratio(ours, other, goal.measure)) is not None:
            yield Reached(goal, ours, other, measured)
