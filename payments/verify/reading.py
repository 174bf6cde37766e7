"""Reading: feeds an auditor from the log, first the journals, then the topics around them.

The engine's reader reads all committed records. Workers may run during the audit: the auditor
compares everything with the ends of the journals, so the other topics are read after them.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence

from exactstage import Log, Record, TopicPartition
from exactstage.errors import UnreadableBatch
from exactstage.log import Bounds, Reader

from .auditor import Auditor
from .findings import Report

FETCH_SECONDS = 5.0
STALLED_FETCHES = 4
"""Consecutive fetches without progress after which the rest of a partition is reported unread."""

PROGRESS_SECONDS = 2.0
CATCH_UP_SECONDS = 20.0
"""Well under ``min.compaction.lag.ms`` in topics.yaml."""

Show = Callable[[str], None]


async def audit(log: Log, auditor: Auditor, *, show: Show) -> Report:
    """Read everything that the auditor needs, and return its report.

    ``show`` gets the progress every two seconds. Raises what the log raises.
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
    show("judging")
    return auditor.finish()


class _Reading:
    """Reads one phase after another, each partition up to an end that was noted before."""

    def __init__(self, log: Log, auditor: Auditor, show: Show) -> None:
        self._log, self._auditor, self._show = log, auditor, show
        self._count = self._total = 0
        self._started = self._shown = time.monotonic()

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
            ends = {at: end for at, (_, end) in (await self._bounds([topic])).items()}
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
        left = {at for at, end in ends.items() if starts[at] < end}
        if not left:
            return
        self._total += sum(ends[at] - starts[at] for at in left)
        reader = await self._log.open_reader(committed_only=True)
        try:
            reader.assign({at: starts[at] for at in sorted(left)})
            stalled = 0
            while left and stalled < STALLED_FETCHES:
                before = dict(reader.positions())
                await self._fetch(reader, ends)
                positions = reader.positions()
                left = {at for at in left if positions[at] < ends[at]}
                stalled = stalled + 1 if before == positions else 0
            for at in left:
                self._auditor.unread(at, reader.positions()[at], ends[at])
        finally:
            await reader.close()

    async def _fetch(self, reader: Reader, ends: Mapping[TopicPartition, int]) -> None:
        """Take what the next fetch brings; a batch that can't be read hides no other."""
        try:
            fetched = await reader.fetch(timeout_seconds=FETCH_SECONDS)
        except UnreadableBatch as batch:
            if batch.offset < ends[TopicPartition(batch.topic, batch.partition)]:
                self._auditor.unreadable(batch)
            reader.skip(batch)
            return
        for at, records in fetched.items():
            self._take(at, records, ends[at])

    def _take(self, at: TopicPartition, records: Sequence[Record], end: int) -> None:
        if records[-1].offset >= end:
            records = [record for record in records if record.offset < end]
        self._auditor.read(records)
        self._count += len(records)
        now = time.monotonic()
        if now - self._shown >= PROGRESS_SECONDS:
            self._shown = now
            rate = self._count / (now - self._started)
            self._show(
                f"reading {at.topic}: {self._count:,} of {self._total:,} records so far, "
                f"{rate:,.0f}/s"
            )
