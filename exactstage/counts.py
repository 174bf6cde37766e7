"""Counts: what an engine did since its start, and what it holds, for metrics."""

from collections.abc import Mapping
from typing import NamedTuple


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
