"""One request, and its answers: Starlette's, with the gateway's limits, facts and event streams."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from msgspec.json import Encoder
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from payments.records.commands import MAX_VALUE_BYTES
from payments.records.record_models import Later

Headers = Mapping[str, str]

JSON = "application/json"
OWS = " \t"
"""Optional white space around a header's value (RFC 9110, 5.6.3); ``str.strip`` takes more."""

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


def _text_of(value: object) -> str:
    """Return what JSON has for a value that msgspec does not know."""
    if isinstance(value, Later):
        return value.value
    message = f"JSON has no {type(value).__name__}"
    raise NotImplementedError(message)


encode_json = Encoder(enc_hook=_text_of).encode


class BodyTooLarge(Exception):
    """The body is over ``MAX_BODY_BYTES``."""


def json_answer(content: object, headers: Headers | None = None, status: int = 200) -> Response:
    """Return an answer in JSON."""
    return Response(encode_json(content), status, headers, JSON)


def path_segment(text: str) -> str:
    """Return ``text`` encoded as one segment of a path.

    Most clients keep ``%2E%2E`` as it is; browsers and others that follow the WHATWG URL standard
    take it for ``..``, in any spelling, and can't request such a path.
    """
    segment = quote(text, safe="")
    return segment.replace(".", "%2E") if segment in {".", ".."} else segment


class HttpRequest(Request):
    """A request; the variable segments of its path, ``path_params``, are still percent-encoded."""

    asked_for_body = False
    """Whether receiving the body has begun."""

    prefix = ""
    """The path prefix that a proxy in front has removed: links begin with it."""

    token: str | None = None
    """The name of its token."""

    route: str | None = None
    payment: str | None = None
    account: str | None = None
    command: str | None = None
    """Path, payment or account, and command id, for the access log."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        # Paths are matched before they are decoded, so an id may contain a slash (%2F).
        scope["path"] = scope["raw_path"].decode("latin-1")
        super().__init__(scope, receive)
        self.fields: dict[bytes, bytes] = dict(scope["headers"])
        """Its headers, for the checks of every request: Starlette's mapping searches all of them
        for each one, which costs a make 7 us of CPU time."""
        self.reads = scope["method"] != "POST"
        """Whether it changes nothing, as the texts of problems then say."""
        client = scope.get("client")
        self.sender: str = client[0] if client else ""
        """The address of the client."""
        host = self.fields.get(b"host")
        self.host = None if host is None else host.decode("latin-1")
        """The host and port that the client requested."""

    def record_headers(self) -> Sequence[tuple[str, bytes]]:
        """Return the headers of the command's record: the name of the token."""
        return [] if self.token is None else [(CLIENT_HEADER, self.token.encode())]

    def listed(self, header: str) -> str:
        """Return the value of a list header, joined from all of its lines (RFC 9110, 5.3)."""
        return ", ".join(self.headers.getlist(header))

    async def body(self) -> bytes:
        """Receive the body, once; raises ``BodyTooLarge`` and ``ClientDisconnect``."""
        declared = self.fields.get(b"content-length", b"")
        # Before the first receive, which asks a client that sent Expect for the body.
        if (len(declared), declared) > _TOO_MUCH:
            raise BodyTooLarge
        self.asked_for_body = True
        body, more = bytearray(), True
        while more:
            message = await self.receive()
            if message["type"] != "http.request":
                raise ClientDisconnect
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > (MAX_DISCARDED_BYTES if more else MAX_BODY_BYTES):
                raise BodyTooLarge
        return bytes(body)


class EventStream(Response):
    """An answer in parts, until it ends, the client disconnects, or ``stopping`` is set."""

    body = b""

    def __init__(
        self,
        parts: AsyncGenerator[bytes, None],
        stopping: asyncio.Event,
        closed: Callable[[], None],
    ) -> None:
        """Stream ``parts``; ``closed`` is called when that has ended for any reason."""
        self.status_code, self._parts, self._stopping, self._closed = 200, parts, stopping, closed
        self.raw_headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # nginx forwards each part at once.
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; for HEAD only its headers."""
        head: Message = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await self._parts.aclose()
            self._closed()
            # As for GET: some clients close a connection if an answer has neither this nor a
            # length.
            self.raw_headers.append((b"transfer-encoding", b"chunked"))
            await send(head)
        else:
            await self._send_parts(head, receive, send)
        await send({"type": "http.response.body", "body": b""})

    async def _send_parts(self, head: Message, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_disconnected(receive))
        stop = asyncio.ensure_future(self._stopping.wait())
        part: asyncio.Future[bytes] | None = None
        try:
            await send(head)
            while True:
                part = part or asyncio.ensure_future(anext(self._parts, END_OF_STREAM))
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
            await self._parts.aclose()
            self._closed()


async def _disconnected(receive: Receive) -> None:
    """Return when the client has disconnected; its request must have been read."""
    while (await receive())["type"] != "http.disconnect":
        pass
