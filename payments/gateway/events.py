"""Server-sent events: the state of one payment, and its results as they are published.

The first event has the state: it is the result of a ``get`` that is sent after the watch has begun,
so no result is missed between them. Later results of ``get`` are left out: they change nothing.
"""

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from payments.client.errors import WatchBroken
from payments.domain.commands import Get
from payments.gateway.exchange import EventStream, HttpRequest, encode_json
from payments.gateway.outcomes import RETRY_SOON
from payments.gateway.parsing import payment_id
from payments.gateway.problems import Problem, RefusedRequest
from payments.gateway.service import Service
from payments.records.record_models import Result, members


@dataclass(slots=True)
class EventsApi:
    """The handler of ``/v1/payments/{payment}/events``, and the number of open streams."""

    service: Service
    deadline_seconds: float
    max_streams: int
    stopping: asyncio.Event
    open_streams: int = 0

    async def stream(self, request: HttpRequest) -> EventStream:
        """Return the stream of a payment's results, the current state first."""
        payment = payment_id(request.path_params["payment"])
        request.payment = payment.text
        if self.open_streams >= self.max_streams:
            raise RefusedRequest(Problem.OVERLOADED, headers=RETRY_SOON)
        self.open_streams += 1
        try:
            watch = self.service.watch(payment)
            state = await self.service.send(
                payment,
                Get(id=uuid.uuid4().hex),
                deadline_seconds=self.deadline_seconds,
                headers=request.record_headers(),
            )
        except BaseException:
            self._closed()
            raise
        return EventStream(_parts(watch, state), self.stopping, self._closed)

    def _closed(self) -> None:
        self.open_streams -= 1


async def _parts(watch: AsyncIterator[Result], state: Result) -> AsyncGenerator[bytes, None]:
    yield event("state", state)
    is_past = True
    try:
        async for result in watch:
            if is_past:
                # The state includes these results.
                is_past = result.command != state.command
            elif result.type != "get":
                yield event("result", result)
    except WatchBroken:
        # Results would be missing: after the end the client connects again, and gets the state.
        return


def event(name: str, result: Result) -> bytes:
    """Return one event; this JSON has no line breaks, so one data line is enough."""
    return b"event: %s\ndata: %s\n\n" % (name.encode(), encode_json(members(result)))
