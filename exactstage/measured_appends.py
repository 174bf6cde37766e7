"""Appends to a log, counted and timed for metrics."""

from collections.abc import Mapping, Sequence
from time import perf_counter

from .counts import AppendCounts
from .log import Batch, Channel, Log, TopicPartition


class MeasuredAppends:
    """Appends to a log as it does itself."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.counts = {channel: AppendCounts() for channel in Channel}
        """What was appended since the start."""

    async def append(
        self, batches: Sequence[Batch], channel: Channel
    ) -> Mapping[TopicPartition, int]:
        """Append batches; see ``exactstage.log.Log``."""
        began = perf_counter()
        offsets = await self._log.append(batches, channel)
        self.counts[channel].note(batches, perf_counter() - began)
        return offsets
