"""The log in memory: the engine's interface to partitions that answer every request at once."""

import asyncio
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from exactstage.clock import wall_clock_ms
from exactstage.epochs import truncated_after_reading
from exactstage.errors import FailStop, UnreadableBatch
from exactstage.log import (
    NO_ENDS,
    NO_EPOCH,
    Batch,
    Bounds,
    Channel,
    Cluster,
    Headers,
    NewRecord,
    Record,
    TopicPartition,
    Writer,
    is_read,
)
from exactstage.troubles import Trouble

from .coordinator import Coordinator
from .partition import MemoryPartition


class MemoryClock:
    """See ``exactstage.log.Clock``: broker and worker share one clock here."""

    age_seconds = difference_seconds = 0.0
    is_known = True

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms

    def __call__(self) -> int:
        """Return the time."""
        return self._clock_ms()

    def stamp_ms(self) -> int:
        """Return the time: here it is always known."""
        return self._clock_ms()


class MemoryLog:
    """See ``exactstage.log.Log``. Several engines may share one, as workers share a broker."""

    def __init__(
        self,
        topics: Iterable[str],
        partitions: int,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._partitions = {
            TopicPartition(topic, partition): MemoryPartition(
                TopicPartition(topic, partition), clock_ms
            )
            for topic in topics
            for partition in range(partitions)
        }
        self.clock = MemoryClock(clock_ms)
        self._counts = {at.topic: partitions for at in self._partitions}
        self.topic_ids = {topic: f"id-of-{topic}" for topic in self._counts}
        self._coordinator = Coordinator()
        self.appended_bytes: Mapping[Channel, int] = {}
        """Nothing: batches are not encoded here."""

    async def start(self, topics: Sequence[str]) -> None:
        """Do nothing: there is no connection."""

    async def close(self) -> None:
        """Do nothing: there is no connection."""

    def troubles(self) -> Sequence[Trouble]:
        """Return nothing: partitions in memory answer at once."""
        return ()

    async def check_open_transactions(self, at: Sequence[TopicPartition]) -> None:
        """Do nothing: only claims begin transactions here, and end them at once."""

    def partition_count(self, topic: str) -> int:
        """Return a topic's number of partitions. Raises ``FailStop`` when it does not exist."""
        if topic not in self._counts:
            message = f"there is no topic {topic}"
            raise FailStop(message)
        return self._counts[topic]

    async def describe(self, topics: Sequence[str]) -> Cluster:
        """Return the ids of the cluster and of these topics. Raises ``FailStop`` without ids."""
        for topic in topics:
            self.partition_count(topic)
        return Cluster("memory", {topic: self.topic_ids[topic] for topic in topics})

    async def require_configs(
        self,
        *,
        inputs: Collection[str],  # noqa: ARG002 - nothing is configured here
        journals: Collection[str],  # noqa: ARG002 - nothing is configured here
    ) -> float:
        """Accept: nothing is configured, and tombstones stay for ever."""
        return math.inf

    async def losses(self, keeps: Mapping[str, float]) -> Sequence[str]:  # noqa: ARG002 - see above
        """Return nothing: no topic deletes records."""
        return ()

    async def new_writer(self) -> Writer:
        """Return a plain idempotent writer."""
        return self._coordinator.new_writer()

    async def claim(self, name: str, fenced: Sequence[TopicPartition]) -> Writer:
        """Raise the epoch of ``name`` and write it to each of these partitions."""
        writer = self._coordinator.initialise(name)
        await self.renew(name, writer, fenced)
        return writer

    async def renew(self, name: str, writer: Writer, fenced: Sequence[TopicPartition]) -> None:
        """Write the epoch to these partitions again."""
        self._coordinator.add(name, writer, fenced)
        self._coordinator.end(name, writer, commit=False)
        for tp in fenced:
            self._coordinator.mark(name, self._partitions[tp])

    async def append(
        self,
        batches: Sequence[Batch],
        channel: Channel,  # noqa: ARG002 - there are no connections here
    ) -> Mapping[TopicPartition, int]:
        """Append each batch as a whole; return the offsets of the first records."""
        offsets = {batch.at: self._append(batch) for batch in batches}
        await asyncio.sleep(0)
        return offsets

    def _append(self, batch: Batch) -> int:
        at, writer, records = batch
        sequence = writer.take_sequence(at, len(records))
        return self._partitions[at].append(writer, sequence, records, in_transaction=False)

    def produce(
        self, at: TopicPartition, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> int:
        """Append one record as a client would; return its offset."""
        return self._partitions[at].store([(key, value, list(headers))])

    def produce_unreadable(
        self, at: TopicPartition, records: int, reason: str, heads: Sequence[NewRecord] = ()
    ) -> UnreadableBatch:
        """Append a batch that brokers accept but readers can't decode; return it.

        ``heads`` are its first records, of which key and value can be read.
        """
        return self._partitions[at].store_unreadable(records, reason, heads)

    def records(self, topic: str) -> list[Record]:
        """Return all records of a topic, partition by partition."""
        return [
            record
            for at, partition in self._partitions.items()
            if at.topic == topic
            for record in partition.records
        ]

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Return the first offset and the end of each partition."""
        return {tp: self._partitions[tp].bounds for tp in at}

    async def epoch_ends(
        self, epochs: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, int]:
        """Return the offset where each of these leader epochs ends."""
        ends = {at: self._partitions[at].epoch_end(epoch) for at, epoch in epochs.items()}
        return {at: end for at, end in ends.items() if end is not None}

    async def offsets_since(
        self, at: Sequence[TopicPartition], time_ms: int
    ) -> Mapping[TopicPartition, int]:
        """Return the offset of the first record at or after that time; else the end."""
        return {tp: self._partitions[tp].offset_since(time_ms) for tp in at}

    async def open_reader(
        self, *, committed_only: bool, closing: bytes | None = None
    ) -> "MemoryReader":
        """Return a reader; ``closing`` is ignored, since batches are not kept."""
        del closing
        return MemoryReader(self, committed_only=committed_only)

    def partition(self, at: TopicPartition) -> MemoryPartition:
        """Return one partition."""
        return self._partitions[at]

    def end(self, at: TopicPartition) -> int:
        """Return the offset after the last record of a partition."""
        return self._partitions[at].end

    async def grown(
        self, timeout_seconds: float, at: Collection[TopicPartition] | None = None
    ) -> None:
        """Wait until one of these partitions grows (any of all), at most for the timeout."""
        grown = asyncio.Event()
        partitions = [self._partitions[each] for each in (self._partitions if at is None else at)]
        for partition in partitions:
            partition.waiting[grown] = None
        try:
            async with asyncio.timeout(timeout_seconds):
                await grown.wait()
        except TimeoutError:
            return
        finally:
            for partition in partitions:
                del partition.waiting[grown]


class MemoryReader:
    """See ``exactstage.log.Reader``."""

    def __init__(self, log: MemoryLog, *, committed_only: bool) -> None:
        self._log = log
        self._committed_only = committed_only
        self._positions: dict[TopicPartition, int] = {}
        self._epochs: dict[TopicPartition, int] = {}
        self._checks_epochs = False
        self._ends: Mapping[TopicPartition, int] = NO_ENDS
        self._claimants: dict[TopicPartition, set[int]] = {}

    def assign(
        self,
        positions: Mapping[TopicPartition, int],
        epochs: Mapping[TopicPartition, int] | None = None,
        *,
        ends: Mapping[TopicPartition, int] = NO_ENDS,
    ) -> None:
        """Read these partitions, each from its offset, and up to its end where it has one."""
        self._positions = dict(positions)
        self._epochs, self._checks_epochs = dict(epochs or {}), epochs is not None
        self._ends, self._claimants = ends, {}

    async def fetch(self, *, timeout_seconds: float) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return the next records, or those appended before the timeout; nothing at the ends."""
        fetched = self._take()
        try:
            async with asyncio.timeout(timeout_seconds):
                # More than once: what has grown may be of a transaction that has not ended.
                while not fetched and not self._is_read:
                    await self._log.grown(timeout_seconds, self._positions)
                    fetched = self._take()
        except TimeoutError:
            pass
        return fetched

    @property
    def _is_read(self) -> bool:
        return bool(self._ends) and is_read(self._positions, self._ends)

    def _take(self) -> dict[TopicPartition, Sequence[Record]]:
        fetched: dict[TopicPartition, Sequence[Record]] = {}
        for at, position in self._positions.items():
            if (batch := self._log.partition(at).unreadable_at(position)) is not None:
                raise batch
        for at, position in self._positions.items():
            if position >= self._ends.get(at, math.inf):
                continue
            partition = self._log.partition(at)
            if self._checks_epochs and (epoch := self._epochs.get(at)) is not None:
                end = partition.epoch_end(epoch)
                if end is not None and end < position <= partition.end:
                    raise truncated_after_reading(at, position, epoch, end)
            records, next_ = partition.read(position, committed_only=self._committed_only)
            if not self._committed_only:
                found = partition.claimants(position, next_)
                self._claimants.setdefault(at, set()).update(found)
            if next_ > position:
                self._moved(at, next_)
            if records:
                fetched[at] = records
        return fetched

    def _moved(self, at: TopicPartition, position: int) -> None:
        self._positions[at] = position
        if (epoch := self._log.partition(at).epoch_before(position)) > NO_EPOCH:
            self._epochs[at] = epoch

    def skip(self, batch: UnreadableBatch) -> None:
        """Continue after a batch that ``fetch`` has raised."""
        at = TopicPartition(batch.topic, batch.partition)
        if batch.offset <= self._positions.get(at, -1) <= batch.last_offset:
            self._moved(at, batch.last_offset + 1)

    def troubles(self) -> Sequence[Trouble]:
        """Return nothing: partitions in memory answer at once."""
        return ()

    def positions(self) -> Mapping[TopicPartition, int]:
        """Return the next offset of each partition."""
        return self._positions

    def seen_ends(self) -> Mapping[TopicPartition, int]:
        """Return the end of each partition."""
        return {at: self._log.end(at) for at in list(self._positions)}

    def end_asked(self, at: TopicPartition) -> float | None:
        """Return that the ends are those of this moment."""
        return math.inf if at in self._positions else None

    def epochs(self) -> Mapping[TopicPartition, int]:
        """Return the leader epoch of the last record read of each partition."""
        return self._epochs

    def claimants(self) -> Mapping[TopicPartition, AbstractSet[int]]:
        """Return the producers of the control records that were read."""
        return self._claimants

    async def close(self) -> None:
        """Do nothing: there is no connection."""
