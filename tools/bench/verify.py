"""``python -m tools.bench.verify``: how long ``payments verify`` takes, and its memory.

It runs on a broker of its own, or on the one of PAYMENTS_BROKERS. Memory is the largest resident
set of the process, as the operating system gives it when the process ends.
"""

import argparse
import asyncio
import os
import platform
import sys
import time
from pathlib import Path

from aiokafka.errors import KafkaError

from exactstage.errors import FailStop
from exactstage.kafka import KafkaLog
from payments.settings import Settings
from payments.topics.cluster import TopicsError
from payments.verify.topics import Topics
from tools.bench.broker import measured_broker
from tools.bench.command import Ran, run
from tools.bench.errors import BenchError
from tools.bench.history import History
from tools.bench.installation import installation
from tools.bench.measuring import say
from tools.bench.tables import with_figures
from tools.dev.errors import BrokerError

PROGRESS_EVERY = 50_000
MEGABYTE, MILLION = 1_000_000, 1_000_000


def main() -> int:
    """Write the payments, verify them, print the figures; 1 when something is violated."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.verify", description=__doc__)
    parser.add_argument("--payments", type=int, default=MILLION, metavar="N")
    parser.add_argument("--partitions", type=int, default=8, metavar="N")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into a document")
    given = parser.parse_args()
    if given.write is not None:
        with_figures(given.write.read_text(), "")  # Find out before the long run what would fail.
    with (
        measured_broker(None) as broker,
        installation(broker.bootstrap, partitions=given.partitions, flush=False) as settings,
    ):
        empty = audit(settings)
        started = time.monotonic()
        asyncio.run(_write(settings, given.payments))
        say(f"written in {time.monotonic() - started:.0f} s; now they are verified")
        full = audit(settings)
        command = f"python -m tools.bench.verify {' '.join(sys.argv[1:])}".strip()
        cores = os.cpu_count()
        python = platform.python_version()
        head = f"`{command}`, {cores} cores, Python {python}, {broker.description}."
    text = f"{head}\n\n{markdown_table(given.payments, empty, full)}"
    print(text)
    if given.write is not None:
        given.write.write_text(with_figures(given.write.read_text(), text))
    return 0 if full.shown["ok"] else 1


def audit(settings: Settings) -> Ran:
    """Run ``payments verify --json``; raises ``BenchError`` when it could not verify."""
    return run(settings, "verify", "--json", codes=frozenset({0, 1}))


async def _write(settings: Settings, payments: int) -> None:
    log = KafkaLog(settings.connection())
    try:
        topics = Topics.of(settings)
        await log.start([*topics.journals, *topics.public, topics.commands])
        history = History(log, settings, await log.new_writer())
        for first in range(0, payments, PROGRESS_EVERY):
            await history.write(first, min(first + PROGRESS_EVERY, payments))
            say(f"{min(first + PROGRESS_EVERY, payments):,} of {payments:,} payments are written")
    finally:
        await log.close()


def markdown_table(payments: int, empty: Ran, full: Ran) -> str:
    """Return the figures as a table."""
    counts = full.shown["counts"]
    each = (full.peak_bytes - empty.peak_bytes) / payments
    rows = [
        ("payments", f"{counts['payments']:,}"),
        ("commands, results, entries", ", ".join(f"{counts[n]:,}" for n in _PUBLIC)),
        ("violations", f"{sum(full.shown['violations_by_kind'].values()):,}"),
        ("time", f"{full.seconds:.0f} s"),
        ("CPU time of the command", f"{full.cpu_seconds:.0f} s"),
        ("payments per second", f"{payments / full.seconds:,.0f}"),
        ("peak memory (RSS)", f"{full.peak_bytes / MEGABYTE:,.0f} MB"),
        ("peak memory of an audit of nothing", f"{empty.peak_bytes / MEGABYTE:,.0f} MB"),
        ("memory per million payments", f"{each * MILLION / MEGABYTE:,.0f} MB"),
    ]
    lines = ["| what | figure |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows)]
    return "\n".join(lines)


_PUBLIC = ("commands", "results", "entries")

if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, BrokerError, FailStop, KafkaError, TopicsError, OSError) as error:
        sys.exit(f"Error: {error}")
