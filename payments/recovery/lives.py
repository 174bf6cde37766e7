"""Lives: the state of each payment according to its results, folded in their order.

An id may be used again after a decline (policy ``retry``) or after expiry. So its results describe
one life after another, and only the last one may still have a row.
"""

from collections import Counter
from datetime import datetime
from functools import lru_cache
from typing import Literal, NamedTuple

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from payments.domain.payment import Part, Payment
from payments.domain.payment_table import State
from payments.domain.results import Outcome, Reason, Request
from payments.records.later_versions import decode_again
from payments.records.record_models import CommandType, Result
from payments.records.record_parts import part_of

_SETTLED = {
    State.COMPLETED.value,
    State.DECLINED.value,
    State.CANCELLED.value,
    State.AUTHORIZED.value,
    State.LAPSED.value,
}
_MOVES: dict[str | None, Literal["make", "deposit", "authorize"]] = {
    "make": "make",
    "deposit": "deposit",
    "authorize": "authorize",
}


@part_of(Result)
class ResultFields(Struct, gc=False, forbid_unknown_fields=True):
    """A result. Its decoder refuses what this version does not know: ``read_result`` does not."""

    payment: str
    command: str | None
    type: CommandType | None
    outcome: Outcome
    reason: Reason | None
    replayed: bool
    state: State | None
    account: str | None
    amount: int | None
    currency: str | None
    time: str
    message: str | None = None
    exponent: int | None = None
    authorized: int | None = None
    captured: int | None = None
    refunded: int | None = None
    held: int | None = None
    hold_expires: str | None = None
    part: str | None = None
    part_amount: int | None = None
    metadata: dict[str, str] | None = None


_decode = Decoder(ResultFields).decode


def read_result(value: bytes) -> ResultFields:
    """Decode a result.

    Raises ``LaterVersion``, and ``DecodeError`` or ``UnicodeDecodeError`` for what is no result.
    """
    try:
        return _decode(value)
    except DecodeError:
        return decode_again(value, ResultFields, Result)


@lru_cache(maxsize=4096)
def _second(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp())


def epoch_ms(text: str) -> int:
    """Return the milliseconds since 1970 of ``2026-01-01T00:00:00.000Z``."""
    return _second(text[:19]) * 1000 + int(text[20:23])


def outcome_says_no_change(outcome: str) -> bool:
    """Whether an answer shows a payment as it was before the command."""
    return outcome in {Outcome.FOUND, Outcome.REJECTED, Outcome.HOLD_ENDS_SOON}


class PartSeen(NamedTuple):
    """A capture or refund according to its first answer, or to its entry."""

    id: str
    type: Literal["capture", "refund"]
    moved: int
    command: str | None
    """The id of the command that is answered; None where no result says it."""


class Life:
    """One payment according to its results so far."""

    __slots__ = (
        "account",
        "amount",
        "back",
        "captured",
        "currency",
        "ended_ms",
        "expires_ms",
        "forward",
        "has_amounts",
        "has_back",
        "has_forward",
        "has_result",
        "has_time",
        "held",
        "is_there",
        "metadata",
        "moves",
        "parts",
        "reason",
        "refunded",
        "state",
        "time_ms",
        "type",
    )

    def __init__(self) -> None:
        self.forward = self.back = 0
        """In how many lives money moved, and moved back."""
        self.has_result = False
        """Whether any result describes the payment."""
        self.is_there: bool | None = None
        """Whether there is a payment by its last result; None where no result says it."""
        self.has_amounts = False
        """Whether any result shows holds, captures or refunds."""
        self.moves: Counter[str] = Counter()
        """Number of movements of other kinds in all lives, by kind."""
        self.ended_ms = -1
        """Movements up to this time are of former lives, and are not counted."""
        self._begin()

    def _begin(self) -> None:
        self.state: str | None = None
        """Last settled state of the present life; None when there is no life, or it is pending."""
        self.reason: str | None = None
        self.time_ms = 0
        self.has_time = True
        """Whether ``time_ms`` is that of a change, not of a later answer."""
        self.type: Literal["make", "deposit", "authorize"] | None = None
        self.account: str | None = None
        self.amount = 0
        self.currency = ""
        self.has_forward = self.has_back = False
        self.metadata: dict[str, str] | None = None
        self.captured: int | None = None
        """None until a result of this life shows amounts."""
        self.refunded = self.held = 0
        self.expires_ms: int | None = None
        self.parts: list[PartSeen] = []

    def read(self, result: ResultFields) -> None:
        """Take the next result."""
        outcome, state = result.outcome, result.state
        if state is None:
            if outcome != Outcome.REJECTED:  # Declined and forgotten, expired, or never there.
                self.has_result, self.is_there = True, False
                if outcome == Outcome.EXPIRED and self.has_amounts and self.state is not None:
                    self._end(epoch_ms(result.time))
                self._begin()
            return
        self.has_result = self.is_there = True
        self._read_request(result)
        changed = result.captured is not None and self._read_amounts(result, result.captured)
        if state not in _SETTLED:
            return
        if self.type == "authorize":
            self._settle(result, state, changed=changed)
            return
        rolled_back = outcome != Outcome.REJECTED and result.reason == Reason.ROLLED_BACK
        if (state == State.COMPLETED or rolled_back) and not self.has_forward:
            self.has_forward = True
            self.forward += 1
        if rolled_back and not self.has_back:
            self.has_back = True
            self.back += self.captured is None  # Else ``moves`` has it.
        self._settle(result, state, changed=changed)

    def _read_request(self, result: ResultFields) -> None:
        """Take the request, as far as a result has it."""
        account, amount, currency = result.account, result.amount, result.currency
        if account is None or amount is None or currency is None:
            return
        self.account, self.amount, self.currency = account, amount, currency
        self.metadata = result.metadata
        if result.authorized is not None:
            self.type = "authorize"
        elif result.outcome != Outcome.REJECTED and result.type in _MOVES:
            self.type = _MOVES[result.type]

    def _end(self, expired_ms: int) -> None:
        """Forget what moved in a life that has ended, of which results may be deleted.

        Its movements are from before its last change, those of the next life from after it
        expired, as far as clocks agree: the middle is far from both.
        """
        self.ended_ms = (self.time_ms + expired_ms) // 2
        self.moves.clear()
        self.forward = self.back = 0

    def _read_amounts(self, result: ResultFields, captured: int) -> bool:
        """Take the amounts that a result shows; return whether they have changed."""
        self.has_amounts = True
        if self.captured is None:
            return self._read_first_amounts(result, captured)
        refunded, held = result.refunded or 0, result.held or 0
        rolled_back = result.outcome == Outcome.CANCELLED and result.reason == Reason.ROLLED_BACK
        took, gave, held_less = captured - self.captured, refunded - self.refunded, self.held - held
        self.captured, self.refunded, self.held = captured, refunded, held
        if took:
            self._part(result, "capture", took)
        elif gave and not rolled_back:
            self._part(result, "refund", gave)
        elif rolled_back and (gave or held_less):
            self.moves["rollback"] += 1
        elif held_less:
            self.moves["release"] += 1
        return bool(took or gave or held_less)

    def _read_first_amounts(self, result: ResultFields, captured: int) -> bool:
        """Take the first amounts of a life; return whether more than its beginning is shown.

        Retention may have deleted earlier results of it, so they may show several movements. Each
        that is certain is counted: of the others the results are deleted, so they are old.
        """
        outcome, state = result.outcome, result.state
        refunded, held = result.refunded or 0, result.held or 0
        if result.authorized is not None and state in {State.AUTHORIZING, State.CANCELLING}:
            return False  # Nothing is held yet.
        self.expires_ms = None if result.hold_expires is None else epoch_ms(result.hold_expires)
        self.captured, self.refunded, self.held = captured, refunded, held
        # The reason of a rejection says nothing of the payment.
        reason = None if outcome == Outcome.REJECTED else result.reason
        is_cancelled = state == State.CANCELLED
        rolled_back = is_cancelled and reason == Reason.ROLLED_BACK
        if result.authorized is not None:
            if state == State.DECLINED or (is_cancelled and reason == Reason.PREVENTED):
                return False
            self.moves["hold"] += 1
            if captured:
                self._part(result, "capture", captured)
            voided = is_cancelled and reason == Reason.VOIDED
            ended_now = outcome in {Outcome.VOIDED, Outcome.LAPSED} and not result.replayed
            if voided or ended_now or state == State.LAPSED:
                self.moves["release"] += 1
        if rolled_back:
            self.moves["rollback"] += 1
        elif refunded:
            self._part(result, "refund", refunded)
        return bool(refunded or held < (result.authorized or 0))

    def _part(self, result: ResultFields, type_: Literal["capture", "refund"], moved: int) -> None:
        self.moves[type_] += 1
        refused = result.outcome in {Outcome.REJECTED, Outcome.DECLINED}
        if result.part is not None and result.type == type_ and not refused:
            # The first amounts of a life may be the sum of several parts.
            own = moved if result.part_amount is None else result.part_amount
            self.parts.append(PartSeen(result.part, type_, own, result.command))

    @property
    def movements(self) -> int:
        """How many entries the results of all lives imply."""
        return self.forward + self.back + self.moves.total()

    def _settle(self, result: ResultFields, state: str, *, changed: bool) -> None:
        rejected = result.outcome == Outcome.REJECTED
        if changed or state != self.state:
            repeats = result.replayed or outcome_says_no_change(result.outcome)
            self.has_time = self.state is not None or not repeats
            self.state, self.time_ms = state, epoch_ms(result.time)
            has_reason = not rejected and state not in {State.COMPLETED, State.AUTHORIZED}
            self.reason = result.reason if has_reason else None
        elif result.type == "refund" and result.outcome == Outcome.DECLINED:
            self.time_ms = epoch_ms(result.time)  # The refund was declined just now.
        elif rejected and result.type == "cancel" and result.reason != Reason.TOO_MANY_WAITING:
            self.time_ms = epoch_ms(result.time)  # The transfer back was declined just now.

    @property
    def request(self) -> Request | None:
        """The payment's request; None where no result has all of it."""
        if self.type is None or self.account is None:
            return None
        return Request(self.type, self.account, self.amount, self.currency)

    def row(self, request: Request | None, parts: tuple[Part, ...] = ()) -> Payment | None:
        """Return the row of a payment whose last result has a settled state."""
        if self.state is None:
            return None
        reason = None if self.reason is None else Reason(self.reason)
        is_authorize = self.type == "authorize"
        return Payment(
            state=State(self.state),
            time_ms=self.time_ms,
            request=request,
            reason=reason,
            hold_expires_ms=self.expires_ms,
            held=self.held,
            captured=(self.captured or 0) if is_authorize else 0,
            refunded=self.refunded,
            parts=parts,
            metadata=self.metadata,
        )
