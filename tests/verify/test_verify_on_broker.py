"""``payments verify`` on a real broker: beside a worker, and after something was planted."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer

from payments.settings import Settings
from tests.broker.client import Client, WorkerProcess, read_all
from tests.broker_fixture import Installations, process_environment

from .recording import CANCEL, MAKE


async def verify(settings: Settings, *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "payments.cli", "verify", *arguments),
        env=process_environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    shown, told = await process.communicate()
    assert process.returncode is not None
    return process.returncode, shown.decode(), told.decode()


async def test_it_proves_a_run_while_a_worker_runs_and_finds_what_is_planted(
    installations: Installations,
) -> None:
    settings = await installations.make(opening_balance=1000, session_timeout_seconds=6)
    worker = await WorkerProcess(settings).start()
    try:
        async with Client(settings) as client:
            for number in range(200):
                wrong = number % 3 == 0
                await client.post(f"p{number % 60}", MAKE, wrong_partition=wrong)
                if number % 4 == 0:
                    await client.post(f"p{number % 60}", CANCEL)
                if number == 100:
                    await worker.kill()
                    worker.spawn()
            code, shown, told = await verify(settings, "--json")
            assert code == 0
            assert told.splitlines()[-1] == "everything is read: checking the guarantees"
            report = json.loads(shown)
            assert report["violations"] == []
            assert report["counts"]["commands"] == 250
            await client.answered()
            assert await worker.stop() == 0
    finally:
        await worker.kill()
        worker.log.unlink()
    code, shown, _ = await verify(settings, "--json")
    report = json.loads(shown)
    assert (code, report["ok"], report["in_flight"], report["pending_payments"]) == (0, True, 0, 0)
    assert report["counts"]["results"] == 250

    topic = settings.topics.results
    result = (await read_all(settings, topic))[-1]
    partition, offset = await write_again(settings, result)
    code, shown, told = await verify(settings)
    assert code == 1
    assert f"surplus_result {topic}/{partition}/{offset}: " in shown.splitlines()[0]
    assert told.splitlines()[-1] == "everything is read: checking the guarantees"


async def test_local_copies_are_compared_when_their_worker_has_ended(
    installations: Installations, tmp_path: Path
) -> None:
    pytest.importorskip("rocksdict")
    path = tmp_path / "state"
    settings = await installations.make(opening_balance=1000, state_dir=path)
    worker = await WorkerProcess(settings).start()
    try:
        async with Client(settings) as client:
            for number in range(100):
                await client.post(f"p{number}", MAKE)
                if number % 4 == 0:
                    await client.post(f"p{number}", CANCEL)
            await client.answered()
            code, _, told = await verify(settings, "--state-dir", str(path))
            assert code == 2
            assert "is in use by a worker" in told
    finally:
        await worker.kill()
        worker.log.unlink()
    code, shown, told = await verify(settings, "--json", "--state-dir", str(path))
    assert code == 0, shown + told
    copies = json.loads(shown)["copies"]
    assert len(copies) == 2 * settings.partitions
    assert {copy["state"] for copy in copies} <= {"same", "empty", "not_used"}
    code, shown, _ = await verify(settings, "--state-dir", str(path))
    assert code == 0
    assert shown.count("local copy ") == len(copies)


async def write_again(settings: Settings, record: Any) -> tuple[int, int]:
    producer = AIOKafkaProducer(**settings.connection())
    await producer.start()
    try:
        written = await producer.send_and_wait(
            record.topic,
            key=record.key,
            value=record.value,
            headers=list(record.headers),
            partition=record.partition,
        )
    finally:
        await producer.stop()
    return written.partition, written.offset


async def test_an_installation_that_is_not_there_is_told(settings: Settings) -> None:
    other = settings.model_copy(update={"app_id": "no-such-app"})
    code, shown, told = await verify(other)
    assert (code, shown) == (2, "")
    assert "there is no topic no-such-app-accounts-changelog" in told


async def test_another_number_of_partitions_is_told(settings: Settings) -> None:
    code, _, told = await verify(settings.model_copy(update={"partitions": 5}))
    assert code == 2
    assert "has 4 partitions, PAYMENTS_PARTITIONS is 5" in told
