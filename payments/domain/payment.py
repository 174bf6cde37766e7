"""The payment table: for each state and message the next state, the answers and the transfer.

``TABLE[state][event]`` is one cell, a ``Rule``. The row None is that of a payment without a stored
row. An outcome in a cell answers the command or, when a transfer has settled, every command that
waits; a command whose cell has no outcome waits. ``transfer`` starts a movement of money, forward
or back. ``docs/states.md`` is generated from the table, and the tests compare every cell with a
list that was written by hand.

In pending, cancelling and reversing exactly one transfer is in flight, and commands may wait. In
the other states none is in flight, and no command waits.

When you change the table:

- Write out every cell. ``IMPOSSIBLE`` and ``NOTHING`` stand for a defect and for no effect; there
  is no default for a cell that was forgotten.
- Start no second transfer while one is in flight: a settlement does not say which it belongs to.
- Keep the names of states: they are stored in rows and written on results.
- Keep balances, records, partitions and clocks out. The time is an argument, so that tests and
  simulator decide exactly as a worker does.

Cells that a reader may doubt:

- No row, cancel: stored as cancelled, so that a make that comes later moves no money.
- Pending, cancel: a transfer that was sent can't be recalled. The payment is cancelling until the
  transfer settles, then cancelled (it was declined) or reversing (the money goes back).
- Reversing, declined: the account has spent the money of a deposit. The payment is completed again,
  and ``_on_settled`` rejects the waiting cancels instead of answering them as completed.
- Pending, declined: with the decline policy ``retry`` no row is kept, so that the same id may be
  tried again; with ``pin`` the payment stays declined.
- Declined, cancel: cancelled as prevented, although no money moved, so that no later make is tried.
- Pending, cancelling and reversing, window closes: nothing. The payment must be there when its
  transfer settles, and it is given a new window by that change.

Three rules depend on more than state and event and are in the functions below. A make or deposit
that differs from the stored request is rejected; so is a command beyond ``max_waiters``. An answer
is marked ``replayed`` for a make or deposit whose request is stored already, and for a cancel that
leaves the state as it was.
"""

from enum import StrEnum
from typing import Literal, NamedTuple

from msgspec.structs import replace

from payments.domain.account import COUNTER_OF, Kind, Settled, Transfer
from payments.domain.commands import Cancel, Command, Deposit, Make
from payments.domain.money import money_text
from payments.domain.results import Answer, Frozen, Outcome, Reason, Request

State = StrEnum("State", "PENDING CANCELLING REVERSING COMPLETED DECLINED CANCELLED")
Event = StrEnum("Event", "MAKE_OR_DEPOSIT CANCEL GET SETTLED_OK SETTLED_DECLINED WINDOW_CLOSES")


class Rule(NamedTuple):
    """One cell of the table."""

    to: State | None
    """The state after the message."""

    outcome: Outcome | None = None
    """Of the command, or of all that wait; None: the command waits."""

    reason: Reason | None = None
    """Why it is cancelled; None: the stored or the transfer's reason."""

    transfer: Literal["forward", "back"] | None = None
    """The money to move."""

    forgets: bool = False
    """With the decline policy ``retry``, the row is deleted."""


IMPOSSIBLE, NOTHING = Rule(None), Rule(None)
"""Distinguished by identity."""

MAKE = Event.MAKE_OR_DEPOSIT
CANCEL = Event.CANCEL
GET = Event.GET
OK = Event.SETTLED_OK
DECLINED = Event.SETTLED_DECLINED
CLOSES = Event.WINDOW_CLOSES
# The formatter would spread each state over eight lines; a reader compares them in three or four.
# fmt: off
TABLE: dict[State | None, dict[Event, Rule]] = {
    None: {
        MAKE: Rule(State.PENDING, transfer="forward"), GET: Rule(None, Outcome.NOT_FOUND),
        CANCEL: Rule(State.CANCELLED, Outcome.CANCELLED, Reason.PREVENTED),
        OK: IMPOSSIBLE, DECLINED: IMPOSSIBLE, CLOSES: NOTHING},
    State.PENDING: {
        MAKE: Rule(State.PENDING), GET: Rule(State.PENDING, Outcome.FOUND),
        CANCEL: Rule(State.CANCELLING), OK: Rule(State.COMPLETED, Outcome.COMPLETED),
        DECLINED: Rule(State.DECLINED, Outcome.DECLINED, forgets=True), CLOSES: NOTHING},
    State.CANCELLING: {
        MAKE: Rule(State.CANCELLING), GET: Rule(State.CANCELLING, Outcome.FOUND),
        CANCEL: Rule(State.CANCELLING), OK: Rule(State.REVERSING, transfer="back"),
        DECLINED: Rule(State.CANCELLED, Outcome.CANCELLED, Reason.PREVENTED), CLOSES: NOTHING},
    State.REVERSING: {
        MAKE: Rule(State.REVERSING), GET: Rule(State.REVERSING, Outcome.FOUND),
        CANCEL: Rule(State.REVERSING), DECLINED: Rule(State.COMPLETED, Outcome.COMPLETED),
        OK: Rule(State.CANCELLED, Outcome.CANCELLED, Reason.ROLLED_BACK), CLOSES: NOTHING},
    State.COMPLETED: {
        MAKE: Rule(State.COMPLETED, Outcome.COMPLETED), GET: Rule(State.COMPLETED, Outcome.FOUND),
        CANCEL: Rule(State.REVERSING, transfer="back"),
        OK: IMPOSSIBLE, DECLINED: IMPOSSIBLE, CLOSES: Rule(None, Outcome.EXPIRED)},
    State.DECLINED: {
        MAKE: Rule(State.DECLINED, Outcome.DECLINED), GET: Rule(State.DECLINED, Outcome.FOUND),
        CANCEL: Rule(State.CANCELLED, Outcome.CANCELLED, Reason.PREVENTED),
        OK: IMPOSSIBLE, DECLINED: IMPOSSIBLE, CLOSES: Rule(None, Outcome.EXPIRED)},
    State.CANCELLED: {
        MAKE: Rule(State.CANCELLED, Outcome.CANCELLED), GET: Rule(State.CANCELLED, Outcome.FOUND),
        CANCEL: Rule(State.CANCELLED, Outcome.CANCELLED),
        OK: IMPOSSIBLE, DECLINED: IMPOSSIBLE, CLOSES: Rule(None, Outcome.EXPIRED)},
}
# fmt: on
_EVENTS = {"make": MAKE, "deposit": MAKE, "cancel": CANCEL, "get": GET}

Waiter = tuple[str, str, bool]
"""A command that waits: its id, its type, and whether its answer is a replay."""


class Payment(Frozen, frozen=True, omit_defaults=True):
    """The row of a payment."""

    state: State
    time_ms: int
    """When the state last changed, by the broker's clock: milliseconds since 1970, UTC."""

    request: Request | None = None
    """None when it was cancelled before its make came."""

    reason: Reason | None = None
    """Why it was declined or cancelled."""

    waiters: tuple[Waiter, ...] = ()
    """The commands that are answered when the transfer in flight settles."""


class Policy(NamedTuple):
    """The choices of an installation."""

    decline_policy: Literal["retry", "pin"] = "retry"
    """``retry``: a declined payment has no row, so its id may be tried again; ``pin``: it has."""

    max_waiters: int = 100
    """Commands that may wait for one payment."""


class Received(Frozen, frozen=True):
    """A command that came in."""

    command: Command
    id: str
    """Its own id, else the address of its record."""


class WindowCloses:
    """The message that a payment's window has closed."""


class Decision(Frozen, frozen=True):
    """What a message changes."""

    payment: Payment | None
    """The row after it; the same object if it is unchanged, None for no row."""

    answers: tuple[Answer, ...] = ()
    transfer: Transfer | None = None


class ImpossibleTransition(Exception):
    """A message that can't come in this state; its arguments are the state and the event."""


Message = Received | Settled | WindowCloses


def decide(payment: Payment | None, message: Message, *, time_ms: int, policy: Policy) -> Decision:
    """Return the decision on a message; raises ``ImpossibleTransition``."""
    event = CLOSES
    if isinstance(message, Received):
        event = _EVENTS[message.command.type]
    elif isinstance(message, Settled):
        event = OK if message.ok else DECLINED
    state = None if payment is None else payment.state
    rule = TABLE[state][event]
    if rule is IMPOSSIBLE:
        raise ImpossibleTransition(state, event)
    if isinstance(message, Received):
        return _on_command(payment, message, rule, time_ms, policy)
    if payment is not None and isinstance(message, Settled):
        return _on_settled(payment, message, rule, time_ms, policy)
    if payment is None or rule.outcome is None:
        return Decision(payment)
    notice = Answer(command=None, type="expire", outcome=rule.outcome, request=payment.request)
    return Decision(None, (notice,))


def _on_command(
    payment: Payment | None, received: Received, rule: Rule, time_ms: int, policy: Policy
) -> Decision:
    command, own, outcome = received.command, received.id, rule.outcome
    state = None if payment is None else payment.state
    stored, waiters = (None, ()) if payment is None else (payment.request, payment.waiters)
    request, replayed, fault = stored, rule.to is state and isinstance(command, Cancel), None
    if isinstance(command, (Make, Deposit)):
        request = Request(command.type, command.account, command.amount, command.currency)
        if stored is not None:
            replayed, fault = True, _difference(stored, request)
    if fault is None and outcome is None and len(waiters) >= policy.max_waiters:
        text = f"{len(waiters)} commands wait for this payment; send it again when it has settled"
        fault = Reason.TOO_MANY_WAITING, text
    if fault is not None:
        reason, message = fault
        answer = Answer(
            command=own,
            type=command.type,
            outcome=Outcome.REJECTED,
            reason=reason,
            message=message,
            state=state,
            request=stored,
        )
        return Decision(payment, (answer,))
    if outcome is None:
        waiters = (*waiters, (own, command.type, replayed))
    if rule.to is not None and (outcome is None or rule.to is not state):
        changed_ms = payment.time_ms if payment is not None and rule.to is state else time_ms
        payment = Payment(
            state=rule.to,
            time_ms=changed_ms,
            request=request,
            reason=rule.reason,
            waiters=waiters,
        )
    if outcome is None:
        return Decision(payment, transfer=_transfer(request, rule.transfer))
    answer = Answer(
        command=own,
        type=command.type,
        outcome=outcome,
        reason=None if payment is None else payment.reason,
        replayed=replayed,
        state=rule.to,
        request=stored,
    )
    return Decision(payment, (answer,))


def _on_settled(
    payment: Payment, settled: Settled, rule: Rule, time_ms: int, policy: Policy
) -> Decision:
    request, outcome = payment.request, rule.outcome
    state = None if rule.forgets and policy.decline_policy == "retry" else rule.to
    reason = settled.reason if outcome is Outcome.DECLINED else rule.reason
    waiters = payment.waiters if outcome is None else ()
    after = None
    if state is not None:
        after = Payment(
            state=state, time_ms=time_ms, request=request, reason=reason, waiters=waiters
        )
    if outcome is None:
        return Decision(after, transfer=_transfer(request, rule.transfer))
    answers = []
    for own, type_, replayed in payment.waiters:
        answer = Answer(
            command=own,
            type=type_,
            outcome=outcome,
            reason=reason,
            replayed=replayed,
            state=state,
            request=request,
        )
        if outcome is Outcome.COMPLETED and type_ == "cancel":
            text = "the money can't be moved back"
            answer = replace(answer, outcome=Outcome.REJECTED, reason=settled.reason, message=text)
        answers.append(answer)
    return Decision(after, tuple(answers))


def _transfer(request: Request | None, direction: str | None) -> Transfer | None:
    if request is None or direction is None:
        return None
    gives = (request.type == "deposit") == (direction == "forward")
    amount = request.amount if gives else -request.amount
    kind: Kind = request.type if direction == "forward" else "rollback"
    # The payment's own kind decides, so that a rollback is booked against the same counter-account.
    counter = COUNTER_OF[request.type]
    return Transfer(
        kind=kind,
        account=request.account,
        amount=amount,
        currency=request.currency,
        counter=counter,
    )


def _difference(stored: Request, request: Request) -> tuple[Reason, str] | None:
    for name in Request.__struct_fields__:
        before, now = getattr(stored, name), getattr(request, name)
        if before != now:
            if name == "amount":
                before = money_text(stored.amount, stored.currency)
                now = money_text(request.amount, request.currency)
            return Reason(f"different_{name}"), f"the payment's {name} is {before}, not {now}"
    return None
