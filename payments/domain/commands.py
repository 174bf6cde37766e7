"""The commands that a client may send, and the rules of their fields."""

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from payments.domain.account import COUNTER_PREFIXES, is_counter_name
from payments.domain.currencies import CURRENCIES, CURRENCY_RULE
from payments.domain.names import NAME_RULE, is_name
from payments.domain.results import Frozen, Reason

MAX_AMOUNT = 10**15
Amount = Annotated[int, Meta(ge=1, le=MAX_AMOUNT)]
Fault = tuple[Reason, str]
"""Why a field's value is refused, and its rule in words."""


def _id(value: object) -> Fault | None:
    return None if value is None or is_name(value) else (Reason.INVALID_ID, NAME_RULE)


def _account(value: object) -> Fault | None:
    if not isinstance(value, str) or not is_name(value):
        blank = isinstance(value, str) and not value.strip()
        return Reason.EMPTY_ACCOUNT if blank else Reason.INVALID_ACCOUNT, NAME_RULE
    # The first test is there for speed: an account's name is checked in every command.
    if value.startswith(COUNTER_PREFIXES) and is_counter_name(value):
        return Reason.RESERVED_ACCOUNT, "must not be a counter-account's"
    return None


def _amount(value: object) -> Fault | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return Reason.AMOUNT_NOT_INTEGER, "must be a whole number of minor units"
    if value < 1:
        return Reason.AMOUNT_NOT_POSITIVE, "must be at least 1"
    if value > MAX_AMOUNT:
        return Reason.AMOUNT_TOO_LARGE, "must be at most 10^15 minor units"
    return None


def _currency(value: object) -> Fault | None:
    if value is None or (isinstance(value, str) and value in CURRENCIES):
        return None
    return Reason.UNKNOWN_CURRENCY, CURRENCY_RULE


RULES: Mapping[str, Callable[[object], Fault | None]] = {
    "id": _id, "account": _account, "amount": _amount, "currency": _currency,
}  # fmt: skip
"""The rule of each field, in the order in which faults are reported."""


class _Command(
    Frozen, frozen=True, tag_field="type", forbid_unknown_fields=True, omit_defaults=True
): ...


class Make(_Command, frozen=True, tag="make"):
    """Take money from an account."""

    type: ClassVar[Literal["make"]] = "make"
    account: str
    amount: Amount
    currency: str = ""
    """``parse_command`` replaces the empty text by the installation's default."""

    id: str | None = None


class Deposit(_Command, frozen=True, tag="deposit"):
    """Put money on an account."""

    type: ClassVar[Literal["deposit"]] = "deposit"
    account: str
    amount: Amount
    currency: str = ""
    id: str | None = None


class Cancel(_Command, frozen=True, tag="cancel"):
    """Prevent a payment, or undo it."""

    type: ClassVar[Literal["cancel"]] = "cancel"
    id: str | None = None


class Get(_Command, frozen=True, tag="get"):
    """Ask for a payment's state."""

    type: ClassVar[Literal["get"]] = "get"
    id: str | None = None


Command = Make | Deposit | Cancel | Get
