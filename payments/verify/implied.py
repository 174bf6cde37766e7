"""What each result implies about its payment's money, and the history that all of them imply.

A payment's id may be used again after a decline (policy ``retry``) and after expiry, so its results
describe one life after another. In each life the money moves at most once, and back at most once.
The results of a payment are in one partition, so their order is that of the decisions.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from payments.domain.results import Outcome, Reason
from payments.records.record_models import Result

from .facts import digest


class Implied(IntEnum):
    """What one result implies about its payment at that moment."""

    NOTHING = 0  # A rejection that depends on no payment.
    MOVED_NOW = 1  # The money has moved: the first result that says so.
    MOVED = 2
    MOVED_BACK = 3
    PREVENTED = 4
    DECLINED = 5
    NO_PAYMENT = 6  # There is none, or it was declined and its row deleted.
    EXPIRED = 7
    IN_FLIGHT = 8
    CANCELLED = 9  # Prevented or moved back: the result does not say which.


BY_STATE = {
    "pending": Implied.IN_FLIGHT,
    "cancelling": Implied.IN_FLIGHT,
    "reversing": Implied.IN_FLIGHT,
    "completed": Implied.MOVED,
    "declined": Implied.DECLINED,
    "cancelled": Implied.CANCELLED,
}
CANCELLED_FOR: dict[str, Implied] = {
    Reason.PREVENTED: Implied.PREVENTED,
    Reason.ROLLED_BACK: Implied.MOVED_BACK,
}
_IMPLIED: dict[tuple[str, str | None], Implied] = {
    (Outcome.COMPLETED, "completed"): Implied.MOVED,
    (Outcome.CANCELLED, "cancelled"): Implied.CANCELLED,
    (Outcome.DECLINED, "declined"): Implied.DECLINED,
    (Outcome.DECLINED, None): Implied.NO_PAYMENT,
    (Outcome.NOT_FOUND, None): Implied.NO_PAYMENT,
    (Outcome.EXPIRED, None): Implied.EXPIRED,
    (Outcome.REJECTED, None): Implied.NOTHING,
    **{(Outcome.REJECTED, state): what for state, what in BY_STATE.items()},
    **{(Outcome.FOUND, state): what for state, what in BY_STATE.items()},
}


def implied_by(result: Result) -> Implied | None:
    """Return what a result implies; None when its fields contradict each other."""
    what = _IMPLIED.get((result.outcome, result.state))
    if (result.command is None) != (result.outcome is Outcome.EXPIRED):
        return None
    if what is Implied.CANCELLED and result.outcome is not Outcome.REJECTED:
        return None if result.reason is None else CANCELLED_FOR.get(result.reason)
    if result.outcome is Outcome.COMPLETED and what is not None and not result.replayed:
        return Implied.MOVED_NOW
    return what


def terms(account: str, amount: int, currency: str) -> int:
    """Return the hash of a movement: an amount to an account, or from it when negative."""
    return digest((account, amount, currency))


def terms_of(result: Result) -> int:
    """Return the terms of a result's payment; 0 where the result does not say its direction."""
    if result.type not in ("make", "deposit") or result.outcome is Outcome.REJECTED:
        return 0
    if result.account is None or result.amount is None or result.currency is None:
        return 0
    amount = result.amount if result.type == "deposit" else -result.amount
    return terms(result.account, amount, result.currency)


@dataclass(slots=True)
class Life:
    """One use of an id, from its first command to its decline or expiry."""

    money: Implied
    """MOVED or MOVED_BACK; PREVENTED or DECLINED where no money moves any more."""

    terms: int
    """0 where no result has them."""

    word: int
    """Code and address of the result that changed ``money`` last."""


@dataclass(slots=True)
class PaymentHistory:
    """The history that the results of one payment imply."""

    lacks_first: bool = False
    """Whether retention may have deleted the payment's first results."""

    lives: list[Life] = field(default_factory=list)
    """Lives in which money moved, or was prevented from moving."""

    last: Implied | None = None
    """What the last result implies; None when no result implies anything."""

    last_word: int = 0
    contradictions: list[tuple[int, str]] = field(default_factory=list)
    _alive: Life | None = None

    def read(self, results: Iterable[tuple[Implied, int, int]]) -> "PaymentHistory":
        """Replay results: what each implies, its terms, its code and address."""
        for what, its_terms, word in results:
            if what is Implied.NOTHING:
                continue
            self._live(what, its_terms, word)
            self.last, self.last_word = what, word
        return self

    def _live(self, what: Implied, its_terms: int, word: int) -> None:
        life = self._alive
        if what in (Implied.EXPIRED, Implied.NO_PAYMENT):
            if what is Implied.NO_PAYMENT and life is not None:
                self._contradict(word, f"there is no payment, but it was {_said(life.money)}")
            elif what is Implied.EXPIRED and life is None and self._is_nothing():
                self._contradict(word, "it has expired, but there was no payment")
            self._alive = None
        elif what in (Implied.IN_FLIGHT, Implied.CANCELLED):
            if what is Implied.CANCELLED and life is not None and life.money is Implied.MOVED:
                self._contradict(word, "it is cancelled, but no result said that it was undone")
        elif life is None:
            money = Implied.MOVED if what is Implied.MOVED_NOW else what
            self._alive = Life(money, its_terms, word)
            self.lives.append(self._alive)
        else:
            self._continue_life(life, what, its_terms, word)

    def _continue_life(self, life: Life, what: Implied, its_terms: int, word: int) -> None:
        if its_terms and life.terms and its_terms != life.terms:
            self._contradict(word, "another account, amount or currency than before")
        life.terms = life.terms or its_terms
        now, before = what, life.money
        if what is Implied.MOVED_NOW:
            now = Implied.MOVED
            if before is Implied.MOVED:
                self._contradict(word, "completed a second time, not as a repetition")
        # A declined payment may be cancelled, and a completed one undone; nothing else changes.
        possible = {before, Implied.PREVENTED if before is Implied.DECLINED else before}
        if before is Implied.MOVED:
            possible.add(Implied.MOVED_BACK)
        if now not in possible:
            self._contradict(word, f"{_said(now)}, but it was {_said(before)} before")
        if now is not before:
            life.money, life.word = now, word

    def _is_nothing(self) -> bool:
        """Whether there is no payment, according to the results before this one."""
        if self.last is None:
            return not self.lacks_first
        return self.last in (Implied.EXPIRED, Implied.NO_PAYMENT)

    def _contradict(self, word: int, message: str) -> None:
        self.contradictions.append((word, message))

    @property
    def forward(self) -> list[Life]:
        """The lives in which money moved."""
        return [
            life
            for life in self.lives
            if life.money is Implied.MOVED or life.money is Implied.MOVED_BACK
        ]

    @property
    def back(self) -> list[Life]:
        """The lives in which it moved back."""
        return [life for life in self.lives if life.money is Implied.MOVED_BACK]


def _said(money: Implied) -> str:
    return {
        Implied.MOVED: "completed",
        Implied.MOVED_BACK: "rolled back",
        Implied.PREVENTED: "prevented",
        Implied.DECLINED: "declined",
    }[money]
