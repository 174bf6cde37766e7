"""A worker that can't know its place refuses to start: O1, O2, O4, O6, K5 and K6 on a broker.

What needs no broker is in ``tests/engine/test_consistency.py``: tails and senders that are
ahead of a journal, every field of an identity, an interrupted first start, rolling from the version
before.
"""

import asyncio
import dataclasses
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.new_partitions import NewPartitions
from aiokafka.admin.records_to_delete import RecordsToDelete

from exactstage.engine import Engine
from exactstage.errors import FailStop, JournalBroken, NotOurs, RecordsLost
from exactstage.kafka import KafkaLog
from exactstage.log import TopicPartition
from exactstage.reading import Delivery
from payments.settings import Settings
from payments.stages import accounts_stage, payments_stage
from payments.topics.cluster import cluster
from payments.topics.file import read_topics
from tests.broker.client import Client, WorkerProcess, audit
from tests.broker_fixture import TOPICS, Installations

OPENING = 1000
MAKE = {"type": "make", "account": "abc", "amount": 10}
LIMIT_SECONDS = 60.0
FAIL_STOP = 70


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Engine]:
    """Run a worker's engine that owns everything. Raises what its takeover raises."""
    failures: list[FailStop] = []

    async def deliver(delivery: Delivery) -> None:
        await engine.handle(delivery)

    engine = await Engine.open(
        app_id=settings.app_id,
        stages=[payments_stage(settings), accounts_stage(settings)],
        log=KafkaLog(settings.connection()),
        deliver=deliver,
        on_failure=failures.append,
    )
    try:
        inputs = {topic for stage in engine.stages.values() for topic in stage.inputs}
        partitions = range(settings.partitions)
        await engine.rebalance({TopicPartition(t, p) for t in inputs for p in partitions})
        yield engine
        await engine.drain()
    finally:
        await engine.stop()
    assert not failures


async def use(settings: Settings, payments: int = 20) -> None:
    """Carry payments out in every partition."""
    async with running(settings), Client(settings) as client:
        for number in range(payments):
            await client.post(f"pay-{number}", MAKE | {"account": f"acct-{number}"})
        await client.answered()


async def make_anew(settings: Settings, topics: Sequence[str]) -> None:
    """Delete topics and make them again, as ``payments topics apply`` would."""
    wanted = read_topics(TOPICS, settings)
    async with cluster(settings) as connected:
        await connected.delete(topics)
        async with asyncio.timeout(LIMIT_SECONDS):
            while await connected.names() & set(topics):  # noqa: ASYNC110 - the broker gives no sign
                await asyncio.sleep(0.05)
        await connected.apply(await connected.plan(wanted), wanted)


async def test_another_app_id_on_the_same_topics_is_refused_and_harms_nobody(
    installations: Installations,
) -> None:
    first = await installations.make(opening_balance=OPENING)
    await use(first)
    other = await second_app_id(installations, first)
    with pytest.raises(NotOurs) as refusal:
        await use(other)
    assert f"written by installation {first.app_id}/" in str(refusal.value)
    assert f"that of PAYMENTS_APP_ID {other.app_id}" in str(refusal.value)
    await use(first)


async def second_app_id(installations: Installations, first: Settings) -> Settings:
    """Return settings of another app id on the same topics, whose journals exist too."""
    other = first.model_copy(update={"app_id": f"{first.app_id}-staging"})
    installations.adopt(other)
    wanted = read_topics(TOPICS, other)
    async with cluster(other) as connected:
        await connected.apply(await connected.plan(wanted), wanted)
    return other


async def test_of_two_app_ids_that_start_at_once_one_at_most_goes_on(
    installations: Installations,
) -> None:
    """First engines that ask in turn, then processes as ``docker compose up`` starts them."""
    first = await installations.make(opening_balance=OPENING)
    other = await second_app_id(installations, first)

    async def start(settings: Settings) -> None:
        async with running(settings):
            pass

    ends = await asyncio.gather(start(first), start(other), return_exceptions=True)
    refusals = [end for end in ends if end is not None]
    assert refusals
    assert all(isinstance(end, NotOurs) and "another app id" in str(end) for end in refusals)
    first = await installations.make(opening_balance=OPENING)
    workers = [WorkerProcess(s) for s in (first, await second_app_id(installations, first))]
    try:
        for worker in workers:
            worker.spawn()
        for worker in workers:
            ended = worker.process.poll
            await worker.until(
                lambda w=worker, e=ended: w.ready_count() or e() is not None, "hangs", alive=False
            )
        refused = [worker for worker in workers if worker.process.poll() is not None]
        assert refused
        assert all(worker.process.returncode == FAIL_STOP for worker in refused)
        assert all("another app id" in worker.log.read_text() for worker in refused)
    finally:
        for worker in workers:
            await worker.kill()
            worker.log.unlink()


async def test_another_prefix_with_the_same_app_id_is_refused_and_harms_nobody(
    installations: Installations,
) -> None:
    production = await installations.make(opening_balance=OPENING)
    await use(production)
    staging = production.model_copy(update={"topic_prefix": f"st-{production.topic_prefix}"})
    installations.adopt(staging)
    wanted = read_topics(TOPICS, staging)
    async with cluster(staging) as connected:
        await connected.apply(await connected.plan(wanted), wanted)
    with pytest.raises(NotOurs, match="PAYMENTS_TOPIC_PREFIX") as refusal:
        await use(staging)
    assert production.topic("payments.commands") in str(refusal.value)
    assert staging.topic("payments.commands") in str(refusal.value)
    await use(production)


@pytest.mark.parametrize("stages", [("payments",), ("accounts",), ("payments", "accounts")])
async def test_a_journal_that_was_deleted_and_recreated_is_refused(
    installations: Installations, stages: tuple[str, ...]
) -> None:
    settings = await installations.make(opening_balance=OPENING)
    await use(settings)
    await make_anew(settings, [settings.changelog(stage) for stage in stages])
    with pytest.raises((RecordsLost, NotOurs), match=r"lost|deleted and recreated"):
        await use(settings)


async def set_cleanup_policy(settings: Settings, topic: str, policy: str) -> None:
    """Change how the broker cleans a topic up."""
    wanted = tuple(
        dataclasses.replace(each, configs={**each.configs, "cleanup.policy": policy})
        if each.name == topic
        else each
        for each in read_topics(TOPICS, settings)
    )
    async with cluster(settings) as connected:
        await connected.apply(await connected.plan(wanted), wanted)


async def test_a_journal_that_was_emptied_is_refused(installations: Installations) -> None:
    settings = await installations.make(opening_balance=OPENING)
    await use(settings)
    journal = settings.changelog("accounts")
    await set_cleanup_policy(settings, journal, "delete")  # A broker empties no compacted topic.
    await delete_all_records(settings, journal)
    await set_cleanup_policy(settings, journal, "compact")
    with pytest.raises(RecordsLost, match=r"the journal .*-accounts-changelog/. ends at 0"):
        await use(settings)


@pytest.mark.parametrize(
    "topic",
    ["payments.commands", "payments.transfers", "payments.inbox", "payments.results"],
)
async def test_a_topic_that_was_deleted_and_recreated_is_refused(
    installations: Installations, topic: str
) -> None:
    settings = await installations.make(opening_balance=OPENING)
    await use(settings)
    await make_anew(settings, [settings.topic(topic)])
    with pytest.raises(NotOurs, match=f"{topic} with the topic id .* payments journal adopt"):
        await use(settings)


async def test_what_retention_deletes_of_visible_topics_is_no_loss(
    installations: Installations,
) -> None:
    settings = await installations.make(opening_balance=OPENING)
    await use(settings)
    for topic in ("payments.results", "accounts.ledger"):
        await delete_all_records(settings, settings.topic(topic))
    await use(settings)


async def test_one_topic_with_more_partitions_is_named(installations: Installations) -> None:
    settings = await installations.make()
    commands = settings.topics.commands
    admin = AIOKafkaAdminClient(**settings.connection())
    await admin.start()
    try:
        await admin.create_partitions({commands: NewPartitions(total_count=5)})
        async with asyncio.timeout(LIMIT_SECONDS):  # Until the broker has heard of it.
            while len((await admin.describe_topics([commands]))[0]["partitions"]) != 5:
                pass
    finally:
        await admin.close()
    with pytest.raises(NotOurs, match=f"{commands} has 5, the other 10 have 4; .*repartition"):
        await use(settings)


async def kcat(settings: Settings, at: TopicPartition, record: bytes, *options: str) -> None:
    """Write one record, given as ``key:value``, as an operator would."""
    if shutil.which("kcat") is None:
        pytest.skip("there is no kcat")
    where = ["-b", settings.brokers, "-t", at.topic, "-p", str(at.partition)]
    command = ["kcat", "-P", *where, "-K:", *options]
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    await process.communicate(record)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("record", "options"),
    [(b"foo:bar", ()), (b"\0foo:bar", ()), (b"foo:", ("-Z",)), (b"foo:bar", ("-z", "gzip"))],
)
async def test_a_foreign_record_of_kcat_on_a_journal_is_named(
    installations: Installations, record: bytes, options: tuple[str, ...]
) -> None:
    settings = await installations.make(opening_balance=OPENING)
    await use(settings)
    changelog = settings.changelog("accounts")
    await kcat(settings, TopicPartition(changelog, 1), record, *options)
    line = rf"{changelog}/1/\d+ with the key .*foo.* was written by no worker .*journal repair"
    with pytest.raises(JournalBroken, match=line):
        await use(settings)


async def test_a_row_of_an_idempotent_producer_is_named(settings: Settings) -> None:
    """As a Java producer's with its defaults: how its batch ends tells that it is foreign."""
    async with running(settings):
        pass
    changelog = settings.changelog("payments")
    async with AIOKafkaProducer(**settings.connection(), enable_idempotence=True) as producer:
        sent = await producer.send_and_wait(changelog, b"bar", b"foo", partition=2)
    line = rf"{changelog}/2/{sent.offset} with the key b'foo' was written by no worker"
    with pytest.raises(JournalBroken, match=line):
        async with running(settings):
            pass


@pytest.mark.parametrize("source", ["payments/1/999999/0", "payments/77/1/0"])
@pytest.mark.parametrize("is_idempotent", [False, True])
async def test_a_forged_transfer_moves_no_money_and_blocks_nobody(
    installations: Installations, source: str, is_idempotent: bool
) -> None:
    settings = await installations.make(opening_balance=OPENING)
    transfers = settings.topics.transfers
    forged = b'{"kind":"deposit","account":"abc","amount":5,"currency":"EUR","counter":"world"}'
    async with running(settings) as engine, Client(settings) as client:
        if is_idempotent:
            async with AIOKafkaProducer(
                **settings.connection(), enable_idempotence=True
            ) as producer:
                headers = [("src", source.encode())]
                await producer.send_and_wait(
                    transfers, forged, b"abc", partition=0, headers=headers
                )
        else:
            at = TopicPartition(transfers, 0)
            await kcat(settings, at, b"abc:" + forged, "-H", f"src={source}")
        async with asyncio.timeout(LIMIT_SECONDS):
            while not engine.counts().dead_lettered["accounts"]:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.02)
        for number in range(12):
            await client.post(f"pay-{number}", MAKE)
        await client.answered()
        await audit(settings, client, opening_balance=OPENING)
        assert dict(engine.counts().dead_lettered["accounts"]) == {"foreign_record": 1}


async def delete_all_records(settings: Settings, topic: str) -> None:
    """Delete all records of a topic, as retention does in the end."""
    log = KafkaLog(settings.connection())
    await log.start([topic])
    at = [TopicPartition(topic, partition) for partition in range(settings.partitions)]
    admin = AIOKafkaAdminClient(**settings.connection())
    await admin.start()
    try:
        ends = {tp: bounds.end for tp, bounds in (await log.bounds(at)).items()}
        before = {tp: RecordsToDelete(before_offset=end) for tp, end in ends.items()}
        # It is refused until the broker has heard of a changed cleanup.policy.
        async with asyncio.timeout(LIMIT_SECONDS):
            while {tp: bounds.first for tp, bounds in (await log.bounds(at)).items()} != ends:
                await admin.delete_records(before)
    finally:
        await admin.close()
        await log.close()
