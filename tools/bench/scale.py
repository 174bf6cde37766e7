"""``python -m tools.bench.scale``: what partitions cost one worker.

Each number of partitions is measured on a broker of its own: takeovers, an idle worker, a closed
loop of many payments and one of one. Then the first of them with a million stored payments, and
with two workers.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tools.bench.appended_batches import appended_since, log_sizes
from tools.bench.bench_command import FAILURES, PURE, Command, Option, Report, say
from tools.bench.loading import Target, run_load
from tools.bench.measured_process import cpu_percent
from tools.bench.ours import running_on
from tools.bench.restore import Takeover, store_payments, takeovers
from tools.dev.broker import kafka_version
from tools.dev.child_process import WorkerProcess
from tools.dev.errors import ToolError
from tools.dev.installations import MeasuredBroker, installation, own_broker
from tools.dev.markdown import UNKNOWN, figure, markdown_table

READY_LIMIT_SECONDS = 300.0
WARM_UP_SECONDS, WARM_UPS, FASTER, PAYMENTS_EACH = 5.0, 24, 1.1, 10
SETTLE_SECONDS = 3.0
COMMAND = Command(
    "tools.bench.scale",
    __doc__,
    {
        "partitions": Option([8, 64, 512], quick=[2]),
        "seconds": Option(10.0, "idle, and under load", quick=1.0),
        "concurrency": Option(256, "payments in flight at a time", quick=8),
        "stored": Option(1_000_000, "payments stored in a column of its own; 0: none", 0, least=0),
        "workers": Option(2, "workers of a column of its own; 1: none", quick=1),
        "no-load": Option(default=False, help="only takeover and idle worker"),
        "pure": PURE,
    },
    marker="figures",
)

Column = dict[str, str]
"""What was measured of one installation, by its name in the table."""


class Variant(NamedTuple):
    """One installation; ``stored`` payments are restored by its workers before."""

    partitions: int
    stored: int = 0
    workers: int = 1

    def __str__(self) -> str:
        stored = f", {self.stored:,} payments stored" if self.stored else ""
        workers = f", {self.workers} workers" if self.workers > 1 else ""
        return f"{self.partitions:,}{stored}{workers}"


def measure(given: argparse.Namespace) -> Report:
    """Measure each number of partitions, then the first one with stored payments, with workers."""
    if given.no_load and given.write is not None:
        raise ToolError("--no-load only prints its table")
    columns: list[Column] = []
    failed: list[str] = []
    variants = [Variant(partitions) for partitions in given.partitions]
    if given.stored and not given.no_load:
        variants.append(Variant(given.partitions[0], stored=given.stored))
    if given.workers > 1 and not given.no_load:
        variants.append(Variant(given.partitions[0], workers=given.workers))
    with tempfile.TemporaryDirectory(prefix="payments-scale-") as folder:
        for variant in variants:
            say(f"{variant} partitions: starting")
            try:
                columns.append(dict(measure_variant(variant, given, Path(folder))))
            except FAILURES as error:
                # One that this machine can't do is named in the report.
                why = str(error).partition("\n")[0] or repr(error)
                failed.append(f"{variant} partitions: not measured, {why}")
                say(failed[-1])
    if not columns:
        raise ToolError("no number of partitions could be measured")
    text = "\n\n".join([table(columns), *failed])
    return Report(text, f"Kafka {kafka_version()} on the same cores")


def measure_variant(
    variant: Variant, given: argparse.Namespace, folder: Path
) -> Iterator[tuple[str, str]]:
    """Yield the figures of one installation, measured on a broker of its own."""
    partitions, stored, workers = variant
    yield "partitions", str(variant)
    began = time.monotonic()
    with (
        own_broker() as broker,
        installation(broker.bootstrap, partitions=partitions, flush=False, keep=True) as settings,
    ):
        yield "topics made, s", f"{time.monotonic() - began:.1f}"
        if stored:
            asyncio.run(store_payments(settings, stored))
        with running_on(settings, broker, folder, workers=workers, stored=stored) as ours:
            worker = ours.children["worker"]
            yield "first takeover, s", _takeover(takeovers(worker.log.read_text())[-1])
            time.sleep(SETTLE_SECONDS)
            share = cpu_percent(worker.pid, given.seconds)
            yield "idle: share of a core, %", figure(share, 1)
            if given.no_load:
                return
            warm_up(ours, given.concurrency, partitions)
            yield from _loaded("busy", ours, broker, given.seconds, given.concurrency)
            yield from _loaded("one at a time", ours, broker, given.seconds, 1)
        if workers == 1:
            with WorkerProcess(settings, folder / "again.log") as worker:
                ready_seconds = worker.wait_until_ready(READY_LIMIT_SECONDS)
                again = takeovers(worker.log.read_text())[-1]
            yield "takeover after the load, s", _takeover(again)
            yield "records read for it", f"{again.records:,}"
            yield "from start to ready, s", f"{ready_seconds:.1f}"


def _takeover(takeover: Takeover) -> str:
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in takeover.seconds.items())
    return f"{takeover.total_seconds:.2f} ({parts})"


def _loaded(
    name: str, target: Target, broker: MeasuredBroker, seconds: float, concurrency: int
) -> Iterator[tuple[str, str]]:
    sizes = log_sizes(broker.log_files())
    load = run_load(target, seconds, concurrency)
    target.must_run()
    figures, appended = load.figures, appended_since(sizes, broker.log_files())
    if figures.missing or figures.not_completed:
        raise ToolError(f"{figures.missing} missing, {figures.not_completed} not completed")
    payments = figures.payments
    yield f"{name}: payments/s", figure(figures.rate)
    yield f"{name}: p50, ms", f"{figures.p50_ms:.1f}"
    for process, spent in load.cpu_us.items():
        yield f"{name}: {process} µs per payment", figure(spent)
    batches = f"{appended.batches / payments:.2f}, {appended.records / appended.batches:.1f}"
    yield f"{name}: batches for each, records in one", batches
    yield f"{name}: bytes on the broker for each", figure(appended.bytes / payments)


def warm_up(target: Target, concurrency: int, partitions: int) -> None:
    """Load a system until each partition was written to and it gets no faster, twice in a row.

    A first append to a partition makes files, and the broker compiles what it does often. It is
    loaded for two minutes at most.
    """
    best, answered, no_faster = 0.0, 0, 0
    for _ in range(WARM_UPS):
        load = run_load(target, WARM_UP_SECONDS, concurrency).figures
        answered += load.payments
        say(f"{partitions} partitions, warm-up: {load.rate:,.0f}/s")
        no_faster = no_faster + 1 if load.rate < FASTER * best else 0
        if no_faster > 1 and answered >= PAYMENTS_EACH * partitions:
            return
        best = max(best, load.rate)


def table(columns: Sequence[Column]) -> str:
    """Return one column for each number of partitions."""
    names = list(dict.fromkeys(name for column in columns for name in column))
    rows = [[name, *(column.get(name, UNKNOWN) for column in columns)] for name in names]
    return markdown_table(rows[0], rows[1:])


if __name__ == "__main__":
    COMMAND.run(measure)
