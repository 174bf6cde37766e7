"""What each result implies about its payment's money, and the history that all of them imply.

A payment's id may be used again after a decline (policy ``retry``) and after expiry, so its results
describe one life after another. In each life the money moves at most once, and back at most once;
of what is held and refunded the results show the amounts (``lifecycle``).
The results of a payment are in one partition, so their order is that of the decisions.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from payments.domain.results import Outcome, Reason
from payments.records.record_models import Result

from .findings import Kind
from .lifecycle import Amounts, EntryDirection, Move, Shown, place_of_money, terms_at


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
    CANCELLED = 9  # Prevented, released or moved back: the result does not say which.
    AUTHORIZED = 10
    VOIDED = 11
    LAPSED = 12


BY_STATE = {
    "pending": Implied.IN_FLIGHT,
    "cancelling": Implied.IN_FLIGHT,
    "reversing": Implied.IN_FLIGHT,
    "completed": Implied.MOVED,
    "declined": Implied.DECLINED,
    "cancelled": Implied.CANCELLED,
    "authorizing": Implied.IN_FLIGHT,
    "authorized": Implied.AUTHORIZED,
    "capturing": Implied.IN_FLIGHT,
    "releasing": Implied.IN_FLIGHT,
    "refunding": Implied.IN_FLIGHT,
    "lapsed": Implied.LAPSED,
}
_AFTER_AUTHORIZE = ("authorized", "capturing", "refunding", "completed")
_AFTER_PART = (
    *_AFTER_AUTHORIZE,
    "releasing",
    "reversing",
    "cancelled",
)
CANCELLED_FOR: dict[str, Implied] = {
    Reason.VOIDED: Implied.VOIDED,
    Reason.PREVENTED: Implied.PREVENTED,
    Reason.ROLLED_BACK: Implied.MOVED_BACK,
}
_IMPLIED: dict[tuple[str, str | None], Implied] = {
    (Outcome.COMPLETED, "completed"): Implied.MOVED,
    (Outcome.COMPLETED, "refunding"): Implied.MOVED,
    (Outcome.CANCELLED, "cancelled"): Implied.CANCELLED,
    (Outcome.DECLINED, "declined"): Implied.DECLINED,
    (Outcome.DECLINED, "authorized"): Implied.AUTHORIZED,  # A refund: it stays what it was.
    (Outcome.DECLINED, "completed"): Implied.MOVED,
    (Outcome.VOIDED, "completed"): Implied.MOVED,
    (Outcome.LAPSED, "lapsed"): Implied.LAPSED,
    (Outcome.LAPSED, "completed"): Implied.MOVED,
    **{(Outcome.AUTHORIZED, state): BY_STATE[state] for state in _AFTER_AUTHORIZE},
    **{(Outcome.CAPTURED, state): BY_STATE[state] for state in _AFTER_PART},
    **{(Outcome.REFUNDED, state): BY_STATE[state] for state in _AFTER_PART},
    (Outcome.HOLD_ENDS_SOON, "authorized"): Implied.AUTHORIZED,
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
    if not _fits_its_command(result):
        return None
    if what is Implied.CANCELLED and result.outcome in {Outcome.CANCELLED, Outcome.FOUND}:
        return None if result.reason is None else CANCELLED_FOR.get(result.reason)
    if result.outcome is Outcome.COMPLETED and what is not None and not result.replayed:
        return Implied.MOVED_NOW
    return what


def _fits_its_command(result: Result) -> bool:
    """Whether a notice has an outcome of notices, and an answer one of its command's type."""
    outcome, kind, state = result.outcome, result.type, result.state
    if result.command is None:
        return (kind, outcome) in _NOTICES
    is_part = kind in {"capture", "refund"}
    is_new_part = is_part and outcome in _TYPES and not result.replayed
    wrong = (
        outcome in _NOTICES_ONLY or kind in {"expire", "lapse", "notice"},
        outcome in _TYPES and kind not in _TYPES[outcome],
        outcome is Outcome.DECLINED and state in _SETTLED and kind != "refund",
        outcome is Outcome.LAPSED and state != "lapsed",
        is_new_part and state not in _SETTLED,
        result.part is not None and not is_part,
        result.part_amount is not None and outcome not in _OF_A_PART,
        outcome in _OF_A_PART and (result.part is None or result.captured is None),
    )
    return not any(wrong)


_NOTICES = {
    ("expire", Outcome.EXPIRED),
    ("lapse", Outcome.LAPSED),
    ("notice", Outcome.HOLD_ENDS_SOON),
}
_NOTICES_ONLY = {Outcome.EXPIRED, Outcome.HOLD_ENDS_SOON}
_SETTLED = frozenset({"authorized", "completed"})
_OF_A_PART = frozenset({Outcome.CAPTURED, Outcome.REFUNDED})
_TYPES: dict[str, frozenset[str]] = {
    Outcome.AUTHORIZED: frozenset({"authorize"}),
    Outcome.CAPTURED: frozenset({"capture"}),
    Outcome.REFUNDED: frozenset({"refund"}),
    Outcome.VOIDED: frozenset({"void"}),
    Outcome.LAPSED: frozenset({"authorize", "void", "cancel"}),
}
"""The types of commands that have an outcome; others have no such list."""


def terms(account: str, amount: int, currency: str) -> int:
    """Return the hash of a movement: an amount to an account, or from it when negative."""
    return terms_at(place_of_money(account, currency), amount)


def terms_of(result: Result) -> int:
    """Return the terms of a result's payment; 0 where the result does not say its direction."""
    if result.type not in ("make", "deposit", "authorize") or result.outcome is Outcome.REJECTED:
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

    first_word: int = 0
    """Those of the first result."""

    is_whole: bool = False
    """Whether its first result is known to be there."""

    amounts: Amounts | None = None
    """What is held, captured and refunded; None where no result shows it."""

    is_authorize: bool = False

    @property
    def moves(self) -> list[Move]:
        """The movements that the results of this life imply."""
        own = [] if self.amounts is None else self.amounts.moves
        if self.is_authorize:
            return own
        found = []
        if self.money in {Implied.MOVED, Implied.MOVED_BACK}:
            found.append(Move(EntryDirection.FORWARD, self.terms, 0, 0, self.first_word))
        if self.money is Implied.MOVED_BACK and self.amounts is None:
            found.append(Move(EntryDirection.BACK, self.terms, 0, 0, self.word))
        return [*found, *own]


_NO_AMOUNTS: Mapping[int, Shown] = {}
_AN_END = frozenset({Implied.EXPIRED, Implied.NO_PAYMENT})


@dataclass(slots=True)
class PaymentHistory:
    """The history that the results of one payment imply."""

    lacks_first: bool = False
    """Whether retention may have deleted the payment's first results."""

    lacks_last: bool = False
    """Whether a commit's results may have been read without its last ones."""

    lives: list[Life] = field(default_factory=list)
    """Lives in which money moved, or was prevented from moving."""

    last: Implied | None = None
    """What the last result implies; None when no result implies anything."""

    last_word: int = 0
    contradictions: list[tuple[int, str]] = field(default_factory=list)
    faults: list[tuple[Kind, int, str]] = field(default_factory=list)
    """What is wrong with amounts and lapses."""
    _alive: Life | None = None

    def read(
        self,
        results: Iterable[tuple[Implied, int, int]],
        amounts: Mapping[int, Shown] = _NO_AMOUNTS,
    ) -> "PaymentHistory":
        """Replay results: what each implies, its terms, its code and address.

        ``amounts`` are those that some results show, by code and address.
        """
        for what, its_terms, word in results:
            if what is Implied.NOTHING:
                continue
            shown = amounts.get(word) if amounts else None
            if shown is not None and shown.is_authorize:
                self._live_authorized(what, its_terms, word, shown)
            elif self._alive is not None and self._alive.is_authorize and what in _AN_END:
                self._end_authorized(what, word)
            else:
                self._live(what, its_terms, word)
                if shown is not None:
                    self._refund(word, shown)
            self.last, self.last_word = what, word
        alive = self._alive
        if alive is not None and alive.amounts is not None and not self.lacks_last:
            lapsed = alive.money is Implied.LAPSED
            alive.amounts.end(lapsed=lapsed, word=self.last_word)
        for life in self.lives:
            if life.amounts is not None:
                self.faults += life.amounts.faults
        return self

    @property
    def has_amounts(self) -> bool:
        """Whether any result shows amounts."""
        return any(life.amounts is not None for life in self.lives)

    @property
    def present(self) -> Life | None:
        """The life after the last result; None when there is no payment."""
        return self._alive

    def _live_authorized(self, what: Implied, its_terms: int, word: int, shown: Shown) -> None:
        """Take a result of an authorize."""
        life = self._alive
        if life is None and shown.is_new:
            return  # Nothing is held yet.
        if life is None:
            is_partial = self.lacks_first and not shown.begins
            life = self._alive = Life(what, its_terms, word, word, is_authorize=True)
            life.amounts = Amounts.begin(shown, word, is_partial=is_partial)
            self.lives.append(life)
            if is_partial:
                return
        elif not life.is_authorize or life.amounts is None or shown.is_new:
            self._contradict(word, "it was authorized, but was there before")
            return
        if its_terms and life.terms and its_terms != life.terms:
            self._contradict(word, "another account, amount or currency than before")
        life.terms = life.terms or its_terms
        life.amounts.read(shown, word)
        if what not in {Implied.IN_FLIGHT, Implied.CANCELLED}:
            life.money, life.word = what, word

    def _end_authorized(self, what: Implied, word: int) -> None:
        life = self._alive
        assert life is not None, "an authorize is there"
        if life.amounts is not None:
            life.amounts.end(lapsed=life.money is Implied.LAPSED, word=word)
            if life.amounts.shown.held:
                self._contradict(word, "the payment is gone, but it held money")
        if what is Implied.NO_PAYMENT:
            self._contradict(word, f"there is no payment, but it was {_said(life.money)}")
        self._alive = None

    def _refund(self, word: int, shown: Shown) -> None:
        """Take the amounts of a make."""
        life = self._alive
        if life is None:
            return  # A contradiction that ``_live`` has found.
        if life.amounts is None:
            is_partial = self.lacks_first and not life.is_whole
            life.amounts = Amounts.begin(shown, word, is_partial=is_partial)
            if is_partial:
                return
        life.amounts.read(shown, word)

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
            is_first = what is Implied.MOVED_NOW
            money = Implied.MOVED if is_first else what
            self._alive = Life(money, its_terms, word, word, is_first)
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
        Implied.AUTHORIZED: "authorized",
        Implied.VOIDED: "voided",
        Implied.LAPSED: "lapsed",
    }.get(money, money.name.lower())
