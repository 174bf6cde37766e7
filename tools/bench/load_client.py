"""The load: payments over topics or over HTTP, in a process of its own.

``concurrency`` payments are in flight at any time; the next one is sent when an answer comes. With
``--rate``, over topics, payments are sent at that rate instead. Prints one line of JSON: payments/s
and latencies in milliseconds.
"""

import argparse
import json
import random
import select
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b

from tools.bench.http_client import DIALECTS, Connection, Dialect
from tools.bench.topics_client import at_end, make_command, writer
from tools.dev.errors import ToolError

STALLED_SECONDS = 15.0
CONNECT_SECONDS = 10.0
COMPLETED, CANCELLED = b'"outcome":"completed"', b'"outcome":"cancelled"'
AUTHORIZED, CAPTURED = b'"outcome":"authorized"', b'"outcome":"captured"'
ACCOUNTS = 1000
STORM_PAYMENTS = 200
STORM_MAKES = 0.7
FEW = 8
"""Payments in flight up to which waiting for a batch of answers would cost latency."""

UNIQUE, STORM, HOT, PAIRS = "unique", "storm", "hot", "pairs"
WORKLOADS = (UNIQUE, STORM, HOT, PAIRS)
"""Makes on 1,000 accounts; 70 % makes and 30 % cancels of 200 payments; makes on one account;
authorizes, each captured as soon as it is answered: a pair counts as one payment."""


def stored_payment(number: int) -> tuple[str, str]:
    """Return id and account of a stored payment; the id is a UUID that looks random."""
    digest = blake2b(number.to_bytes(8, "big"), digest_size=16).digest()
    return str(uuid.UUID(bytes=digest, version=4)), f"acct-{number % ACCOUNTS}"


@dataclass(frozen=True, slots=True)
class Figures:
    """What one run measured: from sending a request to reading its answer."""

    payments: int
    seconds: float
    rate: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    not_completed: int
    missing: int


def run(
    transport: "OverTopics | OverHttp",
    seconds: float,
    concurrency: int,
    *,
    stalled_seconds: float = STALLED_SECONDS,
    rate: float | None = None,
) -> Figures:
    """Load for ``seconds``, then wait for what is in flight; end when nothing comes any more."""
    started = last = now = time.perf_counter()
    latencies: list[float] = []
    not_completed = sent = 0
    for _ in range(concurrency if rate is None else 0):
        transport.send()
    while (transport.in_flight or now < started + seconds) and now - last < stalled_seconds:
        if rate is not None:
            while now < started + seconds and sent < (now - started) * rate:
                transport.send()
                sent += 1
        for sent_at, as_wanted in transport.answers():
            last = time.perf_counter()
            latencies.append(last - sent_at)
            not_completed += not as_wanted
            if rate is None and last < started + seconds:
                transport.send()
        now = time.perf_counter()
    return figures_of(latencies, now - started, not_completed, transport.in_flight)


def figures_of(
    latencies: Sequence[float], took: float, not_completed: int, missing: int
) -> Figures:
    """Return the figures of a run; latencies are seconds."""
    ordered = sorted(latencies) or [0.0]

    def at_share(share: float) -> float:
        return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)

    return Figures(
        payments=len(latencies),
        seconds=round(took, 3),
        rate=round(len(latencies) / took, 1),
        p50_ms=at_share(0.5),
        p95_ms=at_share(0.95),
        p99_ms=at_share(0.99),
        not_completed=not_completed,
        missing=missing,
    )


class OverTopics:
    """Makes on 1,000 accounts, with librdkafka: with ids never used before, or repeats."""

    def __init__(
        self, brokers: str, commands: str, results: str, *, few: bool, stored: int | None = None
    ) -> None:
        """Send repeats of ``stored`` payments, if that is given (``stored_payment``)."""
        self._producer = writer(brokers)
        self._results = at_end(brokers, results)
        self._commands, self._few, self._stored = commands, few, stored
        self._run, self._sent = uuid.uuid4().hex[:8], 0
        self._waiting: dict[bytes, float] = {}

    @property
    def in_flight(self) -> int:
        """Payments without an answer."""
        return len(self._waiting)

    def send(self) -> None:
        """Send the next payment."""
        if self._stored is None:
            payment, account = f"{self._run}-{self._sent}", f"acct-{random.randrange(ACCOUNTS)}"
        else:
            payment, account = stored_payment(random.randrange(self._stored))
        self._sent += 1
        self._waiting[payment.encode()] = time.perf_counter()
        self._producer.produce(self._commands, key=payment, value=make_command(payment, account))
        self._producer.poll(0)

    def answers(self) -> Iterator[tuple[float, bool]]:
        """Yield what has come."""
        if self._few:
            message = self._results.poll(0.05)
            messages = [] if message is None else [message]
        else:
            messages = self._results.consume(500, 0.002)
        for message in messages:
            if message.error() is not None:
                raise ToolError(f"reading results: {message.error()}")
            if (sent_at := self._waiting.pop(message.key() or b"", None)) is not None:
                yield sent_at, COMPLETED in (message.value() or b"")
        self._producer.poll(0)


class OverHttp:
    """Requests of a workload, each connection with one in flight at most."""

    def __init__(self, port: int, dialect: Dialect, workload: str, concurrency: int) -> None:
        self._next_request = _requests(dialect, workload)
        self._wanted = _WANTED.get(workload, (COMPLETED,))
        self._captures = captures(dialect) if workload == PAIRS else None
        self._free = [Connection(port, CONNECT_SECONDS) for _ in range(concurrency)]
        self._connections = {each.socket.fileno(): each for each in self._free}
        self._poll = select.epoll()
        for number in self._connections:
            self._poll.register(number, select.EPOLLIN)

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return len(self._connections) - len(self._free)

    def send(self) -> None:
        """Send the next request."""
        connection = self._free.pop()
        connection.sent_at = time.perf_counter()
        connection.socket.sendall(self._next_request())

    def answers(self) -> Iterator[tuple[float, bool]]:
        """Yield what has come."""
        for number, _ in self._poll.poll(STALLED_SECONDS):
            connection = self._connections[number]
            if (answer := connection.receive()) is not None:
                if self._captures is not None and AUTHORIZED in answer:
                    connection.socket.sendall(self._captures(answer))
                    continue
                self._free.append(connection)
                yield connection.sent_at, any(mark in answer for mark in self._wanted)


_WANTED = {STORM: (COMPLETED, CANCELLED), PAIRS: (CAPTURED,)}


def captures(dialect: Dialect) -> Callable[[bytes], bytes]:
    """Return what makes, of an authorize's answer, the request that captures all that it holds."""

    def capture(answer: bytes) -> bytes:
        payment = json.loads(answer.partition(b"\r\n\r\n")[2])["payment"]
        return dialect.capture_request(payment)

    return capture


def _requests(dialect: Dialect, workload: str) -> Callable[[], bytes]:
    """Return a source of requests."""
    run, sent = uuid.uuid4().hex[:8], 0
    begin = dialect.authorize_request if workload == PAIRS else dialect.make_request

    def make() -> bytes:
        nonlocal sent
        sent += 1
        account = f"acct-{run}-{random.randrange(1 if workload == HOT else ACCOUNTS)}"
        return begin(f"{run}-{sent}", account, 1)

    def make_or_cancel() -> bytes:
        number = random.randrange(STORM_PAYMENTS)
        if random.random() < STORM_MAKES:
            return dialect.make_request(f"{run}-{number}", f"acct-{run}-{number}", 1)
        return dialect.cancel_request(f"{run}-{number}")

    return make_or_cancel if workload == STORM else make


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--topics", nargs=3, metavar=("BROKERS", "COMMANDS", "RESULTS"))
    parser.add_argument("--http", nargs=2, metavar=("PORT", "DIALECT"))
    parser.add_argument("--workload", choices=WORKLOADS, default=UNIQUE, help="over HTTP")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--concurrency", type=int, default=1)
    parser.add_argument("--stored", type=int, help="repeat so many stored payments, over topics")
    parser.add_argument("--rate", type=float, help="payments/s, over topics")
    parser.add_argument("--stalled-seconds", type=float, default=STALLED_SECONDS)
    given = parser.parse_args()
    transport: OverTopics | OverHttp
    if given.http is None:
        few = given.concurrency <= FEW
        transport = OverTopics(*given.topics, few=few, stored=given.stored)
    else:
        port, dialect = given.http
        transport = OverHttp(int(port), DIALECTS[dialect], given.workload, given.concurrency)
    figures = run(
        transport,
        given.seconds,
        given.concurrency,
        stalled_seconds=given.stalled_seconds,
        rate=given.rate,
    )
    sys.stdout.write(json.dumps(asdict(figures)) + "\n")


if __name__ == "__main__":
    try:
        main()
    except (ToolError, OSError) as error:
        sys.exit(f"Error: {error}")
