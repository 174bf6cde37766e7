"""Restore and memory: stored payments, written into the journals, are taken over by a worker.

The rows are those of completed payments. They are written through the engine's own journal, so
commits, checkpoints and batches are the real ones; but each payment is there once, as after a
compaction, and not a second time as it was while pending.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from exactstage.journal import Journal
from exactstage.kafka import KafkaLog
from exactstage.limits import Limits
from exactstage.log import Channel, Log
from exactstage.partitioner import partition_of
from payments.domain.payment import Payment, State
from payments.domain.results import Request
from payments.records.internal_codec import encode_payment
from payments.settings import Settings
from tools.bench.broker import MeasuredBroker
from tools.bench.errors import BenchError
from tools.bench.figures import RestoreFigures
from tools.bench.installation import installation
from tools.bench.measuring import say
from tools.bench.process import cpu_share, resident_bytes
from tools.bench.worker import READY_LIMIT_SECONDS, WorkerProcess, running_worker

IDLE_SECONDS = 10.0
SETTLE_SECONDS = 3.0
"""After readiness the worker still collects its garbage and writes its idle checkpoints."""

ACCOUNTS = 1000
SPREAD_MS = 3_600_000
"""The payments were made in the course of the last hour: so there are 60 windows to rebuild."""

PROGRESS_EVERY = 100_000
SLOWEST_RATE = 5_000
"""Rows restored in a second below which waiting is given up."""

TAKEOVER = re.compile(
    r"took over partitions .*?: (?P<rows>\d+) rows from (?P<records>\d+) records"
    r".*?restore (?P<seconds>[\d.]+) s"
)


def measure_restore(
    broker: MeasuredBroker, payments: int, partitions: int, log: Path
) -> RestoreFigures:
    """Measure a worker without payments, then one that takes over ``payments`` of them.

    Each has an installation of its own, so both meet journals that nobody has claimed before.
    """
    say(f"restore: an empty worker, {partitions} partitions")
    with (
        installation(broker.bootstrap, partitions=partitions, flush=False) as settings,
        running_worker(settings, log) as worker,
    ):
        worker.wait_until_ready(READY_LIMIT_SECONDS)
        cpu_share(worker.pid, SETTLE_SECONDS + IDLE_SECONDS)
        worker.must_run()
        empty_bytes = resident_bytes(worker.pid)
    with installation(broker.bootstrap, partitions=partitions, flush=False) as settings:
        asyncio.run(store_payments(settings, payments))
        say("restore: a worker that takes them over")
        with running_worker(settings, log) as worker:
            ready_seconds = worker.wait_until_ready(READY_LIMIT_SECONDS + payments / SLOWEST_RATE)
            records, restore_seconds = _takeover(worker, payments)
            cpu_share(worker.pid, SETTLE_SECONDS)
            idle_percent = cpu_share(worker.pid, IDLE_SECONDS)
            worker.must_run()
            full_bytes = resident_bytes(worker.pid)
    return RestoreFigures(
        payments=payments,
        partitions=partitions,
        records=records,
        restore_seconds=restore_seconds,
        ready_seconds=ready_seconds,
        empty_bytes=empty_bytes,
        full_bytes=full_bytes,
        idle_percent=idle_percent,
    )


def read_takeover(log: str) -> tuple[int, int, float]:
    """Return rows, records and seconds of the last takeover in a worker's log."""
    found = list(TAKEOVER.finditer(log))
    if not found:
        raise BenchError(f"the worker's log names no takeover:\n{log[-1000:]}")
    last = found[-1]
    return int(last["rows"]), int(last["records"]), float(last["seconds"])


def _takeover(worker: WorkerProcess, payments: int) -> tuple[int, float]:
    rows, records, seconds = read_takeover(worker.log.read_text())
    if rows != payments:
        raise BenchError(f"{rows} rows were restored, but {payments} were written")
    return records, seconds


async def store_payments(settings: Settings, payments: int) -> None:
    """Write so many completed payments into the journals of an installation without workers."""
    log = KafkaLog(settings.connection())
    try:
        await log.start([settings.changelog("payments")])
        await write_journals(log, settings, payments)
    finally:
        await log.close()


async def write_journals(log: Log, settings: Settings, payments: int) -> None:
    """Write rows of completed payments into the journals of the payments stage."""
    writer = await log.new_writer()
    journals = [
        Journal(
            stage="payments",
            partition=partition,
            changelog=settings.changelog("payments"),
            public=frozenset(),
            emits=frozenset(),
            writer=writer,
            limits=Limits(),
        )
        for partition in range(settings.partitions)
    ]
    for number, (key, row) in enumerate(_rows(payments), start=1):
        journal = journals[partition_of(key, settings.partitions)]
        journal.put(key, row)
        journal.accept()
        if journal.is_full:
            await _append_group(log, journal)
        if number % PROGRESS_EVERY == 0:
            say(f"restore: {number:,} of {payments:,} payments are written")
    for journal in journals:
        if journal.is_open:
            await _append_group(log, journal)


async def _append_group(log: Log, journal: Journal) -> None:
    commit = journal.seal()
    await log.append([commit.batch], Channel.JOURNAL)
    journal.published = journal.n  # There are no outputs, so nothing is left to publish.


def _rows(payments: int) -> Iterator[tuple[bytes, bytes]]:
    """Make payments of random UUIDs: what most users would take as payment ids."""
    now_ms = time.time_ns() // 1_000_000
    for number in range(payments):
        time_ms = now_ms - SPREAD_MS + SPREAD_MS * number // payments
        request = Request("make", f"acct-{number % ACCOUNTS}", 1, "EUR")
        row = encode_payment(Payment(State.COMPLETED, time_ms, request))
        yield str(uuid.uuid4()).encode(), row
