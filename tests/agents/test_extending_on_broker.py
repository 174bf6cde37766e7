"""docs/extend.md on a broker: its own Faust app and its own stage run beside a worker.

Of the same kind, without a broker: the tests on the page (``test_extending.py``).
"""

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from payments.settings import Settings
from payments.topics import cluster
from payments.topics_file import read_topics
from tests.broker.client import LIMIT_SECONDS, Client, WorkerProcess, read_all
from tests.broker_fixture import Installations

EXAMPLES = Path(__file__).parents[2] / "examples"
FAUST = (sys.executable, "-m", "faust", "--workdir")
NAMES = ("receipts.py", "points.py")


@pytest.fixture
async def settings(installations: Installations) -> AsyncIterator[Settings]:
    """Return an installation with the topics of the example's stage."""
    made = await installations.make(opening_balance=5000)
    wanted = read_topics(EXAMPLES / "points-topics.yaml", made)
    async with cluster(made) as connected:
        await connected.apply(await connected.plan(wanted), wanted)
    yield made
    async with cluster(made) as connected:
        own = {topic.name for topic in wanted} | {
            f"{made.topic_prefix}receipts-entries_of-changelog"
        }
        await connected.delete(sorted(own & await connected.names()))


async def test_an_own_app_and_an_own_stage_run_beside_a_worker(
    settings: Settings, tmp_path: Path
) -> None:
    for name in NAMES:
        shutil.copy(EXAMPLES / name, tmp_path)
    receipts = WorkerProcess(
        settings, *FAUST, str(tmp_path), "-A", "receipts", "worker", "--without-web"
    )
    points = WorkerProcess(settings, *FAUST, str(tmp_path), "-A", "points", "worker", "-l", "info")
    worker = WorkerProcess(settings)
    async with AsyncExitStack() as stack:
        for process in (worker, points, receipts):
            process.spawn()
            stack.callback(process.log.unlink)
            stack.push_async_callback(process.kill)
        client = await stack.enter_async_context(Client(settings))
        for number in range(3):
            await client.send(f"pay-{number}", {"type": "make", "account": "abc", "amount": 1050})
        await client.send("pay-1", {"type": "cancel"})

        await receipts.until(
            lambda: receipts.log.read_text().count(": 10.50 EUR") == 3, "prints no receipts"
        )
        await points.until(lambda: points.ready_count() == 1, "is not ready")
        points.signal(signal.SIGKILL)
        await points.ended()
        await points.start()
        await client.send("pay-3", {"type": "make", "account": "abc", "amount": 1050})
        counted: list[int] = []
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(counted) < 5:
                records = await read_all(settings, settings.topic("shop.points"))
                counted = [json.loads(record.value)["points"] for record in records]
        assert counted == [10, 20, 30, 20, 30]
