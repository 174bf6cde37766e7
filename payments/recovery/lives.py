"""Lives: the state of each payment according to its results, folded in their order.

An id may be used again after a decline (policy ``retry``) or after expiry. So its results describe
one life after another, and only the last one may still have a row.
"""

from datetime import datetime
from functools import lru_cache
from typing import Literal

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from payments.domain.payment import Payment, State
from payments.domain.results import Outcome, Reason, Request
from payments.records.later_versions import decode_again
from payments.records.record_models import CommandType, Result
from payments.records.record_parts import part_of

_SETTLED = {State.COMPLETED.value, State.DECLINED.value, State.CANCELLED.value}
_MOVES: dict[str | None, Literal["make", "deposit"]] = {"make": "make", "deposit": "deposit"}


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


class Life:
    """One payment according to its results so far."""

    __slots__ = (
        "account",
        "amount",
        "back",
        "currency",
        "forward",
        "has_back",
        "has_forward",
        "has_result",
        "reason",
        "state",
        "time_ms",
        "type",
    )

    def __init__(self) -> None:
        self.forward = self.back = 0
        """In how many lives money moved, and moved back."""
        self.has_result = False
        """Whether any result describes the payment."""
        self._begin()

    def _begin(self) -> None:
        self.state: str | None = None
        """Last settled state of the present life; None when there is no life, or it is pending."""
        self.reason: str | None = None
        self.time_ms = 0
        self.type: Literal["make", "deposit"] | None = None
        self.account: str | None = None
        self.amount = 0
        self.currency = ""
        self.has_forward = self.has_back = False

    def read(self, result: ResultFields) -> None:
        """Take the next result."""
        outcome, state = result.outcome, result.state
        if state is None:
            if outcome != Outcome.REJECTED:  # Declined and forgotten, expired, or never there.
                self.has_result = True
                self._begin()
            return
        self.has_result = True
        if result.account is not None and result.amount is not None and result.currency is not None:
            self.account, self.amount, self.currency = (
                result.account,
                result.amount,
                result.currency,
            )
            if outcome != Outcome.REJECTED and result.type in _MOVES:
                self.type = _MOVES[result.type]
        if state not in _SETTLED:
            return
        rolled_back = outcome != Outcome.REJECTED and result.reason == Reason.ROLLED_BACK
        if (state == State.COMPLETED or rolled_back) and not self.has_forward:
            self.has_forward = True
            self.forward += 1
        if rolled_back and not self.has_back:
            self.has_back = True
            self.back += 1
        self._settle(result, state)

    def _settle(self, result: ResultFields, state: str) -> None:
        rejected = result.outcome == Outcome.REJECTED
        if state != self.state:
            self.state, self.time_ms = state, epoch_ms(result.time)
            self.reason = None if rejected else result.reason
        elif rejected and result.type == "cancel" and result.reason != Reason.TOO_MANY_WAITING:
            self.time_ms = epoch_ms(result.time)  # The transfer back was declined just now.

    @property
    def request(self) -> Request | None:
        """The payment's request; None where no result has all of it."""
        if self.type is None or self.account is None:
            return None
        return Request(self.type, self.account, self.amount, self.currency)

    def row(self, request: Request | None) -> Payment | None:
        """Return the row of a payment whose last result has a settled state."""
        if self.state is None:
            return None
        reason = None if self.reason is None else Reason(self.reason)
        return Payment(State(self.state), self.time_ms, request, reason)
