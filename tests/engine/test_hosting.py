"""The engine in a Faust app: a second application of ten lines, run by embedded test agents."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.subscription_state import SubscriptionState
from aiokafka.errors import (
    ConsumerStoppedError,
    GroupAuthorizationFailedError,
    InconsistentGroupProtocolError,
    KafkaError,
)
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, StreamT
from mode.utils.logging import flight_recorder

from exactstage.errors import FailStop, Fenced
from exactstage.hosting import EngineApp
from exactstage.hosting.membership import MembershipConsumer
from exactstage.log import TopicPartition as LogPartition
from exactstage.memory import MemoryLog
from exactstage.ownership import Ownership
from exactstage.partitioner import partition_of
from exactstage.reading import Delivery
from exactstage.stage import topics_of
from payments.testing import Testbed

from .wordcount import word_count

CONNECTION = {"bootstrap_servers": "localhost:9092"}  # All else has a default.


def words_app(log: Any) -> EngineApp:
    stage = word_count()
    app = EngineApp("words", stages=[stage], partitions=2, connection=CONNECTION, log=log)
    app.rows(stage)

    @app.agent(app.inputs(stage), name="count")
    async def count(stream: StreamT[Delivery]) -> None:
        async for delivery in stream:
            await app.engine.handle(delivery)

    return app


def words_testbed() -> Testbed:
    return Testbed(words_app, topics_of([word_count()]), partitions=2)


async def test_a_second_application_runs_on_the_engine() -> None:
    async with words_testbed() as words:
        for word in (b"to", b"be", b"or", b"not", b"to", b"be"):
            words.produce("words", word, b"")
        await words.quiet()
        counts = {record.key: record.value for record in words.records("counts")}
    assert counts == {b"to": b"2", b"be": b"2", b"or": b"1", b"not": b"1"}


async def test_rows_can_be_read_as_a_table_but_not_written() -> None:
    async with words_testbed() as words:
        words.produce("words", b"to", b"")
        await words.quiet()
        table: Any = words.app.tables["count"]
        assert table[b"to"] == b"1"
        assert (len(table), list(table)) == (1, [b"to"])
        with pytest.raises(KeyError):
            table[b"be"]
        with pytest.raises(TypeError, match="through the journal"):
            table[b"to"] = b"7"
        with pytest.raises(TypeError, match="through the journal"):
            del table[b"to"]


class Ended(BaseException):
    """Stands for the end of the process."""


def embedded_app(monkeypatch: pytest.MonkeyPatch) -> tuple[EngineApp, list[FailStop]]:
    app = words_app(MemoryLog(topics_of([word_count()]), 2))
    failures: list[FailStop] = []

    def fail_stop(failure: FailStop) -> None:
        failures.append(failure)
        raise Ended

    monkeypatch.setattr(app, "fail_stop", fail_stop)
    return app, failures


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KafkaError("no coordinator"), "the membership in group words is dead: KafkaError"),
        (InconsistentGroupProtocolError(), "group words (PAYMENTS_APP_ID) has members of another"),
        (GroupAuthorizationFailedError("words"), "lacks Read on the group"),
        (ConsumerStoppedError(), "the membership has ended although the worker still runs"),
    ],
)
async def test_a_worker_whose_membership_has_died_ends(
    monkeypatch: pytest.MonkeyPatch, error: Exception, expected: str
) -> None:
    app, failures = embedded_app(monkeypatch)

    async def poll() -> None:
        raise error

    monkeypatch.setattr(app.membership._thread, "poll", poll)
    with pytest.raises(Ended):
        await MembershipConsumer._watch.fun(app.membership)
    assert expected in str(failures[0])


@pytest.mark.parametrize("partition", [0, 1])
async def test_a_consumer_that_fetches_nothing_is_never_reported_as_slow(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, partition: int
) -> None:
    """The same kind: commits of what agents acknowledge; all that Faust does for a fetcher.

    Whole processes that are idle for over five minutes are looked at by ``make soak``.
    """
    app, _ = embedded_app(monkeypatch)
    membership = app.membership
    membership._thread.time_started = 0.0  # Long before Faust's five minutes.
    idle = SimpleNamespace(timestamp=None, highwater=None, position=0)
    assignment = SimpleNamespace(active=True, state_value=lambda _: idle)
    state = SimpleNamespace(subscription=SimpleNamespace(assignment=assignment))
    membership._thread._consumer = SimpleNamespace(
        assignment=lambda: {TP("words", partition)}, _fetcher=SimpleNamespace(_subscriptions=state)
    )
    with caplog.at_level("DEBUG"):
        for check in (
            MembershipConsumer._commit_livelock_detector,
            MembershipConsumer._commit_handler,
        ):
            async with asyncio.timeout(30):
                await check.fun(membership)
        await membership.verify_all_partitions_active()
        membership.verify_event_path(1e6, TP("words", partition))
        membership.verify_recovery_event_path(1e6, TP("words", partition))
    assert caplog.records == []


async def test_a_fenced_worker_with_an_instance_id_is_advised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The broker tells it too, if it comes first: ``tests/broker/test_start_and_stop.py``."""
    app, _ = embedded_app(monkeypatch)
    assert app.in_words(Fenced("refused")) == "refused"
    monkeypatch.setattr(app, "_instance_id", "one")
    assert "the same PAYMENTS_INSTANCE_ID, one" in app.in_words(Fenced("refused"))
    assert app.in_words(FailStop("no leader")) == "no leader"


class MortalClient:
    """A client whose metadata task ends a number of times, and then lives."""

    def __init__(self, deaths: int) -> None:
        self.deaths = deaths
        self.answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sync_task = asyncio.create_task(self._md_synchronizer())

    async def _md_synchronizer(self) -> None:
        self.deaths -= 1
        if self.deaths >= 0:
            raise RuntimeError("unable to perform operation on a closed transport")
        self.answer.set_result(None)
        await asyncio.Event().wait()


def poll_of(app: EngineApp, client: MortalClient) -> Callable[[], Coroutine[None, None, None]]:
    thread = app.membership._thread
    coordinator = SimpleNamespace(check_errors=lambda: None, coordinator_id=1)
    fetcher = SimpleNamespace(_subscriptions=SimpleNamespace(fetch_context=nullcontext))
    thread._consumer = SimpleNamespace(_coordinator=coordinator, _client=client, _fetcher=fetcher)
    return thread._poll


async def test_a_metadata_task_of_the_membership_that_has_ended_is_started_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, complaints: list[str]
) -> None:
    app, _ = embedded_app(monkeypatch)
    client = MortalClient(3)
    poll = poll_of(app, client)
    while not client.answer.done():
        await asyncio.sleep(0)
        await poll()
    assert caplog.text.count("is started again: RuntimeError('unable to perform") == 3
    client._sync_task.cancel()
    gc.collect()
    assert complaints == []


async def test_a_membership_whose_metadata_task_ends_again_and_again_is_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, _ = embedded_app(monkeypatch)
    await app.membership._thread._poll()
    poll = poll_of(app, MortalClient(100))
    for _ in range(10):
        await asyncio.sleep(0)
        await poll()
    await asyncio.sleep(0)
    with pytest.raises(KafkaError, match="ends again and again"):
        await poll()


async def test_what_is_assigned_is_paused_at_a_position_before_anything_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, _ = embedded_app(monkeypatch)
    at = {TopicPartition("words", 0), TopicPartition("words", 1)}
    subscription = SubscriptionState()
    subscription.subscribe({"words"})
    subscription.assign_from_subscribed(at)
    told: list[bool] = []

    async def tell(*_: object) -> None:
        states = [subscription.subscription.assignment.state_value(one) for one in at]
        told.extend(state.paused and state.has_valid_position for state in states)

    thread = app.membership._thread
    monkeypatch.setattr(driver.AIOKafkaConsumerThread, "on_partitions_assigned", tell)
    thread._consumer = SimpleNamespace(
        assignment=subscription.assigned_partitions,
        pause=lambda *paused: [subscription.pause(one) for one in paused],
        seek=subscription.seek,
    )
    await thread.on_partitions_assigned({TP(*one) for one in at}, 1)
    assert told == [True, True]


async def test_positions_that_can_not_be_committed_are_only_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = embedded_app(monkeypatch)
    committed: list[Any] = []

    async def commit(_assignment: Any, offsets: Any) -> None:
        committed.append(offsets)
        raise KafkaError("rebalancing")

    thread, at = app.membership._thread, SimpleNamespace(tps={TP("words", 0)})
    thread._consumer = SimpleNamespace(
        _coordinator=SimpleNamespace(commit_offsets=commit),
        _subscription=SimpleNamespace(subscription=SimpleNamespace(assignment=at)),
    )
    await thread._commit_positions({TP("words", 1): 7, TP("added", 1): 3})
    assert not committed
    with caplog.at_level("DEBUG"):
        await thread._commit_positions(
            {TP("words", 0): 7, TP("words", 1): 7, TP("added", 0): 3, TP("added", 1): 3}
        )
    committed_at = {tuple(at): offset.offset for at, offset in committed[0].items()}
    assert committed_at == {("words", 0): 7, ("added", 0): 3}
    assert "positions were not committed to the group" in caplog.text


async def test_a_worker_that_can_not_start_its_engine_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    app, failures = embedded_app(monkeypatch)
    monkeypatch.setattr(app, "partitions", 3)
    with pytest.raises(Ended):
        await app.on_first_start()
    assert "the topics have 2 partitions, but PAYMENTS_PARTITIONS is 3" in str(failures[0])
    await app.engine.stop()


async def test_a_drain_that_takes_too_long_ends_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, failures = embedded_app(monkeypatch)
    monkeypatch.setattr(app, "_drain_timeout_seconds", 0.01)
    monkeypatch.setattr(app, "_engine", SimpleNamespace(drain=asyncio.Event().wait))
    with pytest.raises(Ended):
        await app._drain()
    assert "could not be published within" in str(failures[0])


def test_rebalances_that_take_long_or_overlap_are_no_news(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app, _ = embedded_app(monkeypatch)
    with caplog.at_level("WARNING"):
        flight_recorder(app.log, timeout=1.0).blush()
        for _ in range(2):
            app.on_rebalance_start()
        for _ in range(2):
            app.on_rebalance_return()
            app.on_rebalance_end()
        app.log.warning("anything else")
    assert [record.getMessage()[-13:] for record in caplog.records] == ["anything else"]


async def test_an_end_that_fails_ends_the_worker_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app, failures = embedded_app(monkeypatch)

    async def stop() -> None:
        raise RuntimeError("the handler is closed")

    async def drain() -> None:
        """Have nothing to publish."""

    engine = SimpleNamespace(drain=drain, stop=stop, owned=Ownership(["count"]))
    monkeypatch.setattr(app, "_engine", engine)
    with pytest.raises(Ended):
        await app.on_stop()
    assert "the end failed: RuntimeError('the handler is closed')" in str(failures[0])


async def test_leaving_an_embedded_app_that_can_not_publish_ends_with_the_reason() -> None:
    """As a plain host does (``test_public_api.py``): what never is published is not waited for."""
    log, leaving = MemoryLog(topics_of([word_count()]), 2), asyncio.Event()
    app = words_app(log)

    async def no_room(*_: object) -> None:
        await leaving.wait()
        raise FailStop("no room")

    async with asyncio.timeout(60):
        with pytest.raises(FailStop, match="no room"):  # noqa: PT012 - it comes at the end
            async with app.test_context():
                log.append = no_room  # type: ignore[method-assign, assignment]
                log.produce(LogPartition("words", partition_of(b"a", 2)), b"a", b"")
                while app.engine.is_idle:
                    await log.grown(0.005)
                asyncio.get_running_loop().call_soon(leaving.set)
