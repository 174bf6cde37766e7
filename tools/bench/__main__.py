"""``make bench``: measures, and prints the tables."""

import argparse
import json
import os
import platform
import shlex
import signal
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from aiokafka.errors import KafkaError

from exactstage.errors import FailStop
from payments.topics.cluster import TopicsError
from tools.bench.broker import MeasuredBroker, measured_broker
from tools.bench.build import choose_build, version
from tools.bench.errors import BenchError
from tools.bench.figures import OURS, Cell, RestoreFigures, faults
from tools.bench.measuring import Plan, measure_load
from tools.bench.options import FLUSH, parse_options
from tools.bench.process import cpu_seconds
from tools.bench.restore import measure_restore
from tools.bench.tables import faults_text, load_table, restore_table, with_figures
from tools.dev.errors import BrokerError

INTERRUPTED = 130


def main() -> int:
    """Measure what the command line asks for; return the exit code."""
    # SIGTERM ends it like Ctrl-C: the worker and the broker are stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = parse_options(sys.argv[1:])
    _check(given)
    choose_build(pure=given.pure)
    plan = Plan(
        partitions=given.partitions,
        flush=FLUSH[given.flush],
        concurrency=given.concurrency,
        seconds=given.seconds,
        repeats=given.repeats,
        beside=given.beside,
    )
    restore = None
    with (
        tempfile.TemporaryDirectory(prefix="payments-bench-") as folder,
        measured_broker(given.broker_pid) as broker,
    ):
        log = Path(folder) / "worker.log"
        cells = list(measure_load(broker, plan, log)) if plan.repeats else []
        if given.restore:
            restore = measure_restore(broker, given.restore, given.partitions[0], log)
    text = _report(given, broker, cells, restore)
    print(text)
    if given.json is not None:
        given.json.write_text(json.dumps(_as_json(broker, cells, restore), indent=2) + "\n")
    if given.write is not None:
        given.write.write_text(with_figures(given.write.read_text(), text))
    _, missing, not_completed = faults(cells).get(OURS, (0, 0, 0))
    return 1 if missing or not_completed else 0


def _check(given: argparse.Namespace) -> None:
    """Find out before the long run what would spoil its end."""
    if given.beside is not None:
        if not os.environ.get("PAYMENTS_BROKERS"):
            raise BenchError("--beside needs PAYMENTS_BROKERS: the broker that it runs on")
        if sys.platform == "linux" and cpu_seconds(given.beside.pid) is None:
            raise BenchError(f"--beside: there is no process {given.beside.pid}")
    if given.write is not None:
        with_figures(given.write.read_text(), "")
    if given.json is not None:
        given.json.touch()


def _report(
    given: argparse.Namespace,
    broker: MeasuredBroker,
    cells: list[Cell],
    restore: RestoreFigures | None,
) -> str:
    command = f"python -m tools.bench {shlex.join(sys.argv[1:])}".strip()
    parts = [f"`{command}`, {environment(broker.description)}."]
    if cells:
        beside = given.beside.name if given.beside else None
        runs = "one run" if given.repeats == 1 else f"{given.repeats} runs"
        how = f"Each figure is the median of {runs} of {given.seconds:g} s."
        parts += ["### Load", how, load_table(cells, beside), faults_text(cells)]
    if restore is not None:
        parts += ["### Restore and memory", restore_table(restore)]
    return "\n\n".join(parts)


def environment(broker: str) -> str:
    """Return one phrase: when, on how many cores, what, with which Python and ``broker``."""
    today = datetime.now(UTC).date().isoformat()
    python = f"Python {platform.python_version()}"
    return f"{today}, {cores()} cores, {version()}, {python}, {broker}"


def cores() -> int | None:
    """Return how many cores this process may use."""
    # Where only some cores may be used (a container, taskset), those count; only Linux tells.
    allowed = getattr(os, "sched_getaffinity", None)
    return len(allowed(0)) if allowed else os.cpu_count()


def _as_json(
    broker: MeasuredBroker, cells: list[Cell], restore: RestoreFigures | None
) -> dict[str, object]:
    return {
        "environment": environment(broker.description),
        "load": [asdict(cell) for cell in cells],
        "restore": restore and asdict(restore),
    }


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, BrokerError, FailStop, KafkaError, TopicsError, OSError) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
