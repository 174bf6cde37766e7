"""What a load measured: how many answers in which time, and how long each took."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999, 1.0)
"""Where the distribution of latencies is read for a picture of it."""

SLICE_SECONDS = 0.1
"""Width of one step of the timeline."""


@dataclass
class Figures:
    """What one run measured."""

    payments: int
    seconds: float
    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    not_completed: int
    missing: int
    client_us: float | None = None
    """CPU that the load itself used per payment."""

    quantiles_ms: list[float] = field(default_factory=list)
    """Latency at each of ``SHARES``."""

    timeline: list[int] = field(default_factory=list)
    """Answers in each ``SLICE_SECONDS`` since the start."""


class Stopwatch:
    """Notes each answer of a run as it comes."""

    def __init__(self) -> None:
        self._cpu_at_start = time.process_time()
        self._started = time.perf_counter()
        self.not_completed = 0
        self._latencies: list[float] = []
        self._ends: list[float] = []

    def note(self, sent_at: float, now: float) -> None:
        """Note one answer; both times are those of ``time.perf_counter``."""
        self._latencies.append(now - sent_at)
        self._ends.append(now)

    def figures(self, missing: int) -> Figures:
        """Return the figures of the run that ends now."""
        took = time.perf_counter() - self._started
        cpu_seconds = time.process_time() - self._cpu_at_start
        answered = len(self._latencies)
        ordered = sorted(self._latencies) or [0.0]
        return Figures(
            payments=answered,
            seconds=round(took, 3),
            rate=round(answered / took, 1),
            p50_ms=_at(ordered, 0.5),
            p95_ms=_at(ordered, 0.95),
            p99_ms=_at(ordered, 0.99),
            max_ms=_at(ordered, 1.0),
            not_completed=self.not_completed,
            missing=missing,
            client_us=round(1e6 * cpu_seconds / answered, 1) if answered else None,
            quantiles_ms=[_at(ordered, share) for share in SHARES],
            timeline=self._timeline(took),
        )

    def _timeline(self, took: float) -> list[int]:
        steps = [0] * (int(took / SLICE_SECONDS) + 1)
        for end in self._ends:
            steps[int((end - self._started) / SLICE_SECONDS)] += 1
        return steps


def _at(ordered: Sequence[float], share: float) -> float:
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)
