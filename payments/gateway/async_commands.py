"""Asynchronous commands: answered 202 before their result (``Prefer: respond-async``, RFC 7240).

A command is answered 202 when the broker has it, so it is carried out even if this gateway ends
right after. The gateway waits for its result, and keeps it in memory for the configured time. The
command's id has the mark of its records in the topics, so any gateway, or this one after a restart,
finds them while the topics keep them.
"""

import asyncio
import re
import uuid
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from msgspec.structs import replace
from starlette.responses import Response

from payments.client.commands import CheckedId
from payments.client.resuming import Mark
from payments.domain.account_commands import AccountCommand
from payments.domain.commands import Command
from payments.gateway.exchange import Headers, HttpRequest, json_answer, path_segment
from payments.gateway.outcomes import RETRY_SOON
from payments.gateway.parsing import MAX_WAIT_SECONDS
from payments.gateway.problems import ACCOUNT_COMMAND_NOT_FOUND, Problem, RefusedRequest
from payments.gateway.service import Commands
from payments.records.record_models import AccountResult, Result

MAX_COMMANDS = 10_000
MAX_SEARCHES = 4
"""Maximum number of concurrent searches in the topics for commands of other gateways."""

APPLIED: Headers = {"preference-applied": "respond-async"}
C = TypeVar("C", Command, AccountCommand)
R = TypeVar("R", Result, AccountResult)
Render = Callable[[HttpRequest, R], Response]
"""Returns the answer to a request for a result."""

_OWN = re.compile(r"([a-z])[0-9a-f]{32}-(\d{1,19})-(\d{1,19})", re.ASCII)
"""A command's own id: the form of its answer, a random number, and its mark in the topics."""


@dataclass(slots=True)
class _AsyncCommand(Generic[R]):
    """A command that was answered 202, and how its result is rendered."""

    result: "asyncio.Future[R]"
    render: Render[R]
    since: float = field(default_factory=lambda: asyncio.get_running_loop().time())


class AsyncCommands(Generic[C, R]):
    """The commands that were answered 202, by payment (or account) and the command's own id."""

    def __init__(
        self,
        service: Callable[[], Commands[C, R]],
        deadline_seconds: float,
        kept_seconds: float,
        forms: Mapping[str, Render[R]],
        subject: str,
    ) -> None:
        """``forms`` are the forms of answers, by the letter with which a command's id begins.

        ``service`` returns what sends the commands; ``subject`` is what they are for, ``payment``
        or ``account``.
        """
        self._service_of: Callable[[], Commands[C, R]] = service
        self._subject = subject
        self._deadline_seconds, self._kept_seconds = deadline_seconds, kept_seconds
        self.forms: Mapping[str, Render[R]] = forms
        self._kept: OrderedDict[tuple[bytes, str], _AsyncCommand[R]] = OrderedDict()
        self._searches = asyncio.Semaphore(MAX_SEARCHES)

    async def start(
        self,
        request: HttpRequest,
        payment: CheckedId,
        command: C,
        form: str,
        *,
        wait_seconds: float = 0,
    ) -> Response:
        """Send a command; answer 202 as soon as the broker has it and ``wait_seconds`` are over."""
        self._require_capacity()
        mark = await self._service_of().mark(payment, deadline_seconds=self._deadline_seconds)
        own = f"{form}{uuid.uuid4().hex}-{mark.commands}-{mark.results}"
        request.command = own
        waiting = await self._service_of().submit(
            payment,
            replace(command, id=own),
            deadline_seconds=self._deadline_seconds,
            result_seconds=self._kept_seconds,
            headers=request.record_headers(),
        )
        kept = self._keep(payment, own, waiting, self.forms[form])
        return await self._answer(request, payment, own, kept, wait_seconds)

    async def answer(
        self, request: HttpRequest, payment: CheckedId, own: str, wait_seconds: float
    ) -> Response:
        """Return the answer of a command, or 202 again after ``wait_seconds``."""
        kept = self._find(payment, own) or await self._resumed(request, payment, own)
        return await self._answer(request, payment, own, kept, wait_seconds)

    def _keep(
        self, payment: CheckedId, own: str, result: "asyncio.Future[R]", render: Render[R]
    ) -> _AsyncCommand[R]:
        result.add_done_callback(_retrieve_error)
        kept = _AsyncCommand(result, render)
        self._kept.pop((payment.key, own), None)  # The order is by age, the oldest first.
        self._kept[payment.key, own] = kept
        return kept

    def _find(self, payment: CheckedId, own: str) -> _AsyncCommand[R] | None:
        kept = self._kept.get((payment.key, own))
        if kept is None or kept.since <= self._oldest_kept():
            return None
        return kept

    async def _resumed(
        self, request: HttpRequest, payment: CheckedId, own: str
    ) -> _AsyncCommand[R]:
        """Find in the topics a command that this process did not send, or keeps no more."""
        found = _OWN.fullmatch(own)
        if found is None or found[1] not in self.forms:
            raise self._not_found()
        try:
            async with asyncio.timeout(self._deadline_seconds):
                await self._searches.acquire()
        except TimeoutError:
            raise RefusedRequest(Problem.OVERLOADED, headers=RETRY_SOON) from None
        try:
            # Another request may have found it in the meantime.
            if (kept := self._find(payment, own)) is not None:
                return kept
            self._require_capacity()
            request.reads = True
            result = await self._service_of().resume(
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
            raise self._not_found()
        return self._keep(payment, own, result, self.forms[found[1]])

    async def _answer(
        self,
        request: HttpRequest,
        payment: CheckedId,
        own: str,
        kept: _AsyncCommand[R],
        wait_seconds: float,
    ) -> Response:
        if wait_seconds > 0 and not kept.result.done():
            await asyncio.wait([kept.result], timeout=min(wait_seconds, MAX_WAIT_SECONDS))
        if kept.result.done():
            return kept.render(request, kept.result.result())
        path = f"/v1/{self._subject}s/{path_segment(payment.text)}/commands/{own}"
        location = f"{request.prefix}{path}"
        body = {
            self._subject: payment.text,
            "command": own,
            "status": "pending",
            "location": location,
        }
        return json_answer(body, {"location": location, **APPLIED, **RETRY_SOON}, 202)

    def _not_found(self) -> RefusedRequest:
        detail = ACCOUNT_COMMAND_NOT_FOUND if self._subject == "account" else None
        return RefusedRequest(Problem.COMMAND_NOT_FOUND, detail)

    def _require_capacity(self) -> None:
        """Drop expired commands; raise ``RefusedRequest`` at the limit."""
        oldest_kept = self._oldest_kept()
        while self._kept:
            key, kept = next(iter(self._kept.items()))
            full = len(self._kept) >= MAX_COMMANDS
            if kept.since > oldest_kept and not (full and kept.result.done()):
                break
            del self._kept[key]
        if len(self._kept) >= MAX_COMMANDS:
            raise RefusedRequest(Problem.OVERLOADED, headers=RETRY_SOON)

    def _oldest_kept(self) -> float:
        return asyncio.get_running_loop().time() - self._kept_seconds


def _retrieve_error(result: "asyncio.Future[Any]") -> None:
    """Retrieve the exception, so that asyncio does not report it when no request asks for it."""
    if not result.cancelled():
        result.exception()
