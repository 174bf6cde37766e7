"""Loading a system that runs, and what its processes used for it."""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tools.bench.load_client import UNIQUE, Figures
from tools.bench.measured_process import cpu_seconds, peak_bytes
from tools.dev.child_process import Child, output_of
from tools.dev.errors import ToolError
from tools.dev.installations import MeasuredBroker

LOAD_LIMIT_SECONDS = 120.0
"""What a load may take beyond its own time: start, the payments still in flight, a stall."""

STORE_SECONDS, STORE_CONCURRENCY, STORE_RATE = 20.0, 1000, 2000
LIGHT, LIGHT_SECONDS = 8, 600
"""Payments in flight in a light load; it lasts longer than what it runs beside."""


@dataclass(frozen=True, slots=True)
class HttpEndpoint:
    """Where a system answers over HTTP, and which requests it takes (``http_client.DIALECTS``)."""

    port: int
    dialect: str


@dataclass(frozen=True, slots=True)
class TopicsEndpoint:
    """Where a system takes commands and answers over topics."""

    brokers: str
    commands: str
    results: str
    ledger: str


@dataclass(frozen=True, slots=True)
class Target:
    """A system that runs; ``children`` and the broker are all that do its work, by name."""

    name: str
    endpoint: HttpEndpoint | TopicsEndpoint
    children: Mapping[str, Child]
    broker: MeasuredBroker | None = None
    """None: no broker takes part."""

    handler: Child | None = None
    """The one that handles payments, where it may be killed."""

    def processes(self) -> dict[str, int | None]:
        """Return the process ids as they are now, the broker's last."""
        pids: dict[str, int | None] = {name: child.pid for name, child in self.children.items()}
        return pids if self.broker is None else {**pids, "broker": self.broker.pid}

    def must_run(self) -> None:
        """Raise ``ToolError`` when a process has ended: what was measured means nothing then."""
        for child in self.children.values():
            child.must_run()


@dataclass(frozen=True, slots=True)
class Load:
    """One load of a system and what its processes used for it."""

    workload: str
    concurrency: int
    figures: Figures
    cpu_us: dict[str, float | None]
    """CPU of each process per payment, user and system; None where it is not known."""

    peak_bytes: dict[str, int | None]
    """Most memory of each process since its start."""

    @property
    def total_cpu_us(self) -> float | None:
        """CPU of all processes per payment; None when one of them is not known."""
        known = [value for value in self.cpu_us.values() if value is not None]
        return sum(known) if len(known) == len(self.cpu_us) else None


MEASURES: dict[str, Callable[[Load], float | None]] = {
    "payments/s": lambda load: load.figures.rate,
    "p50": lambda load: load.figures.p50_ms,
    "p95": lambda load: load.figures.p95_ms,
    "p99": lambda load: load.figures.p99_ms,
    "CPU per payment": lambda load: load.total_cpu_us,
}


def median(loads: Iterable[Load], measure: Callable[[Load], float | None]) -> float | None:
    """Return the median of one measure over the loads in which it is known."""
    known = [value for load in loads if (value := measure(load)) is not None]
    return statistics.median(known) if known else None


def median_cpu_us(loads: Iterable[Load], process: str) -> float | None:
    """Return the median CPU of one process per payment."""
    return median(loads, lambda load: load.cpu_us.get(process))


def run_load(
    target: Target,
    seconds: float,
    concurrency: int,
    workload: str = UNIQUE,
    *,
    stored: int | None = None,
) -> Load:
    """Load a system once, in a closed loop; raises ``ToolError`` when it answers nothing.

    With ``stored``, over topics, so many stored payments are repeated. CPU includes the second or
    so in which the client starts and stops.
    """
    processes = target.processes()
    before = {name: cpu_seconds(pid) for name, pid in processes.items()}
    options = {} if stored is None else {"stored": stored}
    command = load_command(
        target.endpoint, workload=workload, seconds=seconds, concurrency=concurrency, **options
    )
    said = output_of(f"the load on {target.name}", command, seconds + LOAD_LIMIT_SECONDS)
    figures = Figures(**json.loads(said))
    if figures.payments == 0:
        raise ToolError(f"{target.name} answered none of {figures.missing} payments")
    used = {name: _us_each(before[name], pid, figures) for name, pid in processes.items()}
    peaks = {name: peak_bytes(pid) for name, pid in processes.items()}
    return Load(workload, concurrency, figures, used, peaks)


def _us_each(before: float | None, pid: int | None, figures: Figures) -> float | None:
    after = cpu_seconds(pid)
    if before is None or after is None:
        return None
    return round(1e6 * (after - before) / figures.payments, 1)


@contextmanager
def light_load(target: Target) -> Iterator[None]:
    """Keep a few payments in flight over topics while the block runs; over HTTP none."""
    if isinstance(target.endpoint, HttpEndpoint):
        yield
        return
    options = {"seconds": LIGHT_SECONDS, "concurrency": LIGHT, "stalled-seconds": LIGHT_SECONDS}
    with load_beside(target.endpoint, **options):
        yield


@contextmanager
def load_beside(
    endpoint: HttpEndpoint | TopicsEndpoint, **options: object
) -> Iterator[subprocess.Popen[str]]:
    """Load a system beside what the block does; the load ends with the block at the latest."""
    command = load_command(endpoint, **options)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
        try:
            yield load
        finally:
            load.terminate()


def load_command(endpoint: HttpEndpoint | TopicsEndpoint, **options: object) -> list[str]:
    """Return the command of the load; ``options`` are those of ``load_client``."""
    given = [f"--{name}={value}" for name, value in options.items()]
    if isinstance(endpoint, HttpEndpoint):
        where = ["--http", str(endpoint.port), endpoint.dialect]
    else:
        where = ["--topics", endpoint.brokers, endpoint.commands, endpoint.results]
    return [sys.executable, "-m", "tools.bench.load_client", *where, *given]


def store_by_load(target: Target, payments: int) -> None:
    """Make so many payments at least."""
    made = 0
    while made < payments:
        seconds = min(STORE_SECONDS, 1 + payments / STORE_RATE)
        made += run_load(target, seconds, STORE_CONCURRENCY).figures.payments
        print(f"{made:,} of {payments:,} payments are made", file=sys.stderr, flush=True)
