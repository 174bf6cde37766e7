"""``python -m tools.bench.aging``: what a takeover reads after a long load with expiry.

One installation with a short retention takes payments at a steady rate. At intervals its worker is
killed and started again: the new one says how many records it read for how many rows. At the end, a
fresh installation with as many stored payments is taken over: there each row was written once.

Only the counts mean anything on a shared machine; the seconds depend on what else it does.
"""

import argparse
import asyncio
import random
import tempfile
import time
import uuid
from pathlib import Path

from payments.client import PaymentsClient, PaymentsClientError
from payments.settings import Settings
from tools.bench.bench_command import PURE, Command, Option, Report, say
from tools.bench.failures import BenchError
from tools.bench.installations import MeasuredBroker, installation, own_broker
from tools.bench.markdown import MEGABYTE, markdown_table
from tools.bench.measured_process import WorkerProcess
from tools.bench.restore import store_payments
from tools.bench.takeover_log import takeovers

ACCOUNTS = 1000
STEP_SECONDS = 0.1
DEADLINE_SECONDS = 60.0
"""Longer than the worker is away: no payment of the load is given up."""

HEADINGS = ("after", "payments", "rows", "records read", "records per row", "restore s", "MB")
COMMAND = Command(
    "tools.bench.aging",
    __doc__,
    {
        "minutes": Option(30.0, "of load", quick=0.4),
        "every-minutes": Option(5.0, "between takeovers", quick=0.2),
        "rate": Option(100.0, "payments/s", quick=20.0),
        "retention-minutes": Option(10.0, "after which payments expire", quick=0.3),
        "partitions": Option(8, quick=2),
        "pure": PURE,
    },
)


class Load:
    """Makes payments at a steady rate, on 1,000 accounts, as long as it runs."""

    def __init__(self, client: PaymentsClient, rate: float) -> None:
        self._client = client
        self._rate = rate
        self._run = uuid.uuid4().hex[:8]
        self._in_flight: set[asyncio.Task[None]] = set()
        self.sent = self.failed = 0

    async def run(self, seconds: float) -> None:
        """Send what is due every tenth of a second, then wait for what is in flight."""
        now = asyncio.get_running_loop().time
        began = now()
        while (passed := now() - began) < seconds:
            while self.sent < passed * self._rate:
                task = asyncio.create_task(self._make(self.sent))
                self._in_flight.add(task)
                task.add_done_callback(self._in_flight.discard)
                self.sent += 1
            await asyncio.sleep(STEP_SECONDS)
        await asyncio.gather(*self._in_flight)

    async def _make(self, number: int) -> None:
        account = f"acct-{random.randrange(ACCOUNTS)}"
        try:
            await self._client.make(
                f"{self._run}-{number:012d}",
                account=account,
                amount=1,
                deadline_seconds=DEADLINE_SECONDS,
            )
        except PaymentsClientError as error:
            self.failed += 1
            say(f"payment {number}: {error}")


def measure(given: argparse.Namespace) -> Report:
    """Load an installation, take it over at intervals, then a fresh one."""
    with tempfile.TemporaryDirectory(prefix="payments-bench-") as name, own_broker() as broker:
        with installation(
            broker.bootstrap,
            partitions=given.partitions,
            flush=False,
            keep=True,
            retention_seconds=60 * given.retention_minutes,
            window_seconds=10.0,
            instance_id="aging",
        ) as settings:
            rows = asyncio.run(_age(broker, settings, given, Path(name)))
        with installation(
            broker.bootstrap, partitions=given.partitions, flush=False, keep=True
        ) as settings:
            stored = int(rows[-1][2].replace(",", ""))
            asyncio.run(store_payments(settings, stored))
            with WorkerProcess(settings, Path(name) / "fresh.log") as worker:
                worker.wait_until_ready()
                rows.append(_row(broker, settings, worker, "fresh", stored))
    return Report(markdown_table(HEADINGS, rows), broker.description)


async def _age(
    broker: MeasuredBroker, settings: Settings, given: argparse.Namespace, folder: Path
) -> list[list[str]]:
    rows: list[list[str]] = []
    with WorkerProcess(settings, folder / "worker.log") as worker:
        worker.wait_until_ready()
        async with PaymentsClient(settings=settings) as client:
            load = Load(client, given.rate)
            loading = asyncio.create_task(load.run(60 * given.minutes))
            began = time.monotonic()
            while not loading.done():
                await asyncio.wait([loading], timeout=60 * given.every_minutes)
                after = f"{round((time.monotonic() - began) / 60)} min"
                # In a thread: the load goes on while the worker is away.
                await asyncio.to_thread(_restart, worker)
                rows.append(_row(broker, settings, worker, after, load.sent))
                say("\t".join(rows[-1]))
            await loading
        if load.failed:
            raise BenchError(f"{load.failed} payments were not answered")
    return rows


def _restart(worker: WorkerProcess) -> None:
    worker.must_run()
    worker.restart()
    worker.wait_until_ready()


def _row(
    broker: MeasuredBroker, settings: Settings, worker: WorkerProcess, after: str, payments: int
) -> list[str]:
    """Return what the worker's last takeover read, and what the journals hold on disk."""
    taken = takeovers(worker.log.read_text())[-1]
    journals = (settings.changelog("payments"), settings.changelog("accounts"))
    files = [file for file in broker.log_files() if file.parent.name.startswith(journals)]
    return [
        after,
        f"{payments:,}",
        f"{taken.rows:,}",
        f"{taken.records:,}",
        f"{taken.records / max(taken.rows, 1):.2f}",
        f"{taken.restore_seconds:.2f}",
        f"{sum(file.stat().st_size for file in files) / MEGABYTE:.1f}",
    ]


if __name__ == "__main__":
    COMMAND.run(measure)
