"""What a client may ask: the commands, and the rules of their fields."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, PlainValidator, ValidationInfo, WithJsonSchema

from payments.domain.currencies import CURRENCIES
from payments.domain.results import Reason

MAX_NAME_CHARACTERS, MAX_AMOUNT = 255, 10**15
NAME_RULE = f"must be 1 to {MAX_NAME_CHARACTERS} printable characters and not only spaces"

# The same rules as JSON Schema. A pattern that all validators can read names the characters without
# a shape of their own (controls, odd spaces, private use); the rarer ones are left to ``is_name``.
_HIDDEN = (
    r"\u0000-\u001f\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u1680"
    r"\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ue000-\uf8ff\ufeff\ufff9-\ufffb"
)
NAME_SCHEMA = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_NAME_CHARACTERS,
    "pattern": f"^ *[^ {_HIDDEN}][^{_HIDDEN}]*$",
}
_ACCOUNT_SCHEMA = {**NAME_SCHEMA, "not": {"pattern": "^(world|sales)/[0-9]+$"}}
_CURRENCY_SCHEMA = {"enum": [*sorted(CURRENCIES), None]}


def is_name(value: object) -> bool:
    """Return whether a value can be an id, a payment's id or an account."""
    text = value if isinstance(value, str) else ""
    return 0 < len(text) <= MAX_NAME_CHARACTERS and text.isprintable() and not text.isspace()


def _id(value: object) -> object:
    if is_name(value):
        return value
    raise ValueError(Reason.INVALID_ID, NAME_RULE)


def _account(value: object) -> object:
    if not isinstance(value, str) or not is_name(value):
        blank = isinstance(value, str) and not value.strip()
        raise ValueError(Reason.EMPTY_ACCOUNT if blank else Reason.INVALID_ACCOUNT, NAME_RULE)
    if value.startswith(("world/", "sales/")) and value[6:].isdecimal():
        raise ValueError(Reason.RESERVED_ACCOUNT, "must not be a counter-account's")
    return value


def _currency(value: object, info: ValidationInfo) -> str:
    code = info.context if value is None else value  # The context is the default currency.
    if isinstance(code, str) and code in CURRENCIES:
        return code
    raise ValueError(Reason.UNKNOWN_CURRENCY, "must be a currency code of ISO 4217")


class _Command(BaseModel, frozen=True, strict=True, extra="forbid"):
    id: Annotated[str, PlainValidator(_id), WithJsonSchema(NAME_SCHEMA)] | None = None


class _Movement(_Command):
    account: Annotated[str, PlainValidator(_account), WithJsonSchema(_ACCOUNT_SCHEMA)]
    amount: Annotated[int, Field(ge=1, le=MAX_AMOUNT)]
    currency: Annotated[str, PlainValidator(_currency), WithJsonSchema(_CURRENCY_SCHEMA)] = Field(
        None, validate_default=True
    )


class Make(_Movement):
    """Take money from an account."""

    type: Literal["make"] = "make"


class Deposit(_Movement):
    """Put money on an account."""

    type: Literal["deposit"] = "deposit"


class Cancel(_Command):
    """Prevent a payment, or undo it."""

    type: Literal["cancel"] = "cancel"


class Get(_Command):
    """Ask for a payment's state."""

    type: Literal["get"] = "get"


Command = Make | Deposit | Cancel | Get
