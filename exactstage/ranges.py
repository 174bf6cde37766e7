"""Ranges: reads given ranges of offsets, each partition in order up to its end.

What a takeover restores, an audit compares and an operator's command looks for is read so. Who
follows topics without an end uses a ``Reader`` (``reading``).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

from .errors import PositionLost, Stalled, UnreadableBatch
from .log import Bounds, Log, Reader, Record, TopicPartition, unread
from .pauses import PAUSES

LIMIT_SECONDS = 20.0
"""How long records may fail to come."""

TAKEOVER_LIMIT_SECONDS = 60.0
"""The same in a takeover, since a worker has nothing else to do."""

_FETCH_SECONDS = 5.0
_LEAST_FETCHES = 3
"""Fetches without a record after which reading may be given up."""

_PROGRESS_SECONDS = 2.0

Ranges = Mapping[TopicPartition, Bounds]


Show = Callable[[str], None]
"""Gets the progress in words."""

OnUnreadable = Callable[[UnreadableBatch, int], Sequence[Record] | None]
"""Gets a batch that can't be decoded, and the last offset that is skipped for it: that of the
range, where the end of the batch is not known. The records that it returns come in its place.
"""


class Closing(aclosing[AsyncGenerator[tuple[TopicPartition, Sequence[Record]], None]]):
    """``contextlib.aclosing`` for a coroutine that may be thrown away, as with a killed machine.

    Such a coroutine can't await: its generator is thrown away with it.
    """

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the generator."""
        if exc_info[0] is not GeneratorExit:
            await super().__aexit__(*exc_info)


def show_nothing(progress: str) -> None:
    """Show nothing."""
    del progress


async def read_ranges(
    log: Log,
    ranges: Ranges,
    *,
    committed_only: bool,
    closing: bytes | None = None,
    limit_seconds: float = LIMIT_SECONDS,
    on_unreadable: OnUnreadable | None = None,
    skip_by_header: bool = False,
    show: Show = show_nothing,
) -> AsyncGenerator[tuple[TopicPartition, Sequence[Record]], None]:
    """Yield the records in these ranges: some of one partition at a time, at least one.

    ``committed_only`` and ``closing`` are those of ``Log.open_reader``. ``show`` gets the progress
    every two seconds. ``on_unreadable`` gets each batch that can't be decoded, which is skipped.
    Where the damage hides the batch's end, its whole range is skipped; with ``skip_by_header`` only
    as much as its header says, which may be damaged too: for who reports the batch anyway.

    Raises ``UnreadableBatch`` at such a batch if there is no ``on_unreadable``, ``PositionLost``
    where a partition has lost the start or the end of its range since, and ``Stalled`` when no
    record comes for ``limit_seconds``. Nothing is read where all ranges are empty.

    The reader stays open until all is read, or the generator is closed: who may leave it before, be
    it by an error, reads within ``contextlib.aclosing``.
    """
    if not any(first < end for first, end in ranges.values()):
        return
    reader = await log.open_reader(committed_only=committed_only, closing=closing)
    try:
        async for found in read_with(
            log,
            reader,
            ranges,
            limit_seconds=limit_seconds,
            on_unreadable=on_unreadable,
            skip_by_header=skip_by_header,
            show=show,
        ):
            yield found
    finally:
        await reader.close()


async def read_with(
    log: Log,
    reader: Reader,
    ranges: Ranges,
    *,
    limit_seconds: float = LIMIT_SECONDS,
    on_unreadable: OnUnreadable | None = None,
    skip_by_header: bool = False,
    show: Show = show_nothing,
) -> AsyncGenerator[tuple[TopicPartition, Sequence[Record]], None]:
    """Do what ``read_ranges`` does with a reader that the caller has opened and closes."""
    ends = {at: end for at, (first, end) in ranges.items() if first < end}
    reader.assign({at: ranges[at].first for at in ends}, ends=ends)
    now = asyncio.get_running_loop().time
    count, total = 0, sum(ranges[at].end - ranges[at].first for at in ends)
    began = moved = shown = now()
    fruitless = 0
    patience = min(_FETCH_SECONDS, limit_seconds)
    while unread(reader.positions(), ends):
        before = dict(reader.positions())
        try:
            fetched = await reader.fetch(timeout_seconds=patience)
        except UnreadableBatch as batch:
            at = TopicPartition(batch.topic, batch.partition)
            end_is_known = batch.end_is_known or skip_by_header
            fetched = {at: _skip(reader, batch, ends, on_unreadable, end_is_known=end_is_known)}
        for at, records in fetched.items():
            found, end = records, ranges[at].end
            if found and found[-1].offset >= end:
                found = [record for record in found if record.offset < end]
            if not found:
                continue
            count += len(found)
            yield at, found
            if (time := now()) - shown >= _PROGRESS_SECONDS:
                shown = time
                show(_progress(at, count, total, time - began))
        if before != reader.positions():
            moved, fruitless = now(), 0
        else:
            # Before the ends are asked for: while no broker can be reached that takes long too, and
            # its answer shows that the next fetch may get its own.
            seconds = now() - moved - PAUSES.within(moved)
            await _require_ends(log, reader, ends)
            fruitless += 1
            # A process that was paused has asked once only, and may get its answer now.
            if seconds >= limit_seconds and fruitless >= _LEAST_FETCHES:
                positions = reader.positions()
                raise Stalled({at: positions[at] for at in unread(positions, ends)}, seconds)


def _skip(
    reader: Reader,
    batch: UnreadableBatch,
    ends: dict[TopicPartition, int],
    on_unreadable: OnUnreadable | None,
    *,
    end_is_known: bool,
) -> Sequence[Record]:
    """Continue after a batch that can't be decoded; return what comes in its place.

    Raises it without ``on_unreadable``.
    """
    at = TopicPartition(batch.topic, batch.partition)
    end = ends[at]
    if batch.offset >= end:
        reader.skip(batch)
        return ()
    if on_unreadable is None:
        raise batch
    found = on_unreadable(batch, batch.last_offset if end_is_known else end - 1)
    if end_is_known:
        reader.skip(batch)
    else:
        del ends[at]
        reader.assign({tp: reader.positions()[tp] for tp in ends}, ends=ends)
    return found or ()


async def _require_ends(log: Log, reader: Reader, ends: Mapping[TopicPartition, int]) -> None:
    """Raise ``PositionLost`` where a partition has become shorter: its end would never come."""
    for at, held in (await log.bounds(unread(reader.positions(), ends))).items():
        if held.end < ends[at]:
            raise PositionLost(f"{at} ended at {ends[at]} before, and ends at {held.end} now")


def _progress(at: TopicPartition, count: int, total: int, seconds: float) -> str:
    """Return how far the reading is; some offsets of the total may have no record."""
    rate = count / seconds if seconds else 0.0
    left = max(0, total - count) / rate if rate else 0.0
    return (
        f"{at.topic}: {count:,} of about {total:,} records, {rate:,.0f}/s, about {left:.0f} s left"
    )


def partitions_of(topic: str, partitions: int) -> list[TopicPartition]:
    """Return the partitions of a topic."""
    return [TopicPartition(topic, partition) for partition in range(partitions)]
