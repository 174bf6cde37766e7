"""The operations as the document describes them; a test compares them with the routes."""

from dataclasses import dataclass

from payments.gateway.problems import Problem

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


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: ``body`` and ``answer`` are names of schemas, or of no schema at all."""

    method: str
    path: str
    id: str
    tag: str
    summary: str
    answer: str
    problems: tuple[Problem, ...] = ()
    body: str | None = None
    parameters: tuple[str, ...] = ()
    replays: bool = False
    """Whether its answer may have ``Idempotent-Replayed``, and its request ``Prefer``."""


PAYMENTS, ACCOUNTS, EXAMPLES, SERVICE = "payments", "accounts", "Restate's examples", "service"
OPERATIONS = (
    Operation(
        "POST", "/v1/payments/{payment}", "make", PAYMENTS,
        "Make a payment: take money from an account, once for this id.",
        "Result", MOVES, body="Movement", replays=True,
    ),
    Operation(
        "POST", "/v1/payments", "makeByKey", PAYMENTS,
        "Make a payment whose id is in the header Idempotency-Key.",
        "Result", (*MOVES, Problem.BAD_IDEMPOTENCY_KEY), body="Movement",
        parameters=("Idempotency-Key",), replays=True,
    ),
    Operation(
        "POST", "/v1/deposits/{payment}", "deposit", PAYMENTS,
        "Make a deposit: put money on an account, once for this id.",
        "Result", MOVES, body="Movement", replays=True,
    ),
    Operation(
        "POST", "/v1/payments/{payment}/cancel", "cancel", PAYMENTS,
        "Cancel a payment or a deposit: prevent it, or undo it.",
        "Result", CANCELS, body="Nothing", replays=True,
    ),
    Operation(
        "GET", "/v1/payments/{payment}", "getPayment", PAYMENTS,
        "Get a payment or a deposit; the read is linearizable.",
        "Result", (Problem.PAYMENT_NOT_FOUND,),
    ),
    Operation(
        "GET", "/v1/payments/{payment}/commands/{command}", "getCommand", PAYMENTS,
        "Get, or wait for, the result of a command that was answered 202.",
        "Result", (Problem.COMMAND_NOT_FOUND, *MOVES, Problem.CANCEL_REFUSED),
        parameters=("wait",), replays=True,
    ),
    Operation(
        "GET", "/v1/payments/{payment}/events", "getEvents", PAYMENTS,
        "Follow a payment as server-sent events: its state first, then each later result.",
        "text/event-stream",
    ),
    Operation(
        "GET", "/v1/accounts/{account}", "getAccount", ACCOUNTS,
        "Get the balance of an account; the read is linearizable.",
        "Balance", (Problem.ACCOUNT_NOT_FOUND,),
    ),
    Operation(
        "GET", "/v1/accounts/{account}/entries", "getEntries", ACCOUNTS,
        "Read the ledger of an account, in pages.",
        "Entries", (Problem.ACCOUNT_NOT_FOUND,), parameters=("after", "limit"),
    ),
    Operation(
        "POST", "/payments/makePayment", "makePaymentByKey", EXAMPLES,
        "Make a payment, as in Restate's Stripe-style payment API.",
        "ExampleAnswer", MOVES, body="KeyedExamplePayment", replays=True,
    ),
    Operation(
        "POST", "/payments/cancelPayment", "cancelPaymentByKey", EXAMPLES,
        "Cancel a payment, as in Restate's Stripe-style payment API.",
        "ExampleAnswer", CANCELS, body="Key", replays=True,
    ),
    Operation(
        "POST", "/payments/{payment}/makePayment", "makePayment", EXAMPLES,
        "Make a payment, as in Restate's payment state machine.",
        "ExampleAnswer", MOVES, body="ExamplePayment", replays=True,
    ),
    Operation(
        "POST", "/payments/{payment}/cancelPayment", "cancelPayment", EXAMPLES,
        "Cancel a payment, as in Restate's payment state machine.",
        "ExampleAnswer", CANCELS, body="Nothing", replays=True,
    ),
    Operation(
        "GET", "/health/live", "live", SERVICE, "Report whether the gateway runs.", "Status"
    ),
    Operation(
        "GET", "/health/ready", "ready", SERVICE,
        "Report whether commands can be sent: 503 while Kafka is absent or stands still, while "
        "this gateway lacks a right, or while it stops.",
        "Status", (Problem.STANDSTILL, Problem.OPEN_TRANSACTION),
    ),
    Operation(
        "GET", "/openapi.json", "getOpenapi", SERVICE, "This document.", "application/json"
    ),
    Operation(
        "GET", "/docs", "getDocs", SERVICE, "This document as a page.", "text/html; charset=utf-8"
    ),
    Operation(
        "GET", "/problems/{problem}", "getProblem", SERVICE,
        "Get the meaning of a type of problem.", "ProblemType",
    ),
)  # fmt: skip
