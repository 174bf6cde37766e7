"""The answer to a command: outcomes, the closed list of reasons, the payment's request."""

from enum import StrEnum
from typing import Literal

from msgspec import Struct

Outcome = StrEnum(
    "Outcome",
    "COMPLETED DECLINED CANCELLED REJECTED FOUND NOT_FOUND EXPIRED "
    "AUTHORIZED CAPTURED VOIDED REFUNDED LAPSED HOLD_ENDS_SOON",
)


class Reason(StrEnum):
    """Why a command has its outcome; results and dead letters share the list."""

    UNKNOWN_ACCOUNT = "unknown_account"
    """The account was never opened."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    """The available amount would go below zero."""

    WRONG_CURRENCY = "wrong_currency"
    """The account is kept in another currency."""

    ACCOUNT_FROZEN = "account_frozen"
    """The account is frozen: nothing new is taken from it or held on it."""

    ACCOUNT_CLOSED = "account_closed"
    """The account is closed: nothing new is moved on it, and it has no other rules."""

    NOT_ZERO = "not_zero"
    """An account is closed only where its balance and what is held are 0."""

    DIFFERENT_LIMIT = "different_limit"
    """The account is open already, with another credit limit."""

    BALANCE_LIMIT = "balance_limit"
    """A deposit would lift the balance over 10^18."""

    PREVENTED = "prevented"
    """Cancelled before any money had moved."""

    ROLLED_BACK = "rolled_back"
    """Cancelled by moving the money back."""

    VOIDED = "voided"
    """The hold was released because a client asked for it."""

    HOLD_EXPIRED = "hold_expired"
    """The hold has ended, so that nothing is held any more."""

    OVER_CAPTURE = "over_capture"
    """A capture of more than is held."""

    OVER_REFUND = "over_refund"
    """A refund of more than was captured and not refunded."""

    NOTHING_HELD = "nothing_held"
    """The payment holds no money any more."""

    NOTHING_CAPTURED = "nothing_captured"
    """The payment has taken no money that could be refunded."""

    NOT_AUTHORIZED = "not_authorized"
    """A make or deposit never held money, so there is nothing to capture or void."""

    UNKNOWN_PAYMENT = "unknown_payment"
    """There is no such payment, or it was forgotten."""

    CANCELLED = "cancelled"
    """The payment was cancelled."""

    DECLINED = "declined"
    """The payment was declined."""

    TOO_MANY_PARTS = "too_many_parts"
    """The limit of captures and refunds of one payment."""

    DIFFERENT_TYPE = "different_type"
    """The id names another kind of payment, or of part: a deposit and not a make, for example."""

    DIFFERENT_ACCOUNT = "different_account"
    """The id names a payment of another account."""

    DIFFERENT_AMOUNT = "different_amount"
    """The id names a payment of another amount."""

    DIFFERENT_CURRENCY = "different_currency"
    """The id names a payment in another currency."""

    DIFFERENT_FINAL = "different_final"
    """The id names a capture that was final, or one that was not."""

    TOO_MANY_WAITING = "too_many_waiting"
    """The limit of commands that wait for the payment."""

    NULL_KEY = "null_key"
    """The record has no key, so no payment id."""

    EMPTY_KEY = "empty_key"
    """The key has no bytes."""

    KEY_NOT_UTF8 = "key_not_utf8"
    """The key is not text."""

    KEY_TOO_LONG = "key_too_long"
    """The key has more than 255 characters."""

    KEY_NOT_PRINTABLE = "key_not_printable"
    """A character of the key is refused (``names``)."""

    NULL_VALUE = "null_value"
    """The record has no value."""

    EMPTY_VALUE = "empty_value"
    """The value has no bytes."""

    TOO_LARGE = "too_large"
    """The value has more than 64 KiB."""

    BATCH_TOO_LARGE = "batch_too_large"
    """Its producer's batch inflates to more than 16 MiB."""

    UNDECODABLE_BATCH = "undecodable_batch"
    """Its producer's batch contradicts its own header."""

    NOT_UTF8 = "not_utf8"
    """The value is not text."""

    NOT_JSON = "not_json"
    """The value is not one JSON document."""

    TOO_DEEP = "too_deep"
    """The JSON is nested too deeply to be read."""

    NOT_AN_OBJECT = "not_an_object"
    """The JSON is not an object."""

    DUPLICATED_FIELD = "duplicated_field"
    """A field is given twice."""

    MISSING_TYPE = "missing_type"
    """The command has no type."""

    UNKNOWN_TYPE = "unknown_type"
    """The type is none that there is."""

    UNKNOWN_FIELD = "unknown_field"
    """The command has no such field."""

    MISSING_FIELD = "missing_field"
    """A required field is absent."""

    INVALID_ID = "invalid_id"
    """The command's own id breaks the rule of ``names``."""

    EMPTY_ACCOUNT = "empty_account"
    """The account is empty or only spaces."""

    INVALID_ACCOUNT = "invalid_account"
    """The account breaks the rule of ``names``."""

    RESERVED_ACCOUNT = "reserved_account"
    """The account looks like a counter-account."""

    AMOUNT_NOT_INTEGER = "amount_not_integer"
    """It is 1.5, 1.0, 1e2, NaN, text, a boolean, ..."""

    AMOUNT_NOT_POSITIVE = "amount_not_positive"
    """The amount is zero or negative."""

    AMOUNT_TOO_LARGE = "amount_too_large"
    """The amount is over 10^15."""

    UNKNOWN_CURRENCY = "unknown_currency"
    """The currency is not an ISO 4217 code."""

    INVALID_CREDIT_LIMIT = "invalid_credit_limit"
    """It is no whole number from 0 to 10^18."""

    INVALID_PART = "invalid_part"
    """The id of a capture or refund breaks the rule of ``names``, or is longer than 64."""

    INVALID_FINAL = "invalid_final"
    """It is neither true nor false."""

    INVALID_HOLD_SECONDS = "invalid_hold_seconds"
    """It is no whole number of seconds up to a year."""

    INVALID_METADATA = "invalid_metadata"
    """It is no object of up to 32 texts and 4 KiB."""

    IMPOSSIBLE = "impossible"
    """A defect: the payment table has no such transition."""

    INTERNAL_ERROR = "internal_error"
    """A defect: the domain raised an exception."""


class Frozen(Struct, frozen=True, gc=False):
    """Base of the domain's values: immutable, compared by fields, without reference cycles."""


class Request(Frozen, frozen=True):
    """The request that began a payment; two are compared field by field in this order."""

    type: Literal["make", "deposit", "authorize"]
    account: str
    amount: int
    currency: str


class Amounts(Frozen, frozen=True):
    """What has become of a payment's money, in minor units."""

    captured: int
    refunded: int
    authorized: int | None = None
    """None where nothing was ever held: a make."""

    held: int | None = None
    hold_expires_ms: int | None = None
    """When the hold ends, by the broker's clock: milliseconds since 1970, UTC."""


class Answer(Frozen, frozen=True):
    """The answer to one command."""

    command: str | None
    """The command's own id, else the address of its record; None in a notice."""

    type: str | None
    """The command's type; None where it could not be read. In a notice ``expire``, ``lapse``, or
    ``notice`` where nothing has changed."""

    outcome: Outcome
    reason: Reason | None = None
    message: str | None = None
    """The rule that a rejected command breaks, in words."""

    replayed: bool = False
    """Whether this repeats the outcome of an earlier command."""

    state: str | None = None
    """The payment's after the command (a ``payment.State``)."""

    request: Request | None = None
    """The payment's, not the command's."""

    part: str | None = None
    """The id of the capture or refund within its payment."""

    amounts: Amounts | None = None
    """Given for payments that hold money or have held it, and for those with refunds."""

    metadata: dict[str, str] | None = None
    """The payment's."""

    part_amount: int | None = None
    """What the capture or refund that is answered has moved, in minor units."""
