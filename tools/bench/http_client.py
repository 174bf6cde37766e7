"""The smallest client over HTTP: requests as bytes, on connections that stay open.

One thread over sockets and no HTTP library, so that the load takes little of the cores it shares.
"""

import json
import re
import socket
from dataclasses import dataclass

from tools.dev.errors import ToolError
from tools.dev.ports import HOST

READ_BYTES = 65_536
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_LAST_CHUNK = b"\r\n0\r\n\r\n"


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
            raise ToolError("the server has closed a connection")
        answer = self._partial + piece if self._partial else piece
        if is_whole(answer):
            self._partial = b""
            return answer
        self._partial = answer
        return None

    def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Send one request; wait for status and body, on a connection that blocks."""
        self.socket.sendall(request)
        while (answer := self.receive()) is None:
            pass
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body


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
    raise ToolError(f"an answer without a length: {answer[:200]!r}")


@dataclass(frozen=True, slots=True)
class Dialect:
    """Paths, and the name of the account's field; ``%s`` is the payment's or account's id.

    ``authorize`` and ``capture`` are None where a system does not hold money.
    """

    make: str
    cancel: str
    balance: str
    balance_method: str
    account_field: str
    authorize: str | None = None
    capture: str | None = None

    def make_request(self, payment: str, account: str, amount: int) -> bytes:
        """Return the whole request that makes a payment."""
        body = json.dumps({self.account_field: account, "amount": amount})
        return request("POST", self.make % payment, body)

    def authorize_request(self, payment: str, account: str, amount: int) -> bytes:
        """Return the whole request that holds an amount; ``ToolError`` where none can."""
        if self.authorize is None:
            raise ToolError("this system does not hold money")
        body = json.dumps({self.account_field: account, "amount": amount})
        return request("POST", self.authorize % payment, body)

    def capture_request(self, payment: str) -> bytes:
        """Return the whole request that captures all that is held; raises as that of a hold."""
        if self.capture is None:
            raise ToolError("this system does not hold money")
        return request("POST", self.capture % payment)

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
        authorize="/v1/payments/%s/authorize",
        capture="/v1/payments/%s/capture",
    ),
    "restate": Dialect(
        make="/payments/%s/makePayment",
        cancel="/payments/%s/cancelPayment",
        balance="/accounts/%s/balance",
        balance_method="POST",
        account_field="accountId",
    ),
}
