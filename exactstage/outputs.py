"""Outputs: records that a commit publishes after it is journalled, and their ids.

Every output has an id ``<stage>/<partition>/<n>/<i>``: the i-th output of the n-th commit of one
journal. An output id is never used twice. It travels in a header: ``ce_id`` on public topics
(CloudEvents 1.0, Kafka protocol binding, binary mode), ``src`` on internal ones.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple

from .log import Batch, Channel, Header, Headers, Log, NewRecord, TopicPartition, Writer

OUTPUT_ID_HEADER = "ce_id"
SOURCE_HEADER = "src"
INSTALLATION = "ce_installation"
"""Header of a public record that names the installation that wrote it (``identity``).

It comes right behind the output id, where records of versions before have another one."""

ORIGIN = "origin"
"""Header of a record that was forwarded: ``<topic>/<partition>/<offset>`` where it came in.

Where the record was dead-lettered there, and only has to be answered, a space follows, the reason
code, another space, and the message.
"""

_HEADER_BYTES = 400
"""What the engine's own headers of an output weigh, roughly: it only has to be an upper bound."""

LAST_MS = 253_402_300_799_999
"""Last millisecond of the year 9999, as milliseconds since 1970."""

_SPEC_VERSION = ("ce_specversion", b"1.0")

OutputId = tuple[int, int]
"""Commit number and index of an output in its journal's history; later ones compare greater."""


class Output(NamedTuple):
    """A record to publish. ``type`` is its CloudEvents type, "" on internal topics."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    type: str
    time_ms: int
    headers: Headers = ()


def size_of(key: bytes | None, value: bytes | None, headers: Headers) -> int:
    """Return an upper bound of the bytes that an output takes in a batch."""
    size = _HEADER_BYTES
    if key:
        size += 2 * len(key)
    if value:
        size += len(value)
    for name, content in headers:
        size += 4 * len(name) + len(content or b"") + 8
    return size


class Source(NamedTuple):
    """Who sent a message: ``<stage>/<partition>``, and which of its outputs the message is."""

    name: str
    output_id: OutputId

    @property
    def partition(self) -> int:
        """The partition of the sender."""
        return partition_of_sender(self.name)


def parse_source(text: bytes) -> Source:
    """Read ``<stage>/<partition>/<n>/<i>``. Raises ``ValueError`` when it is something else."""
    name, commit, index = text.rsplit(b"/", 2)
    return tuple.__new__(Source, (_sender(name), (int(commit), int(index))))


def source_header(source: Source) -> Header:
    """Return the header that names a message by its output id."""
    name, (commit, index) = source
    return SOURCE_HEADER, f"{name}/{commit}/{index}".encode()


def message_headers(headers: Headers, sent_by: Sequence[Header], source: Header) -> list[Header]:
    """Return the headers of a message as it is in the log.

    The engine's own are the last ones, so that no header of a forwarded record can stand for one of
    them; ``origin`` stays right before the output id, where versions before look for it.
    """
    if headers and headers[-1][0] == ORIGIN:
        return [*headers[:-1], *sent_by, headers[-1], source]
    return [*headers, *sent_by, source]


@lru_cache(maxsize=16_384)
def partition_of_sender(name: str) -> int:
    """Return the partition in ``<stage>/<partition>``."""
    return int(name.rpartition("/")[2])


@lru_cache(maxsize=16_384)
def _sender(name: bytes) -> str:
    text = name.decode("ascii")
    stage, _, partition = text.partition("/")
    if not stage or not partition.isdecimal():
        raise ValueError(text)
    return text


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=4096)
def iso_time(time_ms: int) -> bytes:
    """Return milliseconds since 1970 as ``2026-01-01T00:00:00.000Z``."""
    seconds, milliseconds = divmod(time_ms, 1000)
    return f"{_second(seconds)}.{milliseconds:03d}Z".encode()


@lru_cache(maxsize=4096)
def _time_header(time_ms: int) -> tuple[str, bytes]:
    # A record that is older than its topic's LogAppendTime has any time that its client gave it.
    return "ce_time", iso_time(min(max(time_ms, 0), LAST_MS))


@lru_cache(maxsize=64)
def _type_header(kind: str) -> tuple[str, bytes]:
    return "ce_type", kind.encode()


class Publication(NamedTuple):
    """Outputs of one commit, ready to be made into records."""

    stage: str
    partition: int
    commit: int
    outputs: list[Output]
    sizes: list[int]
    """Upper bound of the bytes that each output takes."""

    public: frozenset[str]
    owner: Writer
    """Writer that owns the partition: it writes the public outputs, and is fenced there."""

    installation: Sequence[Header] = ()
    """The header of public outputs that names the installation, once it is known."""

    sent_by: Sequence[Header] = ()
    """The header of messages that names their sender's owner, once it is known."""

    def add_to(
        self,
        rounds: "Rounds",
        messenger: Writer,
        *,
        only: Sequence[int] | None = None,
        after: Mapping[str, OutputId] = MappingProxyType({}),
    ) -> None:
        """Add outputs, as records with their headers, to what is published.

        ``messenger`` writes the internal ones. ``only`` are the indexes of the outputs to add: all
        without it. ``after`` gives, by topic, the last output that is known to be published.
        """
        commit, public, owner = self.commit, self.public, self.owner
        source = f"{self.stage}/{self.partition}".encode()
        ce_source = ("ce_source", b"/" + source)
        prefix = b"%s/%d/" % (source, commit)
        for index in range(len(self.outputs)) if only is None else only:
            topic, partition, key, value, kind, time_ms, more = self.outputs[index]
            if after and (commit, index) <= after.get(topic, (0, -1)):
                continue
            output_id = prefix + b"%d" % index
            if topic in public:
                # Ours come first: a dead letter may carry CloudEvents headers of its own.
                headers: list[Header] = [
                    _SPEC_VERSION,
                    (OUTPUT_ID_HEADER, output_id),
                    *self.installation,
                    ce_source,
                    _type_header(kind),
                    _time_header(time_ms),
                ]
                if key:
                    headers.append(("ce_subject", key))
                if more:
                    headers.extend(more)
                writer = owner
            else:
                headers = message_headers(more, self.sent_by, (SOURCE_HEADER, output_id))
                writer = messenger
            rounds.add(topic, partition, writer, (key, value, headers), self.sizes[index])


Selected = tuple[Publication, Sequence[int]]
"""Outputs of one commit, by their indexes."""


class Rounds:
    """Records to append, in batches: one for each partition and round, in order.

    A round is one append; what would make a batch too large goes into the next round.
    """

    def __init__(self, batch_bytes: int) -> None:
        self._batch_bytes = batch_bytes
        self._last: dict[tuple[str, int], _Part] = {}
        self._rounds: list[list[Batch]] = []

    def add(
        self, topic: str, partition: int, writer: Writer, record: NewRecord, size_bytes: int
    ) -> None:
        """Add a record behind those of its partition."""
        part = self._last.get((topic, partition))
        if part is None or part.free_bytes < size_bytes:
            part = self._begin(topic, partition, writer, 0 if part is None else part.round + 1)
        part.free_bytes -= size_bytes
        part.records.append(record)

    def _begin(self, topic: str, partition: int, writer: Writer, number: int) -> "_Part":
        part = self._last[topic, partition] = _Part(number, self._batch_bytes)
        if number == len(self._rounds):
            self._rounds.append([])
        at = TopicPartition(topic, partition)
        self._rounds[number].append(Batch(at, writer, part.records))
        return part

    @property
    def count(self) -> int:
        """Records added."""
        return sum(len(batch.records) for batches in self._rounds for batch in batches)

    def __iter__(self) -> Iterator[list[Batch]]:
        """Yield the batches of each round."""
        return iter(self._rounds)


class _Part:
    """The batch of a partition that may still grow, and the round that it is in."""

    __slots__ = ("free_bytes", "records", "round")

    def __init__(self, number: int, free_bytes: int) -> None:
        self.round = number
        self.free_bytes = free_bytes
        self.records: list[NewRecord] = []


def rounds_of(outputs: Iterable[Selected], messenger: Writer, batch_bytes: int) -> Rounds:
    """Return these outputs as records to append; ``messenger`` writes the internal ones."""
    rounds, expected = Rounds(batch_bytes), 0
    for publication, indexes in outputs:
        publication.add_to(rounds, messenger, only=indexes)
        expected += len(indexes)
    assert rounds.count == expected, "an output would be lost or doubled"
    return rounds


async def publish(log: Log, rounds: Rounds) -> None:
    """Append outputs in order, in as few appends as their sizes allow."""
    for batches in rounds:
        await log.append(batches, Channel.PUBLISH)
