"""Measuring one number of partitions: takeovers, idle and busy requests, bytes, checkpoints."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from payments.settings import Settings
from tools.bench.bench_command import say
from tools.bench.broker_records import appended_since, last_checkpoints, log_sizes
from tools.bench.counted_worker import CountedWorker
from tools.bench.counting import FETCH, PRODUCE
from tools.bench.failures import BenchError
from tools.bench.installations import MeasuredBroker, installation, own_broker
from tools.bench.loading import Target, run_load
from tools.bench.measured_process import cpu_percent
from tools.bench.ours import OURS, topics_of
from tools.bench.scale_figures import IdleFigures, Loaded, Requests, ScaleFigures
from tools.bench.takeover_log import takeovers

READY_LIMIT_SECONDS = 300.0
WARM_UP_SECONDS, WARM_UPS, FASTER, PAYMENTS_EACH = 5.0, 24, 1.1, 10
SETTLE_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Effort:
    """How long is measured, at which load, and where logs are put meanwhile."""

    seconds: float
    concurrency: int
    folder: Path


def measure_idle(partitions: int, effort: Effort) -> IdleFigures:
    """Measure what needs no load, on a broker of its own."""
    with (
        _installed(partitions) as (_, settings, create_seconds),
        CountedWorker(settings, effort.folder, f"{partitions}-idle") as worker,
    ):
        return _at_rest(worker, settings, effort, create_seconds)


def measure_scale(partitions: int, effort: Effort) -> ScaleFigures:
    """Measure one number of partitions, on a broker of its own."""
    with _installed(partitions) as (broker, settings, create_seconds):
        with CountedWorker(settings, effort.folder, f"{partitions}-first") as worker:
            at_rest = _at_rest(worker, settings, effort, create_seconds)
            ours = Target(OURS, topics_of(settings), {"worker": worker}, broker)
            warm_up(ours, effort.concurrency, partitions)
            busy = _load(ours, broker, worker, effort.seconds, effort.concurrency)
            lone = _load(ours, broker, worker, effort.seconds, 1)
        say(f"{partitions} partitions: {busy.rate:,.0f}/s; taking over again")
        checkpoints = last_checkpoints(settings)
        with CountedWorker(settings, effort.folder, f"{partitions}-again") as worker:
            ready_seconds = worker.wait_until_ready(READY_LIMIT_SECONDS)
            again = takeovers(worker.log.read_text())[-1]
    return ScaleFigures(at_rest, again, round(ready_seconds, 2), lone, busy, checkpoints)


@contextmanager
def _installed(partitions: int) -> Iterator[tuple[MeasuredBroker, Settings, float]]:
    say(f"{partitions} partitions: making the topics")
    with own_broker() as broker:
        began = time.monotonic()
        with installation(
            broker.bootstrap, partitions=partitions, flush=False, keep=True
        ) as settings:
            yield broker, settings, time.monotonic() - began


def _at_rest(
    worker: CountedWorker, settings: Settings, effort: Effort, create_seconds: float
) -> IdleFigures:
    worker.wait_until_ready(READY_LIMIT_SECONDS)
    first = takeovers(worker.log.read_text())[-1]
    time.sleep(SETTLE_SECONDS)
    before = worker.counts()
    idle_percent = cpu_percent(worker.pid, effort.seconds)
    idle = _requests(worker, before, effort.seconds)
    return IdleFigures(settings.partitions, create_seconds, first, idle, idle_percent)


def _requests(worker: CountedWorker, before: tuple[int, ...], seconds: float) -> Requests:
    """Return the requests per second since ``before``."""
    sent = [(now - then) / seconds for now, then in zip(worker.counts(), before, strict=True)]
    return Requests(sent[PRODUCE], sent[FETCH], sum(sent) - sent[PRODUCE] - sent[FETCH])


def warm_up(target: Target, concurrency: int, partitions: int) -> None:
    """Load a system until each partition was written to and it gets no faster, twice in a row.

    A first append to a partition makes files, and the broker compiles what it does often. It is
    loaded for two minutes at most.
    """
    best, answered, no_faster = 0.0, 0, 0
    for _ in range(WARM_UPS):
        load = run_load(target, WARM_UP_SECONDS, concurrency).figures
        answered += load.payments
        say(f"{partitions} partitions, warm-up: {load.rate:,.0f}/s")
        no_faster = no_faster + 1 if load.rate < FASTER * best else 0
        if no_faster > 1 and answered >= PAYMENTS_EACH * partitions:
            return
        best = max(best, load.rate)


def _load(
    ours: Target, broker: MeasuredBroker, worker: CountedWorker, seconds: float, concurrency: int
) -> Loaded:
    sizes = log_sizes(broker.log_files())
    written, before, began = broker.written_bytes(), worker.counts(), time.monotonic()
    load = run_load(ours, seconds, concurrency)
    # The client's own start and stop belong to the time in which requests were counted.
    took = time.monotonic() - began
    requests = _requests(worker, before, took)
    worker.must_run()
    figures, appended = load.figures, appended_since(sizes, broker.log_files())
    if figures.missing or figures.not_completed:
        raise BenchError(f"{figures.missing} missing, {figures.not_completed} not completed")
    return Loaded(
        rate=figures.rate,
        p50_ms=figures.p50_ms,
        worker_us=load.cpu_us["worker"],
        broker_us=load.cpu_us["broker"],
        requests=requests,
        requests_each=requests.total * took / figures.payments,
        bytes_each=(broker.written_bytes() - written) / figures.payments,
        batches_each=appended.batches / figures.payments,
        batch_records=appended.records / appended.batches,
    )
