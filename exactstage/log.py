"""The log as the engine sees it: claim, append, read. Kafka behind one small interface.

This module is for programs that read or write topics without a stage. Two implementations stand
behind it: ``kafka`` (a broker) and ``memory`` (one process, for tests and simulation). Both keep
the promises that the engine is built on (docs/design.md 4.3, 4.4):

- a batch is appended whole or not at all, and once, however often it is retried;
- a claim raises the epoch of a name, and from its return on no batch of an older epoch is accepted
  on the partitions that it fenced;
- a claimed writer that is refused learns so by ``Fenced``.
"""

from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple, Protocol

from .errors import UnreadableBatch
from .record import Header, Headers, Record, TopicPartition
from .troubles import Trouble

__all__ = [
    "NO_HEADERS",
    "Batch",
    "Bounds",
    "Channel",
    "Cluster",
    "Header",
    "Headers",
    "Log",
    "NewRecord",
    "Reader",
    "Record",
    "TopicPartition",
    "Writer",
]

SEQUENCE_MODULUS = 2**31
"""Sequence numbers are 32 bits and continue at 0 (``DefaultRecordBatch.incrementSequence``)."""


NO_EPOCH = -1
"""Stands for a leader epoch that is not known."""

NO_ENDS: Mapping["TopicPartition", int] = MappingProxyType({})
"""Of a reader that reads on for ever."""

NO_HEADERS: list[Header] = []
"""Shared by all records without headers; aiokafka wants a list. Never changed."""

NewRecord = tuple[bytes | None, bytes | None, list[Header]]
"""A record to append: key, value, headers. A plain tuple, since there are many."""


@dataclass(slots=True, eq=False)
class Writer:
    """A producer id and epoch, with the next sequence number of each partition."""

    producer_id: int
    epoch: int
    sequences: dict[TopicPartition, int] = field(default_factory=dict)

    def take_sequence(self, at: TopicPartition, count: int) -> int:
        """Return the sequence number of the next batch at ``at``, which has ``count`` records."""
        first = self.sequences.get(at, 0)
        self.sequences[at] = (first + count) % SEQUENCE_MODULUS
        return first


class Batch(NamedTuple):
    """Records that are appended to one partition as one atomic unit."""

    at: TopicPartition
    writer: Writer
    records: Sequence[NewRecord]


class Channel(IntEnum):
    """Connection that an append takes: a broker serves those of one connection one by one."""

    JOURNAL = 0
    PUBLISH = 1


class Bounds(NamedTuple):
    """First offset that a partition still has, and the offset after its last."""

    first: int
    end: int


class Cluster(NamedTuple):
    """What makes a cluster and its topics different from others of the same names."""

    id: str
    topics: Mapping[str, str]
    """Topic id by name, as Kafka's tools print it."""


class Clock(Protocol):
    """The time that the log goes by; it never goes back."""

    def __call__(self) -> int:
        """Return the time, in milliseconds since 1970. It must be known."""

    def stamp_ms(self) -> int:
        """Return the time, or this machine's while none is known."""

    @property
    def is_known(self) -> bool:
        """Whether the log has stated its time."""

    @property
    def age_seconds(self) -> float:
        """How long ago the log stated its time; another clock has been used since."""

    @property
    def difference_seconds(self) -> float:
        """How far the clock of this machine is ahead of it; negative when it is behind."""


Positions = Mapping[TopicPartition, int]
"""An offset of each partition."""


def unread(positions: Positions, ends: Positions) -> list[TopicPartition]:
    """Return the partitions that are not read up to their ends."""
    return [at for at, end in ends.items() if positions[at] < end]


def is_read(positions: Positions, ends: Positions) -> bool:
    """Whether every partition of a reader has an end and is read up to it."""
    return 0 < len(positions) == len(ends) and not unread(positions, ends)


class Reader(Protocol):
    """Reads assigned partitions from explicit offsets; belongs to no consumer group."""

    def assign(
        self,
        positions: Mapping[TopicPartition, int],
        epochs: Mapping[TopicPartition, int] | None = None,
        *,
        ends: Mapping[TopicPartition, int] = NO_ENDS,
    ) -> None:
        """Read these partitions, each from its offset; replaces what was assigned before.

        With ``epochs``, the leader epochs of what was read before these offsets as far as they are
        known, it is checked that the log has not lost what was read (KIP-320).

        A partition with one of the ``ends`` is not asked for any more once it is read up to there.
        """

    async def fetch(self, *, timeout_seconds: float) -> Mapping[TopicPartition, Sequence[Record]]:
        """Return what is there, in order for each partition; empty after the timeout.

        It is empty at once when all partitions are read up to their ``ends`` (see ``assign``): so
        no caller waits behind control records, which are skipped. What was fetched
        with the last record before an end may come too.

        Raises ``PositionLost`` when an offset is not in the log any more, ``RecordsLost`` when the
        log has lost records before it (see ``assign``), and ``UnreadableBatch`` at a batch that
        can't be decoded: again and again, until ``skip``.
        """

    def skip(self, batch: UnreadableBatch) -> None:
        """Continue behind a batch that ``fetch`` has raised."""

    def positions(self) -> Mapping[TopicPartition, int]:
        """Return the next offset of each partition; control records that were met are passed."""

    def seen_ends(self) -> Mapping[TopicPartition, int]:
        """Return the end of each partition as its leader named it last, since these are assigned.

        Any thread may ask.
        """

    def end_asked(self, at: TopicPartition) -> float | None:
        """Return when that end was last asked for, by the clock of the event loop.

        Every record that was appended before that is before the end. ``math.inf`` is now; None
        where that is not known.
        """

    def epochs(self) -> Mapping[TopicPartition, int]:
        """Return the leader epoch of what was read last of each partition, where it is known."""

    def claimants(self) -> Mapping[TopicPartition, AbstractSet[int]]:
        """Return the producers whose control records were passed since these were assigned.

        Only a reader of uncommitted records keeps them.
        """

    def troubles(self) -> Sequence[Trouble]:
        """Return what keeps this reader from reading, however short it lasts."""

    async def close(self) -> None:
        """Give the connections back."""


class Log(Protocol):
    """Partitioned, replicated, append-only: what the engine needs of Kafka."""

    async def start(self, topics: Sequence[str]) -> None:
        """Connect, and learn where the partitions of ``topics`` are."""

    async def close(self) -> None:
        """Close all connections. Appends in flight fail."""

    def troubles(self) -> Sequence[Trouble]:
        """Return what keeps this from being written and asked, however short it lasts."""

    async def check_open_transactions(self, at: Sequence[TopicPartition]) -> None:
        """Ask whether open transactions hold records back in these partitions, and no others.

        What is found is among the ``troubles`` until another look; a failure changes nothing.
        """

    def partition_count(self, topic: str) -> int:
        """Return how many partitions a topic has. Raises ``FailStop`` when there is none."""

    async def describe(self, topics: Sequence[str]) -> Cluster:
        """Return the ids of the cluster and of these topics. Raises ``FailStop`` without them."""

    async def require_configs(self, *, inputs: Collection[str], journals: Collection[str]) -> float:
        """Check that the configurations of the topics are what the engine relies on.

        Returns for how many seconds a tombstone surely stays in a journal. Raises ``FailStop``.
        """

    async def losses(self, keeps: Mapping[str, float]) -> Sequence[str]:
        """Return a sentence for each topic that deletes records sooner than after these seconds.

        A topic whose configuration this user may not see is left out.
        """

    @property
    def clock(self) -> "Clock":
        """The brokers' time, known from the first append on."""

    @property
    def appended_bytes(self) -> Mapping[Channel, int]:
        """Bytes of all batches sent since the start; none where batches have no bytes."""

    async def new_writer(self) -> Writer:
        """Return a plain idempotent writer, which is never fenced."""

    async def claim(self, name: str, fenced: Sequence[TopicPartition]) -> Writer:
        """Take over ``name``: older writers of that name are refused on ``fenced`` from now on."""

    async def renew(self, name: str, writer: Writer, fenced: Sequence[TopicPartition]) -> None:
        """Keep a claim and its fences from being forgotten. Raises ``Fenced`` when it was taken."""

    async def append(
        self, batches: Sequence[Batch], channel: Channel
    ) -> Mapping[TopicPartition, int]:
        """Append batches, at most one for each partition; return the offset of each first record.

        Retriable errors are retried with the same sequence numbers, up to a limit. Raises
        ``Fenced`` when a writer is out of date and ``FailStop`` for all else.
        """

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Return what each partition holds."""

    async def epoch_ends(
        self, epochs: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, int]:
        """Return the offset at which each leader epoch ended; the end for the latest one.

        A partition is left out where its leader does not know. An epoch that ends before what was
        read of it has lost acknowledged records (KIP-101, KIP-320).
        """

    async def open_reader(self, *, committed_only: bool, closing: bytes | None = None) -> Reader:
        """Return a reader; ``committed_only`` hides records of open or aborted transactions.

        With ``closing``, records whose batch surely did not end with a key that begins so come as
        ``Anonymous``, like those of a producer without an identity.
        """
