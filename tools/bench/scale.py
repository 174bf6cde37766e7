"""``python -m tools.bench.scale``: what partitions cost one worker, and what that means for more.

Each number of partitions is measured on a broker of its own: takeovers, an idle worker, a closed
loop of many payments and one of one. Then two installations at a time are loaded in turn.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.bench.bench_command import FAILURES, PURE, Command, Option, Report, say
from tools.bench.comparing import (
    MANY_AGAINST_FEW,
    Comparison,
    compare,
    comparisons,
    comparisons_table,
)
from tools.bench.failures import BenchError
from tools.bench.partitions_cost import Effort, measure_idle, measure_scale
from tools.bench.scale_figures import (
    ScaleFigures,
    batches_for,
    batches_table,
    idle_table,
    measured_table,
)
from tools.bench.worker_cores import cores_table
from tools.dev.broker import kafka_version

COMMAND = Command(
    "tools.bench.scale",
    __doc__,
    {
        "partitions": Option([8, 64, 512], quick=[2]),
        "seconds": Option(10.0, "idle, and under load", quick=1.0),
        "concurrency": Option(256, "payments in flight at a time", quick=8),
        "repeats": Option(5, "of each comparison; 0: no comparisons", quick=0, least=0),
        "stored": Option(1_000_000, "payments stored in one of them"),
        "no-load": Option(default=False, help="only takeover and idle worker"),
        "pure": PURE,
    },
    marker="figures",
)


def measure(given: argparse.Namespace) -> Report:
    """Measure each number of partitions, then compare."""
    if given.no_load and given.write is not None:
        raise BenchError("--no-load only prints its table")
    broker = f"Kafka {kafka_version()} on the same cores"
    with tempfile.TemporaryDirectory(prefix="payments-scale-") as folder:
        effort = Effort(given.seconds, given.concurrency, Path(folder))
        if given.no_load:
            idle = [measure_idle(partitions, effort) for partitions in given.partitions]
            return Report(idle_table(idle), broker)
        rows, failed = _measure(given.partitions, effort)
        if not rows:
            raise BenchError("no number of partitions could be measured")
        compared = comparisons(given.stored, given.concurrency) if given.repeats else []
        for comparison in compared:
            compare(comparison, effort, given.repeats)
    return Report(report(rows, failed, compared), broker)


def _measure(numbers: Sequence[int], effort: Effort) -> tuple[list[ScaleFigures], dict[int, str]]:
    """Measure each number of partitions; one that this machine can't do is named in the report."""
    rows, failed = [], {}
    for partitions in numbers:
        try:
            rows.append(measure_scale(partitions, effort))
        except FAILURES as error:
            say(f"{partitions} partitions: {error!r}")
            failed[partitions] = str(error).partition("\n")[0] or repr(error)
    return rows, failed


def report(
    rows: Sequence[ScaleFigures], failed: dict[int, str], compared: Sequence[Comparison]
) -> str:
    """Return all tables of ``docs/scale.md``."""
    parts = [
        "### Measured: one worker, all partitions",
        measured_table(rows),
        *(f"{partitions:,} partitions: not measured, {why}" for partitions, why in failed.items()),
    ]
    if compared:
        how = f"Each ratio is the median of {len(compared[0].pairs)} pairs of alternating runs."
        parts += ["### Measured side by side", how, comparisons_table(compared)]
    if len(rows) > 1:
        parts += _batches(*rows[:2])
    which = f"From the column of {rows[0].partitions:,} partitions."
    return "\n\n".join([*parts, "### Computed: more worker cores", which, cores_table(rows[0])])


def _batches(few: ScaleFigures, many: ScaleFigures) -> list[str]:
    how = (
        f"From the columns of {few.partitions:,} and {many.partitions:,} partitions: in both, the "
        f"CPU per payment is that of a payment itself and of its batches."
    )
    parts = ["### Computed: what a batch costs", how, batches_table(few, many)]
    if (batches := batches_for(MANY_AGAINST_FEW, few, many)) is not None:
        parts.append(
            f"Where worker and broker have so much CPU and no more, {MANY_AGAINST_FEW:g} of the "
            f"rate of {few.partitions:,} partitions is {batches:.2f} batches for a payment."
        )
    return parts


if __name__ == "__main__":
    COMMAND.run(measure)
