"""The resources of payments: a command or a read each, and asynchronous commands."""

from dataclasses import dataclass
from urllib.parse import unquote

from starlette.responses import Response

from payments.client.commands import CheckedId
from payments.domain.commands import (
    Authorize,
    Cancel,
    Capture,
    Command,
    Deposit,
    Get,
    Make,
    Opening,
    Refund,
    Void,
)
from payments.gateway.async_commands import AsyncCommands, Render
from payments.gateway.exchange import HttpRequest, path_segment
from payments.gateway.outcomes import answer_of
from payments.gateway.parsing import (
    body_of,
    command_with,
    decoded_text,
    movement,
    no_members,
    optional_members,
    payment_id,
    query_of,
    wait_seconds,
)
from payments.gateway.preferences import idempotency_key, seconds_until_async
from payments.gateway.service import Service
from payments.records.record_models import Result

PLAIN, BY_KEY = "p", "k"
"""Forms of answers: a result alone; a result with the location of its payment."""

OF_CAPTURE = {name: name for name in ("capture", "amount", "final")}
OF_REFUND = {"amount": "amount"}
"""The fields of bodies; the id of a refund is in the path."""


@dataclass(slots=True)
class PaymentsApi:
    """Handlers under ``/v1/payments`` and ``/v1/deposits``."""

    service: Service
    later: AsyncCommands[Command, Result]
    deadline_seconds: float

    async def make(self, request: HttpRequest) -> Response:
        """Make the payment of the path."""
        return await self._move(request, payment_id(request.path_params["payment"]), Make)

    async def deposit(self, request: HttpRequest) -> Response:
        """Make the deposit of the path."""
        return await self._move(request, payment_id(request.path_params["payment"]), Deposit)

    async def make_by_key(self, request: HttpRequest) -> Response:
        """Make the payment that the header ``Idempotency-Key`` names."""
        return await self._move(request, idempotency_key(request), Make, BY_KEY)

    async def authorize(self, request: HttpRequest) -> Response:
        """Hold money for the payment of the path."""
        return await self._move(request, payment_id(request.path_params["payment"]), Authorize)

    async def capture(self, request: HttpRequest) -> Response:
        """Take money that a payment holds; without a body all of it."""
        payment = payment_id(request.path_params["payment"])
        command = command_with(await optional_members(request), Capture, OF_CAPTURE)
        return await self.carry_out(request, payment, command, PLAIN)

    async def void(self, request: HttpRequest) -> Response:
        """Release what a payment holds."""
        payment = payment_id(request.path_params["payment"])
        await no_members(request)
        return await self.carry_out(request, payment, Void(), PLAIN)

    async def refund(self, request: HttpRequest) -> Response:
        """Give back money that a payment took; without a body all of it."""
        payment = payment_id(request.path_params["payment"])
        given = {"refund": decoded_text(request.path_params["refund"], "refund")}
        members = await optional_members(request)
        command = command_with(members, Refund, OF_REFUND, given=given)
        return await self.carry_out(request, payment, command, PLAIN)

    async def cancel(self, request: HttpRequest) -> Response:
        """Cancel a payment or a deposit."""
        payment = payment_id(request.path_params["payment"])
        await no_members(request)
        return await self.carry_out(request, payment, Cancel(), PLAIN)

    async def get(self, request: HttpRequest) -> Response:
        """Return a payment's state."""
        payment = payment_id(request.path_params["payment"])
        return await self._send(request, payment, Get(), plain_answer)

    async def command(self, request: HttpRequest) -> Response:
        """Return the result of a command that was answered 202."""
        segment, own = request.path_params["payment"], request.path_params["command"]
        request.reads = False  # A problem concerns the command, not this request.
        wait = wait_seconds(query_of(request, "wait").get("wait", "0"))
        payment, command = payment_id(segment), unquote(own)
        request.payment, request.command = payment.text, command
        return await self.later.answer(request, payment, command, wait)

    async def _move(
        self,
        request: HttpRequest,
        payment: CheckedId,
        type_: type[Opening],
        form: str = PLAIN,
    ) -> Response:
        command = movement(await body_of(request), type_)
        return await self.carry_out(request, payment, command, form)

    async def carry_out(
        self, request: HttpRequest, payment: CheckedId, command: Command, form: str
    ) -> Response:
        """Send a command; answer with its result or, if ``Prefer`` asks for it, before."""
        wait = None
        if b"prefer" in request.fields:
            wait = seconds_until_async(request.listed("prefer"))
        if wait is not None:
            request.payment = payment.text
            return await self.later.start(request, payment, command, form, wait_seconds=wait)
        return await self._send(request, payment, command, self.later.forms[form])

    async def _send(
        self, request: HttpRequest, payment: CheckedId, command: Command, render: Render[Result]
    ) -> Response:
        request.payment = payment.text
        result = await self.service.send(
            payment,
            command,
            deadline_seconds=self.deadline_seconds,
            headers=request.record_headers(),
        )
        request.command = result.command
        return render(request, result)


def plain_answer(request: HttpRequest, result: Result) -> Response:
    """Return a result alone as the answer."""
    del request
    return answer_of(result)


def answer_with_location(request: HttpRequest, result: Result) -> Response:
    """Return a result with the location of its payment as the answer."""
    location = f"{request.prefix}/v1/payments/{path_segment(result.payment)}"
    return answer_of(result, headers={"location": location})
