"""``python -m tools.bench.scale``: measures, computes, prints and writes both tables."""

import argparse
import json
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException

from exactstage.errors import FailStop
from payments.topics.cluster import TopicsError
from tools.bench.__main__ import INTERRUPTED, environment
from tools.bench.build import choose_build
from tools.bench.errors import BenchError
from tools.bench.measuring import say
from tools.bench.options import add_pure, at_least_one, count, positive
from tools.bench.scale.arithmetic import lines
from tools.bench.scale.comparing import MANY_AGAINST_FEW, Comparison, compare, comparisons
from tools.bench.scale.figures import ScaleFigures, batches_for
from tools.bench.scale.measuring import Effort, measure_idle, measure_scale
from tools.bench.scale.tables import (
    arithmetic_table,
    batches_table,
    comparisons_table,
    idle_table,
    measured_table,
)
from tools.bench.tables import with_figures
from tools.dev.broker import kafka_version
from tools.dev.errors import BrokerError

FAILURES = (BenchError, BrokerError, FailStop, KafkaError, KafkaException, OSError, TopicsError)


def main() -> int:
    """Measure what the command line asks for; return the exit code."""
    # SIGTERM ends it like Ctrl-C: the worker and the broker are stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = _parser()
    given = parser.parse_args()
    if given.no_load and (given.write or given.json):
        parser.error("--no-load only prints its table")
    if given.write is not None:
        with_figures(given.write.read_text(), "")
    choose_build(pure=given.pure)
    if given.no_load:
        with _effort(given) as effort:
            rows_idle = [measure_idle(partitions, effort) for partitions in given.partitions]
        print(idle_table(rows_idle))
        return 0
    rows, failed = _measure(given)
    if not rows:
        return 1
    compared = comparisons(given.stored, given.concurrency) if given.repeats else []
    with _effort(given) as effort:
        for comparison in compared:
            compare(comparison, effort, given.repeats)
    text = _report(rows, failed, compared)
    print(text)
    if given.json is not None:
        figures = {"partitions": list(map(asdict, rows)), "compared": list(map(asdict, compared))}
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    if given.write is not None:
        given.write.write_text(with_figures(given.write.read_text(), text))
    return 0


@contextmanager
def _effort(given: argparse.Namespace) -> Iterator[Effort]:
    with tempfile.TemporaryDirectory(prefix="payments-scale-") as folder:
        yield Effort(given.seconds, given.concurrency, Path(folder))


def _measure(given: argparse.Namespace) -> tuple[list[ScaleFigures], dict[int, str]]:
    """Measure each number of partitions; one that this machine can't do is told, not left out."""
    rows, failed = [], {}
    with _effort(given) as effort:
        for partitions in given.partitions:
            try:
                row = measure_scale(partitions, effort)
            except FAILURES as error:
                say(f"{partitions} partitions: {error!r}")
                failed[partitions] = str(error).partition("\n")[0] or repr(error)
            else:
                rows.append(row)
    return rows, failed


def _report(
    rows: list[ScaleFigures], failed: dict[int, str], compared: Sequence[Comparison]
) -> str:
    command = f"python -m tools.bench.scale {shlex.join(sys.argv[1:])}".strip()
    parts = [
        f"`{command}`, {environment(f'Kafka {kafka_version()} on the same cores')}.",
        "### Measured: one worker, all partitions",
        measured_table(rows),
        *(f"{partitions:,} partitions: not measured, {why}" for partitions, why in failed.items()),
        *_compared(compared),
        *_batches(rows),
        "### Computed: more worker cores",
        f"From the column of {rows[0].partitions:,} partitions.",
        arithmetic_table(lines(rows[0])),
    ]
    return "\n\n".join(parts)


def _compared(comparisons: Sequence[Comparison]) -> list[str]:
    if not comparisons:
        return []
    how = f"Each ratio is the median of {len(comparisons[0].pairs)} pairs of runs in turn."
    return ["### Measured side by side", how, comparisons_table(comparisons)]


def _batches(rows: Sequence[ScaleFigures]) -> list[str]:
    if len(rows) == 1:
        return []
    few, many = rows[:2]
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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.scale",
        description="Measures what partitions cost one worker, each number of them on a broker of "
        "its own, and computes from that what more cores would do.",
    )
    parser.add_argument(
        "--partitions", type=at_least_one, nargs="+", default=[8, 64, 512], metavar="N"
    )
    parser.add_argument("--seconds", type=positive, default=10.0, help="idle, and under load")
    parser.add_argument("--concurrency", type=at_least_one, default=256)
    parser.add_argument(
        "--repeats", type=count, default=5, help="runs of each comparison; 0: no comparisons"
    )
    parser.add_argument(
        "--no-load", action="store_true", help="only takeover and idle worker, for many partitions"
    )
    parser.add_argument(
        "--stored", type=at_least_one, default=1_000_000, help="payments stored in one of them"
    )
    add_pure(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures too")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into a document")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FAILURES as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
