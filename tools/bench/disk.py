"""``python -m tools.bench.disk``: rows on disk, beside an empty worker with its rows in memory.

One worker has the stored payments, with its rows on disk; another one has none, with its rows in
memory. The loads take turns on both, so what else the machine does falls on both alike. Then the
worker with its rows on disk is killed again and again, and takes its copies over.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from payments.settings import Settings
from tools.bench.bench_command import PURE, Command, Option, Report, say
from tools.bench.load import described
from tools.bench.loading import MEASURES, Load, Target, median, run_load
from tools.bench.measured_process import cpu_percent, disk_bytes, peak_bytes, resident_bytes
from tools.bench.ours import running_on
from tools.bench.restore import SETTLE_SECONDS, SLOWEST_RATE, Takeover, store_payments, takeovers
from tools.dev.child_process import READY_LIMIT_SECONDS, WorkerProcess
from tools.dev.errors import ToolError
from tools.dev.installations import MeasuredBroker, installation, own_broker
from tools.dev.local_broker import KAFKA_FOLDER
from tools.dev.markdown import figure, markdown_table, megabytes

WARM_UP_SECONDS = 3.0
STATE = "state"
MEMORY, NEW, REPEATS = "empty, in memory", "on disk, new ids", "on disk, repeats of stored ids"
COMMAND = Command(
    "tools.bench.disk",
    __doc__,
    {
        "payments": Option(10_000_000, "stored on disk", quick=2_000),
        "partitions": Option(8, quick=2),
        "concurrency": Option([64, 256], "payments in flight at a time", quick=[4]),
        "seconds": Option(10.0, "of each load", quick=1.0),
        "repeats": Option(3, "of each load", quick=1),
        "kills": Option(3, "of the worker with its rows on disk", quick=1),
        "memory-mb": Option(512, "PAYMENTS_STATE_MEMORY_MB", least=32),
        "pure": PURE,
    },
    marker="disk",
)

Loads = dict[tuple[int, str], list[Load]]
"""Loads by concurrency and kind."""


def measure(given: argparse.Namespace) -> Report:
    """Store, take over, load in turn, kill."""
    loads: Loads = {}
    with (
        own_broker() as broker,
        # Beside the broker's data: the system's temporary folder is often in memory.
        tempfile.TemporaryDirectory(prefix="payments-disk-", dir=KAFKA_FOLDER) as name,
        _installed(broker, given) as empty,
        _installed(
            broker,
            given,
            state_dir=Path(name) / STATE,
            state_memory_mb=given.memory_mb,
            instance_id="disk",  # The group takes a static member back at once.
        ) as settings,
    ):
        asyncio.run(store_payments(settings, given.payments))
        rows = [("stored payments", f"{given.payments:,} in {given.partitions} partitions")]
        rows += _measured(broker, empty, settings, given, Path(name), loads=loads)
    figures = markdown_table(["", "on disk"], [list(row) for row in rows])
    seconds = f"Each figure is the median of {given.repeats} of {given.seconds:g} s, in turn."
    return Report(f"{figures}\n\n{seconds}\n\n{_load_table(loads)}", broker.description)


def _installed(
    broker: MeasuredBroker, given: argparse.Namespace, **values: object
) -> AbstractContextManager[Settings]:
    return installation(
        broker.bootstrap, partitions=given.partitions, flush=False, keep=True, **values
    )


def _measured(
    broker: MeasuredBroker,
    empty: Settings,
    settings: Settings,
    given: argparse.Namespace,
    folder: Path,
    *,
    loads: Loads,
) -> Iterator[tuple[str, str]]:
    """Yield what is measured of the worker with its rows on disk; add to ``loads``."""
    limit = READY_LIMIT_SECONDS + given.payments / SLOWEST_RATE
    say("a worker without a copy takes them over")
    with WorkerProcess(settings, folder / "first.log") as worker:
        ready_seconds = worker.wait_until_ready(limit)
        whole = takeovers(worker.log.read_text())[-1]
        yield "without a copy: from start to ready", f"{ready_seconds:.1f} s"
        yield "without a copy: restore rate", f"{whole.records / whole.restore_seconds:,.0f} rows/s"
        yield "bytes on disk, right after that", _each(folder, given.payments)
        cpu_percent(worker.pid, SETTLE_SECONDS)
        yield "memory (RSS) after that", megabytes(resident_bytes(worker.pid))
    if whole.records < given.payments:
        raise ToolError(f"{whole.records} records were read, but {given.payments} were written")
    with (
        running_on(empty, broker, folder) as memory,
        running_on(settings, broker, folder, stored=given.payments) as disk,
    ):
        _load_in_turn(memory, disk, given, loads)
        worker_pid = disk.children["worker"].pid
        yield "memory (RSS) after the load", megabytes(resident_bytes(worker_pid))
        yield "memory (RSS), the most", megabytes(peak_bytes(worker_pid))
    yield "bytes on disk, after the load", _each(folder, given.payments)
    yield from _kills(settings, given, folder, limit)


def _each(folder: Path, payments: int) -> str:
    found = disk_bytes(folder / STATE)
    return f"{megabytes(found)}, {found / payments:.0f} for each payment"


def _load_in_turn(memory: Target, disk: Target, given: argparse.Namespace, loads: Loads) -> None:
    kinds: Sequence[tuple[str, Target, int | None]] = [
        (MEMORY, memory, None),
        (NEW, disk, None),
        (REPEATS, disk, given.payments),
    ]
    for _, target, stored in kinds:
        run_load(target, WARM_UP_SECONDS, max(given.concurrency), stored=stored)
    for repeat in range(1, given.repeats + 1):
        for concurrency in given.concurrency:
            for kind, target, stored in kinds:
                load = run_load(target, given.seconds, concurrency, stored=stored)
                loads.setdefault((concurrency, kind), []).append(load)
                say(f"{kind}, concurrency {concurrency}, {repeat}: {described(load)}")
                if load.figures.missing or load.figures.not_completed:
                    raise ToolError(f"{kind}: not all payments were completed")


def _kills(
    settings: Settings, given: argparse.Namespace, folder: Path, limit: float
) -> Iterator[tuple[str, str]]:
    """Kill the worker while it is loaded, and start it again at once."""
    took: list[float] = []
    found: list[Takeover] = []
    with WorkerProcess(settings, folder / "killed.log") as worker:
        worker.wait_until_ready(limit)
        for kill in range(1, given.kills + 1):
            began = time.monotonic()
            worker.restart()
            worker.wait_until_ready(limit)
            took.append(time.monotonic() - began)
            found += takeovers(worker.log.read_text())[-1:]
            say(f"kill {kill}: ready after {took[-1]:.1f} s")
    middle = sorted(range(len(took)), key=took.__getitem__)[len(took) // 2]
    each = found[middle]
    yield "kill -9, started again at once: ready after", f"{took[middle]:.1f} s"
    yield "its takeover", f"{each.total_seconds:.2f} s, {each.records:,} records read"


def _load_table(loads: Loads) -> str:
    rate = MEASURES["payments/s"]
    rows: list[list[str]] = []
    for (concurrency, kind), found in loads.items():
        beside, own = median(loads[concurrency, MEMORY], rate), median(found, rate)
        share = None if not beside or own is None else own / beside
        cpu = median(found, lambda load: load.cpu_us["worker"])
        times = [figure(median(found, MEASURES[name]), 1) for name in ("p50", "p99")]
        rows.append([f"{concurrency:,}", kind, figure(own), figure(share, 2), *times, figure(cpu)])
    headings = ["concurrency", "rows", "payments/s", "share", "p50 ms", "p99 ms", "worker µs"]
    return markdown_table(headings, rows)


if __name__ == "__main__":
    COMMAND.run(measure)
