"""``python -m tools.bench.gateway_load``: payments over HTTP, with the CPU of each process.

A closed loop of makes with unique ids (``load_client``) on a gateway with one worker; gateway,
worker, broker and load share the machine.
"""

import argparse
import tempfile
from pathlib import Path

from tools.bench.bench_command import Command, Option, Report
from tools.bench.installations import measured_broker
from tools.bench.load import FLUSH, OPTIONS, faults, load_report, measure_load

COMMAND = Command(
    "tools.bench.gateway_load",
    __doc__,
    {
        **OPTIONS,
        "partitions": Option([8], quick=[2]),
        "concurrency": Option([1, 64, 256], "requests in flight at a time", quick=[4]),
        "flush": Option("off", "flush.messages=1 on all topics", choices=tuple(FLUSH)),
    },
)


def measure(given: argparse.Namespace) -> Report:
    """Measure the load over HTTP."""
    with tempfile.TemporaryDirectory(prefix="payments-bench-") as name, measured_broker() as broker:
        cells = list(measure_load(broker, given, Path(name), http=True))
    _, missing, not_completed = faults(cells)
    return Report(
        load_report(cells, given.seconds), broker.description, ok=not (missing or not_completed)
    )


if __name__ == "__main__":
    COMMAND.run(measure)
