"""The load over HTTP: a closed loop over connections that stay open, in a process of its own.

``concurrency`` requests are in flight at any time, each on a connection of its own; the next one is
sent when an answer comes. One thread over epoll and no HTTP library, so that the client takes
little of the cores it shares. Prints one line of JSON, as ``bench.load`` does.
"""

import argparse
import json
import random
import select
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict

from tools.bench.errors import BenchError
from tools.bench.latencies import Figures, Stopwatch
from tools.bench.peers.connection import Connection
from tools.bench.peers.dialects import DIALECTS, Dialect

STALLED_SECONDS = 15.0
CONNECT_SECONDS = 10.0
COMPLETED = b'"outcome":"completed"'
CANCELLED = b'"outcome":"cancelled"'
ACCOUNTS = 1000
STORM_PAYMENTS = 200
STORM_MAKES = 0.7

NextRequest = Callable[[], bytes]


def unique(dialect: Dialect, accounts: int) -> NextRequest:
    """Return a source of makes: ids never used before, on one of so many accounts."""
    run, sent = uuid.uuid4().hex[:8], 0

    def following() -> bytes:
        nonlocal sent
        sent += 1
        account = f"acct-{run}-{random.randrange(accounts)}"  # noqa: S311 - a load, no secret
        return dialect.make_request(f"{run}-{sent}", account, 1)

    return following


def storm(dialect: Dialect) -> NextRequest:
    """Return a source of makes and cancels in random order on a small pool of payments."""
    run = uuid.uuid4().hex[:8]

    def following() -> bytes:
        number = random.randrange(STORM_PAYMENTS)  # noqa: S311 - a load, no secret
        payment = f"{run}-{number}"
        if random.random() < STORM_MAKES:  # noqa: S311 - a load, no secret
            return dialect.make_request(payment, f"acct-{run}-{number}", 1)
        return dialect.cancel_request(payment)

    return following


WORKLOADS: dict[str, Callable[[Dialect], NextRequest]] = {
    "unique": lambda dialect: unique(dialect, ACCOUNTS),
    "storm": storm,
    "hot": lambda dialect: unique(dialect, 1),
}
"""Makes on 1,000 accounts; 70 % makes and 30 % cancels of 200 payments; makes on one account."""


def run(
    port: int, following: NextRequest, expected: tuple[bytes, ...], seconds: float, concurrency: int
) -> Figures:
    """Load for ``seconds``, then wait for what is in flight."""
    connections = {}
    poll = select.epoll()
    for _ in range(concurrency):
        connection = Connection(port, CONNECT_SECONDS)
        connections[connection.socket.fileno()] = connection
        poll.register(connection.socket, select.EPOLLIN)
    watch = Stopwatch()
    stop_at = time.perf_counter() + seconds
    for connection in connections.values():
        connection.sent_at = time.perf_counter()
        connection.socket.sendall(following())
    waiting = concurrency
    while waiting and (events := poll.poll(STALLED_SECONDS)):
        for number, _ in events:
            connection = connections[number]
            answer = connection.receive()
            if answer is None:
                continue
            now = time.perf_counter()
            watch.note(connection.sent_at, now)
            if not any(mark in answer for mark in expected):
                watch.not_completed += 1
            if now < stop_at:
                connection.sent_at = now
                connection.socket.sendall(following())
            else:
                waiting -= 1
    return watch.figures(waiting)


def main() -> None:
    """Run as a program."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dialect", choices=DIALECTS, required=True)
    parser.add_argument("--workload", choices=WORKLOADS, default="unique")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--concurrency", type=int, default=64)
    given = parser.parse_args()
    following = WORKLOADS[given.workload](DIALECTS[given.dialect])
    expected = (COMPLETED, CANCELLED) if given.workload == "storm" else (COMPLETED,)
    figures = run(given.port, following, expected, given.seconds, given.concurrency)
    sys.stdout.write(json.dumps(asdict(figures)) + "\n")


if __name__ == "__main__":
    try:
        main()
    except (BenchError, OSError) as error:
        sys.exit(f"Error: {error}")
