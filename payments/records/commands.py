"""Commands as a client sends them, parsed from unchecked bytes.

A usual value takes the fast path: one strict validation and a count of quotes. Any other is parsed
again for its first fault, in this order: null, empty, too large, not UTF-8, not JSON, too deep, not
an object; a field that is given twice or that no command has; the type; a field that this command
does not have; a missing field; then the values, in the order of ``RULES``.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, get_args

from msgspec import DecodeError
from msgspec.json import Decoder
from msgspec.structs import fields as struct_fields
from msgspec.structs import replace

from payments.domain.account_commands import ACCOUNT_COMMAND_TYPES
from payments.domain.commands import (
    COMMAND_TYPES,
    FINAL_CAPTURE,
    RULES,
    Authorize,
    Capture,
    Command,
    Deposit,
    Get,
    Make,
    Opening,
    Refund,
)
from payments.domain.currencies import CURRENCIES
from payments.domain.names import MAX_NAME_CHARACTERS, NAME_RULE, has_outer_space, is_name
from payments.domain.results import Reason
from payments.records.misread import misread, text_mark

MAX_VALUE_BYTES, MAX_SHOWN_CHARACTERS = 65_536, 80


Members = Sequence[tuple[str, Any]]


class Malformed(ValueError):
    """The record is no command; ``command`` and ``type`` are its own where they can be read.

    ``fault`` is the rule that it breaks, ``field`` the field, if it is one; the message has both,
    after ``first``.
    """

    def __init__(
        self,
        reason: Reason,
        fault: str,
        field: str | None = None,
        *,
        first: str | None = None,
        command: str | None = None,
        type_: str | None = None,
    ) -> None:
        message = fault if field is None else f"{shown(field)} {fault}"
        message = f"{first or ''}{message}"
        super().__init__(message)
        self.reason, self.fault, self.field, self.message = reason, fault, field, message
        self.command, self.type = command, type_


_decode: Callable[[bytes], Command] = Decoder(Command).decode
_decode_movement: dict[type[Opening], Callable[[bytes], Opening]] = {
    model: Decoder(model).decode for model in get_args(Opening)
}
_DECODER = json.JSONDecoder(
    object_pairs_hook=tuple,  # Keeps duplicates. An array is a list, so a tuple is an object.
    parse_int=lambda digits: int(digits[:400]),  # Longer is too large in any case, and costs time.
    parse_float=str.encode,  # A number that is no integer is kept as it was written, in bytes.
    parse_constant=str.encode,
)
_MAX_DEPTH = 500
"""Nested arrays and objects. Python's own limit depends on its version, or is none."""

_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*"?|[][{}]', re.DOTALL)
_FIELDS = frozenset({"type", *RULES})
_account_fault = lru_cache(maxsize=8192)(RULES["account"])
"""Accounts recur, so the check of each is cached; names that are too long are not cached."""

_TYPES: dict[str, type[Command]] = {model.type: model for model in get_args(Command)}

_TYPE_RULE = f"must be {', '.join(COMMAND_TYPES[:-1])} or {COMMAND_TYPES[-1]}"
ONLY_FOR_PAYMENTS = frozenset(COMMAND_TYPES) - frozenset(ACCOUNT_COMMAND_TYPES)
"""Types that no command for accounts has; ``get`` is a type of both."""

_ONLY_FOR_ACCOUNTS = frozenset(ACCOUNT_COMMAND_TYPES) - frozenset(COMMAND_TYPES)
_REQUIRED = {
    model: [field.name for field in struct_fields(model) if field.required]
    for model in _TYPES.values()
}
_NULLABLE = {
    model: {field.name for field in struct_fields(model) if field.default is None}
    for model in _TYPES.values()
}
"""The fields that may be null, which is as if they were not there."""


def parse_command(value: bytes | None, *, default_currency: str) -> Command:
    """Return the command in a record's value; raises ``Malformed`` with the first fault."""
    if not value:
        reason = Reason.NULL_VALUE if value is None else Reason.EMPTY_VALUE
        raise Malformed(reason, "the record has no value: the value is the command")
    if len(value) > MAX_VALUE_BYTES:
        raise Malformed(Reason.TOO_LARGE, f"{len(value)} bytes, allowed are {MAX_VALUE_BYTES}")
    command = _parse_quickly(value, default_currency)
    if command is None:
        return command_of(decode_members(value), default_currency=default_currency)
    return command


def parse_movement(value: bytes, movement: type[Opening]) -> Opening | None:
    """Return a make, deposit or authorize without type, id and metadata, as in an HTTP request.

    Its currency is "" where the value has none. None where it is not sure that the value is
    well-formed: then ``command_of`` finds the fault.
    """
    try:
        found = _decode_movement[movement](value)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None
    account, currency = found.account, found.currency
    known = (not currency) or currency in CURRENCIES
    if not known or len(account) > MAX_NAME_CHARACTERS or _account_fault(account) is not None:
        return None
    # As in ``_parse_quickly``: more quotes are those of another member, or of one given twice.
    quotes = 10 if currency else 6
    if isinstance(found, Authorize) and found.hold_seconds is not None:
        quotes += 2
    return found if value.count(b'"') == quotes else None


def own_of(value: bytes | None) -> tuple[str | None, str | None]:
    """Return a command's own id and type, where its value has them."""
    if not value or len(value) > MAX_VALUE_BYTES:
        return None, None
    try:
        fields = dict(decode_members(value))
    except Malformed:
        return None, None
    own = _own(fields)
    return own["command"], own["type_"]


def parse_payment_id(key: bytes | None, *, names: str = "payment") -> str:
    """Return the payment id in a record's key; raises ``Malformed`` when there is none.

    ``names`` is what the key is the id of, where that is something else.
    """
    if not key:
        reason = Reason.NULL_KEY if key is None else Reason.EMPTY_KEY
        raise Malformed(reason, f"the record has no key: the key is the {names} id")
    try:
        payment = key.decode()
    except UnicodeDecodeError as error:
        fault = text_mark(key) or f"is not UTF-8: {error}"
        raise Malformed(Reason.KEY_NOT_UTF8, f"the key {fault}") from None
    if not is_name(payment):
        long = len(payment) > MAX_NAME_CHARACTERS
        reason = Reason.KEY_TOO_LONG if long else Reason.KEY_NOT_PRINTABLE
        fault = text_mark(key) or NAME_RULE
        raise Malformed(reason, f"the key {fault}, received {shown(payment)}")
    return payment


def fault_of_new_payment(payment: str, command: Command) -> tuple[Reason, str] | None:
    """Return why a command may not begin a payment under these names, and the rule in words.

    Names that begin or end with a space were valid once: stored payments with them are served.
    """
    if isinstance(command, Get):
        return None
    if has_outer_space(payment):
        reason = Reason.KEY_NOT_PRINTABLE
        return reason, f"the key {NAME_RULE}, received {shown(payment)}"
    if command.id is not None and has_outer_space(command.id):
        return Reason.INVALID_ID, f'"id" {NAME_RULE}, received {shown(command.id)}'
    return None


def decode_members(value: bytes) -> Members:
    """Return the members of a JSON object as they are written, repeats too; or ``Malformed``."""
    try:
        text = value.decode()
        if _is_too_deep(text):
            raise Malformed(Reason.TOO_DEEP, "the value is nested too deeply")
        members = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        fault = misread(value) or f"is not UTF-8: {error}"
        raise Malformed(Reason.NOT_UTF8, f"the value {fault}") from None
    except json.JSONDecodeError as error:
        fault = misread(value) or f"is not JSON: {error}"
        raise Malformed(Reason.NOT_JSON, f"the value {fault}") from None
    except RecursionError:
        raise Malformed(Reason.TOO_DEEP, "the value is nested too deeply") from None
    if not isinstance(members, tuple):
        raise Malformed(Reason.NOT_AN_OBJECT, f"the value is no object but {_what(members)}")
    return members


def _is_too_deep(text: str) -> bool:
    """Return whether arrays and objects are nested deeper than ``_MAX_DEPTH``."""
    if text.count("[") + text.count("{") <= _MAX_DEPTH:
        return False
    depth = 0
    for found in _BRACKETS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > _MAX_DEPTH:
            return True
    return False


def command_of(members: Members, *, default_currency: str) -> Command:
    """Return the command that these members make; raises ``Malformed`` with the first fault."""
    fields = dict(members)
    if len(fields) < len(members) or not _FIELDS.issuperset(fields):
        raise _stray(members)
    fault = _first_fault(fields)
    if fault is not None:
        reason, rule, name = fault
        received = shown(fields[name]) if name in fields else "nothing"
        rule, first = f"{rule}, received {received}", _right_topic(fields)
        raise Malformed(reason, rule, name, first=first, **_own(fields))
    model = _TYPES[fields.pop("type")]
    if issubclass(model, (Make, Deposit, Authorize)):
        fields["currency"] = fields.get("currency") or default_currency
        if isinstance(fields.get("metadata"), tuple):
            fields["metadata"] = dict(fields["metadata"])
    return model(**fields)


def _parse_quickly(value: bytes, default_currency: str) -> Command | None:
    """Return the command if it is well-formed and written as usual; None if that is not sure."""
    try:
        command = _decode(value)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return None
    own, quotes = command.id, 4
    if own is not None:
        quotes += 4
        if not is_name(own):
            return None
    if isinstance(command, (Make, Deposit, Authorize)):
        account, currency = command.account, command.currency
        quotes += 10 if currency else 6
        if len(account) > MAX_NAME_CHARACTERS or _account_fault(account) is not None:
            return None
        if isinstance(command, Authorize):
            quotes += 0 if command.hold_seconds is None else 2
            command = replace(command, currency=currency or default_currency)
        elif not currency:
            command = type(command)(account, command.amount, default_currency, own)
        if currency and currency not in CURRENCIES:
            return None
    elif isinstance(command, (Capture, Refund)):
        return _part_parsed_quickly(command, value, quotes)
    # A member has a quoted name and, unless it is the amount or null, a quoted value: if there are
    # more quotes, one is null or a field may have been given twice.
    return command if value.count(b'"') == quotes else None


def _part_parsed_quickly(command: Capture | Refund, value: bytes, quotes: int) -> Command | None:
    """Return a capture or refund if none of its members can be given twice; None if not sure."""
    part = command.refund if isinstance(command, Refund) else command.capture
    if RULES["refund"](part) is not None:
        return None
    if isinstance(command, Refund) or part != FINAL_CAPTURE:
        quotes += 4
    if command.amount is not None:
        quotes += 2
    if isinstance(command, Capture) and not command.final:
        quotes += 2
        if part == FINAL_CAPTURE:  # It may have been left out, which is a fault.
            return None
    return command if value.count(b'"') == quotes else None


def _stray(members: Members) -> Malformed:
    """Return the fault of the first member that is given twice or that no command has."""
    counts = Counter(name for name, _ in members)
    once = {name: value for name, value in members if counts[name] == 1}
    name = next(name for name, n in counts.items() if n > 1 or name not in _FIELDS)
    reason, rule = Reason.UNKNOWN_FIELD, "is not a field of any command"
    if counts[name] > 1:
        reason, rule = Reason.DUPLICATED_FIELD, f"is given {counts[name]} times"
    return Malformed(reason, rule, name, first=_right_topic(once), **_own(once))


def _right_topic(fields: dict[str, Any]) -> str:
    """Return where the command goes, if its type is only one of commands for accounts."""
    type_ = fields.get("type")
    if isinstance(type_, str) and type_ in _ONLY_FOR_ACCOUNTS:
        return f"{type_} is a command for accounts and belongs on accounts.commands: "
    return ""


def _own(fields: dict[str, Any]) -> dict[str, str | None]:
    """Return the command's own id and type where they can be read."""
    own, type_ = fields.get("id"), fields.get("type")
    return {
        "command": own if is_name(own) else None,
        "type_": type_ if isinstance(type_, str) and type_ in _TYPES else None,
    }


def _first_fault(fields: dict[str, Any]) -> tuple[Reason, str, str] | None:
    """Return the first fault of a command's fields: reason, rule and field."""
    type_ = fields.get("type")
    model = _TYPES.get(type_) if isinstance(type_, str) else None
    if model is None:
        reason = Reason.UNKNOWN_TYPE if "type" in fields else Reason.MISSING_TYPE
        return reason, _TYPE_RULE, "type"
    names = model.__struct_fields__
    for name in fields:
        if name not in names and name != "type":
            return Reason.UNKNOWN_FIELD, "is not a field of this command", name
    for name in _REQUIRED[model]:
        if name not in fields:
            return Reason.MISSING_FIELD, "must be given", name
    for name, rule in RULES.items():
        if name not in fields or (fields[name] is None and name in _NULLABLE[model]):
            continue
        if (fault := rule(fields[name])) is not None:
            return *fault, name
    if fields.get("final") is False and "capture" not in fields:
        return Reason.MISSING_FIELD, "must be given for a capture that is not final", "capture"
    return None


def _what(value: object) -> str:
    """Describe a value that is no object, with the likely cause where it is obvious."""
    text = shown(value)
    twice = isinstance(value, str) and value.lstrip()[:1] == "{"
    return f"{text}: a string that holds JSON, so it was encoded twice" if twice else text


def shown(value: object) -> str:
    """Return a value as it was received, shortened, for a message."""
    if isinstance(value, (tuple, list)):
        return "an object" if isinstance(value, tuple) else "an array"
    text = value.decode() if isinstance(value, bytes) else json.dumps(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."
