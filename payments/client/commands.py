"""Commands of the client: encoded, and checked by the worker's rules.

What the gateway has parsed by the same rules comes as ``CheckedId`` and ``Command``, and is only
encoded.
"""

import json
from collections.abc import Mapping
from typing import NamedTuple

import orjson
from msgspec.json import Encoder
from msgspec.structs import replace

from payments.client.errors import InvalidCommand
from payments.domain.commands import Command
from payments.domain.results import Reason
from payments.records.commands import Malformed, parse_command, parse_payment_id


class CheckedId(NamedTuple):
    """A payment's id that ``parse_payment_id`` has accepted, so that it is not checked again.

    A ``Command`` that is sent with it was checked too: by ``payments.records.commands``, without a
    default for its currency, which is the worker's to choose.
    """

    text: str
    key: bytes
    """The same text as the key of the payment's records."""


def encode_payment_id(payment: str | CheckedId) -> bytes:
    """Return the key of a payment's records. Raises ``InvalidCommand``, and ``TypeError`` early.

    A number or a UUID is not converted to text: two programs could convert it differently, and one
    could not cancel a payment that the other made.
    """
    if isinstance(payment, CheckedId):
        return payment.key
    if not isinstance(payment, str):
        raise TypeError(
            f"a payment's id is text (str), not {type(payment).__name__}: nothing was sent; choose "
            f"one way to write it, such as str(...), and use that everywhere"
        )
    try:
        key = payment.encode()
        parse_payment_id(key)
    except UnicodeEncodeError:
        message = "is not Unicode text"
        raise InvalidCommand("payment", message, "key_not_utf8") from None
    except Malformed as error:
        raise InvalidCommand("payment", error.message, error.reason) from None
    return key


def encode_checked(command: Command, *, default_id: str) -> tuple[str, bytes]:
    """Return a checked command's own id and its value as a record."""
    own = command.id or default_id
    return own, _encode_struct(replace(command, id=own))


def encode_command(
    command: Mapping[str, object] | Command, *, default_id: str, default_currency: str
) -> tuple[str, bytes]:
    """Return the command's own id and its value as a record. Raises ``InvalidCommand``.

    ``TypeError`` for anything but a mapping: text would need parsing rules of its own.
    """
    if not isinstance(command, Mapping):
        raise TypeError(
            f"a command is a dict with the fields of its JSON object, not {type(command).__name__}"
        )
    fields = dict(command)
    if fields.get("id") is None:
        fields["id"] = default_id
    value = _encode(fields)
    try:
        # The worker's own check, so that a command that it would reject is not sent.
        parsed = parse_command(value, default_currency=default_currency)
    except Malformed as error:
        raise InvalidCommand(error.field or "command", error.message, error.reason) from None
    assert parsed.id is not None, "it was given above"
    return parsed.id, value


def movement(
    type_: str, account: str, amount: int, currency: str | None, command_id: str | None
) -> dict[str, object]:
    """Return a make or deposit as on the topic."""
    command: dict[str, object] = {"type": type_, "account": account, "amount": amount}
    if currency is not None:
        command["currency"] = currency
    if command_id is not None:
        command["id"] = command_id
    return command


_encode_struct = Encoder().encode


def _encode(fields: Mapping[str, object]) -> bytes:
    try:
        return orjson.dumps(fields)
    except TypeError:
        pass  # For example a number over 64 bits, which the worker's check reports.
    try:
        return json.dumps(fields).encode()
    except RecursionError:
        message, reason = "is nested too deeply", "too_deep"
    except (TypeError, ValueError) as error:
        field = next((name for name, value in fields.items() if not _has_json(value)), "command")
        if field == "amount":  # For example a Decimal of major units.
            message = f'"amount" must be a whole number of minor units, received {fields[field]!r}'
            raise InvalidCommand(field, message, Reason.AMOUNT_NOT_INTEGER) from None
        raise InvalidCommand(field, f"can't be written as JSON: {error}", "not_json") from None
    raise InvalidCommand("command", message, reason)


def _has_json(value: object) -> bool:
    """Whether JSON has values of this type; other faults of the value do not matter here."""
    try:
        json.dumps(value)
    except TypeError:
        return False
    except (ValueError, RecursionError):
        pass
    return True
