"""Partitions that stand still, and a broker that is frozen: the log, the health, the metrics."""

import asyncio
import json
import re
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from exactstage.partitioner import partition_of
from payments.client import CatchingUp, PaymentsClient
from payments.settings import Settings
from payments.worker import health
from tests.broker_fixture import Installations
from tools.dev.local_broker import LocalBroker
from tools.dev.ports import HOST, free_ports

from .client import Client, WorkerProcess

STALL_SECONDS = 1.0


@pytest.fixture
async def standing(installations: Installations, tmp_path: Path) -> Settings:
    """Return settings with which what stands still is soon noticed."""
    return await installations.make(
        health_file=tmp_path / "health",
        metrics_address=f"{HOST}:{free_ports(1)[0]}",
        stall_seconds=STALL_SECONDS,
    )


@pytest.fixture
async def worker(standing: Settings) -> AsyncIterator[WorkerProcess]:
    """Return a worker that is ready."""
    process = WorkerProcess(standing)
    try:
        await process.start()
        await process.until(lambda: problem(standing) is None, "does not say that it is ready")
        yield process
    finally:
        await process.kill()
        process.log.unlink()


def problem(settings: Settings) -> str | None:
    assert settings.health_file is not None
    return health.why_not_ready(settings.health_file)


def warnings(worker: WorkerProcess, about: str) -> list[str]:
    """Return the warnings about one trouble: a busy machine may stand still for a moment too."""
    log = worker.log.read_text().splitlines()
    return [line for line in log if " WARNING " in line and about in line]


async def metrics(settings: Settings) -> dict[str, float]:
    """Return what the worker measures, by name, as far as it has no labels."""

    def ask() -> str:
        with urllib.request.urlopen(f"http://{settings.metrics_address}/metrics") as answer:
            return str(answer.read().decode())

    lines = re.findall(r"^(payments_\w+) (\S+)$", await asyncio.to_thread(ask), re.MULTILINE)
    return {name: float(value) for name, value in lines}


async def test_an_open_transaction_of_a_producer_is_told_with_its_partitions(
    standing: Settings, worker: WorkerProcess
) -> None:
    """The same kind: no leader, an answer without records, a silent broker (the next test).

    Without a broker: ``tests/engine/test_kafka_errors.py``,
    ``tests/engine/test_readiness.py``.
    """
    topic = standing.topics.commands
    command = json.dumps({"type": "make", "account": "abc", "amount": 1}).encode()
    async with AIOKafkaProducer(
        bootstrap_servers=standing.brokers, transactional_id=f"{standing.app_id}-other"
    ) as producer:
        await producer.begin_transaction()
        for partition in range(standing.partitions):
            await producer.send_and_wait(topic, command, key=b"p", partition=partition)
        complete = f"{topic}/{standing.partitions - 1} (last stable offset 0, end 1)"
        await worker.until(lambda: complete in (problem(standing) or ""), "does not tell it")
        reason = problem(standing) or ""
        assert reason.startswith("not ready: ")
        assert "blocked by an open transaction: " in reason
        for partition in range(standing.partitions):
            assert f"{topic}/{partition} (last stable offset 0, end 1)" in reason
        assert f"--bootstrap-server {standing.brokers} abort" in reason
        await worker.until(lambda: warnings(worker, "open transaction"), "logs no warning")
        measured = await metrics(standing)
        assert measured["payments_blocked_partitions"] == standing.partitions
        assert measured["payments_blocked_seconds"] >= STALL_SECONDS
        assert measured["payments_ready"] == 0
        await producer.abort_transaction()
    await worker.until(lambda: problem(standing) is None, "is not ready again")
    [said] = warnings(worker, "blocked by an open transaction")
    assert "not ready since " in said
    assert "ready again" in worker.log.read_text()
    measured = await metrics(standing)
    assert measured["payments_blocked_partitions"] == 0
    assert measured["payments_ready"] == 1


async def test_an_open_transaction_where_only_readers_wait_is_told_by_worker_and_client(
    standing: Settings, worker: WorkerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """What a worker writes and does not read: results, ledger, journals; what a client reads.

    Of the same kind: the dead letters, which the worker looks at in the same way.
    """
    at = partition_of(b"abc", standing.partitions)
    blocked = [
        f"{standing.topics.results}/{at}",
        f"{standing.topics.ledger}/{at}",
        f"{standing.changelog('accounts')}/{at}",
    ]
    async with (
        PaymentsClient(settings=standing) as client,
        AIOKafkaProducer(
            bootstrap_servers=standing.brokers, transactional_id=f"{standing.app_id}-other"
        ) as producer,
    ):
        await client.deposit("p1", account="abc", amount=5)
        await client.entries("abc")
        await producer.begin_transaction()
        for place in blocked:
            topic = place.rpartition("/")[0]
            await producer.send_and_wait(topic, b"foreign", key=b"foreign", partition=at)
        with pytest.raises(CatchingUp) as told:
            await client.account("abc", deadline_seconds=1)
        assert "to the end: blocked by an open transaction: " in str(told.value)
        assert f"{blocked[2]} (last stable offset " in str(told.value)
        assert "ask again" not in str(told.value)

        def reason() -> str:
            return problem(standing) or ""

        await worker.until(lambda: all(place in reason() for place in blocked), "is silent")
        assert reason().count(" describe-producers ") == 1
        await worker.until(
            lambda: warnings(worker, "blocked by an open transaction"), "logs no warning"
        )
        assert (await metrics(standing))["payments_blocked_partitions"] == len(blocked)
        await worker.until(lambda: blocked[0] in (client.trouble() or ""), "is silent")
        await producer.abort_transaction()
        await worker.until(lambda: problem(standing) is None, "is not ready again")
        await worker.until(client.healthy, "is not healthy again")
        held = await client.account("abc")
        assert held is not None
        assert held.balance == 5
    said = [text for text in caplog.messages if "not ready since " in text]
    assert all(any(place in text for text in said) for place in (blocked[0], blocked[2]))


async def test_accounts_that_an_open_transaction_blocks_make_a_client_unready(
    standing: Settings, worker: WorkerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    """The results are read, the ledger is not; whoever asked has given up."""
    at = partition_of(b"abc", standing.partitions)
    async with (
        PaymentsClient(settings=standing) as client,
        AIOKafkaProducer(
            bootstrap_servers=standing.brokers, transactional_id=f"{standing.app_id}-other"
        ) as producer,
    ):
        await client.deposit("p1", account="abc", amount=5)
        await producer.begin_transaction()
        ledger = standing.topics.ledger
        await producer.send_and_wait(ledger, b"foreign", partition=at)
        await client.deposit("p2", account="abc", amount=5)
        with pytest.raises(CatchingUp, match="blocked by an open transaction"):
            await client.entries("abc", deadline_seconds=1)
        await worker.until(lambda: f"{ledger}/{at}" in (client.trouble() or ""), "is silent")
        await worker.until(lambda: "not ready since " in caplog.text, "logs no warning")
        await producer.abort_transaction()
        await worker.until(client.healthy, "is not healthy again")
        assert [entry.sequence for entry in await client.entries("abc") or ()] == [1, 2]


async def test_a_worker_whose_broker_is_frozen_is_not_ready(
    local_broker: LocalBroker, standing: Settings, worker: WorkerProcess
) -> None:
    local_broker.pause()
    try:
        silent = "Kafka does not answer"
        await worker.until(lambda: silent in (problem(standing) or ""), "says that it is ready")
        await worker.until(lambda: warnings(worker, silent), "logs no warning")
    finally:
        local_broker.resume()
    await worker.until(lambda: problem(standing) is None, "is not ready again")
    async with Client(standing) as client:
        make = {"type": "make", "account": "abc", "amount": 1}
        assert (await client.send("p1", make))["outcome"] == "declined"
