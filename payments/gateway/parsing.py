"""Strict parsing of requests: ids in paths, bodies of commands, query parameters.

A body is checked by the same rules as a record on the topic (``payments.records.commands``); only
the names of its fields may differ.
"""

import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from urllib.parse import unquote_to_bytes

from payments.client.commands import CheckedId
from payments.domain.account_commands import AccountCommand
from payments.domain.commands import Command, Opening
from payments.domain.names import NAME_RULE, is_name
from payments.domain.results import Reason
from payments.gateway.exchange import JSON, OWS, HttpRequest
from payments.gateway.problems import Problem, RefusedRequest
from payments.records.account_commands import account_command_of
from payments.records.commands import (
    Malformed,
    Members,
    command_of,
    decode_members,
    parse_movement,
    parse_payment_id,
)
from payments.records.misread import UTF8_MARK

FIELDS = {name: name for name in ("account", "amount", "currency", "metadata", "hold_seconds")}
NOTHING_GIVEN: Mapping[str, object] = MappingProxyType({})
MAX_WAIT_SECONDS = 60.0
MORE_THAN_ONCE = "is given more than once"
_WAIT = re.compile(r"(\d{1,5}(?:\.\d{1,3})?)(ms|s)?", re.ASCII)
_CHARSETS = {"utf-8", "utf8", "us-ascii"}
"""All are UTF-8 or a subset (RFC 8259 allows no other encoding)."""

_PLAIN = {b"content-encoding": "identity", b"transfer-encoding": "chunked"}


def payment_id(segment: str) -> CheckedId:
    """Return the payment id of a path's segment; raises ``Malformed``."""
    return checked_id(decoded(segment))


def decoded(segment: str) -> bytes:
    """Return the bytes that a segment of a path stands for."""
    raw = segment.encode("latin-1")
    return unquote_to_bytes(raw) if b"%" in raw else raw


def checked_id(key: bytes) -> CheckedId:
    """Return a payment id by its record's key; raises ``Malformed``."""
    return CheckedId(parse_payment_id(key), key)


def account_id(segment: str) -> str:
    """Return the account of a path's segment; raises ``RefusedRequest``."""
    text = decoded_text(segment, "account")
    if not is_name(text):
        raise invalid("account", NAME_RULE)
    return text


def decoded_text(segment: str, field: str) -> str:
    """Return the text that a segment of a path stands for; raises ``RefusedRequest``."""
    try:
        return decoded(segment).decode()
    except UnicodeDecodeError:
        raise invalid(field, "must be UTF-8, percent-encoded") from None


async def body_of(request: HttpRequest) -> bytes:
    """Return a request's body, which says that it is JSON; raises ``Malformed`` without one."""
    body = await request.body()
    if not body:
        raise Malformed(Reason.EMPTY_VALUE, "the request has no body: it is a JSON object")
    return _json(request, body)


async def members_of(request: HttpRequest) -> Members:
    """Return the members of the JSON object in a request's body; raises ``Malformed``."""
    return decode_members(await body_of(request))


async def optional_members(request: HttpRequest) -> Members:
    """Return the members of the JSON object in a request's body; none without a body."""
    body = await request.body()
    return decode_members(_json(request, body)) if body else ()


async def no_members(request: HttpRequest) -> None:
    """Check that the body is absent, or an object without members."""
    for name, _ in await optional_members(request):
        raise invalid(name, "is not a field of this request")


def _json(request: HttpRequest, body: bytes) -> bytes:
    """Return a body without a byte order mark; raises ``RefusedRequest`` if it is not JSON."""
    content_type = request.fields.get(b"content-type", b"").decode("latin-1")
    if content_type != JSON and not _is_json(content_type):
        raise RefusedRequest(Problem.UNSUPPORTED_MEDIA_TYPE, headers={"accept-post": JSON})
    for header, plain in _PLAIN.items():
        if header in request.fields and request.listed(header.decode()).strip(OWS).lower() != plain:
            detail = "Send the body as it is, without Content-Encoding or other encodings."
            headers = {"accept-encoding": "identity"}
            raise RefusedRequest(Problem.UNSUPPORTED_MEDIA_TYPE, detail, headers=headers)
    # Some clients begin every text with a byte order mark, which RFC 8259 allows to ignore.
    return body.removeprefix(UTF8_MARK)


def movement(body: bytes, type_: type[Opening]) -> Opening:
    """Return the command of a body with the field names of a record."""
    if (usual := parse_movement(body, type_)) is not None:
        return usual
    return movement_of(decode_members(body), type_, FIELDS)


def movement_of(members: Members, type_: type[Opening], names: Mapping[str, str]) -> Opening:
    """Return the command with these members; its currency is "" where none is given.

    ``names`` maps a body's field to the command's. Raises ``Malformed`` with the body's field name.
    """
    command = command_with(members, type_, names)
    assert isinstance(command, Opening), "its type begins a payment"
    return command


def command_with(
    members: Members,
    type_: type[Command],
    names: Mapping[str, str],
    *,
    given: Mapping[str, object] = NOTHING_GIVEN,
) -> Command:
    """Return the command with these members, and with those that the path has ``given``."""
    renamed: list[tuple[str, object]] = [("type", type_.type), *given.items()]
    for name, value in members:
        if name not in names:
            raise Malformed(Reason.UNKNOWN_FIELD, "is not a field of this request", name)
        renamed.append((names[name], value))
    try:
        return command_of(renamed, default_currency="")
    except Malformed as error:
        own = next((own for own, field in names.items() if field == error.field), error.field)
        raise Malformed(error.reason, error.fault, own) from None


def account_command_with(
    members: Members, type_: type[AccountCommand], names: Collection[str]
) -> AccountCommand:
    """Return the command for an account with these members, which may have these names."""
    for name, _ in members:
        if name not in names:
            raise Malformed(Reason.UNKNOWN_FIELD, "is not a field of this request", name)
    return account_command_of([("type", type_.type), *members], default_currency="")


def query_of(request: HttpRequest, *names: str) -> dict[str, str]:
    """Return the query parameters; raises ``RefusedRequest`` for an unknown or repeated one.

    If a mistyped ``after`` were ignored, the client would get the first page for ever; which of two
    values counts, proxies and servers decide differently.
    """
    query: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in names:
            raise invalid(name, f"is not a parameter of this request: it has {', '.join(names)}")
        if name in query:
            raise invalid(name, MORE_THAN_ONCE)
        query[name] = value
    return query


def wait_seconds(text: str) -> float:
    """Return the seconds of ``?wait=``: ``10``, ``10s`` or ``500ms``, at most a minute."""
    match = _WAIT.fullmatch(text)
    if match is None:
        raise invalid("wait", "must be a time such as 10s or 500ms")
    seconds = float(match[1]) / (1000 if match[2] == "ms" else 1)
    return min(seconds, MAX_WAIT_SECONDS)


def whole_number(
    query: Mapping[str, str], name: str, default: int, *, least: int, most: int
) -> int:
    """Return a query parameter that is a whole number within limits."""
    text = query.get(name)
    if text is None:
        return default
    digits = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
    if not digits or not least <= int(text) <= most:
        raise invalid(name, f"must be a whole number from {least} to {most}")
    return int(text)


def invalid(field: str, rule: str) -> RefusedRequest:
    """Return the refusal of one field's value."""
    shown = field if len(field) <= 80 else f"{field[:80]}..."
    return RefusedRequest(Problem.INVALID, f"{shown} {rule}", field=shown)


def _is_json(content_type: str) -> bool:
    media_type, *parameters = content_type.lower().split(";")
    if media_type.strip(OWS) != JSON:
        return False
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip(OWS) == "charset" and value.strip(OWS).strip('"') not in _CHARSETS:
            return False
    return True
