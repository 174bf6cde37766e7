"""One HTTP/1.1 connection that stays open: sends whole requests, reads whole answers."""

import re
import socket

from tools.bench.errors import BenchError

HOST = "127.0.0.1"
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
    """Tell whether an answer has arrived to its end."""
    end = answer.find(b"\r\n\r\n")
    if end < 0:
        return False
    length = _LENGTH.search(answer, 0, end + 2)
    if length is not None:
        return len(answer) >= end + 4 + int(length[1])
    if _CHUNKED.search(answer, 0, end + 2):
        return answer.endswith(_LAST_CHUNK)
    raise BenchError(f"an answer without a length: {answer[:200]!r}")
