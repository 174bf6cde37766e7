"""The lifecycle of one payment as rules without a table: a model to compare the domain with.

It shares no code with ``payments.domain``. ``decide``, ``settle`` and ``end_hold`` are what a
message does to a payment, ``post`` is what a transfer does to the account. ``walk`` tries every
order of the ``COMMANDS``, of settlements, of the hold's end and of money that is spent otherwise,
until there is no new state: 19,154 of them where the account is never empty and three commands are
unanswered at once. It meets every cell of the payment table but those of get, of deposits and of
the expiry window, and the declined refund and reversal: no account of the walk declines those.

Each state that it finds is checked: captured is at most authorized, refunded at most captured; the
account holds what the payment says, and never more than it has; a part moves money once; commands
wait only while a transfer is in flight. So is each step: every command has one answer, of a kind
that its sender can expect, and a hold lapses with one notice.
"""

from collections import deque
from collections.abc import Iterator
from typing import Literal, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

IN_FLIGHT = {
    "pending", "authorizing", "cancelling", "capturing", "releasing", "refunding", "reversing",
}  # fmt: skip


class Command(Struct, frozen=True):
    """What a client asks for; ``part`` is the id of a capture or refund."""

    type: str
    part: str = ""
    amount: int | None = None
    final: bool = True


class Part(Struct, frozen=True):
    """A capture or refund that was accepted, and what it moves."""

    id: str
    type: str
    amount: int | None
    final: bool
    moved: int


class Transfer(Struct, frozen=True):
    """Changes of the account's two numbers."""

    kind: str
    balance: int = 0
    held: int = 0
    part: str = ""


class Waiter(Struct, frozen=True):
    """A command that is told how the transfer in flight settles."""

    id: int
    type: str
    replayed: bool


class Queued(Struct, frozen=True):
    """A command that is decided when the transfer in flight has settled."""

    id: int
    command: Command
    overdue: bool = False


class Payment(Struct, frozen=True):
    """What is known of the payment; type and amount are of its request, if that came."""

    state: str
    type: str = ""
    amount: int = 0
    captured: int = 0
    refunded: int = 0
    holds: bool = False
    reason: str = ""
    parts: tuple[Part, ...] = ()
    transfer: Transfer | None = None
    waiters: tuple[Waiter, ...] = ()
    queue: tuple[Queued, ...] = ()

    @property
    def held(self) -> int:
        """What the account holds for it."""
        return self.amount - self.captured if self.holds else 0


class Account(Struct, frozen=True):
    """The account that the payment takes money from."""

    balance: int
    held: int = 0


class Answer(NamedTuple):
    """The answer to a command; the command of a notice is None."""

    command: int | None
    outcome: str
    reason: str = ""
    replayed: bool = False


Decided = tuple[Payment | None, list[Answer]]


def post(account: Account, transfer: Transfer) -> Account | None:
    """Return the account after a transfer; None: declined, for too little is available."""
    after = Account(account.balance + transfer.balance, account.held + transfer.held)
    available = after.balance - after.held
    return None if available < 0 and available < account.balance - account.held else after


def decide(
    payment: Payment | None, own: int, command: Command, *, overdue: bool = False
) -> Decided:
    """Decide a command with the id ``own``; ``overdue``: the hold's time was over when it came."""
    if command.type in {"authorize", "make"}:
        return _request(payment, own, command)
    if payment is None:
        return _without_payment(own, command)
    for part in payment.parts:
        if command.type in {"capture", "refund"} and part.id == command.part:
            return _known_part(payment, own, command, part)
    if payment.state in IN_FLIGHT:
        return _behind(payment, own, command, overdue=overdue), []
    if command.type == "capture":
        return _capture(payment, own, command, overdue=overdue)
    return (_refund if command.type == "refund" else _undo)(payment, own, command)


def _without_payment(own: int, command: Command) -> Decided:
    if command.type in {"void", "cancel"}:
        return Payment("cancelled", reason="prevented"), [Answer(own, "cancelled", "prevented")]
    return None, [Answer(own, "rejected", "unknown_payment")]


def _request(payment: Payment | None, own: int, command: Command) -> Decided:
    assert command.amount is not None
    if payment is None:
        state, moves = "pending", Transfer("make", balance=-command.amount)
        if command.type == "authorize":
            state, moves = "authorizing", Transfer("hold", held=command.amount)
        waiters = (Waiter(own, command.type, replayed=False),)
        started = Payment(state, command.type, command.amount, transfer=moves, waiters=waiters)
        return started, []
    if payment.type not in {"", command.type}:
        return payment, [Answer(own, "rejected", "different_type")]
    if payment.state in {"pending", "authorizing", "cancelling", "releasing", "reversing"}:
        return _joined(payment, own, command, replayed=True), []
    if payment.state in {"declined", "cancelled", "lapsed"}:
        replayed = payment.type != ""  # The first one after a cancel repeats nothing.
        return payment, [Answer(own, payment.state, payment.reason, replayed)]
    outcome = "completed" if command.type == "make" else "authorized"
    return payment, [Answer(own, outcome, replayed=True)]


def _known_part(payment: Payment, own: int, command: Command, part: Part) -> Decided:
    for name in ("type", "amount", "final"):
        if getattr(part, name) != getattr(command, name):
            return payment, [Answer(own, "rejected", f"different_{name}")]
    if payment.transfer is not None and payment.transfer.part == part.id:
        return _joined(payment, own, command, replayed=True), []
    outcome = "captured" if part.type == "capture" else "refunded"
    return payment, [Answer(own, outcome, replayed=True)]


def _behind(payment: Payment, own: int, command: Command, *, overdue: bool) -> Payment:
    """Let a command join what is in flight if it asks for that, else keep it whole."""
    state, voided = payment.state, payment.reason == "voided"
    if command.type == "cancel":
        if state in {"pending", "authorizing"}:
            return _joined(replace(payment, state="cancelling"), own, command, replayed=False)
        same = state == "releasing" and voided and not payment.captured
        if same or state in {"cancelling", "reversing"}:
            return _joined(payment, own, command, replayed=True)
    if command.type == "void" and state == "releasing" and voided:
        return _joined(payment, own, command, replayed=True)
    return replace(payment, queue=(*payment.queue, Queued(own, command, overdue)))


def _joined(payment: Payment, own: int, command: Command, *, replayed: bool) -> Payment:
    return replace(payment, waiters=(*payment.waiters, Waiter(own, command.type, replayed)))


def _capture(payment: Payment, own: int, command: Command, *, overdue: bool) -> Decided:
    if payment.state != "authorized":
        ended = {"cancelled": "cancelled", "lapsed": "hold_expired", "declined": "declined"}
        reason = "nothing_held" if payment.type == "authorize" else "not_authorized"
        return payment, [Answer(own, "rejected", ended.get(payment.state, reason))]
    if overdue:
        return replace(end_hold(payment), queue=(Queued(own, command, overdue=True),)), []
    moved = payment.held if command.amount is None else command.amount
    if moved > payment.held:
        return payment, [Answer(own, "rejected", "over_capture")]
    ends = payment.held if command.final else moved
    moves = Transfer("capture", -moved, -ends, command.part)
    return _part(payment, own, command, "capturing", moves), []


def _refund(payment: Payment, own: int, command: Command) -> Decided:
    if payment.state == "cancelled":
        return payment, [Answer(own, "rejected", "cancelled")]
    if not payment.captured:
        return payment, [Answer(own, "rejected", "nothing_captured")]
    left = payment.captured - payment.refunded
    moved = left if command.amount is None else command.amount
    if moved > left or not moved:
        return payment, [Answer(own, "rejected", "over_refund")]
    moves = Transfer("refund", moved, part=command.part)
    return _part(payment, own, command, "refunding", moves), []


def _part(payment: Payment, own: int, command: Command, state: str, moves: Transfer) -> Payment:
    part = Part(command.part, command.type, command.amount, command.final, abs(moves.balance))
    parts = (*payment.parts, part)
    started = replace(payment, state=state, transfer=moves, parts=parts)
    return _joined(started, own, command, replayed=False)


def _undo(payment: Payment, own: int, command: Command) -> Decided:
    """Decide a void or cancel while nothing is in flight."""
    if payment.state in {"cancelled", "lapsed"}:
        return payment, [Answer(own, payment.state, payment.reason, replayed=True)]
    if payment.state == "declined":
        prevented = replace(payment, state="cancelled", reason="prevented")
        return prevented, [Answer(own, "cancelled", "prevented")]
    authorized = payment.state == "authorized"
    if authorized and (command.type == "void" or not payment.captured):
        return _joined(_release(payment, "voided"), own, command, replayed=False), []
    if command.type == "void":
        reason = "nothing_held" if payment.type == "authorize" else "not_authorized"
        return payment, [Answer(own, "rejected", reason)]
    left = payment.captured - payment.refunded
    if not authorized and not left:
        cancelled = replace(payment, state="cancelled", reason="rolled_back")
        return cancelled, [Answer(own, "cancelled", "rolled_back")]
    moves = Transfer("rollback", left, -payment.held)
    reversing = replace(payment, state="reversing", transfer=moves)
    return _joined(reversing, own, command, replayed=False), []


def _release(payment: Payment, reason: str) -> Payment:
    moves = Transfer("release", held=-payment.held)
    return replace(payment, state="releasing", reason=reason, transfer=moves)


def end_hold(payment: Payment) -> Payment:
    """Return an authorized payment whose hold's time is over."""
    return _release(payment, "hold_expired")


def settle(payment: Payment, *, ok: bool, pin: bool) -> Decided:
    """End the transfer in flight; ``pin``: a payment that is declined is kept."""
    after, answers = _settled(payment, ok=ok, pin=pin)
    queue: tuple[Queued, ...] = payment.queue
    while queue and (after is None or after.state not in IN_FLIGHT):
        first, queue = queue[0], queue[1:]
        after, more = decide(after, first.id, first.command, overdue=first.overdue)
        answers += more
    if after is not None and queue:
        after = replace(after, queue=(*after.queue, *queue))
    return after, answers


def _settled(payment: Payment, *, ok: bool, pin: bool) -> Decided:
    rest = replace(payment, reason="", transfer=None, waiters=(), queue=())
    if payment.state in {"pending", "authorizing"}:
        if ok:
            return _begun(payment, rest)
        declined = replace(rest, state="declined", reason="insufficient_funds")
        return declined if pin else None, _all(payment, "declined", "insufficient_funds")
    if payment.state == "cancelling":
        return _cancelling_settled(payment, rest, ok=ok)
    if payment.state in {"capturing", "refunding"}:
        assert ok, "no account of the walk declines it"
        return _part_settled(payment, rest)
    if payment.state == "releasing":
        assert ok, "what is held can always be released"
        return _released(payment, rest)
    assert ok, "no account of the walk declines it"
    cancelled = replace(
        rest, state="cancelled", reason="rolled_back", refunded=rest.captured, holds=False
    )
    return cancelled, _all(payment, "cancelled", "rolled_back")


def _begun(payment: Payment, rest: Payment) -> Decided:
    if payment.type == "authorize":
        return replace(rest, state="authorized", holds=True), _all(payment, "authorized")
    return replace(rest, state="completed", captured=rest.amount), _all(payment, "completed")


def _cancelling_settled(payment: Payment, rest: Payment, *, ok: bool) -> Decided:
    if not ok:
        cancelled = replace(rest, state="cancelled", reason="prevented")
        return cancelled, _all(payment, "cancelled", "prevented")
    waits_on = replace(rest, waiters=payment.waiters)
    if payment.type == "authorize":
        return _release(replace(waits_on, holds=True), "voided"), []
    moves = Transfer("rollback", payment.amount)
    return replace(waits_on, state="reversing", captured=payment.amount, transfer=moves), []


def _part_settled(payment: Payment, rest: Payment) -> Decided:
    part = payment.parts[-1]
    if part.type == "refund":
        state = "authorized" if rest.holds else "completed"
        refunded = replace(rest, state=state, refunded=rest.refunded + part.moved)
        return refunded, _all(payment, "refunded")
    captured = rest.captured + part.moved
    holds = not part.final and captured < rest.amount
    state = "authorized" if holds else "completed"
    return replace(rest, state=state, captured=captured, holds=holds), _all(payment, "captured")


def _released(payment: Payment, rest: Payment) -> Decided:
    lapses = payment.reason == "hold_expired"
    if payment.captured:
        state, outcome = "completed", "voided"
    else:
        state = outcome = "lapsed" if lapses else "cancelled"
    answers = _all(payment, outcome, payment.reason)
    if lapses:
        answers.append(Answer(None, "lapsed", "hold_expired"))
    stays = "" if payment.captured else payment.reason
    return replace(rest, state=state, reason=stays, holds=False), answers


def _all(payment: Payment, outcome: str, reason: str = "") -> list[Answer]:
    """Tell every command that has joined; who asked for an authorize learns what became of that."""
    return [
        Answer(
            waiter.id,
            "authorized" if waiter.type == "authorize" and outcome == "voided" else outcome,
            reason,
            waiter.replayed,
        )
        for waiter in payment.waiters
    ]


COMMANDS = (
    Command("authorize", amount=2),
    Command("make", amount=2),
    Command("capture", "c1", 1, final=False),
    Command("capture", "c2", None),
    Command("capture", "c3", 3),
    Command("capture", "c4", 1),
    Command("void"),
    Command("cancel"),
    Command("refund", "r1", 1),
    Command("refund", "r2", 1),
    Command("refund", "r3", None),
)
OUTCOMES = {
    "authorize": {"authorized", "declined", "cancelled", "lapsed", "rejected"},
    "make": {"completed", "declined", "cancelled", "rejected"},
    "capture": {"captured", "rejected"},
    "void": {"voided", "cancelled", "lapsed", "rejected"},
    "cancel": {"cancelled", "lapsed", "rejected"},
    "refund": {"refunded", "rejected"},
}
"""What each type of command can be told."""


class Step(NamedTuple):
    """What happens next; ``spent``: a minor unit leaves the account otherwise."""

    event: Literal["command", "settled", "hold_ends", "spent"]
    id: int = 0
    overdue: bool = False

    @property
    def command(self) -> Command:
        """The command that is sent; its id tells which."""
        return COMMANDS[self.id % len(COMMANDS)]


class World(NamedTuple):
    """A payment, its account, and what an observer knows besides."""

    payment: Payment | None
    account: Account
    spent: int = 0
    """How much was taken from the account otherwise."""

    sent: int = 0
    """The commands so far."""

    lapsed: bool = False
    """Whether there was a notice."""

    @property
    def account_and_rest(self) -> tuple[Account, int, bool]:
        """All but the payment and the number of commands."""
        return self.account, self.spent, self.lapsed


class Walked(NamedTuple):
    """One step of the walk, between two of its numbered states."""

    source: int
    step: Step
    target: int
    is_new: bool
    """Whether the walk had not seen its target."""

    before: World
    after: World
    answers: list[Answer]


def walk(*, opening: int, pin: bool, most_waiting: int = 3, late: bool = False) -> Iterator[Walked]:
    """Yield every step from every state, nearest states first.

    ``opening`` is the first balance. A capture comes after the hold's time, too: while the payment
    is authorized, and with ``late`` also while something is in flight.
    """
    start = World(None, Account(opening))
    numbers, ahead = {_without_ids(start): 0}, deque([(0, start)])
    while ahead:
        source, before = ahead.popleft()
        for step in _steps(before, most_waiting, late=late):
            after, answers = _take(before, step, pin=pin)
            _check_answers(before, step, after, answers)
            key, known = _without_ids(after), len(numbers)
            target = numbers.setdefault(key, known)
            if target == known:
                _check_state(after, opening)
                ahead.append((target, after))
            yield Walked(source, step, target, target == known, before, after, answers)


def _without_ids(world: World) -> tuple[object, ...]:
    """Return what distinguishes two states: of the commands that wait, what they ask for."""
    payment, many = world.payment, len(COMMANDS)
    if payment is None:
        return (None, *world.account_and_rest)
    waiters = tuple((waiter.id % many, waiter.replayed) for waiter in payment.waiters)
    ends = payment.state == "releasing" and payment.reason == "hold_expired"  # For all, then.
    queue = tuple((queued.id % many, queued.overdue and not ends) for queued in payment.queue)
    return (replace(payment, waiters=(), queue=()), waiters, queue, *world.account_and_rest)


def _steps(world: World, most_waiting: int, *, late: bool) -> Iterator[Step]:
    payment, account = world.payment, world.account
    authorized = payment is not None and payment.state == "authorized"
    if len(_waiting(payment)) < most_waiting:
        for index, command in enumerate(COMMANDS):
            own = world.sent * len(COMMANDS) + index
            yield Step("command", own)
            known = payment is not None and any(part.id == command.part for part in payment.parts)
            may_be_late = authorized or (late and payment is not None)
            if may_be_late and command.type == "capture" and not known:
                yield Step("command", own, overdue=True)
    if payment is not None and payment.transfer is not None:
        yield Step("settled")
    if authorized:
        yield Step("hold_ends")
    if account.balance - account.held >= 1 and not world.spent:
        yield Step("spent")


def _take(world: World, step: Step, *, pin: bool) -> tuple[World, list[Answer]]:
    payment, account = world.payment, world.account
    if step.event == "spent":
        return world._replace(account=Account(account.balance - 1, account.held), spent=1), []
    if step.event == "command":
        after, answers = decide(payment, step.id, step.command, overdue=step.overdue)
        return world._replace(payment=after, sent=world.sent + 1), answers
    assert payment is not None
    if step.event == "hold_ends":
        return world._replace(payment=end_hold(payment)), []
    assert payment.transfer is not None
    posted = post(account, payment.transfer)
    after, answers = settle(payment, ok=posted is not None, pin=pin)
    lapsed = world.lapsed or any(answer.command is None for answer in answers)
    return world._replace(payment=after, account=posted or account, lapsed=lapsed), answers


def _waiting(payment: Payment | None) -> list[int]:
    """Return the ids of the commands that wait."""
    if payment is None:
        return []
    return [*(waiter.id for waiter in payment.waiters), *(queued.id for queued in payment.queue)]


def _check_answers(before: World, step: Step, after: World, answers: list[Answer]) -> None:
    """Check that each command waits or has its answer, and that a lapse has its notice."""
    commands = _waiting(before.payment) + ([step.id] if step.event == "command" else [])
    answered = [answer.command for answer in answers if answer.command is not None]
    assert sorted(answered + _waiting(after.payment)) == sorted(commands), (before, step, answers)
    for answer in answers:
        if answer.command is not None:
            sent = COMMANDS[answer.command % len(COMMANDS)]
            assert answer.outcome in OUTCOMES[sent.type], (before, step, answer)
    payment = before.payment
    lapses = step.event == "settled" and payment is not None and payment.state == "releasing"
    lapses = lapses and payment is not None and payment.reason == "hold_expired"
    assert len(answers) - len(answered) == lapses, (before, step, answers)
    assert not (lapses and before.lapsed), "a hold lapses once"


def _check_state(world: World, opening: int) -> None:
    """Check the amounts, and while nothing is in flight also that the account agrees."""
    payment, account = world.payment, world.account
    assert 0 <= account.held <= account.balance, world
    if payment is None:
        assert account == Account(opening - world.spent), world
        return
    assert 0 <= payment.refunded <= payment.captured <= payment.amount, world
    assert len({part.id for part in payment.parts}) == len(payment.parts), world
    assert (payment.transfer is not None) == (payment.state in IN_FLIGHT), world
    if payment.transfer is None:
        assert not payment.waiters, world
        assert not payment.queue, world
        assert account.held == payment.held, world
        took = payment.captured - payment.refunded
        assert account.balance == opening - world.spent - took, world
