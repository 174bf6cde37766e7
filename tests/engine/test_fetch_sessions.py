"""Fetch sessions (KIP-227): what a request names, and what an answer says by leaving it out."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import count
from random import Random
from struct import pack, unpack_from
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.protocol.fetch import FetchRequest_v11, FetchResponse_v11

from exactstage.kafka import connection as connection_module
from exactstage.kafka.fetch_session import FetchSession
from exactstage.kafka.reader import KafkaReader
from exactstage.kafka.wire import Fetch, FetchedBytes, ForFetch, ListOffsets, Offset
from exactstage.log import Channel, TopicPartition

from .harness import LIMIT_SECONDS
from .test_kafka_errors import AT, NEXT, Brokers, batch
from .test_wire import BY_ID, BY_NAME, IDS

OTHER = TopicPartition("results", 0)
EMPTY, LAST = TopicPartition("results", 1), TopicPartition("idle", 0)
ALL = (AT, NEXT, OTHER, EMPTY, LAST)


# --- the session ---------------------------------------------------------------------------------


def test_a_session_names_all_once_and_then_what_has_moved() -> None:
    session = FetchSession()
    assert session.ask({AT: 1, NEXT: 2}) == (ForFetch(0, 0), {AT: 1, NEXT: 2}, ())
    session.answered(7, is_sure=True)
    assert session.ask({AT: 3, NEXT: 2}) == (ForFetch(7, 1), {AT: 3}, ())
    session.answered(7, is_sure=True)
    assert session.ask({AT: 3, OTHER: 5}) == (ForFetch(7, 2), {OTHER: 5}, (NEXT,))
    session.answered(7, is_sure=True)
    assert session.ask({AT: 3, OTHER: 5}) == (ForFetch(7, 3), {}, ())


@pytest.mark.parametrize(
    ("granted", "is_sure", "session"),
    [
        (0, True, ForFetch(0, 0)),  # no room for it, or a broker without sessions
        (8, True, ForFetch(8, 0)),  # an answer of another session
        (7, False, ForFetch(7, 0)),  # throttled
    ],
)
def test_a_session_begins_anew(granted: int, is_sure: bool, session: ForFetch) -> None:
    made = FetchSession()
    made.ask({AT: 1})
    made.answered(7, is_sure=True)
    made.ask({AT: 1})
    made.answered(granted, is_sure=is_sure)
    assert made.ask({AT: 1}) == (session, {AT: 1}, ())


def test_a_lost_session_is_closed_by_the_next_one() -> None:
    session = FetchSession()
    session.ask({AT: 1})
    session.answered(7, is_sure=True)
    session.lost()
    assert session.ask({AT: 1}).session == ForFetch(7, 0)
    assert FetchSession(wanted=False).ask({AT: 1}).session == ForFetch(0, -1)
    assert session.anew(wanted=False).ask({AT: 1}).session == ForFetch(7, -1)


@pytest.mark.parametrize("code", [70, 71, 106])
def test_a_broker_that_does_not_have_the_session_is_asked_for_all(code: int) -> None:
    session = FetchSession()
    session.ask({AT: 1})
    assert not session.is_lost(code), "nothing is left to begin anew with"
    session.answered(7, is_sure=True)
    session.ask({AT: 1})
    assert not session.is_lost(6)
    assert session.is_lost(code)
    assert session.ask({AT: 1}) == (ForFetch(0, 0), {AT: 1}, ())


def test_the_number_of_a_request_begins_again_after_the_last_one() -> None:
    session = FetchSession()
    session.ask({AT: 1})
    session.answered(7, is_sure=True)
    session._epoch = 2**31 - 1
    session.answered(7, is_sure=True)
    assert session.ask({AT: 1}) == (ForFetch(7, 1), {}, ())


# --- on the wire ---------------------------------------------------------------------------------


def request(ids: Mapping[str, bytes] = {}, topics: Sequence[str] = ("a", "b", "c")) -> Fetch:
    return Fetch(
        {"a": [(0, 42)]},
        wait_ms=250,
        min_bytes=1,
        max_bytes=1000,
        partition_bytes=100,
        committed_only=True,
        ids=ids,
        session=ForFetch(7, 3),
        forgotten={"b": [4, 5]},
        topics=topics,
    )


def test_a_request_of_a_session_is_laid_out_as_version_11() -> None:
    parts = [("a", [(0, -1, 42, -1, 100)])]
    expected = FetchRequest_v11(-1, 250, 1, 1000, 1, 7, 3, parts, [("b", [4, 5])], "")
    assert request().prepare(BY_ID).encode() == expected.encode()


def test_a_request_of_a_session_is_laid_out_as_version_13() -> None:
    ids = {**IDS, "c": bytes(16)}
    assert request(ids).prepare(BY_ID).encode() == b"".join(
        [
            pack(">iiiibii", -1, 250, 1, 1000, 1, 7, 3),
            *(b"\2", IDS["a"], b"\2", pack(">iiqiqi", 0, -1, 42, -1, -1, 100), b"\0", b"\0"),
            *(b"\2", IDS["b"], b"\3", pack(">ii", 4, 5), b"\0"),
            b"\1\0",  # empty rack, no tags
        ]
    )


def test_a_session_names_its_topics_in_one_way() -> None:
    """A broker refuses a session that changes from names to ids, so all its topics decide."""
    assert request(IDS).prepare(BY_ID).API_VERSION == 11
    assert request(IDS, topics="ab").prepare(BY_ID).API_VERSION == 13
    assert request(IDS, topics="ab").prepare(BY_NAME).API_VERSION == 11


def test_the_answer_names_its_session() -> None:
    made = request()
    made.decode(BytesIO(FetchResponse_v11(0, 0, 7, []).encode()))
    assert made.session_id == 7
    by_id = request(IDS, topics="ab")
    by_id.prepare(BY_ID)
    parts = b"".join((b"\2", IDS["b"], b"\2", pack(">ihqqq", 4, 0, 9, 8, 0), b"\1", pack(">i", -1)))
    body = b"".join((pack(">ihi", 0, 0, 9), parts, b"\1\0\0\0"))
    # It may be about partitions that the request did not name.
    assert by_id.decode(BytesIO(body)) == (0, [FetchedBytes("b", 4, 0, [], b"", 8, 9)])
    assert by_id.session_id == 9


# --- the reader ----------------------------------------------------------------------------------


@dataclass
class _Known:
    """What a broker remembers of a partition of a session."""

    offset: int
    end: int = -1


@dataclass
class _Session:
    epoch: int
    parts: dict[TopicPartition, _Known] = field(default_factory=dict)


class SessionBrokers(Brokers):
    """Two brokers with sessions, as KIP-227 and Apache Kafka's ``FetchSession`` have them.

    A partition is in an answer if it has records, an error, or another end than was told last; and
    always the first time, and after an error.
    """

    def __init__(self, random: Random) -> None:
        super().__init__([])
        self.random = random
        self.rate = 0.0
        """Of each fault."""
        self.leaders = dict.fromkeys(ALL, 1)
        self.told = dict(self.leaders)
        """The leaders that the reader knows."""
        self.history: dict[TopicPartition, list[float]] = {at: [] for at in ALL}
        """When each record was appended."""
        self.sessions: dict[int, dict[int, _Session]] = {1: {}, 2: {}}
        self.shown: dict[TopicPartition, int] = {}
        """The end that a new leader shows until it has caught up."""
        self.resigned: set[tuple[int, TopicPartition]] = set()
        """Former leaders of partitions that have not said so yet."""
        self.named: list[int] = []
        """How many partitions each answer was about."""
        self.open = {1: asyncio.Event(), 2: asyncio.Event()}
        """Whether the answers of a broker arrive."""
        self.made = {1: asyncio.Event(), 2: asyncio.Event()}
        """Whether a broker has made an answer."""
        for event in self.open.values():
            event.set()
        self._ids = count(1)

    def append(self, at: TopicPartition) -> None:
        """Append one record."""
        self.history[at].append(asyncio.get_running_loop().time())

    def leader(self, at: TopicPartition) -> int | None:
        """Return the leader that was told last."""
        return self.told[at]

    def request_refresh(self) -> None:
        """Tell the leaders."""
        self.refreshed += 1
        self.told = dict(self.leaders)

    def strikes(self) -> bool:
        """Return whether a fault strikes."""
        return self.random.random() < self.rate

    async def send(self, node: int, request: Any, channel: Channel = Channel.JOURNAL) -> Any:
        """Answer a fetch, or where partitions end."""
        del channel
        await self._pause()
        if self.strikes():
            raise errors.KafkaConnectionError
        if isinstance(request, ListOffsets):
            return list(self._ends(node, request))
        if self.strikes():
            self.sessions[node].clear()
        code, request.session_id, session = self._session(node, request)
        parts: list[FetchedBytes] = []
        if not code:
            assert session is not None
            request.throttle_ms = int(self.strikes())
            if not request.throttle_ms:
                parts = list(self._parts(node, session))
        self.named.append(len(parts))
        self.made[node].set()
        await self.open[node].wait()
        await self._pause()
        if self.strikes():
            raise errors.RequestTimedOutError
        return code, parts

    async def _pause(self) -> None:
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)

    def _session(self, node: int, request: Any) -> tuple[int, int, _Session | None]:
        number, epoch = request._head[-2:]
        sessions = self.sessions[node]
        asked = {
            TopicPartition(topic, partition): offset
            for topic, parts in request._offsets.items()
            for partition, offset in parts
        }
        if epoch <= 0:
            sessions.pop(number, None)
            made = _Session(1, {at: _Known(offset) for at, offset in asked.items()})
            number = 0
            if not epoch and not self.strikes():  # else there is no room
                number = next(self._ids)
                sessions[number] = made
            return 0, number, made
        if number not in sessions:
            return 70, 0, None
        session = sessions[number]
        if session.epoch != epoch:
            return 71, 0, None
        session.epoch += 1
        for at, offset in asked.items():
            session.parts.setdefault(at, _Known(offset)).offset = offset
        for topic, numbers in request._forgotten.items():
            for partition in numbers:
                del session.parts[TopicPartition(topic, partition)]
        return 0, number, session

    def move(self, at: TopicPartition, node: int) -> None:
        """Let another broker lead a partition; it does not show yet all that it has.

        What asks the former one then fails, even if it leads again by the time of the answer.
        """
        if node == self.leaders[at]:
            return
        self.resigned.add((self.leaders[at], at))
        self.leaders[at] = node
        self.shown[at] = self.random.randrange(len(self.history[at]) + 1)

    def _ends(self, node: int, request: ListOffsets) -> Iterator[Offset]:
        for at in self.asked_ends(request):
            if self.leaders[at] != node:
                yield Offset(*at, 6, -1)
            elif at in self.shown:
                yield Offset(*at, 5, -1)
            else:
                yield Offset(*at, 0, len(self.history[at]))

    @staticmethod
    def asked_ends(request: ListOffsets) -> list[TopicPartition]:
        """Return the partitions that a request is about."""
        found, at = list[TopicPartition](), 0
        body = b"".join(request._parts[1:])
        (topics,) = unpack_from(">i", body, 5)
        at = 9
        for _ in range(topics):
            (size,) = unpack_from(">h", body, at)
            topic = body[at + 2 : at + 2 + size].decode()
            (count_,) = unpack_from(">i", body, at + 2 + size)
            at += 6 + size
            for _ in range(count_):
                partition, which = unpack_from(">iq", body, at)
                assert which == -1
                found.append(TopicPartition(topic, partition))
                at += 12
        return found

    def _parts(self, node: int, session: _Session) -> Iterator[FetchedBytes]:
        for at, known in session.parts.items():
            if self.leaders[at] != node or (node, at) in self.resigned:
                self.resigned.discard((node, at))
                known.end = -1
                yield FetchedBytes(*at, 6, [], b"")
                continue
            end = self.shown.get(at, len(self.history[at]))
            data = b""
            if known.offset < end:
                data = pack(">q", known.offset) + batch(b"%d" % known.offset)[8:]
            if data or known.end != end:
                known.end = end
                yield FetchedBytes(*at, 0, [], data, end, end)


def unsure(brokers: SessionBrokers, reading: KafkaReader) -> list[str]:
    """Return what the reader says of ends, and is not so."""
    return [
        f"{at}: {reading.seen_ends()[at]} records at {asked}, not {there}"
        for at in ALL
        if (asked := reading.end_asked(at)) is not None
        if (there := sum(time < asked for time in brokers.history[at])) > reading.seen_ends()[at]
    ]


async def look(brokers: SessionBrokers, reading: KafkaReader, wrong: list[str]) -> None:
    """Look at what the reader says, at every turn of the event loop."""
    while True:
        wrong += unsure(brokers, reading)
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", range(40))
async def test_every_record_is_read_once_and_no_end_is_said_that_is_not(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "backoff_seconds", lambda _: 0.0)
    random = Random(seed)
    brokers = SessionBrokers(random)
    brokers.delivery_timeout_seconds = 60.0
    reading = KafkaReader(brokers, committed_only=False)  # type: ignore[arg-type]
    reading.assign(dict.fromkeys(ALL, 0), {})
    read: dict[TopicPartition, list[int]] = {at: [] for at in ALL}
    wrong: list[str] = []
    watch = asyncio.create_task(look(brokers, reading, wrong))
    for step in range(200):
        brokers.rate = 0.05 if step < 150 else 0.0
        if step == 100:
            reading.assign({at: len(read[at]) for at in ALL}, {})
        if random.random() < brokers.rate * 2:
            brokers.move(random.choice(ALL), random.choice((1, 2)))
        if step == 150 or random.random() < 0.2:
            brokers.shown.clear()
        if step < 180 and random.random() < 0.7:
            brokers.append(random.choice(ALL[:3]))
        for at, records in (await reading.fetch(timeout_seconds=0.002)).items():
            read[at] += [record.offset for record in records]
    # Until every end was asked for after the last record.
    last = max(time for times in brokers.history.values() for time in times)
    async with asyncio.timeout(10):
        while any((reading.end_asked(at) or 0.0) <= last for at in ALL):
            for at, records in (await reading.fetch(timeout_seconds=0.002)).items():
                read[at] += [record.offset for record in records]
    watch.cancel()
    assert wrong == []
    assert read == {at: list(range(len(times))) for at, times in brokers.history.items()}
    assert reading.seen_ends() == {at: len(times) for at, times in brokers.history.items()}
    assert reading.is_answered
    assert 0 in brokers.named, "an answer about nothing says that nothing has changed"
    await reading.close()


async def test_an_idle_partition_is_named_once() -> None:
    brokers = SessionBrokers(Random(1))
    reading = KafkaReader(brokers, committed_only=False)  # type: ignore[arg-type]
    reading.assign(dict.fromkeys(ALL, 0))
    brokers.append(AT)
    assert set(await reading.fetch(timeout_seconds=5)) == {AT}
    brokers.append(NEXT)
    assert set(await reading.fetch(timeout_seconds=5)) == {NEXT}
    assert brokers.named[:2] == [5, 1]
    await reading.close()


async def test_a_range_that_ends_is_read_without_a_session() -> None:
    brokers = SessionBrokers(Random(1))
    reading = KafkaReader(brokers, committed_only=False)  # type: ignore[arg-type]
    brokers.append(AT)
    reading.assign({AT: 0, NEXT: 0}, ends={AT: 1, NEXT: 0})
    assert set(await reading.fetch(timeout_seconds=5)) == {AT}
    assert await reading.fetch(timeout_seconds=5) == {}
    assert brokers.sessions == {1: {}, 2: {}}
    await reading.close()


async def answers(reading: KafkaReader, *nodes: int) -> None:
    """Wait for the answers of these brokers, whatever they are."""
    await asyncio.wait([reading._fetches.pop(node) for node in nodes])


@pytest.mark.parametrize("moved_first", [False, True])
async def test_a_late_answer_of_the_former_leader_does_not_hide_what_the_new_one_has_said(
    moved_first: bool,
) -> None:
    """The new one does not name an idle partition again by itself."""
    brokers = SessionBrokers(Random(1))
    brokers.leaders[NEXT] = 2
    brokers.request_refresh()
    reading = KafkaReader(brokers, committed_only=False)  # type: ignore[arg-type]
    reading.assign(dict.fromkeys(ALL, 0))
    reading._ask()
    await answers(reading, 1, 2)
    brokers.open[1].clear()
    if moved_first:
        brokers.leaders[LAST] = 2
    reading._ask()
    await answers(reading, 2)
    brokers.leaders[LAST] = 2
    brokers.request_refresh()
    reading._ask()
    await answers(reading, 2)
    assert reading.end_asked(LAST) is not None
    brokers.open[1].set()
    await answers(reading, 1)
    for _ in range(2):
        reading._ask()
        await answers(reading, 1, 2)
    assert reading.end_asked(LAST) == reading.end_asked(NEXT)
    assert reading.is_answered
    await reading.close()


async def test_the_answer_of_a_former_leader_does_not_take_the_end_from_the_new_one() -> None:
    brokers = SessionBrokers(Random(1))
    brokers.leaders[NEXT] = 2
    brokers.request_refresh()
    reading = KafkaReader(brokers, committed_only=False)  # type: ignore[arg-type]
    reading.assign(dict.fromkeys(ALL, 0))
    brokers.open[1].clear()
    reading._ask()
    await answers(reading, 2)
    async with asyncio.timeout(LIMIT_SECONDS):
        await brokers.made[1].wait()  # And the answer is on its way.
    brokers.leaders[LAST] = 2
    brokers.request_refresh()
    brokers.append(LAST)
    reading._ask()
    await answers(reading, 2)
    brokers.open[1].set()
    await answers(reading, 1)
    assert reading.seen_ends()[LAST] == 1
    reading._ask()
    await answers(reading, 1, 2)
    assert reading.end_asked(LAST) == reading.end_asked(NEXT)
    await reading.close()


async def test_the_end_of_a_partition_that_failed_is_not_known_while_its_topic_is_looked_at() -> (
    None
):
    seen: list[float | None] = []

    async def require_same_topics() -> None:
        seen.append(reading.end_asked(AT))

    good = FetchedBytes(*AT, 0, [], b"", 0, 0)
    brokers = Brokers([(0, [good]), (0, [good._replace(code=100)])])
    reading = KafkaReader(brokers, committed_only=False, require_same_topics=require_same_topics)  # type: ignore[arg-type]
    reading.assign({AT: 0})
    await reading._fetch(1, {AT: 0})
    assert reading.end_asked(AT) is not None
    with pytest.raises(errors.UnknownTopicOrPartitionError):
        await reading._fetch(1, {AT: 0})
    assert seen == [None]
    assert not reading.is_answered
    await reading.close()


async def test_an_open_transaction_is_seen_after_the_records_before_it() -> None:
    """Its end and that of the partition do not change, so no answer names them again."""
    part = FetchedBytes(*AT, 0, [], batch(b"a"), 1, 4)
    brokers = Brokers([(0, [part]), (0, [])])
    reading = KafkaReader(brokers, committed_only=False)  # type: ignore[arg-type]
    reading.assign({AT: 0})
    assert list(await reading.fetch(timeout_seconds=5)) == [AT]
    assert await reading.fetch(timeout_seconds=0.01) == {}
    [trouble] = reading.troubles()
    assert trouble.kind == "blocked by an open transaction"
    assert trouble.detail == "last stable offset 1, end 4"
    await reading.close()


async def test_a_throttled_answer_that_names_all_says_how_far_all_are() -> None:
    """Some brokers send records with the pause, for ever where the load is above the quota."""

    def throttled() -> tuple[int, list[FetchedBytes]]:
        brokers.requests[-1].throttle_ms = 100
        return 0, [FetchedBytes(*AT, 0, [], b"", 0, 0)]

    brokers = Brokers([throttled])
    reading = KafkaReader(brokers, committed_only=False)  # type: ignore[arg-type]
    reading.assign({AT: 0})
    await reading._fetch(1, {AT: 0})
    assert reading.end_asked(AT) is not None
    await reading.close()
