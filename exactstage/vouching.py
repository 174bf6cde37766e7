"""Vouching: asks a sender's journal whether it has sent a message.

Messages of versions before do not say who owned their sender, and nor does a forged one. The
journal knows: every message is an output of a commit there.
"""

from collections.abc import Mapping, Sequence

from .checkpoint import FENCE_KEY, RESERVED, Checkpoint, decode_checkpoint
from .errors import JournalBroken
from .log import Bounds, Log, Record, TopicPartition
from .outputs import Source
from .ranges import TAKEOVER_LIMIT_SECONDS, read_with

_FIRST_STEP, _STEP_GROWTH = 1024, 8


class Vouching:
    """Asks journals, also those that other workers own."""

    def __init__(self, log: Log, changelogs: Mapping[str, str]) -> None:
        self._log = log
        self._changelogs = changelogs
        """By stage."""

    async def last_commit(self, source: Source, record: Record) -> int:
        """Return the last commit of the journal that has sent a message; 0 when it has not.

        A commit later than its last one has not been; one that the ring still has must have the
        message among its outputs. What an older commit sent is not known any more.
        """
        at = TopicPartition(self._changelogs[source.name.rpartition("/")[0]], source.partition)
        n, index = source.output_id
        checkpoints = await self._ring(at, n)
        last = max(checkpoints, default=0)
        if n not in checkpoints:
            return last if 0 < n < last else 0
        outputs = checkpoints[n].outputs
        if not 0 <= index < len(outputs):
            return 0
        sent = outputs[index]
        there = (record.topic, record.partition, record.key, record.value)
        return last if (sent.topic, sent.partition, sent.key, sent.value) == there else 0

    async def _ring(self, at: TopicPartition, wanted: int) -> dict[int, Checkpoint]:
        """Return the last checkpoints of a journal by number, down to ``wanted`` if it is there."""
        first, end = (await self._log.bounds([at]))[at]
        start, step = end, _FIRST_STEP
        found: dict[int, Checkpoint] = {}
        reader = await self._log.open_reader(committed_only=False)
        try:
            while start > first and min(found, default=wanted + 1) > wanted:
                before, start = start, max(first, start - step)
                step *= _STEP_GROWTH
                span = {at: Bounds(start, before)}
                async for _, records in read_with(
                    self._log, reader, span, limit_seconds=TAKEOVER_LIMIT_SECONDS
                ):
                    found |= _checkpoints(records)
        finally:
            await reader.close()
        return found


def _checkpoints(records: Sequence[Record]) -> dict[int, Checkpoint]:
    """Return the checkpoints among records of a journal by number."""
    found: dict[int, Checkpoint] = {}
    for record in records:
        key, value = record.key, record.value
        if not key or key[:1] != RESERVED or key == FENCE_KEY or value is None:
            continue
        try:
            checkpoint = decode_checkpoint(value)
        except JournalBroken:
            continue  # The next owner of that journal reports it; here it vouches for nothing.
        found[checkpoint.n] = checkpoint
    return found
