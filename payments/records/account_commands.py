"""Commands for accounts as a client sends them, parsed from unchecked bytes.

There are few of them, so each is read member by member; faults are found in the order of
``payments.records.commands``.
"""

from collections import Counter
from typing import Any, get_args

from msgspec.structs import fields as struct_fields

from payments.domain.account import is_counter_name
from payments.domain.account_commands import (
    ACCOUNT_COMMAND_TYPES,
    RULES,
    AccountCommand,
    Open,
)
from payments.domain.names import is_name
from payments.domain.results import Reason
from payments.records.commands import (
    MAX_VALUE_BYTES,
    ONLY_FOR_PAYMENTS,
    Malformed,
    Members,
    decode_members,
    parse_payment_id,
    shown,
)

_TYPES: dict[str, type[AccountCommand]] = {model.type: model for model in get_args(AccountCommand)}
_TYPE_RULE = f"must be {', '.join(ACCOUNT_COMMAND_TYPES[:-1])} or {ACCOUNT_COMMAND_TYPES[-1]}"
_FIELDS = frozenset({"type", *RULES})
_NULLABLE = {"id", "currency"}
"""The fields that may be null, which is as if they were not there."""


def parse_account_id(key: bytes | None) -> str:
    """Return the account id in a record's key; raises ``Malformed`` when there is none.

    The name of a counter-account is returned too: ``require_account_name`` refuses it.
    """
    return parse_payment_id(key, names="account")


def require_account_name(name: str, value: bytes | None = None) -> None:
    """Raise ``Malformed`` for the name of a counter-account, which has no rules.

    ``value`` is that of the command, whose own id and type the error then has.
    """
    if is_counter_name(name):
        reason, fault = Reason.RESERVED_ACCOUNT, "the key must not be a counter-account's"
        own, type_ = own_of_account_command(value)
        raise Malformed(reason, f"{fault}, received {shown(name)}", command=own, type_=type_)


def parse_account_command(value: bytes | None, *, default_currency: str) -> AccountCommand:
    """Return the command in a record's value; raises ``Malformed`` with the first fault."""
    if not value:
        reason = Reason.NULL_VALUE if value is None else Reason.EMPTY_VALUE
        raise Malformed(reason, "the record has no value: the value is the command")
    if len(value) > MAX_VALUE_BYTES:
        raise Malformed(Reason.TOO_LARGE, f"{len(value)} bytes, allowed are {MAX_VALUE_BYTES}")
    return account_command_of(decode_members(value), default_currency=default_currency)


def account_command_of(members: Members, *, default_currency: str) -> AccountCommand:
    """Return the command that these members make; raises ``Malformed`` with the first fault."""
    counts = Counter(name for name, _ in members)
    once = {name: value for name, value in members if counts[name] == 1}
    own, first = _own(once), _right_topic(once)
    for name, count in counts.items():
        if count > 1:
            rule = f"is given {count} times"
            raise Malformed(Reason.DUPLICATED_FIELD, rule, name, first=first, **own)
        if name not in _FIELDS:
            rule = "is not a field of any command for accounts"
            raise Malformed(Reason.UNKNOWN_FIELD, rule, name, first=first, **own)
    type_ = once.get("type")
    model = _TYPES.get(type_) if isinstance(type_, str) else None
    if model is None:
        reason = Reason.UNKNOWN_TYPE if "type" in counts else Reason.MISSING_TYPE
        received = shown(type_) if "type" in counts else "nothing"
        rule = f"{_TYPE_RULE}, received {received}"
        raise Malformed(reason, rule, "type", first=first, **own)
    del once["type"]
    _require_fields(model, once, own)
    if issubclass(model, Open):
        once["currency"] = once.get("currency") or default_currency
    return model(**once)


def _right_topic(fields: dict[str, Any]) -> str:
    """Return where the command goes, if its type is only one of commands for payments."""
    type_ = fields.get("type")
    if isinstance(type_, str) and type_ in ONLY_FOR_PAYMENTS:
        return f"{type_} is a command for payments and belongs on payments.commands: "
    return ""


def _require_fields(
    model: type[AccountCommand], fields: dict[str, Any], own: dict[str, str | None]
) -> None:
    """Raise ``Malformed`` for a field that the command lacks or has not, or whose value is bad."""
    for name, value in fields.items():
        if name not in model.__struct_fields__:
            raise Malformed(
                Reason.UNKNOWN_FIELD,
                f"is not a field of this command, received {shown(value)}",
                name,
                **own,
            )
    for field in struct_fields(model):
        if field.required and field.name not in fields:
            rule = "must be given, received nothing"
            raise Malformed(Reason.MISSING_FIELD, rule, field.name, **own)
    for name, rule_of in RULES.items():
        if name not in fields or (fields[name] is None and name in _NULLABLE):
            continue
        if (fault := rule_of(fields[name])) is not None:
            reason, rule = fault
            raise Malformed(reason, f"{rule}, received {shown(fields[name])}", name, **own)


def own_of_account_command(value: bytes | None) -> tuple[str | None, str | None]:
    """Return a command's own id and type, where its value has them."""
    if not value or len(value) > MAX_VALUE_BYTES:
        return None, None
    try:
        own = _own(dict(decode_members(value)))
    except Malformed:
        return None, None
    return own["command"], own["type_"]


def _own(fields: dict[str, Any]) -> dict[str, str | None]:
    """Return the command's own id and type where they can be read."""
    own, type_ = fields.get("id"), fields.get("type")
    return {
        "command": own if is_name(own) else None,
        "type_": type_ if isinstance(type_, str) and type_ in _TYPES else None,
    }
