"""The payment table: what each message does to a payment in each state.

Rule 1: all that decides what becomes of a payment is in this file, and as far as a table can say
it in ``TABLE``: the diagram in the docs is drawn from that, and the tests enumerate it.
Rule 2: this file knows nothing of balances, records, partitions and clocks.

Theory of operation. A make or a deposit starts a transfer and waits for it to settle. A cancel
can't stop a transfer that is in flight: the payment is ``cancelling`` until it settles and, if
money has moved then, ``reversing`` until the transfer back settles too. So in these two states and
in ``pending`` one transfer is in flight and commands wait; in the others there is neither.

Not in the table: a make or deposit that differs from the stored request is rejected in any state;
so is a command that would be one waiter too many, and a cancel whose transfer back is declined. A
make or deposit that finds a request stored repeats an outcome, and so does a cancel that leaves
the state as it was: their answers say ``replayed``.
"""

from enum import StrEnum
from typing import Literal, NamedTuple

from msgspec.structs import replace

from payments.domain.account import Counter, Kind, Settled, Transfer
from payments.domain.commands import Cancel, Command, Deposit, Make
from payments.domain.money import money_text
from payments.domain.results import Answer, Frozen, Outcome, Reason, Request

State = StrEnum("State", "PENDING CANCELLING REVERSING COMPLETED DECLINED CANCELLED")
Event = StrEnum("Event", "MAKE_OR_DEPOSIT CANCEL GET SETTLED_OK SETTLED_DECLINED WINDOW_CLOSES")


class Rule(NamedTuple):
    """One cell of the table."""

    to: State | None  # The state after the message.
    outcome: Outcome | None = None  # What the command, or all who wait, are told; None: they wait.
    reason: Reason | None = None  # Why it is cancelled; None: the stored or the transfer's reason.
    transfer: Literal["forward", "back"] | None = None  # The money to move.
    forgets: bool = False  # With the decline policy retry, no payment is left.


IMPOSSIBLE, NOTHING = Rule(None), Rule(None)  # Told apart by identity.
MAKE, CANCEL, GET, OK, DECLINED, CLOSES = Event
# A state is read at a glance only if it is not spread over eight lines, as the formatter would.
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
Waiter = tuple[str, str, bool]  # A command's id, its type, and whether its answer is a replay.


class Payment(Frozen, frozen=True, omit_defaults=True):
    """The row of a payment."""

    state: State
    time_ms: int  # When the state last changed, by the broker's clock.
    request: Request | None = None  # None when it was cancelled before its make came.
    reason: Reason | None = None
    waiters: tuple[Waiter, ...] = ()


class Policy(NamedTuple):
    """What an installation may choose."""

    decline_policy: Literal["retry", "pin"] = "retry"
    max_waiters: int = 100


class Received(Frozen, frozen=True):
    """A command with its id: its own, or the position of its record."""

    command: Command
    id: str


class WindowCloses:
    """The message that a payment's window has closed."""


class Decision(Frozen, frozen=True):
    """The row after a message (the same object if it is unchanged) and what to send."""

    payment: Payment | None
    answers: tuple[Answer, ...] = ()
    transfer: Transfer | None = None


class ImpossibleTransition(Exception):  # noqa: N818  # it names a cell of the table
    """A message that can't come in this state; its arguments are the state and the event."""


Message = Received | Settled | WindowCloses


def decide(payment: Payment | None, message: Message, *, time_ms: int, policy: Policy) -> Decision:
    """Return what a message does to a payment; raises ``ImpossibleTransition``."""
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
    return Decision(None, (Answer(None, "expire", rule.outcome, request=payment.request),))


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
        answer = Answer(own, command.type, Outcome.REJECTED, *fault, state=state, request=stored)
        return Decision(payment, (answer,))
    if outcome is None:
        waiters = (*waiters, (own, command.type, replayed))
    if rule.to is not None and (outcome is None or rule.to is not state):
        changed_ms = payment.time_ms if payment is not None and rule.to is state else time_ms
        payment = Payment(rule.to, changed_ms, request, rule.reason, waiters)
    if outcome is None:
        return Decision(payment, (), _transfer(request, rule.transfer))
    reason = None if payment is None else payment.reason
    answer = Answer(own, command.type, outcome, reason, None, replayed, rule.to, stored)
    return Decision(payment, (answer,))


def _on_settled(
    payment: Payment, settled: Settled, rule: Rule, time_ms: int, policy: Policy
) -> Decision:
    request, outcome = payment.request, rule.outcome
    state = None if rule.forgets and policy.decline_policy == "retry" else rule.to
    reason = settled.reason if outcome is Outcome.DECLINED else rule.reason
    waiters = payment.waiters if outcome is None else ()
    after = None if state is None else Payment(state, time_ms, request, reason, waiters)
    if outcome is None:
        return Decision(after, (), _transfer(request, rule.transfer))
    answers = []
    for own, type_, replayed in payment.waiters:
        answer = Answer(own, type_, outcome, reason, None, replayed, state, request)
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
    counter: Counter = "world" if request.type == "deposit" else "sales"
    return Transfer(kind, request.account, amount, request.currency, counter)


def _difference(stored: Request, request: Request) -> tuple[Reason, str] | None:
    for name in Request.__struct_fields__:
        before, now = getattr(stored, name), getattr(request, name)
        if before != now:
            if name == "amount":
                before = money_text(stored.amount, stored.currency)
                now = money_text(request.amount, request.currency)
            return Reason(f"different_{name}"), f"the payment's {name} is {before}, not {now}"
    return None
