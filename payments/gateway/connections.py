"""Connections: validity, size limits and time limits of requests.

uvicorn's protocol limits neither size nor time. One sweep over all connections checks the times
(``Connection.sweep``); a timer for each request would cost every request.
"""

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
from starlette.responses import Response
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from payments.gateway.access_log import AccessLog
from payments.gateway.exchange import MAX_DISCARDED_BYTES
from payments.gateway.outcomes import RETRY_SOON
from payments.gateway.problems import Problem, problem_answer
from payments.gateway.request_counts import RequestCounts

MAX_HEAD_BYTES, MAX_HEADERS = 16_384, 100
UPGRADE_TOKENS = {b"upgrade", b"http2-settings"}
UPGRADE_HEADERS = {b"upgrade", b"http2-settings"}
FIELD_OVERHEAD_BYTES = 4
"""Bytes of a header in addition to its name and value: colon, space, line break."""

OTHER_PROTOCOLS = {
    b"\x16\x03": "This is TLS, and the gateway speaks plain HTTP: use http://, or a proxy with TLS "
    "in front.",
    b"PRI * HTTP/2": "The gateway speaks HTTP/1.1: HTTP/2 is refused without an upgrade.",
}
"""First bytes of other protocols (RFC 8446, 5.1; RFC 9113, 3.4), and what to do."""

MAX_REQUEST_BYTES = 2 * MAX_DISCARDED_BYTES
"""Bodies are limited to half of it: the rest is trailers, chunk extensions, or an attack."""


class Overlong(Exception):
    """The head of a request is too large; raised through the parser, which wraps it."""


class NoHost(Exception):
    """The request has no host, or several (RFC 9112, 3.2); raised through the parser."""


class FaultyFraming(Exception):
    """A proxy may see another end of the body than this server (RFC 9112, 6.1); as ``NoHost``."""


class ConnectionLimits:
    """The limits of one server's connections."""

    def __init__(
        self, *, receive_seconds: float, idle_seconds: float, max_connections: int
    ) -> None:
        self.receive_seconds, self.idle_seconds = receive_seconds, idle_seconds
        self.max_connections = max_connections


class DeferredClose:
    """The transport of an answer, whose ``close`` waits for a body that is still arriving."""

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        """Write, unless the connection was refused."""
        if not self._connection.refused:
            self._connection.transport.write(data)

    def is_closing(self) -> bool:
        """Whether the connection is closing."""
        return self._connection.transport.is_closing()

    def close(self) -> None:
        """End the connection after the answer."""
        self._connection.end()


class Connection(HttpToolsProtocol):
    """One connection of a client, with limits."""

    limits: ConnectionLimits
    refusals: AccessLog | None = None
    counts: RequestCounts | None = None
    """``limited`` sets these in a subclass, since uvicorn creates the instances."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._since = self.loop.time()  # Start of idleness, or of the arrival of a request.
        self._arriving = self._in_head = self._overlong = self.refused = False
        self._unanswered = 0  # Requests whose heads have arrived, without a complete answer.
        self._upgrading = False  # The head just read asks for another protocol.
        self._client_ended = False  # The client has ended its side (a FIN).
        self._unread = False  # A sweep has seen this and a stream: the next sweep ends the stream.
        self._head_bytes = self._request_bytes = 0
        self._stuck_since: float | None = None
        self._ending: Any = DeferredClose(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Accept a connection; above the limit answer 429 and close."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(problem_answer(Problem.OVERLOADED, headers=RETRY_SOON))

    def connection_lost(self, exc: Exception | None) -> None:
        """End, and break reference cycles, since garbage collections are rare here."""
        super().connection_lost(exc)
        if self._cycle is not None:
            self._cycle.transport = self.transport
        self._ending = None

    def data_received(self, data: bytes) -> None:
        """Parse received data."""
        if self.transport.is_closing():
            return
        self._request_bytes += len(data)
        if self.refused:
            if self._request_bytes > MAX_REQUEST_BYTES:
                self.transport.abort()
            return
        head = self._head_bytes + len(data)
        # The parser keeps a header's value until its end, so an endless value is refused here.
        if self._in_head and head > MAX_HEAD_BYTES:
            self._overlong = True
            self.send_400_response("")
        elif self._arriving and self._request_bytes > MAX_REQUEST_BYTES:
            self.transport.abort()
        else:
            self._unset_keepalive_if_required()
            self._parse(data)

    def eof_received(self) -> bool:  # type: ignore[override] # uvicorn lets every one end at once
        """Answer complete requests of a client that only ended its own side (a half-close).

        A client that has disconnected looks the same. So an event stream ends soon, since it may
        have no reader; one that had not begun still sends its first event.
        """
        self._client_ended, partial = True, self._arriving
        if self._whole_requests():
            return True
        if partial and not self.refused:
            detail = "The connection was closed before the request was complete."
            self._refuse(problem_answer(Problem.BAD_HTTP, detail))
        return False

    def on_message_begin(self) -> None:
        """Record when a request begins to arrive."""
        super().on_message_begin()
        self._since, self._arriving, self._in_head = self.loop.time(), True, True
        self._head_bytes = self._request_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Receive a part of the URL."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Receive a header. A trailer is only counted, not used as a header (RFC 9110, 6.5)."""
        self._count(len(name) + len(value) + FIELD_OVERHEAD_BYTES)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Pass the request to the application, unless it asks for another protocol."""
        self._upgrading = self.parser.should_upgrade()
        if self._upgrading:
            return  # ``_parse`` reads this head again.
        names = [name for name, _ in self.headers]
        hosts = names.count(b"host")
        if hosts > 1 or (not hosts and self.parser.get_http_version() == "1.1"):
            message = "A request has exactly one header Host."
            raise NoHost(message)
        if b"transfer-encoding" in names and self.parser.get_http_version() == "1.0":
            message = "HTTP/1.0 has no Transfer-Encoding."
            raise FaultyFraming(message)
        if not self.url.startswith(b"/"):
            self._take_origin_form()
        self._in_head = False
        super().on_headers_complete()
        self.cycle.transport = self._ending
        self._unanswered += 1

    def on_message_complete(self) -> None:
        """Record that the request is complete."""
        if self._upgrading:
            return
        self._arriving = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Continue with the next request, become idle, or end after the last answer."""
        self._since = self.loop.time()
        self._unanswered -= 1
        super().on_response_complete()
        if self._client_ended and self._unanswered <= 0 and not self.transport.is_closing():
            self.end()

    def send_400_response(self, msg: str) -> None:
        """Refuse data that is no HTTP (uvicorn calls this), or a head that is too large."""
        if self._overlong:
            self._refuse(problem_answer(Problem.HEADERS_TOO_LARGE))
        else:
            known = msg if msg in OTHER_PROTOCOLS.values() else None
            self._refuse(problem_answer(Problem.BAD_HTTP, known), msg or None)

    def sweep(self, now: float) -> None:
        """End this connection if something takes too long."""
        seconds = now - self._since
        if self._client_ended and self._streaming:
            if self._unread:
                self.transport.close()
            self._unread = True
        if self.transport.is_closing() or self.refused or self.flow.write_paused:
            # The client does not read its answer.
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
        """Whether a complete request has no complete answer yet: the server causes the delay."""
        cycle = self._cycle
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    @property
    def _streaming(self) -> bool:
        cycle = self._cycle
        if cycle is None or cycle.response_complete:
            return False
        return bool(cycle.response_started and cycle.chunked_encoding)

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        """The last request whose head has arrived; uvicorn's annotation leaves out the None."""
        return self.cycle

    def _whole_requests(self) -> bool:
        """Whether complete requests have no answer yet; a partial request does not count.

        A partial request that is queued after them is dropped: its body does not arrive any more.
        """
        if not self._arriving or self._in_head:
            return self._unanswered > 0
        if not self.pipeline:
            return self._unanswered > 1
        self.pipeline.popleft()
        self._unanswered -= 1
        self._arriving = False
        return self._unanswered > 0

    def _parse(self, data: bytes | memoryview) -> None:
        """Feed the parser with received data.

        A request for another protocol (``Upgrade: h2c``, the default of Java's clients) is served
        as HTTP/1.1 (RFC 9110, 7.8). The parser would leave its body out, so it is fed with the head
        again, without the upgrade, and then with the rest.
        """
        parts: list[bytes | memoryview] = [data]
        while parts and not self.transport.is_closing():
            part = parts.pop(0)
            try:
                self.parser.feed_data(part)
            except httptools.HttpParserUpgrade as upgrade:
                if self.parser.get_method() == b"CONNECT":
                    self._refuse(problem_answer(Problem.METHOD_NOT_ALLOWED, "This is no proxy."))
                    return
                parts = [self._head_without_upgrade(), memoryview(part)[upgrade.args[0] :]]
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            except httptools.HttpParserError as error:
                # The parser reports only which callback refused; its context has the error.
                refused = error.__context__
                if isinstance(refused, (NoHost, FaultyFraming)):
                    why = str(refused)
                    self._refuse(problem_answer(Problem.BAD_HTTP, why), why)
                else:
                    self.send_400_response(_other_protocol(part) or str(refused or error))
                return

    def _head_without_upgrade(self) -> bytes:
        """Return the head of the request just read, without its headers for an upgrade."""
        version = self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        for name, value in self.headers:
            kept = value
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                kept = b", ".join(t for t in tokens if t.lower() not in UPGRADE_TOKENS)
            if name not in UPGRADE_HEADERS and (kept or not value):
                lines.append(b"%s: %s" % (name, kept))
        return b"\r\n".join([*lines, b"", b""])

    def _take_origin_form(self) -> None:
        """Convert ``http://host/path`` (RFC 9112, 3.2.2), and the ``*`` of OPTIONS, to a path."""
        if self.url == b"*":
            self.url = b"/*"
            return
        target = httptools.parse_url(self.url)
        host = b"%s:%d" % (target.host, target.port) if target.port else target.host
        self.headers[:] = [(b"host", host), *(h for h in self.headers if h[0] != b"host")]
        self.url = target.path or b"/"
        if target.query is not None:
            self.url += b"?" + target.query

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) >= MAX_HEADERS:
            self._overlong = True
            raise Overlong

    def _refuse(self, answer: Response, why: str | None = None) -> None:
        """Answer with a problem, unless an answer has begun, and close the connection.

        ``why`` is only for the access log: the parser's error.
        """
        if self._whole_requests():
            # Their answers come first, or the client would take this answer for theirs.
            self._note(answer, why, None)
            self.cycle.keep_alive, self._client_ended = False, True
            self.flow.pause_reading()
            return
        cycle = self._cycle
        # After the head, arriving data is the body of this cycle's request.
        if cycle is None or self._in_head or not (self._arriving and cycle.response_started):
            self.transport.write(_bytes(answer))
            self._note(answer, why, answer.status_code)
        self.end()

    def _note(self, answer: Response, why: str | None, status: int | None) -> None:
        if self.counts is not None:
            self.counts.refuse(answer)
        if self.refusals is not None:
            client = self.client[0] if self.client else ""
            self.refusals.write_refused(client, answer, why, status)

    def end(self) -> None:
        """Close the connection so that the client does not lose the answer.

        Closing with unread or arriving data would reset the connection, so arriving data is
        discarded until the client closes, within the time limit.
        """
        if (self._arriving or self._cycle is None) and self.transport.can_write_eof():
            self.refused = True
            self.transport.write_eof()
        else:
            self.transport.close()


def _other_protocol(data: bytes | memoryview) -> str | None:
    """Return the answer's detail for a client of another protocol."""
    begin = bytes(data[:16])
    found = (detail for mark, detail in OTHER_PROTOCOLS.items() if begin.startswith(mark))
    return next(found, None)


def limited(
    limits: ConnectionLimits,
    access_log: AccessLog | None = None,
    counts: RequestCounts | None = None,
) -> type[Connection]:
    """Return the class of connections with these limits; refusals are logged and counted."""
    given = {"limits": limits, "refusals": access_log, "counts": counts}
    return type("LimitedConnection", (Connection,), given)


def _bytes(answer: Response) -> bytes:
    status = HTTPStatus(answer.status_code)
    headers = [*answer.raw_headers, (b"connection", b"close")]
    lines = [b"HTTP/1.1 %d %s" % (status, status.phrase.encode())]
    lines += [b"%s: %s" % header for header in headers]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])
