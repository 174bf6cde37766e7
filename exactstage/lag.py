"""Lag: how far the handling of each input partition is behind its end, for metrics.

The end is the one that the partition's leader named with its last answer to a fetch. How old the
oldest record behind it is can't be seen before it is read, so its age is bounded: it is later than
the record that was handled last, and than the last look at which nothing was left.
"""

from collections.abc import Iterable, Mapping
from time import monotonic

from .counts import Lag
from .journal import Journal
from .log import TopicPartition


class LagWatch:
    """Follows the input partitions of one worker, from look to look."""

    def __init__(self) -> None:
        self._since: dict[TopicPartition, float] = {}
        """When each partition was first seen."""
        self._all_handled: dict[TopicPartition, float] = {}
        """The last look at which nothing was left of it."""

    def look(self, journals: Iterable[Journal], ends: Mapping[TopicPartition, int]) -> None:
        """Note which partitions are handled up to their ends; to be called every second."""
        now = monotonic()
        since, all_handled = dict[TopicPartition, float](), dict[TopicPartition, float]()
        for at, position, _ in _inputs(journals):
            since[at] = self._since.get(at, now)
            if at in ends and position >= ends[at]:
                all_handled[at] = now
            elif at in self._all_handled:
                all_handled[at] = self._all_handled[at]
        self._since, self._all_handled = since, all_handled

    def lags(
        self, journals: Iterable[Journal], ends: Mapping[TopicPartition, int], now_ms: int
    ) -> Mapping[TopicPartition, Lag]:
        """Return the lag of each partition whose end is known; any thread may ask."""
        found: dict[TopicPartition, Lag] = {}
        for at, position, reached_ms in _inputs(journals):
            if at in ends:
                records = max(0, ends[at] - position)
                found[at] = Lag(records, self._seconds(at, reached_ms, now_ms) if records else 0.0)
        return found

    def _seconds(self, at: TopicPartition, reached_ms: int | None, now_ms: int) -> float:
        bounds = [] if reached_ms is None else [(now_ms - reached_ms) / 1000]
        if at in self._all_handled:
            bounds.append(monotonic() - self._all_handled[at])
        elif at in self._since and not bounds:
            bounds.append(monotonic() - self._since[at])
        return max(0.0, min(bounds, default=0.0))


def _inputs(journals: Iterable[Journal]) -> Iterable[tuple[TopicPartition, int, int | None]]:
    """Return position, and time of the record handled last, of each input partition."""
    for journal in journals:
        for topic, position in list(journal.inputs.items()):
            yield TopicPartition(topic, journal.partition), position, journal.reached.get(topic)
