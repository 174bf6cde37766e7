"""``python -m tools.bench.gateway``: payments over HTTP, with the CPU of each process.

The load is wrk, a closed loop of makes with unique ids; gateway, worker, broker and load share the
machine. ``--beside`` measures another gateway in turn with ours, run by run.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from payments.settings import Settings
from tools.bench.broker import MeasuredBroker, measured_broker
from tools.bench.build import choose_build
from tools.bench.errors import BenchError
from tools.bench.installation import installation
from tools.bench.measuring import in_turn, say
from tools.bench.options import FLUSH, add_pure
from tools.bench.process import cpu_seconds
from tools.bench.tables import markdown_table
from tools.bench.worker import PAYMENTS, READY_LIMIT_SECONDS, running_worker
from tools.dev.errors import BrokerError
from tools.dev.ports import HOST, free_ports

SCRIPT = Path(__file__).with_suffix(".lua")
WARM_UP_SECONDS, LOAD_LIMIT_SECONDS = 2.0, 60.0
OURS, GATEWAY_READY = "payments", "gateway ready"
HEADINGS = ("partitions", "flush", "concurrency", "system", "payments/s", "p50 ms", "p99 ms")
CPU_HEADINGS = ("gateway µs", "worker µs", "broker µs", "ratio")


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway that takes ``POST /payments/ID/makePayment``, and its processes."""

    name: str
    url: str
    gateway_pid: int
    worker_pid: int


@dataclass(frozen=True, slots=True)
class Run:
    """What one load measured; CPU is in microseconds per payment, None where it is not known."""

    rate: float
    p50_ms: float
    p99_ms: float
    gateway_us: float | None
    worker_us: float | None
    broker_us: float | None


def main() -> int:
    """Measure what the command line asks for; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = _parser().parse_args()
    if shutil.which("wrk") is None:
        raise BenchError("wrk is not installed (apt-get install wrk)")
    choose_build(pure=given.pure)
    rows: list[list[str]] = []
    with (
        tempfile.TemporaryDirectory(prefix="payments-bench-") as folder,
        measured_broker(given.broker_pid) as broker,
    ):
        for partitions in given.partitions:
            for flush in FLUSH[given.flush]:
                with (
                    installation(broker.bootstrap, partitions=partitions, flush=flush) as settings,
                    our_gateway(settings, Path(folder)) as ours,
                ):
                    targets = [ours] if given.beside is None else [ours, given.beside]
                    where = [str(partitions), "on" if flush else "off"]
                    rows += [[*where, *row] for row in measure(broker, targets, given)]
    print(markdown_table([*HEADINGS, *CPU_HEADINGS], rows))
    return 0


@contextmanager
def our_gateway(settings: Settings, folder: Path) -> Iterator[Target]:
    """Start a worker and a gateway; both end with the block."""
    port = free_ports(1)[0]
    command = (*PAYMENTS, "gateway", "--port", str(port))
    with (
        running_worker(settings, folder / "worker.log") as worker,
        running_worker(settings, folder / "gateway.log", command, GATEWAY_READY) as gateway,
    ):
        worker.wait_until_ready(READY_LIMIT_SECONDS)
        gateway.wait_until_ready(READY_LIMIT_SECONDS)
        yield Target(OURS, f"http://{HOST}:{port}", gateway.pid, worker.pid)
        gateway.must_run()
        worker.must_run()


def measure(
    broker: MeasuredBroker, targets: list[Target], given: argparse.Namespace
) -> Iterator[list[str]]:
    """Measure each concurrency; the targets take turns, so that disturbances fall on all alike."""
    for target in targets:
        load(broker, target, max(given.concurrency), WARM_UP_SECONDS)
    runs: dict[tuple[int, str], list[Run]] = {}
    for repeat in range(1, given.repeats + 1):
        for concurrency in given.concurrency:
            for target in in_turn(targets, repeat):
                run = load(broker, target, concurrency, given.seconds)
                runs.setdefault((concurrency, target.name), []).append(run)
                say(
                    f"concurrency {concurrency}, {repeat} of {given.repeats}, {target.name}: "
                    f"{run.rate:,.0f}/s, p50 {run.p50_ms} ms, p99 {run.p99_ms} ms"
                )
    for (concurrency, name), measured in runs.items():
        ours = runs[concurrency, OURS]
        ratio = statistics.median(a.rate / b.rate for a, b in zip(ours, measured, strict=True))
        yield [str(concurrency), name, *_medians(measured), f"{ratio:.2f}"]


def load(broker: MeasuredBroker, target: Target, concurrency: int, seconds: float) -> Run:
    """Load a gateway once; raises ``BenchError`` when a request was not answered with 2xx."""
    pids = (target.gateway_pid, target.worker_pid, broker.pid)
    before = [cpu_seconds(pid) for pid in pids]
    command = ["wrk", "--threads=1", f"--connections={concurrency}", f"--duration={seconds:g}s"]
    command += ["--timeout=30s", f"--script={SCRIPT}", target.url]
    try:
        done = subprocess.run(
            command,
            env=os.environ | {"BENCH_RUN": uuid.uuid4().hex[:8]},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=seconds + LOAD_LIMIT_SECONDS,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"the load on {target.name} failed: {error}") from error
    figures = json.loads(done.stdout.splitlines()[-1])
    payments = figures["payments"]
    if not payments or figures["refused"] or figures["broken"]:
        raise BenchError(f"{target.name} did not make every payment: {figures}")
    after = [cpu_seconds(pid) for pid in pids]
    used = [
        None if a is None or b is None else 1e6 * (b - a) / payments
        for a, b in zip(before, after, strict=True)
    ]
    return Run(payments / figures["seconds"], figures["p50_ms"], figures["p99_ms"], *used)


def _medians(runs: list[Run]) -> list[str]:
    def of(name: str, digits: int = 0) -> str:
        values = [value for run in runs if (value := getattr(run, name)) is not None]
        return f"{statistics.median(values):,.{digits}f}" if values else "-"

    shown = [of("rate"), of("p50_ms", 1), of("p99_ms", 1)]
    return [*shown, of("gateway_us"), of("worker_us"), of("broker_us")]


def _target(text: str) -> Target:
    name, url, gateway_pid, worker_pid = text.split(",")
    return Target(name, url, int(gateway_pid), int(worker_pid))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.bench.gateway", description=__doc__)
    parser.add_argument("--partitions", type=int, nargs="+", default=[8], metavar="N")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 64, 256], metavar="N")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each load (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="of each load (%(default)s)")
    add_pure(parser)
    parser.add_argument("--flush", choices=FLUSH, default="off", help="flush.messages=1")
    parser.add_argument(
        "--beside",
        type=_target,
        metavar="NAME,URL,GATEWAY_PID,WORKER_PID",
        help="another gateway with the second example system's path, measured in turn with ours",
    )
    parser.add_argument("--broker-pid", type=int, help="process of the broker of PAYMENTS_BROKERS")
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, BrokerError, OSError) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
