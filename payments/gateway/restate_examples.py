"""The endpoints of Restate's two payment examples, with this gateway's checks and guarantees.

They are the Stripe-style payment API and the payment state machine of
https://github.com/restatedev/examples; paths and bodies are theirs. A success is answered as there,
``{"success": true, "message": ...}``, with the members of the result; a refusal with the problem,
and ``"success": false`` in it.
"""

from collections.abc import Sequence

from starlette.responses import Response

from payments.client.commands import CheckedId
from payments.domain.commands import Cancel, Make
from payments.gateway.exchange import HttpRequest
from payments.gateway.outcomes import answer_of, problem_of
from payments.gateway.parsing import (
    MORE_THAN_ONCE,
    checked_id,
    invalid,
    members_of,
    movement_of,
    no_members,
    payment_id,
)
from payments.gateway.payments_api import PaymentsApi
from payments.records.commands import Malformed, Members
from payments.records.record_models import Result
from payments.records.wording import sentence_of, without_holds

FIELDS = {"accountId": "account", "amount": "amount", "currency": "currency"}
EXAMPLE = "e"
"""The form of the answers."""

NAMES = {field: name for name, field in FIELDS.items()}


class RestateExamplesApi:
    """Handlers under ``/payments``."""

    def __init__(self, api: PaymentsApi) -> None:
        self._api = api

    async def make(self, request: HttpRequest) -> Response:
        """``POST /payments/ID/makePayment`` with ``{"accountId": ..., "amount": ...}``."""
        payment = payment_id(request.path_params["payment"])
        return await self._make(request, payment, await members_of(request))

    async def cancel(self, request: HttpRequest) -> Response:
        """``POST /payments/ID/cancelPayment`` without a body."""
        payment = payment_id(request.path_params["payment"])
        await no_members(request)
        return await self._api.carry_out(request, payment, Cancel(), EXAMPLE)

    async def make_by_body(self, request: HttpRequest) -> Response:
        """``POST /payments/makePayment`` with ``{"key": ..., "request": {...}}``."""
        fields = _only(await members_of(request), ("key", "request"))
        payment, inner = _key(fields), fields.get("request")
        if not isinstance(inner, tuple):
            raise invalid("request", "must be an object with accountId and amount")
        return await self._make(request, payment, inner)

    async def cancel_by_body(self, request: HttpRequest) -> Response:
        """``POST /payments/cancelPayment`` with ``{"key": ...}``."""
        payment = _key(_only(await members_of(request), ("key",)))
        return await self._api.carry_out(request, payment, Cancel(), EXAMPLE)

    async def _make(self, request: HttpRequest, payment: CheckedId, members: Members) -> Response:
        command = movement_of(members, Make, FIELDS)
        return await self._api.carry_out(request, payment, command, EXAMPLE)


def _only(members: Members, names: Sequence[str]) -> dict[str, object]:
    fields: dict[str, object] = {}
    for name, value in members:
        if name not in names:
            raise invalid(name, "is not a field of this request")
        if name in fields:
            raise invalid(name, MORE_THAN_ONCE)
        fields[name] = value
    return fields


def _key(fields: dict[str, object]) -> CheckedId:
    key = fields.get("key")
    if not isinstance(key, str):
        raise invalid("key", "must be given, as text: it is the payment's id")
    try:
        return checked_id(key.encode(errors="surrogatepass"))
    except Malformed as error:
        raise Malformed(error.reason, error.fault, "key") from None


def example_answer(request: HttpRequest, result: Result) -> Response:
    """Return the answer with ``success``, ``message`` and the members of the result."""
    del request
    result = without_holds(result)  # Holds came later than these answers, which stay as they were.
    success = problem_of(result) is None
    names = None if success else NAMES
    return answer_of(result, names=names, success=success, message=sentence_of(result))
