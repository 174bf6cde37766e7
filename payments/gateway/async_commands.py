"""Commands that are answered later (``Prefer: respond-async``, RFC 7240).

A command is answered 202 when the broker has it, so it is carried out even if this gateway is
killed in the next moment. Its result is waited for and kept here, in memory, for as long as the
setting says, however long no worker runs. Its id says where in the topics its records are, so any
other gateway, or this one after a restart, finds them there for as long as the topics keep them.
"""

import asyncio
import re
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import orjson

from payments.client.resuming import Mark
from payments.gateway.exchange import Answer, Headers, Request, path_segment
from payments.gateway.outcomes import RETRY_SOON
from payments.gateway.parsing import MAX_WAIT_SECONDS
from payments.gateway.problems import Problem, Refused
from payments.gateway.service import Service
from payments.records.record_models import Result

MAX_OPERATIONS = 10_000
MAX_SEARCHES = 4
"""Commands of other gateways that are looked for in the topics at once."""

APPLIED: Headers = ((b"preference-applied", b"respond-async"),)
Render = Callable[[Request, Result], Answer]
"""Makes the answer to a result for whoever asks."""

_OWN = re.compile(r"([a-z])[0-9a-f]{32}-(\d{1,19})-(\d{1,19})", re.ASCII)
"""A command's own id: the form of its answer, a random number, and its mark in the topics."""


@dataclass(slots=True)
class _Operation:
    """A command that was taken, and how its result is told."""

    result: "asyncio.Future[Result]"
    render: Render
    since: float = field(default_factory=lambda: asyncio.get_running_loop().time())


class Operations:
    """The commands that were answered 202, by payment and the command's own id."""

    def __init__(
        self,
        service: Service,
        deadline_seconds: float,
        kept_seconds: float,
        forms: Mapping[str, Render],
    ) -> None:
        """Answer in one of ``forms``, each named by a letter that the ids of its commands have."""
        self._service = service
        self._deadline_seconds, self._kept_seconds = deadline_seconds, kept_seconds
        self.forms = forms
        self._held: OrderedDict[tuple[str, str], _Operation] = OrderedDict()
        self._searches = asyncio.Semaphore(MAX_SEARCHES)

    async def start(
        self,
        request: Request,
        payment: str,
        command: Mapping[str, object],
        form: str,
        *,
        wait_seconds: float = 0,
    ) -> Answer:
        """Send a command; answer 202 as soon as the broker has it and ``wait_seconds`` are over."""
        self._make_room()
        mark = await self._service.mark(payment, deadline_seconds=self._deadline_seconds)
        own = f"{form}{uuid.uuid4().hex}-{mark.commands}-{mark.results}"
        request.command = own
        waiting = await self._service.submit(
            payment,
            {**command, "id": own},
            deadline_seconds=self._deadline_seconds,
            result_seconds=self._kept_seconds,
            headers=request.record_headers(),
        )
        operation = self._hold(payment, own, waiting, self.forms[form])
        return await self._answer(request, payment, own, operation, wait_seconds)

    async def answer(self, request: Request, payment: str, own: str, wait_seconds: float) -> Answer:
        """Return the answer of a command that was taken, or 202 again after ``wait_seconds``."""
        operation = self._kept(payment, own) or await self._resumed(request, payment, own)
        return await self._answer(request, payment, own, operation, wait_seconds)

    def _hold(
        self, payment: str, own: str, result: "asyncio.Future[Result]", render: Render
    ) -> _Operation:
        result.add_done_callback(_look_at_error)
        operation = _Operation(result, render)
        self._held.pop((payment, own), None)  # Those held longest come first.
        self._held[payment, own] = operation
        return operation

    def _kept(self, payment: str, own: str) -> _Operation | None:
        operation = self._held.get((payment, own))
        if operation is None or operation.since <= self._oldest_kept():
            return None
        return operation

    async def _resumed(self, request: Request, payment: str, own: str) -> _Operation:
        """Find a command that this process did not send, or has forgotten, in the topics."""
        found = _OWN.fullmatch(own)
        if found is None or found[1] not in self.forms:
            raise Refused(Problem.COMMAND_NOT_FOUND)
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await self._searches.acquire()
        except TimeoutError:
            raise Refused(Problem.OVERLOADED, headers=RETRY_SOON) from None
        try:
            # Whoever came first may have found it by now.
            if (operation := self._kept(payment, own)) is not None:
                return operation
            self._make_room()
            request.reads = True
            result = await self._service.resume(
                payment,
                own,
                Mark(int(found[2]), int(found[3])),
                deadline_seconds=self._deadline_seconds,
                result_seconds=self._kept_seconds,
            )
        finally:
            self._searches.release()
        request.reads = False
        if result is None:
            raise Refused(Problem.COMMAND_NOT_FOUND)
        return self._hold(payment, own, result, self.forms[found[1]])

    async def _answer(
        self, request: Request, payment: str, own: str, operation: _Operation, wait_seconds: float
    ) -> Answer:
        if wait_seconds > 0 and not operation.result.done():
            await asyncio.wait([operation.result], timeout=min(wait_seconds, MAX_WAIT_SECONDS))
        if operation.result.done():
            return operation.render(request, operation.result.result())
        location = f"{request.prefix}/v1/payments/{path_segment(payment)}/commands/{own}"
        body = {"payment": payment, "command": own, "status": "pending", "location": location}
        headers = ((b"location", location.encode()), *APPLIED, *RETRY_SOON)
        return Answer(202, orjson.dumps(body), headers)

    def _make_room(self) -> None:
        """Forget what was kept long enough; refuse a command when too many are held."""
        oldest_kept = self._oldest_kept()
        while self._held:
            key, operation = next(iter(self._held.items()))
            full = len(self._held) >= MAX_OPERATIONS
            if operation.since > oldest_kept and not (full and operation.result.done()):
                break
            del self._held[key]
        if len(self._held) >= MAX_OPERATIONS:
            raise Refused(Problem.OVERLOADED, headers=RETRY_SOON)

    def _oldest_kept(self) -> float:
        return asyncio.get_running_loop().time() - self._kept_seconds


def _look_at_error(result: "asyncio.Future[Result]") -> None:
    """Mark an error as seen: it is raised to whoever asks, and often nobody does."""
    if not result.cancelled():
        result.exception()
