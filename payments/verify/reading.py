"""Reading: feeds an auditor from the log, first the journals, then the topics around them.

The engine's reader reads all committed records. Workers may run during the audit: the auditor
compares everything with the ends of the journals, so the other topics are read after them.
"""

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing

from exactstage import Log, TopicPartition
from exactstage.errors import Stalled
from exactstage.inspection import Show, read_ranges
from exactstage.log import Bounds

from .auditor import Auditor
from .findings import Report

LIMIT_SECONDS = 20.0
"""How long records may fail to come, before what is left is reported as unread."""

CATCH_UP_SECONDS = 20.0
"""Well under ``min.compaction.lag.ms`` in topics.yaml."""


async def audit(log: Log, auditor: Auditor, *, show: Show) -> Report:
    """Read everything that the auditor needs, and return its report.

    ``show`` gets the progress every two seconds. Raises what ``read_ranges`` and the log raise;
    what stalls is reported as unread.
    """
    counts = {t: log.partition_count(t) for topics in auditor.topics.phases for t in topics}
    for topic, partitions in auditor.added_partitions(counts).items():
        bounds = await log.bounds([TopicPartition(topic, p) for p in partitions])
        auditor.leave_out(topic, sum(end - first for first, end in bounds.values()))
    reading = _Reading(log, auditor, show)
    await reading.note_public_ends()
    for journal in auditor.topics.journals:
        await reading.journal(journal)
    await reading.records()
    show("everything is read: checking the guarantees")
    return auditor.finish()


class _Reading:
    """Reads one phase after another, each partition up to an end that was noted before."""

    def __init__(self, log: Log, auditor: Auditor, show: Show) -> None:
        self._log, self._auditor, self._show = log, auditor, show

    async def note_public_ends(self) -> None:
        """Note the ends of the public topics before the journals are read."""
        for at, (_, end) in (await self._bounds(self._auditor.topics.public)).items():
            self._auditor.shows(at, end)

    async def journal(self, topic: str) -> None:
        """Read a journal up to an end that is recent when it is reached.

        Compaction may remove a row as soon as a later one is older than ``min.compaction.lag.ms``.
        So where reading took long, it continues to the new end: a removed row's successor is there.
        """
        starts = {at: first for at, (first, _) in (await self._bounds([topic])).items()}
        took = math.inf
        while took > CATCH_UP_SECONDS:
            began = time.monotonic()
            bounds = await self._bounds([topic])
            self._auditor.holds(bounds)
            ends = {at: end for at, (_, end) in bounds.items()}
            await self._read(starts, ends)
            starts, took = ends, time.monotonic() - began

    async def records(self) -> None:
        """Read the other topics; all ends are noted before the first record is read."""
        phases = [
            t for t in self._auditor.topics.phases if t[0] not in self._auditor.topics.journals
        ]
        found = [await self._bounds(topics) for topics in phases]
        for bounds in found:
            for at, (first, _) in bounds.items():
                self._auditor.begins(at, first)
        for bounds in found:
            starts = {at: self._auditor.start_of(at, first) for at, (first, _) in bounds.items()}
            await self._read(starts, {at: end for at, (_, end) in bounds.items()})

    async def _bounds(self, topics: Sequence[str]) -> Mapping[TopicPartition, Bounds]:
        partitions = range(self._auditor.partitions)
        return await self._log.bounds([TopicPartition(t, p) for t in topics for p in partitions])

    async def _read(
        self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> None:
        ranges = {at: Bounds(starts[at], ends[at]) for at in sorted(ends)}
        try:
            async with aclosing(
                read_ranges(
                    self._log,
                    ranges,
                    committed_only=True,
                    limit_seconds=LIMIT_SECONDS,
                    on_unreadable=lambda batch, _last: self._auditor.unreadable(batch),
                    skip_by_header=True,
                    show=lambda progress: self._show(f"reading {progress}"),
                )
            ) as fetched:
                async for _, records in fetched:
                    self._auditor.read(records)
        except Stalled as stalled:
            for at, position in stalled.positions.items():
                self._auditor.unread(at, position, ends[at])
