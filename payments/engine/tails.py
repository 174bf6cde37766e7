"""Tails: how far publishing got on visible topics, as the last records there tell.

A visible topic has one writing stage, and a stage writes to its own partition number only; once the
partition is fenced, the position in its last record is the last one that was published.
"""

from collections.abc import Mapping, Sequence

from .errors import FailStop
from .log import Bounds, Log, Reader, Record, TopicPartition
from .outputs import POSITION_VISIBLE, Position, parse_source

NOTHING: Position = (0, -1)
"""Before every position: nothing was published yet, or retention has removed all of it."""

_FIRST_STEP = 16
_STEP_GROWTH = 16
_FETCH_SECONDS = 5.0
_STALLED_FETCHES = 12


async def last_positions(
    log: Log, stage: str, at: Sequence[TopicPartition]
) -> dict[TopicPartition, Position]:
    """Return the last position that ``stage`` wrote to each of these fenced partitions.

    Reads backwards in growing steps, since control records take offsets at the end of a partition.
    Records that are not the stage's own are passed over.
    """
    found: dict[TopicPartition, Position] = {}
    bounds = await log.bounds(at)
    starts = {tp: bounds[tp].end for tp in at}
    step = _FIRST_STEP
    reader = await log.open_reader(committed_only=False)
    try:
        while True:
            open_ends = {tp: starts[tp] for tp in at if tp not in found}
            open_ends = {tp: end for tp, end in open_ends.items() if end > bounds[tp].first}
            if not open_ends:
                break
            spans = {
                tp: Bounds(max(bounds[tp].first, end - step), end) for tp, end in open_ends.items()
            }
            found |= await _scan(reader, stage, spans)
            starts |= {tp: span.first for tp, span in spans.items()}
            step *= _STEP_GROWTH
    finally:
        await reader.close()
    return {tp: found.get(tp, NOTHING) for tp in at}


async def _scan(
    reader: Reader, stage: str, spans: Mapping[TopicPartition, Bounds]
) -> dict[TopicPartition, Position]:
    """Read these spans; return the last position of the stage in each that has one."""
    found: dict[TopicPartition, Position] = {}
    left = set(spans)
    reader.assign({tp: span.first for tp, span in spans.items()})
    stalled = 0
    while left:
        fetched = await reader.fetch(timeout_seconds=0.05 if not stalled else _FETCH_SECONDS)
        for tp, records in fetched.items():
            for record in records:
                position = _position(record, stage, tp.partition)
                if position is not None and record.offset < spans[tp].end:
                    found[tp] = position
        ends = reader.positions()
        done = {tp for tp in left if ends[tp] >= spans[tp].end}
        left -= done
        stalled = 0 if fetched or done else stalled + 1
        if stalled > _STALLED_FETCHES:
            message = f"the end of {', '.join(map(str, left))} can't be read; is its leader up?"
            raise FailStop(message)
    return found


def _position(record: Record, stage: str, partition: int) -> Position | None:
    """Return the position in the record's first ``ce_id``, when this stage wrote it."""
    for name, value in record.headers:
        if name == POSITION_VISIBLE and value is not None:
            try:
                source = parse_source(value)
            except ValueError:
                return None
            return source.position if source.name == f"{stage}/{partition}" else None
    return None
