"""``python -m tools.bench.aging``: what a takeover reads after a long load with expiry.

One installation with a short retention takes payments at a steady rate. At intervals its worker is
killed and started again: the new one says how many records it read for how many rows. At the end, a
fresh installation with as many stored payments is taken over: there each row was written once.

Only the counts mean anything on a shared machine; the seconds depend on what else it does.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from payments.client import PaymentsClient, PaymentsClientError
from payments.settings import Settings
from tools.bench.broker import MeasuredBroker, own_broker
from tools.bench.build import choose_build
from tools.bench.errors import BenchError
from tools.bench.installation import installation
from tools.bench.measuring import say
from tools.bench.options import add_pure, positive
from tools.bench.restore import read_takeover, store_payments
from tools.bench.tables import markdown_table
from tools.bench.worker import READY_LIMIT_SECONDS, WorkerProcess

ACCOUNTS = 1000
STEP_SECONDS = 0.1
DEADLINE_SECONDS = 60.0
"""Longer than the worker is away: no payment of the load is given up."""

MEGABYTE = 1_000_000
HEADINGS = ("after", "payments", "rows", "records read", "records per row", "restore s", "MB")


@dataclass(frozen=True, slots=True)
class Plan:
    """A load of ``rate`` payments/s for some minutes, with a takeover every few of them."""

    minutes: float
    every_minutes: float
    rate: float
    retention_minutes: float
    partitions: int


@dataclass(frozen=True, slots=True)
class Takeover:
    """One takeover of all partitions: what it read, and what the journals held on disk."""

    after: str
    payments: int
    rows: int
    records: int
    seconds: float
    journal_bytes: int


class Load:
    """Makes payments at a steady rate, as long as it runs."""

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
        account = f"acct-{random.randrange(ACCOUNTS)}"  # noqa: S311 - a load, no secret
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


def measure(broker: MeasuredBroker, plan: Plan, log: Path) -> list[Takeover]:
    """Load an installation, take it over at intervals, then a fresh one; return all takeovers."""
    with installation(
        broker.bootstrap,
        partitions=plan.partitions,
        flush=False,
        keep=True,
        retention_seconds=60 * plan.retention_minutes,
        window_seconds=10.0,
        instance_id="aging",
    ) as settings:
        found = asyncio.run(_age(broker, settings, plan, log))
    with installation(
        broker.bootstrap, partitions=plan.partitions, flush=False, keep=True
    ) as settings:
        rows = found[-1].rows
        asyncio.run(store_payments(settings, rows))
        found.append(_take_over(broker, settings, log, "fresh", rows))
    return found


async def _age(broker: MeasuredBroker, settings: Settings, plan: Plan, log: Path) -> list[Takeover]:
    found: list[Takeover] = []
    worker = _start(settings, log)
    try:
        async with PaymentsClient(settings=settings) as client:
            load = Load(client, plan.rate)
            loading = asyncio.create_task(load.run(60 * plan.minutes))
            began = time.monotonic()
            while not loading.done():
                await asyncio.wait([loading], timeout=60 * plan.every_minutes)
                minutes = round((time.monotonic() - began) / 60)
                # In a thread: the load goes on while the worker is away.
                worker, takeover = await asyncio.to_thread(
                    _restart, broker, settings, worker, log, f"{minutes} min", lambda: load.sent
                )
                found.append(takeover)
                say("\n" + "\t".join(_row(takeover)))
            await loading
        if load.failed:
            raise BenchError(f"{load.failed} payments were not answered")
    finally:
        worker.stop()
    return found


def _restart(  # noqa: PLR0917 - a thread takes them by position
    broker: MeasuredBroker,
    settings: Settings,
    worker: WorkerProcess,
    log: Path,
    after: str,
    payments: Callable[[], int],
) -> tuple[WorkerProcess, Takeover]:
    worker.must_run()
    worker.kill()
    worker = _start(settings, log)
    return worker, _takeover(broker, settings, log, after, payments())


def _start(settings: Settings, log: Path) -> WorkerProcess:
    worker = WorkerProcess(settings, log)
    worker.wait_until_ready(READY_LIMIT_SECONDS)
    return worker


def _take_over(
    broker: MeasuredBroker, settings: Settings, log: Path, after: str, payments: int
) -> Takeover:
    worker = _start(settings, log)
    try:
        return _takeover(broker, settings, log, after, payments)
    finally:
        worker.stop()


def _takeover(
    broker: MeasuredBroker, settings: Settings, log: Path, after: str, payments: int
) -> Takeover:
    rows, records, seconds = read_takeover(log.read_text())
    journals = (settings.changelog("payments"), settings.changelog("accounts"))
    size = sum(
        file.stat().st_size for file in broker.log_files() if file.parent.name.startswith(journals)
    )
    return Takeover(after, payments, rows, records, seconds, size)


def table(takeovers: Sequence[Takeover]) -> str:
    """Return the takeovers as a Markdown table."""
    return markdown_table(HEADINGS, [_row(each) for each in takeovers])


def _row(takeover: Takeover) -> list[str]:
    return [
        takeover.after,
        f"{takeover.payments:,}",
        f"{takeover.rows:,}",
        f"{takeover.records:,}",
        f"{takeover.records / max(takeover.rows, 1):.2f}",
        f"{takeover.seconds:.2f}",
        f"{takeover.journal_bytes / MEGABYTE:.1f}",
    ]


def main() -> int:
    """Measure, and print the table; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.aging", description=__doc__)
    parser.add_argument("--minutes", type=positive, default=30.0, help="of load (%(default)s)")
    parser.add_argument("--every-minutes", type=positive, default=5.0, help="between takeovers")
    parser.add_argument("--rate", type=positive, default=100.0, help="payments/s (%(default)s)")
    parser.add_argument("--retention-minutes", type=positive, default=10.0)
    parser.add_argument("--partitions", type=int, default=8)
    add_pure(parser)
    given = parser.parse_args()
    choose_build(pure=given.pure)
    plan = Plan(
        minutes=given.minutes,
        every_minutes=given.every_minutes,
        rate=given.rate,
        retention_minutes=given.retention_minutes,
        partitions=given.partitions,
    )
    with tempfile.TemporaryDirectory(prefix="payments-bench-") as folder, own_broker() as broker:
        found = measure(broker, plan, Path(folder) / "worker.log")
        command = f"python -m tools.bench.aging {' '.join(sys.argv[1:])}".strip()
        print(f"`{command}`, {broker.description}.\n\n{table(found)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"Error: {error}")
