"""Tails: how far publishing got on public topics, as the last records there show.

A public topic has one writing stage, and a stage writes to its own partition number only; once the
partition is fenced, the output id in its last record is the last one that was published. That
record also names the installation that wrote it.
"""

import logging
from collections.abc import Mapping
from typing import NamedTuple

from .errors import PositionLost
from .log import Bounds, Log, Reader, Record, TopicPartition
from .outputs import INSTALLATION, OUTPUT_ID_HEADER, OutputId, parse_source
from .ranges import TAKEOVER_LIMIT_SECONDS, read_with

logger = logging.getLogger(__name__)

NOTHING: OutputId = (0, -1)
"""Before every output: nothing was published yet, or retention has removed all of it."""

NO_OFFSET = -1


class Tail(NamedTuple):
    """What the end of a public partition shows."""

    held: Bounds
    """What the partition holds."""

    output_id: OutputId = NOTHING
    """Of the stage's last record there."""

    offset: int = NO_OFFSET
    """Where that record is."""

    installation: str | None = None
    """The installation that wrote it; None in records of versions before."""

    claimants: frozenset[int] = frozenset()
    """Producers of the control records at its end; of all that are there where it has no record."""


_FIRST_STEP = 64
_STEP_GROWTH = 16
_RETENTION_RACES = 3


async def read_tails(log: Log, writers: Mapping[TopicPartition, str]) -> dict[TopicPartition, Tail]:
    """Return the end of each of these fenced partitions, each with the stage that writes there.

    Reads backwards in growing steps, since control records take offsets at the end of a partition.
    Records that are not the stage's own are skipped. What retention deletes is at the other end of
    a partition, so reading it again is enough.
    """
    for _ in range(_RETENTION_RACES):
        try:
            return await _read_tails(log, writers)
        except PositionLost as lost:
            logger.info("the ends of public topics are read again: %s", lost)
    return await _read_tails(log, writers)


async def _read_tails(
    log: Log, writers: Mapping[TopicPartition, str]
) -> dict[TopicPartition, Tail]:
    found: dict[TopicPartition, Tail] = {}
    claimants: dict[TopicPartition, frozenset[int]] = {}
    at = list(writers)
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
            for tp, record in (await _scan(log, reader, writers, spans)).items():
                output_id, installation = _written(record, writers[tp]) or (NOTHING, None)
                found[tp] = Tail(bounds[tp], output_id, record.offset, installation)
            for tp, producers in reader.claimants().items():
                claimants[tp] = claimants.get(tp, frozenset()) | producers
            starts |= {tp: span.first for tp, span in spans.items()}
            step *= _STEP_GROWTH
    finally:
        await reader.close()
    none = frozenset[int]()
    return {
        tp: found.get(tp, Tail(bounds[tp]))._replace(claimants=claimants.get(tp, none)) for tp in at
    }


async def _scan(
    log: Log,
    reader: Reader,
    writers: Mapping[TopicPartition, str],
    spans: Mapping[TopicPartition, Bounds],
) -> dict[TopicPartition, Record]:
    """Read these spans; return the last record of the stage in each that has one."""
    found: dict[TopicPartition, Record] = {}
    async for tp, records in read_with(log, reader, spans, limit_seconds=TAKEOVER_LIMIT_SECONDS):
        stage = writers[tp]
        for record in records:
            if _written(record, stage) is not None:
                found[tp] = record
    return found


def _written(record: Record, stage: str) -> tuple[OutputId, str | None] | None:
    """Return the output id in the record's first ``ce_id`` and the installation behind it.

    None when the stage did not write the record.
    """
    headers = record.headers
    for index, (name, value) in enumerate(headers):
        if name == OUTPUT_ID_HEADER and value is not None:
            try:
                source = parse_source(value)
            except ValueError:
                return None
            if source.name != f"{stage}/{record.partition}":
                return None
            follower, installation = headers[index + 1] if index + 1 < len(headers) else ("", None)
            if follower != INSTALLATION or installation is None:
                return source.output_id, None
            return source.output_id, installation.decode(errors="replace")
    return None
