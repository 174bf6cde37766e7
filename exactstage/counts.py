"""Counts: what an engine did since its start, and what it holds, for metrics.

They are plain numbers that the engine keeps for each append, takeover or run of records; what turns
them into metrics reads them in another thread, now and then.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from .log import Batch, Channel, Clock, TopicPartition
from .readiness import Readiness

APPEND_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the buckets in which appends are counted."""


JOINING, TAKING_OVER = "joins_group", "takes_over"
"""Phases of a worker that is not ready yet."""


class Histogram:
    """Numbers counted in buckets, of which each has an upper bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Of each bucket alone; the last one has no bound."""
        self.sum = 0.0

    def note(self, value: float, times: int = 1) -> None:
        """Count a number."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times


class AppendCounts:
    """What was appended on one channel, of journals or of outputs."""

    def __init__(self) -> None:
        self.seconds = Histogram(APPEND_SECONDS)
        """How long the appends took, retries included."""
        self.batches = self.records = 0

    def note(self, batches: Sequence[Batch], seconds: float) -> None:
        """Count one append."""
        self.seconds.note(seconds)
        self.batches += len(batches)
        for batch in batches:
            self.records += len(batch.records)


class Lag(NamedTuple):
    """How far the handling of one input partition is behind its end."""

    records: int
    seconds: float
    """For how long its oldest record that is not handled has been there, at most."""


class Counts(NamedTuple):
    """What an engine did since its start, and what it holds."""

    rows: Mapping[str, int]
    """Rows in memory, by stage. Where they are in local copies on disk, it is an estimate."""

    ready: bool
    """Whether it handles records: it has its partitions, and nothing stands still."""

    standing_partitions: int
    """Partitions that stand still: blocked by a transaction, without a leader, not answered."""

    standing_seconds: float
    """How long the longest of them has."""

    clock_difference_seconds: float
    """How far this machine's clock is ahead of the brokers'; negative when it is behind."""

    time_ms: int
    """The log's time, or this machine's while none is known: milliseconds since 1970, UTC."""

    handled: Mapping[str, int] = MappingProxyType({})
    """New records by stage."""

    dead_lettered: Mapping[str, Mapping[str, int]] = MappingProxyType({})
    """Dead letters by stage and reason."""

    phase: str = ""
    """What a worker that is not ready yet does, where its host knows: ``JOINING``,
    ``TAKING_OVER``; else ""."""

    troubles: Sequence[str] = ()
    """Kinds of what stood still at the last look."""

    owned_partitions: int = 0
    lags: Mapping[TopicPartition, Lag] = MappingProxyType({})
    """By input partition, where its end is known."""

    commits: int = 0
    """Commits journalled."""

    commit_rounds: int = 0
    """Appends that carried them."""

    commits_in_flight: int = 0
    """Commits that are sealed, and not published to their end."""

    appends: Mapping[Channel, AppendCounts] = MappingProxyType({})
    appended_bytes: Mapping[Channel, int] = MappingProxyType({})
    """Of batches as they are sent; a log in memory has none."""

    rebalances: int = 0
    """Assignments that this worker was given."""

    takeovers: int = 0
    takeover_seconds: Mapping[str, float] = MappingProxyType({})
    """How long each part of all takeovers took."""

    rows_taken_over: int = 0
    """Rows that takeovers found in the journals."""

    timers_overdue_seconds: Mapping[str, float] = MappingProxyType({})
    """For how long the oldest timer of a row is due, by the stages that have timers."""

    settings_differ: Mapping[str, int] = MappingProxyType({})
    """By setting (``Stage.settings``): partitions that were taken over within the last hour from an
    owner that decided by another value of it; settings with none are left out."""

    records_read: int = 0
    """Records that takeovers read for them."""

    recent_rows_taken_over: int = 0
    """Of ``rows_taken_over`` those of takeovers within the last hour."""

    recent_records_read: int = 0
    """Of ``records_read`` those of takeovers within the last hour."""

    standby_partitions: int = 0
    """Partitions of other workers whose journals are followed."""

    standby_lags: Mapping[str, int] = MappingProxyType({})
    """By how many records copies of other workers' journals are behind them, by stage."""

    installation: str | None = None
    """Id of the installation, once a journal is taken over."""


def nothing_done(stages: Iterable[str], readiness: Readiness, clock: Clock) -> Counts:
    """Return the counts of a worker whose engine is not open yet."""
    return Counts(
        rows=dict.fromkeys(stages, 0),
        ready=False,
        standing_partitions=readiness.standing_partitions,
        standing_seconds=readiness.standing_seconds,
        clock_difference_seconds=clock.difference_seconds,
        time_ms=clock.stamp_ms(),
        troubles=readiness.kinds,
    )
