"""The public records, results and ledger entries, each defined once: the published interface.

What else knows their fields is made from these models, or checked against them on import: the
structs that ``record_writer`` writes, the parts of a record that some readers need
(``record_parts``), and the schemas of topics and HTTP (``payments.schemas``). ``AccountBalance`` is
no record, since accounts are read from rows, but its readers and its form are the same.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    GetCoreSchemaHandler,
    Strict,
    WithJsonSchema,
)

from payments.domain.account import Kind, Status
from payments.domain.currencies import EXPONENTS
from payments.domain.money import money_decimal
from payments.domain.payment_table import State
from payments.domain.results import Outcome, Reason

Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""The format of ``iso_time``."""

_LATER = {"type": "string", "description": "A value that a later version adds."}


def _or_later(*known: str) -> WithJsonSchema:
    """Return the schema of text that has one of these values, or one of a later version."""
    return WithJsonSchema({"anyOf": [{"type": "string", "enum": list(known)}, _LATER]})


class Later(str):
    """A value of ``Outcome`` or ``Reason`` that only a later version knows: its text.

    It has the ``value`` of a member, so that code which shows any value shows this one too.
    """

    __slots__ = ()

    @property
    def value(self) -> str:
        """The text."""
        return str(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type, handler: GetCoreSchemaHandler) -> Any:
        """Accept any text, as the last alternative of a field."""
        return handler(Annotated[str, AfterValidator(source), WithJsonSchema(_LATER)])


_BY_VALUE = Strict(strict=False)
"""Also in Python the text of a known value is that value, and no ``Later``."""

CommandType = Literal[
    "make", "deposit", "authorize", "capture", "void", "refund", "cancel", "get",
    "expire", "lapse", "notice",
]  # fmt: skip
AccountCommandType = Literal["open", "freeze", "unfreeze", "close", "limit", "get"]
AccountTypeName = Annotated[str, _or_later(*get_args(AccountCommandType))]
StatusName = Annotated[str, _or_later(*Status)]
TypeName = Annotated[str, _or_later(*get_args(CommandType))]
StateName = Annotated[str, _or_later(*State)]
KINDS: tuple[str, ...] = tuple(kind for part in get_args(Kind) for kind in get_args(part))
KindName = Annotated[str, _or_later(*KINDS)]


def _exponent(fields: dict[str, Any]) -> int | None:
    """Return the exponent of the currency. Records of an earlier version have none."""
    return EXPONENTS.get(fields.get("currency") or "")


def _decimal_of(name: str) -> Callable[[dict[str, Any]], str | None]:
    """Return what makes the decimal number of a field that has minor units."""
    return lambda fields: money_decimal(fields[name], fields["currency"])


class _Public(BaseModel, frozen=True, strict=True, extra="ignore", use_attribute_docstrings=True):
    """Fields that a later version adds to a record are ignored; none is ever removed.

    Values that it adds to a list of values are kept as text.
    """


class Result(_Public):
    """The public record of an answer; what does not apply is null, up to the time."""

    payment: str
    """The payment's id, which is also the record's key."""

    command: str | None
    """The id of the command that is answered: its own, else the position of its record."""

    type: TypeName | None
    """The type of the command; null where it could not be read. In a notice `expire`, `lapse`, or
    `notice` where nothing has changed."""

    outcome: Annotated[Outcome, _BY_VALUE] | Later = Field(union_mode="left_to_right")
    """What became of the command."""

    reason: Annotated[Reason, _BY_VALUE] | Later | None = Field(union_mode="left_to_right")
    """Why, where the outcome alone does not say it."""

    message: str | None
    """What became of it in words, for a person. Records have it where a rejection needs it; the
    client, and so HTTP and the command, say it of every outcome but a plain `completed`."""

    replayed: bool
    """Whether this repeats the outcome of an earlier command."""

    state: StateName | None
    """The state of the payment after the command; null where there is no payment."""

    account: str | None
    """The account of the payment, which may be another than the command's."""

    amount: int | None
    """The amount of the payment, in minor units."""

    currency: str | None
    """The currency of the payment, by its ISO 4217 code."""

    exponent: int | None = Field(default_factory=_exponent)
    """The decimals of the currency by ISO 4217: amount / 10^exponent is in major units."""

    time: Time
    """When it was decided, by the broker's clock, in UTC."""

    authorized: int | None = None
    """What was held at first, in minor units. This field and those after it are absent from a
    record where they do not apply."""

    captured: int | None = None
    """What was taken from the account, before refunds, in minor units."""

    refunded: int | None = None
    """What was given back to the account, in minor units."""

    held: int | None = None
    """What is held now, in minor units."""

    hold_expires: Time | None = None
    """When the hold ends, by the broker's clock, in UTC."""

    part: str | None = None
    """The id of the capture or refund that is answered, within its payment."""

    part_amount: int | None = None
    """What that capture or refund has moved, in minor units; absent where it moved nothing."""

    metadata: dict[str, str] | None = None
    """What the client noted on the payment."""


OF_A_LIFE = (
    "authorized",
    "captured",
    "refunded",
    "held",
    "hold_expires",
    "part",
    "part_amount",
    "metadata",
)
"""The fields of a ``Result`` that are absent from its record where they do not apply."""

_OF_A_LIFE = frozenset(OF_A_LIFE)


class LedgerEntry(_Public):
    """The public record of an entry; ``payment`` is null where no payment caused it."""

    account: str
    """The account, which is also the record's key."""

    sequence: int
    """1, 2, 3, ... for each account, without a gap."""

    payment: str | None
    """The payment that moved the money; null in an opening, and where a command for the account
    changed its status or credit limit."""

    kind: KindName
    """Why the money moved, or what command changed the account."""

    amount: int
    """What was added to the account, in minor units; below zero where it was taken."""

    balance: int
    """The balance of the account after the entry, in minor units."""

    currency: str
    """The currency of the account, by its ISO 4217 code."""

    exponent: int | None = Field(default_factory=_exponent)
    """The decimals of the currency by ISO 4217: balance / 10^exponent is in major units."""

    counter_account: str
    """Where the money came from or went to: the second leg of the entry."""

    time: Time
    """When it was booked, by the broker's clock, in UTC."""

    held_change: int = 0
    """What was added to what the account holds, in minor units; below zero where it was released.
    This field and those after it are absent from a record where they do not apply."""

    held: int = 0
    """What payments hold on the account after the entry, in minor units."""

    available: int = Field(default_factory=lambda fields: fields["balance"])
    """What can be spent after the entry: the balance and the credit limit, less what is held, in
    minor units."""

    part: str | None = None
    """The id of the capture or refund within its payment."""

    metadata: dict[str, str] | None = None
    """What the client noted on the payment."""

    status: StatusName = "open"
    """The status of the account after the entry: `open`, `frozen` or `closed`."""

    credit_limit: int = 0
    """How far below zero the account may go after the entry, in minor units."""


OF_A_HOLD = {
    "held_change": 0,
    "held": 0,
    "available": None,
    "part": None,
    "metadata": None,
    "status": None,
    "credit_limit": None,
}
"""The fields of a ``LedgerEntry`` that are absent from its record, and what they are then."""


class AccountBalance(_Public):
    """An account: its balance, and the sequence of its last ledger entry."""

    account: str
    """The id of the account."""

    balance: int
    """The balance in minor units, up to 10^18."""

    currency: str
    """The currency of the account, by its ISO 4217 code."""

    exponent: int | None = Field(default_factory=_exponent)
    """The decimals of the currency by ISO 4217."""

    balance_decimal: str | None = Field(default_factory=_decimal_of("balance"))
    """The balance in major units, as text: it keeps all digits where numbers are 64-bit floats,
    exact up to 2^53 only. Null for a currency that ISO 4217 has withdrawn."""

    sequence: int
    """The number of its last ledger entry."""

    held: int = 0
    """What payments hold on it, in minor units."""

    credit_limit: int = 0
    """How far below zero the account may go, in minor units."""

    available: int = Field(
        default_factory=lambda fields: fields["balance"] + fields["credit_limit"] - fields["held"]
    )
    """What can be spent: the balance and the credit limit, less what is held, in minor units."""

    status: StatusName = "open"
    """`open`, `frozen` (nothing new is taken or held) or `closed` (nothing new is moved)."""

    held_decimal: str | None = Field(default_factory=_decimal_of("held"))
    """What is held in major units, as text like ``balance_decimal``."""

    available_decimal: str | None = Field(default_factory=_decimal_of("available"))
    """What can be spent in major units, as text like ``balance_decimal``."""

    credit_limit_decimal: str | None = Field(default_factory=_decimal_of("credit_limit"))
    """The credit limit in major units, as text like ``balance_decimal``."""


class AccountResult(_Public):
    """The public record of the answer to a command for an account; what does not apply is null."""

    account: str
    """The id of the account, which is also the record's key."""

    command: str
    """The id of the command that is answered: its own, else the position of its record."""

    type: AccountTypeName | None
    """The type of the command; null where it could not be read."""

    outcome: Annotated[Outcome, _BY_VALUE] | Later = Field(union_mode="left_to_right")
    """What became of the command: `completed`, `rejected`, `found` or `not_found`."""

    reason: Annotated[Reason, _BY_VALUE] | Later | None = Field(union_mode="left_to_right")
    """Why it is rejected."""

    message: str | None
    """Why it is rejected in words, for a person."""

    replayed: bool
    """Whether it asked for what was so already, and changed nothing."""

    status: StatusName | None
    """The status of the account after the command; null, like what follows, where there is no
    account or the command could not be read."""

    balance: int | None
    """The balance in minor units."""

    held: int | None
    """What payments hold on it, in minor units."""

    credit_limit: int | None
    """How far below zero the account may go, in minor units."""

    available: int | None
    """What can be spent: the balance and the credit limit, less what is held, in minor units."""

    currency: str | None
    """The currency of the account, by its ISO 4217 code."""

    exponent: int | None
    """The decimals of the currency by ISO 4217: balance / 10^exponent is in major units."""

    sequence: int | None
    """The number of its last ledger entry: that of the change, where the command changed it."""

    time: Time
    """When it was decided, by the broker's clock, in UTC."""


class CounterBalance(_Public):
    """A counter-account in one currency: the other side of what its partition's accounts have."""

    account: str
    """Its name, such as `sales/3`."""

    balance: int
    """The balance in minor units: the opposite of what entries have moved."""

    currency: str
    """The currency, by its ISO 4217 code."""

    exponent: int | None = Field(default_factory=_exponent)
    """The decimals of the currency by ISO 4217."""

    balance_decimal: str | None = Field(default_factory=_decimal_of("balance"))
    """The balance in major units, as text."""

    held: int = 0
    """The opposite of what payments hold on the accounts, in minor units."""

    held_decimal: str | None = Field(default_factory=_decimal_of("held"))
    """The same in major units, as text."""


def members(
    record: Result | LedgerEntry | AccountBalance | AccountResult | CounterBalance,
) -> dict[str, Any]:
    """Return the members of a record in JSON, in their order; not to be changed.

    Those that a result's record lacks where they do not apply are left out.
    """
    if not isinstance(record, Result):
        return record.__dict__
    fields = record.__dict__.items()
    return {name: value for name, value in fields if value is not None or name not in _OF_A_LIFE}


def entry_members(entry: LedgerEntry) -> dict[str, Any]:
    """Return the members of an entry over HTTP: those of the record, and ``balance_decimal``."""
    return {**entry.__dict__, "balance_decimal": money_decimal(entry.balance, entry.currency)}
