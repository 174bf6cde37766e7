"""Lives: what the results tell of each payment, folded in their order.

An id may be used again once it was declined (policy ``retry``) or has expired: so its results tell
of one life after the other, and only the last one may still have a row.
"""

from datetime import datetime
from functools import lru_cache
from typing import Literal

from msgspec import Struct
from msgspec.json import Decoder

from payments.domain.payment import Payment, State
from payments.domain.results import Outcome, Reason, Request

_SETTLED = {State.COMPLETED.value, State.DECLINED.value, State.CANCELLED.value}
_MOVES: dict[str | None, Literal["make", "deposit"]] = {"make": "make", "deposit": "deposit"}


class Told(Struct, gc=False):
    """The fields of a result that matter here (``payments.records.record_models.Result``)."""

    payment: str
    command: str | None
    type: str | None
    outcome: str
    reason: str | None
    replayed: bool
    state: str | None
    account: str | None
    amount: int | None
    currency: str | None
    time: str


decode_told = Decoder(Told).decode


@lru_cache(maxsize=4096)
def _second(text: str) -> int:
    return int(datetime.fromisoformat(f"{text}+00:00").timestamp())


def epoch_ms(text: str) -> int:
    """Return the milliseconds since 1970 of ``2026-01-01T00:00:00.000Z``."""
    return _second(text[:19]) * 1000 + int(text[20:23])


class Life:
    """One payment, as its results tell it so far."""

    __slots__ = (
        "account",
        "amount",
        "back",
        "currency",
        "forward",
        "has_back",
        "has_forward",
        "reason",
        "spoken",
        "state",
        "time_ms",
        "type",
    )

    def __init__(self) -> None:
        self.forward = self.back = 0
        """In how many lives money moved, and moved back."""
        self.spoken = False
        """Whether any result said something of the payment."""
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

    def read(self, told: Told) -> None:
        """Take the next result."""
        outcome, state = told.outcome, told.state
        if state is None:
            if outcome != Outcome.REJECTED:  # Declined and forgotten, expired, or never there.
                self.spoken = True
                self._begin()
            return
        self.spoken = True
        if told.account is not None and told.amount is not None and told.currency is not None:
            self.account, self.amount, self.currency = told.account, told.amount, told.currency
            if outcome != Outcome.REJECTED and told.type in _MOVES:
                self.type = _MOVES[told.type]
        if state not in _SETTLED:
            return
        rolled_back = outcome != Outcome.REJECTED and told.reason == Reason.ROLLED_BACK
        if (state == State.COMPLETED or rolled_back) and not self.has_forward:
            self.has_forward = True
            self.forward += 1
        if rolled_back and not self.has_back:
            self.has_back = True
            self.back += 1
        self._settle(told, state)

    def _settle(self, told: Told, state: str) -> None:
        rejected = told.outcome == Outcome.REJECTED
        if state != self.state:
            self.state, self.time_ms = state, epoch_ms(told.time)
            self.reason = None if rejected else told.reason
        elif rejected and told.type == "cancel" and told.reason != Reason.TOO_MANY_WAITING:
            self.time_ms = epoch_ms(told.time)  # The transfer back was declined just now.

    @property
    def request(self) -> Request | None:
        """What the payment is; None where no result says all of it."""
        if self.type is None or self.account is None:
            return None
        return Request(self.type, self.account, self.amount, self.currency)

    def row(self, request: Request | None) -> Payment | None:
        """Return the row of a payment whose last word is a settled state."""
        if self.state is None:
            return None
        reason = None if self.reason is None else Reason(self.reason)
        return Payment(State(self.state), self.time_ms, request, reason)
