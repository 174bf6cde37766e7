"""Settling: the row of a payment, derived from its results and from its movements in the ledger.

Results and ledger are written by two journals, so at any moment one may be ahead of the other:

- The ledger has a movement that no result shows: the transfer was posted, and the payment was still
  waiting. The payment table settles it here, and the waiting commands are answered.
- A result shows a movement that the ledger lacks: it is posted now, since a client has the result.

Everything else that was in flight had no visible effect. It is dropped, and the unanswered commands
are decided again.
"""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from payments.domain.account import COUNTER_OF, Kind, Settled, Transfer
from payments.domain.commands import Cancel, Command, Deposit, Make
from payments.domain.payment import Decision, Payment, Policy, Received, State, decide
from payments.domain.results import Answer, Reason, Request

from .balances import Movement
from .errors import RecoveryRefused
from .lives import Life
from .unanswered import Place

_POSTED = Settled(ok=True)


class Waiting(NamedTuple):
    """An unanswered command of a payment."""

    id: str
    """The id in its answer."""

    own: str
    """Its name in ``Unanswered``."""

    place: Place
    command: Command


class Settlement(NamedTuple):
    """The row of a payment, and the answers and transfers for what was in flight."""

    row: Payment | None
    answers: tuple[Answer, ...] = ()
    answered: tuple[Waiting, ...] = ()
    """Commands that ``answers`` are for."""

    time_ms: int = 0
    """Time of the answers."""

    missing: tuple[Transfer, ...] = ()
    """Transfers that results show and the ledger lacks."""


def settle(
    payment: str,
    life: Life | None,
    movements: Sequence[Movement],
    waiting: Sequence[Waiting],
    *,
    policy: Policy,
    results_expired_before_ms: float,
    is_due: Callable[[int], bool],
) -> Settlement:
    """Return the settlement of a payment.

    ``waiting`` are its unanswered commands in their order. Retention may have deleted results from
    before ``results_expired_before_ms``: movements of that time count as answered. ``is_due(ms)``
    is true when a payment that last changed at that time has expired by now. Raises
    ``RecoveryRefused`` where ledger and results contradict each other.
    """
    life = Life() if life is None else life
    forward = sorted((m for m in movements if m.kind != "rollback"), key=_time)
    back = sorted((m for m in movements if m.kind == "rollback"), key=_time)
    moved = _extra(forward, life.forward, results_expired_before_ms)
    moved_back = _extra(back, life.back, results_expired_before_ms)
    alive = life.state is not None and not is_due(life.time_ms)
    if moved > 1 or moved_back > 1 or (moved > 0 and alive) or moved * moved_back < 0:
        message = (
            f"payment {payment!r} moved its money {len(forward)} times and back {len(back)} times, "
            f"its results say {life.forward} and {life.back}: payments verify shows it"
        )
        raise RecoveryRefused(message)
    if moved < 0 or moved_back < 0:
        return _lacking(payment, life, forward, moved, moved_back)
    if moved or moved_back:
        both, undone = (forward, back), moved_back > 0
        return _in_flight(
            payment, life, both, waiting, policy=policy, moved=moved > 0, undone=undone
        )
    if forward and not life.has_result:
        row = _from_ledger(forward, back)
        return Settlement(None if is_due(row.time_ms) else row)
    return Settlement(life.row(_request(forward, life)))


def _time(movement: Movement) -> int:
    return movement.time_ms


def _extra(found: Sequence[Movement], in_results: int, results_expired_before_ms: float) -> int:
    """Return how many movements no result shows, or how many are missing (below zero)."""
    extra = len(found) - in_results
    if extra <= 0:
        return extra
    return max(0, extra - sum(movement.time_ms <= results_expired_before_ms for movement in found))


def _request(forward: Sequence[Movement], life: Life) -> Request | None:
    """Return a payment's request; from the ledger where no result says if it is a make."""
    if life.request is not None or not forward or not life.has_forward:
        return life.request
    return _request_of(forward[-1])


def _request_of(movement: Movement) -> Request:
    type_: Literal["make", "deposit"] = "make" if movement.kind == "make" else "deposit"
    return Request(type_, movement.account, abs(movement.amount), movement.currency)


def _from_ledger(forward: Sequence[Movement], back: Sequence[Movement]) -> Payment:
    """Return the row of a payment whose results were all deleted by retention."""
    request, time_ms = _request_of(forward[-1]), max(m.time_ms for m in (*forward, *back))
    if len(back) == len(forward):
        return Payment(State.CANCELLED, time_ms, request, Reason.ROLLED_BACK)
    return Payment(State.COMPLETED, time_ms, request)


def _in_flight(
    payment: str,
    life: Life,
    movements: tuple[Sequence[Movement], Sequence[Movement]],
    waiting: Sequence[Waiting],
    *,
    policy: Policy,
    moved: bool,
    undone: bool,
) -> Settlement:
    """Settle a payment whose last movement no result shows, and its waiting commands.

    The payment table does it: from pending on, or from completed on where a result shows that.
    """
    forward, back = movements
    answered: list[Waiting] = []
    if moved:
        time_ms, request = forward[-1].time_ms, _request_of(forward[-1])
        starter = next((w for w in waiting if _starts(w.command, request)), None)
        answered += [] if starter is None else [starter]
        row = Payment(State.PENDING, time_ms, request, None, tuple(map(_waiter, answered)))
    else:
        time_ms = back[-1].time_ms
        row = Payment(State.COMPLETED, life.time_ms, life.request or _request_of(forward[-1]))
    if undone:
        time_ms = back[-1].time_ms
        cancel = next((w for w in waiting if isinstance(w.command, Cancel)), None)
        answered += [] if cancel is None else [cancel]
        received = Received(Cancel(), "" if cancel is None else cancel.id)
        row = _after(decide(row, received, time_ms=time_ms, policy=policy), payment)
    answers: tuple[Answer, ...] = ()
    for _ in range(moved + undone):  # Each transfer, forward and back, was posted.
        decision = decide(row, _POSTED, time_ms=time_ms, policy=policy)
        row, answers = _after(decision, payment), decision.answers
    known = {waiter.id for waiter in answered}
    kept = tuple(answer for answer in answers if answer.command in known)
    return Settlement(row, kept, tuple(answered), time_ms)


def _after(decision: Decision, payment: str) -> Payment:
    assert decision.payment is not None, f"{payment!r} has moved its money: its row must remain"
    return decision.payment


def _starts(command: Command, request: Request) -> bool:
    return isinstance(command, (Make, Deposit)) and request == Request(
        command.type, command.account, command.amount, command.currency
    )


def _waiter(waiting: Waiting) -> tuple[str, str, bool]:
    return waiting.id, waiting.command.type, False


def _lacking(
    payment: str, life: Life, forward: Sequence[Movement], moved: int, moved_back: int
) -> Settlement:
    """Post the movements that a result shows and the ledger lacks, of the present life only."""
    request = _request(forward, life)
    missing: list[Transfer] = []
    if request is not None and moved == -1 and life.has_forward:
        missing.append(_transfer(request, payment, back=False))
    if request is not None and moved_back == -1 and life.has_back:
        missing.append(_transfer(request, payment, back=True))
    if len(missing) != -moved - moved_back:
        message = (
            f"results say that payment {payment!r} moved its money, and the ledger lacks it: "
            f"restore the ledger from a replica or a backup"
        )
        raise RecoveryRefused(message)
    return Settlement(life.row(request), time_ms=life.time_ms, missing=tuple(missing))


def _transfer(request: Request, payment: str, *, back: bool) -> Transfer:
    gives = (request.type == "deposit") != back
    amount = request.amount if gives else -request.amount
    kind: Kind = "rollback" if back else request.type
    counter = COUNTER_OF[request.type]
    return Transfer(kind, request.account, amount, request.currency, counter, payment)
