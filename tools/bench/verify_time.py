"""``python -m tools.bench.verify_time``: how long ``payments verify`` takes, and its memory.

The topics are those of ``history``, written before. It runs on a broker of its own, or on the one
of PAYMENTS_BROKERS.
"""

import argparse
import asyncio
import time

from payments.settings import Settings
from payments.verify.topics import Topics
from tools.bench.bench_command import PURE, Command, Option, Report, say
from tools.bench.history import History
from tools.bench.installations import installation, measured_broker, open_log
from tools.bench.markdown import figures_table, megabytes
from tools.bench.measured_process import Ran, run_payments

PROGRESS_EVERY = 50_000
MILLION = 1_000_000
COMMAND = Command(
    "tools.bench.verify_time",
    __doc__,
    {
        "payments": Option(MILLION, "in the history", quick=1000),
        "partitions": Option(8, quick=2),
        "pure": PURE,
    },
    marker="figures",
)


def measure(given: argparse.Namespace) -> Report:
    """Audit an empty installation, write the payments, audit them."""
    with (
        measured_broker() as broker,
        installation(broker.bootstrap, partitions=given.partitions, flush=False) as settings,
    ):
        empty = audit(settings)
        started = time.monotonic()
        asyncio.run(_write(settings, given.payments))
        say(f"written in {time.monotonic() - started:.0f} s; now they are verified")
        full = audit(settings)
    return Report(table(given.payments, empty, full), broker.description, ok=full.shown["ok"])


def audit(settings: Settings) -> Ran:
    """Run ``payments verify --json``; raises ``BenchError`` when it could not verify."""
    return run_payments(settings, "verify", "--json", codes=(0, 1))


async def _write(settings: Settings, payments: int) -> None:
    topics = Topics.of(settings)
    async with open_log(settings, [*topics.journals, *topics.public, topics.commands]) as log:
        history = History(log, settings, await log.new_writer())
        for first in range(0, payments, PROGRESS_EVERY):
            await history.write(first, min(first + PROGRESS_EVERY, payments))
            say(f"{min(first + PROGRESS_EVERY, payments):,} of {payments:,} payments are written")


def table(payments: int, empty: Ran, full: Ran) -> str:
    """Return the figures; memory per payment is what a full audit needs beyond an empty one."""
    counts = full.shown["counts"]
    public = ", ".join(f"{counts[name]:,}" for name in ("commands", "results", "entries"))
    each = (full.peak_bytes - empty.peak_bytes) / payments
    return figures_table(
        [
            ("payments", f"{counts['payments']:,}"),
            ("commands, results, entries", public),
            ("violations", f"{sum(full.shown['violations_by_kind'].values()):,}"),
            ("time", f"{full.seconds:.0f} s"),
            ("CPU time of the command", f"{full.cpu_seconds:.0f} s"),
            ("payments per second", f"{payments / full.seconds:,.0f}"),
            ("peak memory (RSS)", megabytes(full.peak_bytes)),
            ("peak memory of an audit of nothing", megabytes(empty.peak_bytes)),
            ("memory per million payments", megabytes(round(each * MILLION))),
        ]
    )


if __name__ == "__main__":
    COMMAND.run(measure)
