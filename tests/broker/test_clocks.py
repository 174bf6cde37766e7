"""Workers whose clock is wrong: payments expire by the broker's time, no record has a wrong one.

Faults: the clock is days ahead, days behind, and jumps while the worker runs. Answers that come
late, brokers that differ and a time that is not told any more: ``tests/engine/test_clock``.
Clocks of several workers under all other faults: the simulator ("clock jump").
"""

import re
import shutil
import sys
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from payments.settings import Settings
from tests.broker_fixture import Installations

from .client import Client, WorkerProcess, read_all

pytestmark = pytest.mark.kafka39

RETENTION_SECONDS = 2.0
MANY_SECONDS = 3600.0
"""Far more than anything here takes, far less than the clocks are off."""

MAKE = {"type": "make", "account": "abc", "amount": 100}


@pytest.fixture
async def settings(installations: Installations) -> Settings:
    return await installations.make(
        opening_balance=1000,
        retention_seconds=RETENTION_SECONDS,
        window_seconds=1.0,
        session_timeout_seconds=6,
    )


class DreamingWorker(WorkerProcess):
    """A worker whose clock is off by what the file says, from one moment to the next."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        super().__init__(settings)
        libraries = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if sys.platform != "linux" or not shutil.which("faketime") or not libraries:
            pytest.skip("libfaketime is not installed (apt-get install faketime)")
        self._file = folder / "clock"
        self.variables = {
            "LD_PRELOAD": str(libraries[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set_clock(self, offset: str) -> None:
        """Put its clock so far off the right time, for example ``+2d``."""
        written = self._file.with_suffix(".new")
        written.write_text(offset + "\n")
        written.replace(self._file)


@pytest.fixture
async def worker(settings: Settings, tmp_path: Path) -> AsyncIterator[DreamingWorker]:
    worker = DreamingWorker(settings, tmp_path)
    yield worker
    await worker.kill()
    sys.stdout.write(worker.log.read_text()[-5000:])
    worker.log.unlink()


def seconds_of(result: dict[str, Any]) -> float:
    return datetime.fromisoformat(result["time"]).timestamp()


async def until_expired(client: Client, payment: str) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [notice for notice in client.notices if notice["payment"] == payment]

    await client.until(found)
    (notice,) = found()
    return notice


async def test_payments_expire_in_time_whatever_the_worker_s_clock_says(
    settings: Settings, worker: DreamingWorker
) -> None:
    worker.set_clock("+2d")
    await worker.start()
    async with Client(settings) as client:
        for payment, offset in (("ahead", "+2d"), ("behind", "-2d"), ("jumped", "+10d")):
            worker.set_clock(offset)
            result = await client.send(payment, MAKE)
            assert result["outcome"] == "completed"
            notice = await until_expired(client, payment)
            lived_seconds = seconds_of(notice) - seconds_of(result)
            assert RETENTION_SECONDS <= lived_seconds < MANY_SECONDS, (payment, notice)
    said = worker.log.read_text()
    ahead, behind = "172800 s ahead of the brokers'", "172800 s behind the brokers'"
    assert re.sub(r"1727\d\d|17280\d", "172800", said).count(ahead) >= 1, said
    assert re.sub(r"1727\d\d|17280\d", "172800", said).count(behind) >= 1, said
    assert said.count("the clock of this machine is") <= 6, "told again and again"
    times_ms = [
        record.timestamp
        for topic in ("payments.results", "accounts.ledger")
        for record in await read_all(settings, settings.topic(topic))
    ]
    assert max(times_ms) - min(times_ms) < MANY_SECONDS * 1000


async def test_results_can_be_published_where_the_topic_has_the_writer_s_time(
    installations: Installations, tmp_path: Path
) -> None:
    """An installation from before, whose public topics have CreateTime: newer brokers check it."""
    old = {"message.timestamp.type": "CreateTime", "message.timestamp.after.max.ms": "60000"}
    names = ("payments.results", "accounts.ledger", "payments.dead-letters")
    settings = await installations.make(
        opening_balance=1000, session_timeout_seconds=6, configs=dict.fromkeys(names, old)
    )
    worker = DreamingWorker(settings, tmp_path)
    worker.set_clock("+2d")
    try:
        await worker.start()
        async with Client(settings) as client:
            assert (await client.send("p1", MAKE))["outcome"] == "completed"
    finally:
        await worker.kill()
        worker.log.unlink()
