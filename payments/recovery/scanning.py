"""Scanning: reads all records of given ranges of offsets, each partition in order."""

import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from exactstage import Log, Record, TopicPartition
from exactstage.errors import FailStop, UnreadableBatch
from exactstage.log import Bounds, Reader

FETCH_SECONDS = 5.0
FIRST_FETCH_SECONDS = 0.05
"""A fetch may bring nothing but control records, which only move the position."""

STALLED_FETCHES = 4
PROGRESS_SECONDS = 2.0

Show = Callable[[str], None]
OnUnreadable = Callable[[UnreadableBatch], None]


def show_nothing(progress: str) -> None:
    """Show nothing."""
    del progress


async def scan(
    log: Log,
    ranges: Mapping[TopicPartition, Bounds],
    *,
    committed_only: bool = True,
    show: Show = show_nothing,
    on_unreadable: OnUnreadable | None = None,
) -> AsyncIterator[Sequence[Record]]:
    """Yield the records of these ranges, some of one partition at a time.

    ``show`` gets the progress every two seconds. ``on_unreadable`` gets each batch that can't be
    read, which is then skipped; without it, the batch is raised. Raises ``FailStop`` when no more
    records come although there are some: a transaction is open there, or the leader is down.
    """
    left = {at: end for at, (first, end) in ranges.items() if first < end}
    if not left:
        return
    total = sum(ranges[at].end - ranges[at].first for at in left)
    started = shown = time.monotonic()
    count = stalled = 0
    reader = await log.open_reader(committed_only=committed_only)
    try:
        reader.assign({at: ranges[at].first for at in left})
        while left:
            before = dict(reader.positions())
            patience = FETCH_SECONDS if stalled else FIRST_FETCH_SECONDS
            for at, fetched in (await _fetch(reader, patience, ranges, on_unreadable)).items():
                end = ranges[at].end
                records = fetched
                if records[-1].offset >= end:
                    records = [record for record in records if record.offset < end]
                count += len(records)
                if records:
                    yield records
            positions = reader.positions()
            left = {at: end for at, end in left.items() if positions[at] < end}
            stalled = stalled + 1 if before == positions else 0
            if stalled > STALLED_FETCHES:
                behind = ", ".join(f"{at}/{positions[at]}" for at in left)
                message = (
                    f"no record comes from {behind} on, although there are more: is a transaction "
                    f"of another producer open there, or its leader down? Try again later"
                )
                raise FailStop(message)
            now = time.monotonic()
            if now - shown >= PROGRESS_SECONDS:
                shown = now
                show(_progress(count, total, now - started))
    finally:
        await reader.close()


async def scan_readable(
    log: Log,
    ranges: Mapping[TopicPartition, Bounds],
    unreadable: Callable[[UnreadableBatch, int], None],
) -> AsyncIterator[Sequence[Record]]:
    """Yield all records that can be read, uncommitted ones too.

    ``unreadable`` gets each batch that can't be read, and the last offset that is skipped: that of
    the range where the batch's end is not known.
    """
    left = dict(ranges)
    while True:
        try:
            async for records in scan(log, left, committed_only=False):
                at = TopicPartition(records[0].topic, records[0].partition)
                left[at] = Bounds(records[-1].offset + 1, left[at].end)
                yield records
        except UnreadableBatch as batch:
            at = TopicPartition(batch.topic, batch.partition)
            last = batch.last_offset if batch.end_is_known else left[at].end - 1
            unreadable(batch, last)
            left[at] = Bounds(last + 1, left[at].end)
        else:
            return


async def _fetch(
    reader: Reader,
    patience: float,
    ranges: Mapping[TopicPartition, Bounds],
    on_unreadable: OnUnreadable | None,
) -> Mapping[TopicPartition, Sequence[Record]]:
    try:
        return await reader.fetch(timeout_seconds=patience)
    except UnreadableBatch as batch:
        if on_unreadable is None:
            raise
        if batch.offset < ranges[TopicPartition(batch.topic, batch.partition)].end:
            on_unreadable(batch)
        reader.skip(batch)
        return {}


def _progress(count: int, total: int, seconds: float) -> str:
    rate = count / seconds
    left = max(0, total - count) / rate if rate else 0
    return f"{count:,} of about {total:,} records, {rate:,.0f}/s, about {left:.0f} s left"


def partitions_of(topic: str, partitions: int) -> list[TopicPartition]:
    """Return the partitions of a topic."""
    return [TopicPartition(topic, partition) for partition in range(partitions)]
