"""Measuring one number of partitions: takeovers, idle and busy requests, bytes, checkpoints."""

import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.broker import MeasuredBroker, own_broker
from bench.errors import BenchError
from bench.figures import OURS
from bench.installation import installation
from bench.load import COMPLETED
from bench.measuring import System, run_load, say
from bench.process import cpu_seconds
from bench.restore import read_takeover
from bench.scale.batches import appended_since, log_sizes
from bench.scale.checkpoints import last_checkpoints
from bench.scale.counting import FETCH, PRODUCE, make_file, read_counts
from bench.scale.figures import Loaded, Requests, ScaleFigures, Takeover
from bench.worker import WorkerProcess
from payments.settings import Settings

READY_LIMIT_SECONDS = 300.0
WARM_UP_SECONDS, WARM_UPS, FASTER, PAYMENTS_EACH = 5.0, 24, 1.1, 10
SETTLE_SECONDS = 3.0
COUNTING = "bench.scale.counting"
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


def measure_scale(partitions: int, effort: Effort) -> ScaleFigures:
    """Measure one number of partitions, on a broker of its own."""
    say(f"{partitions} partitions: making the topics")
    with own_broker() as broker:
        began = time.monotonic()
        with installation(broker.bootstrap, partitions=partitions, flush=False) as settings:
            create_seconds = time.monotonic() - began
            return _measure(broker, settings, effort, create_seconds)


def _measure(
    broker: MeasuredBroker, settings: Settings, effort: Effort, create_seconds: float
) -> ScaleFigures:
    seconds, folder = effort.seconds, effort.folder
    with _worker(settings, folder, "first") as worker:
        first = worker.takeover()
        time.sleep(SETTLE_SECONDS)
        before, cpu = worker.counts(), cpu_seconds(worker.pid)
        time.sleep(seconds)
        idle = worker.requests(before, seconds)
        idle_percent = _percent(cpu, cpu_seconds(worker.pid), seconds)
        ours = system_of(settings, worker)
        warm_up(broker, ours, effort.concurrency, settings.partitions)
        busy = _load(broker, ours, worker, effort.seconds, effort.concurrency)
        lone = _load(broker, ours, worker, effort.seconds, 1)
    say(f"{settings.partitions} partitions: {busy.rate:,.0f}/s; taking over again")
    checkpoints = last_checkpoints(settings)
    with _worker(settings, folder, "again") as worker:
        again = worker.takeover()
    return ScaleFigures(
        partitions=settings.partitions,
        create_seconds=create_seconds,
        first=first,
        again=again,
        idle=idle,
        idle_percent=idle_percent,
        lone=lone,
        busy=busy,
        checkpoints=checkpoints,
    )


def warm_up(broker: MeasuredBroker, system: System, concurrency: int, partitions: int) -> None:
    """Load a system until each partition was written to and it gets no faster, or two minutes.

    A first append to a partition makes files, and the broker compiles what it does often.
    """
    best, answered = 0.0, 0
    for _ in range(WARM_UPS):
        load = run_load(broker, system, WARM_UP_SECONDS, concurrency).load
        answered += load.payments
        say(f"{partitions} partitions, warm-up: {load.rate:,.0f}/s")
        if load.rate < FASTER * best and answered >= PAYMENTS_EACH * partitions:
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
