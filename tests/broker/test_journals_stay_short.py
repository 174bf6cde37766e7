"""Journals stay short: what was written and forgotten is compacted away before the next takeover.

The settings are those of ``topics.yaml`` with all times made short; after hours of load with the
real ones: ``python -m tools.bench.aging``. That an idle journal lets its last segment be compacted
is in ``tests/engine/test_clock``.
"""

import dataclasses
from collections.abc import AsyncIterator, Sequence

import pytest

from exactstage.kafka import KafkaLog
from exactstage.log import Record, TopicPartition
from payments.settings import Settings
from payments.topics.cluster import cluster
from payments.topics.file import read_topics
from tests.broker_fixture import TOPICS, Installations

from .client import Client, WorkerProcess

MAKE = {"type": "make", "account": "abc", "amount": 1}
PAYMENTS = 600
SHORT = {
    "segment.ms": "200",
    "min.compaction.lag.ms": "0",
    "max.compaction.lag.ms": "500",
    "delete.retention.ms": "10000",
}
EARLIER = {
    "cleanup.policy": "compact",
    "min.compaction.lag.ms": "60000",
    "delete.retention.ms": "86400000",
    "max.message.bytes": "4194304",
}
CHECKPOINTS = 64
"""Of each journal, at most, with or without payments."""


@pytest.fixture
async def settings(installations: Installations) -> Settings:
    journals = ("{app}-payments-changelog", "{app}-accounts-changelog")
    return await installations.make(
        partitions=1,
        opening_balance=10**6,
        retention_seconds=1.0,
        window_seconds=0.5,
        session_timeout_seconds=6,
        configs=dict.fromkeys(journals, SHORT),
    )


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[WorkerProcess]:
    worker = await WorkerProcess(settings).start()
    yield worker
    await worker.kill()
    worker.log.unlink()


async def journal_of(settings: Settings, stage: str) -> Sequence[Record]:
    """Return what a takeover would read of a stage's journal."""
    at = TopicPartition(settings.changelog(stage), 0)
    log = KafkaLog(settings.connection())
    try:
        await log.start([at.topic])
        bounds = (await log.bounds([at]))[at]
        reader = await log.open_reader(committed_only=False)
        reader.assign({at: bounds.first})
        found: list[Record] = []
        while reader.positions()[at] < bounds.end:
            found += (await reader.fetch(timeout_seconds=5.0)).get(at, ())
        await reader.close()
        return found
    finally:
        await log.close()


@pytest.mark.kafka39
async def test_a_journal_forgets_what_has_expired_but_for_the_last_moments(
    settings: Settings, worker: WorkerProcess
) -> None:
    async with Client(settings) as client:
        for number in range(PAYMENTS):
            await client.post(f"p{number}", MAKE)
        await client.until(lambda: len(client.notices) >= PAYMENTS)
        # A journal that nobody writes to is not compacted: so a little goes on, a payment only
        # when the one before has expired, or its tombstones would be more than what is waited for.
        number = PAYMENTS
        while len(await journal_of(settings, "payments")) > 2 * CHECKPOINTS:
            await client.send(f"p{number}", MAKE)
            number += 1
            await client.until(lambda: len(client.notices) >= number)  # noqa: B023 - awaited at once
        last = (await journal_of(settings, "payments"))[-1]
    assert last.offset > PAYMENTS, "nothing was there to be compacted"
    await worker.kill()
    await worker.start()
    assert "took over partitions [0]" in worker.log.read_text()


async def test_apply_brings_the_journals_of_an_earlier_version_to_these_settings(
    installations: Installations,
) -> None:
    settings = await installations.make()
    wanted = read_topics(TOPICS, settings)
    earlier = [
        dataclasses.replace(topic, configs=EARLIER)
        if topic.configs.get("cleanup.policy") == "compact"
        else topic
        for topic in wanted
    ]
    async with cluster(settings) as connected:
        await connected.apply(await connected.plan(earlier), earlier)
        plan = await connected.plan(wanted)
        changes = [change.text for change in plan.changes]
        for stage in ("payments", "accounts"):
            journal = settings.changelog(stage)
            assert f"config {journal} delete.retention.ms: 86400000 -> 300000" in changes
            assert f"config {journal} message.timestamp.type=LogAppendTime" in changes
            assert f"config {journal} segment.bytes=16777216" in changes
        await connected.apply(plan, wanted)
        assert not (await connected.plan(wanted)).changes
