"""``make bench``: speed, CPU and memory of a worker: its load, over topics or HTTP, its restore.

It runs on a broker of its own, or on the one of PAYMENTS_BROKERS, whose CPU is not known then.
"""

import argparse
import tempfile
from pathlib import Path

from tools.bench.bench_command import Command, Option, Report
from tools.bench.load import OPTIONS, faults, load_report, measure_load
from tools.bench.restore import STORED, measure_restore
from tools.dev.errors import ToolError
from tools.dev.installations import measured_broker
from tools.dev.markdown import figures_table

COMMAND = Command(
    "tools.bench",
    __doc__,
    {
        **OPTIONS,
        "repeats": Option(3, "of each load; 0: the restore alone", quick=1, least=0),
        "http": Option(default=False, help="load a gateway, and through it the worker"),
        "pairs": Option(default=False, help="authorize and capture too, after each load of makes"),
        "restore": Option(1_000_000, "stored payments; 0: the load alone", quick=0, least=0),
        "stored": Option("make", "what each stored payment is", choices=STORED),
    },
    marker="figures",
)


def measure(given: argparse.Namespace) -> Report:
    """Measure the load, then the restore."""
    if given.write is not None and (given.http or not (given.repeats and given.restore)):
        raise ToolError("--write replaces all figures: the load's over topics, and the restore's")
    if given.pairs and not given.http:
        raise ToolError("--pairs needs --http")
    if not (given.repeats or given.restore):
        raise ToolError("with --repeats 0 and --restore 0 there is nothing to measure")
    parts, cells = [], []
    with tempfile.TemporaryDirectory(prefix="payments-bench-") as name, measured_broker() as broker:
        folder = Path(name)
        if given.repeats:
            cells = list(measure_load(broker, given, folder, http=given.http, pairs=given.pairs))
            parts += ["### Load", load_report(cells, given.seconds)]
        if given.restore:
            figures = measure_restore(
                broker, given.restore, given.partitions[0], folder, stored=given.stored
            )
            parts += ["### Restore and memory", figures_table(list(figures))]
    _, missing, not_completed = faults(cells)
    return Report("\n\n".join(parts), broker.description, ok=not (missing or not_completed))


if __name__ == "__main__":
    COMMAND.run(measure)
