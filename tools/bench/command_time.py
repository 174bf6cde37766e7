"""``python -m tools.bench.command_time``: how long an audit, a rebuild or a takeover takes.

An installation is filled, then ``payments verify``, ``rebuild`` or ``worker`` reads it. For the
first two a worker handles a load over topics; the rebuild has a ledger of old entries besides,
whose payments and results retention has long deleted. A takeover reads payments that were written
into the journals; its worker is started again and again, or that of another checkout (``--tree``).
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from exactstage.log import TopicPartition
from payments.settings import Settings
from tools.bench.bench_command import PURE, Command, Option, Report, say
from tools.bench.failures import BenchError
from tools.bench.installations import MeasuredBroker, installation, measured_broker, open_log
from tools.bench.ledger import Ledger
from tools.bench.loading import store_by_load
from tools.bench.markdown import figures_table, megabytes
from tools.bench.measured_process import (
    READY_LIMIT_SECONDS,
    WORKER,
    Ran,
    WorkerProcess,
    cpu_seconds,
    run_payments,
)
from tools.bench.ours import running_on
from tools.bench.restore import SLOWEST_RATE, store_payments
from tools.bench.takeover_log import takeovers

MILLION = 1_000_000
OLD_MS = 90 * 24 * 3_600_000
"""How long ago the entries were made: no setting keeps payments that long."""

DELETED_PAYMENTS = 1000
"""Payments whose commands and results are deleted before the others come."""

Figures = Iterator[tuple[str, str]]


def measure(given: argparse.Namespace) -> Report:
    """Fill an installation, then run the command on it."""
    with (
        measured_broker() as broker,
        installation(broker.bootstrap, partitions=given.partitions, flush=False) as settings,
        tempfile.TemporaryDirectory(prefix="payments-bench-") as folder,
    ):
        figures = list(OF[given.of](settings, broker, Path(folder), given))
    return Report(figures_table(figures), broker.description)


def _verify(
    settings: Settings, broker: MeasuredBroker, folder: Path, given: argparse.Namespace
) -> Figures:
    """Audit an empty installation, make the payments, audit them: what is more is theirs."""
    empty = run_payments(settings, "verify", "--json")
    with running_on(settings, broker, folder) as ours:
        store_by_load(ours, given.payments)
    say("now they are verified")
    full = run_payments(settings, "verify", "--json")
    counts = full.shown["counts"]
    payments = counts["payments"]
    each = (full.peak_bytes - empty.peak_bytes) / payments
    yield "payments", f"{payments:,}"
    public = ", ".join(f"{counts[name]:,}" for name in ("commands", "results", "entries"))
    yield "commands, results, entries", public
    yield from _used(full, "payments", payments)
    yield "peak memory of an audit of nothing", megabytes(empty.peak_bytes)
    yield "memory per million payments", megabytes(round(each * MILLION))


def _rebuild(
    settings: Settings, broker: MeasuredBroker, folder: Path, given: argparse.Namespace
) -> Figures:
    """Write the ledger, let a worker handle payments, rebuild the journals, and audit them."""
    asyncio.run(_write_ledger(settings, given.entries, given.accounts))
    # The worker would refuse a ledger without journals, so it gets those first.
    run_payments(settings, "rebuild", "--yes", "--json")
    with running_on(settings, broker, folder) as ours:
        store_by_load(ours, DELETED_PAYMENTS)
        asyncio.run(_delete_commands_and_results(settings))
        store_by_load(ours, given.payments)
    say("now the journals are made anew")
    ran = run_payments(settings, "rebuild", "--replace", "--yes", "--json")
    run_payments(settings, "verify", "--json")
    entries = ran.shown["ledger entries read"]
    yield "ledger entries, accounts", f"{entries:,}, {ran.shown['accounts']:,}"
    yield "results, payments", f"{ran.shown['results read']:,}, {ran.shown['payments']:,}"
    yield from _used(ran, "entries", entries)


def _takeover(
    settings: Settings, _: MeasuredBroker, folder: Path, given: argparse.Namespace
) -> Figures:
    """Let a worker take over journals that hold the payments, then a worker that is started anew.

    The first takeover meets topics that no worker has used.
    """
    asyncio.run(_store(settings, given.payments))
    # ``-P``: the package of the other checkout, not that of the folder where this was started.
    command = (sys.executable, "-P", "-m", "payments.cli", "worker")
    more = {} if given.tree is None else {"PYTHONPATH": str(given.tree.resolve())}
    found, ready, cpu = [], [], []
    for number in range(given.repeats + 1):
        log = folder / f"{number}.log"
        with WorkerProcess(settings, log, command if more else WORKER, more=more) as worker:
            limit = READY_LIMIT_SECONDS + given.payments / SLOWEST_RATE
            ready.append(worker.wait_until_ready(limit))
            cpu.append(cpu_seconds(worker.pid) or 0.0)
        found.append(takeovers(worker.log.read_text())[-1])
        say(f"takeover {number}: {found[-1]}")
        if found[-1].rows != given.payments:
            raise BenchError(f"{found[-1].rows} rows were taken over, not {given.payments}")
    total, claim, restore = (
        [each.total_seconds for each in found],
        [each.seconds["claim"] for each in found],
        [each.restore_seconds for each in found],
    )
    rest = [a - b - c for a, b, c in zip(total, claim, restore, strict=True)]
    yield "partitions, payments stored", f"{given.partitions:,}, {given.payments:,}"
    for name, some in (("the first takeover", slice(1)), ("a later one", slice(1, None))):
        spread = f" ({min(total[some]):.2f} to {max(total[some]):.2f})"
        yield f"{name}, s (range)", f"{statistics.median(total[some]):.2f}{spread}"
        steps = (statistics.median(step[some]) for step in (claim, restore, rest))
        yield f"{name}: claim, restore, the rest, s", ", ".join(f"{step:.2f}" for step in steps)
        until = statistics.median(ready[some]), statistics.median(cpu[some])
        yield f"{name}: from start to ready, s, CPU s", ", ".join(f"{it:.2f}" for it in until)


async def _store(settings: Settings, payments: int) -> None:
    """Write the payments; let the broker make what it makes for the first claim of all."""
    topic = settings.topics.fencing_check
    async with open_log(settings, [topic]) as log:
        await log.claim(f"{settings.app_id}-warm-up", [TopicPartition(topic, 0)])
    await store_payments(settings, payments)


def _used(ran: Ran, what: str, count: int) -> Figures:
    yield "time", f"{ran.seconds:.0f} s"
    yield "CPU time of the command", f"{ran.cpu_seconds:.0f} s"
    yield f"{what} per second", f"{count / ran.seconds:,.0f}"
    yield "peak memory (RSS)", megabytes(ran.peak_bytes)


async def _write_ledger(settings: Settings, entries: int, accounts: int) -> None:
    ledger = Ledger(settings, accounts, time.time_ns() // 1_000_000 - OLD_MS)
    async with open_log(settings, [settings.topics.ledger]) as log:
        await ledger.write(log, await log.new_writer(), ledger.in_turns(entries))


async def _delete_commands_and_results(settings: Settings) -> None:
    """Delete the records of these topics, as retention does: the ledger keeps its own."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.brokers)
    await admin.start()
    try:
        topics = (settings.topics.commands, settings.topics.results)
        at = [TopicPartition(topic, p) for topic in topics for p in range(settings.partitions)]
        await admin.delete_records({each: RecordsToDelete(before_offset=-1) for each in at})
    finally:
        await admin.close()


OF = {"verify": _verify, "rebuild": _rebuild, "takeover": _takeover}
COMMAND = Command(
    "tools.bench.command_time",
    __doc__,
    {
        "of": Option("verify", "what is timed", choices=tuple(OF)),
        "payments": Option(MILLION, "at least", quick=1000),
        "entries": Option(10 * MILLION, "old ones, for a rebuild", quick=1000),
        "accounts": Option(MILLION, "of these", quick=100),
        "tree": Option(None, "checkout whose worker takes over; else this one"),
        "repeats": Option(5, "takeovers after the first", quick=1),
        "partitions": Option(8, quick=2),
        "pure": PURE,
    },
    marker="figures",
)

if __name__ == "__main__":
    COMMAND.run(measure)
