"""What the client refuses to send, and by which name."""

import json
from decimal import Decimal

import pytest

from payments.client.commands import (
    CheckedId,
    encode_checked,
    encode_command,
    encode_payment_id,
)
from payments.client.errors import InvalidCommand
from payments.domain.commands import Cancel, Command, Deposit, Get, Make

MAKE = {"type": "make", "account": "abc", "amount": 100}
CIRCLE: dict[str, object] = {"type": "make"}
CIRCLE["account"] = CIRCLE


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
        (CIRCLE, "command", "not_json"),
    ],
)
def test_a_command_that_the_worker_would_reject_is_not_sent(
    command: dict[str, object], field: str, reason: str
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


def test_a_checked_command_needs_a_checked_id() -> None:
    with pytest.raises(TypeError, match="a command is a dict"):
        encode_command(Make("", -1), default_id="c1", default_currency="EUR")
    assert encode_payment_id(CheckedId("p1", b"p1")) == b"p1"
