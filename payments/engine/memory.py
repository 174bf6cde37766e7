"""The log in memory: the same promises as a broker's, for tests and simulation.

It checks what a broker checks (epochs, sequences), writes what a broker writes (control records
that take an offset and are never shown, timestamps of arrival), and knows nothing of the engine's
use of it.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .engine import wall_clock_ms
from .errors import FailStop, Fenced, PositionLost
from .log import (
    SEQUENCE_MODULUS,
    Batch,
    Bounds,
    Headers,
    Lane,
    NewRecord,
    Record,
    TopicPartition,
    Writer,
)


@dataclass(slots=True)
class _Partition:
    records: list[Record] = field(default_factory=list)
    end: int = 0
    epochs: dict[int, int] = field(default_factory=dict)
    sequences: dict[int, int] = field(default_factory=dict)


class MemoryLog:
    """See ``payments.engine.log.Log``. Several engines may share one, like workers a broker."""

    def __init__(
        self,
        topics: Iterable[str],
        partitions: int,
        clock_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._partitions = {
            TopicPartition(topic, partition): _Partition()
            for topic in topics
            for partition in range(partitions)
        }
        self._counts = {at.topic: partitions for at in self._partitions}
        self._clock_ms = clock_ms
        self._next_producer_id = 0
        self._claims: dict[str, Writer] = {}
        self._grown = asyncio.Event()

    async def start(self, topics: Sequence[str]) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to give back."""

    def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has. Raises ``FailStop`` when there is none."""
        if topic not in self._counts:
            message = f"there is no topic {topic}"
            raise FailStop(message)
        return self._counts[topic]

    async def new_writer(self) -> Writer:
        """Return a plain writer."""
        self._next_producer_id += 1
        return Writer(self._next_producer_id, 0)

    async def claim(self, name: str, fenced: Sequence[TopicPartition]) -> Writer:
        """Raise the epoch of ``name`` and leave it in each of these partitions."""
        held = self._claims.get(name)
        if held is None:
            writer = await self.new_writer()
        else:
            writer = Writer(held.producer_id, held.epoch + 1)
        self._claims[name] = writer
        self._mark(writer, fenced)
        return writer

    async def renew(self, name: str, writer: Writer, fenced: Sequence[TopicPartition]) -> None:
        """Leave the epoch in these partitions once more."""
        if self._claims[name].epoch != writer.epoch:
            message = f"{name} was claimed by another worker"
            raise Fenced(message)
        self._mark(writer, fenced)

    def _mark(self, writer: Writer, at: Sequence[TopicPartition]) -> None:
        for tp in at:
            partition = self._partitions[tp]
            if partition.epochs.get(writer.producer_id, -1) < writer.epoch:
                partition.sequences[writer.producer_id] = 0
            partition.epochs[writer.producer_id] = writer.epoch
            partition.end += 1

    async def append(self, batches: Sequence[Batch], lane: Lane) -> Mapping[TopicPartition, int]:  # noqa: ARG002 - one lane is as good as another here
        """Append each batch whole; return the offset of each first record."""
        offsets = {batch.at: self._append(batch) for batch in batches}
        self._grown.set()
        await asyncio.sleep(0)
        return offsets

    def _append(self, batch: Batch) -> int:
        partition = self._partitions[batch.at]
        writer = batch.writer
        known = partition.epochs.get(writer.producer_id, -1)
        if writer.epoch < known:
            message = f"an append to {batch.at} was refused: epoch {writer.epoch} < {known}"
            raise Fenced(message)
        if writer.epoch > known:
            partition.epochs[writer.producer_id] = writer.epoch
            partition.sequences[writer.producer_id] = 0
        count = len(batch.records)
        sequence = writer.take_sequence(batch.at, count)
        expected = partition.sequences[writer.producer_id]
        if sequence != expected:
            message = f"an append to {batch.at} was refused: sequence {sequence}, not {expected}"
            raise FailStop(message)
        partition.sequences[writer.producer_id] = (sequence + count) % SEQUENCE_MODULUS
        return self._store(batch.at, batch.records)

    def _store(self, at: TopicPartition, records: Sequence[NewRecord]) -> int:
        partition = self._partitions[at]
        first, now_ms = partition.end, self._clock_ms()
        partition.records += [
            Record(*at, first + index, now_ms, key, value, tuple(headers))
            for index, (key, value, headers) in enumerate(records)
        ]
        partition.end += len(records)
        return first

    def produce(
        self, at: TopicPartition, key: bytes | None, value: bytes | None, headers: Headers = ()
    ) -> int:
        """Append one record as a client would; return its offset."""
        offset = self._store(at, [(key, value, list(headers))])
        self._grown.set()
        return offset

    def records(self, topic: str) -> list[Record]:
        """Return all records of a topic, partition by partition."""
        return [
            record
            for at, partition in self._partitions.items()
            if at.topic == topic
            for record in partition.records
        ]

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Return what each partition holds."""
        return {tp: Bounds(0, self._partitions[tp].end) for tp in at}

    async def offsets_since(
        self, at: Sequence[TopicPartition], time_ms: int
    ) -> Mapping[TopicPartition, int]:
        """Return the offset of the first record of that time or later; else the end."""
        return {
            tp: next(
                (r.offset for r in self._partitions[tp].records if r.timestamp >= time_ms),
                self._partitions[tp].end,
            )
            for tp in at
        }

    async def open_reader(self, *, committed_only: bool) -> "MemoryReader":  # noqa: ARG002 - no data is ever in a transaction here
        """Return a reader."""
        return MemoryReader(self)

    def read(self, at: TopicPartition, offset: int) -> list[Record]:
        """Return the records of a partition from ``offset`` on."""
        partition = self._partitions[at]
        if offset > partition.end:
            message = f"{at} ends at {partition.end}, before {offset}"
            raise PositionLost(message)
        records = partition.records
        first = len(records)
        while first and records[first - 1].offset >= offset:
            first -= 1
        return records[first:]

    def end(self, at: TopicPartition) -> int:
        """Return the offset after the last record of a partition."""
        return self._partitions[at].end

    async def grown(self, timeout_seconds: float) -> None:
        """Wait until something is appended, or the time is over."""
        self._grown.clear()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._grown.wait()
        except TimeoutError:
            return


class MemoryReader:
    """See ``payments.engine.log.Reader``."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._positions: dict[TopicPartition, int] = {}

    def assign(self, positions: Mapping[TopicPartition, int]) -> None:
        """Read these partitions, each from its offset."""
        self._positions = dict(positions)

    async def fetch(self, *, timeout_seconds: float) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return what is there, or what comes before the timeout."""
        fetched = self._take()
        if not fetched:
            await self._log.grown(timeout_seconds)
            fetched = self._take()
        return fetched

    def _take(self) -> dict[TopicPartition, list[Record]]:
        fetched = {}
        for at, position in self._positions.items():
            if records := self._log.read(at, position):
                fetched[at] = records
            self._positions[at] = self._log.end(at)
        return fetched

    def positions(self) -> Mapping[TopicPartition, int]:
        """Return the next offset of each partition."""
        return self._positions

    async def close(self) -> None:
        """Nothing to give back."""
