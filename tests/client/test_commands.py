"""What the client refuses to send, and by which name."""

from decimal import Decimal

import pytest

from payments.client.commands import encode_command, encode_payment_id
from payments.client.errors import InvalidCommand

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
