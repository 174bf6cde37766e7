"""Figures: what single runs measured, and the medians that stand for several of them."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from tools.bench.latencies import Figures

OURS = "payments"


@dataclass(frozen=True, slots=True)
class Run:
    """One load on one system; CPU in microseconds per payment, None where it is not known."""

    load: Figures
    worker_us: float | None
    broker_us: float | None


@dataclass(frozen=True, slots=True)
class Medians:
    """Each value is the median of its own over the runs."""

    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    worker_us: float | None
    broker_us: float | None


@dataclass(slots=True)
class Cell:
    """One row of the table: all runs at one setting, by system, in the order they were made."""

    partitions: int
    flush: bool
    concurrency: int
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def add(self, system: str, run: Run) -> None:
        """Add one run of a system."""
        self.runs.setdefault(system, []).append(run)

    def ratio(self, other: str) -> float:
        """Return how much faster we are: the median over the pairs that ran one after the other."""
        pairs = zip(self.runs[OURS], self.runs[other], strict=True)
        return statistics.median(
            ours.load.rate / theirs.load.rate if theirs.load.rate else float("inf")
            for ours, theirs in pairs
        )


@dataclass(frozen=True, slots=True)
class RestoreFigures:
    """What a worker needs to take over stored payments, and to keep them."""

    payments: int
    partitions: int
    records: int
    restore_seconds: float
    ready_seconds: float
    """From the start of the process to its readiness, everything included."""

    empty_bytes: int | None
    full_bytes: int | None
    idle_percent: float | None

    @property
    def records_per_second(self) -> float:
        """Journal records that were read in a second."""
        return self.records / self.restore_seconds

    @property
    def bytes_per_payment(self) -> float | None:
        """Resident memory that one stored payment adds."""
        if self.empty_bytes is None or self.full_bytes is None:
            return None
        return (self.full_bytes - self.empty_bytes) / self.payments


def medians(runs: Iterable[Run]) -> Medians:
    """Return the median of each value. Raises ``statistics.StatisticsError`` without a run."""
    runs = list(runs)
    return Medians(
        rate=statistics.median(run.load.rate for run in runs),
        p50_ms=statistics.median(run.load.p50_ms for run in runs),
        p95_ms=statistics.median(run.load.p95_ms for run in runs),
        p99_ms=statistics.median(run.load.p99_ms for run in runs),
        worker_us=_median_of_known([run.worker_us for run in runs]),
        broker_us=_median_of_known([run.broker_us for run in runs]),
    )


def _median_of_known(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def faults(cells: Iterable[Cell]) -> dict[str, tuple[int, int, int]]:
    """Return payments answered, missing, and answered but not completed, by system."""
    found: dict[str, tuple[int, int, int]] = {}
    for cell in cells:
        for system, runs in cell.runs.items():
            answered, missing, not_completed = found.get(system, (0, 0, 0))
            found[system] = (
                answered + sum(run.load.payments for run in runs),
                missing + sum(run.load.missing for run in runs),
                not_completed + sum(run.load.not_completed for run in runs),
            )
    return found
