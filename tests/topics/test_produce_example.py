"""examples/produce.py: it gets the result of each of its commands, whoever else is answered."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from payments.settings import Settings
from tests.broker_fixture import process_environment

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "produce.py"
LIMIT_SECONDS = 120.0


@pytest.fixture
async def stand_in(settings: Settings) -> AsyncIterator[None]:
    """Answer every command with its own content, after a result that is for somebody else."""
    connection = settings.connection()
    commands = AIOKafkaConsumer(
        settings.topics.commands, auto_offset_reset="earliest", **connection
    )
    async with commands, AIOKafkaProducer(**connection) as producer:

        async def answer() -> None:
            results = settings.topics.results
            async for record in commands:
                command = json.loads(record.value)
                other = {"command": "of-another", "outcome": "rejected"}
                own = {"command": command["id"], "type": command["type"], "outcome": "completed"}
                for result in (other, own):
                    await producer.send_and_wait(results, json.dumps(result).encode(), record.key)

        answering = asyncio.create_task(answer())
        yield
        answering.cancel()


@pytest.mark.usefixtures("stand_in")
async def test_each_command_gets_its_own_result(settings: Settings) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(EXAMPLE),
        env=process_environment(settings),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await asyncio.wait_for(process.communicate(), LIMIT_SECONDS)
    lines = printed.decode().splitlines()
    assert process.returncode == 0
    assert [("completed" in line, "rejected" in line) for line in lines] == [(True, False)] * 3
    for line, kind in zip(lines, ("deposit", "get", "cancel"), strict=True):
        assert f"'type': '{kind}'" in line


def test_it_is_short_enough_to_be_copied() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 70
