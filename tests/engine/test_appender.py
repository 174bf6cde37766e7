"""Appends over a broker that answers badly: retried with the same bytes, or the end."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import pytest
from aiokafka import errors

from exactstage.clock import BrokerClock
from exactstage.errors import FailStop, Fenced, NotAuthorized, NotOurs
from exactstage.kafka import appender as appender_module
from exactstage.kafka.appender import NO_TIME, Appender
from exactstage.kafka.wire import Produced
from exactstage.log import NO_HEADERS, SEQUENCE_MODULUS, Batch, Channel, TopicPartition, Writer
from exactstage.memory.log import MemoryLog

if TYPE_CHECKING:
    from exactstage.kafka.connection import Connection

AT, OTHER = TopicPartition("results", 0), TopicPartition("results", 1)
Answer = Callable[[TopicPartition], int] | Exception


class Brokers:
    """Answers each request with the next of ``answers``: a code by partition, or an exception."""

    delivery_timeout_seconds = 1.0
    request_timeout_ms = 1000

    def __init__(self, answers: Sequence[Answer], leaders: Sequence[int | None] = (1,)) -> None:
        self.arguments = {"bootstrap_servers": "localhost:9092"}
        self.answers = list(answers)
        self.leaders = list(leaders)
        self.sent: list[tuple[int, dict[TopicPartition, bytes]]] = []
        self.refreshed = 0

    def leader(self, at: TopicPartition) -> int | None:
        """Return the leader; the list gives it by refreshes so far."""
        return self.leaders[min(self.refreshed, len(self.leaders) - 1)]

    async def refresh(self) -> None:
        """Count."""
        self.refreshed += 1

    async def send(self, node: int, request: Any, channel: Channel) -> Any:
        """Answer, and note what was sent."""
        batches = {
            TopicPartition(topic, p): data
            for topic, parts in request.batches.items()
            for p, data in parts
        }
        self.sent.append((node, batches))
        answer = self.answers.pop(0) if self.answers else (lambda _: 0)
        if isinstance(answer, Exception):
            raise answer
        return [Produced(*at, answer(at), 42, NO_TIME) for at in batches]


def appender(brokers: Brokers) -> Appender:
    return Appender(cast("Connection", brokers), BrokerClock())


def batch(at: TopicPartition = AT, writer: Writer | None = None) -> Batch:
    return Batch(at, writer or Writer(7, 3), [(b"key", b"value", NO_HEADERS)])


def always(code: int) -> Answer:
    return lambda _: code


RETRIED = {
    "leader moved": always(6),
    "leader not known": always(5),
    "request timed out at the broker": always(7),
    "not enough replicas": always(19),
    "not enough replicas after the append": always(20),
    "topic not known yet": always(3),
    "topic id not known yet": always(100),
    "topic id of another topic": always(103),
    "storage error": always(56),
    "request timed out": errors.RequestTimedOutError(),
    "connection lost": errors.KafkaConnectionError(),
    "broker not ready": errors.NodeNotReadyError(),
}


@pytest.mark.parametrize("answer", RETRIED.values(), ids=RETRIED.keys())
async def test_a_retriable_error_is_retried_with_the_same_bytes(answer: Answer) -> None:
    brokers = Brokers([answer, answer])
    writer = Writer(7, 3)
    offsets = await appender(brokers).append([batch(writer=writer)], Channel.JOURNAL)
    assert offsets == {AT: 42}
    assert len(brokers.sent) == 3
    assert len({batches[AT] for _, batches in brokers.sent}) == 1
    assert brokers.refreshed == 2
    assert writer.sequences[AT] == 1


async def test_a_sender_whose_records_were_lost_learns_what_happened_and_what_comes_next() -> None:
    """The broker has cut its log: what a next start says of it is in ``tests/recovery``.

    Of the same kind: that of the log in memory, which users' own tests meet.
    """
    with pytest.raises(FailStop) as cut:
        await appender(Brokers([always(45)])).append([batch()], Channel.JOURNAL)
    assert str(cut.value).startswith(f"an append to {AT} was refused: OutOfOrderSequenceNumber (")
    log = MemoryLog([AT.topic], AT.partition + 1)
    writer = Writer(7, 3)
    for _ in range(2):
        await log.append([batch(writer=writer)], Channel.JOURNAL)
    writer.take_sequence(AT, 1)
    with pytest.raises(FailStop) as in_memory:
        await log.append([batch(writer=writer)], Channel.JOURNAL)
    for caught in (cut, in_memory):
        assert "acknowledged records are missing there" in str(caught.value)
        assert "the next start finds out what is lost" in str(caught.value)


async def test_a_batch_is_sent_again_only_where_the_topic_is_the_same() -> None:
    """One that was made anew would take it. On a broker: ``test_recreated_topics.py``."""
    brokers = Brokers([always(3)])

    async def recreated() -> None:
        message = "it was deleted and recreated"
        raise NotOurs(message)

    appending = Appender(cast("Connection", brokers), BrokerClock(), recreated)
    with pytest.raises(NotOurs):
        await appending.append([batch()], Channel.JOURNAL)
    assert len(brokers.sent) == 1


async def test_an_append_follows_the_leader() -> None:
    brokers = Brokers([always(6)], leaders=[1, None, 2])
    await appender(brokers).append([batch()], Channel.JOURNAL)
    assert [node for node, _ in brokers.sent] == [1, 2]


async def test_only_what_failed_is_sent_again() -> None:
    brokers = Brokers([lambda at: 6 if at == OTHER else 0])
    offsets = await appender(brokers).append([batch(AT), batch(OTHER)], Channel.JOURNAL)
    assert set(offsets) == {AT, OTHER}
    assert [set(batches) for _, batches in brokers.sent] == [{AT, OTHER}, {OTHER}]


async def test_a_duplicate_is_an_append_whose_acknowledgement_was_lost() -> None:
    brokers = Brokers([errors.RequestTimedOutError(), always(46)])
    assert await appender(brokers).append([batch()], Channel.JOURNAL) == {AT: 42}


@pytest.mark.parametrize("code", [47, 90])
async def test_an_outdated_epoch_is_a_fence(code: int) -> None:
    with pytest.raises(Fenced, match="results/0 was refused"):
        await appender(Brokers([always(code)])).append([batch()], Channel.JOURNAL)


@pytest.mark.parametrize("code", [-1, 2**14, 10, 18, 45, 59])
async def test_every_other_refusal_is_the_end(code: int) -> None:
    brokers = Brokers([always(code)])
    with pytest.raises(FailStop, match="results/0 was refused"):
        await appender(brokers).append([batch()], Channel.JOURNAL)
    assert len(brokers.sent) == 1


@pytest.mark.parametrize(
    ("code", "step"),
    [
        (10, "max.message.bytes of the topic is too small; .*payments topics apply"),
        (18, "segment.bytes of the topic is too small; .*payments topics apply"),
        (32, "message.timestamp.type of the topic is not LogAppendTime; .*payments topics apply"),
        (45, "acknowledged records are missing .*the next start finds out"),
        (87, "docs/runbook.md"),
    ],
)
async def test_a_refusal_names_its_cause_and_the_next_step(code: int, step: str) -> None:
    """Reading, claiming and asking for offsets say it in the same words: ``hints.refusal``."""
    with pytest.raises(FailStop, match=f"^an append to results/0 was refused: .*{step}"):
        await appender(Brokers([always(code)])).append([batch()], Channel.JOURNAL)


async def test_a_missing_right_is_named_with_the_command_that_grants_it() -> None:
    brokers = Brokers([always(29)])
    with pytest.raises(NotAuthorized, match=r"lacks Write on results\. Grant it: kafka-acls\.sh"):
        await appender(brokers).append([batch()], Channel.JOURNAL)
    assert len(brokers.sent) == 1


async def test_retries_end() -> None:
    brokers = Brokers([always(6)] * 1000)
    with pytest.raises(FailStop, match="nothing is lost"):
        await appender(brokers).append([batch()], Channel.JOURNAL)


async def test_batches_go_to_the_leader_of_each_partition() -> None:
    brokers = Brokers([])
    brokers.leader = lambda at: at.partition + 1  # type: ignore[method-assign]
    await appender(brokers).append([batch(AT), batch(OTHER)], Channel.JOURNAL)
    assert sorted((node, set(batches)) for node, batches in brokers.sent) == [
        (1, {AT}),
        (2, {OTHER}),
    ]


async def test_requests_are_split_before_they_are_too_large(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(appender_module, "_REQUEST_BYTES", 10)
    brokers = Brokers([])
    await appender(brokers).append([batch(AT), batch(OTHER)], Channel.JOURNAL)
    assert [set(batches) for _, batches in brokers.sent] == [{AT}, {OTHER}]


async def test_a_batch_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appender_module, "_MAX_BATCH_BYTES", 80)
    huge = Batch(AT, Writer(7, 3), [(b"key", b"v" * 60, NO_HEADERS)] * 2)
    with pytest.raises(FailStop, match="over 80 bytes"):
        await appender(Brokers([])).append([huge], Channel.JOURNAL)


def test_sequence_numbers_continue_at_zero_after_31_bits() -> None:
    writer = Writer(7, 3, {AT: SEQUENCE_MODULUS - 2})
    assert writer.take_sequence(AT, 5) == SEQUENCE_MODULUS - 2
    assert writer.take_sequence(AT, 1) == 3
    assert writer.take_sequence(OTHER, 1) == 0


async def test_of_two_batches_for_one_partition_none_is_sent() -> None:
    brokers = Brokers([])
    with pytest.raises(AssertionError, match="one batch for each partition"):
        await appender(brokers).append([batch(), batch(OTHER), batch()], Channel.JOURNAL)
    assert brokers.sent == []
