"""Commands as a client sends them, read from bytes that nobody has checked.

A usual value takes the fast path: one strict validation and a count of quotes. Any other is read
again for its first fault, in this order: null, empty, too large, not UTF-8, not JSON, too deep, not
an object; a field that is given twice or that no command has; the type; a field that this command
does not have; a missing field; then the values of id, account, amount, currency.
"""

import json
from collections import Counter
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from payments.domain.commands import MAX_NAME_CHARACTERS, NAME_RULE, Command, is_name
from payments.domain.results import Reason

MAX_VALUE_BYTES, MAX_SHOWN_CHARACTERS = 65_536, 80


class Malformed(ValueError):  # noqa: N818  # it describes a record, not a failure of ours
    """The record is no command; ``command`` and ``type`` are its own where they can be read.

    ``field`` is the one at fault, where it is one.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        command: str | None = None,
        type_: str | None = None,
        field: str | None = None,
    ) -> None:
        super().__init__(message)
        self.reason, self.message, self.command, self.type = reason, message, command, type_
        self.field = field


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
    if not is_name(payment):
        long = len(payment) > MAX_NAME_CHARACTERS
        reason = Reason.KEY_TOO_LONG if long else Reason.KEY_NOT_PRINTABLE
        raise Malformed(reason, f"the key {NAME_RULE}, received {_shown(payment)}")
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
        fault = Reason.UNKNOWN_FIELD, f"{_shown(stray)} is not a field of any command", stray
        if counts[stray] > 1:
            given = f"{_shown(stray)} is given {counts[stray]} times"
            fault = Reason.DUPLICATED_FIELD, given, stray
    else:
        try:
            return _ADAPTER.validate_python(fields, context=default_currency)
        except ValidationError as error:
            fault = _first_fault(error, fields)
    command = fields.get("id") if is_name(fields.get("id")) else None
    type_ = fields.get("type") if fields.get("type") in _TYPES else None
    reason, message, field = fault
    raise Malformed(reason, message, command, type_, field)


def _first_fault(error: ValidationError, fields: dict[str, Any]) -> tuple[Reason, str, str]:
    faults = error.errors(include_url=False)
    first = min(faults, key=lambda fault: fault["type"] not in ("extra_forbidden", "missing"))
    name = first["loc"][-1] if first["loc"] else "type"
    reason, rule = _FAULTS.get(first["type"]) or first["ctx"]["error"].args
    received = _shown(fields[name]) if name in fields else "nothing"
    return reason, f"{_shown(name)} {rule}, received {received}", str(name)


def _shown(value: object) -> str:
    if isinstance(value, (tuple, list)):
        return "an object" if isinstance(value, tuple) else "an array"
    text = value.decode() if isinstance(value, bytes) else json.dumps(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."
