"""What a client may ask: commands, read from bytes that nobody has checked.

A usual value takes the fast path: one strict validation and a count of quotes. Any other is read
again for its first fault, in this order: null, empty, too large, not UTF-8, not JSON, too deep, not
an object; a field that is given twice or that no command has; the type; a field that this command
does not have; a missing field; then the values of id, account, amount, currency.
"""

import json
from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, PlainValidator, TypeAdapter, ValidationError, ValidationInfo

from payments.domain.currencies import CURRENCIES
from payments.domain.results import Reason

MAX_VALUE_BYTES, MAX_NAME_CHARACTERS, MAX_AMOUNT, MAX_SHOWN_CHARACTERS = 65_536, 255, 10**15, 80
_NAME_RULE = f"must be 1 to {MAX_NAME_CHARACTERS} printable characters and not only spaces"


class Malformed(ValueError):  # noqa: N818  # it describes a record, not a failure of ours
    """The record is no command; ``command`` and ``type`` are its own where they can be read."""

    def __init__(
        self, reason: Reason, message: str, command: str | None = None, type_: str | None = None
    ) -> None:
        super().__init__(message)
        self.reason, self.message, self.command, self.type = reason, message, command, type_


def _is_name(value: object) -> bool:
    text = value if isinstance(value, str) else ""
    return 0 < len(text) <= MAX_NAME_CHARACTERS and text.isprintable() and not text.isspace()


def _id(value: object) -> object:
    if _is_name(value):
        return value
    raise ValueError(Reason.INVALID_ID, _NAME_RULE)


def _account(value: object) -> object:
    if not isinstance(value, str) or not _is_name(value):
        blank = isinstance(value, str) and not value.strip()
        raise ValueError(Reason.EMPTY_ACCOUNT if blank else Reason.INVALID_ACCOUNT, _NAME_RULE)
    if value.startswith(("world/", "sales/")) and value[6:].isdecimal():
        raise ValueError(Reason.RESERVED_ACCOUNT, "must not be a counter-account's")
    return value


def _currency(value: object, info: ValidationInfo) -> str:
    code = info.context if value is None else value  # The context is the default currency.
    if isinstance(code, str) and code in CURRENCIES:
        return code
    raise ValueError(Reason.UNKNOWN_CURRENCY, "must be a currency code of ISO 4217")


class _Command(BaseModel, frozen=True, strict=True, extra="forbid"):
    id: Annotated[str, PlainValidator(_id)] | None = None


class _Movement(_Command):
    account: Annotated[str, PlainValidator(_account)]
    amount: Annotated[int, Field(ge=1, le=MAX_AMOUNT)]
    currency: Annotated[str, PlainValidator(_currency)] = Field(None, validate_default=True)


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
_ADAPTER: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="type")])
_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple,  # Keeps duplicates. An array is a list, so a tuple is an object.
    parse_int=lambda digits: int(digits[:400]),  # Longer is too large in any case, and costs time.
    parse_float=str.encode,  # A number that is no integer is kept as it was written, in bytes.
    parse_constant=str.encode,
)
_FIELDS = ("type", "id", "account", "amount", "currency")
_TYPES = ("make", "deposit", "cancel", "get")
_FAULTS = {  # Pydantic's error: our reason and words, in order of precedence.
    "union_tag_not_found": (Reason.MISSING_TYPE, "must be make, deposit, cancel or get"),
    "union_tag_invalid": (Reason.UNKNOWN_TYPE, "must be make, deposit, cancel or get"),
    "extra_forbidden": (Reason.UNKNOWN_FIELD, "is not a field of this command"),
    "missing": (Reason.MISSING_FIELD, "must be given"),
    "int_type": (Reason.AMOUNT_NOT_INTEGER, "must be a whole number of minor units"),
    "greater_than_equal": (Reason.AMOUNT_NOT_POSITIVE, "must be at least 1"),
    "less_than_equal": (Reason.AMOUNT_TOO_LARGE, "must be at most 10^15"),
}


def parse_command(value: bytes | None, *, default_currency: str) -> Command:
    """Return the command in a record's value; raises ``Malformed`` with the first fault."""
    if not value:
        reason = Reason.NULL_VALUE if value is None else Reason.EMPTY_VALUE
        raise Malformed(reason, "the record has no value: the value is the command")
    if len(value) > MAX_VALUE_BYTES:
        raise Malformed(Reason.TOO_LARGE, f"{len(value)} bytes, allowed are {MAX_VALUE_BYTES}")
    try:
        command = _ADAPTER.validate_json(value, context=default_currency)
    except ValidationError:
        return _parse_slowly(value, default_currency)
    # A member has a quoted name and, unless it is the amount or null, a quoted value: if there are
    # more quotes, a field may have been given twice.
    quotes = 4 * len(command.model_fields_set) - 2 * (command.type in ("make", "deposit"))
    if b"null" in value or value.count(b'"') != quotes:
        return _parse_slowly(value, default_currency)
    return command


def parse_payment_id(key: bytes | None) -> str:
    """Return the payment id in a record's key; raises ``Malformed`` when there is none."""
    if not key:
        reason = Reason.NULL_KEY if key is None else Reason.EMPTY_KEY
        raise Malformed(reason, "the record has no key: the key is the payment id")
    try:
        payment = key.decode()
    except UnicodeDecodeError as error:
        raise Malformed(Reason.KEY_NOT_UTF8, f"the key is not UTF-8: {error}") from None
    if not _is_name(payment):
        long = len(payment) > MAX_NAME_CHARACTERS
        reason = Reason.KEY_TOO_LONG if long else Reason.KEY_NOT_PRINTABLE
        raise Malformed(reason, f"the key {_NAME_RULE}, received {_shown(payment)}")
    return payment


def _parse_slowly(value: bytes, default_currency: str) -> Command:
    try:
        members = _DECODER.decode(value.decode())
    except UnicodeDecodeError as error:
        raise Malformed(Reason.NOT_UTF8, f"the value is not UTF-8: {error}") from None
    except json.JSONDecodeError as error:
        raise Malformed(Reason.NOT_JSON, f"the value is not JSON: {error}") from None
    except RecursionError:
        raise Malformed(Reason.TOO_DEEP, "the value is nested too deeply") from None
    if not isinstance(members, tuple):
        raise Malformed(Reason.NOT_AN_OBJECT, f"the value is no object but {_shown(members)}")
    counts = Counter(name for name, _ in members)
    fields = {name: value for name, value in members if counts[name] == 1}
    stray = next((name for name, n in counts.items() if n > 1 or name not in _FIELDS), None)
    if stray is not None:
        fault = Reason.UNKNOWN_FIELD, f"{_shown(stray)} is not a field of any command"
        if counts[stray] > 1:
            fault = Reason.DUPLICATED_FIELD, f"{_shown(stray)} is given {counts[stray]} times"
    else:
        try:
            return _ADAPTER.validate_python(fields, context=default_currency)
        except ValidationError as error:
            fault = _first_fault(error, fields)
    command = fields.get("id") if _is_name(fields.get("id")) else None
    type_ = fields.get("type") if fields.get("type") in _TYPES else None
    raise Malformed(*fault, command, type_)


def _first_fault(error: ValidationError, fields: dict[str, Any]) -> tuple[Reason, str]:
    faults = error.errors(include_url=False)
    first = min(faults, key=lambda fault: fault["type"] not in ("extra_forbidden", "missing"))
    name = first["loc"][-1] if first["loc"] else "type"
    reason, rule = _FAULTS.get(first["type"]) or first["ctx"]["error"].args
    received = _shown(fields[name]) if name in fields else "nothing"
    return reason, f"{_shown(name)} {rule}, received {received}"


def _shown(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return "an object" if isinstance(value, tuple) else "an array"
    text = value.decode() if isinstance(value, bytes) else json.dumps(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."
