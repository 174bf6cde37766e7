"""Standbys on a broker: a worker is killed, and the other one has its rows already."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from payments.settings import Settings
from tests.broker_fixture import Installations

from .client import Client, WorkerProcess, audit
from .test_payments_on_kafka import OPENING, load

pytest.importorskip("rocksdict")

PAYMENTS = 2000
SINGLE = 400
"""Payments after those, one by one: so that the last checkpoints of each journal, which a takeover
always reads, come with few rows."""

FEW = 1000
"""Records; the payments above are more than twice as many in the partitions of one worker."""


@pytest.fixture
async def settings(installations: Installations) -> Settings:
    return await installations.make(opening_balance=OPENING, session_timeout_seconds=6)


class Workers:
    """Worker processes, each with a directory of its own."""

    def __init__(self, settings: Settings, path: Path) -> None:
        self._settings, self._path = settings, path
        self._started: list[WorkerProcess] = []

    async def start(self, standbys: int, *, on_disk: bool = True) -> WorkerProcess:
        """Start one with this number of standbys."""
        state = self._path / f"worker-{len(self._started)}" if on_disk else None
        settings = self._settings.model_copy(update={"state_dir": state, "standbys": standbys})
        worker = WorkerProcess(settings)
        self._started.append(worker)
        return await worker.start()

    async def end(self) -> None:
        """Kill those that run; pytest shows their logs when the test has failed."""
        for worker in self._started:
            await worker.kill()
            sys.stdout.write(f"{worker.log}:\n{worker.log.read_text()[-5000:]}\n")
            worker.log.unlink()


@pytest.fixture
async def workers(settings: Settings, tmp_path: Path) -> AsyncIterator[Workers]:
    found = Workers(settings, tmp_path)
    yield found
    await found.end()


def records_read(worker: WorkerProcess) -> int:
    """Return how many records the last takeover has read."""
    return int(re.findall(r"rows from (\d+) records", worker.log.read_text())[-1])


async def until_shared(*workers: WorkerProcess) -> None:
    """Wait until two workers own the same number of partitions, and have the rows of the others."""
    for worker in workers:
        for line in ("worker ready: 2 partitions", "are complete"):
            await worker.until(
                lambda w=worker, line=line: line in w.log.read_text(), f"did not say {line}"
            )


async def test_a_standby_has_the_rows_of_a_killed_worker_and_reads_only_the_tail(
    settings: Settings, workers: Workers
) -> None:
    first, second = await workers.start(1), await workers.start(1)
    await until_shared(first, second)
    make = {"type": "make", "account": "acct-1", "amount": 1}
    async with Client(settings) as client:
        await load(client, PAYMENTS, asyncio.Event())
        await client.answered()
        for number in range(SINGLE):
            await client.send(f"single-{number}", make)
        ready = second.ready_count()
        await first.kill()
        await load(client, 100, asyncio.Event(), "more")
        await second.until(lambda: second.ready_count() > ready, "does not take over")
        assert records_read(second) < FEW < PAYMENTS
        await client.answered()
        assert (await client.send("load-1", make))["replayed"]
        await audit(settings, client, opening_balance=OPENING)
    assert "thrown away" not in second.log.read_text()
    assert await second.stop() == 0


async def test_a_new_worker_takes_its_part_when_it_has_the_rows(
    settings: Settings, workers: Workers
) -> None:
    """The others own everything until then, under load and with all rows to be read."""
    first = await workers.start(1)
    async with Client(settings) as client:
        await load(client, PAYMENTS, asyncio.Event())
        sending = asyncio.create_task(load(client, 1000, asyncio.Event(), "more"))
        second = await workers.start(1)
        assert "worker ready: 0 partitions" in second.log.read_text()
        await until_shared(first, second)
        assert "partitions can move here" in second.log.read_text()
        await sending
        await client.answered()
        await audit(settings, client, opening_balance=OPENING)
    assert await first.stop() == await second.stop() == 0


async def test_workers_with_other_settings_or_without_standbys_share_one_group(
    settings: Settings, workers: Workers
) -> None:
    """Who leads the group decides, and every other member accepts what it decides."""
    async with Client(settings) as client:
        sending = asyncio.create_task(load(client, 3000, asyncio.Event()))
        first = await workers.start(1)
        others = [
            await workers.start(0),
            await workers.start(1, on_disk=False),
            await workers.start(2),
        ]
        assert "PAYMENTS_STANDBYS is 1 and ignored" in others[1].log.read_text()
        await first.until(
            lambda: "standby for partitions" in first.log.read_text(), "follows nothing"
        )
        for worker in (first, *others[:2]):
            assert await worker.stop() == 0
        await sending
        await client.answered()
        await audit(settings, client, opening_balance=OPENING)
    assert await others[2].stop() == 0
