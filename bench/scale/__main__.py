"""``python -m bench.scale``: measures, computes, prints and writes both tables."""

import argparse
import json
import shlex
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException

from bench.__main__ import INTERRUPTED, environment
from bench.build import choose_build
from bench.errors import BenchError
from bench.measuring import say
from bench.options import add_pure, at_least_one, positive
from bench.scale.arithmetic import lines
from bench.scale.figures import ScaleFigures
from bench.scale.measuring import Effort, measure_scale
from bench.scale.tables import arithmetic_table, measured_table
from bench.tables import with_figures
from dev.broker import kafka_version
from dev.errors import BrokerError
from payments.engine.errors import FailStop
from payments.topics import TopicsError

FAILURES = (BenchError, BrokerError, FailStop, KafkaError, KafkaException, OSError, TopicsError)


def main() -> int:
    """Measure what the command line asks for; return the exit code."""
    # SIGTERM ends it like Ctrl-C: the worker and the broker are stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = _parser().parse_args()
    if given.write is not None:
        with_figures(given.write.read_text(), "")
    choose_build(pure=given.pure)
    rows, failed = _measure(given)
    if not rows:
        return 1
    text = _report(rows, failed)
    print(text)
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if given.write is not None:
        given.write.write_text(with_figures(given.write.read_text(), text))
    return 0


def _measure(given: argparse.Namespace) -> tuple[list[ScaleFigures], dict[int, str]]:
    """Measure each number of partitions; one that this machine can't do is told, not left out."""
    rows, failed = [], {}
    with tempfile.TemporaryDirectory(prefix="payments-scale-") as folder:
        for partitions in given.partitions:
            effort = Effort(given.seconds, given.concurrency, Path(folder))
            try:
                row = measure_scale(partitions, effort)
            except FAILURES as error:
                say(f"{partitions} partitions: {error}")
                failed[partitions] = str(error).partition("\n")[0]
            else:
                rows.append(row)
    return rows, failed


def _report(rows: list[ScaleFigures], failed: dict[int, str]) -> str:
    command = f"python -m bench.scale {shlex.join(sys.argv[1:])}".strip()
    parts = [
        f"`{command}`, {environment(f'Kafka {kafka_version()} on the same cores')}.",
        "### Measured: one worker, all partitions",
        measured_table(rows),
        *(f"{partitions:,} partitions: not measured, {why}" for partitions, why in failed.items()),
        "### Computed: more worker cores",
        f"From the column of {rows[0].partitions:,} partitions.",
        arithmetic_table(lines(rows[0])),
    ]
    return "\n\n".join(parts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale",
        description="Measures what partitions cost one worker, each number of them on a broker of "
        "its own, and computes from that what more cores would do.",
    )
    parser.add_argument(
        "--partitions", type=at_least_one, nargs="+", default=[8, 64, 512, 4096], metavar="N"
    )
    parser.add_argument("--seconds", type=positive, default=10.0, help="idle, and under load")
    parser.add_argument("--concurrency", type=at_least_one, default=256)
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
