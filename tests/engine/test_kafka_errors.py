"""Reading, claiming and asking for offsets over a broker that answers badly."""

import asyncio
import gc
import math
import weakref
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import errors
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from exactstage.errors import FailStop, Fenced, NotOurs, PositionLost
from exactstage.kafka import connection as connection_module
from exactstage.kafka.claims import Claims
from exactstage.kafka.connection import Connection, RetryPolicy
from exactstage.kafka.diagnosis import Refusal
from exactstage.kafka.offsets import bounds
from exactstage.kafka.open_transactions import OpenTransactions
from exactstage.kafka.reader import KafkaReader
from exactstage.kafka.throttling import Throttling
from exactstage.kafka.wire import FetchedBytes, Offset
from exactstage.log import Channel, TopicPartition, Writer
from exactstage.outage import SAME_WITHIN_SECONDS, Outage

AT = TopicPartition("inbox", 0)
NEXT = TopicPartition("inbox", 1)
RETRIABLE_CODES = [3, 5, 6, 56, 100, 103]


class Brokers:
    """Answers each request with the next of ``answers``, the last one again and again."""

    delivery_timeout_seconds = 1.0
    request_timeout_ms = 1000
    arguments: Mapping[str, Any] = {"bootstrap_servers": "kafka:9092"}

    def __init__(self, answers: Sequence[Any], leader: int | None = 1) -> None:
        self.answers = list(answers)
        self.requests: list[Any] = []
        self.throttling = Throttling()
        self.coordinators_asked = 0
        self.refreshed = 0
        self.node: int | None = leader
        self.client = SimpleNamespace(get_random_node=lambda: self.node)

    @property
    def leaders_version(self) -> int:
        """Have another one after each refresh."""
        return self.refreshed

    def leader(self, at: TopicPartition) -> int | None:
        """Return the same leader for all; after a refresh there is one."""
        return self.node

    async def coordinator(self, name: str) -> int:
        """Return the only node."""
        self.coordinators_asked += 1
        return 1

    async def refresh(self) -> None:
        """Find a leader."""
        self.request_refresh()

    def request_refresh(self) -> None:
        """Find a leader."""
        self.refreshed += 1
        self.node = 1

    async def send(self, node: int, request: Any, channel: Channel = Channel.JOURNAL) -> Any:
        """Answer, or raise the answer."""
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer() if callable(answer) else answer

    def oldest_request(self) -> float | None:
        """Have answered them all."""
        return None

    async def close(self) -> None:
        """Nothing to close."""


def batch(*values: bytes) -> bytes:
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, 0, 1 << 20)
    for index, value in enumerate(values):
        builder.append(index, 1000, b"k", value, [])
    return bytes(builder.build())


def fetched(code: int = 0, data: bytes = b"", at: TopicPartition = AT) -> FetchedBytes:
    return FetchedBytes(*at, code, [], data)


def reader(brokers: Brokers, *at: TopicPartition) -> KafkaReader:
    made = KafkaReader(brokers, committed_only=False)  # type: ignore[arg-type]
    made.assign(dict.fromkeys(at or (AT,), 0))
    return made


async def values(reading: KafkaReader) -> list[bytes | None]:
    found = await reading.fetch(timeout_seconds=5)
    await reading.close()
    return [record.value for records in found.values() for record in records]


@pytest.mark.parametrize("code", RETRIABLE_CODES)
async def test_a_fetch_is_asked_again_after_a_retriable_error(code: int) -> None:
    brokers = Brokers([(0, [fetched(code)]), (0, [fetched(data=batch(b"a"))])])
    assert await values(reader(brokers)) == [b"a"]
    assert brokers.refreshed


@pytest.mark.parametrize("code", [100, 103])
async def test_a_fetch_by_the_id_of_a_topic_that_was_recreated_ends_it(code: int) -> None:
    """A broker that does not know the id yet is no reason: above. Appends: ``test_appender``."""
    told = NotOurs("inbox had another topic id")

    async def require_same_topics() -> None:
        raise told

    brokers = Brokers([(0, [fetched(code)])])
    reading = KafkaReader(brokers, committed_only=False, require_same_topics=require_same_topics)  # type: ignore[arg-type]
    reading.assign({AT: 0})
    with pytest.raises(NotOurs) as ended:
        await reading.fetch(timeout_seconds=5)
    assert ended.value is told
    await reading.close()


@pytest.mark.parametrize("error", [errors.KafkaConnectionError(), errors.RequestTimedOutError()])
async def test_a_fetch_is_asked_again_after_a_lost_connection(error: Exception) -> None:
    assert await values(reader(Brokers([error, (0, [fetched(data=batch(b"a"))])]))) == [b"a"]


async def test_a_fetch_that_failed_as_a_whole_is_asked_again() -> None:
    assert await values(reader(Brokers([(6, []), (0, [fetched(data=batch(b"a"))])]))) == [b"a"]


async def test_records_of_other_partitions_come_beside_an_error() -> None:
    parts = [fetched(6), fetched(data=batch(b"b"), at=NEXT)]
    brokers = Brokers([(0, parts)])
    assert await values(reader(brokers, AT, NEXT)) == [b"b"]
    assert brokers.refreshed


async def test_records_that_were_taken_go_out_before_an_error_is_waited_for() -> None:
    brokers = Brokers([(0, [fetched(data=batch(b"a"))]), errors.KafkaConnectionError()])
    reading = reader(brokers)
    reading._ask()
    brokers.leader = lambda at: 2  # type: ignore[method-assign]
    brokers.refreshed += 1
    reading._leaders = 0
    found = await reading.fetch(timeout_seconds=5)
    assert [record.value for records in found.values() for record in records] == [b"a"]
    assert reading.positions()[AT] == 1
    assert reading._retry is None
    await reading.close()


async def test_partitions_without_a_leader_wait_for_one() -> None:
    brokers = Brokers([(0, [fetched(data=batch(b"a"))])], leader=None)
    assert await values(reader(brokers)) == [b"a"]


async def test_reading_ends_when_no_broker_answers_for_long() -> None:
    reading = reader(Brokers([errors.KafkaConnectionError()]))
    with pytest.raises(FailStop, match=r"KafkaConnectionError.*nothing is lost"):
        await values(reading)


async def test_a_partition_that_fails_for_long_ends_reading_although_others_go_on() -> None:
    parts = [fetched(6), fetched(data=batch(b"b"), at=NEXT)]
    reading = reader(Brokers([(0, parts)]), AT, NEXT)

    async def read_for_ever() -> None:
        while True:
            await reading.fetch(timeout_seconds=5)

    with pytest.raises(FailStop, match="inbox/0 could not be read for"):
        await read_for_ever()
    await reading.close()


async def test_a_partition_that_an_open_transaction_blocks_is_a_trouble_until_it_moves() -> None:
    """The same kind: no leader (``_unread``), records that don't come, a broker that is silent.

    On a broker: ``tests/broker/test_standstill.py``.
    """
    blocked = fetched()._replace(stable=0, end=3)
    withheld = fetched(at=NEXT)._replace(stable=3, end=3)
    moving = fetched(data=batch(b"a"))._replace(stable=1, end=1)
    gone = fetched(6, at=NEXT)
    brokers = Brokers([(0, [blocked, withheld]), (0, [blocked, withheld]), (0, [moving, gone])])
    reading = reader(brokers, AT, NEXT)
    assert await reading._fetch(1, {AT: 0, NEXT: 0}) == {}
    first, other = reading.troubles()
    assert (first.where, first.detail) == ("inbox/0", "last stable offset 0, end 3")
    assert first.kind == "blocked by an open transaction"
    assert "--bootstrap-server kafka:9092 abort" in first.advice
    assert (other.kind, other.partition) == ("records are there and don't come", True)
    await reading._fetch(1, {AT: 0, NEXT: 0})
    assert reading.troubles() == [first, other]
    await reading._fetch(1, {AT: 0, NEXT: 0})
    assert [trouble.kind for trouble in reading.troubles()][-1] == "can't be read"
    reading.assign({})
    assert reading.troubles() == []


async def test_a_retry_is_no_trouble_any_more_when_nothing_is_read() -> None:
    reading = reader(Brokers([errors.KafkaConnectionError()]))
    assert await reading.fetch(timeout_seconds=0.001) == {}
    assert "no success yet" in [trouble.kind for trouble in reading.troubles()]
    reading.assign({})
    assert reading.troubles() == []
    await reading.close()


async def test_a_fetch_that_failed_late_counts_from_when_it_was_sent() -> None:
    """Else a worker whose broker is frozen would be ready for a while after each timeout."""

    class Slow(Brokers):
        """Fails when it is told to."""

        async def send(self, node: int, request: Any, channel: Channel = Channel.JOURNAL) -> Any:
            """Wait, and fail."""
            await told.wait()
            raise errors.RequestTimedOutError

    told, loop = asyncio.Event(), asyncio.get_running_loop()
    reading = reader(Slow([]))
    before = loop.time()
    fetch = asyncio.create_task(reading._fetch(1, {AT: 0}))
    await asyncio.sleep(0)
    sent = loop.time()
    loop.call_later(0.05, told.set)
    with pytest.raises(errors.RequestTimedOutError):
        await fetch
    [trouble] = reading.troubles()
    assert before <= trouble.since <= sent


async def test_each_partition_comes_first_in_its_turn() -> None:
    brokers = Brokers([(0, [])])
    reading = reader(brokers, AT, NEXT)
    for _ in range(2):
        reading._ask()
        await asyncio.wait(reading._fetches.values())
        reading._fetches.clear()
    assert [request._offsets for request in brokers.requests] == [
        {"inbox": [(1, 0), (0, 0)]},
        {"inbox": [(0, 0), (1, 0)]},
    ]


async def test_a_position_that_was_deleted_is_never_reset() -> None:
    with pytest.raises(PositionLost, match="inbox/0/0 is not in the log any more"):
        await values(reader(Brokers([(0, [fetched(1)])])))


async def test_a_refused_fetch_is_the_end() -> None:
    with pytest.raises(FailStop, match="not authorized: this user lacks Read on inbox"):
        await values(reader(Brokers([(0, [fetched(29)])])))


async def test_what_was_fetched_for_an_earlier_assignment_is_dropped() -> None:
    brokers = Brokers([(0, [fetched(data=batch(b"a"))])])
    reading = reader(brokers)
    assert await reading.fetch(timeout_seconds=1)
    reading.assign({})
    with pytest.raises(FailStop, match="no partition has a leader"):
        await reading.fetch(timeout_seconds=5)
    await reading.close()


async def test_what_is_read_to_its_end_is_not_asked_for_again() -> None:
    brokers = Brokers([(0, [fetched(data=batch(b"a", b"b"))])])
    reading = KafkaReader(brokers, committed_only=False)  # type: ignore[arg-type]
    reading.assign({AT: 0, NEXT: 5}, ends={AT: 2, NEXT: 5})
    found = await reading.fetch(timeout_seconds=5)
    assert [record.value for record in found[AT]] == [b"a", b"b"]
    async with asyncio.timeout(5):
        assert await reading.fetch(timeout_seconds=math.inf) == {}
    assert len(brokers.requests) == 1
    await reading.close()


class ClosingBrokers(Brokers):
    """Answers with records once; later requests meet a connection that closes as they are dropped.

    ``asyncio.wait_for``, in aiokafka's connection, tells the error then and not the cancellation.
    """

    async def send(self, node: int, request: Any, channel: Channel = Channel.JOURNAL) -> Any:
        """Answer the first request only."""
        if not self.requests:
            return await super().send(node, request, channel)
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise errors.KafkaConnectionError from None


async def test_a_fetch_that_fails_as_it_is_dropped_is_forgotten(complaints: list[str]) -> None:
    reading = reader(ClosingBrokers([(0, [fetched(data=batch(b"a"))])]))
    await reading.fetch(timeout_seconds=5)
    [dropped] = reading._fetches.values()
    await asyncio.sleep(0)
    reading.assign({AT: 0})
    await asyncio.wait([dropped])
    gone = weakref.ref(dropped)
    del dropped
    gc.collect()
    assert gone() is None
    assert complaints == []


def answer(code: int) -> Any:
    return SimpleNamespace(
        error_code=code, producer_id=7, producer_epoch=3, errors=[("inbox", [(0, code)])]
    )


CONCURRENT_TRANSACTIONS = 51


@pytest.mark.parametrize("code", [14, 15, 16, CONCURRENT_TRANSACTIONS])
async def test_a_claim_waits_for_its_coordinator(code: int) -> None:
    brokers = Brokers([answer(code), answer(code), answer(0)])
    writer = await Claims(brokers).claim("words-0", [AT])  # type: ignore[arg-type]
    assert (writer.producer_id, writer.epoch) == (7, 3)
    # InitProducerId, and twice AddPartitionsToTxn and EndTxn.
    assert len(brokers.requests) == 2 + 5
    # Each is sent to the node that was named, unless it has just not been the coordinator.
    assert brokers.coordinators_asked == (1 if code == CONCURRENT_TRANSACTIONS else 3)


@pytest.mark.parametrize("code", [47, 90])
async def test_a_claim_that_another_worker_took_is_a_fence(code: int) -> None:
    with pytest.raises(Fenced, match="the claim of words-0 was refused"):
        await Claims(Brokers([answer(code)])).renew("words-0", Writer(7, 3), [AT])  # type: ignore[arg-type]


async def test_a_refused_claim_is_the_end() -> None:
    with pytest.raises(FailStop, match="lacks Write on the transactional id words-0"):
        await Claims(Brokers([answer(53)])).claim("words-0", [AT])  # type: ignore[arg-type]


async def test_partitions_that_can_not_be_added_are_refused() -> None:
    refused = SimpleNamespace(errors=[("inbox", [(0, 29)])])
    with pytest.raises(FailStop, match="lacks Write on inbox"):
        await Claims(Brokers([refused])).renew("words-0", Writer(7, 3), [AT])  # type: ignore[arg-type]


async def test_a_writer_is_asked_for_again_when_no_broker_is_known() -> None:
    brokers = Brokers([answer(0)], leader=None)
    assert (await Claims(brokers).new_writer()).producer_id == 7  # type: ignore[arg-type]


def offsets(code: int, offset: int = 42) -> Any:
    return [Offset(*AT, code, offset)]


@pytest.mark.parametrize("code", RETRIABLE_CODES)
async def test_offsets_are_asked_for_again_after_a_retriable_error(code: int) -> None:
    brokers = Brokers([offsets(code), offsets(code), offsets(0)])
    assert await bounds(brokers, [AT]) == {AT: (42, 42)}  # type: ignore[arg-type]


async def test_what_only_readers_wait_for_is_a_trouble_until_the_transaction_ends() -> None:
    """On a broker: ``tests/broker/test_standstill.py``."""
    brokers = Brokers([offsets(0), offsets(0, 40), offsets(0), offsets(29), offsets(0)])
    held = OpenTransactions(brokers)  # type: ignore[arg-type]
    await held.check([AT])
    [trouble] = held.troubles("kafka:9092")
    assert (trouble.where, trouble.detail) == ("inbox/0", "last stable offset 40, end 42")
    await held.check([AT])
    assert held.troubles("kafka:9092") == [trouble], "without an answer nothing changes"
    held = OpenTransactions(Brokers([offsets(0), offsets(0)]))  # type: ignore[arg-type]
    await held.check([AT])
    assert held.troubles("kafka:9092") == []


async def test_offsets_wait_for_a_leader() -> None:
    brokers = Brokers([offsets(0)], leader=None)
    assert await bounds(brokers, [AT]) == {AT: (42, 42)}  # type: ignore[arg-type]


async def test_refused_offsets_are_the_end() -> None:
    with pytest.raises(FailStop, match="not authorized: this user lacks Describe on inbox"):
        await bounds(Brokers([offsets(29)]), [AT])  # type: ignore[arg-type]


async def test_a_retry_policy_ends_with_what_was_tried(caplog: pytest.LogCaptureFixture) -> None:
    retry = RetryPolicy("trying", 0.4)

    async def try_for_ever() -> None:
        while True:
            await retry.after(OSError("no"))

    with pytest.raises(
        FailStop, match=r"trying: no success after .* s: OSError: no; look at the brokers"
    ):
        await try_for_ever()
    assert caplog.records == []


async def test_what_fails_for_long_is_said_once_with_its_beginning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """However many tasks meet it: a line in ten seconds for each process."""
    outage = Outage()
    for doing in ("reading", "appending to a/0", "asking for offsets"):
        outage.failed(doing, "no leader", 1.0, 60.0)
    assert caplog.records == []
    for doing in ("reading", "appending to a/0", "asking for offsets"):
        outage.failed(doing, "no leader", 3.0, 60.0)
    [said] = caplog.records
    assert "reading: no success since " in said.getMessage()
    assert "tried again for 60 s at a time: no leader" in said.getMessage()


async def test_whoever_gives_up_and_begins_again_names_the_beginning_of_all(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway waits for its broker for ever, 60 seconds at a time."""
    now = 1000.0
    monkeypatch.setattr("exactstage.outage.time.monotonic", lambda: now)
    outage = Outage()
    for seconds in (*range(61), *range(61)):
        outage.failed("reading", "no leader", float(seconds), 60.0)
        now += 1.0
    assert "(112 s)" in caplog.records[-1].getMessage()
    now += SAME_WITHIN_SECONDS
    outage.failed("reading", "no leader", 3.0, 60.0)
    assert "(3 s)" in caplog.records[-1].getMessage(), "it was over meanwhile"


class NoBroker:
    """A client that can't connect."""

    def __init__(self, **_: Any) -> None:
        self.hosts = [("nowhere", 9092, 0)]
        self._sync_task = None

    async def bootstrap(self) -> None:
        """Find no broker."""
        raise errors.KafkaConnectionError

    async def close(self) -> None:
        """Nothing to close."""


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ("nowhere:9092: nothing listens there", "9092 .PAYMENTS_BROKERS.: no success .* listens"),
        (Refusal("nowhere:9092 refuses the credentials"), "^nowhere:9092 refuses the credentials$"),
    ],
)
async def test_connecting_ends_after_a_while_or_at_once_when_it_is_refused(
    monkeypatch: pytest.MonkeyPatch, found: str | Refusal, expected: str
) -> None:
    async def diagnose(*_: Any) -> str:
        if isinstance(found, Refusal):
            raise found
        return found

    monkeypatch.setattr(connection_module, "NonCreatingClient", NoBroker)
    monkeypatch.setattr(connection_module, "diagnosis", diagnose)
    connection = Connection({"bootstrap_servers": "nowhere:9092"}, delivery_timeout_seconds=0.1)
    with pytest.raises(FailStop, match=expected):
        await connection.start([])


async def test_leaders_are_learned_even_when_the_client_s_own_task_has_died() -> None:
    class Client:
        """A client whose first broker is gone, and whose own task never answers."""

        def __init__(self) -> None:
            self.updated: list[Any] = []
            self.asked: list[int] = []
            self.cluster = SimpleNamespace(
                brokers=lambda: [SimpleNamespace(nodeId=1), SimpleNamespace(nodeId=2)],
                update_metadata=self.updated.append,
            )

        def force_metadata_update(self) -> asyncio.Future[bool]:
            """Never answer."""
            return asyncio.get_running_loop().create_future()

        async def send(self, node: int, request: Any) -> str:
            """Answer as node 2."""
            self.asked.append(node)
            if node == 1:
                raise errors.NodeNotReadyError
            return "metadata"

    connection = Connection({"bootstrap_servers": "x:1"}, delivery_timeout_seconds=60)
    client: Any = Client()
    connection._client = client
    for _ in range(8):
        async with asyncio.timeout(30):
            await connection.refresh()
    assert client.updated == ["metadata"] * 8
    assert set(client.asked) == {1, 2}


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (RuntimeError("unable to perform operation; the handler is closed"), errors.KafkaError),
        (RuntimeError("Event loop stopped"), RuntimeError),
    ],
)
async def test_a_connection_that_has_just_closed_is_a_retriable_error(
    raised: Exception, expected: type[Exception]
) -> None:
    async def send(*_: object, **__: object) -> None:
        raise raised

    connection = Connection({}, delivery_timeout_seconds=1)
    client: Any = SimpleNamespace(send=send)
    connection._client = client
    with pytest.raises(expected) as caught:
        await connection.send(1, None)
    assert isinstance(caught.value, connection_module.RETRIABLE) is (expected is errors.KafkaError)
