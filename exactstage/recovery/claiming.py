"""Claiming: all partitions of an application, owned by a tool instead of workers."""

import asyncio
from collections.abc import Iterable, Sequence

from exactstage.checkpoint import FENCE_KEY, MOVED_KEY
from exactstage.limits import Limits
from exactstage.log import NO_HEADERS, Batch, Channel, Log, NewRecord, TopicPartition, Writer
from exactstage.stage import Stage


class Claimed:
    """Partitions of an application, claimed by this process; all of them, unless some are named."""

    def __init__(
        self,
        log: Log,
        app_id: str,
        stages: Sequence[Stage],
        partitions: int | Iterable[int],
    ) -> None:
        self._log = log
        self.app_id, self.stages = app_id, stages
        self._partitions = range(partitions) if isinstance(partitions, int) else [*partitions]
        self.writers: dict[int, Writer] = {}
        """By partition, once they are claimed: what is appended with an older one is refused."""

    async def claim(self) -> None:
        """Claim every partition: the broker refuses later appends of older owners."""
        slots = asyncio.Semaphore(Limits().concurrent_claims)

        async def one(partition: int) -> None:
            async with slots:
                name, public = self._name(partition), self._public(partition)
                self.writers[partition] = await self._log.claim(name, public)

        await asyncio.gather(*map(one, self._partitions))

    async def require(self) -> None:
        """Raise ``Fenced`` when a worker has claimed a partition since."""
        for partition, writer in self.writers.items():
            await self._log.renew(self._name(partition), writer, self._public(partition))

    async def fence_journals(self) -> None:
        """Fence older owners of the journals, which may have been recreated."""
        for partition, writer in self.writers.items():
            journals = [TopicPartition(stage.changelog, partition) for stage in self.stages]
            await self._log.renew(self._name(partition), writer, journals)

    async def append(self, journal: TopicPartition, records: Sequence[NewRecord]) -> None:
        """Append records to a journal as one batch, which ends with a fence: it is the engine's."""
        fenced = [*records, (FENCE_KEY, None, NO_HEADERS)]
        batch = Batch(journal, self.writers[journal.partition], fenced)
        await self._log.append([batch], Channel.JOURNAL)

    async def mark_moved(self, where: str) -> None:
        """Mark all journals: a worker that takes one over ends, and names ``where`` they are."""
        marks = [(MOVED_KEY, where.encode(), NO_HEADERS), (FENCE_KEY, None, NO_HEADERS)]
        for stage in self.stages:
            batches = [
                Batch(TopicPartition(stage.changelog, partition), writer, marks)
                for partition, writer in self.writers.items()
            ]
            await self._log.append(batches, Channel.JOURNAL)

    def _name(self, partition: int) -> str:
        return f"{self.app_id}-{partition}"

    def _public(self, partition: int) -> list[TopicPartition]:
        topics = sorted({topic for stage in self.stages for topic in stage.public})
        return [TopicPartition(topic, partition) for topic in topics]
