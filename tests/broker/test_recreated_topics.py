"""A topic that is deleted and recreated, or deleted, under a running worker.

What a start says then is in ``test_identity.py``; what an operator does, in ``tests/recovery``.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from exactstage.errors import NotOurs
from exactstage.kafka import KafkaLog
from exactstage.log import NO_HEADERS, Batch, Channel, TopicPartition
from payments.settings import Settings
from payments.topics.cluster import cluster
from payments.topics.file import read_topics
from tests.broker_fixture import TOPICS, Installations
from tools.dev.broker import kafka_version

from .client import Client, WorkerProcess, read_all

MAKE = {"type": "make", "account": "abc", "amount": 100}


async def make_anew(settings: Settings, topic: str) -> None:
    """Delete one topic and make it again, as fast as an operator's script can."""
    async with cluster(settings) as connected:
        await connected.delete([topic])
    await restore(settings, topic)


async def last_line(worker: WorkerProcess) -> str:
    assert await worker.ended() == 70
    return worker.log.read_text().splitlines()[-1]


async def restore(settings: Settings, topic: str) -> None:
    """Make a topic that is not there, so that the fixture finds it."""
    wanted = tuple(each for each in read_topics(TOPICS, settings) if each.name == topic)
    async with cluster(settings) as connected:
        await connected.apply(await connected.plan(wanted), wanted)


async def test_an_idle_worker_ends_when_one_of_its_topics_is_recreated_or_deleted(
    installations: Installations,
) -> None:
    """All topics are looked at in one request: these stand for inputs, outputs and journals."""

    async def lose(topic: str, *, made: bool) -> None:
        settings = await installations.make(opening_balance=1000, partitions=1)
        worker = WorkerProcess(settings)
        lost = topic.replace("{app}", settings.app_id)
        lost = lost if lost != topic else settings.topic(topic)
        try:
            await worker.start()
            if made:
                await make_anew(settings, lost)
            else:
                async with cluster(settings) as connected:
                    await connected.delete([lost])
            line = await last_line(worker)
            # On a busy machine it may be gone for so long that this is what is seen.
            assert f"fail-stop: {lost} was deleted while this process ran. " in line or (
                made and f"fail-stop: {lost} had the topic id " in line
            ), line
            assert "Stop all workers; docs/runbook.md has the next step for each topic" in line
            assert "Traceback" not in worker.log.read_text()
        finally:
            await worker.kill()
            worker.log.unlink()
            await restore(settings, lost)

    async with asyncio.TaskGroup() as group:
        group.create_task(lose("payments.transfers", made=True))
        group.create_task(lose("{app}-accounts-changelog", made=False))


async def test_a_worker_at_work_writes_nothing_to_a_ledger_that_is_recreated(
    installations: Installations,
) -> None:
    """What it appended there would make the ledger contradict itself, and a rebuild impossible."""
    settings = await installations.make(opening_balance=1000, partitions=1)
    worker = WorkerProcess(settings)
    ledger = settings.topics.ledger
    try:
        await worker.start()
        async with Client(settings) as client:
            await client.send("p1", MAKE)
            await make_anew(settings, ledger)
            assert f"fail-stop: {ledger} " in await last_line(worker)
        assert not await read_all(settings, ledger)
    finally:
        await worker.kill()
        worker.log.unlink()


@asynccontextmanager
async def log_of(settings: Settings, *topics: str) -> AsyncIterator[KafkaLog]:
    """Return a log that has established the ids of these topics."""
    log = KafkaLog(settings.connection(), keeps_topics=True)
    await log.start(topics)
    try:
        await log.describe(topics)
        yield log
    finally:
        await log.close()


BY_ID = pytest.mark.skipif(
    kafka_version().startswith("3."), reason="the broker does not know appends by topic id"
)


@BY_ID
async def test_the_first_append_after_a_topic_is_recreated_is_refused(
    installations: Installations,
) -> None:
    """Within the second before the worker looks at its topics again, and without an error before.

    Of the same kind: fetches (below), other error codes of ids (``tests/engine``), and a topic that
    is only deleted (the idle workers above).
    """
    settings = await installations.make(partitions=1)
    ledger, results = settings.topics.ledger, settings.topics.results
    async with log_of(settings, ledger, results) as log:
        writer = await log.new_writer()

        async def append(topic: str, value: bytes) -> None:
            batch = Batch(TopicPartition(topic, 0), writer, [(b"key", value, NO_HEADERS)])
            await log.append([batch], Channel.PUBLISH)

        await append(ledger, b"one")
        await append(results, b"two")
        await make_anew(settings, ledger)
        await append(results, b"others are not affected")
        with pytest.raises(NotOurs, match=f"{ledger} (had the topic id|was deleted)"):
            await append(ledger, b"lost")
    assert not await read_all(settings, ledger)
    assert [record.value for record in await read_all(settings, results)] == [
        b"two",
        b"others are not affected",
    ]


async def test_a_fetch_from_a_recreated_topic_is_refused(installations: Installations) -> None:
    """A position in it may be valid again: the new topic is as long as the old one was."""
    settings = await installations.make(partitions=1)
    at = TopicPartition(settings.topics.transfers, 0)
    async with log_of(settings, at.topic) as log, log_of(settings, at.topic) as other:
        batch = Batch(at, await other.new_writer(), [(b"key", b"old", NO_HEADERS)])
        await other.append([batch], Channel.PUBLISH)
        reader = await log.open_reader(committed_only=True)
        try:
            reader.assign({at: 0})
            assert await reader.fetch(timeout_seconds=10)
            await make_anew(settings, at.topic)
            async with log_of(settings, at.topic) as anew:
                for value in (b"new", b"never read"):
                    batch = Batch(at, await anew.new_writer(), [(b"key", value, NO_HEADERS)])
                    await anew.append([batch], Channel.PUBLISH)
            with pytest.raises(NotOurs, match=f"{at.topic} (had the topic id|was deleted)"):
                await reader.fetch(timeout_seconds=20)
        finally:
            await reader.close()


async def test_a_topic_that_a_broker_hears_of_a_moment_later_is_no_missing_one(
    installations: Installations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a cluster where the topic was created through another broker just before."""
    settings = await installations.make(partitions=1)
    topic = f"{settings.topics.ledger}-late"
    log = KafkaLog(settings.connection())
    refresh = log.connection.refresh
    answers: list[bool] = []

    async def refreshed() -> bool:
        answers.append(await refresh())
        if len(answers) == 1:
            await admin.create_topics([NewTopic(topic, 1, 1)])
        return answers[-1]

    monkeypatch.setattr(log.connection, "refresh", refreshed)
    admin = AIOKafkaAdminClient(**settings.connection())
    await admin.start()
    try:
        await log.start([topic])
        assert log.partition_count(topic) == 1
    finally:
        await log.close()
        await admin.delete_topics([topic])
        await admin.close()
