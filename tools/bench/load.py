"""The load of one worker, over topics or over HTTP: installations, settings, repeats and the table.

For each number of partitions, without and with a flush, there is a fresh installation with one
worker and a warm-up of two seconds at the highest concurrency. Then each concurrency is loaded
once, and all of that is repeated: what else the machine does falls on all of them alike.
"""

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tools.bench.bench_command import PURE, Option, say
from tools.bench.load_client import PAIRS, UNIQUE
from tools.bench.loading import MEASURES, Load, median, median_cpu_us, run_load
from tools.bench.ours import OURS, running_ours
from tools.dev.errors import ToolError
from tools.dev.installations import MeasuredBroker
from tools.dev.markdown import figure, markdown_table

WARM_UP_SECONDS = 2.0
FLUSH = {"off": [False], "on": [True], "both": [False, True]}
OPTIONS = {
    "partitions": Option([8, 2], quick=[2]),
    "concurrency": Option([1, 16, 64, 256, 1000], "payments in flight at a time", quick=[4]),
    "seconds": Option(5.0, "of each load", quick=1.0),
    "repeats": Option(3, "of each load", quick=1),
    "flush": Option("both", "flush.messages=1 on all topics", "off", choices=tuple(FLUSH)),
    "pure": PURE,
}


@dataclass(slots=True)
class Cell:
    """One row of the table: all loads at one setting."""

    partitions: int
    flush: bool
    concurrency: int
    loads: list[Load] = field(default_factory=list)
    pairs: list[Load] = field(default_factory=list)
    """Loads of authorize and capture, each right after one of makes; none if not asked for."""


def measure_load(
    broker: MeasuredBroker,
    given: argparse.Namespace,
    folder: Path,
    *,
    http: bool = False,
    pairs: bool = False,
) -> Iterator[Cell]:
    """Measure each installation in turn; its cells come when it is done."""
    for partitions, flush in itertools.product(given.partitions, FLUSH[given.flush]):
        cells = [Cell(partitions, flush, concurrency) for concurrency in given.concurrency]
        where = f"{partitions} partitions, flush {'on' if flush else 'off'}"
        say(f"{where}: starting a fresh installation")
        with running_ours(broker, folder, partitions=partitions, flush=flush, http=http) as ours:
            warm_up = run_load(ours, WARM_UP_SECONDS, max(given.concurrency)).figures
            if warm_up.missing:
                raise ToolError(f"{warm_up.missing} payments were not answered in the warm-up")
            for repeat, cell in itertools.product(range(1, given.repeats + 1), cells):
                for workload in (UNIQUE, PAIRS) if pairs else (UNIQUE,):
                    load = run_load(ours, given.seconds, cell.concurrency, workload)
                    (cell.pairs if workload == PAIRS else cell.loads).append(load)
                    say(
                        f"{where}, concurrency {cell.concurrency}, {repeat} of {given.repeats}"
                        f"{', pairs' if workload == PAIRS else ''}: {described(load)}"
                    )
        yield from cells


def described(load: Load) -> str:
    """Return one load in a line of progress."""
    found = load.figures
    return (
        f"{found.rate:,.0f}/s, p50 {found.p50_ms} ms, p99 {found.p99_ms} ms, "
        f"{found.missing} missing, {found.not_completed} not completed"
    )


def load_report(cells: Sequence[Cell], seconds: float) -> str:
    """Return how it was measured, the table, and what was not answered as it should be."""
    count = len(cells[0].loads)
    runs = "one run" if count == 1 else f"{count} runs"
    how = f"Each figure is the median of {runs} of {seconds:g} s."
    table = f"{load_table(cells)}\n\n{faults_text(cells)}"
    if not cells[0].pairs:
        return f"{how}\n\n{table}"
    of_pairs = (
        "A pair is an authorize and, when it is answered, the capture of all that it holds. Each "
        "load of pairs came right after one of makes; the share is that of the two medians."
    )
    return f"{how}\n\n{table}\n\n{of_pairs}\n\n{pairs_table(cells)}"


def load_table(cells: Sequence[Cell]) -> str:
    """Return one row for each cell: medians of its loads, and the CPU of each process."""
    processes = list(cells[0].loads[0].cpu_us)
    headings = ["partitions", "flush", "concurrency", "payments/s", "p50 ms", "p95 ms", "p99 ms"]
    return markdown_table(
        [*headings, *(f"{name} µs" for name in processes)],
        [
            [
                str(cell.partitions),
                "on" if cell.flush else "off",
                f"{cell.concurrency:,}",
                figure(median(cell.loads, MEASURES["payments/s"])),
                *(figure(median(cell.loads, MEASURES[name]), 1) for name in ("p50", "p95", "p99")),
                *(figure(median_cpu_us(cell.loads, name)) for name in processes),
            ]
            for cell in cells
        ],
    )


def pairs_table(cells: Sequence[Cell]) -> str:
    """Return one row for each cell: medians of pairs, and their rate as a share of the makes'."""
    rate = MEASURES["payments/s"]
    rows = []
    for cell in cells:
        makes, pairs = median(cell.loads, rate), median(cell.pairs, rate)
        share = None if not makes or pairs is None else pairs / makes
        times = [figure(median(cell.pairs, MEASURES[name]), 1) for name in ("p50", "p95", "p99")]
        setting = [str(cell.partitions), "on" if cell.flush else "off", f"{cell.concurrency:,}"]
        rows.append([*setting, figure(makes), figure(pairs), figure(share, 2), *times])
    headings = ["partitions", "flush", "concurrency", "makes/s", "pairs/s", "share"]
    return markdown_table([*headings, "p50 ms of a pair", "p95 ms", "p99 ms"], rows)


def faults(cells: Sequence[Cell]) -> tuple[int, int, int]:
    """Return payments answered, missing, and answered but not completed."""
    figures = [load.figures for cell in cells for load in (*cell.loads, *cell.pairs)]
    return (
        sum(each.payments for each in figures),
        sum(each.missing for each in figures),
        sum(each.not_completed for each in figures),
    )


def faults_text(cells: Sequence[Cell]) -> str:
    """Return one sentence: what was answered, and what was not."""
    answered, missing, not_completed = faults(cells)
    return (
        f"{OURS}: {answered:,} payments answered, {missing:,} missing, "
        f"{not_completed:,} not completed."
    )
