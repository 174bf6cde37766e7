"""Partitions that stand still, and a broker that is frozen: the log, the health, the metrics."""

import asyncio
import json
import re
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from dev.local_broker import LocalBroker
from dev.ports import HOST, free_ports
from payments import health
from payments.settings import Settings
from tests.broker_fixture import Installations

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
    return health.problem(settings.health_file)


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

    Without a broker: ``tests/engine/test_kafka_errors.py``, ``tests/engine/test_readiness.py``.
    """
    topic = standing.topic("payments.commands")
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
