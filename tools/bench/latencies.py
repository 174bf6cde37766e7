"""What a load measured: how many answers in which time, and how long each took."""

import time
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run measured: from sending a request to reading its answer."""

    payments: int
    seconds: float
    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    not_completed: int
    missing: int
    client_us: float | None = None
    """CPU that the load itself used per payment."""


class Stopwatch:
    """Notes each answer of a run as it comes."""

    def __init__(self) -> None:
        self._cpu_at_start = time.process_time()
        self._started = time.perf_counter()
        self.not_completed = 0
        self._latencies: list[float] = []

    def note(self, sent_at: float, now: float) -> None:
        """Note one answer; both times are those of ``time.perf_counter``."""
        self._latencies.append(now - sent_at)

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
            p50_ms=at_share(ordered, 0.5),
            p95_ms=at_share(ordered, 0.95),
            p99_ms=at_share(ordered, 0.99),
            not_completed=self.not_completed,
            missing=missing,
            client_us=round(1e6 * cpu_seconds / answered, 1) if answered else None,
        )


def at_share(ordered: Sequence[float], share: float) -> float:
    """Return the latency (ms) that a share of the payments took no longer than."""
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)
