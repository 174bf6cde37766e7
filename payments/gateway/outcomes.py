"""Answers for results: the status of each outcome, and the body."""

from starlette.responses import Response

from payments.domain.results import Outcome, Reason
from payments.gateway.exchange import Headers, json_answer
from payments.gateway.problems import Problem, problem_answer
from payments.records.record_models import AccountResult, Later, Result, members

REPLAYED: Headers = {"idempotent-replayed": "true"}
RETRY_SOON: Headers = {"retry-after": "1"}
DIFFERENT: dict[str, str] = {
    Reason.DIFFERENT_TYPE: "type",
    Reason.DIFFERENT_ACCOUNT: "account",
    Reason.DIFFERENT_AMOUNT: "amount",
    Reason.DIFFERENT_CURRENCY: "currency",
    Reason.DIFFERENT_FINAL: "final",
}
FIELDS = {
    **DIFFERENT,
    Reason.OVER_CAPTURE: "amount",
    Reason.OVER_REFUND: "amount",
    Reason.KEY_NOT_PRINTABLE: "payment",
    Reason.INVALID_ID: "id",
}
"""The request's field for each reason of a rejection by a worker."""

CANT_GO_BACK = {Reason.INSUFFICIENT_FUNDS, Reason.UNKNOWN_ACCOUNT, Reason.WRONG_CURRENCY}
DEFECTS = {Reason.IMPOSSIBLE, Reason.INTERNAL_ERROR}
PROBLEMS: dict[str, Problem] = {
    **dict.fromkeys(DIFFERENT, Problem.DIFFERENT_REQUEST),
    **dict.fromkeys(CANT_GO_BACK, Problem.CANCEL_REFUSED),
    **dict.fromkeys(DEFECTS, Problem.INTERNAL),
    Reason.TOO_MANY_WAITING: Problem.OVERLOADED,
    Reason.UNKNOWN_PAYMENT: Problem.PAYMENT_NOT_FOUND,
    Reason.OVER_CAPTURE: Problem.MORE_THAN_LEFT,
    Reason.OVER_REFUND: Problem.MORE_THAN_LEFT,
    Reason.HOLD_EXPIRED: Problem.HOLD_EXPIRED,
    Reason.NOTHING_HELD: Problem.WRONG_STATE,
    Reason.NOTHING_CAPTURED: Problem.WRONG_STATE,
    Reason.NOT_AUTHORIZED: Problem.WRONG_STATE,
    Reason.CANCELLED: Problem.WRONG_STATE,
    Reason.DECLINED: Problem.WRONG_STATE,
    Reason.TOO_MANY_PARTS: Problem.WRONG_STATE,
}
"""The problem of a rejection by a worker; of other reasons ``INVALID``."""

SUCCESSES = frozenset(
    (
        Outcome.COMPLETED,
        Outcome.FOUND,
        Outcome.AUTHORIZED,
        Outcome.CAPTURED,
        Outcome.VOIDED,
        Outcome.REFUNDED,
    )
)
UNDOES, UNDONE = {"cancel", "void"}, {Outcome.CANCELLED, Outcome.LAPSED}
"""These commands have what they ask for when a payment was cancelled, or holds nothing any more."""

OUTCOMES: dict[Outcome, Problem] = {
    Outcome.CANCELLED: Problem.CANCELLED,
    Outcome.LAPSED: Problem.HOLD_EXPIRED,
    Outcome.DECLINED: Problem.DECLINED,
    Outcome.NOT_FOUND: Problem.PAYMENT_NOT_FOUND,
}
"""The problem of an outcome; of others the reason says it."""


ACCOUNT_PROBLEMS: dict[str, Problem] = {
    **dict.fromkeys(DEFECTS, Problem.INTERNAL),
    Reason.UNKNOWN_ACCOUNT: Problem.ACCOUNT_NOT_FOUND,
    Reason.ACCOUNT_CLOSED: Problem.ACCOUNT_CLOSED,
    Reason.NOT_ZERO: Problem.NOT_ZERO,
    Reason.DIFFERENT_LIMIT: Problem.DIFFERENT_ACCOUNT,
    Reason.WRONG_CURRENCY: Problem.DIFFERENT_ACCOUNT,
}
"""The problem of a rejected command for an account; of other reasons ``INVALID``."""

ACCOUNT_FIELDS: dict[str, str] = {
    Reason.DIFFERENT_LIMIT: "credit_limit",
    Reason.WRONG_CURRENCY: "currency",
    Reason.INVALID_ACCOUNT: "account",
}


def answer_of_account(result: AccountResult) -> Response:
    """Return the answer to the sender of a command for an account."""
    more = REPLAYED if result.replayed else None
    outcome, reason = result.outcome, result.reason
    if outcome is Outcome.COMPLETED:
        return json_answer(members(result), more)
    extensions: dict[str, object] = {"reason": reason}
    problem = Problem.LATER_VERSION
    if outcome is Outcome.REJECTED:
        problem = ACCOUNT_PROBLEMS.get(reason or "", Problem.INVALID)
        if (field := ACCOUNT_FIELDS.get(reason or "")) is not None:
            extensions["field"] = field
    return problem_answer(
        problem, result.message, headers=more, **extensions, result=members(result)
    )


def problem_of(result: Result) -> Problem | None:
    """Return the problem that an outcome means for the client; None for a success."""
    outcome = result.outcome
    if isinstance(outcome, Later):
        return Problem.LATER_VERSION
    if outcome is Outcome.COMPLETED or outcome in SUCCESSES:
        return None
    if result.type in UNDOES and outcome in UNDONE:
        return None
    return OUTCOMES.get(outcome) or PROBLEMS.get(result.reason or "", Problem.INVALID)


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
    if (field := _field(result)) is not None:
        extensions["field"] = (names or {}).get(field, field)
    if problem is Problem.MORE_THAN_LEFT:
        extensions["left"] = _left(result)
    return problem_answer(
        problem,
        result.message,
        headers=more,
        reason=result.reason,
        **extensions,
        result=members(result),
    )


def _field(result: Result) -> str | None:
    """Return the request's field that a rejection is about."""
    reason = result.reason
    if reason is Reason.DIFFERENT_TYPE and result.part is not None:
        return result.type  # The field with the id of a capture or refund is named like its type.
    return None if reason is None else FIELDS.get(reason)


def _left(result: Result) -> int:
    """Return what a payment has left to capture or refund, in minor units."""
    if result.reason is Reason.OVER_CAPTURE:
        return result.held or 0
    # A make without refunds has no amounts of its own: all of it was captured.
    captured = result.amount if result.captured is None else result.captured
    return (captured or 0) - (result.refunded or 0)
