"""The examples of stages on a broker and the plain host, with the engine's public modules only.

In memory: ``test_examples``; loyalty points under Faust: ``tests/agents/test_extending_on_broker``.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from contextlib import AsyncExitStack

import pytest
from aiokafka import AIOKafkaProducer

from exactstage import Fenced, Stage
from exactstage.hosting import PlainHost
from exactstage.kafka import KafkaLog, create_topics, open_admin
from payments.settings import Settings
from tests.broker.client import read_all
from tests.broker_fixture import Installations, RunningBroker

from .examples import EXAMPLES, ledger_entry, load, points_of

LIMIT_SECONDS = 60.0
PARTITIONS = 4


async def produce(
    settings: Settings, topic: str, records: Iterable[tuple[bytes, bytes, int | None]]
) -> None:
    async with AIOKafkaProducer(**settings.connection()) as producer:
        for key, value, partition in records:
            await producer.send_and_wait(topic, value, key=key, partition=partition)


async def until_published(settings: Settings, topic: str, count: int) -> list[bytes | None]:
    async with asyncio.timeout(LIMIT_SECONDS):
        while len(records := await read_all(settings, topic)) < count:
            pass
    return [record.value for record in records]


async def delete(settings: Settings, names: Iterable[str]) -> None:
    async with open_admin(settings.connection()) as admin:
        await admin.delete_topics(sorted(names))


async def start(settings: Settings) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, str(EXAMPLES / "words.py"),
        env={**os.environ, "BROKERS": settings.brokers},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()


async def test_words_are_counted_once_by_a_program_that_is_killed_and_started_again(
    broker: RunningBroker,
) -> None:
    """As a reader runs it: it creates its topics, is killed, goes on, and ends by Ctrl-C."""
    settings = Settings(brokers=broker.bootstrap, partitions=PARTITIONS)
    async with AsyncExitStack() as stack:
        first = await start(settings)
        stack.push_async_callback(end, first)
        await created(settings, "words.inbox")  # The last one.
        stack.push_async_callback(
            delete,
            settings,
            ["words", "words.inbox", "words.counts", "words.dead-letters", "words-count-changelog"],
        )
        await produce(settings, "words", [(b"a", b"", number % 4) for number in range(8)])
        await until_published(settings, "words.counts", 1)
        first.kill()
        await first.wait()
        await produce(settings, "words", [(b"a", b"", None), (b"b", b"", 0)])
        second = await start(settings)
        stack.push_async_callback(end, second)
        counts = await until_published(settings, "words.counts", 10)
        assert sorted(counts, key=lambda value: int(value or b"")) == [
            b"1", b"1", *(b"%d" % number for number in range(2, 10)),
        ]  # fmt: skip
        second.send_signal(signal.SIGINT)
        output, errors = await asyncio.wait_for(second.communicate(), LIMIT_SECONDS)
        assert (second.returncode, errors) == (0, b"")
        assert output == b"ended: everything that was counted is published\n"


async def created(settings: Settings, topic: str) -> None:
    """Wait until a topic is there."""
    async with asyncio.timeout(LIMIT_SECONDS), open_admin(settings.connection()) as admin:
        while topic not in {each["topic"] for each in await admin.describe_topics()}:
            pass


async def test_points_move_to_a_host_that_takes_over_and_are_earned_once(
    installations: Installations,
) -> None:
    settings = await installations.make(partitions=2)
    stage = load("points").points_stage(settings)
    own = await create_topics(settings.connection(), [stage], partitions=2, replication=1)
    try:
        assert settings.topics.ledger not in own, "it was there"
        await run_points(settings, stage)
    finally:
        await delete(settings, own)


async def run_points(settings: Settings, stage: Stage) -> None:
    def new_host() -> PlainHost:
        return PlainHost(f"{settings.app_id}-points", [stage], KafkaLog(settings.connection()))

    ledger, points = settings.topics.ledger, settings.topic("shop.points")
    entries = [(b"ann", ledger_entry("ann", number, -1000), None) for number in range(1, 6)]
    with pytest.raises(Fenced):  # noqa: PT012 - the former owner ends so, and says so at its end
        async with new_host() as first:
            await produce(settings, ledger, entries[:2])
            await until_published(settings, points, 2)
            async with new_host():
                await produce(settings, ledger, entries[2:])
                values = await until_published(settings, points, 5)
                await asyncio.wait_for(first.run(), LIMIT_SECONDS)
    assert [points_of(value) for value in values] == [("ann", 10 * n) for n in range(1, 6)]
