"""What is expected of every state with every message, written out by hand."""

from typing import Literal

from payments.domain.account import Settled, Transfer
from payments.domain.commands import Cancel, Command, Get, Make
from payments.domain.payment import (
    Decision,
    Message,
    Payment,
    Policy,
    Received,
    State,
    WindowCloses,
    decide,
)
from payments.domain.results import Reason, Request

EARLIER_MS, NOW_MS = 1_000, 2_000
MAKE = Make(account="abc", amount=100, currency="EUR")
REQUEST = Request("make", "abc", 100, "EUR")
FORWARD = Transfer("make", "abc", -100, "EUR", "sales")
BACK = Transfer("rollback", "abc", 100, "EUR", "sales")
RETRY, PIN = Policy("retry"), Policy("pin")
NO_FUNDS = Reason.INSUFFICIENT_FUNDS

ROWS: dict[str, Payment | None] = {
    "none": None,
    "pending": Payment(State.PENDING, EARLIER_MS, REQUEST, None, (("m1", "make", False),)),
    "cancelling": Payment(
        State.CANCELLING,
        EARLIER_MS,
        REQUEST,
        None,
        (("m1", "make", False), ("c1", "cancel", False), ("m2", "make", True)),
    ),
    "reversing": Payment(
        State.REVERSING,
        EARLIER_MS,
        REQUEST,
        None,
        (("m1", "make", True), ("c1", "cancel", False), ("c2", "cancel", True)),
    ),
    "completed": Payment(State.COMPLETED, EARLIER_MS, REQUEST),
    "declined": Payment(State.DECLINED, EARLIER_MS, REQUEST, NO_FUNDS),
    "prevented": Payment(State.CANCELLED, EARLIER_MS, REQUEST, Reason.PREVENTED),
    "rolled back": Payment(State.CANCELLED, EARLIER_MS, REQUEST, Reason.ROLLED_BACK),
    "cancelled first": Payment(State.CANCELLED, EARLIER_MS, None, Reason.PREVENTED),
}
MESSAGES: dict[str, Message] = {
    "make": Received(MAKE, "x"),
    "cancel": Received(Cancel(), "x"),
    "get": Received(Get(), "x"),
    "ok": Settled(ok=True),
    "declined": Settled(ok=False, reason=NO_FUNDS),
    "closes": WindowCloses(),
}

WAITING = {"pending", "cancelling", "reversing"}

# An expectation: the state after it ("" for none), the answers as "id outcome reason replayed", the
# transfer. "=" is the row untouched, "!" an impossible transition.
Expected = tuple[str, list[str], Transfer | None] | Literal["!"]
EXPECTED: dict[str, dict[str, Expected]] = {
    "none": {
        "make": ("pending", [], FORWARD),
        "cancel": ("cancelled", ["x cancelled prevented first"], None),
        "get": ("=", ["x not_found - first"], None),
        "ok": "!",
        "declined": "!",
        "closes": ("=", [], None),
    },
    "pending": {
        "make": ("pending", [], None),
        "cancel": ("cancelling", [], None),
        "get": ("=", ["x found - first"], None),
        "ok": ("completed", ["m1 completed - first"], None),
        "declined": ("declined", ["m1 declined insufficient_funds first"], None),
        "closes": ("=", [], None),
    },
    "cancelling": {
        "make": ("cancelling", [], None),
        "cancel": ("cancelling", [], None),
        "get": ("=", ["x found - first"], None),
        "ok": ("reversing", [], BACK),
        "declined": (
            "cancelled",
            [
                "m1 cancelled prevented first",
                "c1 cancelled prevented first",
                "m2 cancelled prevented again",
            ],
            None,
        ),
        "closes": ("=", [], None),
    },
    "reversing": {
        "make": ("reversing", [], None),
        "cancel": ("reversing", [], None),
        "get": ("=", ["x found - first"], None),
        "ok": (
            "cancelled",
            [
                "m1 cancelled rolled_back again",
                "c1 cancelled rolled_back first",
                "c2 cancelled rolled_back again",
            ],
            None,
        ),
        "declined": (
            "completed",
            [
                "m1 completed - again",
                "c1 rejected insufficient_funds first",
                "c2 rejected insufficient_funds again",
            ],
            None,
        ),
        "closes": ("=", [], None),
    },
    "completed": {
        "make": ("=", ["x completed - again"], None),
        "cancel": ("reversing", [], BACK),
        "get": ("=", ["x found - first"], None),
        "ok": "!",
        "declined": "!",
        "closes": ("", ["None expired - first"], None),
    },
    "declined": {
        "make": ("=", ["x declined insufficient_funds again"], None),
        "cancel": ("cancelled", ["x cancelled prevented first"], None),
        "get": ("=", ["x found insufficient_funds first"], None),
        "ok": "!",
        "declined": "!",
        "closes": ("", ["None expired - first"], None),
    },
    "prevented": {
        "make": ("=", ["x cancelled prevented again"], None),
        "cancel": ("=", ["x cancelled prevented again"], None),
        "get": ("=", ["x found prevented first"], None),
        "ok": "!",
        "declined": "!",
        "closes": ("", ["None expired - first"], None),
    },
    "rolled back": {
        "make": ("=", ["x cancelled rolled_back again"], None),
        "cancel": ("=", ["x cancelled rolled_back again"], None),
        "get": ("=", ["x found rolled_back first"], None),
        "ok": "!",
        "declined": "!",
        "closes": ("", ["None expired - first"], None),
    },
    "cancelled first": {
        "make": ("=", ["x cancelled prevented first"], None),
        "cancel": ("=", ["x cancelled prevented again"], None),
        "get": ("=", ["x found prevented first"], None),
        "ok": "!",
        "declined": "!",
        "closes": ("", ["None expired - first"], None),
    },
}
CELLS = [(row, message) for row in ROWS for message in MESSAGES]


def run(row: Payment | None, message: Message, policy: Policy = PIN) -> Decision:
    """Decide a message now."""
    return decide(row, message, time_ms=NOW_MS, policy=policy)


def send(row: Payment | None, command: Command, policy: Policy = PIN) -> Decision:
    """Decide a command with the id x."""
    return run(row, Received(command, "x"), policy)
