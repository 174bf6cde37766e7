"""Counts: what an engine did since its start, and what it holds, for metrics."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .log import Clock
from .readiness import Readiness


class Counts(NamedTuple):
    """What an engine did since its start, and what it holds."""

    handled: Mapping[str, int]
    """New records by stage."""

    dead_lettered: Mapping[str, Mapping[str, int]]
    """Dead letters by stage and reason."""

    rows: Mapping[str, int]
    """Rows in memory by stage."""

    owned_partitions: int
    ready: bool
    """Whether it handles records: it has its partitions, and nothing stands still."""

    standing_partitions: int
    """Partitions that stand still: blocked by a transaction, without a leader, not answered."""

    standing_seconds: float
    """How long the longest of them has."""

    commits: int
    """Commits journalled."""

    commit_rounds: int
    """Appends that carried them."""

    rows_taken_over: int
    """Rows that takeovers found in the journals."""

    records_read: int
    """Records that takeovers read for them."""

    clock_difference_seconds: float
    """How far this machine's clock is ahead of the brokers'; negative when it is behind."""


def nothing_done(stages: Iterable[str], readiness: Readiness, clock: Clock) -> Counts:
    """Return the counts of a worker whose engine is not open yet."""
    return Counts(
        handled={},
        dead_lettered={},
        rows=dict.fromkeys(stages, 0),
        owned_partitions=0,
        ready=False,
        standing_partitions=readiness.standing_partitions,
        standing_seconds=readiness.standing_seconds,
        commits=0,
        commit_rounds=0,
        rows_taken_over=0,
        records_read=0,
        clock_difference_seconds=clock.difference_seconds,
    )
