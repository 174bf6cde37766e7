"""From the runs of several parts to one figure each: medians, spreads, ratios in pairs."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from tools.bench.peers.parts import Load, Part


@dataclass(frozen=True, slots=True)
class Cell:
    """All runs of one system at one load, by repeat."""

    transport: str
    system: str
    name: str
    durability: str
    workload: str
    concurrency: int
    loads: dict[int, Load]

    def median(self, measure: Callable[[Load], float | None]) -> float | None:
        """Return the median of one measure over the runs in which it is known."""
        known = [value for load in self.loads.values() if (value := measure(load)) is not None]
        return statistics.median(known) if known else None

    def rates(self) -> list[float]:
        """Return payments/s of all runs."""
        return [load.figures.rate for load in self.loads.values()]

    def processes(self) -> Sequence[str]:
        """Return the names of the system's processes."""
        return list(next(iter(self.loads.values())).cpu_us)


def cells(parts: Iterable[Part]) -> list[Cell]:
    """Return the cells of all parts, in the order in which they were met."""
    found: dict[tuple[str, str, str, int], Cell] = {}
    for part in parts:
        for load in part.loads:
            key = part.transport, part.system, load.workload, load.concurrency
            cell = found.get(key)
            if cell is None:
                cell = found[key] = Cell(
                    part.transport,
                    part.system,
                    part.name,
                    part.durability,
                    load.workload,
                    load.concurrency,
                    {},
                )
            cell.loads[part.repeat] = load
    return list(found.values())


def total_cpu_us(load: Load) -> float | None:
    """Return the CPU of all processes per payment; None when one of them is not known."""
    used = list(load.cpu_us.values())
    return None if None in used else sum(value for value in used if value is not None)


MEASURES: dict[str, Callable[[Load], float | None]] = {
    "payments/s": lambda load: load.figures.rate,
    "p50": lambda load: load.figures.p50_ms,
    "p99": lambda load: load.figures.p99_ms,
    "CPU per payment": total_cpu_us,
}


def ratio(ours: Cell, theirs: Cell, measure: str) -> float | None:
    """Return ours through theirs: the median over the repeats in which both ran."""
    read = MEASURES[measure]
    pairs = []
    for repeat, load in ours.loads.items():
        other = theirs.loads.get(repeat)
        mine, yours = read(load), read(other) if other is not None else None
        if mine is not None and yours:
            pairs.append(mine / yours)
    return statistics.median(pairs) if pairs else None
