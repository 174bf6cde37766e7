"""A storm over HTTP while gateway and worker are killed; then the auditor reads every topic.

Invariants: each request is answered in the end, and ``payments verify`` finds nothing. Faults:
SIGKILL of the gateway or the worker, at random. Size: 200 payment ids, 70 % makes and 30 % cancels,
32 requests at once.
"""

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator

import httpx
import pytest

from payments.settings import Settings
from tests.broker.client import WorkerProcess
from tests.broker_fixture import Installations, process_environment
from tests.gateway.processes import GatewayProcess

PAYMENTS, ACCOUNTS, REQUESTS, AT_ONCE, KILLS = 200, 10, 800, 32, 4
MAKES = 0.7
LIMIT_SECONDS = 240
FINAL = {200, 402, 409}


@pytest.fixture
async def settings(installations: Installations) -> Settings:
    return await installations.make(
        opening_balance=10**6, session_timeout_seconds=6, instance_id="storm"
    )


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[WorkerProcess]:
    worker = WorkerProcess(settings)
    await worker.start()
    yield worker
    await worker.kill()
    worker.log.unlink()


@pytest.fixture
async def gateway(settings: Settings) -> AsyncIterator[GatewayProcess]:
    gateway = GatewayProcess(settings)
    await gateway.start()
    yield gateway
    await gateway.kill()
    gateway.log.unlink()


class Storm:
    """Sends requests, each again and again until it has an answer that is final."""

    def __init__(self, gateway: GatewayProcess, seed: int) -> None:
        self._gateway = gateway
        self._random = random.Random(seed)
        self.answered = 0
        self.retried = 0

    async def run(self) -> None:
        """Send all requests."""
        left = iter(range(REQUESTS))

        async def keep_sending(http: httpx.AsyncClient) -> None:
            for _ in left:
                await self._until_final(http)

        async with httpx.AsyncClient(timeout=40) as http, asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(keep_sending(http))

    async def _until_final(self, http: httpx.AsyncClient) -> None:
        number = self._random.randrange(PAYMENTS)
        payment, body = f"pay-{number}", {"account": f"acct-{number % ACCOUNTS}", "amount": 1}
        path = f"/v1/payments/{payment}"
        if self._random.random() > MAKES:
            path, body = f"{path}/cancel", {}
        while True:
            try:
                response = await http.post(self._gateway.url + path, json=body)
            except httpx.TransportError:
                # It was killed, and is being started again.
                self.retried += 1
                await asyncio.wait_for(self._gateway.until_up(), LIMIT_SECONDS)
                continue
            if response.status_code in FINAL:
                break
            assert response.status_code in {503, 504}, response.text
            self.retried += 1
        self.answered += 1


async def kill_at_random(
    storm: Storm, gateway: GatewayProcess, worker: WorkerProcess, seed: int
) -> int:
    """Kill one of the two whenever a share of the answers has come; return how often."""
    chosen = random.Random(seed)
    kills = 0
    for share in range(1, KILLS + 1):
        wanted = REQUESTS * share // (KILLS + 1)
        await gateway.until(lambda wanted=wanted: storm.answered >= wanted, "has no answers")
        victim = gateway if share % 2 or chosen.random() < 0.5 else worker
        await victim.kill()
        await victim.start()
        kills += 1
    return kills


async def test_a_storm_with_kills_leaves_nothing_for_the_auditor(
    settings: Settings, worker: WorkerProcess, gateway: GatewayProcess
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    storm = Storm(gateway, seed)
    async with asyncio.timeout(LIMIT_SECONDS), asyncio.TaskGroup() as group:
        group.create_task(storm.run())
        killing = group.create_task(kill_at_random(storm, gateway, worker, seed))
    assert killing.result() == KILLS, seed
    assert storm.answered == REQUESTS, seed
    assert storm.retried > 0, "no kill met a request"
    verify = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "payments.cli", "verify", "--json",
        env=process_environment(settings), stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(verify.communicate(), 60)
    found = json.loads(output)
    assert (verify.returncode, found["violations"]) == (0, []), seed
    assert found["in_flight"] == 0
