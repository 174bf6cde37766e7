"""Transport: the client's interface to Kafka, and an implementation over a log in memory.

The client decides what is sent, retried and dropped; a transport makes one attempt, and reports
whether a failed batch may have arrived.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from exactstage import Header, MemoryLog, TopicPartition
from exactstage.kafka import AppendFailure, Chunk, Standing, Trouble, encode_batch
from exactstage.log import Batch, Bounds, Channel, Cluster, Reader, Writer


class Unavailable(Exception):
    """The brokers can't do it now; a retry may succeed."""


def standing_at(
    position: int, chunk: Chunk, before: Standing | None, now: float
) -> Standing | None:
    """Return the ``Standing`` of a partition of which this chunk was read from ``position``.

    None if the chunk has records, or there are none. ``before`` is the result of the last chunk.
    """
    if chunk.position != position or chunk.end <= position:
        return None
    same = before is not None and before.stable == chunk.stable
    since = before.since if before is not None and same else now
    return Standing(position, chunk.stable, chunk.end, since)


CommandRecord = tuple[bytes, bytes, list[Header]]
"""Key, value and headers of a record."""


class Transport(Protocol):
    """One cluster. Methods raise ``Unavailable``, or ``FailStop`` when a retry can't help."""

    async def open(self, topics: Sequence[str]) -> None:
        """Connect again, and learn the leaders of ``topics``."""

    async def add_topics(self, topics: Sequence[str]) -> None:
        """Learn the leaders of topics that are read only on request.

        Raises ``FailStop`` when this user may not read them.
        """

    async def close(self) -> None:
        """Close all connections; ``open`` may follow."""

    @property
    def failure(self) -> Exception | None:
        """Why there is no connection yet, if it is known."""

    @property
    def trouble(self) -> str | None:
        """Why results can't be read now; None when they can."""

    def standing(self) -> Sequence[Trouble]:
        """Return the partitions of the results that stand still, even if only for a moment."""

    def partition_count(self, topic: str) -> int:
        """Return a topic's number of partitions. Raises ``FailStop`` when it does not exist."""

    def leader(self, at: TopicPartition) -> int | None:
        """Return the leader of a partition; None while it has none."""

    def request_refresh(self) -> None:
        """Ask for the leaders again, without waiting for the answer."""

    async def new_writer(self) -> Writer:
        """Return an idempotent writer."""

    def seal(self, at: TopicPartition, writer: Writer, commands: Sequence[CommandRecord]) -> Any:
        """Return a batch that is stored once, however often it is appended."""

    async def append(
        self, node: int, batches: Mapping[TopicPartition, Any]
    ) -> Mapping[TopicPartition, AppendFailure]:
        """Append sealed batches to partitions of one node, without a retry; return the failures."""

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Return the first offset and the end of each partition."""

    async def ends(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the end of each partition, with half the requests of ``bounds``."""

    async def describe(self, topics: Sequence[str]) -> Cluster:
        """Return the ids of the cluster and of these topics."""

    async def open_reader(self) -> Reader:
        """Return a reader of committed records."""

    async def read(
        self, at: TopicPartition, offset: int, *, max_bytes: int, headers: bool = True
    ) -> Chunk:
        """Return committed records from ``offset`` on: about ``max_bytes``, or none at the end.

        Without ``headers`` they may have none, which is faster.
        """


class LogTransport:
    """A transport over a log in memory: for ``payments.testing`` and the tests of a service."""

    _NODE = 0

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    async def open(self, topics: Sequence[str]) -> None:
        """Start the log, which has no connection."""
        await self._log.start(topics)

    async def add_topics(self, topics: Sequence[str]) -> None:
        """Do nothing: the log has all topics."""

    async def close(self) -> None:
        """Do nothing: the caller owns the log."""

    @property
    def failure(self) -> Exception | None:
        """Always None."""
        return None

    @property
    def trouble(self) -> str | None:
        """Always None."""
        return None

    def standing(self) -> Sequence[Trouble]:
        """Return nothing: partitions in memory answer at once."""
        return ()

    def partition_count(self, topic: str) -> int:
        """Return a topic's number of partitions."""
        return self._log.partition_count(topic)

    def leader(self, at: TopicPartition) -> int | None:
        """Return the only node."""
        del at
        return self._NODE

    def request_refresh(self) -> None:
        """Do nothing: the leader never changes."""

    async def new_writer(self) -> Writer:
        """Return a writer."""
        return await self._log.new_writer()

    def seal(self, at: TopicPartition, writer: Writer, commands: Sequence[CommandRecord]) -> Batch:
        """Return a batch. It is encoded only to raise the same errors as for a broker."""
        encode_batch(Batch(at, Writer(writer.producer_id, writer.epoch), commands))
        return Batch(at, writer, commands)

    async def append(
        self, node: int, batches: Mapping[TopicPartition, Batch]
    ) -> Mapping[TopicPartition, AppendFailure]:
        """Append the batches."""
        del node
        await self._log.append(list(batches.values()), Channel.JOURNAL)
        return {}

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Return the first offset and the end of each partition."""
        return await self._log.bounds(at)

    async def ends(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the end of each partition."""
        return {tp: held.end for tp, held in (await self._log.bounds(at)).items()}

    async def describe(self, topics: Sequence[str]) -> Cluster:
        """Return the ids of the log and of these topics."""
        return await self._log.describe(topics)

    async def open_reader(self) -> Reader:
        """Return a reader."""
        return await self._log.open_reader(committed_only=True)

    async def read(
        self, at: TopicPartition, offset: int, *, max_bytes: int, headers: bool = True
    ) -> Chunk:
        """Return all records from ``offset`` on."""
        del max_bytes, headers
        partition = self._log.partition(at)
        records, position = partition.read(offset, committed_only=True)
        return Chunk(records, position, partition.stable_end, partition.end)
