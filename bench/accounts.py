"""``python -m bench.accounts``: the index of accounts: its size, memory, speed, and reads of it.

Entries are made here and stored as a gateway would store them, in chunks of the size that it reads;
then balances and pages are read through a gateway over HTTP, with broker and worker beside.
"""

import argparse
import asyncio
import http.client
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.broker import measured_broker
from bench.build import choose_build
from bench.errors import BenchError
from bench.gateway import our_gateway
from bench.installation import installation
from bench.measuring import say
from bench.options import add_pure
from bench.process import peak_bytes, resident_bytes
from bench.tables import markdown_table
from dev.errors import BrokerError
from payments.client import PaymentsClient
from payments.client.index import Index, Place
from payments.domain.account import Account, Entry, Transfer
from payments.engine.log import TopicPartition
from payments.records.internal import encode_account
from payments.records.written import encode_ledger_entry
from payments.settings import Settings

CHUNK_RECORDS, PARTITIONS = 4000, 8
READS, PAGE = 2000, 100
SOURCE = "bench"
JOURNAL, LEDGER = "accounts-changelog", "accounts.ledger"


def main() -> int:
    """Measure and print."""
    given = _parser().parse_args()
    choose_build(pure=given.pure)
    rows = list(measure_index(given.entries, given.accounts))
    if given.payments:
        with tempfile.TemporaryDirectory(prefix="payments-bench-") as folder:
            rows += measure_http(Path(folder), given.payments)
    print(markdown_table(["what", "figure"], rows))
    return 0


def measure_index(entries: int, accounts: int) -> Iterator[list[str]]:
    """Store entries of accounts in turn at random; yield what it took."""
    with tempfile.TemporaryDirectory(prefix="payments-bench-") as folder:
        index = Index(Path(folder), "bench", JOURNAL)
        before = resident_bytes(os.getpid()) or 0
        sequences, took = fill(index, entries, accounts)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        peak = peak_bytes(os.getpid()) or 0
        yield ["entries, accounts", f"{entries:,}, {accounts:,}"]
        yield ["entries stored per second of CPU time", f"{entries / took:,.0f}"]
        yield ["bytes on disk per entry, rows included", f"{size / entries:,.0f}"]
        yield ["memory (RSS) before, at the most", f"{before / 1e6:,.0f} MB, {peak / 1e6:,.0f} MB"]
        held = [number for number, sequence in enumerate(sequences) if sequence > PAGE]
        page = lambda n: index.entries(n % PARTITIONS, _name(n), sequences[n] - PAGE, PAGE)  # noqa: E731
        row = lambda n: index.row(n % PARTITIONS, _name(n))  # noqa: E731
        yield ["p50 of a row in the index", f"{_p50(row, range(accounts)):.3f} ms"]
        if held:
            yield [f"p50 of {PAGE} entries in the index", f"{_p50(page, held):.3f} ms"]
        index.close()


def fill(index: Index, entries: int, accounts: int) -> tuple[list[int], float]:
    """Store ``entries``; return the last sequence of each account, and the CPU time of storing."""
    took = 0.0
    chosen, sequences = random.Random(1), [0] * accounts  # noqa: S311 - it must come again
    offsets = [0] * PARTITIONS
    waiting: list[list[Place]] = [[] for _ in range(PARTITIONS)]
    for done in range(entries):
        number = chosen.randrange(accounts)
        partition, name = number % PARTITIONS, _name(number)
        sequences[number] += 1
        account = Account(100_000, sequences[number], "EUR")
        transfer = Transfer("make", name.decode(), -1, "EUR", "sales", f"pay-{done}")
        value = encode_ledger_entry(Entry(transfer, account), partition=partition, time_ms=done)
        waiting[partition].append((name, sequences[number], offsets[partition], value))
        offsets[partition] += 1
        if len(waiting[partition]) == CHUNK_RECORDS:
            took += _store(index, partition, waiting[partition], offsets[partition])
            waiting[partition] = []
        if done % 1_000_000 == 0:
            say(f"{done:,} of {entries:,} entries")
    for partition, places in enumerate(waiting):
        took += _store(index, partition, places, offsets[partition])
    return sequences, took


def _store(index: Index, partition: int, places: list[Place], position: int) -> float:
    rows = {name: encode_account(Account(100_000, n or 0, "EUR")) for name, n, _, _ in places}
    began = time.process_time()
    index.take_entries(TopicPartition(LEDGER, partition), SOURCE, places, position)
    index.take_rows(TopicPartition(JOURNAL, partition), SOURCE, list(rows.items()), position)
    return time.process_time() - began


def measure_http(folder: Path, payments: int) -> Iterator[list[str]]:
    """Make payments of ten accounts, and read balances and pages one at a time over HTTP."""
    with (
        measured_broker(None) as broker,
        installation(broker.bootstrap, partitions=PARTITIONS, flush=False) as settings,
        our_gateway(settings, folder) as gateway,
    ):
        asyncio.run(_pay(settings, payments))
        connection = http.client.HTTPConnection(gateway.url.partition("//")[2], timeout=60)

        def get(path: str) -> None:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            if answer.status != http.HTTPStatus.OK:
                raise BenchError(f"{path} was answered {answer.status}")

        for number in range(10):
            get(f"/v1/accounts/a{number}/entries")
        balance = _p50(lambda n: get(f"/v1/accounts/a{n % 10}"), range(READS))
        page = _p50(lambda n: get(f"/v1/accounts/a{n % 10}/entries?limit={PAGE}"), range(READS))
        yield ["p50 of a balance over HTTP, one at a time", f"{balance:.1f} ms"]
        yield [f"p50 of {PAGE} entries over HTTP, one at a time", f"{page:.1f} ms"]


async def _pay(settings: Settings, payments: int) -> None:
    async with PaymentsClient(settings=settings) as client:
        for first in range(0, payments, 500):
            numbers = range(first, min(first + 500, payments))
            made = [client.make(f"p{n}", account=f"a{n % 10}", amount=1) for n in numbers]
            await asyncio.gather(*made)


def _p50(read: Callable[[int], object], numbers: range | list[int]) -> float:
    """Return the median of reads at random, in milliseconds."""
    chosen, times = random.Random(2), []  # noqa: S311 - it must come again
    for _ in range(READS):
        number = chosen.choice(numbers)
        began = time.perf_counter()
        read(number)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


def _name(number: int) -> bytes:
    return b"customer-%08d" % number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.accounts", description=__doc__)
    parser.add_argument("--entries", type=int, default=10_000_000, help="(%(default)s)")
    parser.add_argument("--accounts", type=int, default=100_000, help="(%(default)s)")
    parser.add_argument(
        "--payments", type=int, default=5000, help="for HTTP; 0: none (%(default)s)"
    )
    add_pure(parser)
    return parser


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (BenchError, BrokerError, OSError) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
