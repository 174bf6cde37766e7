"""The client on a real broker, with a worker process."""

import sys
from collections.abc import AsyncIterator

import pytest

from payments.client import PaymentsClient
from payments.domain.results import Outcome
from payments.settings import Settings
from tests.broker.client import WorkerProcess
from tests.broker_fixture import Installations

OPENING = 100_000


@pytest.fixture
async def settings(installations: Installations) -> Settings:
    return await installations.make(opening_balance=OPENING, session_timeout_seconds=6)


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[WorkerProcess]:
    started = WorkerProcess(settings)
    yield await started.start()
    await started.kill()
    # Shown by pytest when the test has failed.
    sys.stdout.write(f"{started.log}:\n{started.log.read_text()[-5000:]}\n")
    started.log.unlink()


async def test_make_cancel_and_get_return_their_results(
    settings: Settings, worker: WorkerProcess
) -> None:
    async with PaymentsClient(settings=settings) as client:
        made = await client.make("pay-1", account="abc", amount=100)
        assert made.outcome is Outcome.COMPLETED
        assert (await client.cancel("pay-1")).outcome is Outcome.CANCELLED
        assert (await client.get("pay-1")).state == "cancelled"
        assert client.healthy()
