"""``python -m tools.bench.command_time``: how long an audit or a rebuild takes, and its memory.

A worker handles a load over topics; then ``payments verify`` or ``payments rebuild`` reads it. For
the rebuild a ledger of old entries is written first, whose payments and results retention has long
deleted; the journals are thrown away and made anew.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from exactstage.log import TopicPartition
from payments.settings import Settings
from tools.bench.bench_command import PURE, Command, Option, Report, say
from tools.bench.loading import store_by_load
from tools.bench.measured_process import Ran, run_payments
from tools.bench.ours import running_on
from tools.dev.installations import MeasuredBroker, installation, measured_broker, open_log
from tools.dev.markdown import figures_table, megabytes
from tools.dev.written_ledger import Ledger

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


OF = {"verify": _verify, "rebuild": _rebuild}
COMMAND = Command(
    "tools.bench.command_time",
    __doc__,
    {
        "of": Option("verify", "what is timed", choices=tuple(OF)),
        "payments": Option(MILLION, "at least", quick=1000),
        "entries": Option(10 * MILLION, "old ones, for a rebuild", quick=1000),
        "accounts": Option(MILLION, "of these", quick=100),
        "partitions": Option(8, quick=2),
        "pure": PURE,
    },
    marker="figures",
)

if __name__ == "__main__":
    COMMAND.run(measure)
