"""Lifecycle: what results show of a payment's amounts, and the movements that follow from it.

A payment that holds money, or has given some back, shows its amounts in each result: what was
authorized, captured and refunded, and what is held. They change by one transfer after another, so
the difference of two results is the entry that must be in the ledger between them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from functools import lru_cache, partial
from typing import NamedTuple

from payments.domain.money import money_text
from payments.domain.results import Outcome, Reason
from payments.records.record_models import Result

from .facts import MAX_WORD, digest, place_of
from .findings import Kind


class EntryDirection(IntEnum):
    """What a ledger entry does with its payment's money."""

    FORWARD = 1
    BACK = 2
    HOLD = 3
    CAPTURE = 4
    RELEASE = 5
    REFUND = 6


DIRECTIONS = {
    "rollback": EntryDirection.BACK,
    "hold": EntryDirection.HOLD,
    "capture": EntryDirection.CAPTURE,
    "release": EntryDirection.RELEASE,
    "refund": EntryDirection.REFUND,
}
"""By kind of entry; all others move money forward."""


class Did(IntEnum):
    """What the command that a result answers has done to the amounts."""

    NOTHING = 0
    CAPTURED = 1
    REFUNDED = 2
    RELEASED = 3
    REVERSED = 4
    LAPSED = 5  # A notice: the time of the hold was over.
    CAPTURED_BEFORE = 6  # A capture is answered again.
    REFUNDED_BEFORE = 7
    RELEASED_BEFORE = 8  # A void joined another.
    REMINDED = 9  # A notice: the hold ends soon.


_DID: dict[str, Did] = {
    Outcome.CAPTURED: Did.CAPTURED,
    Outcome.REFUNDED: Did.REFUNDED,
    Outcome.VOIDED: Did.RELEASED,
}
_AGAIN = {
    Did.CAPTURED: Did.CAPTURED_BEFORE,
    Did.REFUNDED: Did.REFUNDED_BEFORE,
    Did.RELEASED: Did.RELEASED_BEFORE,
}
_FIRST = {before: did for did, before in _AGAIN.items() if did is not Did.RELEASED}
"""Of a capture or refund that is answered again: what its first answer did."""

_CANCELLED: dict[str | None, Did] = {Reason.VOIDED: Did.RELEASED, Reason.ROLLED_BACK: Did.REVERSED}
_NO_HOLD = frozenset({"declined", "authorizing", "cancelling"})
_HELD_IN = frozenset({"authorized", "capturing", "releasing"})
_MAY_HOLD = frozenset({"refunding", "reversing", *_HELD_IN})
NO_PART = 0
UNKNOWN = 2


class Shown(NamedTuple):
    """What one result shows of a payment: words for ``Facts``."""

    did: int
    is_authorize: int
    authorized: int
    """Of a make: what it took."""

    captured: int
    refunded: int
    held: int
    expires_ms: int
    part: int
    """The hash of a part's id; ``NO_PART`` without one."""

    part_amount: int
    """What the part says that it has moved; 0 where it does not say so."""

    place: int
    """The hash of account and currency."""

    time_ms: int
    holds: int
    """Whether the payment has ever held money: 0, 1, or ``UNKNOWN``."""

    is_new: int
    """Whether nothing was held yet, and may be later."""

    begins: int
    """Whether it is the answer to the authorize that began the payment."""


class RowAmounts(NamedTuple):
    """What a payment's row has of its amounts: words for ``Facts``."""

    captured: int
    refunded: int
    held: int
    expires_ms: int
    parts: int
    """The hash of all parts."""


class HeldByEntry(NamedTuple):
    """What an entry changes of what its account holds: words for ``Facts``."""

    change: int
    part: int
    place: int
    """The hash of account and currency."""

    by_snapshot: int
    """Whether the row of the account has it."""


class Move(NamedTuple):
    """A movement that results imply."""

    direction: int
    terms: int
    """0 where no result has them."""

    held: int
    part: int
    word: int
    """Code and address of the result that implies it."""

    not_before_ms: int = 0


class Moved(NamedTuple):
    """A movement in the ledger."""

    direction: int
    terms: int
    held: int
    part: int
    word: int
    time_ms: int


_BEGINNINGS = frozenset({EntryDirection.FORWARD, EntryDirection.HOLD})


def doubled(moved: Iterable[Moved], *, lives_differ_ms: int) -> Iterator[Moved]:
    """Yield the entries that repeat what their payment has moved in the same life.

    The ledger alone shows it, whatever retention has deleted of the results: all entries of a life
    are in one partition, in their order. A life begins with a hold or a make, where nothing is
    held; its id is not used again within ``lives_differ_ms``. In a life each part, and each release
    and rollback, is there once, and no more is released than is held.
    """
    lives: dict[int, _LedgerLife] = {}
    for entry in moved:
        partition, what = place_of(entry.word)[0], (entry.direction, entry.part)
        life = lives.get(partition)
        if life is None or (
            entry.direction in _BEGINNINGS and life.may_end(entry, lives_differ_ms)
        ):
            is_whole = entry.direction in _BEGINNINGS
            lives[partition] = _LedgerLife({what}, entry.held, entry.time_ms, is_whole)
        elif what in life.moved or (life.is_whole and life.held + entry.held < 0):
            yield entry
        else:
            life.moved.add(what)
            life.held += entry.held


@dataclass(slots=True)
class _LedgerLife:
    """A life of a payment in one partition of the ledger."""

    moved: set[tuple[int, int]]
    held: int
    begun_ms: int
    is_whole: bool
    """Whether its beginning is there."""

    def may_end(self, entry: Moved, lives_differ_ms: int) -> bool:
        """Whether the next life may begin with an entry."""
        differ_ms = entry.time_ms - self.begun_ms
        return not self.is_whole or (self.held == 0 and differ_ms >= lives_differ_ms)


@lru_cache(maxsize=4096)
def _second(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp())


def epoch_ms(text: str) -> int:
    """Return the milliseconds since 1970 of ``2026-01-01T00:00:00.000Z``.

    Raises ``ValueError`` where the text is no such time, or one before 1970.
    """
    try:
        time_ms = _second(text[:19]) * 1000 + int(text[20:23])
    except ValueError:
        time_ms = -1
    if time_ms < 0:
        message = f"not a time: {text!r}"
        raise ValueError(message)
    return time_ms


def place_of_money(account: str, currency: str) -> int:
    """Return the hash of where money is."""
    return digest((account, currency))


def terms_at(place: int, amount: int) -> int:
    """Return the hash of a movement: an amount to a place, or from it when negative."""
    return digest((place, amount))


def part_of(name: str | None) -> int:
    """Return the hash of the id of a capture or refund."""
    return NO_PART if name is None else digest(name) or 1


def shown_by(result: Result) -> Shown | None:
    """Return what a result shows of the amounts; None where it shows none.

    Raises ``ValueError`` where an amount or a time is none that there can be.
    """
    if result.captured is None or result.account is None or result.currency is None:
        return None
    amounts = [result.authorized or 0, result.captured, result.refunded or 0, result.held or 0]
    amounts.append(result.part_amount or 0)
    if not all(0 <= amount <= MAX_WORD for amount in amounts):
        raise ValueError("an amount is below zero, or too large")
    did = Did.NOTHING
    if result.command is None:
        did = Did.LAPSED if result.outcome is Outcome.LAPSED else Did.REMINDED
    elif result.outcome is Outcome.CANCELLED and not result.replayed:
        did = _CANCELLED.get(result.reason, Did.NOTHING)
    elif result.outcome in _DID:
        did = _DID[result.outcome]
        if result.replayed:
            did = _AGAIN[did]
    is_authorize = result.authorized is not None
    authorized, captured, refunded, held, part_amount = amounts
    state = result.state
    begins = result.type == "authorize" and not result.replayed
    return Shown(
        did,
        is_authorize,
        authorized if is_authorize else result.amount or 0,
        captured,
        refunded,
        held,
        0 if result.hold_expires is None else epoch_ms(result.hold_expires),
        part_of(result.part),
        part_amount,
        place_of_money(result.account, result.currency),
        epoch_ms(result.time),
        _holds(result) if is_authorize else 0,
        state in {"authorizing", "cancelling"},
        begins and result.outcome is not Outcome.REJECTED,
    )


def _holds(result: Result) -> int:
    if result.state == "cancelled":
        if result.reason == Reason.PREVENTED:
            return 0
        return 1 if result.reason in _CANCELLED or result.captured else UNKNOWN
    return result.state not in _NO_HOLD


def fault_of(result: Result) -> str | None:
    """Return why the amounts of one result can't be true, by themselves."""
    state, amount = result.state, result.amount or 0
    captured, refunded, held = result.captured or 0, result.refunded or 0, result.held or 0
    authorized, open_ = result.authorized, amount - captured
    may_hold = {open_} if state in _HELD_IN else {0, open_} if state in _MAY_HOLD else {0}
    money = partial(money_text, currency=result.currency or "")
    fault = None
    if not 0 <= refunded <= captured:
        fault = f"{money(refunded)} refunded of {money(captured)} captured"
    elif captured > amount or (authorized is None and captured != amount):
        fault = f"{money(captured)} captured of {money(amount)}"
    elif authorized not in {None, amount}:
        fault = f"{money(authorized or 0)} authorized of {money(amount)}"
    elif authorized is None and held:
        fault = f"{money(held)} held by a make"
    elif authorized is not None and held not in may_hold:
        of_it = f"{money(captured)} of {money(amount)} are captured"
        fault = f"{money(held)} held, where the payment is {state} and {of_it}"
    elif result.part_amount is not None and result.part_amount < 1:
        fault = f"{money(result.part_amount)} moved by a capture or refund"
    return fault


class Change(NamedTuple):
    """The difference between two results."""

    captured: int
    refunded: int
    held: int


@dataclass(slots=True)
class Amounts:
    """The amounts of one life of a payment, replayed from result to result."""

    shown: Shown
    is_partial: bool
    """Whether retention may have deleted the first results."""

    word: int
    moves: list[Move] = field(default_factory=list)
    parts: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By the hash of its id: what a part did, and how much it moved; 0 if that is not known."""

    notices: int = 0
    reminders: int = 0
    awaits_notice: int = 0
    """The result that showed a lapse before its notice; 0 for none."""

    faults: list[tuple[Kind, int, str]] = field(default_factory=list)

    @classmethod
    def begin(cls, shown: Shown, word: int, *, is_partial: bool) -> "Amounts":
        """Return the amounts before the first result that shows any."""
        if is_partial:
            amounts = cls(shown, is_partial, word)
            if shown.did in {Did.CAPTURED, Did.REFUNDED}:
                amounts.parts[shown.part] = (shown.did, shown.part_amount)
            amounts.notices += shown.did == Did.LAPSED
            return amounts
        if not shown.is_authorize:
            return cls(shown._replace(captured=shown.authorized, refunded=0), is_partial, word)
        before = shown._replace(
            captured=0, refunded=0, held=shown.authorized if shown.holds == 1 else 0
        )
        amounts = cls(before, is_partial, word)
        if shown.holds == 1:
            terms = terms_at(shown.place, 0)
            amounts.moves.append(Move(EntryDirection.HOLD, terms, shown.authorized, NO_PART, word))
        return amounts

    def read(self, shown: Shown, word: int) -> None:
        """Take the next result."""
        before = self.shown
        if shown.holds == UNKNOWN:
            shown = shown._replace(holds=before.holds)
        self.shown = shown
        kept = (shown.is_authorize, shown.authorized, shown.expires_ms, shown.place)
        if kept != (before.is_authorize, before.authorized, before.expires_ms, before.place):
            self._fault(word, "what was authorized, its account or its end is another than before")
            return
        if before.is_authorize and UNKNOWN != before.holds != shown.holds:
            self._fault(word, "it was authorized, and was not")
        if self.awaits_notice and shown.did not in {Did.LAPSED, Did.NOTHING}:
            self.end(lapsed=False, word=word)
        change = Change(
            shown.captured - before.captured,
            shown.refunded - before.refunded,
            shown.held - before.held,
        )
        if shown.did in {Did.CAPTURED, Did.REFUNDED}:
            self._part(shown, word, change)
        elif shown.did == Did.REVERSED:
            self._reverse(shown, word, change)
        else:
            self._release(shown, word, change)

    def _reverse(self, shown: Shown, word: int, change: Change) -> None:
        """Take the first answer to a cancel that has moved back what was captured."""
        captured, refunded, held = change
        if captured or refunded < 0 or held > 0 or shown.refunded != shown.captured or shown.held:
            self._fault(word, "it was rolled back, and its amounts do not say so")
        elif refunded or held:
            self._move(EntryDirection.BACK, shown, -refunded, held, word)

    def _release(self, shown: Shown, word: int, change: Change) -> None:
        """Take a result that changes nothing, or ends the hold."""
        captured, refunded, held = change
        first = _FIRST.get(Did(shown.did))
        if first is not None:
            self._again(shown, first, word)
        if shown.did == Did.REMINDED:
            self.reminders += 1
            if self.reminders > 1:
                self._lapse(word, "a second notice that one hold ends soon")
        if shown.did == Did.LAPSED:
            self._notice(shown, word, held)
        elif held < 0 and shown.did == Did.NOTHING:
            # An authorize that joined the release of a hold is answered before the notice.
            self.awaits_notice = word
        if captured or refunded or held > 0 or (held and shown.held):
            self._fault(word, "its amounts changed, and no capture or refund did it")
        elif held:
            end = shown.expires_ms if shown.did == Did.LAPSED or self.awaits_notice else 0
            self._move(EntryDirection.RELEASE, shown, 0, held, word, end)

    def _again(self, shown: Shown, first: Did, word: int) -> None:
        """Compare a capture or refund that is answered again with its first answer."""
        before = self.parts.get(shown.part)
        if before is None:
            if not self.is_partial:
                self._fault(word, "a capture or refund is answered again that never was before")
        elif before[0] != first:
            self._fault(word, "a capture is answered again as a refund, or the other way round")
        elif before[1] and shown.part_amount not in {0, before[1]}:
            self._fault(word, "a capture or refund is answered again with another amount")

    def _part(self, shown: Shown, word: int, change: Change) -> None:
        """Take the first answer to a capture or refund."""
        captured, refunded, held = change
        moved = captured if shown.did == Did.CAPTURED else refunded
        other = refunded if shown.did == Did.CAPTURED else captured
        if shown.part in self.parts:
            self._fault(word, "a capture or refund moved money a second time", Kind.MONEY_TWICE)
        elif moved < 1 or other:
            self._fault(word, "a capture or refund did not move just its own amount")
        elif shown.did == Did.REFUNDED:
            if held:
                self._fault(word, "a refund changed what is held")
            self._move(EntryDirection.REFUND, shown, moved, 0, word)
        else:
            if held > -moved or (shown.held and held != -moved):
                self._fault(word, "a capture did not lower what is held by what it took")
            self._move(EntryDirection.CAPTURE, shown, -moved, held, word)
        if shown.part_amount not in {0, moved}:
            self._fault(word, "a capture or refund says that it moved another amount than it did")
        self.parts[shown.part] = (shown.did, moved)

    def _notice(self, shown: Shown, word: int, held: int) -> None:
        self.notices += 1
        if self.notices > 1:
            self._lapse(word, "a second notice of one lapse")
        elif not held and not self.awaits_notice and not self.is_partial:
            self._lapse(word, "a notice of a lapse, and no hold ended")
        if shown.time_ms < shown.expires_ms:
            self._lapse(word, f"the hold lapsed {shown.expires_ms - shown.time_ms} ms too early")
        self.awaits_notice = 0

    def end(self, *, lapsed: bool, word: int) -> None:
        """Require, at the end of the results or of the life, that a lapse had its notice."""
        if self.awaits_notice or (lapsed and not self.notices and not self.is_partial):
            self._lapse(self.awaits_notice or word, "the hold ended, and no notice said so")
            self.awaits_notice = 0

    def row(self) -> RowAmounts:
        """Return what the payment's row must have."""
        shown = self.shown
        parts = 0 if self.is_partial else parts_of((p, *did) for p, did in self.parts.items())
        return RowAmounts(shown.captured, shown.refunded, shown.held, shown.expires_ms, parts)

    def _move(  # noqa: PLR0917 - the parts of one movement
        self, direction: int, shown: Shown, amount: int, held: int, word: int, end: int = 0
    ) -> None:
        terms = terms_at(shown.place, amount)
        self.moves.append(Move(direction, terms, held, shown.part, word, end))

    def _fault(self, word: int, message: str, kind: Kind = Kind.WRONG_AMOUNTS) -> None:
        self.faults.append((kind, word, message))

    def _lapse(self, word: int, message: str) -> None:
        self.faults.append((Kind.WRONG_LAPSE, word, message))


def parts_of(parts: Iterable[tuple[int, int, int]]) -> int:
    """Return the hash of parts: of each the hash of its id, what it did, and how much."""
    return digest(frozenset(tuple(map(int, part)) for part in parts))
