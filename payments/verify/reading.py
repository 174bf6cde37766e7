"""Reading: hands what the log holds to an auditor, phase by phase, up to the ends at the start.

All records are read by the engine's reader, committed ones only. The auditor must not depend on how
far a worker has come meanwhile, so all ends are known before the first record is read.
"""

import time
from collections.abc import Callable, Mapping, Sequence

from payments.engine.log import Bounds, Log, Record, TopicPartition

from .auditor import Auditor
from .findings import Report

FETCH_SECONDS = 5.0
STALLED_FETCHES = 4
"""Fetches in a row without progress after which a partition's rest is given up."""

PROGRESS_SECONDS = 2.0

Show = Callable[[str], None]


async def audit(log: Log, auditor: Auditor, *, show: Show) -> Report:
    """Read everything that the auditor needs, and return its report.

    ``show`` is told how far it is, every two seconds. Raises what the log raises.
    """
    bounds: dict[TopicPartition, Bounds] = {}
    for topics in auditor.topics.phases:
        for topic in topics:
            auditor.require_partitions(topic, log.partition_count(topic))
        at = [TopicPartition(topic, p) for topic in topics for p in range(auditor.partitions)]
        bounds |= await log.bounds(at)
    for tp, (first, _) in bounds.items():
        auditor.begins(tp, first)
    reading = _Reading(log, auditor, bounds, show)
    for topics in auditor.topics.phases:
        await reading.read({tp for tp in bounds if tp.topic in topics})
    show("judging")
    return auditor.finish()


class _Reading:
    """Reads one phase after the other with one reader."""

    def __init__(
        self,
        log: Log,
        auditor: Auditor,
        bounds: Mapping[TopicPartition, Bounds],
        show: Show,
    ) -> None:
        self._log, self._auditor, self._bounds, self._show = log, auditor, bounds, show
        self._count = 0
        self._total = sum(end - first for first, end in bounds.values())
        self._started = self._shown = time.monotonic()

    async def read(self, partitions: set[TopicPartition]) -> None:
        """Read these partitions up to their ends."""
        starts = {tp: self._auditor.start_of(tp, self._bounds[tp].first) for tp in partitions}
        left = {tp for tp in partitions if starts[tp] < self._bounds[tp].end}
        self._total -= sum(starts[tp] - self._bounds[tp].first for tp in partitions)
        if not left:
            return
        reader = await self._log.open_reader(committed_only=True)
        try:
            reader.assign({tp: starts[tp] for tp in sorted(left)})
            stalled = 0
            while left:
                before = dict(reader.positions())
                fetched = await reader.fetch(timeout_seconds=FETCH_SECONDS)
                for tp, records in fetched.items():
                    self._take(tp, records)
                positions = reader.positions()
                left = {tp for tp in left if positions[tp] < self._bounds[tp].end}
                stalled = stalled + 1 if before == positions else 0
                if stalled >= STALLED_FETCHES:
                    break
            for tp in left:
                self._auditor.unread(tp, reader.positions()[tp], self._bounds[tp].end)
        finally:
            await reader.close()

    def _take(self, tp: TopicPartition, records: Sequence[Record]) -> None:
        end = self._bounds[tp].end
        if records[-1].offset >= end:
            records = [record for record in records if record.offset < end]
        self._auditor.read(records)
        self._count += len(records)
        now = time.monotonic()
        if now - self._shown >= PROGRESS_SECONDS:
            self._shown = now
            rate = self._count / (now - self._started)
            self._show(
                f"reading {tp.topic}: {self._count:,} of about {self._total:,} records, "
                f"{rate:,.0f}/s"
            )
