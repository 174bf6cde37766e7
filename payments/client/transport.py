"""Transport: what the client needs of Kafka, and the same over any ``Log`` of the engine.

The client decides what is sent, tried again and given up; a transport only tries once, and tells
whether what failed may have arrived.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from exactstage.kafka.appender import encode
from exactstage.kafka.standing import Standing
from exactstage.log import (
    Batch,
    Bounds,
    Channel,
    Cluster,
    Header,
    Reader,
    Record,
    TopicPartition,
    Writer,
)
from exactstage.memory import MemoryLog
from exactstage.troubles import Trouble


class Unavailable(Exception):
    """The brokers could not do it just now: it may be tried again."""


class Failure(NamedTuple):
    """Why a batch was not acknowledged."""

    error: Exception
    arrived: bool
    """Whether the broker may have it nevertheless."""

    retriable: bool


class Chunk(NamedTuple):
    """Records of one partition in order, and the offset at which the next chunk begins."""

    records: Sequence[Record]
    position: int
    stable: int = 0
    """The partition's last stable offset: what comes behind it waits for an open transaction."""

    end: int = 0
    """The partition's end."""


def standing_at(
    position: int, chunk: Chunk, before: Standing | None, now: float
) -> Standing | None:
    """Return how a partition stands, of which this chunk was read from ``position``.

    None where records came, or there are none. ``before`` is how it stood at the look before.
    """
    if chunk.position != position or chunk.end <= position:
        return None
    same = before is not None and before.stable == chunk.stable
    since = before.since if before is not None and same else now
    return Standing(position, chunk.stable, chunk.end, since)


Command = tuple[bytes, bytes, list[Header]]
"""Key, value and headers of a record."""


class Transport(Protocol):
    """One cluster. Methods raise ``Unavailable``, or ``FailStop`` for what no retry mends."""

    async def open(self, topics: Sequence[str]) -> None:
        """Connect anew, and learn where the partitions of ``topics`` are."""

    async def read_topics_too(self, topics: Sequence[str]) -> None:
        """Learn where the partitions of topics are that are read only now and then.

        Raises ``FailStop`` where this user may not read them.
        """

    async def close(self) -> None:
        """Close all connections; ``open`` may follow."""

    @property
    def failure(self) -> Exception | None:
        """Why no connection has been made yet, as far as it is known."""

    @property
    def trouble(self) -> str | None:
        """Why results can't be read just now; None when they can."""

    def standing(self) -> Sequence[Trouble]:
        """Return which partitions of the results stand still, however short it lasts."""

    def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has. Raises ``FailStop`` when there is none."""

    def leader(self, at: TopicPartition) -> int | None:
        """Return the node that takes appends for a partition; None while there is none."""

    def request_refresh(self) -> None:
        """Ask for the leaders again, without waiting for the answer."""

    async def new_writer(self) -> Writer:
        """Return an idempotent writer."""

    def seal(self, at: TopicPartition, writer: Writer, commands: Iterable[Command]) -> Any:
        """Make a batch that can be appended any number of times and is stored once."""

    async def append(
        self, node: int, batches: Mapping[TopicPartition, Any]
    ) -> Mapping[TopicPartition, Failure]:
        """Append sealed batches to partitions of one node, once; return what failed."""

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Return what each partition holds."""

    async def ends(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the end of each partition alone, which is half the work."""

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
        """Nothing to connect to."""
        await self._log.start(topics)

    async def read_topics_too(self, topics: Sequence[str]) -> None:
        """All are known."""

    async def close(self) -> None:
        """Nothing to give back: the log belongs to whoever made it."""

    @property
    def failure(self) -> Exception | None:
        """There never is one."""
        return None

    @property
    def trouble(self) -> str | None:
        """There never is one."""
        return None

    def standing(self) -> Sequence[Trouble]:
        """Return nothing: what is in memory answers at once."""
        return ()

    def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has."""
        return self._log.partition_count(topic)

    def leader(self, at: TopicPartition) -> int | None:
        """Return the one node."""
        del at
        return self._NODE

    def request_refresh(self) -> None:
        """There is nothing to learn."""

    async def new_writer(self) -> Writer:
        """Return a writer."""
        return await self._log.new_writer()

    def seal(self, at: TopicPartition, writer: Writer, commands: Iterable[Command]) -> Batch:
        """Make a batch. Raises what a broker's would: it is encoded for that alone."""
        records = list(commands)
        encode(Batch(at, Writer(writer.producer_id, writer.epoch), records))
        return Batch(at, writer, records)

    async def append(
        self, node: int, batches: Mapping[TopicPartition, Batch]
    ) -> Mapping[TopicPartition, Failure]:
        """Append the batches."""
        del node
        await self._log.append(list(batches.values()), Channel.JOURNAL)
        return {}

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Return what each partition holds."""
        return await self._log.bounds(at)

    async def ends(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the end of each partition alone."""
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
