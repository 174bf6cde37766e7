"""Settling: the row of a payment, derived from its results and from its movements in the ledger.

Results and ledger are written by two journals, so at any moment one may be ahead of the other:

- The ledger has a movement that no result shows: the transfer was posted, and the payment was still
  waiting. The payment table settles it here, and the waiting commands are answered.
- A result shows a movement that the ledger lacks: it is posted now, since a client has the result.

Everything else that was in flight had no visible effect. It is dropped, and the unanswered commands
are decided again.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from payments.domain.account import COUNTER_OF, Kind, Settled, Transfer
from payments.domain.commands import Cancel, Command, Deposit, Make
from payments.domain.payment import (
    Decision,
    HoldEnds,
    Part,
    Payment,
    Policy,
    Received,
    decide,
)
from payments.domain.payment_table import State
from payments.domain.results import Answer, Reason, Request

from .balances import Movement
from .errors import RecoveryRefused
from .lives import Life, PartSeen
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
    part_of: Callable[[str, PartSeen], Part | None],
) -> Settlement:
    """Return the settlement of a payment.

    ``waiting`` are its unanswered commands in their order. Retention may have deleted results from
    before ``results_expired_before_ms``: movements of that time count as answered. ``is_due(ms)``
    is true when a payment that last changed at that time has expired by now; ``part_of`` returns
    a capture or refund as its command had it. Raises ``RecoveryRefused`` where ledger and results
    contradict each other, or do not say what the row was.
    """
    life = Life() if life is None else life
    movements = [movement for movement in movements if movement.time_ms > life.ended_ms]
    if life.has_amounts or any(m.held or m.kind in LIFECYCLE for m in movements):
        own = _Lifecycle(payment, life, policy, part_of)
        return own.settle(movements, waiting, results_expired_before_ms, is_due)
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


LIFECYCLE = frozenset({"hold", "capture", "release", "refund"})
_PARTS = frozenset({"capture", "refund"})
_RESULTS_DELETED = (
    "results of its captures or refunds were deleted: restore the results from a replica or a "
    "backup"
)


class _Lifecycle:
    """Settles a payment that holds money, or has parts: each movement is compared by its kind."""

    def __init__(
        self,
        payment: str,
        life: Life,
        policy: Policy,
        part_of: Callable[[str, PartSeen], Part | None],
    ) -> None:
        self._payment, self._life, self._policy = payment, life, policy
        self._part_of = part_of

    def settle(
        self,
        movements: Sequence[Movement],
        waiting: Sequence[Waiting],
        results_expired_before_ms: float,
        is_due: Callable[[int], bool],
    ) -> Settlement:
        """Return the settlement; the arguments are those of ``settle``."""
        life = self._life
        surplus = surplus_of(life, movements)
        lacking = [kind for kind, count in surplus.items() if count < 0]
        if lacking:
            raise self._refusal(
                f"results show a {lacking[0]} of it that the ledger lacks: restore the ledger from "
                f"a replica or a backup"
            )
        of_former, new = _without_results(movements, surplus, results_expired_before_ms)
        if of_former and not life.has_result and not is_due(of_former[-1].time_ms):
            raise self._refusal(
                "the ledger has movements of it whose results were deleted, and they alone say "
                "what it holds, captured and refunded: restore the results from a replica or a "
                "backup"
            )
        parts = self._parts()
        if life.state is not None:
            self._require_all_shown(parts, movements, new)
        forward = sorted((m for m in movements if _kind(m) == "forward"), key=_time)
        row = life.row(_request(forward, life), parts)
        return self._in_flight(row, new, waiting) if new else Settlement(row)

    def _require_all_shown(
        self, parts: Sequence[Part], movements: Sequence[Movement], new: Sequence[Movement]
    ) -> None:
        """Raise ``RecoveryRefused`` where the results that are left show less than was moved.

        Movements up to the last that began the payment are of former lives, which have ended:
        deleted results of those change nothing.
        """
        shown = [m for m in sorted(movements, key=_time) if not any(m is each for each in new)]
        begins = [number for number, m in enumerate(shown) if _kind(m) in {"forward", "hold"}]
        own = shown[begins[-1] if begins else 0 :]
        moved = Counter((m.kind, m.part, abs(m.amount)) for m in own if m.kind in _PARTS)
        held = sum(m.held for m in own)
        by_results = Counter((part.type, part.id, part.moved) for part in parts)
        if held != self._life.held or moved != by_results:
            raise self._refusal(_RESULTS_DELETED)

    def _parts(self) -> tuple[Part, ...]:
        life, parts = self._life, []
        if life.state is None:
            return ()
        for seen in life.parts:
            part = self._part_of(self._payment, seen)
            if part is None:
                raise self._refusal(
                    f"the command of its {seen.type} {seen.id!r} is not there, which says whether "
                    f"a repetition is the same: restore the commands from a replica or a backup"
                )
            parts.append(part)
        captured = sum(part.moved for part in parts if part.type == "capture")
        refunded = sum(part.moved for part in parts if part.type == "refund")
        undone = life.state == State.CANCELLED
        lacks_captures = life.type == "authorize" and captured != (life.captured or 0)
        if lacks_captures or (refunded != life.refunded and not undone):
            raise self._refusal(_RESULTS_DELETED)
        return tuple(parts)

    def _in_flight(
        self, row: Payment | None, new: Sequence[Movement], waiting: Sequence[Waiting]
    ) -> Settlement:
        """Decide again what moved the money that no result shows, with the table, in its order."""
        answered: list[Waiting] = []
        answers: list[Answer] = []
        time_ms = 0
        for movement in new:
            for each in (*waiting, None):
                if each in answered or (each is None and movement.kind != "release"):
                    continue
                decision = self._decide(row, each, movement.time_ms)
                if decision.transfer is not None and _is_of(decision.transfer, movement):
                    break
            else:
                raise self._refusal(
                    f"the ledger has a {movement.kind} of it that no result shows, and no "
                    f"unanswered command asked for: payments verify shows it; restore the results "
                    f"from a replica or a backup"
                )
            if each is not None:
                answered.append(each)
            assert decision.payment is not None, "a payment with a transfer is stored"
            # A broker's clock may be behind that of another: no hold lapses before its end.
            time_ms = max(time_ms, movement.time_ms, decision.payment.time_ms)
            told = decide(decision.payment, _POSTED, time_ms=time_ms, policy=self._policy)
            row = told.payment
            answers += [*decision.answers, *told.answers]
        return Settlement(row, tuple(answers), tuple(answered), time_ms)

    def _decide(self, row: Payment | None, waiting: Waiting | None, time_ms: int) -> Decision:
        """Decide a command, or the end of the hold."""
        if waiting is None:
            return decide(row, HoldEnds(), time_ms=time_ms, policy=self._policy)
        received = Received(waiting.command, waiting.id)
        return decide(row, received, time_ms=waiting.place.time_ms, policy=self._policy)

    def _refusal(self, why: str) -> RecoveryRefused:
        return RecoveryRefused(f"payment {self._payment!r} can't be rebuilt: {why}")


def surplus_of(life: Life, movements: Sequence[Movement]) -> Counter[str]:
    """Return by kind how many movements the results do not show; below zero where some lack."""
    surplus = Counter(_kind(m) for m in movements if m.time_ms > life.ended_ms)
    surplus.subtract({**life.moves, "forward": life.forward})
    surplus["rollback"] -= life.back
    return surplus


def _kind(movement: Movement) -> str:
    return "forward" if movement.kind in {"make", "deposit"} else movement.kind


def _without_results(
    movements: Sequence[Movement], surplus: Counter[str], results_expired_before_ms: float
) -> tuple[list[Movement], list[Movement]]:
    """Return the movements that no result shows: those of deleted results, and those in flight.

    ``surplus`` is their number by kind. The oldest have lost their results, the newest had none.
    """
    in_order, left = sorted(movements, key=_time), Counter(surplus)
    of_former: list[Movement] = []
    for movement in in_order:
        if movement.time_ms <= results_expired_before_ms and left[_kind(movement)] > 0:
            left[_kind(movement)] -= 1
            of_former.append(movement)
    new: list[Movement] = []
    for movement in reversed(in_order):
        if left[_kind(movement)] > 0:
            left[_kind(movement)] -= 1
            new.insert(0, movement)
    return of_former, new


def _is_of(transfer: Transfer, movement: Movement) -> bool:
    """Whether a movement is that of a transfer."""
    wants = (transfer.kind, transfer.account, transfer.amount, transfer.currency, transfer.held)
    has = (movement.kind, movement.account, movement.amount, movement.currency, movement.held)
    return wants == has and transfer.part == movement.part


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


_KINDS: dict[str, Kind] = {"make": "make", "deposit": "deposit"}


def _transfer(request: Request, payment: str, *, back: bool) -> Transfer:
    gives = (request.type == "deposit") != back
    amount = request.amount if gives else -request.amount
    kind: Kind = "rollback" if back else _KINDS[request.type]
    counter = COUNTER_OF[request.type]
    return Transfer(kind, request.account, amount, request.currency, counter, payment)
