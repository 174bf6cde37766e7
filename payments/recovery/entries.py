"""Entries: what the ledger says of one payment's life, where retention has deleted its results.

The ledger is kept for ever. It has the account, the amounts, the metadata, and the id of each
capture and refund. What it lacks only decides how a repetition is answered, and when a hold lapses:

- Whether a capture said that it is final, and whether it named its amount. Where it took less than
  was held, the entry shows both; else its command says so, while that is kept.
- Whether a void ended the hold, or its time was over, where nothing was captured.
- The end of the hold. Without a result and without the authorize's command it is taken to be as
  late as it can be, since no hold may lapse too early: an operator ends it with a void.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Literal, NamedTuple

from payments.domain.commands import FINAL_CAPTURE, MAX_HOLD_SECONDS
from payments.domain.payment import Part, Payment
from payments.domain.payment_table import State
from payments.domain.results import Reason, Request

from .balances import Movement
from .lives import PartSeen


class Guess(StrEnum):
    """What no record says of a payment, and what that means; words for a person."""

    PARTS = (
        "payments with a capture or refund whose command is deleted: a repetition of it moves "
        "nothing, and may be answered different_amount or different_final"
    )
    END = (
        "payments that hold money until a time that no record has: the hold lapses a year after it "
        "began; void it before, or capture it while it holds"
    )
    ENDED = (
        "payments whose hold ended with nothing captured, by a void or because its time was over: "
        "no record says which; a repetition moves nothing, and is answered as if it was voided"
    )


PartOf = Callable[[PartSeen], Part | None]
"""Returns a capture or refund as its command had it; None where that is not there."""


def parts_of(
    own: Sequence[Movement], seen: Sequence[PartSeen], part_of: PartOf
) -> tuple[tuple[Part, ...], bool]:
    """Return the captures and refunds of a life, and whether all of each is known.

    ``own`` are its movements in their order; ``seen`` are those parts that results show.
    """
    commands = {(part.type, part.id): part.command for part in seen}
    parts: list[Part] = []
    is_certain, held, taken = True, 0, 0
    for movement in own:
        kind, moved = movement.kind, abs(movement.amount)
        if kind == "make":
            taken = moved
        elif kind in {"capture", "refund"} and movement.part is not None:
            type_: Literal["capture", "refund"] = "capture" if kind == "capture" else "refund"
            command = commands.get((type_, movement.part))
            left = held if type_ == "capture" else taken
            part = part_of(PartSeen(movement.part, type_, moved, command))
            if part is None:
                part = _as_posted(movement.part, type_, moved, -movement.held, left)
                is_certain = is_certain and moved < left
            parts.append(part)
            taken += moved if type_ == "capture" else -moved
        held += movement.held
    return tuple(parts), is_certain


def _as_posted(
    name: str, type_: Literal["capture", "refund"], moved: int, released: int, left: int
) -> Part:
    """Return a part as its entry shows it, and where it took all that was left, as is usual."""
    if type_ == "refund":
        return Part(name, moved, type_)
    took_all = moved == left
    whole = took_all and name == FINAL_CAPTURE
    return Part(name, moved, type_, final=took_all or released != moved, whole=whole)


class HoldEnd(NamedTuple):
    """The end of a hold, as far as anything says it."""

    time_ms: int
    is_known: bool


def end_of(began: Movement, known_ms: int | None) -> HoldEnd:
    """Return the end of a hold that began with an entry."""
    if known_ms is not None:
        return HoldEnd(known_ms, is_known=True)
    return HoldEnd(began.time_ms + MAX_HOLD_SECONDS * 1000, is_known=False)


def row_of(own: Sequence[Movement], parts: tuple[Part, ...], end: HoldEnd) -> Payment:
    """Return the row of a life from its movements, of which the first began it."""
    began, last = own[0], own[-1]
    kinds = {movement.kind for movement in own}
    is_authorize = began.kind == "hold"
    amount = began.held if is_authorize else abs(began.amount)
    type_: Literal["make", "deposit", "authorize"] = "authorize"
    if not is_authorize:
        type_ = "make" if began.kind == "make" else "deposit"
    captured = sum(part.moved for part in parts if part.type == "capture")
    refunded = sum(part.moved for part in parts if part.type == "refund")
    held = sum(movement.held for movement in own)
    state, reason = State.COMPLETED, None
    if "rollback" in kinds:
        state, reason = State.CANCELLED, Reason.ROLLED_BACK
        if parts:
            refunded = captured if is_authorize else amount
    elif held:
        state = State.AUTHORIZED
    elif is_authorize and not captured:
        lapsed = end.is_known and last.time_ms >= end.time_ms
        state, reason = State.CANCELLED, Reason.VOIDED
        if lapsed:
            state, reason = State.LAPSED, Reason.HOLD_EXPIRED
    return Payment(
        state,
        last.time_ms,
        Request(type_, began.account, amount, began.currency),
        reason,
        hold_expires_ms=end.time_ms if is_authorize else None,
        held=held,
        captured=captured,
        refunded=refunded,
        parts=parts,
        metadata=began.metadata,
    )
