"""Connections: how large a request may be, and how long anything on a connection may take.

uvicorn's protocol bounds neither. The times are looked at by one sweep over all connections
(``Connection.sweep``), not by timers of each request, which every request would pay for.
"""

import asyncio
from http import HTTPStatus

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from payments.gateway.exchange import MAX_DISCARDED_BYTES, Answer
from payments.gateway.outcomes import RETRY_SOON
from payments.gateway.problems import Problem, problem_answer

MAX_HEAD_BYTES, MAX_HEADERS = 16_384, 100
BODY_HEADERS = {b"content-length", b"transfer-encoding"}
FIELD_OVERHEAD_BYTES = 4
"""What a header has beside its name and value: colon, space, line break."""

MAX_REQUEST_BYTES = 2 * MAX_DISCARDED_BYTES
"""A body ends at half of it: more than that is trailers, chunks' extensions, or an attack."""


class Overlong(Exception):  # noqa: N818 - it describes a request
    """The head of a request is too large; raised through the parser, which wraps it."""


class UpgradeWithBody(Exception):  # noqa: N818 - it describes a request
    """The request asks for another protocol and has a body; raised through the parser."""


class Limits:
    """The limits of one server's connections."""

    def __init__(
        self, *, receive_seconds: float, idle_seconds: float, max_connections: int
    ) -> None:
        self.receive_seconds, self.idle_seconds = receive_seconds, idle_seconds
        self.max_connections = max_connections


class Connection(HttpToolsProtocol):
    """One connection of a client, with limits."""

    limits: Limits
    """Given to a subclass by ``limited``: uvicorn makes the instances."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._since = self.loop.time()  # When it became idle, or its request began to arrive.
        self._arriving = self._in_head = self._overlong = self._refused = False
        self._head_bytes = self._request_bytes = 0
        self._stuck_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Begin; one connection too many is told so and closed."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(problem_answer(Problem.OVERLOADED, headers=RETRY_SOON))

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self.transport.is_closing():
            return
        self._request_bytes += len(data)
        if self._refused:
            if self._request_bytes > MAX_REQUEST_BYTES:
                self.transport.abort()
            return
        head = self._head_bytes + len(data)
        # The parser keeps a header's value until it ends: one that does not end is caught here.
        if self._in_head and head > MAX_HEAD_BYTES:
            self._overlong = True
            self.send_400_response("")
        elif self._arriving and self._request_bytes > MAX_REQUEST_BYTES:
            self.transport.abort()
        else:
            super().data_received(data)

    def on_message_begin(self) -> None:
        """Note when a request begins to arrive."""
        super().on_message_begin()
        self._since, self._arriving, self._in_head = self.loop.time(), True, True
        self._head_bytes = self._request_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header, or a trailer."""
        self._count(len(name) + len(value) + FIELD_OVERHEAD_BYTES)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request to the application."""
        self._in_head = False
        upgrade = self.parser.should_upgrade()
        if upgrade and not BODY_HEADERS.isdisjoint(name for name, _ in self.headers):
            # The parser would leave the body out, as if it belonged to the other protocol.
            raise UpgradeWithBody
        super().on_headers_complete()
        if upgrade:
            # No upgrade is made, and the parser reads no further: this answer is the last one.
            self.cycle.keep_alive = False

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: any client could fill the log."""

    def on_message_complete(self) -> None:
        """Note that the request is whole."""
        self._arriving = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request, or be idle."""
        self._since = self.loop.time()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP (uvicorn calls this) or has too large a head."""
        del msg
        problem = Problem.HEADERS_TOO_LARGE if self._overlong else Problem.BAD_HTTP
        self._refuse(problem_answer(problem))

    def sweep(self, now: float) -> None:
        """End this connection if something takes too long."""
        seconds = now - self._since
        if self.transport.is_closing() or self._refused or self.flow.write_paused:
            # The client does not take what it was sent.
            self._stuck_since = self._stuck_since or now
            if now - self._stuck_since > self.limits.receive_seconds:
                self.transport.abort()
            return
        self._stuck_since = None
        if self._answering:
            self._since = now
        elif self._arriving and seconds > self.limits.receive_seconds:
            self._refuse(problem_answer(Problem.TIMEOUT))
        elif seconds > max(self.limits.idle_seconds, self.limits.receive_seconds):
            self.transport.close()

    @property
    def _answering(self) -> bool:
        """Whether a request that arrived whole has no complete answer yet: we are to blame."""
        cycle = self._cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        """The last request whose head has arrived; uvicorn's annotation leaves out the None."""
        return self.cycle

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) >= MAX_HEADERS:
            self._overlong = True
            raise Overlong

    def _refuse(self, answer: Answer) -> None:
        """Say what is wrong, if nothing was said yet, and close after an answer under way."""
        if self._answering:
            self.cycle.keep_alive = False
            self.flow.pause_reading()
            return
        cycle = self._cycle
        # Beyond the head, what arrives is the body of the request of this cycle.
        if cycle is None or self._in_head or not (self._arriving and cycle.response_started):
            self.transport.write(_bytes(answer))
        if self.transport.can_write_eof():
            # Closing while something unread is there would reset the connection, and the client
            # lose the answer: what comes is discarded until the client closes, for a while.
            self._refused = True
            self.transport.write_eof()
        else:
            self.transport.close()


def limited(limits: Limits) -> type[Connection]:
    """Return the class of connections with these limits."""
    return type("LimitedConnection", (Connection,), {"limits": limits})


def _bytes(answer: Answer) -> bytes:
    status = HTTPStatus(answer.status)
    headers = [
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % len(answer.body)),
        (b"connection", b"close"),
        *answer.headers,
    ]
    lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode())]
    lines += [b"%s: %s" % header for header in headers]
    return b"\r\n".join([*lines, b"", answer.body])
