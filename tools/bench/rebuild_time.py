"""``python -m tools.bench.rebuild_time``: how long ``payments rebuild`` takes, and its memory.

A ledger of old entries is written, whose payments and results retention has long deleted; then a
worker handles payments of today. Their journals are thrown away and made anew.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from payments.settings import Settings
from tools.bench.bench_command import PURE, Command, Option, Report, say
from tools.bench.installations import installation, measured_broker, open_log
from tools.bench.ledger import Ledger
from tools.bench.loading import store_by_load
from tools.bench.markdown import figures_table, megabytes
from tools.bench.measured_process import Ran, run_payments
from tools.bench.ours import running_on

OLD_MS = 90 * 24 * 3_600_000
"""How long ago the entries were made: no setting keeps payments that long."""

DELETED_PAYMENTS = 1000
"""Payments whose commands and results are deleted before the others come."""

COMMAND = Command(
    "tools.bench.rebuild_time",
    __doc__,
    {
        "entries": Option(10_000_000, "old ones", quick=1000),
        "accounts": Option(1_000_000, "of these", quick=100),
        "payments": Option(100_000, "of today", quick=1000),
        "partitions": Option(8, quick=2),
        "pure": PURE,
    },
    marker="figures",
)


def measure(given: argparse.Namespace) -> Report:
    """Write the ledger, let a worker handle payments, rebuild the journals."""
    with (
        measured_broker() as broker,
        installation(broker.bootstrap, partitions=given.partitions, flush=False) as settings,
        tempfile.TemporaryDirectory(prefix="payments-bench-") as folder,
    ):
        asyncio.run(_write_ledger(settings, given.entries, given.accounts))
        # The worker would refuse a ledger without journals, so it gets those first.
        run_payments(settings, "rebuild", "--yes", "--json")
        with running_on(settings, broker, Path(folder)) as ours:
            store_by_load(ours, DELETED_PAYMENTS)
            topics = [settings.topic(name) for name in ("payments.commands", "payments.results")]
            asyncio.run(_delete_records(settings, topics))
            store_by_load(ours, given.payments)
        say("now the journals are made anew")
        ran = run_payments(settings, "rebuild", "--replace", "--yes", "--json")
        run_payments(settings, "verify", "--json")
    return Report(table(ran), broker.description)


async def _write_ledger(settings: Settings, entries: int, accounts: int) -> None:
    ledger = Ledger(settings, accounts, time.time_ns() // 1_000_000 - OLD_MS)
    async with open_log(settings, [settings.topics.ledger]) as log:
        await ledger.write(log, await log.new_writer(), ledger.in_turns(entries))


async def _delete_records(settings: Settings, topics: Sequence[str]) -> None:
    """Delete the records of these topics, as retention does: the ledger keeps its own."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.brokers)
    await admin.start()
    try:
        at = [TopicPartition(topic, p) for topic in topics for p in range(settings.partitions)]
        await admin.delete_records({each: RecordsToDelete(before_offset=-1) for each in at})
    finally:
        await admin.close()


def table(ran: Ran) -> str:
    """Return the figures of the command."""
    counts = ran.shown
    entries = counts["ledger entries read"]
    return figures_table(
        [
            ("ledger entries, accounts", f"{entries:,}, {counts['accounts']:,}"),
            ("results, payments", f"{counts['results read']:,}, {counts['payments']:,}"),
            ("time", f"{ran.seconds:.0f} s"),
            ("CPU time of the command", f"{ran.cpu_seconds:.0f} s"),
            ("entries per second", f"{entries / ran.seconds:,.0f}"),
            ("peak memory (RSS)", megabytes(ran.peak_bytes)),
        ]
    )


if __name__ == "__main__":
    COMMAND.run(measure)
