"""A payment: its row, and the decision on each message, by the table of ``payment_table``.

``decide`` is a function of the row, the message and the time. Some rules depend on more than state
and event, so the table does not have them:

- A make, deposit or authorize that differs from the stored request is rejected.
- A capture or refund whose id the payment knows is answered in every state as it was the first
  time, or rejected by the field that differs: no part moves money twice.
- A command beyond ``max_waiters`` is rejected, and so is a part beyond ``MAX_PARTS``.
- An answer is marked ``replayed`` for a request or part that is stored already, and for a cancel or
  void that leaves the state as it was.
- What a settlement does to the amounts (``_landed``).
- That a hold ends soon is said while the payment is authorized, and changes no state.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

from msgspec import field
from msgspec.structs import replace

from payments.domain.account import COUNTER_OF, Kind, Settled, Transfer
from payments.domain.commands import (
    Authorize,
    Cancel,
    Capture,
    Command,
    Deposit,
    Make,
    Metadata,
    Refund,
    Void,
)
from payments.domain.money import money_text
from payments.domain.payment_table import (
    IMPOSSIBLE,
    TABLE,
    Cell,
    Event,
    Movement,
    Rule,
    State,
    When,
)
from payments.domain.results import Amounts, Answer, Frozen, Outcome, Reason, Request

MAX_PARTS = 100
"""Captures and refunds of one payment."""

# Names of their own, since to look up a member of an enumeration takes as long as a call.
_SETTLED_OK, _SETTLED_DECLINED = Event.SETTLED_OK, Event.SETTLED_DECLINED
_DECLINED, _HOLD_EXPIRED = Outcome.DECLINED, Reason.HOLD_EXPIRED
_MADE = frozenset({State.COMPLETED, State.REFUNDING, State.REVERSING})
"""The states in which a make has taken its money; it has also in some that are cancelled."""

_WITHOUT_REASON = frozenset({State.AUTHORIZED, State.COMPLETED})
_NOT_UNDONE = frozenset({Outcome.AUTHORIZED, Outcome.COMPLETED})
_HELD_ONCE = frozenset({Outcome.COMPLETED, Outcome.VOIDED})
_AS_SETTLED = frozenset({"make", "deposit"})

_EVENTS = {
    "make": Event.MAKE_OR_DEPOSIT,
    "deposit": Event.MAKE_OR_DEPOSIT,
    "authorize": Event.AUTHORIZE,
    "capture": Event.CAPTURE,
    "void": Event.VOID,
    "cancel": Event.CANCEL,
    "refund": Event.REFUND,
    "get": Event.GET,
}

Waiter = tuple[str, str, bool]
"""A command that has joined: its id, its type, and whether its answer is a replay."""


class Part(Frozen, frozen=True, array_like=True, omit_defaults=True):
    """A capture or refund that was accepted; the last one may be in flight."""

    id: str
    moved: int
    """Minor units."""

    type: Literal["capture", "refund"] = "capture"
    final: bool = True
    """Of a capture; a refund's is True."""

    whole: bool = False
    """Whether it asked for all that was left, without an amount."""


class Queued(Frozen, frozen=True, array_like=True):
    """A command that is decided when the transfer in flight has settled."""

    id: str
    time_ms: int
    """When it was appended."""

    command: Capture | Void | Cancel | Refund
    """Without its id, which is above."""


class Payment(Frozen, frozen=True, omit_defaults=True):
    """The row of a payment."""

    state: State
    time_ms: int
    """When the state last changed, by the broker's clock: milliseconds since 1970, UTC."""

    request: Request | None = None
    """None when it was cancelled before its request came."""

    reason: Reason | None = None
    """Why it was declined or cancelled, or why its hold ends."""

    waiters: tuple[Waiter, ...] = ()
    """The commands that are told how the transfer in flight settles."""

    hold_expires_ms: int | None = field(default=None, name="ends_ms")
    """When the hold ends, by the broker's clock; None where nothing was ever held."""

    held: int = 0
    """What the account holds for it."""

    captured: int = 0
    """Of an authorize: what was captured. A make's is in its state (``captured_of``)."""

    refunded: int = 0
    parts: tuple[Part, ...] = ()
    queue: tuple[Queued, ...] = ()
    metadata: Metadata | None = None
    notice_ms: int | None = None
    """When it is to be said that the hold ends soon; None where it was, or never will be."""


class Policy(NamedTuple):
    """The choices of an installation."""

    decline_policy: Literal["retry", "pin"] = "retry"
    """``retry``: a declined payment has no row, so its id may be tried again; ``pin``: it has."""

    max_waiters: int = 100
    """Commands that may wait for one payment, joined and queued together."""

    hold_ms: int = 604_800_000
    """How long an authorize without ``hold_seconds`` holds money."""

    notice_ms: int = 0
    """How long before a hold's end a notice says so, where it lasts longer; 0 for no notices."""


class Received(Frozen, frozen=True):
    """A command that came in."""

    command: Command
    id: str
    """Its own id, else the address of its record."""


class WindowCloses:
    """The message that a payment's window has closed."""


class HoldEnds:
    """The message that the time of a payment's hold is over."""


class HoldEndsSoon:
    """The message that the notice of a hold's end is due."""


class Decision(Frozen, frozen=True):
    """What a message changes."""

    payment: Payment | None
    """The row after it; the same object if it is unchanged, None for no row."""

    answers: tuple[Answer, ...] = ()
    transfer: Transfer | None = None


class ImpossibleTransition(Exception):
    """A message that can't come in this state; its arguments are the state and the event."""


Message = Received | Settled | HoldEnds | HoldEndsSoon | WindowCloses


def decide(payment: Payment | None, message: Message, *, time_ms: int, policy: Policy) -> Decision:
    """Return the decision on a message; raises ``ImpossibleTransition``."""
    if isinstance(message, Received):
        return _on_command(payment, message, time_ms, time_ms, policy)
    if isinstance(message, Settled):
        event = _SETTLED_OK if message.ok else _SETTLED_DECLINED
        cell = IMPOSSIBLE if payment is None else TABLE[payment.state][event]
        if payment is None or cell is IMPOSSIBLE:
            raise ImpossibleTransition(None if payment is None else payment.state, event)
        settled = _on_settled(payment, message, cell, time_ms, policy)
        return _decide_queued(settled, payment.queue, time_ms, policy) if payment.queue else settled
    if isinstance(message, HoldEndsSoon):
        return _on_hold_ends_soon(payment)
    event = Event.HOLD_ENDS if isinstance(message, HoldEnds) else Event.WINDOW_CLOSES
    rule = _rule(payment, event, None, time_ms)
    if payment is None or (rule.outcome is None and rule.transfer is None):
        return Decision(payment)
    if rule.transfer is not None:
        releasing = replace(payment, state=rule.to, time_ms=time_ms, reason=rule.reason)
        return Decision(releasing, transfer=_transfer(payment, rule.transfer))
    notice = Answer(
        command=None,
        type="expire",
        outcome=Outcome.EXPIRED,
        request=payment.request,
        metadata=payment.metadata,
    )
    return Decision(None, (notice,))


def captured_of(payment: Payment) -> int:
    """Return what a payment has taken from its account, before refunds; 0 for a deposit."""
    request = payment.request
    if request is None or request.type == "deposit":
        return 0
    if request.type == "authorize":
        return payment.captured
    took = payment.state in _MADE or (
        payment.state is State.CANCELLED and payment.reason is Reason.ROLLED_BACK
    )
    return request.amount if took else 0


def is_refundable(payment: Payment) -> bool:
    """Return whether it has settled, and money of it is left that a refund could give back."""
    return payment.state is State.COMPLETED and captured_of(payment) > payment.refunded


def amounts_of(payment: Payment | None) -> Amounts | None:
    """Return the amounts for an answer: None for payments that were only made and cancelled."""
    if payment is None or payment.request is None:
        return None
    if payment.hold_expires_ms is None:
        refunded = payment.refunded
        return Amounts(captured_of(payment), refunded) if refunded else None
    return Amounts(
        payment.captured,
        payment.refunded,
        payment.request.amount,
        payment.held,
        payment.hold_expires_ms,
    )


def _on_hold_ends_soon(payment: Payment | None) -> Decision:
    """Say once that the hold ends soon. A part in flight may end it, so its settlement is first."""
    if payment is None or payment.state is not State.AUTHORIZED or payment.notice_ms is None:
        return Decision(payment)
    noticed = replace(payment, notice_ms=None)
    return Decision(noticed, (_answer(noticed, None, "notice", Outcome.HOLD_ENDS_SOON),))


def _on_command(
    payment: Payment | None, received: Received, asked_ms: int, time_ms: int, policy: Policy
) -> Decision:
    """Decide a command that was appended at ``asked_ms``."""
    command = received.command
    if isinstance(command, (Make, Deposit, Authorize)):
        if payment is None:
            return _begin(received, command, time_ms, policy)
        return _on_request(payment, received, command, time_ms, policy)
    if isinstance(command, (Capture, Refund)):
        known = None if payment is None else _known_part(payment, command)
        if payment is not None and known is not None:
            return _on_known_part(payment, received, known, asked_ms, policy)
    rule = _rule(payment, _EVENTS[command.type], command, asked_ms)
    if rule.outcome is Outcome.REJECTED:
        assert rule.reason is not None, "the table says why it rejects"
        text = _words(rule.reason, payment, command)
        return _rejected(payment, received, rule.reason, text)
    if rule.outcome is None:
        return _wait(payment, received, rule, policy, asked_ms=asked_ms, time_ms=time_ms)
    before, replayed = payment, False
    if isinstance(command, (Cancel, Void)):
        replayed = before is not None and rule.to is before.state
        if rule.to is not None and not replayed:
            payment = _moved(payment, rule.to, time_ms, rule.reason)
    answer = _answer(payment, received.id, command.type, rule.outcome, replayed=replayed)
    # The request is the one that was stored before the command.
    return Decision(payment, (answer,))


def _on_request(
    payment: Payment,
    received: Received,
    command: Make | Deposit | Authorize,
    time_ms: int,
    policy: Policy,
) -> Decision:
    request = Request(command.type, command.account, command.amount, command.currency)
    stored = payment.request
    if stored is not None and (fault := _difference(stored, request)) is not None:
        return _rejected(payment, received, *fault)
    rule = _rule(payment, _EVENTS[command.type], command, time_ms)
    if rule.outcome is None:
        return _wait(payment, received, rule, policy, asked_ms=time_ms, time_ms=time_ms)
    replayed = stored is not None
    answer = _answer(payment, received.id, command.type, rule.outcome, replayed=replayed)
    return Decision(payment, (answer,))


def _begin(
    received: Received, command: Make | Deposit | Authorize, time_ms: int, policy: Policy
) -> Decision:
    """Start the transfer of a request for which no row is."""
    if policy.max_waiters < 1:
        return _rejected(None, received, *_too_many_waiting(0))
    rule = TABLE[None][_EVENTS[command.type]]
    assert isinstance(rule, Rule), "where no row is, nothing depends on it"
    assert rule.to is not None, "a request that waits is stored"
    assert rule.transfer is not None, "a request starts a transfer"
    expires_ms = notice_ms = None
    if isinstance(command, Authorize):
        seconds = command.hold_seconds
        hold_ms = policy.hold_ms if seconds is None else seconds * 1000
        expires_ms = time_ms + hold_ms
        if 0 < policy.notice_ms < hold_ms:
            notice_ms = expires_ms - policy.notice_ms
    request = Request(command.type, command.account, command.amount, command.currency)
    waiters, metadata = ((received.id, command.type, False),), command.metadata
    begun = Payment(
        rule.to,
        time_ms,
        request,
        None,
        waiters,
        expires_ms,
        metadata=metadata,
        notice_ms=notice_ms,
    )
    return Decision(begun, (), _transfer(begun, rule.transfer))


def _wait(
    payment: Payment | None,
    received: Received,
    rule: Rule,
    policy: Policy,
    *,
    asked_ms: int,
    time_ms: int,
) -> Decision:
    """Store a command that joins, queues, or starts a transfer."""
    assert payment is not None, "only a request starts a transfer where no row is"
    assert rule.to is not None, "a payment with commands that wait is stored"
    waiting = len(payment.waiters) + len(payment.queue)
    if waiting >= policy.max_waiters:
        return _rejected(payment, received, *_too_many_waiting(waiting))
    command, transfer, part, parts = received.command, None, None, payment.parts
    if rule.transfer is not None:
        if isinstance(command, (Capture, Refund)) and not rule.queues:
            if len(parts) >= MAX_PARTS:
                text = f"the payment has {MAX_PARTS} captures and refunds, and may have no more"
                return _rejected(payment, received, Reason.TOO_MANY_PARTS, text)
            part = _part(payment, command)
            parts = (*parts, part)
        transfer = _transfer(payment, rule.transfer, part)
    waiters, queue = payment.waiters, payment.queue
    if rule.queues:
        assert isinstance(command, (Capture, Void, Cancel, Refund)), "requests join"
        queue = (*queue, Queued(received.id, asked_ms, replace(command, id=None)))
    else:
        replayed = isinstance(command, (Make, Deposit, Authorize)) or rule.to is payment.state
        waiters = (*waiters, (received.id, command.type, replayed))
    same = rule.to is payment.state
    after = replace(
        payment,
        state=rule.to,
        time_ms=payment.time_ms if same else max(time_ms, asked_ms),
        reason=payment.reason if same else rule.reason,
        waiters=waiters,
        queue=queue,
        parts=parts,
    )
    return Decision(after, transfer=transfer)


def _known_part(payment: Payment, command: Capture | Refund) -> Part | None:
    own = command.capture if isinstance(command, Capture) else command.refund
    return next((part for part in payment.parts if part.id == own), None)


def _on_known_part(
    payment: Payment, received: Received, part: Part, asked_ms: int, policy: Policy
) -> Decision:
    """Answer a part again, let it join if it is in flight, or say what differs."""
    command = received.command
    assert isinstance(command, (Capture, Refund)), "only these have parts"
    asked = None if part.whole else part.moved
    fault: tuple[Reason, str] | None = None
    if part.type != command.type:
        fault = Reason.DIFFERENT_TYPE, f"{part.id} is a {part.type}, not a {command.type}"
    elif asked != command.amount:
        before, now = (_amount_in_words(payment, amount) for amount in (asked, command.amount))
        fault = Reason.DIFFERENT_AMOUNT, f"the amount of {part.id} is {before}, not {now}"
    elif isinstance(command, Capture) and command.final is not part.final:
        before, now = ("final" if final else "not final" for final in (part.final, command.final))
        fault = Reason.DIFFERENT_FINAL, f"{part.id} was {before}, and can't be {now}"
    if fault is not None:
        return _rejected(payment, received, *fault)
    if part is payment.parts[-1] and payment.state in {State.CAPTURING, State.REFUNDING}:
        joins = Rule(payment.state)
        return _wait(payment, received, joins, policy, asked_ms=asked_ms, time_ms=asked_ms)
    outcome = Outcome.CAPTURED if part.type == "capture" else Outcome.REFUNDED
    answer = _answer(payment, received.id, command.type, outcome, replayed=True, part=part.id)
    return Decision(payment, (replace(answer, part_amount=part.moved),))


def _part(payment: Payment, command: Capture | Refund) -> Part:
    whole = command.amount is None
    if isinstance(command, Capture):
        moved = payment.held if command.amount is None else command.amount
        return Part(command.capture, moved, "capture", command.final, whole)
    left = captured_of(payment) - payment.refunded
    return Part(
        command.refund, left if command.amount is None else command.amount, "refund", whole=whole
    )


def _on_settled(
    payment: Payment, settled: Settled, cell: Cell, time_ms: int, policy: Policy
) -> Decision:
    only_made = payment.hold_expires_ms is None and not payment.parts
    landed = payment if only_made else _landed(payment, ok=settled.ok)
    rule = cell if isinstance(cell, Rule) else _first(cell, landed, None, time_ms)
    outcome, to = rule.outcome, rule.to
    if outcome is None:
        assert rule.transfer is not None, "what has settled is answered, or goes on"
        going_on = replace(landed, state=to, time_ms=time_ms, reason=rule.reason, queue=())
        return Decision(going_on, transfer=_transfer(landed, rule.transfer))
    reason = settled.reason if outcome is _DECLINED else rule.reason
    after = None
    if to is not None and not (rule.forgets and policy.decline_policy == "retry"):
        stays = None if to in _WITHOUT_REASON else reason
        if only_made:
            after = Payment(to, time_ms, payment.request, stays, metadata=payment.metadata)
        else:
            after = replace(landed, state=to, time_ms=time_ms, reason=stays, waiters=(), queue=())
    answers = _settlement_answers(payment, after, settled, outcome, reason)
    if payment.reason is _HOLD_EXPIRED:
        notice = _answer(after, None, "lapse", Outcome.LAPSED, reason=_HOLD_EXPIRED)
        answers = (*answers, notice)
    return Decision(after, answers)


def _settlement_answers(
    payment: Payment,
    after: Payment | None,
    settled: Settled,
    outcome: Outcome,
    reason: Reason | None,
) -> tuple[Answer, ...]:
    """Return what the commands that joined are told; ``payment`` is the row before."""
    state = None if after is None else after.state
    request, metadata, amounts = payment.request, payment.metadata, amounts_of(after)
    answers = []
    for own, type_, replayed in payment.waiters:
        ended, why, message, part = outcome, reason, None, None
        if type_ not in _AS_SETTLED:
            ended, why, message, part = _by_type(type_, payment, settled, outcome, reason)
        # In the order of the fields, without their names: it is faster, and done for each command.
        answer = Answer(
            own, type_, ended, why, message, replayed, state, request, part, amounts, metadata
        )
        if part is not None and ended is not _DECLINED:
            answer = replace(answer, part_amount=payment.parts[-1].moved)
        answers.append(answer)
    return tuple(answers)


def _by_type(
    type_: str, payment: Payment, settled: Settled, outcome: Outcome, reason: Reason | None
) -> tuple[Outcome, Reason | None, str | None, str | None]:
    """Return outcome, reason, message and part, where they depend on the command's type."""
    if type_ in {"capture", "refund"}:
        return outcome, reason, None, payment.parts[-1].id
    if type_ == "cancel" and outcome in _NOT_UNDONE:
        return Outcome.REJECTED, settled.reason, "the money can't be moved back", None
    if outcome is Outcome.VOIDED:
        reason = payment.reason
    if type_ == "authorize" and outcome in _HELD_ONCE:
        outcome = Outcome.AUTHORIZED
    return outcome, reason, None, None


def _landed(payment: Payment, *, ok: bool) -> Payment:
    """Return the amounts after the transfer in flight, as they are in the account now."""
    state, parts = payment.state, payment.parts
    if not ok:
        return replace(payment, parts=parts[:-1]) if state is State.REFUNDING else payment
    if state in {State.AUTHORIZING, State.CANCELLING} and payment.request is not None:
        return replace(payment, held=payment.request.amount)
    if state is State.CAPTURING:
        moved, captured = parts[-1].moved, payment.captured + parts[-1].moved
        held = 0 if parts[-1].final else payment.held - moved
        notice_ms = payment.notice_ms if held else None
        return replace(payment, captured=captured, held=held, notice_ms=notice_ms)
    if state is State.REFUNDING:
        return replace(payment, refunded=payment.refunded + parts[-1].moved)
    if state is State.RELEASING:
        return replace(payment, held=0, notice_ms=None)
    assert state is State.REVERSING, "only these have a transfer in flight"
    return replace(payment, held=0, refunded=captured_of(payment), notice_ms=None)


def _decide_queued(
    settled: Decision, queue: tuple[Queued, ...], time_ms: int, policy: Policy
) -> Decision:
    """Decide the commands that waited, in their order, until one starts a transfer."""
    payment, answers, transfer = settled.payment, settled.answers, settled.transfer
    for index, queued in enumerate(queue):
        if transfer is not None:
            assert payment is not None, "a payment with a transfer in flight is stored"
            payment = replace(payment, queue=(*payment.queue, *queue[index:]))
            break
        received = Received(queued.command, queued.id)
        decision = _on_command(payment, received, queued.time_ms, time_ms, policy)
        payment, transfer = decision.payment, decision.transfer
        answers = (*answers, *decision.answers)
    return Decision(payment, answers, transfer)


def _rule(payment: Payment | None, event: Event, command: Command | None, time_ms: int) -> Rule:
    """Return the rule of a cell that applies."""
    cell = TABLE[None if payment is None else payment.state][event]
    if isinstance(cell, Rule):
        return cell
    assert payment is not None, "where no row is, nothing depends on it"
    return _first(cell, payment, command, time_ms)


def _first(
    rules: tuple[Rule, ...], payment: Payment, command: Command | None, time_ms: int
) -> Rule:
    return next(
        rule for rule in rules if rule.when is None or _TESTS[rule.when](payment, command, time_ms)
    )


def _over_capture(payment: Payment, command: Command | None, time_ms: int) -> bool:
    del time_ms
    assert isinstance(command, Capture), "the condition of captures"
    return command.amount is not None and command.amount > payment.held


def _over_refund(payment: Payment, command: Command | None, time_ms: int) -> bool:
    del time_ms
    assert isinstance(command, Refund), "the condition of refunds"
    left = captured_of(payment) - payment.refunded
    return left < (1 if command.amount is None else command.amount)


def _to_move_back(payment: Payment) -> int:
    """Return what a cancel moves back, once the payment has moved its money: a signed amount."""
    request = payment.request
    assert request is not None, "only a payment with a request has moved money"
    if request.type == "authorize":
        return payment.captured - payment.refunded
    moved = request.amount - payment.refunded
    return -moved if request.type == "deposit" else moved


_TESTS: dict[When, Callable[[Payment, Command | None, int], bool]] = {
    When.OF_MAKE: lambda payment, _, __: payment.hold_expires_ms is None,
    When.HOLD_OVER: lambda payment, _, time_ms: time_ms >= (payment.hold_expires_ms or 0),
    When.OVER_CAPTURE: _over_capture,
    When.NOTHING_CAPTURED: lambda payment, _, __: not captured_of(payment),
    When.OVER_REFUND: _over_refund,
    When.ALL_REFUNDED: lambda payment, _, __: not _to_move_back(payment),
    When.STILL_HELD: lambda payment, _, __: payment.held > 0,
    When.VOIDED: lambda payment, _, __: payment.reason is Reason.VOIDED,
    When.VOIDED_WHOLE: lambda payment, _, __: (
        payment.reason is Reason.VOIDED and not payment.captured
    ),
}
assert set(_TESTS) == set(When), "each condition has its test"


def _moved(payment: Payment | None, to: State, time_ms: int, reason: Reason | None) -> Payment:
    """Return a row in another state in which no command waits."""
    if payment is None:
        return Payment(to, time_ms, reason=reason)
    return replace(payment, state=to, time_ms=time_ms, reason=reason)


def _transfer(payment: Payment, movement: Movement, part: Part | None = None) -> Transfer:
    """Return the message to the account; ``payment`` is the row before the movement."""
    request = payment.request
    assert request is not None, "only a payment with a request moves money"
    kind: Kind
    amount = held = 0
    if movement == "forward":
        kind, amount = "make", -request.amount
        if request.type == "deposit":
            kind, amount = "deposit", request.amount
    elif movement == "hold":
        kind, held = "hold", request.amount
    elif movement == "back":
        kind, amount, held = "rollback", _to_move_back(payment), -payment.held
    elif movement == "release":
        kind, held = "release", -payment.held
    else:
        assert part is not None, "only these are left"
        kind, amount = part.type, part.moved
        if kind == "capture":
            amount, held = -amount, -(payment.held if part.final else amount)
    # What began the payment decides, so that a rollback is booked against the same counter-account.
    counter, own = COUNTER_OF[request.type], None if part is None else part.id
    return Transfer(
        kind, request.account, amount, request.currency, counter, None, held, own, payment.metadata
    )


def _answer(
    payment: Payment | None,
    own: str | None,
    type_: str,
    outcome: Outcome,
    *,
    replayed: bool = False,
    reason: Reason | None = None,
    message: str | None = None,
    part: str | None = None,
) -> Answer:
    """Return an answer that tells what is stored of a payment."""
    if payment is None:
        return Answer(own, type_, outcome, reason, message, replayed, part=part)
    stored = payment.reason if outcome in _WITH_STORED_REASON else None
    return Answer(
        command=own,
        type=type_,
        outcome=outcome,
        reason=reason or stored,
        message=message,
        replayed=replayed,
        state=payment.state,
        request=payment.request,
        part=part,
        amounts=amounts_of(payment),
        metadata=payment.metadata,
    )


_WITH_STORED_REASON = {Outcome.CANCELLED, Outcome.DECLINED, Outcome.LAPSED, Outcome.FOUND}


def _rejected(
    payment: Payment | None, received: Received, reason: Reason, message: str
) -> Decision:
    command = received.command
    part = None
    if isinstance(command, (Capture, Refund)):
        part = command.capture if isinstance(command, Capture) else command.refund
    answer = _answer(
        payment,
        received.id,
        command.type,
        Outcome.REJECTED,
        reason=reason,
        message=message,
        part=part,
    )
    return Decision(payment, (answer,))


def _too_many_waiting(waiting: int) -> tuple[Reason, str]:
    text = f"{waiting} commands wait for this payment; send it again when it has settled"
    return Reason.TOO_MANY_WAITING, text


def _words(reason: Reason, payment: Payment | None, command: Command) -> str:
    """Return the rule that a command breaks, for a person."""
    if payment is not None and isinstance(command, (Capture, Refund)):
        asked = _amount_in_words(payment, command.amount)
        if reason is Reason.OVER_CAPTURE:
            return f"{_amount_in_words(payment, payment.held)} is held, not {asked}"
        if reason is Reason.OVER_REFUND:
            left = captured_of(payment) - payment.refunded
            return f"{_amount_in_words(payment, left)} can be refunded, not {asked}"
    return _WORDS[reason]


_WORDS: dict[Reason, str] = {
    Reason.UNKNOWN_PAYMENT: "there is no such payment, or it was forgotten",
    Reason.NOT_AUTHORIZED: "the payment is no authorize, so it never held money",
    Reason.NOTHING_HELD: "the payment holds no money any more",
    Reason.NOTHING_CAPTURED: "no money was taken that could be refunded",
    Reason.HOLD_EXPIRED: "the hold has ended; a new payment id is needed",
    Reason.CANCELLED: "the payment was cancelled",
    Reason.DECLINED: "the payment was declined",
}


def _amount_in_words(payment: Payment, amount: int | None) -> str:
    if amount is None or payment.request is None:
        return "all that is left"
    return money_text(amount, payment.request.currency)


def _difference(stored: Request, request: Request) -> tuple[Reason, str] | None:
    for name in Request.__struct_fields__:
        before, now = getattr(stored, name), getattr(request, name)
        if before != now:
            if name == "amount":
                before = money_text(stored.amount, stored.currency)
                now = money_text(request.amount, request.currency)
            return Reason(f"different_{name}"), f"the payment's {name} is {before}, not {now}"
    return None
