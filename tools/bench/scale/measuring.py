"""Measuring one number of partitions: takeovers, idle and busy requests, bytes, checkpoints."""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from payments.settings import Settings
from tools.bench.broker import MeasuredBroker, own_broker
from tools.bench.errors import BenchError
from tools.bench.figures import OURS
from tools.bench.installation import installation
from tools.bench.load import COMPLETED
from tools.bench.measuring import System, run_load, say
from tools.bench.process import cpu_seconds
from tools.bench.restore import read_takeover
from tools.bench.scale.batches import appended_since, log_sizes
from tools.bench.scale.checkpoints import last_checkpoints
from tools.bench.scale.counting import FETCH, PRODUCE, make_file, read_counts
from tools.bench.scale.figures import IdleFigures, Loaded, Requests, ScaleFigures, Takeover
from tools.bench.worker import WorkerProcess

READY_LIMIT_SECONDS = 300.0
WARM_UP_SECONDS, WARM_UPS, FASTER, PAYMENTS_EACH = 5.0, 24, 1.1, 10
SETTLE_SECONDS = 3.0
COUNTING = "tools.bench.scale.counting"
STEP = re.compile(r"(\w+) ([\d.]+) s")


@dataclass(frozen=True, slots=True)
class Effort:
    """How long is measured, at which load, and where logs are put meanwhile."""

    seconds: float
    concurrency: int
    folder: Path


class CountedWorker(WorkerProcess):
    """A worker whose requests are counted."""

    def __init__(self, settings: Settings, folder: Path, name: str) -> None:
        self._counts = folder / f"{name}.counts"
        make_file(self._counts)
        command = (sys.executable, "-m", COUNTING, str(self._counts), "worker")
        super().__init__(settings, folder / f"{name}.log", command)

    def takeover(self) -> Takeover:
        """Wait until it is ready; return what its log says of the takeover."""
        ready = self.wait_until_ready(READY_LIMIT_SECONDS)
        rows, records, _ = read_takeover(self.log.read_text())
        [line] = [line for line in self.log.read_text().splitlines() if "took over" in line][-1:]
        steps = STEP.findall(line[line.rindex("(") :])
        return Takeover(rows, records, {name: float(s) for name, s in steps}, round(ready, 2))

    def requests(self, before: tuple[int, ...], seconds: float) -> Requests:
        """Return the requests per second since ``before``."""
        sent = [now - then for now, then in zip(self.counts(), before, strict=True)]
        other = sum(sent) - sent[PRODUCE] - sent[FETCH]
        return Requests(sent[PRODUCE] / seconds, sent[FETCH] / seconds, other / seconds)

    def counts(self) -> tuple[int, ...]:
        """Return its requests so far."""
        return read_counts(self._counts)


def measure_idle(partitions: int, effort: Effort) -> IdleFigures:
    """Measure what needs no load, on a broker of its own."""
    with (
        _installed(partitions) as (_, settings, create_seconds),
        _worker(settings, effort.folder, "idle") as worker,
    ):
        return _measure_idle(worker, settings, effort, create_seconds)


def measure_scale(partitions: int, effort: Effort) -> ScaleFigures:
    """Measure one number of partitions, on a broker of its own."""
    with _installed(partitions) as (broker, settings, create_seconds):
        return _measure(broker, settings, effort, create_seconds)


@contextmanager
def _installed(partitions: int) -> Iterator[tuple[MeasuredBroker, Settings, float]]:
    say(f"{partitions} partitions: making the topics")
    with own_broker() as broker:
        began = time.monotonic()
        with installation(
            broker.bootstrap, partitions=partitions, flush=False, keep=True
        ) as settings:
            yield broker, settings, time.monotonic() - began


def _measure_idle(
    worker: CountedWorker, settings: Settings, effort: Effort, create_seconds: float
) -> IdleFigures:
    first = worker.takeover()
    time.sleep(SETTLE_SECONDS)
    before, cpu = worker.counts(), cpu_seconds(worker.pid)
    time.sleep(effort.seconds)
    return IdleFigures(
        partitions=settings.partitions,
        create_seconds=create_seconds,
        first=first,
        idle=worker.requests(before, effort.seconds),
        idle_percent=_percent(cpu, cpu_seconds(worker.pid), effort.seconds),
    )


def _measure(
    broker: MeasuredBroker, settings: Settings, effort: Effort, create_seconds: float
) -> ScaleFigures:
    folder = effort.folder
    with _worker(settings, folder, "first") as worker:
        idle = _measure_idle(worker, settings, effort, create_seconds)
        ours = system_of(settings, worker)
        warm_up(broker, ours, effort.concurrency, settings.partitions)
        busy = _load(broker, ours, worker, effort.seconds, effort.concurrency)
        lone = _load(broker, ours, worker, effort.seconds, 1)
    say(f"{settings.partitions} partitions: {busy.rate:,.0f}/s; taking over again")
    checkpoints = last_checkpoints(settings)
    with _worker(settings, folder, "again") as worker:
        again = worker.takeover()
    return ScaleFigures(
        partitions=idle.partitions,
        create_seconds=idle.create_seconds,
        first=idle.first,
        idle=idle.idle,
        idle_percent=idle.idle_percent,
        again=again,
        lone=lone,
        busy=busy,
        checkpoints=checkpoints,
    )


def warm_up(broker: MeasuredBroker, system: System, concurrency: int, partitions: int) -> None:
    """Load a system until each partition was written to and it gets no faster, twice in a row.

    A first append to a partition makes files, and the broker compiles what it does often. It is
    loaded for two minutes at most.
    """
    best, answered, no_faster = 0.0, 0, 0
    for _ in range(WARM_UPS):
        load = run_load(broker, system, WARM_UP_SECONDS, concurrency).load
        answered += load.payments
        say(f"{partitions} partitions, warm-up: {load.rate:,.0f}/s")
        no_faster = no_faster + 1 if load.rate < FASTER * best else 0
        if no_faster > 1 and answered >= PAYMENTS_EACH * partitions:
            return
        best = max(best, load.rate)


def system_of(settings: Settings, worker: WorkerProcess, name: str = OURS) -> System:
    """Return what the load needs to know of an installation and a worker of it."""
    return System(
        name,
        settings.topic("payments.commands"),
        settings.topic("payments.results"),
        COMPLETED.decode(),
        worker.pid,
    )


def _load(
    broker: MeasuredBroker, ours: System, worker: CountedWorker, seconds: float, concurrency: int
) -> Loaded:
    sizes = log_sizes(broker.log_files())
    written, before, began = broker.written_bytes(), worker.counts(), time.monotonic()
    run = run_load(broker, ours, seconds, concurrency)
    # The client's own start and stop belong to the time in which requests were counted.
    took = time.monotonic() - began
    requests = worker.requests(before, took)
    worker.must_run()
    load, appended = run.load, appended_since(sizes, broker.log_files())
    if load.missing or load.not_completed:
        raise BenchError(f"{load.missing} missing, {load.not_completed} not completed")
    return Loaded(
        rate=load.rate,
        p50_ms=load.p50_ms,
        worker_us=run.worker_us,
        broker_us=run.broker_us,
        requests=requests,
        requests_each=requests.total * took / load.payments,
        bytes_each=(broker.written_bytes() - written) / load.payments,
        batches_each=appended.batches / load.payments,
        batch_records=appended.records / appended.batches,
    )


@contextmanager
def _worker(settings: Settings, folder: Path, name: str) -> Iterator[CountedWorker]:
    worker = CountedWorker(settings, folder, f"{settings.partitions}-{name}")
    try:
        yield worker
    finally:
        worker.stop()


def _percent(before: float | None, after: float | None, seconds: float) -> float | None:
    return None if before is None or after is None else 100 * (after - before) / seconds
