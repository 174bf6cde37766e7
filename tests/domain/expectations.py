"""What is expected of every state with every message, written out by hand."""

from typing import Literal

from payments.domain.account import Counter, Kind, Settled, Transfer
from payments.domain.commands import Authorize, Cancel, Capture, Command, Get, Make, Refund, Void
from payments.domain.payment import (
    Decision,
    HoldEnds,
    Message,
    Part,
    Payment,
    Policy,
    Received,
    Waiter,
    WindowCloses,
    decide,
)
from payments.domain.payment_table import State
from payments.domain.results import Reason, Request

EARLIER_MS, NOW_MS, EXPIRES_MS = 1_000, 2_000, 5_000
MAKE = Make(account="abc", amount=100, currency="EUR")
AUTHORIZE = Authorize(account="abc", amount=100, currency="EUR")
REQUEST = Request("make", "abc", 100, "EUR")
HELD_REQUEST = Request("authorize", "abc", 100, "EUR")
RETRY, PIN = Policy("retry"), Policy("pin")
NO_FUNDS = Reason.INSUFFICIENT_FUNDS
PART_CAPTURED = Part("p1", 40, "capture", final=False)
PART_REFUNDED = Part("r1", 10, "refund")


def moves(
    kind: Kind, amount: int, held: int = 0, part: str | None = None, counter: Counter = "sales"
) -> Transfer:
    """Return a transfer to the account of all rows."""
    return Transfer(kind, "abc", amount, "EUR", counter, held=held, part=part)


FORWARD, BACK = moves("make", -100), moves("rollback", 100)


def holder(
    state: State,
    *waiters: Waiter,
    held: int = 0,
    captured: int = 0,
    refunded: int = 0,
    reason: Reason | None = None,
    parts: tuple[Part, ...] = (),
    expires_ms: int = EXPIRES_MS,
) -> Payment:
    """Return the row of an authorize."""
    return Payment(
        state,
        EARLIER_MS,
        HELD_REQUEST,
        reason,
        waiters,
        expires_ms,
        held,
        captured,
        refunded,
        parts,
    )


AUTHORIZES, AGAIN = ("a1", "authorize", False), ("a2", "authorize", True)
CAPTURES, REFUNDS = ("c1", "capture", False), ("f1", "refund", False)
CANCELS, VOIDS = ("c1", "cancel", False), ("v1", "void", False)

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
    "deposited": Payment(State.COMPLETED, EARLIER_MS, Request("deposit", "abc", 100, "EUR")),
    "declined": Payment(State.DECLINED, EARLIER_MS, REQUEST, NO_FUNDS),
    "prevented": Payment(State.CANCELLED, EARLIER_MS, REQUEST, Reason.PREVENTED),
    "rolled back": Payment(State.CANCELLED, EARLIER_MS, REQUEST, Reason.ROLLED_BACK),
    "cancelled first": Payment(State.CANCELLED, EARLIER_MS, None, Reason.PREVENTED),
    "refunding a make": Payment(
        State.REFUNDING, EARLIER_MS, REQUEST, None, (REFUNDS,), parts=(PART_REFUNDED,)
    ),
    "authorizing": holder(State.AUTHORIZING, AUTHORIZES),
    "cancelling a hold": holder(State.CANCELLING, AUTHORIZES, CANCELS),
    "authorized": holder(State.AUTHORIZED, held=100),
    "overdue": holder(State.AUTHORIZED, held=100, expires_ms=NOW_MS),
    "due in a millisecond": holder(State.AUTHORIZED, held=100, expires_ms=NOW_MS + 1),
    "captured in part": holder(State.AUTHORIZED, held=60, captured=40, parts=(PART_CAPTURED,)),
    "little left": holder(
        State.AUTHORIZED, held=49, captured=51, refunded=42, parts=(Part("p1", 51, final=False),)
    ),
    "capturing": holder(
        State.CAPTURING,
        CAPTURES,
        held=60,
        captured=40,
        parts=(PART_CAPTURED, Part("p2", 10, final=False)),
    ),
    "capturing the last": holder(
        State.CAPTURING, CAPTURES, held=60, captured=40, parts=(PART_CAPTURED, Part("p2", 10))
    ),
    "voiding": holder(State.RELEASING, VOIDS, AGAIN, held=100, reason=Reason.VOIDED),
    "voiding the rest": holder(
        State.RELEASING, VOIDS, AGAIN, held=60, captured=40, reason=Reason.VOIDED
    ),
    "lapsing": holder(State.RELEASING, AGAIN, held=100, reason=Reason.HOLD_EXPIRED),
    "rest lapsing": holder(
        State.RELEASING, AGAIN, held=60, captured=40, reason=Reason.HOLD_EXPIRED
    ),
    "refunding": holder(
        State.REFUNDING, REFUNDS, held=60, captured=40, parts=(PART_CAPTURED, PART_REFUNDED)
    ),
    "refunding the captured": holder(
        State.REFUNDING, REFUNDS, captured=40, parts=(PART_CAPTURED, PART_REFUNDED)
    ),
    "reversing with a hold": holder(State.REVERSING, CANCELS, AGAIN, held=60, captured=40),
    "reversing the captured": holder(State.REVERSING, CANCELS, AGAIN, captured=40),
    "captured": holder(State.COMPLETED, captured=100, parts=(Part("p1", 100),)),
    "all refunded": holder(State.COMPLETED, captured=40, refunded=40, parts=(PART_CAPTURED,)),
    "hold declined": holder(State.DECLINED, reason=NO_FUNDS),
    "voided": holder(State.CANCELLED, reason=Reason.VOIDED),
    "lapsed": holder(State.LAPSED, reason=Reason.HOLD_EXPIRED),
}
MESSAGES: dict[str, Message] = {
    "make": Received(MAKE, "x"),
    "authorize": Received(AUTHORIZE, "x"),
    "capture": Received(Capture("x1", 50), "x"),
    "void": Received(Void(), "x"),
    "cancel": Received(Cancel(), "x"),
    "refund": Received(Refund("y1", 10), "x"),
    "get": Received(Get(), "x"),
    "ok": Settled(ok=True),
    "declined": Settled(ok=False, reason=NO_FUNDS),
    "hold ends": HoldEnds(),
    "closes": WindowCloses(),
}

WAITING = {"pending", "cancelling", "reversing"}
"""The rows of a make whose transfer is in flight."""

# An expectation: the state after it ("" for none), the answers as "id outcome reason replayed", the
# transfer. "=" is the row untouched, "!" an impossible transition; a command that joins is the last
# waiter of a row that is otherwise the same, one that queues is last in its queue.
Expected = tuple[str, list[str], Transfer | None] | Literal["!", "joins", "queues"]


def told(text: str) -> Expected:
    """Return the expectation of a command that is answered and changes nothing."""
    return "=", [f"x {text}"], None


def to(state: str, *answers: str, transfer: Transfer | None = None) -> Expected:
    """Return the expectation of a change."""
    return state, list(answers), transfer


NOTHING: Expected = ("=", [], None)
EXPIRED = to("", "None expired - first")
OTHER = told("rejected different_type first")
AUTHORIZED = told("authorized - again")
FOUND = told("found - first")
PREVENTED = to("cancelled", "x cancelled prevented first")
NO_PAYMENT = told("rejected unknown_payment first")
NO_HOLD = told("rejected not_authorized first")
NONE_HELD = told("rejected nothing_held first")
NONE_TAKEN = told("rejected nothing_captured first")
CANCELLED = told("rejected cancelled first")
CANCELLING = to("cancelling")
REFUNDING = to("refunding", transfer=moves("refund", 10, part="y1"))
JOINS: Expected = "joins"
QUEUES: Expected = "queues"


def releases(held: int) -> Expected:
    """Return the expectation of a message that ends the hold."""
    return to("releasing", transfer=moves("release", 0, -held))


def captures(released: int) -> Expected:
    """Return the expectation of the capture of 50, which is final."""
    return to("capturing", transfer=moves("capture", -50, -released, "x1"))


# In the order of MESSAGES: make, authorize, capture, void, cancel, refund; get; settled ok, settled
# declined; hold ends, window closes.
# fmt: off
_EXPECTED: dict[str, list[Expected]] = {
    "none": [
        to("pending", transfer=FORWARD), to("authorizing", transfer=moves("hold", 0, 100)),
        NO_PAYMENT, PREVENTED, PREVENTED, NO_PAYMENT,
        told("not_found - first"), "!", "!", NOTHING, NOTHING],
    "pending": [
        JOINS, OTHER, QUEUES, QUEUES, CANCELLING, QUEUES, FOUND,
        to("completed", "m1 completed - first"),
        to("declined", "m1 declined insufficient_funds first"), NOTHING, NOTHING],
    "cancelling": [
        JOINS, OTHER, QUEUES, QUEUES, JOINS, QUEUES, FOUND, to("reversing", transfer=BACK),
        to("cancelled", "m1 cancelled prevented first", "c1 cancelled prevented first",
           "m2 cancelled prevented again"), NOTHING, NOTHING],
    "reversing": [
        JOINS, OTHER, QUEUES, QUEUES, JOINS, QUEUES, FOUND,
        to("cancelled", "m1 cancelled rolled_back again", "c1 cancelled rolled_back first",
           "c2 cancelled rolled_back again"),
        to("completed", "m1 completed - again", "c1 rejected insufficient_funds first",
           "c2 rejected insufficient_funds again"), NOTHING, NOTHING],
    "completed": [
        told("completed - again"), OTHER, NO_HOLD, NO_HOLD, to("reversing", transfer=BACK),
        REFUNDING, FOUND, "!", "!", NOTHING, EXPIRED],
    "deposited": [
        OTHER, OTHER, NO_HOLD, NO_HOLD,
        to("reversing", transfer=moves("rollback", -100, counter="world")),
        NONE_TAKEN, FOUND, "!", "!", NOTHING, EXPIRED],
    "declined": [
        told("declined insufficient_funds again"), OTHER, told("rejected declined first"),
        PREVENTED, PREVENTED, NONE_TAKEN, told("found insufficient_funds first"),
        "!", "!", NOTHING, EXPIRED],
    "prevented": [
        told("cancelled prevented again"), OTHER, CANCELLED, told("cancelled prevented again"),
        told("cancelled prevented again"), CANCELLED, told("found prevented first"),
        "!", "!", NOTHING, EXPIRED],
    "rolled back": [
        told("cancelled rolled_back again"), OTHER, CANCELLED, told("cancelled rolled_back again"),
        told("cancelled rolled_back again"), CANCELLED, told("found rolled_back first"),
        "!", "!", NOTHING, EXPIRED],
    "cancelled first": [
        told("cancelled prevented first"), told("cancelled prevented first"), CANCELLED,
        told("cancelled prevented again"), told("cancelled prevented again"), CANCELLED,
        told("found prevented first"), "!", "!", NOTHING, EXPIRED],
    "refunding a make": [
        told("completed - again"), OTHER, QUEUES, QUEUES, QUEUES, QUEUES, FOUND,
        to("completed", "f1 refunded - first"),
        to("completed", "f1 declined insufficient_funds first"), NOTHING, NOTHING],
    "authorizing": [
        OTHER, JOINS, QUEUES, QUEUES, CANCELLING, QUEUES, FOUND,
        to("authorized", "a1 authorized - first"),
        to("declined", "a1 declined insufficient_funds first"), NOTHING, NOTHING],
    "cancelling a hold": [
        OTHER, JOINS, QUEUES, QUEUES, JOINS, QUEUES, FOUND, releases(100),
        to("cancelled", "a1 cancelled prevented first", "c1 cancelled prevented first"),
        NOTHING, NOTHING],
    "authorized": [
        OTHER, AUTHORIZED, captures(100), releases(100), releases(100), NONE_TAKEN, FOUND,
        "!", "!", releases(100), NOTHING],
    "overdue": [
        OTHER, AUTHORIZED, releases(100), releases(100), releases(100), NONE_TAKEN, FOUND,
        "!", "!", releases(100), NOTHING],
    "due in a millisecond": [
        OTHER, AUTHORIZED, captures(100), releases(100), releases(100), NONE_TAKEN, FOUND,
        "!", "!", releases(100), NOTHING],
    "captured in part": [
        OTHER, AUTHORIZED, captures(60), releases(60),
        to("reversing", transfer=moves("rollback", 40, -60)), REFUNDING, FOUND,
        "!", "!", releases(60), NOTHING],
    "little left": [
        OTHER, AUTHORIZED, told("rejected over_capture first"), releases(49),
        to("reversing", transfer=moves("rollback", 9, -49)), told("rejected over_refund first"),
        FOUND, "!", "!", releases(49), NOTHING],
    "capturing": [
        OTHER, AUTHORIZED, QUEUES, QUEUES, QUEUES, QUEUES, FOUND,
        to("authorized", "c1 captured - first"), "!", NOTHING, NOTHING],
    "capturing the last": [
        OTHER, AUTHORIZED, QUEUES, QUEUES, QUEUES, QUEUES, FOUND,
        to("completed", "c1 captured - first"), "!", NOTHING, NOTHING],
    "voiding": [
        OTHER, JOINS, QUEUES, JOINS, JOINS, QUEUES, told("found voided first"),
        to("cancelled", "v1 cancelled voided first", "a2 cancelled voided again"),
        "!", NOTHING, NOTHING],
    "voiding the rest": [
        OTHER, JOINS, QUEUES, JOINS, QUEUES, QUEUES, told("found voided first"),
        to("completed", "v1 voided voided first", "a2 authorized voided again"),
        "!", NOTHING, NOTHING],
    "lapsing": [
        OTHER, JOINS, QUEUES, QUEUES, QUEUES, QUEUES, told("found hold_expired first"),
        to("lapsed", "a2 lapsed hold_expired again", "None lapsed hold_expired first"),
        "!", NOTHING, NOTHING],
    "rest lapsing": [
        OTHER, JOINS, QUEUES, QUEUES, QUEUES, QUEUES, told("found hold_expired first"),
        to("completed", "a2 authorized hold_expired again", "None lapsed hold_expired first"),
        "!", NOTHING, NOTHING],
    "refunding": [
        OTHER, AUTHORIZED, QUEUES, QUEUES, QUEUES, QUEUES, FOUND,
        to("authorized", "f1 refunded - first"),
        to("authorized", "f1 declined insufficient_funds first"), NOTHING, NOTHING],
    "refunding the captured": [
        OTHER, AUTHORIZED, QUEUES, QUEUES, QUEUES, QUEUES, FOUND,
        to("completed", "f1 refunded - first"),
        to("completed", "f1 declined insufficient_funds first"), NOTHING, NOTHING],
    "reversing with a hold": [
        OTHER, JOINS, QUEUES, QUEUES, JOINS, QUEUES, FOUND,
        to("cancelled", "c1 cancelled rolled_back first", "a2 cancelled rolled_back again"),
        to("authorized", "c1 rejected insufficient_funds first", "a2 authorized - again"),
        NOTHING, NOTHING],
    "reversing the captured": [
        OTHER, JOINS, QUEUES, QUEUES, JOINS, QUEUES, FOUND,
        to("cancelled", "c1 cancelled rolled_back first", "a2 cancelled rolled_back again"),
        to("completed", "c1 rejected insufficient_funds first", "a2 authorized - again"),
        NOTHING, NOTHING],
    "captured": [
        OTHER, AUTHORIZED, NONE_HELD, NONE_HELD, to("reversing", transfer=BACK), REFUNDING, FOUND,
        "!", "!", NOTHING, EXPIRED],
    "all refunded": [
        OTHER, AUTHORIZED, NONE_HELD, NONE_HELD, to("cancelled", "x cancelled rolled_back first"),
        told("rejected over_refund first"), FOUND, "!", "!", NOTHING, EXPIRED],
    "hold declined": [
        OTHER, told("declined insufficient_funds again"), told("rejected declined first"),
        PREVENTED, PREVENTED, NONE_TAKEN, told("found insufficient_funds first"),
        "!", "!", NOTHING, EXPIRED],
    "voided": [
        OTHER, told("cancelled voided again"), CANCELLED, told("cancelled voided again"),
        told("cancelled voided again"), CANCELLED, told("found voided first"),
        "!", "!", NOTHING, EXPIRED],
    "lapsed": [
        OTHER, told("lapsed hold_expired again"), told("rejected hold_expired first"),
        told("lapsed hold_expired again"), told("lapsed hold_expired again"), NONE_TAKEN,
        told("found hold_expired first"), "!", "!", NOTHING, EXPIRED],
}
# fmt: on
EXPECTED = {row: dict(zip(MESSAGES, cells, strict=True)) for row, cells in _EXPECTED.items()}
CELLS = [(row, message) for row in ROWS for message in MESSAGES]


def run(row: Payment | None, message: Message, policy: Policy = PIN) -> Decision:
    """Decide a message now."""
    return decide(row, message, time_ms=NOW_MS, policy=policy)


def send(row: Payment | None, command: Command, policy: Policy = PIN) -> Decision:
    """Decide a command with the id x."""
    return run(row, Received(command, "x"), policy)
