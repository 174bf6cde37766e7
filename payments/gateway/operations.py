"""The operations of the gateway: one table of what can be requested.

The routes (``routes``), the OpenAPI document (``openapi``) and the table of docs/http.md
(``tools.dev.readme``) are made from it.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from starlette.responses import Response

from payments.gateway.accounts_api import AccountsApi
from payments.gateway.events import EventsApi
from payments.gateway.exchange import HttpRequest
from payments.gateway.payments_api import PaymentsApi
from payments.gateway.problems import Problem
from payments.gateway.restate_examples import RestateExamplesApi
from payments.gateway.service_pages import ServicePages
from payments.gateway.tokens_file import ACCOUNTS as ACCOUNTS_SCOPE
from payments.gateway.tokens_file import DEPOSIT, PAY, READ, REFUND

Handler = Callable[[HttpRequest], Awaitable[Response]]


class Handlers(NamedTuple):
    """The objects whose methods handle the requests of one gateway."""

    payments: PaymentsApi
    accounts: AccountsApi
    events: EventsApi
    examples: RestateExamplesApi
    pages: ServicePages


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: what is requested, who handles it, and what the documents say about it."""

    method: str
    path: str
    id: str
    """Its ``operationId`` in the OpenAPI document."""

    handler: Callable[[Handlers], Handler]
    tag: str
    summary: str
    answer: str
    """The schema of its body, or a media type for which there is no schema."""

    scopes: tuple[str, ...] = ()
    """One of them is needed; without any, no token is needed."""

    problems: tuple[Problem, ...] = ()
    """In addition to those of every operation."""

    body: str | None = None
    """The schema of the request's body; None without a body."""

    parameters: tuple[str, ...] = ()
    """Parameters in the query or in headers; those of the path are in ``path``."""

    replays: bool = False
    """Whether its answer may have ``Idempotent-Replayed``, and its request ``Prefer``."""

    described: bool = True
    """Whether the OpenAPI document includes it."""

    def all_problems(self) -> set[Problem]:
        """Return every problem with which it may be answered."""
        return {*ALWAYS, *TIMED[self.method], *self.problems}


ALWAYS = (
    Problem.UNAUTHORIZED,
    Problem.FORBIDDEN,
    Problem.CROSS_ORIGIN,
    Problem.WRONG_HOST,
    Problem.NOT_FOUND,
    Problem.TIMEOUT,
    Problem.INVALID,
    Problem.OVERLOADED,
    Problem.HEADERS_TOO_LARGE,
    Problem.BAD_HTTP,
    Problem.INTERNAL,
    Problem.LATER_VERSION,
    Problem.UNAVAILABLE,
    Problem.RIGHTS_MISSING,
    Problem.STOPPING,
)
TIMED = {
    "POST": (Problem.DEADLINE_EXCEEDED,),
    "GET": (Problem.READ_TIMED_OUT, Problem.ACCOUNTS_UNAVAILABLE, Problem.CATCHING_UP),
}
"""Further problems of requests that take time, by method."""

BODY = (Problem.NOT_JSON, Problem.TOO_LARGE, Problem.UNSUPPORTED_MEDIA_TYPE)
MOVES = (Problem.DECLINED, Problem.CANCELLED, Problem.DIFFERENT_REQUEST, *BODY)
CANCELS = (Problem.CANCEL_REFUSED, *BODY)
HOLDS = (*MOVES, Problem.HOLD_EXPIRED)
CAPTURES = (
    Problem.PAYMENT_NOT_FOUND,
    Problem.WRONG_STATE,
    Problem.HOLD_EXPIRED,
    Problem.DIFFERENT_REQUEST,
    Problem.MORE_THAN_LEFT,
    *BODY,
)
VOIDS = (Problem.WRONG_STATE, *BODY)
REFUNDS = (
    Problem.DECLINED,
    Problem.PAYMENT_NOT_FOUND,
    Problem.WRONG_STATE,
    Problem.DIFFERENT_REQUEST,
    Problem.MORE_THAN_LEFT,
    *BODY,
)
OPENS = (Problem.DIFFERENT_ACCOUNT, *BODY)
RULES = (Problem.ACCOUNT_NOT_FOUND, Problem.ACCOUNT_CLOSED, *BODY)
PAYMENTS, ACCOUNTS, EXAMPLES, SERVICE = "payments", "accounts", "Restate's examples", "service"

OPERATIONS = (
    Operation(
        "POST", "/v1/payments/{payment}", "make", lambda it: it.payments.make, PAYMENTS,
        "Make a payment: take money from an account, once for this id.", "Result",
        (PAY,), MOVES, body="Movement", replays=True,
    ),
    Operation(
        "POST", "/v1/payments", "makeByKey", lambda it: it.payments.make_by_key, PAYMENTS,
        "Make a payment whose id is in the header Idempotency-Key.", "Result",
        (PAY,), (*MOVES, Problem.BAD_IDEMPOTENCY_KEY), body="Movement",
        parameters=("Idempotency-Key",), replays=True,
    ),
    Operation(
        "POST", "/v1/deposits/{payment}", "deposit", lambda it: it.payments.deposit, PAYMENTS,
        "Make a deposit: put money on an account, once for this id.", "Result",
        (DEPOSIT,), MOVES, body="Movement", replays=True,
    ),
    Operation(
        "POST", "/v1/payments/{payment}/authorize", "authorize",
        lambda it: it.payments.authorize, PAYMENTS,
        "Authorize a payment: hold money on an account, to be captured later, once for this id.",
        "Result", (PAY,), HOLDS, body="Authorization", replays=True,
    ),
    Operation(
        "POST", "/v1/payments/{payment}/capture", "capture", lambda it: it.payments.capture,
        PAYMENTS,
        "Capture what an authorized payment holds: take it from the account, whole or in part.",
        "Result", (PAY,), CAPTURES, body="Capture", replays=True,
    ),
    Operation(
        "POST", "/v1/payments/{payment}/void", "void", lambda it: it.payments.void, PAYMENTS,
        "Void a payment: release what it holds; what was captured stays.", "Result",
        (PAY,), VOIDS, body="Nothing", replays=True,
    ),
    Operation(
        "POST", "/v1/payments/{payment}/refunds/{refund}", "refund",
        lambda it: it.payments.refund, PAYMENTS,
        "Refund money that a payment took, whole or in part, once for this id of a refund.",
        "Result", (REFUND,), REFUNDS, body="Refund", replays=True,
    ),
    Operation(
        "POST", "/v1/payments/{payment}/cancel", "cancel", lambda it: it.payments.cancel, PAYMENTS,
        "Cancel a payment or a deposit: prevent it, or undo it.", "Result",
        (PAY,), CANCELS, body="Nothing", replays=True,
    ),
    Operation(
        "GET", "/v1/payments/{payment}", "getPayment", lambda it: it.payments.get, PAYMENTS,
        "Get a payment or a deposit; the read is linearizable.", "Result",
        (READ,), (Problem.PAYMENT_NOT_FOUND,),
    ),
    Operation(
        "GET", "/v1/payments/{payment}/commands/{command}", "getCommand",
        lambda it: it.payments.command, PAYMENTS,
        "Get, or wait for, the result of a command that was answered 202.", "Result",
        (READ, PAY, DEPOSIT, REFUND),
        (Problem.COMMAND_NOT_FOUND, Problem.CANCEL_REFUSED, *HOLDS, *CAPTURES),
        parameters=("wait",), replays=True,
    ),
    Operation(
        "GET", "/v1/payments/{payment}/events", "getEvents", lambda it: it.events.stream, PAYMENTS,
        "Follow a payment as server-sent events: its state first, then each later result.",
        "text/event-stream", (READ,),
    ),
    Operation(
        "GET", "/v1/accounts/{account}", "getAccount", lambda it: it.accounts.balance, ACCOUNTS,
        "Get the balance, holds, status and credit limit of an account; the read is linearizable.",
        "Balance", (READ,), (Problem.ACCOUNT_NOT_FOUND,),
    ),
    Operation(
        "POST", "/v1/accounts/{account}/open", "openAccount", lambda it: it.accounts.open,
        ACCOUNTS, "Open an account with nothing on it, or open a closed one again.",
        "AccountResult", (ACCOUNTS_SCOPE,), OPENS, body="OpenAccount", replays=True,
    ),
    Operation(
        "POST", "/v1/accounts/{account}/freeze", "freezeAccount", lambda it: it.accounts.freeze,
        ACCOUNTS, "Freeze an account: nothing new is taken from it or held on it.",
        "AccountResult", (ACCOUNTS_SCOPE,), RULES, body="Nothing", replays=True,
    ),
    Operation(
        "POST", "/v1/accounts/{account}/unfreeze", "unfreezeAccount",
        lambda it: it.accounts.unfreeze, ACCOUNTS, "End the freeze of an account.",
        "AccountResult", (ACCOUNTS_SCOPE,), RULES, body="Nothing", replays=True,
    ),
    Operation(
        "POST", "/v1/accounts/{account}/limit", "setCreditLimit", lambda it: it.accounts.limit,
        ACCOUNTS, "Set how far below zero an account may go.",
        "AccountResult", (ACCOUNTS_SCOPE,), RULES, body="CreditLimit", replays=True,
    ),
    Operation(
        "POST", "/v1/accounts/{account}/close", "closeAccount", lambda it: it.accounts.close,
        ACCOUNTS, "Close an account that has nothing and holds nothing.",
        "AccountResult", (ACCOUNTS_SCOPE,), (*RULES, Problem.NOT_ZERO), body="Nothing",
        replays=True,
    ),
    Operation(
        "GET", "/v1/accounts/{account}/commands/{command}", "getAccountCommand",
        lambda it: it.accounts.command, ACCOUNTS,
        "Get, or wait for, the result of a command for an account that was answered 202.",
        "AccountResult", (READ, ACCOUNTS_SCOPE),
        (Problem.COMMAND_NOT_FOUND, Problem.NOT_ZERO, *OPENS, *RULES),
        parameters=("wait",), replays=True,
    ),
    Operation(
        "GET", "/v1/accounts/{account}/entries", "getEntries", lambda it: it.accounts.entries,
        ACCOUNTS, "Read the ledger of an account, in pages.", "Entries",
        (READ,), (Problem.ACCOUNT_NOT_FOUND,), parameters=("after", "limit"),
    ),
    Operation(
        "POST", "/payments/makePayment", "makePaymentByKey", lambda it: it.examples.make_by_body,
        EXAMPLES, "Make a payment, as in Restate's Stripe-style payment API.", "ExampleAnswer",
        (PAY,), MOVES, body="KeyedExamplePayment", replays=True,
    ),
    Operation(
        "POST", "/payments/cancelPayment", "cancelPaymentByKey",
        lambda it: it.examples.cancel_by_body, EXAMPLES,
        "Cancel a payment, as in Restate's Stripe-style payment API.", "ExampleAnswer",
        (PAY,), CANCELS, body="Key", replays=True,
    ),
    Operation(
        "POST", "/payments/{payment}/makePayment", "makePayment", lambda it: it.examples.make,
        EXAMPLES, "Make a payment, as in Restate's payment state machine.", "ExampleAnswer",
        (PAY,), MOVES, body="ExamplePayment", replays=True,
    ),
    Operation(
        "POST", "/payments/{payment}/cancelPayment", "cancelPayment",
        lambda it: it.examples.cancel, EXAMPLES,
        "Cancel a payment, as in Restate's payment state machine.", "ExampleAnswer",
        (PAY,), CANCELS, body="Nothing", replays=True,
    ),
    Operation(
        "GET", "/health/live", "live", lambda it: it.pages.live, SERVICE,
        "Report whether the gateway runs.", "Status",
    ),
    Operation(
        "GET", "/health/ready", "ready", lambda it: it.pages.ready, SERVICE,
        "Report whether commands can be sent: 503 while Kafka is absent or stands still, while "
        "this gateway lacks a right, or while it stops.",
        "Status", problems=(Problem.STANDSTILL, Problem.OPEN_TRANSACTION),
    ),
    Operation(
        "GET", "/openapi.json", "getOpenapi", lambda it: it.pages.openapi, SERVICE,
        "The OpenAPI document.", "application/json",
    ),
    Operation(
        "GET", "/docs", "getDocs", lambda it: it.pages.docs, SERVICE,
        "The OpenAPI document as a page.", "text/html; charset=utf-8",
    ),
    Operation(
        "GET", "/docs/{file}", "getDocsFile", lambda it: it.pages.docs_file, SERVICE,
        "The files of that page.", "text/javascript; charset=utf-8", described=False,
    ),
    Operation(
        "GET", "/problems/{problem}", "getProblem", lambda it: it.pages.problem, SERVICE,
        "Get the meaning of a type of problem.", "ProblemType",
    ),
    Operation(
        "GET", "/", "getIndex", lambda it: it.pages.index, SERVICE,
        "Links to the pages; browsers are redirected to `/docs`.", "application/json",
        described=False,
    ),
)  # fmt: skip
