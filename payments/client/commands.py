"""Commands of the client: checked by the worker's rules and encoded, before anything is sent.

What the gateway has parsed by the same rules comes as ``CheckedId`` and ``Command``, and is only
encoded.
"""

import json
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import NamedTuple
from uuid import UUID

from msgspec.json import Encoder
from msgspec.structs import asdict, replace

from exactstage import Header
from exactstage.log import NO_HEADERS
from payments.client.arguments import wrong_type
from payments.client.errors import InvalidCommand
from payments.client.transport import CommandRecord
from payments.domain.commands import (
    FINAL_CAPTURE,
    Authorize,
    Capture,
    Command,
    Deposit,
    Make,
    Refund,
)
from payments.domain.results import Reason
from payments.records.commands import Malformed, parse_command, parse_payment_id

MAX_MESSAGE_BYTES = 1_048_588
"""``max.message.bytes`` of the commands in topics.yaml, and Kafka's default."""

_BATCH_OVERHEAD_BYTES, _HEADER_OVERHEAD_BYTES = 100, 10
"""Maximum overhead of a batch of one record, and of a header, in addition to their contents
(Kafka's record format: 61 bytes, and numbers of variable length)."""

_HEADERS = "a list of pairs of a name (str) and a value (bytes), such as [('trace', b'1')]"


class CheckedId(NamedTuple):
    """A payment's id that ``parse_payment_id`` has accepted, so that it is not checked again.

    A ``Command`` that is sent with it was checked too: by ``payments.records.commands``, without a
    default for its currency, which is the worker's to choose.
    """

    text: str
    key: bytes
    """The same text as the key of the payment's records."""


class Outgoing(NamedTuple):
    """A command as it is sent."""

    id: str
    """The command's own id."""

    record: CommandRecord
    size: int
    """Bytes that the record takes in a batch."""


def outgoing(
    payment: str | CheckedId,
    command: Mapping[str, object] | Command,
    headers: Sequence[tuple[str, bytes]],
    *,
    default_id: str,
    default_currency: str,
) -> Outgoing:
    """Return a command as it is sent. Raises ``InvalidCommand`` and ``TypeError``."""
    key = encode_payment_id(payment)
    if isinstance(payment, CheckedId) and isinstance(command, Command):
        own, value = encode_checked(command, default_id=default_id)
    else:
        own, value = encode_command(
            command, default_id=default_id, default_currency=default_currency
        )
    record = (key, value, checked_headers(headers))
    return Outgoing(own, record, size_of(*record))


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
    command = replace(command, id=own)
    if isinstance(command, Capture) and not command.final and command.capture == FINAL_CAPTURE:
        # The id is that of a final capture's default, which structs leave out; here it is required.
        given = {"type": command.type, **asdict(command)}
        return own, encode_plain({k: v for k, v in given.items() if v is not None})
    return own, encode_plain(command)


def encode_command(
    command: Mapping[str, object] | Command, *, default_id: str, default_currency: str
) -> tuple[str, bytes]:
    """Return the command's own id and its value as a record. Raises ``InvalidCommand``.

    ``TypeError`` for anything but a mapping: text would need parsing rules of its own.
    """
    fields = _fields_of(command, default_id)
    if fields.get("metadata") is not None:
        _require_names(fields["metadata"])
    # Checked by the worker's own rules, so that a command that it would reject is not sent.
    found = _encode_quickly(fields, default_currency)
    if found is not None:
        return found
    value = _encode(fields)
    try:
        parsed = parse_command(value, default_currency=default_currency)
    except Malformed as error:
        raise InvalidCommand(error.field or "command", error.message, error.reason) from None
    assert parsed.id is not None, "it was given above"
    return parsed.id, value


def encode_fields(command: object, *, default_id: str) -> bytes:
    """Return a command's value as a record, unchecked; raises as ``encode_command`` does."""
    return _encode(_fields_of(command, default_id))


def _fields_of(command: object, default_id: str) -> dict[str, object]:
    """Return the fields of a command, with an id."""
    if not isinstance(command, Mapping):
        raise TypeError(
            f"a command is a dict with the fields of its JSON object, not {type(command).__name__}"
        )
    fields = dict(command)
    if fields.get("id") is None:
        fields["id"] = default_id
    return fields


def movement(  # noqa: PLR0917 - the fields of the command, in their order
    type_: str,
    account: str,
    amount: int,
    currency: str | None,
    command_id: str | None,
    metadata: Mapping[str, str] | None = None,
    hold_seconds: int | None = None,
) -> dict[str, object]:
    """Return a make, deposit or authorize as on the topic."""
    command: dict[str, object] = {"type": type_, "account": account, "amount": amount}
    if currency is not None:
        command["currency"] = currency
    if command_id is not None:
        command["id"] = command_id
    if metadata is not None:
        command["metadata"] = metadata
    if hold_seconds is not None:
        command["hold_seconds"] = hold_seconds
    return command


def part(
    type_: str, fields: Mapping[str, object], amount: int | None, command_id: str | None
) -> dict[str, object]:
    """Return a capture or refund as on the topic; an ``amount`` of None is all that is left."""
    given = {**fields, "amount": amount, "id": command_id}
    return {"type": type_} | {name: value for name, value in given.items() if value is not None}


def checked_headers(headers: object) -> list[Header]:
    """Return headers in the form of a record's.

    Raises ``TypeError``, and ``InvalidCommand`` for a name that can't be encoded as UTF-8.
    """
    if isinstance(headers, (str, bytes)) or not isinstance(headers, Sequence):
        raise wrong_type("headers", _HEADERS, headers)
    if not headers:
        return NO_HEADERS
    found: list[Header] = []
    for number, header in enumerate(headers):
        if not isinstance(header, (tuple, list)) or len(header) != len(("name", "value")):
            raise wrong_type(f"headers[{number}]", "a pair of a name and a value", header)
        name, value = header
        if not isinstance(name, str):
            raise wrong_type(f"the name of headers[{number}]", "text (str)", name)
        if value is not None and not isinstance(value, bytes):
            raise wrong_type(f"the value of headers[{number}] ({name!a})", "bytes", value)
        if not name.isascii():
            try:
                name.encode()
            except UnicodeEncodeError:
                message = f"the name of headers[{number}] is not Unicode text: {name!a}"
                raise InvalidCommand("headers", message, Reason.NOT_UTF8) from None
        found.append((name, value))
    return found


def size_of(key: bytes, value: bytes, headers: list[Header]) -> int:
    """Return the bytes of a command in a batch. Raises ``InvalidCommand`` if it fits in none."""
    size = len(key) + len(value)
    for name, content in headers:
        size += len(name.encode()) + len(content or b"") + _HEADER_OVERHEAD_BYTES
    if size > MAX_MESSAGE_BYTES - _BATCH_OVERHEAD_BYTES:
        message = (
            f"with its headers the command is {size:,} bytes; a batch on the topic is at most "
            f"{MAX_MESSAGE_BYTES:,} (max.message.bytes)"
        )
        raise InvalidCommand("headers", message, Reason.TOO_LARGE)
    return size


def _encode_quickly(
    fields: Mapping[str, object], default_currency: str
) -> tuple[str, bytes] | None:
    """Return a well-formed command's id and value; None where it needs a closer look."""
    try:
        value = encode_plain(fields)
        command = parse_command(value, default_currency=default_currency)
    except (RecursionError, TypeError, ValueError):
        return None
    # msgspec writes bytes as text, in base64: not the id or the account that they would be.
    if command.id is None or command.id != fields["id"] or command.type != fields.get("type"):
        return None
    if isinstance(command, (Make, Deposit, Authorize)):
        as_given = command.account == fields.get("account")
        as_given = as_given and command.metadata == fields.get("metadata")
    elif isinstance(command, Capture):
        as_given = command.capture == fields.get("capture", FINAL_CAPTURE)
    else:
        as_given = not isinstance(command, Refund) or command.refund == fields.get("refund")
    return (command.id, value) if as_given else None


def _require_names(metadata: object) -> None:
    """Raise ``InvalidCommand`` for names that are no text, which JSON would make text."""
    if isinstance(metadata, Mapping) and not all(isinstance(name, str) for name in metadata):
        name = next(name for name in metadata if not isinstance(name, str))
        message = f'"metadata" must be an object of texts, received the name {name!a}'
        raise InvalidCommand("metadata", message, Reason.INVALID_METADATA)


def _encode(fields: Mapping[str, object]) -> bytes:
    """Return the JSON of any command. Raises ``InvalidCommand`` where it has none."""
    try:
        return _encode_any(fields)
    except RecursionError:
        message, reason = "is nested too deeply", "too_deep"
    except (TypeError, ValueError) as error:
        field = next((name for name, value in fields.items() if not _has_json(value)), "command")
        if field == "amount":  # For example a Decimal of major units.
            message = f'"amount" must be a whole number of minor units, received {fields[field]!r}'
            raise InvalidCommand(field, message, Reason.AMOUNT_NOT_INTEGER) from None
        raise InvalidCommand(field, f"can't be written as JSON: {error}", "not_json") from None
    raise InvalidCommand("command", message, reason)


def _encode_any(fields: Mapping[str, object]) -> bytes:
    try:
        return _ENCODER.encode(fields).encode()
    except UnicodeEncodeError:  # Escapes are ASCII, so half of a surrogate pair can be written.
        return json.dumps(fields, default=_json_value).encode()


def _json_value(value: object) -> object:
    """Return what stands for a value that JSON has no type for; ``TypeError`` for most.

    Not bytes and not ``Decimal``, which other encoders write as text: the text would be taken for
    an account, or for an amount in minor units.
    """
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID):
        return str(value)
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_json_value)
encode_plain = Encoder().encode
"""Writes the same for plain values, several times faster."""


def _has_json(value: object) -> bool:
    """Whether JSON has values of this type; other faults of the value do not matter here."""
    try:
        _ENCODER.encode(value)
    except TypeError:
        return False
    except (ValueError, RecursionError):
        pass
    return True
