"""``python -m tools.bench.accounts_index``: a gateway's index: size, memory, speed, reads.

Ledger entries, and the rows of their accounts, are written straight to the topics as a worker would
write them. A gateway then reads them into its index and answers over HTTP, one request at a time;
no worker runs. One account has a hundredth of all entries, and one has three.
"""

import argparse
import asyncio
import http.client
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from exactstage.log import Batch, Channel, Header, NewRecord, TopicPartition, Writer
from exactstage.partitioner import partition_of
from payments.domain.account import Account, Entry, Transfer
from payments.records.internal_codec import encode_account
from payments.records.record_writer import encode_ledger_entry
from payments.settings import Settings
from tools.bench.bench_command import PURE, Command, Option, Report, say
from tools.bench.failures import BenchError
from tools.bench.installations import installation, measured_broker, open_log
from tools.bench.markdown import figures_table, megabytes
from tools.bench.measured_process import Child, cpu_seconds, gateway_process, peak_bytes
from tools.dev.ports import HOST, free_ports

CHUNK, PARTITIONS = 10_000, 8
"""Entries that are appended at once: their batches are well below ``max.message.bytes``."""

READS, PAGE = 1000, 100
FEW = 3
MORE = 100_000
"""Entries that are written while the gateway is stopped."""

BUSIEST_EVERY = 100
LIMIT_SECONDS = 3600
TOO_EARLY = {http.client.SERVICE_UNAVAILABLE, http.client.GATEWAY_TIMEOUT}
HEADERS: list[Header] = [
    ("ce_id", b"accounts/7/123456/7"),
    ("ce_type", b"payments.ledger.entry"),
    ("ce_source", b"payments/accounts"),
    ("ce_time", b"2026-01-01T00:00:00.000Z"),
    ("ce_specversion", b"1.0"),
    ("ce_subject", b"customer-00001234"),
    ("ce_installation", b"payments/AAAAAAAAAAAAAAAAAAAAAA"),
]
"""As large as those of a real entry; the index does not read them."""

COMMAND = Command(
    "tools.bench.accounts_index",
    __doc__,
    {
        "entries": Option(10_000_000, "ledger entries", quick=10_000),
        "accounts": Option(100_000, "of these entries", quick=100),
        "folder": Option(None, "where the index is kept meanwhile"),
        "pure": PURE,
    },
    marker="accounts",
)


def measure(given: argparse.Namespace) -> Report:
    """Write, read, ask."""
    with (
        measured_broker() as broker,
        tempfile.TemporaryDirectory(prefix="payments-bench-", dir=given.folder) as name,
        installation(
            broker.bootstrap, partitions=PARTITIONS, flush=False, client_state_dir=Path(name)
        ) as settings,
    ):
        figures = list(_figures(settings, Path(name), given.entries, given.accounts))
    return Report(figures_table(figures), broker.description)


def _figures(
    settings: Settings, folder: Path, entries: int, accounts: int
) -> Iterator[tuple[str, str]]:
    ledger = Ledger(settings, accounts)
    began = time.monotonic()
    asyncio.run(ledger.write(entries))
    say(f"written in {time.monotonic() - began:.0f} s; now the gateway reads it")
    yield "entries, accounts", f"{entries:,}, {accounts:,}"
    with _gateway(settings, folder) as (gateway, port):
        before = cpu_seconds(gateway.pid) or 0.0
        took = until_read(port, ledger)
        used = (cpu_seconds(gateway.pid) or 0.0) - before
        size = sum(file.stat().st_size for file in folder.glob("*.sqlite*"))
        yield "until the index has all", f"{took:.0f} s, {used:.0f} s of CPU time"
        yield "entries read per second", f"{entries / took:,.0f}"
        yield "index on disk", f"{size / 1e9:.2f} GB, {size / entries:,.0f} bytes per entry"
        yield "memory of the gateway (RSS) at the most", megabytes(peak_bytes(gateway.pid))
        yield from latencies(port, ledger)
        gateway.must_run()
    asyncio.run(ledger.write(MORE))
    began = time.monotonic()
    with _gateway(settings, folder) as (_, port):
        until_read(port, ledger)
        what = f"from a restart until it has {MORE:,} more entries, start included"
        yield what, f"{time.monotonic() - began:.1f} s"


@contextmanager
def _gateway(settings: Settings, folder: Path) -> Iterator[tuple[Child, int]]:
    """Start a gateway that ends with the block; yield it and its port."""
    [port] = free_ports(1)
    with gateway_process(settings, folder / "gateway.log", port) as gateway:
        gateway.wait_until_ready()
        yield gateway, port


class Ledger:
    """The entries of all accounts, and how many each has."""

    def __init__(self, settings: Settings, accounts: int) -> None:
        self._settings = settings
        self._random = random.Random(1)
        self.names = [f"customer-{number:08d}" for number in range(accounts)]
        self._keys = [name.encode() for name in self.names]
        self._homes = [partition_of(key, PARTITIONS) for key in self._keys]
        self.sequences = [0] * accounts
        self.busiest, self.few = 0, accounts - 1

    def one_in_each_partition(self) -> list[int]:
        """Return the number of an account with entries in each partition."""
        found = {home: n for n, home in enumerate(self._homes) if self.sequences[n]}
        return list(found.values())

    async def write(self, entries: int) -> None:
        """Append entries of accounts at random, and then the rows of all accounts."""
        ledger = self._settings.topic("accounts.ledger")
        journal = self._settings.changelog("accounts")
        async with open_log(self._settings, [ledger, journal]) as log:
            writer = await log.new_writer()
            for begin in range(0, entries, CHUNK):
                chosen = self._chosen(min(CHUNK, entries - begin), last=begin + CHUNK >= entries)
                await log.append(self._entries(ledger, writer, chosen), Channel.PUBLISH)
                if begin % 1_000_000 == 0:
                    say(f"{begin:,} of {entries:,} entries are written")
            for begin in range(0, len(self.names), CHUNK):
                numbers = range(begin, min(begin + CHUNK, len(self.names)))
                await log.append(self._rows(journal, writer, numbers), Channel.JOURNAL)

    def _chosen(self, count: int, *, last: bool) -> list[int]:
        """Return whose entries come next: every hundredth is the busiest account's."""
        chosen = [self._random.randrange(1, self.few) for _ in range(count)]
        chosen[::BUSIEST_EVERY] = [self.busiest] * len(chosen[::BUSIEST_EVERY])
        if last and not self.sequences[self.few]:
            chosen[-FEW:] = [self.few] * FEW
        return chosen

    def _entries(self, topic: str, writer: Writer, chosen: list[int]) -> list[Batch]:
        found: list[list[NewRecord]] = [[] for _ in range(PARTITIONS)]
        time_ms = time.time_ns() // 1_000_000
        for number in chosen:
            self.sequences[number] = sequence = self.sequences[number] + 1
            partition = self._homes[number]
            payment = f"pay-{sequence:08d}-{number:08d}"
            transfer = Transfer("make", self.names[number], -1, "EUR", "sales", payment)
            entry = Entry(transfer, Account(10**9 - sequence, sequence, "EUR"))
            value = encode_ledger_entry(entry, partition=partition, time_ms=time_ms)
            found[partition].append((self._keys[number], value, HEADERS))
        return _batches(topic, writer, found)

    def _rows(self, topic: str, writer: Writer, numbers: range) -> list[Batch]:
        found: list[list[NewRecord]] = [[] for _ in range(PARTITIONS)]
        for number in numbers:
            if sequence := self.sequences[number]:
                row = encode_account(Account(10**9 - sequence, sequence, "EUR"))
                found[self._homes[number]].append((self._keys[number], row, []))
        return _batches(topic, writer, found)


def _batches(topic: str, writer: Writer, found: list[list[NewRecord]]) -> list[Batch]:
    return [
        Batch(TopicPartition(topic, partition), writer, records)
        for partition, records in enumerate(found)
        if records
    ]


class Client:
    """One connection to a gateway."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=120)

    def get(self, path: str, until: float = 0.0) -> None:
        """Read an answer; one that comes too early is asked for again until then (monotonic time).

        Raises ``BenchError`` for any answer but 200.
        """
        while (status := self._status(path)) in TOO_EARLY and time.monotonic() < until:
            time.sleep(0.1)
        if status != http.HTTPStatus.OK:
            raise BenchError(f"{path} was answered {status}")

    def _status(self, path: str) -> int:
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        answer.read()
        return answer.status


def until_read(port: int, ledger: Ledger) -> float:
    """Ask for a balance and the last entry in each partition; return when all are there."""
    began = time.monotonic()

    def ask(number: int) -> None:
        client, name, last = Client(port), ledger.names[number], ledger.sequences[number] - 1
        for path in (f"/v1/accounts/{name}", f"/v1/accounts/{name}/entries?after={last}"):
            client.get(path, began + LIMIT_SECONDS)

    with ThreadPoolExecutor(PARTITIONS) as pool:
        list(pool.map(ask, ledger.one_in_each_partition()))
    return time.monotonic() - began


def latencies(port: int, ledger: Ledger) -> Iterator[tuple[str, str]]:
    """Yield p50 and p99 of each kind of request, one at a time."""
    client, chosen = Client(port), random.Random(2)
    held = [number for number, sequence in enumerate(ledger.sequences) if sequence]
    busiest, few = ledger.names[ledger.busiest], ledger.names[ledger.few]
    last = ledger.sequences[ledger.busiest]

    def balance() -> str:
        return f"/v1/accounts/{ledger.names[chosen.choice(held)]}"

    def page(name: str, after: int) -> Callable[[], str]:
        return lambda: f"/v1/accounts/{name}/entries?after={after}&limit={PAGE}"

    kinds: list[tuple[str, Callable[[], str]]] = [
        ("`/health/live`, for comparison", lambda: "/health/live"),
        ("a balance, accounts at random", balance),
        (f"the first page ({PAGE}) of {last:,} entries", page(busiest, 0)),
        ("the middle page", page(busiest, last // 2)),
        ("the last page", page(busiest, max(last - PAGE, 0))),
        (f"the page of an account with {FEW}", page(few, 0)),
        ("a page, accounts at random", lambda: f"{balance()}/entries?limit={PAGE}"),
    ]
    for what, path in kinds:
        times = []
        for _ in range(READS):
            asked = path()
            began = time.perf_counter()
            client.get(asked)
            times.append(1000 * (time.perf_counter() - began))
        p99 = statistics.quantiles(times, n=100)[98]
        yield f"{what}: p50, p99", f"{statistics.median(times):.1f} ms, {p99:.1f} ms"


if __name__ == "__main__":
    COMMAND.run(measure)
