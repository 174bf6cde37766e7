"""Examples of requests and answers; a test sends the first and compares the second."""

from typing import Any

TIME = "2026-01-01T00:00:00.000Z"
MOVEMENT = {"account": "abc", "amount": 100}
RESTATE_PAYMENT = {"accountId": "abc", "amount": 100}


def result(**changes: Any) -> dict[str, Any]:
    """Return the result of a completed make, or one that differs from it."""
    return {
        "payment": "docs-1",
        "command": "4f0c6f2f6f5e4d0f9b3f-1",
        "type": "make",
        "outcome": "completed",
        "reason": None,
        "message": None,
        "replayed": False,
        "state": "completed",
        "account": "abc",
        "amount": 100,
        "currency": "EUR",
        "exponent": 2,
        "time": TIME,
    } | changes


def of_account(type_: str, **changes: Any) -> dict[str, Any]:
    """Return the result of a command that opened an account, or one that differs from it."""
    return {
        "account": "docs-account",
        "command": "4f0c6f2f6f5e4d0f9b3f-1",
        "type": type_,
        "outcome": "completed",
        "reason": None,
        "message": None,
        "replayed": False,
        "status": "open",
        "balance": 0,
        "held": 0,
        "credit_limit": 5000,
        "available": 5000,
        "currency": "EUR",
        "exponent": 2,
        "sequence": 1,
        "time": TIME,
    } | changes


RAISED = {"credit_limit": 10_000, "available": 10_000}
CANCELLED = {"type": "cancel", "outcome": "cancelled", "reason": "rolled_back"}
HELD = {"authorized": 100, "captured": 0, "refunded": 0, "held": 100}
OF_A_HOLD = {"payment": "docs-6", "hold_expires": "2026-01-08T00:00:00.000Z"}
REQUESTS: dict[str, Any] = {
    "Movement": MOVEMENT,
    "Authorization": {**MOVEMENT, "hold_seconds": 604_800, "metadata": {"order": "17"}},
    "Capture": {"capture": "capture-1", "amount": 60, "final": False},
    "Refund": {"amount": 20},
    "ExamplePayment": RESTATE_PAYMENT,
    "KeyedExamplePayment": {"key": "docs-5", "request": RESTATE_PAYMENT},
    "Key": {"key": "docs-5"},
    "OpenAccount": {"currency": "EUR", "credit_limit": 5000},
    "CreditLimit": {"credit_limit": 10_000},
    "Nothing": {},
}
ANSWERS: dict[str, Any] = {
    "make": result(),
    "makeByKey": result(payment="docs-4"),
    "deposit": result(type="deposit", payment="docs-2"),
    "authorize": result(
        **OF_A_HOLD,
        **HELD,
        type="authorize",
        outcome="authorized",
        state="authorized",
        message="payment docs-6 is authorized: 1.00 EUR are held until "
        "2026-01-08T00:00:00.000Z (account abc)",
        metadata={"order": "17"},
    ),
    "capture": result(
        **OF_A_HOLD,
        **(HELD | {"captured": 60, "held": 40}),
        type="capture",
        outcome="captured",
        state="authorized",
        message="capture capture-1 (0.60 EUR) of payment docs-6 is done: 0.60 EUR of its "
        "1.00 EUR are captured, 0.40 EUR are held until 2026-01-08T00:00:00.000Z (account abc)",
        part="capture-1",
        part_amount=60,
        metadata={"order": "17"},
    ),
    "void": result(
        **OF_A_HOLD,
        **(HELD | {"captured": 60, "held": 0}),
        type="void",
        outcome="voided",
        reason="voided",
        state="completed",
        message="the rest of payment docs-6 is released: 0.60 EUR of its 1.00 EUR are captured, "
        "nothing is held any more",
        metadata={"order": "17"},
    ),
    "refund": result(
        **OF_A_HOLD,
        **(HELD | {"captured": 60, "refunded": 20, "held": 0}),
        type="refund",
        outcome="refunded",
        state="completed",
        message="refund refund-1 (0.20 EUR) of payment docs-6 is done: 0.60 EUR of its 1.00 EUR "
        "are captured, 0.20 EUR are refunded, nothing is held any more (account abc)",
        part="refund-1",
        part_amount=20,
        metadata={"order": "17"},
    ),
    "cancel": result(
        **CANCELLED,
        state="cancelled",
        message="payment docs-1 is cancelled: its 1.00 EUR were moved back (account abc)",
    ),
    "getPayment": result(
        type="get", outcome="found", message="payment docs-1 (1.00 EUR, account abc) is completed"
    ),
    "getCommand": result(),
    "getAccount": {
        "account": "abc",
        "balance": 99_900,
        "currency": "EUR",
        "exponent": 2,
        "balance_decimal": "999.00",
        "sequence": 2,
        "held": 0,
        "credit_limit": 0,
        "available": 99_900,
        "status": "open",
        "held_decimal": "0.00",
        "available_decimal": "999.00",
        "credit_limit_decimal": "0.00",
    },
    "openAccount": of_account("open"),
    "freezeAccount": of_account("freeze", status="frozen", sequence=2),
    "unfreezeAccount": of_account("unfreeze", sequence=3),
    "setCreditLimit": of_account("limit", sequence=4, **RAISED),
    "closeAccount": of_account("close", status="closed", sequence=5, credit_limit=0, available=0),
    "getAccountCommand": of_account("open"),
    "getEntries": {
        "entries": [
            {
                "account": "abc",
                "sequence": 2,
                "payment": "docs-1",
                "kind": "make",
                "amount": -100,
                "balance": 99_900,
                "currency": "EUR",
                "exponent": 2,
                "counter_account": "sales/3",
                "time": TIME,
                "held_change": 0,
                "held": 0,
                "available": 99_900,
                "part": None,
                "metadata": None,
                "status": "open",
                "credit_limit": 0,
                "balance_decimal": "999.00",
            }
        ],
        "next": None,
    },
    "makePayment": {
        "success": True,
        **result(
            payment="docs-3",
            message="payment docs-3 is completed: 1.00 EUR taken from account abc",
        ),
    },
    "cancelPayment": {
        "success": True,
        **result(
            **CANCELLED,
            payment="docs-3",
            state="cancelled",
            message="payment docs-3 is cancelled: its 1.00 EUR were moved back (account abc)",
        ),
    },
    "live": {"status": "live"},
    "ready": {"status": "ready"},
    "getProblem": {
        "type": "/problems/declined",
        "title": "Declined",
        "status": 402,
        "advice": "No money was moved; the reason says why.",
    },
}
ANSWERS["makePaymentByKey"] = ANSWERS["makePayment"]
ANSWERS["cancelPaymentByKey"] = ANSWERS["cancelPayment"]
PENDING = {
    "payment": "docs-1",
    "command": "p0b9a4e1cfe5d4c0cb4a5f6f2cc8a1f0e-41-40",
    "status": "pending",
    "location": "/v1/payments/docs-1/commands/p0b9a4e1cfe5d4c0cb4a5f6f2cc8a1f0e-41-40",
}
ACCOUNT_COMMAND = "a0b9a4e1cfe5d4c0cb4a5f6f2cc8a1f0e-41-40"
PENDING_OF_ACCOUNT = {
    "account": "docs-account",
    "command": ACCOUNT_COMMAND,
    "status": "pending",
    "location": f"/v1/accounts/docs-account/commands/{ACCOUNT_COMMAND}",
}
EVENTS = 'event: state\ndata: {"payment":"docs-1","type":"get","outcome":"found", ...}\n\n'
