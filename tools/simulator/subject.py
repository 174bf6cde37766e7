"""A subject: the application whose stages are simulated, its clients, and what must hold after.

The simulator knows stages and topics only; ``payments_subject`` and ``words_subject`` are two
applications, and ``SUBJECTS`` in ``run`` names them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import count
from random import Random
from typing import NamedTuple, Protocol

from exactstage import Record, Stage, TopicPartition, partition_of


class Transaction(StrEnum):
    """How a client writes a command."""

    NONE = "none"
    COMMITTED = "committed"
    ABORTED = "aborted"


class Command(NamedTuple):
    """A record that a client writes at a time, in seconds since the beginning."""

    time: float
    partition: int
    key: bytes | None
    value: bytes | None
    transaction: Transaction
    topic: str | None = None
    """Where it is written; None: the subject's ``commands``."""


class Weather(NamedTuple):
    """What the storm of one run is like."""

    seconds: float
    bursts: int
    keys_at_once: int
    """Keys of commands that are in use at a time: a window that moves on."""

    others: int
    """Other keys that commands name, such as accounts."""

    in_transactions: float
    crc32_share: float


KeyValue = tuple[bytes | None, bytes | None]
History = Mapping[TopicPartition, Sequence[Record]]


class Remains(NamedTuple):
    """What a run has left."""

    committed: History
    """Committed records that were ever appended; of an owned journal those after compaction."""

    appended: History
    """All records that were ever appended."""

    latest_ms: Mapping[TopicPartition, Sequence[float]]
    """For each of ``appended``, the latest time that a worker can have had from a broker."""

    may_wait: bool
    """Whether messages between stages may be gone for ever: then their answers may be missing."""


class Subject(Protocol):
    """An application, with the settings of one run."""

    app_id: str
    commands: str
    """Topic that clients write to."""

    public_inputs: Sequence[str]
    """Every topic that clients write to."""

    inputs: Mapping[str, str]
    """Every topic that a stage reads, and the changelog of that stage."""

    public: Sequence[str]
    """Every topic that stages write for others to see."""

    harmless: bytes
    """Value of a command that may come at any time, for any key."""

    def stages(self) -> Sequence[Stage]:
        """Return the stages of one worker's life."""

    def maker(self, random: Random, weather: Weather, run: str) -> Callable[[int], KeyValue]:
        """Return what makes the record of each command of a storm, from its number."""

    def topic_of(self, key: bytes | None) -> str:
        """Return the topic that clients write a record of the storm to."""

    def work(self, stem: str, partition: int, other: int) -> KeyValue:
        """Return a command of one partition whose message goes to another one."""

    def violations(self, remains: Remains) -> Iterator[str]:
        """Yield whatever does not hold."""


DrawSubject = Callable[[Random, int], Subject]
"""Draws the settings of a run with so many partitions."""


def name_for(stem: str, partition: int, partitions: int) -> str:
    """Return the first name with this stem that has its place on a partition."""
    names = (f"{stem}-{number}" for number in count())
    return next(name for name in names if partition_of(name.encode(), partitions) == partition)
