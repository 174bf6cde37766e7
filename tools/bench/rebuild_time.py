"""``python -m tools.bench.rebuild_time``: how long ``payments rebuild`` takes, and its memory.

A ledger of old entries is written, whose payments and results retention has long deleted, and then
payments of today as ``history`` makes them. Their journals are thrown away and made anew.
"""

import argparse
import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from exactstage.limits import Limits
from exactstage.log import Channel, Log, Writer
from exactstage.outputs import Output, Publication, Rounds, size_of
from exactstage.partitioner import partition_of
from payments.domain.account import Account, Entry, Transfer
from payments.records.record_writer import encode_ledger_entry
from payments.settings import Settings
from payments.stages.accounts import ENTRY_TYPE
from payments.verify.topics import Topics
from tools.bench.bench_command import PURE, Command, Option, Report, say
from tools.bench.history import History
from tools.bench.installations import installation, measured_broker, open_log
from tools.bench.markdown import figures_table, megabytes
from tools.bench.measured_process import Ran, run_payments

CHUNK = 20_000
"""Entries that are appended at once; also the accounts that take turns with their entries."""

OLD_MS = 90 * 24 * 3_600_000
"""How long ago the entries were made: no setting keeps payments that long."""

DELETED_PAYMENTS = 1000
"""Payments whose commands and results are deleted before the others come."""

ENTRY_AMOUNT = 5
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


@dataclass(frozen=True, slots=True)
class Plan:
    """What is rebuilt."""

    entries: int
    accounts: int
    payments: int
    partitions: int


def measure(given: argparse.Namespace) -> Report:
    """Write the topics, rebuild the journals."""
    plan = Plan(given.entries, given.accounts, given.payments, given.partitions)
    with (
        measured_broker() as broker,
        installation(broker.bootstrap, partitions=plan.partitions, flush=False) as settings,
    ):
        started = time.monotonic()
        asyncio.run(_write(settings, plan))
        say(f"written in {time.monotonic() - started:.0f} s; now the journals are made anew")
        ran = run_payments(settings, "rebuild", "--replace", "--yes", "--json")
        run_payments(settings, "verify", "--json")
    return Report(table(ran), broker.description)


async def _write(settings: Settings, plan: Plan) -> None:
    topics = Topics.of(settings)
    async with open_log(settings, [*topics.journals, *topics.public, topics.commands]) as log:
        writer = await log.new_writer()
        await write_ledger(log, settings, writer, plan, time.time_ns() // 1_000_000 - OLD_MS)
        history = History(log, settings, writer)
        await history.write(0, DELETED_PAYMENTS)
        await _delete_records(settings, [topics.commands, settings.topic("payments.results")])
        await history.write(DELETED_PAYMENTS, DELETED_PAYMENTS + plan.payments)


async def _delete_records(settings: Settings, topics: Sequence[str]) -> None:
    """Delete the records of these topics, as retention does: the ledger keeps its own."""
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.brokers)
    await admin.start()
    try:
        at = [TopicPartition(topic, p) for topic in topics for p in range(settings.partitions)]
        await admin.delete_records({each: RecordsToDelete(before_offset=-1) for each in at})
    finally:
        await admin.close()


async def write_ledger(
    log: Log, settings: Settings, writer: Writer, plan: Plan, time_ms: int
) -> None:
    """Write entries of one time in the past, each as a worker would publish it."""
    chunks = _chunks(plan, settings, time_ms)
    for commit, chunk in enumerate(chunks, start=1):
        rounds = Rounds(Limits().batch_bytes)
        for partition, outputs in enumerate(chunk):
            sizes = [size_of(o.key, o.value, o.headers) for o in outputs]
            public = frozenset({settings.topic("accounts.ledger")})
            Publication("accounts", partition, commit, outputs, sizes, public, writer).add_to(
                rounds, writer
            )
        for batches in rounds:
            await log.append(batches, Channel.PUBLISH)
        if commit % (500_000 // CHUNK) == 0:
            say(f"{commit * CHUNK:,} of {plan.entries:,} entries are written")


def _chunks(plan: Plan, settings: Settings, time_ms: int) -> Iterator[list[list[Output]]]:
    """Yield the entries by partition: block after block of accounts, each with all of its own."""
    each = plan.entries // plan.accounts
    ledger = settings.topic("accounts.ledger")
    names = [f"customer-{number:012d}" for number in range(plan.accounts)]
    for start in range(0, plan.accounts, CHUNK):
        block: Sequence[str] = names[start : start + CHUNK]
        for sequence in range(1, each + 1):
            found: list[list[Output]] = [[] for _ in range(plan.partitions)]
            for name in block:
                key = name.encode()
                partition = partition_of(key, plan.partitions)
                account = Account(ENTRY_AMOUNT * sequence, sequence, "EUR")
                payment = f"{sequence:04d}-{name}"
                transfer = Transfer("deposit", name, ENTRY_AMOUNT, "EUR", "world", payment)
                value = encode_ledger_entry(
                    Entry(transfer, account), partition=partition, time_ms=time_ms
                )
                output = Output(ledger, partition, key, value, ENTRY_TYPE, time_ms, ())
                found[partition].append(output)
            yield found


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
