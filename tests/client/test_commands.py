"""What the client refuses to send, and by which name."""

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from msgspec.structs import replace

from payments.client.commands import (
    CheckedId,
    encode_checked,
    encode_command,
    encode_payment_id,
)
from payments.client.errors import InvalidCommand
from payments.domain.account import is_counter_name
from payments.domain.commands import (
    Authorize,
    Cancel,
    Capture,
    Command,
    Deposit,
    Get,
    Make,
    Refund,
    Void,
)
from payments.domain.names import is_name
from payments.records.commands import parse_command

MAKE: dict[Any, object] = {"type": "make", "account": "abc", "amount": 100}
HOLD: dict[Any, object] = {**MAKE, "type": "authorize"}
CIRCLE: dict[str, object] = {"type": "make"}
CIRCLE["account"] = CIRCLE


class Text(str):
    """A text of a type of its own, as of a library that marks or counts its texts."""

    __slots__ = ()


Name = StrEnum("Name", {"ABC": "abc"})
Word = Enum("Word", {"MAKE": "make"})
Key = Enum("Key", {"TYPE": "type", "ACCOUNT": "account", "AMOUNT": "amount"})
Number = IntEnum("Number", {"HUNDRED": 100})


@pytest.mark.parametrize(
    ("command", "field", "reason"),
    [
        ({**MAKE, "amount": 0}, "amount", "amount_not_positive"),
        ({**MAKE, "amount": 1.5}, "amount", "amount_not_integer"),
        ({**MAKE, "amount": True}, "amount", "amount_not_integer"),
        ({**MAKE, "amount": 10**40}, "amount", "amount_too_large"),
        ({**MAKE, "account": ""}, "account", "empty_account"),
        ({**MAKE, "account": "\ud800"}, "account", "invalid_account"),
        ({**MAKE, "currency": "XXX"}, "currency", "unknown_currency"),
        ({**MAKE, "id": ""}, "id", "invalid_id"),
        ({**MAKE, "note": "x"}, "note", "unknown_field"),
        ({"type": "make", "amount": 100}, "account", "missing_field"),
        ({"type": "pay"}, "type", "unknown_type"),
        ({}, "type", "missing_type"),
        ({**MAKE, "account": "x" * 70_000}, "command", "too_large"),
        ({**MAKE, "account": object()}, "account", "not_json"),
        ({**MAKE, "amount": Decimal("19.99")}, "amount", "amount_not_integer"),
        ({**MAKE, "amount": float("nan")}, "amount", "amount_not_integer"),
        ({**MAKE, "amount": 10**5000}, "command", "not_json"),
        ({**MAKE, "account": b"abc"}, "account", "not_json"),
        ({**MAKE, "account": bytearray(b"abc")}, "account", "not_json"),
        ({**MAKE, "account": {"abc"}}, "account", "not_json"),
        ({**MAKE, "account": datetime.now(UTC)}, "account", "not_json"),
        ({**MAKE, "account": ("abc",)}, "account", "invalid_account"),
        ({**MAKE, "id": b"abc"}, "id", "not_json"),
        ({**MAKE, b"id": "abc"}, "command", "not_json"),
        ({**MAKE, 7: "abc"}, "7", "unknown_field"),
        ({**MAKE, "type": base64.b64decode("make")}, "type", "not_json"),
        ({Key.TYPE: "make", Key.ACCOUNT: "abc", Key.AMOUNT: 100}, "command", "not_json"),
        (CIRCLE, "command", "not_json"),
        ({**HOLD, "hold_seconds": 0}, "hold_seconds", "invalid_hold_seconds"),
        ({**HOLD, "hold_seconds": 60.0}, "hold_seconds", "invalid_hold_seconds"),
        ({**HOLD, "account": b"abc"}, "account", "not_json"),
        ({**HOLD, "final": True}, "final", "unknown_field"),
        ({"type": "capture", "final": False}, "capture", "missing_field"),
        ({"type": "capture", "capture": None}, "capture", "invalid_part"),
        ({"type": "capture", "capture": b"c1c1"}, "capture", "not_json"),
        ({"type": "capture", "capture": "c" * 65}, "capture", "invalid_part"),
        ({"type": "capture", "final": 0}, "final", "invalid_final"),
        ({"type": "capture", "amount": Decimal(60)}, "amount", "amount_not_integer"),
        ({"type": "refund"}, "refund", "missing_field"),
        ({"type": "refund", "refund": b"r1r1"}, "refund", "not_json"),
        ({"type": "refund", "refund": "r1", "amount": 0}, "amount", "amount_not_positive"),
        ({"type": "void", "amount": 1}, "amount", "unknown_field"),
        ({**MAKE, "metadata": "order 7"}, "metadata", "invalid_metadata"),
        ({**MAKE, "metadata": {"order": 7}}, "metadata", "invalid_metadata"),
        ({**MAKE, "metadata": {7: "order"}}, "metadata", "invalid_metadata"),
        ({**MAKE, "metadata": {None: "order"}}, "metadata", "invalid_metadata"),
        ({**MAKE, "metadata": {"order": b"7777"}}, "metadata", "not_json"),
        ({**MAKE, "metadata": {b"order": "7"}}, "metadata", "invalid_metadata"),
        ({**MAKE, "metadata": {"order": "\ud800"}}, "metadata", "invalid_metadata"),
        ({**MAKE, "metadata": {"a": "x" * 4096}}, "metadata", "invalid_metadata"),
    ],
)
def test_a_command_that_the_worker_would_reject_is_not_sent(
    command: dict[Any, object], field: str, reason: str
) -> None:
    with pytest.raises(InvalidCommand) as caught:
        encode_command(command, default_id="c1", default_currency="EUR")
    assert (caught.value.field, caught.value.reason) == (field, reason)


@pytest.mark.parametrize("payment", ["", " ", "a\nb", "x" * 256, "\ud800"])
def test_a_payment_id_that_no_record_may_have_is_not_sent(payment: str) -> None:
    with pytest.raises(InvalidCommand) as caught:
        encode_payment_id(payment)
    assert caught.value.field == "payment"


def test_a_command_without_an_id_is_given_one() -> None:
    command_id, value = encode_command(MAKE, default_id="c1", default_currency="EUR")
    assert command_id == "c1"
    assert value == b'{"type":"make","account":"abc","amount":100,"id":"c1"}'
    assert encode_command({**MAKE, "id": "c2"}, default_id="c1", default_currency="EUR")[0] == "c2"


@pytest.mark.parametrize(
    ("command", "value"),
    [
        (Make("abc", 100), b'{"type":"make","account":"abc","amount":100,"id":"c1"}'),
        (
            Deposit("a/b", 1, "USD", "own"),
            b'{"type":"deposit","account":"a/b","amount":1,"currency":"USD","id":"own"}',
        ),
        (Cancel(), b'{"type":"cancel","id":"c1"}'),
        (Get("own"), b'{"type":"get","id":"own"}'),
        (
            Authorize("abc", 100, metadata={"order": "7"}, hold_seconds=60),
            (
                b'{"type":"authorize","account":"abc","amount":100,"id":"c1",'
                b'"metadata":{"order":"7"},"hold_seconds":60}'
            ),
        ),
        (Capture(), b'{"type":"capture","id":"c1"}'),
        (
            Capture("c7", 60, final=False),
            b'{"type":"capture","capture":"c7","amount":60,"final":false,"id":"c1"}',
        ),
        (
            Capture("final", final=False),
            b'{"type":"capture","capture":"final","final":false,"id":"c1"}',
        ),
        (Void(), b'{"type":"void","id":"c1"}'),
        (Refund("r1", 20), b'{"type":"refund","refund":"r1","amount":20,"id":"c1"}'),
    ],
)
def test_a_checked_command_becomes_the_record_that_its_dict_would(
    command: Command, value: bytes
) -> None:
    """A currency that was not given is not written: its default is the worker's to choose."""
    own, found = encode_checked(command, default_id="c1")
    assert (own, found) == (command.id or "c1", value)
    fields = json.loads(value)
    assert encode_command(fields, default_id="", default_currency="EUR") == (own, value)
    parsed = parse_command(value, default_currency="")
    assert parsed == replace(command, id=own), "the worker reads what was given"


def test_a_checked_command_needs_a_checked_id() -> None:
    with pytest.raises(TypeError, match="a command is a dict"):
        encode_command(Make("", -1), default_id="c1", default_currency="EUR")
    assert encode_payment_id(CheckedId("p1", b"p1")) == b"p1"


@pytest.mark.parametrize(
    ("field", "value", "written"),
    [
        ("account", Text("é"), '"é"'),
        ("account", Name.ABC, '"abc"'),
        ("account", UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        ("type", Word.MAKE, '"make"'),
        ("amount", Number.HUNDRED, "100"),
    ],
)
def test_a_value_of_a_type_that_stands_for_text_or_a_number_is_written_as_that(
    field: str, value: object, written: str
) -> None:
    _, found = encode_command({**MAKE, field: value}, default_id="é", default_currency="EUR")
    expected = {name: json.dumps(content) for name, content in MAKE.items()}
    expected |= {field: written, "id": '"é"'}
    members = ",".join(f'"{name}":{content}' for name, content in expected.items())
    assert found == f"{{{members}}}".encode()


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x2FFFF), max_size=20))
def test_a_command_is_written_as_compact_json_in_utf8(account: str) -> None:
    assume(is_name(account) and not is_counter_name(account))
    _, found = encode_command({**MAKE, "account": account}, default_id="c1", default_currency="EUR")
    fields = {**MAKE, "account": account, "id": "c1"}
    assert found == json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
