"""One request and its answer, over ASGI: the argument and the result of a handler.

Written for the gateway's few kinds of requests: a framework's request, router and response take
more time than all of this (``docs/http.md`` has the figures).
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote

from payments.records.commands import MAX_VALUE_BYTES

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]

JSON = b"application/json"
MAX_BODY_BYTES = MAX_VALUE_BYTES
MAX_DISCARDED_BYTES = 1_048_576
"""Bytes of a too large body that are read and discarded, so that the client reads the answer before
the connection ends."""

_TOO_MUCH = len(str(MAX_DISCARDED_BYTES)), b"%d" % MAX_DISCARDED_BYTES

CLIENT_HEADER = "payments_client"
"""The header of a command's record with the name of the token."""

HEARTBEAT_SECONDS = 15.0
"""Interval of heartbeats in an idle stream, so that no proxy closes it."""

HEARTBEAT, END_OF_STREAM = b": nothing new\n\n", b""


class Disconnected(Exception):
    """The client disconnected before its request was complete, so there is no answer."""


class BodyTooLarge(Exception):
    """The body is over ``MAX_BODY_BYTES``."""


@dataclass(slots=True)
class HttpResponse:
    """A complete answer."""

    status: int
    body: bytes
    headers: Headers = ()
    content_type: bytes = JSON


@dataclass(slots=True)
class Stream:
    """An answer whose body is sent in parts, until it ends or the client disconnects."""

    parts: AsyncGenerator[bytes, None]
    content_type: bytes
    closed: Callable[[], None]
    """Called when the stream has ended for any reason."""

    headers: Headers = ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))
    """The second lets nginx forward each part at once."""


def path_segment(text: str) -> str:
    """Return ``text`` encoded as one segment of a path.

    Most clients keep ``%2E%2E`` as it is; browsers and others that follow the WHATWG URL standard
    take it for ``..``, in any spelling, and can't request such a path.
    """
    segment = quote(text, safe="")
    return segment.replace(".", "%2E") if segment in {".", ".."} else segment


class HttpRequest:
    """A request; ``parameters`` are the variable segments of its path, still percent-encoded."""

    __slots__ = (
        "_receive",
        "_scope",
        "asked_for_body",
        "client",
        "command",
        "headers",
        "host",
        "method",
        "parameters",
        "payment",
        "prefix",
        "raw_path",
        "reads",
        "route",
        "token",
    )

    def __init__(self, scope: Message, receive: Receive) -> None:
        self._scope, self._receive = scope, receive
        self.method: str = scope["method"]
        self.raw_path: bytes = scope["raw_path"]
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.parameters: Sequence[bytes] = ()
        self.asked_for_body = False
        """Whether receiving the body has begun."""
        self.reads = self.method != "POST"
        """Whether it changes nothing, as the texts of problems then say."""
        client = scope.get("client")
        self.client: str = client[0] if client else ""
        self.host: bytes | None = self.headers.get(b"host")
        """The host and port that the client requested."""
        self.prefix = ""
        """The path prefix that a proxy in front has removed: links begin with it."""
        self.token: str | None = None
        """The name of its token."""
        self.route: str | None = None
        self.payment: str | None = None
        self.command: str | None = None
        """Path, payment and command id, for the access log."""

    def record_headers(self) -> Sequence[tuple[str, bytes]]:
        """Return the headers of the command's record: the name of the token."""
        return [] if self.token is None else [(CLIENT_HEADER, self.token.encode())]

    @property
    def repeats(self) -> bool:
        """Whether any header was sent more than once."""
        return len(self.headers) < len(self._scope["headers"])

    def count(self, header: bytes) -> int:
        """Return how often a header was sent."""
        return sum(name == header for name, _ in self._scope["headers"])

    def listed(self, header: bytes) -> bytes:
        """Return the value of a list header, joined from all of its lines (RFC 9110, 5.3)."""
        return b", ".join(value for name, value in self._scope["headers"] if name == header)

    def query(self) -> list[tuple[str, str]]:
        """Return the query parameters in their order, with repeated ones."""
        text = self._scope["query_string"].decode("latin-1")
        return parse_qsl(text, keep_blank_values=True) if text else []

    async def body(self) -> bytes:
        """Receive the body, once; raises ``BodyTooLarge`` and ``Disconnected``."""
        declared = self.headers.get(b"content-length", b"")
        # Before the first receive, which asks a client that sent Expect for the body.
        if (len(declared), declared) > _TOO_MUCH:
            raise BodyTooLarge
        self.asked_for_body = True
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            body: bytes = message.get("body", b"")
        else:
            body = await self._rest(message)
        if len(body) > MAX_BODY_BYTES:
            raise BodyTooLarge
        return body

    async def _rest(self, message: Message) -> bytes:
        body = bytearray()
        while True:
            if message["type"] != "http.request":
                raise Disconnected
            body += message.get("body", b"")
            if not message.get("more_body", False):
                return bytes(body)
            if len(body) > MAX_DISCARDED_BYTES:
                raise BodyTooLarge
            message = await self._receive()

    async def disconnected(self) -> None:
        """Return when the client has disconnected; its request must have been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def send_answer(send: Send, answer: HttpResponse) -> None:
    """Send a complete answer."""
    body = answer.body
    length = (b"content-length", b"%d" % len(body))
    headers = [(b"content-type", answer.content_type), length, *answer.headers]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def send_head(send: Send, stream: Stream) -> None:
    """Answer HEAD with the headers of a stream, and end it."""
    await stream.parts.aclose()
    stream.closed()
    # As for GET: some clients close a connection whose answer has neither this nor a length.
    framing = (b"transfer-encoding", b"chunked")
    headers = [(b"content-type", stream.content_type), framing, *stream.headers]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def send_stream(
    send: Send, stream: Stream, request: HttpRequest, stopping: asyncio.Event
) -> None:
    """Send a stream until it ends, the client disconnects, or ``stopping`` is set."""
    gone = asyncio.ensure_future(request.disconnected())
    stop = asyncio.ensure_future(stopping.wait())
    part: asyncio.Future[bytes] | None = None
    try:
        headers = [(b"content-type", stream.content_type), *stream.headers]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while True:
            part = part or asyncio.ensure_future(anext(stream.parts, END_OF_STREAM))
            waited: set[asyncio.Future[Any]] = {part, gone, stop}
            await asyncio.wait(
                waited, timeout=HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            if gone.done() or stop.done():
                break
            body = HEARTBEAT
            if part.done():
                body, part = part.result(), None
            if body is END_OF_STREAM:
                break
            await send({"type": "http.response.body", "body": body, "more_body": True})
    finally:
        tasks = [task for task in (part, gone, stop) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await stream.parts.aclose()
        stream.closed()
    await send({"type": "http.response.body", "body": b""})
