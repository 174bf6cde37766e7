"""Wire formats of requests: packed and parsed by hand, for speed or because aiokafka lacks them.

Every record needs Produce and Fetch, every takeover several ListOffsets for each partition; the
others are missing in aiokafka, which walks schemas field by field where this takes a few steps. The
layouts are Kafka's (protocol guide: Produce version 7 or 13, Fetch version 11 or 13, ListOffsets
version 3, Metadata version 10, OffsetForLeaderEpoch version 3); aiokafka's connections send them
like its own requests.

Produce and Fetch of version 13 name topics by their ids (KIP-516; brokers have the first since 4.1,
the second since 3.1): a topic that is recreated under the same name refuses them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from io import BytesIO
from struct import Struct
from types import MappingProxyType
from typing import Any, NamedTuple

from aiokafka.errors import IncompatibleBrokerVersion

_INT16, _INT32 = Struct(">h"), Struct(">i")
_REQUEST_HEADER = Struct(">hhih")  # api key, api version, correlation id, length of the client id
_PRODUCE = Struct(">hhii")  # no transactional id, acks, timeout, number of topics
_PRODUCE_PARTITION = Struct(">ii")  # partition, length of the batch
_PRODUCED = Struct(">ihqqq")  # partition, error, offset, append time, log start
_FETCH = Struct(">iiiibiii")  # replica, wait, min, max, isolation, session, epoch, topics
_FETCH_PARTITION = Struct(">iiqqi")  # partition, leader epoch, offset, log start, max bytes
_NO_RACK = bytes(2)
_FETCHED_HEAD = Struct(">ihii")  # throttle, error, session, number of topics
_FETCHED = Struct(">ihqqqi")  # partition, error, high watermark, stable, log start, aborted
_ABORTED = Struct(">qq")  # producer id, first offset
_FETCHED_END = Struct(">ii")  # preferred replica, length of the records
_PRODUCE_BY_ID = Struct(">bhi")  # no transactional id, acks, timeout
_FETCH_BY_ID = Struct(">iiiibii")  # replica, wait, min, max, isolation, session, epoch
_FETCH_PARTITION_BY_ID = Struct(">iiqiqib")  # as above with no fetched epoch, no tags
_FETCH_END_BY_ID = bytes((1, 0))  # empty rack, tags
_FETCHED_HEAD_BY_ID = Struct(">ihi")  # throttle, error, session
_FETCHED_BY_ID = Struct(">ihqqq")  # partition, error, high watermark, stable, log start
_ID_BYTES = 16
_MORE = 0x80
"""Bit of a byte that another byte of the same number follows."""

_new = tuple.__new__
"""Saves a Python call for each partition: a named tuple's own constructor."""

_LIST_OFFSETS = Struct(">ibi")  # replica, isolation, number of topics
_REQUESTED_OFFSET = Struct(">iq")  # partition, time
_LISTED_HEAD = Struct(">ii")  # throttle, number of topics
_OFFSET = Struct(">ihqq")  # partition, error, time, offset
_REQUESTED_EPOCH = Struct(">iii")  # partition, no current leader epoch, the requested epoch
_EPOCH_END = Struct(">hiiq")  # error, partition, epoch, its end
_NONE = -1
_ACKS_ALL = -1
NO_SESSION = 0
_NO_TAGS = b"\0"
_NO_DETAILS = b"\1\0\0"  # no errors of records, no message, no tags

_BY_ID = 13
"""Version of Produce and Fetch that names topics by their ids."""

TopicIds = Mapping[str, bytes]
"""Topic ids (16 bytes) by name."""

NO_IDS: TopicIds = MappingProxyType({})


class ForFetch(NamedTuple):
    """The fetch session of a request (KIP-227): 0 and -1 for none."""

    session: int
    epoch: int


NOT_IN_A_SESSION = ForFetch(NO_SESSION, -1)
NOTHING_FORGOTTEN: Mapping[str, Sequence[int]] = MappingProxyType({})


class Produced(NamedTuple):
    """Result of one batch: an error code, or the offset of its first record."""

    topic: str
    partition: int
    code: int
    offset: int
    time_ms: int
    """The broker's append time when the topic has LogAppendTime, else -1."""


class FetchedBytes(NamedTuple):
    """Result of a fetch for one partition: an error code, or batches."""

    topic: str
    partition: int
    code: int
    aborted: list[tuple[int, int]]
    """Producer id and first offset of each aborted transaction."""

    batches: bytes
    stable: int = -1
    """Last stable offset: records after it may belong to an open transaction (KIP-98)."""

    end: int = -1
    """High watermark: the offset after the last record that all in-sync replicas have."""


class _Request:
    """The part of aiokafka's requests that its connections use."""

    API_KEY = 0
    API_VERSION = 0
    is_flexible = False
    """Whether headers and body have tagged fields (KIP-482)."""
    throttle_ms = 0
    """Pause that the broker imposes on this client, from the response (KIP-219)."""

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts
        """The first part is the header. They are joined once: a request may have megabytes."""

    @property
    def RESPONSE_TYPE(self) -> "_Request":  # noqa: N802 - aiokafka's name
        """The object whose ``decode`` the connection calls."""
        # An attribute would be a reference cycle that keeps megabytes until a garbage collection.
        return self

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> "_Request":
        """Check that the broker knows this version."""
        first, last = versions.get(self.API_KEY, (0, -1))
        if not first <= self.API_VERSION <= last:
            message = (
                f"the broker does not know version {self.API_VERSION} of {type(self).__name__}"
            )
            raise IncompatibleBrokerVersion(message)
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> "_Request":
        """Keep what the header needs; ``encode`` returns it first."""
        client = client_id.encode()
        header = _REQUEST_HEADER.pack(self.API_KEY, self.API_VERSION, correlation_id, len(client))
        self._parts[0] = header + client + _NO_TAGS if self.is_flexible else header + client
        return _EMPTY

    def encode(self) -> bytes:
        """Return header and body."""
        return b"".join(self._parts)

    def parse_response_header(self, buffer: BytesIO) -> "_ResponseHeader":
        """Read the header of the response."""
        header = _ResponseHeader(*_INT32.unpack(buffer.read(4)))
        if self.is_flexible:
            buffer.seek(_skip_tags(buffer.getvalue(), buffer.tell()))
        return header

    def decode(self, buffer: BytesIO) -> Any:
        """Read the body of the response."""
        raise NotImplementedError


_EMPTY = _Request([])


class _ResponseHeader(NamedTuple):
    correlation_id: int


class _ByNameOrId(_Request):
    """A request that names topics by their ids, if all are known and the broker takes them."""

    def __init__(self, topics: Iterable[str], ids: TopicIds) -> None:
        super().__init__([])
        self._topics = topics
        self._ids = ids

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> "_Request":
        """Choose the version by what the broker knows, and write the body."""
        first, last = versions.get(self.API_KEY, (0, -1))
        ids = self._ids
        if ids and first <= _BY_ID <= last and all(topic in ids for topic in self._topics):
            self.API_VERSION, self.is_flexible = _BY_ID, True
        self._parts = self._by_id() if self.is_flexible else self._by_name()
        return super().prepare(versions)

    def _by_name(self) -> list[bytes]:
        raise NotImplementedError

    def _by_id(self) -> list[bytes]:
        raise NotImplementedError

    def _names(self) -> dict[bytes, str]:
        return {self._ids[topic]: topic for topic in self._topics}


class Produce(_ByNameOrId):
    """Batches for partitions of one leader; acknowledged by all in-sync replicas."""

    API_KEY = 0
    API_VERSION = 7

    def __init__(
        self,
        batches: Mapping[str, Sequence[tuple[int, bytes]]],
        timeout_ms: int,
        *,
        ids: TopicIds = NO_IDS,
    ) -> None:
        super().__init__(batches, ids)
        self.batches = batches
        self._timeout_ms = timeout_ms

    def _by_name(self) -> list[bytes]:
        parts = [b"", _PRODUCE.pack(_NONE, _ACKS_ALL, self._timeout_ms, len(self.batches))]
        for topic, partitions in self.batches.items():
            parts += (_string(topic), _INT32.pack(len(partitions)))
            for partition, batch in partitions:
                parts += (_PRODUCE_PARTITION.pack(partition, len(batch)), batch)
        return parts

    def _by_id(self) -> list[bytes]:
        parts = [b"", _PRODUCE_BY_ID.pack(0, _ACKS_ALL, self._timeout_ms)]
        parts.append(_uvarint(len(self.batches) + 1))
        for topic, partitions in self.batches.items():
            parts += (self._ids[topic], _uvarint(len(partitions) + 1))
            for partition, batch in partitions:
                parts += (_INT32.pack(partition), _uvarint(len(batch) + 1), batch, _NO_TAGS)
            parts.append(_NO_TAGS)
        parts.append(_NO_TAGS)
        return parts

    def decode(self, buffer: BytesIO) -> list[Produced]:
        """Return the result of each batch."""
        data, at = buffer.getvalue(), buffer.tell()
        return self._decode_by_id(data, at) if self.is_flexible else self._decode_by_name(data, at)

    def _decode_by_name(self, data: bytes, at: int) -> list[Produced]:
        (topics,) = _INT32.unpack_from(data, at)
        at += 4
        found: list[Produced] = []
        for _ in range(topics):
            topic, count, at = _topic(data, at)
            for _ in range(count):
                partition, code, offset, time_ms, _ = _PRODUCED.unpack_from(data, at)
                at += _PRODUCED.size
                found.append(_new(Produced, (topic, partition, code, offset, time_ms)))
        (self.throttle_ms,) = _INT32.unpack_from(data, at)
        return found

    def _decode_by_id(self, data: bytes, at: int) -> list[Produced]:
        names = self._names()
        topics, at = _length(data, at)
        found: list[Produced] = []
        for _ in range(topics):
            topic, count, at = _topic_by_id(data, at, names)
            for _ in range(count):
                partition, code, offset, time_ms, _ = _PRODUCED.unpack_from(data, at)
                at = _skip_details(data, at + _PRODUCED.size)
                found.append(_new(Produced, (topic, partition, code, offset, time_ms)))
            at = _skip_tags(data, at)
        (self.throttle_ms,) = _INT32.unpack_from(data, at)
        return found


class Fetch(_ByNameOrId):
    """Records of partitions of one leader, from given offsets on.

    In a fetch session the answer may be about any partition of the session.
    """

    API_KEY = 1
    API_VERSION = 11

    session_id = NO_SESSION
    """The session that the answer is of."""

    def __init__(
        self,
        offsets: Mapping[str, Sequence[tuple[int, int]]],
        *,
        wait_ms: int,
        min_bytes: int,
        max_bytes: int,
        partition_bytes: int,
        committed_only: bool,
        ids: TopicIds = NO_IDS,
        session: ForFetch = NOT_IN_A_SESSION,
        forgotten: Mapping[str, Sequence[int]] = NOTHING_FORGOTTEN,
        topics: Collection[str] | None = None,
    ) -> None:
        """Ask for ``offsets``: partition and offset, by topic.

        ``topics`` are all topics of the session, where these are more; ``forgotten`` are the
        partitions that leave it.
        """
        super().__init__(offsets if topics is None else topics, ids)
        self._offsets = offsets
        self._forgotten = forgotten
        self._partition_bytes = partition_bytes
        self._head = (_NONE, wait_ms, min_bytes, max_bytes, int(committed_only), *session)

    def _by_name(self) -> list[bytes]:
        parts = [b"", _FETCH.pack(*self._head, len(self._offsets))]
        size = self._partition_bytes
        for topic, partitions in self._offsets.items():
            parts += (_string(topic), _INT32.pack(len(partitions)))
            parts += [
                _FETCH_PARTITION.pack(partition, _NONE, offset, _NONE, size)
                for partition, offset in partitions
            ]
        parts.append(_INT32.pack(len(self._forgotten)))
        for topic, numbers in self._forgotten.items():
            parts += (_string(topic), _INT32.pack(len(numbers)), *map(_INT32.pack, numbers))
        parts.append(_NO_RACK)
        return parts

    def _by_id(self) -> list[bytes]:
        parts = [b"", _FETCH_BY_ID.pack(*self._head), _uvarint(len(self._offsets) + 1)]
        size = self._partition_bytes
        for topic, partitions in self._offsets.items():
            parts += (self._ids[topic], _uvarint(len(partitions) + 1))
            parts += [
                _FETCH_PARTITION_BY_ID.pack(partition, _NONE, offset, _NONE, _NONE, size, 0)
                for partition, offset in partitions
            ]
            parts.append(_NO_TAGS)
        parts.append(_uvarint(len(self._forgotten) + 1))
        for topic, numbers in self._forgotten.items():
            parts += (self._ids[topic], _uvarint(len(numbers) + 1))
            parts += (*map(_INT32.pack, numbers), _NO_TAGS)
        parts.append(_FETCH_END_BY_ID)
        return parts

    def decode(self, buffer: BytesIO) -> tuple[int, list[FetchedBytes]]:
        """Return the error code of the whole fetch, and the result of each partition."""
        data, at = buffer.getvalue(), buffer.tell()
        return self._decode_by_id(data, at) if self.is_flexible else self._decode_by_name(data, at)

    def _decode_by_name(self, data: bytes, at: int) -> tuple[int, list[FetchedBytes]]:
        self.throttle_ms, code, self.session_id, topics = _FETCHED_HEAD.unpack_from(data, at)
        at += _FETCHED_HEAD.size
        found: list[FetchedBytes] = []
        for _ in range(topics):
            topic, count, at = _topic(data, at)
            for _ in range(count):
                partition, error, end, stable, _, transactions = _FETCHED.unpack_from(data, at)
                at += _FETCHED.size
                aborted = list(_aborted(data, at, transactions))
                at += len(aborted) * _ABORTED.size
                _, size = _FETCHED_END.unpack_from(data, at)
                at += _FETCHED_END.size
                size = max(size, 0)
                part = data[at : at + size]
                each = (topic, partition, error, aborted, part, stable, end)
                found.append(_new(FetchedBytes, each))
                at += size
        return code, found

    def _decode_by_id(self, data: bytes, at: int) -> tuple[int, list[FetchedBytes]]:
        names = self._names()
        self.throttle_ms, code, self.session_id = _FETCHED_HEAD_BY_ID.unpack_from(data, at)
        topics, at = _length(data, at + _FETCHED_HEAD_BY_ID.size)
        found: list[FetchedBytes] = []
        for _ in range(topics):
            topic, count, at = _topic_by_id(data, at, names)
            for _ in range(count):
                partition, error, end, stable, _ = _FETCHED_BY_ID.unpack_from(data, at)
                transactions, at = _length(data, at + _FETCHED_BY_ID.size)
                aborted: list[tuple[int, int]] = []
                for _ in range(transactions):
                    aborted += _aborted(data, at, 1)
                    at = _skip_tags(data, at + _ABORTED.size)
                size, at = _length(data, at + 4)  # after the preferred replica
                size = max(size, 0)
                part = data[at : at + size]
                each = (topic, partition, error, aborted, part, stable, end)
                found.append(_new(FetchedBytes, each))
                at = _skip_tags(data, at + size)
            at = _skip_tags(data, at)
        return code, found


class Offset(NamedTuple):
    """Offset of a time in a partition: an error code, or an offset; -1 when there is none."""

    topic: str
    partition: int
    code: int
    offset: int


class ListOffsets(_Request):
    """Offsets of times in partitions of one leader: -2 is the first offset, -1 the end.

    ``committed_only``: the last stable offset instead of the end.
    """

    API_KEY = 2
    API_VERSION = 3

    def __init__(
        self, times: Mapping[str, Sequence[tuple[int, int]]], *, committed_only: bool
    ) -> None:
        parts = [b"", _LIST_OFFSETS.pack(_NONE, committed_only, len(times))]
        for topic, partitions in times.items():
            parts += (_string(topic), _INT32.pack(len(partitions)))
            parts += [_REQUESTED_OFFSET.pack(partition, time) for partition, time in partitions]
        super().__init__(parts)

    def decode(self, buffer: BytesIO) -> list[Offset]:
        """Return what came for each partition."""
        data, at = buffer.getvalue(), buffer.tell()
        self.throttle_ms, topics = _LISTED_HEAD.unpack_from(data, at)
        at += _LISTED_HEAD.size
        found: list[Offset] = []
        for _ in range(topics):
            topic, count, at = _topic(data, at)
            for _ in range(count):
                partition, code, _, offset = _OFFSET.unpack_from(data, at)
                at += _OFFSET.size
                found.append(_new(Offset, (topic, partition, code, offset)))
        return found


class EpochEnd(NamedTuple):
    """End of a leader epoch: an error code, or an offset; -1 when the leader does not know it."""

    topic: str
    partition: int
    code: int
    end: int


class OffsetForLeaderEpoch(_Request):
    """Ends of leader epochs in partitions of one leader (KIP-101, KIP-320).

    From version 3 on it needs only the right Describe on the topic.
    """

    API_KEY = 23
    API_VERSION = 3

    def __init__(self, epochs: Mapping[str, Sequence[tuple[int, int]]]) -> None:
        parts = [b"", _INT32.pack(_NONE), _INT32.pack(len(epochs))]
        for topic, partitions in epochs.items():
            parts += (_string(topic), _INT32.pack(len(partitions)))
            parts += [
                _REQUESTED_EPOCH.pack(partition, _NONE, epoch) for partition, epoch in partitions
            ]
        super().__init__(parts)

    def decode(self, buffer: BytesIO) -> list[EpochEnd]:
        """Return what came for each partition."""
        data, at = buffer.getvalue(), buffer.tell() + 4  # throttle
        (topics,) = _INT32.unpack_from(data, at)
        at += 4
        found: list[EpochEnd] = []
        for _ in range(topics):
            topic, count, at = _topic(data, at)
            for _ in range(count):
                code, partition, _, end = _EPOCH_END.unpack_from(data, at)
                at += _EPOCH_END.size
                found.append(EpochEnd(topic, partition, code, end))
        return found


class DescribedTopic(NamedTuple):
    """Metadata of one topic: an error code, or its id and this user's rights on it."""

    topic: str
    code: int
    id: bytes
    rights: int
    """A bit for each operation of ACLs (KIP-430); -2^31 when they were not requested."""


class Metadata(_Request):
    """The ids of the cluster and of topics (KIP-516); creates no topic.

    ``rights``: also this user's rights on each topic (KIP-430).
    """

    API_KEY = 3
    API_VERSION = 10
    is_flexible = True

    def __init__(self, topics: Sequence[str], *, rights: bool = False) -> None:
        parts = [b"", _uvarint(len(topics) + 1)]
        for topic in topics:
            name = topic.encode()
            parts += (bytes(16), _uvarint(len(name) + 1), name, _NO_TAGS)
        # Create no topics, leave out rights on the cluster.
        parts += (bytes(2), bytes([rights]), _NO_TAGS)
        super().__init__(parts)

    def decode(self, buffer: BytesIO) -> tuple[str | None, list[DescribedTopic]]:
        """Return the cluster's id, and the metadata of each topic."""
        data = _Flexible(buffer.getvalue(), buffer.tell())
        data.at += 4  # throttle
        for _ in range(data.length()):
            data.at += 4  # node
            data.take()  # host
            data.at += 4  # port
            data.take()  # rack
            data.skip_tags()
        cluster = data.take()
        data.at += 4  # controller
        found = [self._topic(data) for _ in range(data.length())]
        return None if cluster is None else cluster.decode(), found

    @staticmethod
    def _topic(data: "_Flexible") -> DescribedTopic:
        (code,) = _INT16.unpack(data.raw(2))
        name, id_ = (data.take() or b"").decode(), data.raw(16)
        data.at += 1  # internal
        for _ in range(data.length()):
            data.at += 14  # error, partition, leader, its epoch
            for _ in range(3):  # replicas: all, in sync, offline
                data.skip(4 * data.length())
            data.skip_tags()
        (rights,) = _INT32.unpack(data.raw(4))
        data.skip_tags()
        return DescribedTopic(name, code, id_, rights)


def _uvarint(number: int) -> bytes:
    """Return a number of variable length, the encoding of lengths in KIP-482."""
    found = bytearray()
    while number > 0x7F:  # seven bits in each byte
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes((*found, number))


class _Flexible:
    """Reads the fields of flexible versions (KIP-482): compact lengths and tagged fields."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self.at = at

    def raw(self, size: int) -> bytes:
        self.at += size
        return self._data[self.at - size : self.at]

    def skip(self, size: int) -> None:
        self.at += size

    def number(self) -> int:
        shift = number = 0
        while True:
            byte = self._data[self.at]
            self.at += 1
            number |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return number
            shift += 7

    def length(self) -> int:
        """Read the length of an array; 0 for a null."""
        return max(self.number() - 1, 0)

    def take(self) -> bytes | None:
        """Read a string; None for a null."""
        size = self.number()
        return None if size == 0 else self.raw(size - 1)

    def skip_tags(self) -> None:
        for _ in range(self.number()):
            self.number()
            self.skip(self.number())


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Read a compact length, -1 for a null; return it and the next index."""
    number = data[at]
    if number < _MORE:
        return number - 1, at + 1
    number, shift = number & 0x7F, 7  # seven bits in each byte
    while True:
        at += 1
        byte = data[at]
        number |= (byte & 0x7F) << shift
        if byte < _MORE:
            return number - 1, at + 1
        shift += 7


def _skip_tags(data: bytes, at: int) -> int:
    """Return the index after tagged fields, which are optional by design."""
    if not data[at]:
        return at + 1
    flexible = _Flexible(data, at)
    flexible.skip_tags()
    return flexible.at


def _skip_details(data: bytes, at: int) -> int:
    """Return the index after what a broker adds to the error code of a batch."""
    if data[at : at + 3] == _NO_DETAILS:
        return at + 3
    flexible = _Flexible(data, at)
    for _ in range(flexible.length()):
        flexible.skip(4)  # number of the record
        flexible.take()  # message
        flexible.skip_tags()
    flexible.take()  # message
    flexible.skip_tags()
    return flexible.at


def _topic_by_id(data: bytes, at: int, names: Mapping[bytes, str]) -> tuple[str, int, int]:
    """Read a topic's id and the number of its partitions; return its name, that, the next index."""
    topic = names[data[at : at + _ID_BYTES]]
    count, at = _length(data, at + _ID_BYTES)
    return topic, count, at


def _aborted(data: bytes, at: int, count: int) -> Iterator[tuple[int, int]]:
    for index in range(count):  # The count is -1 for a null.
        producer_id, first_offset = _ABORTED.unpack_from(data, at + index * _ABORTED.size)
        yield producer_id, first_offset


def _string(text: str) -> bytes:
    content = text.encode()
    return _INT16.pack(len(content)) + content


def _topic(data: bytes, at: int) -> tuple[str, int, int]:
    """Read a topic's name and the number of its partitions; return them and the next index."""
    (size,) = _INT16.unpack_from(data, at)
    at += 2
    name = data[at : at + size].decode()
    at += size
    (count,) = _INT32.unpack_from(data, at)
    return name, count, at + 4
