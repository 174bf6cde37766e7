"""The load over HTTP: a closed loop over connections that stay open, in a process of its own.

``concurrency`` requests are in flight at any time, each on a connection of its own; the next one is
sent when an answer comes. One thread over epoll and no HTTP library, so that the client takes
little of the cores it shares. Prints one line of JSON, as ``topics_load`` does.
"""

import argparse
import json
import random
import re
import select
import socket
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass

from tools.bench.failures import BenchError
from tools.bench.latencies import Figures, Stopwatch
from tools.dev.ports import HOST

READ_BYTES = 65_536
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"
STALLED_SECONDS = 15.0
CONNECT_SECONDS = 10.0
COMPLETED = b'"outcome":"completed"'
CANCELLED = b'"outcome":"cancelled"'
ACCOUNTS = 1000
STORM_PAYMENTS = 200
STORM_MAKES = 0.7

NextRequest = Callable[[], bytes]


class Connection:
    """A connection with at most one request in flight."""

    __slots__ = ("_partial", "sent_at", "socket")

    def __init__(self, port: int, limit_seconds: float) -> None:
        self.socket = socket.create_connection((HOST, port), limit_seconds)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent_at = 0.0
        self._partial = b""

    def receive(self) -> bytes | None:
        """Read once; return the whole answer, or None while some of it is missing."""
        piece = self.socket.recv(READ_BYTES)
        if not piece:
            raise BenchError("the server has closed a connection")
        answer = self._partial + piece if self._partial else piece
        if is_whole(answer):
            self._partial = b""
            return answer
        self._partial = answer
        return None

    def exchange(self, request: bytes) -> bytes:
        """Send one request and wait for its answer; for use on a connection that blocks."""
        self.socket.sendall(request)
        while (answer := self.receive()) is None:
            pass
        return answer


def is_whole(answer: bytes) -> bool:
    """Return whether an answer has arrived to its end."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = _LENGTH.search(answer, 0, end + 2)
    if length is not None:
        return len(answer) >= end + 4 + int(length[1])
    if _CHUNKED.search(answer, 0, end + 2):
        return answer.endswith(_LAST_CHUNK)
    raise BenchError(f"an answer without a length: {answer[:200]!r}")


@dataclass(frozen=True, slots=True)
class Dialect:
    """Paths, and the name of the account's field; ``%s`` is the payment's or account's id."""

    make: str
    cancel: str
    balance: str
    balance_method: str
    account_field: str

    def make_request(self, payment: str, account: str, amount: int) -> bytes:
        """Return the whole request that makes a payment."""
        body = json.dumps({self.account_field: account, "amount": amount})
        return request("POST", self.make % payment, body)

    def cancel_request(self, payment: str) -> bytes:
        """Return the whole request that cancels a payment."""
        return request("POST", self.cancel % payment)

    def balance_request(self, account: str) -> bytes:
        """Return the whole request that reads an account's balance."""
        return request(self.balance_method, self.balance % account)


def request(method: str, path: str, body: str = "") -> bytes:
    """Return an HTTP/1.1 request on a connection that stays open."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost"]
    if body:
        lines += ["content-type: application/json", f"content-length: {len(body.encode())}"]
    elif method == "POST":
        lines.append("content-length: 0")
    return "\r\n".join([*lines, "", body]).encode()


DIALECTS = {
    "payments": Dialect(
        make="/v1/payments/%s",
        cancel="/v1/payments/%s/cancel",
        balance="/v1/accounts/%s",
        balance_method="GET",
        account_field="account",
    ),
    "restate": Dialect(
        make="/payments/%s/makePayment",
        cancel="/payments/%s/cancelPayment",
        balance="/accounts/%s/balance",
        balance_method="POST",
        account_field="accountId",
    ),
}


def unique(dialect: Dialect, accounts: int) -> NextRequest:
    """Return a source of makes: ids never used before, on one of ``accounts`` accounts."""
    run, sent = uuid.uuid4().hex[:8], 0

    def following() -> bytes:
        nonlocal sent
        sent += 1
        account = f"acct-{run}-{random.randrange(accounts)}"
        return dialect.make_request(f"{run}-{sent}", account, 1)

    return following


def storm(dialect: Dialect) -> NextRequest:
    """Return a source of makes and cancels in random order on a small pool of payments."""
    run = uuid.uuid4().hex[:8]

    def following() -> bytes:
        number = random.randrange(STORM_PAYMENTS)
        payment = f"{run}-{number}"
        if random.random() < STORM_MAKES:
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
