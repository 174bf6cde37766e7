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

from msgspec.structs import replace

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
from .entries import Guess, end_of, parts_of, row_of
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

    guesses: tuple[Guess, ...] = ()
    """What of the row no record says."""


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
    stored = _with_metadata(life.row(_request(forward, life)), forward[-1:])
    if stored is not None and not life.has_time and forward:
        posted = _from_ledger(forward, back)
        if posted.state is stored.state and not is_due(posted.time_ms):
            stored = posted
    return Settlement(stored)


_OPENINGS = frozenset({"make", "deposit", "authorize"})
_NONE: tuple[Guess, ...] = ()
LIFECYCLE = frozenset({"hold", "capture", "release", "refund"})
_CONTRADICTED = (
    "the results and the ledger have different amounts of it: payments verify shows it; restore "
    "the results from a replica or a backup"
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
        del of_former  # They are shown by results that retention has deleted.
        own = _of_last_life([m for m in movements if not any(m is each for each in new)])
        row, guesses = self._row(own, waiting, is_due)
        answered = row.answered
        if not new:
            return row._replace(guesses=guesses)
        left = [each for each in waiting if each not in answered]
        later = self._in_flight(row.row, new, left)
        return later._replace(answered=(*answered, *later.answered), guesses=guesses)

    def _row(
        self,
        own: Sequence[Movement],
        waiting: Sequence[Waiting],
        is_due: Callable[[int], bool],
    ) -> tuple[Settlement, tuple[Guess, ...]]:
        """Return the row before what is in flight, and what of it no record says.

        The settlement has no answers: those commands were answered, and retention has deleted it.
        """
        life = self._life
        if life.state is not None:
            parts, is_certain = parts_of(own, life.parts, self._part)
            self._require_same_amounts(own, parts)
            forward = [movement for movement in own if _kind(movement) == "forward"]
            row = life.row(_request(forward, life), parts)
            row = _with_metadata(row, own)
            if row is not None and not life.has_time and own:
                row = _as_posted(row, row_of(own, parts, end_of(own[0], life.expires_ms)))
            return Settlement(row), () if is_certain else (Guess.PARTS,)
        if life.is_there is False or not own:
            return Settlement(None), ()
        again = self._replayed(own, waiting)
        if again is not None:
            row = again.row
            found, guesses = Settlement(row, (), again.answered, again.time_ms), _NONE
        else:
            row, guesses = self._from_entries(own, waiting)
            found = Settlement(row)
        if row is not None and not row.held and is_due(row.time_ms):
            return Settlement(None, answered=found.answered), ()
        return found, guesses

    def _from_entries(
        self, own: Sequence[Movement], waiting: Sequence[Waiting]
    ) -> tuple[Payment, tuple[Guess, ...]]:
        """Return the row as the ledger has it."""
        parts, is_certain = parts_of(own, self._life.parts, self._part)
        known_ms = self._life.expires_ms
        first = self._begun_by(own[0], waiting)
        if known_ms is None and first is not None:
            begun = self._decide(None, first, first.place.time_ms).payment
            known_ms = None if begun is None else begun.hold_expires_ms
        end = end_of(own[0], known_ms)
        row = row_of(own, parts, end)
        guesses = _NONE if is_certain else (Guess.PARTS,)
        if not end.is_known and row.held:
            guesses = (*guesses, Guess.END)
        elif not end.is_known and row.reason is Reason.VOIDED:
            guesses = (*guesses, Guess.ENDED)
        return row, guesses

    def _begun_by(self, began: Movement, waiting: Sequence[Waiting]) -> Waiting | None:
        """Return the command that began a life; None where it is deleted.

        Earlier ones with the same request were declined, or began an earlier life. So it is the
        last one before the entry: an end of the hold that is too late by moments is harmless.
        """
        found = None
        for each in waiting:
            transfer = self._decide(None, each, each.place.time_ms).transfer
            is_in_time = found is None or each.place.time_ms <= began.time_ms
            if is_in_time and transfer is not None and _is_of(transfer, began):
                found = each
        return found

    def _replayed(self, own: Sequence[Movement], waiting: Sequence[Waiting]) -> Settlement | None:
        """Decide again what was answered before; None where some of its commands are deleted."""
        first = self._begun_by(own[0], waiting)
        if first is None:
            return None
        later = [each for each in waiting if each.place.time_ms >= first.place.time_ms]
        others = [each for each in later if each.command.type not in _OPENINGS]
        settlement = self._decide_again(None, own, [first, *others])
        row = None if settlement is None else settlement.row
        ends_ms = 0 if row is None else row.hold_expires_ms or 0
        if row is not None and row.state is State.LAPSED and own[-1].time_ms < ends_ms:
            return None  # A void ended it, whose command is deleted.
        return settlement

    def _require_same_amounts(self, own: Sequence[Movement], parts: Sequence[Part]) -> None:
        """Raise ``RecoveryRefused`` where the results show other amounts than the ledger."""
        life = self._life
        if life.captured is None:
            return
        captured = sum(part.moved for part in parts if part.type == "capture")
        refunded = sum(part.moved for part in parts if part.type == "refund")
        undone = life.state == State.CANCELLED
        wrong = (
            sum(movement.held for movement in own) != life.held,
            life.type == "authorize" and captured != life.captured,
            refunded != life.refunded and not undone,
        )
        if any(wrong):
            raise self._refusal(_CONTRADICTED)

    def _part(self, seen: PartSeen) -> Part | None:
        return self._part_of(self._payment, seen)

    def _in_flight(
        self, row: Payment | None, new: Sequence[Movement], waiting: Sequence[Waiting]
    ) -> Settlement:
        """Decide again what moved the money that no result shows, with the table, in its order."""
        found = self._decide_again(row, new, waiting)
        if found is None:
            raise self._refusal(
                "the ledger has a movement of it that no result shows, and no unanswered command "
                "asked for: payments verify shows it; restore the results from a replica or a "
                "backup"
            )
        return found

    def _decide_again(
        self, row: Payment | None, new: Sequence[Movement], waiting: Sequence[Waiting]
    ) -> Settlement | None:
        """Return what these commands have decided; None where one of the movements is of none."""
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
                return None
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


def _of_last_life(movements: Sequence[Movement]) -> list[Movement]:
    """Return the movements from the last one on that began a life, in their order."""
    in_order = sorted(movements, key=_time)
    begins = [number for number, m in enumerate(in_order) if _kind(m) in {"forward", "hold"}]
    return in_order[begins[-1] if begins else 0 :]


def shows_all(life: Life, movements: Sequence[Movement]) -> bool:
    """Whether these movements have all amounts that the results of the present life show."""
    own = _of_last_life(movements)
    moved = Counter({"capture": 0, "refund": 0})
    for movement in own:
        moved[movement.kind] += abs(movement.amount)
    undone = life.state == State.CANCELLED
    return (
        sum(movement.held for movement in own) == life.held
        and (life.type != "authorize" or moved["capture"] == life.captured)
        and (moved["refund"] == life.refunded or undone)
    )


def _as_posted(row: Payment, posted: Payment) -> Payment:
    """Return a row that only a later answer shows, with what the ledger adds: when, and why."""
    if posted.state is not row.state:
        return row
    reason, request = row.reason or posted.reason, row.request or posted.request
    time_ms = min(row.time_ms, posted.time_ms)
    return replace(row, time_ms=time_ms, reason=reason, request=request)


def _with_metadata(row: Payment | None, own: Sequence[Movement]) -> Payment | None:
    """Return a row with the metadata of its payment's first entry, where no result has it."""
    if row is None or row.metadata is not None or not own:
        return row
    return replace(row, metadata=own[0].metadata)


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
    state, reason = State.COMPLETED, None
    if len(back) == len(forward):
        state, reason = State.CANCELLED, Reason.ROLLED_BACK
    return Payment(state, time_ms, request, reason, metadata=forward[-1].metadata)


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
        waiters = tuple(map(_waiter, answered))
        metadata = forward[-1].metadata
        row = Payment(State.PENDING, time_ms, request, None, waiters, metadata=metadata)
    else:
        time_ms = back[-1].time_ms
        request = life.request or _request_of(forward[-1])
        metadata = forward[-1].metadata
        row = Payment(State.COMPLETED, life.time_ms, request, metadata=metadata)
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
