"""``python -m tools.bench.accounts_index``: a gateway's index: size, memory, speed, reads.

Ledger entries, and the rows of their accounts, are written straight to the topics as a worker would
write them. A gateway then reads them into its index and answers over HTTP, one request at a time;
no worker runs. One account has a hundredth of all entries.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

from payments.settings import Settings
from tools.bench.bench_command import PURE, Command, Option, Report, say
from tools.bench.http_client import Connection, request
from tools.bench.measured_process import cpu_seconds, peak_bytes
from tools.dev.child_process import Child, gateway_process
from tools.dev.errors import ToolError
from tools.dev.installations import installation, measured_broker, open_log
from tools.dev.markdown import figures_table, megabytes
from tools.dev.ports import free_ports
from tools.dev.written_ledger import CHUNK, Ledger

PARTITIONS, PAGE = 8, 100
MORE_OF = 100
"""So many entries make another one that is written while the gateway is stopped."""

BUSIEST, BUSIEST_EVERY = 0, 100
LIMIT_SECONDS = 3600
TOO_EARLY = {HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT}
COMMAND = Command(
    "tools.bench.accounts_index",
    __doc__,
    {
        "entries": Option(10_000_000, "ledger entries", quick=10_000),
        "accounts": Option(100_000, "of these entries", quick=100),
        "reads": Option(1000, "of each kind of request", quick=20),
        "pure": PURE,
    },
    marker="accounts",
)
Figures = Iterator[tuple[str, str]]


def measure(given: argparse.Namespace) -> Report:
    """Write, read, ask."""
    with (
        measured_broker() as broker,
        tempfile.TemporaryDirectory(prefix="payments-bench-") as name,
        installation(
            broker.bootstrap, partitions=PARTITIONS, flush=False, client_state_dir=Path(name)
        ) as settings,
    ):
        figures = list(_figures(settings, Path(name), given))
    return Report(figures_table(figures), broker.description)


def _figures(settings: Settings, folder: Path, given: argparse.Namespace) -> Figures:
    entries, accounts, more = given.entries, given.accounts, given.entries // MORE_OF
    ledger = Ledger(settings, accounts)
    asyncio.run(_write(settings, ledger, entries))
    say("written; now the gateway reads it")
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
        yield from latencies(port, ledger, given.reads)
    asyncio.run(_write(settings, ledger, more))
    began = time.monotonic()
    with _gateway(settings, folder) as (_, port):
        until_read(port, ledger)
    took = time.monotonic() - began
    yield f"from a restart until it has {more:,} more entries, start included", f"{took:.1f} s"


@contextmanager
def _gateway(settings: Settings, folder: Path) -> Iterator[tuple[Child, int]]:
    """Start a gateway that ends with the block; yield it and its port."""
    [port] = free_ports(1)
    with gateway_process(settings, folder / "gateway.log", port) as gateway:
        gateway.wait_until_ready()
        yield gateway, port


def chosen(ledger: Ledger, entries: int) -> Iterator[Sequence[int]]:
    """Yield whose entries come: every hundredth is the busiest account's, the rest at random."""
    chance, accounts = random.Random(1), len(ledger.names)
    for begin in range(0, entries, CHUNK):
        yield [
            chance.randrange(accounts) if number % BUSIEST_EVERY else BUSIEST
            for number in range(begin, min(begin + CHUNK, entries))
        ]


async def _write(settings: Settings, ledger: Ledger, entries: int) -> None:
    topics = [settings.topics.ledger, settings.changelog("accounts")]
    async with open_log(settings, topics) as log:
        writer = await log.new_writer()
        await ledger.write(log, writer, chosen(ledger, entries))
        await ledger.write_rows(log, writer)


def _get(connection: Connection, path: str, until: float = 0.0) -> None:
    """Read an answer; one that comes too early is asked for again until then (monotonic time).

    Raises ``ToolError`` for any answer but 200.
    """
    while (status := connection.exchange(request("GET", path))[0]) != HTTPStatus.OK:
        if status not in TOO_EARLY or time.monotonic() > until:
            raise ToolError(f"{path} was answered {status}")
        time.sleep(0.1)


def until_read(port: int, ledger: Ledger) -> float:
    """Ask for a balance and the last entry in each partition; return when all are there."""
    began = time.monotonic()

    def ask(number: int) -> None:
        connection = Connection(port, LIMIT_SECONDS)
        name, last = ledger.names[number], ledger.sequences[number] - 1
        for path in (f"/v1/accounts/{name}", f"/v1/accounts/{name}/entries?after={last}"):
            _get(connection, path, began + LIMIT_SECONDS)

    one_in_each = {home: n for n, home in enumerate(ledger.homes) if ledger.sequences[n]}
    with ThreadPoolExecutor(PARTITIONS) as pool:
        list(pool.map(ask, one_in_each.values()))
    return time.monotonic() - began


def latencies(port: int, ledger: Ledger, reads: int) -> Figures:
    """Yield p50 and p99 of each kind of request, one at a time."""
    connection, chance = Connection(port, LIMIT_SECONDS), random.Random(2)
    held = [name for name, n in zip(ledger.names, ledger.sequences, strict=True) if n]
    busiest, count = f"/v1/accounts/{ledger.names[BUSIEST]}/entries", ledger.sequences[BUSIEST]
    kinds: dict[str, Callable[[], str]] = {
        "`/health/live`, for comparison": lambda: "/health/live",
        "a balance, accounts at random": lambda: f"/v1/accounts/{chance.choice(held)}",
        f"the first page ({PAGE}) of {count:,} entries": lambda: f"{busiest}?limit={PAGE}",
        "the middle page": lambda: f"{busiest}?after={count // 2}&limit={PAGE}",
        "a page, accounts at random": lambda: (
            f"/v1/accounts/{chance.choice(held)}/entries?limit={PAGE}"
        ),
    }
    for what, path in kinds.items():
        times = []
        for _ in range(reads):
            asked, began = path(), time.perf_counter()
            _get(connection, asked)
            times.append(1000 * (time.perf_counter() - began))
        p99 = statistics.quantiles(times, n=100)[98]
        yield f"{what}: p50, p99", f"{statistics.median(times):.1f} ms, {p99:.1f} ms"


if __name__ == "__main__":
    COMMAND.run(measure)
