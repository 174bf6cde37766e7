"""``python -m tools.bench.aging``: what a takeover reads after a long load with expiry.

One installation with a short retention takes payments at a steady rate. At intervals its worker is
killed and started again: the new one says how many records it read for how many rows. At the end, a
fresh installation with as many stored payments is taken over: there each row was written once.

Only the counts mean anything on a shared machine; the seconds depend on what else it does.
"""

import argparse
import asyncio
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from payments.settings import Settings
from tools.bench.bench_command import PURE, Command, Option, Report, say
from tools.bench.load_client import Figures
from tools.bench.loading import load_beside
from tools.bench.ours import topics_of
from tools.bench.restore import store_payments, takeovers
from tools.dev.child_process import WorkerProcess
from tools.dev.errors import ToolError
from tools.dev.installations import MeasuredBroker, installation, own_broker
from tools.dev.markdown import MEGABYTE, markdown_table

STALLED_SECONDS = 300.0
"""Longer than the worker is away: no payment of the load is given up."""

HEADINGS = ("after", "rows", "records read", "records per row", "restore s", "MB")
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
            rows = list(_age(broker, settings, given, Path(name)))
        with installation(
            broker.bootstrap, partitions=given.partitions, flush=False, keep=True
        ) as settings:
            asyncio.run(store_payments(settings, int(rows[-1][1].replace(",", ""))))
            with WorkerProcess(settings, Path(name) / "fresh.log") as worker:
                worker.wait_until_ready()
                rows.append(_row(broker, settings, worker, "fresh"))
    return Report(markdown_table(HEADINGS, rows), broker.description)


def _age(
    broker: MeasuredBroker, settings: Settings, given: argparse.Namespace, folder: Path
) -> Iterator[list[str]]:
    """Yield what each takeover has read while payments come."""
    options = {"seconds": 60 * given.minutes, "rate": given.rate}
    with (
        WorkerProcess(settings, folder / "worker.log") as worker,
        load_beside(topics_of(settings), **options, **{"stalled-seconds": STALLED_SECONDS}) as load,
    ):
        began, said = time.monotonic(), ""
        while not said:
            try:
                said, _ = load.communicate(timeout=60 * given.every_minutes)
            except subprocess.TimeoutExpired:
                worker.must_run()
            after = f"{round((time.monotonic() - began) / 60)} min"
            worker.restart()
            worker.wait_until_ready()
            yield _row(broker, settings, worker, after)
            if load.returncode:
                raise ToolError(f"the load has ended with exit code {load.returncode}")
    figures = Figures(**json.loads(said))
    say(f"{figures.payments:,} payments")
    if figures.missing:
        raise ToolError(f"{figures.missing} payments were not answered")


def _row(
    broker: MeasuredBroker, settings: Settings, worker: WorkerProcess, after: str
) -> list[str]:
    """Return what the worker's last takeover read, and what the journals hold on disk."""
    taken = takeovers(worker.log.read_text())[-1]
    journals = (settings.changelog("payments"), settings.changelog("accounts"))
    files = [file for file in broker.log_files() if file.parent.name.startswith(journals)]
    row = [
        after,
        f"{taken.rows:,}",
        f"{taken.records:,}",
        f"{taken.records / max(taken.rows, 1):.2f}",
        f"{taken.restore_seconds:.2f}",
        f"{sum(file.stat().st_size for file in files) / MEGABYTE:.1f}",
    ]
    say("\t".join(row))
    return row


if __name__ == "__main__":
    COMMAND.run(measure)
