"""A broker that creates topics by asking (Kafka's default): nothing of ours asks so.

The broker of all tests is one. Here each process meets it before ``topics apply``, which is the
same as a mistyped prefix. The worker's refusal of topics that something else has made in this way
is in ``test_configs``.
"""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from payments.client import BrokersUnavailable, PaymentsClient
from payments.settings import Settings
from payments.topics.cluster import cluster
from tests.broker_fixture import RunningBroker, process_environment
from tests.gateway.processes import GatewayProcess

pytestmark = pytest.mark.kafka39

LIMIT_SECONDS = 120.0
REPAIR = "payments topics apply"


@pytest.fixture
def mistyped(broker: RunningBroker) -> Settings:
    return Settings(
        brokers=broker.bootstrap, app_id="mistyped", topic_prefix="mistyped.", partitions=4
    )


async def names(settings: Settings) -> set[str]:
    async with cluster(settings) as connected:
        return {name for name in await connected.names() if name.startswith("mistyped")}


def run(settings: Settings, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        check=False,
        capture_output=True,
        text=True,
        env=process_environment(settings),
        timeout=LIMIT_SECONDS,
    )


COMMANDS = {
    "worker": ("-m", "payments.cli", "worker"),
    "verify": ("-m", "payments.cli", "verify"),
    "make": ("-m", "payments.cli", "make", "p1", "--account", "a", "--amount", "1.00"),
    "account": ("-m", "payments.cli", "account", "a"),
    "dead letters": ("-m", "payments.cli", "dead-letters", "list"),
    "example": (str(Path(__file__).parents[2] / "examples" / "produce.py"),),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
async def test_a_process_names_the_missing_topics_and_creates_none(
    mistyped: Settings, command: tuple[str, ...]
) -> None:
    done = await asyncio.to_thread(run, mistyped, *command)
    said = done.stdout + done.stderr
    assert done.returncode != 0, said
    assert "mistyped.payments." in said
    assert REPAIR in said
    assert await names(mistyped) == set()


async def test_a_client_names_the_missing_topics_and_creates_none(mistyped: Settings) -> None:
    with pytest.raises(BrokersUnavailable, match=f"mistyped.payments.commands.*{REPAIR}"):
        async with PaymentsClient(settings=mistyped, connect_seconds=LIMIT_SECONDS):
            pytest.fail("it can't connect")
    assert await names(mistyped) == set()


async def test_a_gateway_names_the_missing_topics_and_creates_none(mistyped: Settings) -> None:
    gateway = GatewayProcess(mistyped)
    await gateway.start()
    try:
        await gateway.until(lambda: REPAIR in gateway.log.read_text(), "says nothing")
    finally:
        await gateway.kill()
    assert "mistyped.payments.commands" in gateway.log.read_text()
    gateway.log.unlink()
    assert await names(mistyped) == set()
