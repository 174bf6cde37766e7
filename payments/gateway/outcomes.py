"""Answers for results: the status of each outcome, and the body."""

from starlette.responses import Response

from payments.domain.results import Outcome, Reason
from payments.gateway.exchange import Headers, json_answer
from payments.gateway.problems import Problem, problem_answer
from payments.records.record_models import Later, Result, members

REPLAYED: Headers = {"idempotent-replayed": "true"}
RETRY_SOON: Headers = {"retry-after": "1"}
DIFFERENT: dict[str, str] = {
    Reason.DIFFERENT_TYPE: "type",
    Reason.DIFFERENT_ACCOUNT: "account",
    Reason.DIFFERENT_AMOUNT: "amount",
    Reason.DIFFERENT_CURRENCY: "currency",
}
FIELDS = {**DIFFERENT, Reason.KEY_NOT_PRINTABLE: "payment", Reason.INVALID_ID: "id"}
"""The request's field for each reason of a rejection by a worker."""

CANT_GO_BACK = {Reason.INSUFFICIENT_FUNDS, Reason.UNKNOWN_ACCOUNT, Reason.WRONG_CURRENCY}
DEFECTS = {Reason.IMPOSSIBLE, Reason.INTERNAL_ERROR}


def problem_of(result: Result) -> Problem | None:
    """Return the problem that an outcome means for the client; None for a success."""
    outcome = result.outcome
    if isinstance(outcome, Later):
        return Problem.LATER_VERSION
    if outcome is Outcome.COMPLETED or outcome is Outcome.FOUND:
        return None
    if outcome is Outcome.CANCELLED:
        return None if result.type == "cancel" else Problem.CANCELLED
    if outcome is Outcome.DECLINED:
        return Problem.DECLINED
    return Problem.PAYMENT_NOT_FOUND if outcome is Outcome.NOT_FOUND else _rejection(result.reason)


def _rejection(reason: Reason | Later | None) -> Problem:
    if reason in DIFFERENT:
        return Problem.DIFFERENT_REQUEST
    if reason is Reason.TOO_MANY_WAITING:
        return Problem.OVERLOADED
    if reason in CANT_GO_BACK:
        return Problem.CANCEL_REFUSED
    return Problem.INTERNAL if reason in DEFECTS else Problem.INVALID


def answer_of(
    result: Result,
    *,
    headers: Headers | None = None,
    names: dict[str, str] | None = None,
    **extensions: object,
) -> Response:
    """Return the answer to the sender of the command.

    ``names`` maps the command's fields to those of the request where they differ; ``extensions``
    are added to the body, before the result's own members or to a problem's.
    """
    more = {**(headers or {}), **REPLAYED} if result.replayed else headers
    problem = problem_of(result)
    if problem is None:
        return json_answer({**extensions, **members(result)} | extensions, more)
    if problem is Problem.OVERLOADED:
        more = {**(more or {}), **RETRY_SOON}
    field = FIELDS.get(result.reason) if result.reason is not None else None
    if field is not None:
        extensions["field"] = (names or {}).get(field, field)
    return problem_answer(
        problem,
        result.message,
        headers=more,
        reason=result.reason,
        **extensions,
        result=members(result),
    )
