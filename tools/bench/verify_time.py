"""``python -m tools.bench.verify_time``: how long ``payments verify`` takes, and its memory.

The payments are made before, by a load over topics on one worker. It runs on a broker of its own,
or on the one of PAYMENTS_BROKERS.
"""

import argparse
import tempfile
from pathlib import Path

from payments.settings import Settings
from tools.bench.bench_command import PURE, Command, Option, Report, say
from tools.bench.installations import installation, measured_broker
from tools.bench.loading import store_by_load
from tools.bench.markdown import figures_table, megabytes
from tools.bench.measured_process import Ran, run_payments
from tools.bench.ours import running_on

MILLION = 1_000_000
COMMAND = Command(
    "tools.bench.verify_time",
    __doc__,
    {
        "payments": Option(MILLION, "at least", quick=1000),
        "partitions": Option(8, quick=2),
        "pure": PURE,
    },
    marker="figures",
)


def measure(given: argparse.Namespace) -> Report:
    """Audit an empty installation, make the payments, audit them."""
    with (
        measured_broker() as broker,
        installation(broker.bootstrap, partitions=given.partitions, flush=False) as settings,
        tempfile.TemporaryDirectory(prefix="payments-bench-") as folder,
    ):
        empty = audit(settings)
        with running_on(settings, broker, Path(folder)) as ours:
            store_by_load(ours, given.payments)
        say("now they are verified")
        full = audit(settings)
    return Report(table(empty, full), broker.description, ok=full.shown["ok"])


def audit(settings: Settings) -> Ran:
    """Run ``payments verify --json``; raises ``BenchError`` when it could not verify."""
    return run_payments(settings, "verify", "--json", codes=(0, 1))


def table(empty: Ran, full: Ran) -> str:
    """Return the figures; memory per payment is what a full audit needs beyond an empty one."""
    counts = full.shown["counts"]
    payments = counts["payments"]
    public = ", ".join(f"{counts[name]:,}" for name in ("commands", "results", "entries"))
    each = (full.peak_bytes - empty.peak_bytes) / payments
    return figures_table(
        [
            ("payments", f"{payments:,}"),
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
