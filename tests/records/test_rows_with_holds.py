"""Rows that hold money: an earlier version, which would leave the hold out, can't read them.

The earlier version is the structs as they were before there were holds. Of the same kind:
``tests/rolling`` runs a former build, ``tests/records/test_golden.py`` reads what it wrote.
"""

import msgspec
import pytest
from msgspec import Struct
from msgspec.json import Decoder

from payments.domain.account import Account, CounterAccount
from payments.domain.commands import Refund
from payments.domain.payment import Part, Payment, Queued
from payments.domain.payment_table import State
from payments.domain.results import Request
from payments.records.internal_codec import (
    decode_account,
    decode_counter,
    decode_payment,
    encode_account,
    encode_counter,
    encode_payment,
    open_payment,
    payment_time_ms,
)

MAKE = Request("make", "abc", 100, "EUR")
HOLD = Request("authorize", "abc", 100, "EUR")


class FormerPayment(Struct):
    """As the former version reads it."""

    state: str
    time_ms: int
    request: dict[str, object] | None = None


class FormerAccount(Struct):
    """As the former version reads it."""

    balance: int
    sequence: int
    currency: str


class FormerCounter(Struct):
    """As the former version reads it."""

    balances: dict[str, int]


@pytest.mark.parametrize(
    "payment",
    [
        Payment(State.AUTHORIZED, 7, HOLD, hold_expires_ms=9, held=100),
        Payment(State.COMPLETED, 7, HOLD, hold_expires_ms=9, captured=100),
        Payment(State.COMPLETED, 7, MAKE, refunded=40, parts=(Part("r1", 40, "refund"),)),
        Payment(State.PENDING, 7, MAKE, queue=(Queued("c1", 7, Refund("r1")),)),
    ],
)
def test_a_payment_with_a_life_is_unreadable_before(payment: Payment) -> None:
    row = encode_payment(payment)
    assert decode_payment(row) == payment
    assert payment_time_ms(row) == 7
    assert (open_payment(row) == payment) is bool(payment.held or payment.waiters)
    assert row.find(b'"time_ms":') < 0, "the former version restores payments by this field"
    with pytest.raises(msgspec.ValidationError):
        Decoder(FormerPayment).decode(row)


METADATA = {"a": "b", "hold_expires_ms": "1"}
FORMER = (
    b'{"+state":"authorized","+time_ms":7,"request":{"type":"authorize","account":"abc",'
    b'"amount":100,"currency":"EUR"},"hold_expires_ms":9,"held":100,'
    b'"metadata":{"a":"b","hold_expires_ms":"1"}}'
)
FORMER_MAKE = (
    b'{"+state":"completed","+time_ms":7,"request":{"type":"make","account":"abc",'
    b'"amount":100,"currency":"EUR"},"refunded":40,"parts":[["r1",40,"refund",true,false]],'
    b'"metadata":{"a":"b","hold_expires_ms":"1"}}'
)


def test_the_end_of_a_hold_is_found_under_its_former_name() -> None:
    """And metadata of that name stays as it is, in rows of both versions."""
    held = Payment(State.AUTHORIZED, 7, HOLD, hold_expires_ms=9, held=100, metadata=METADATA)
    assert decode_payment(FORMER) == decode_payment(encode_payment(held)) == held
    part = Part("r1", 40, "refund")
    made = Payment(State.COMPLETED, 7, MAKE, refunded=40, parts=(part,), metadata=METADATA)
    assert decode_payment(FORMER_MAKE) == made
    assert encode_payment(made) == FORMER_MAKE, "only rows with such an end have changed"


def test_a_version_with_the_former_name_cant_read_the_end_of_a_hold() -> None:
    """It would find none, and never release the money. It reads rows that begin with a plus."""
    row = encode_payment(Payment(State.AUTHORIZED, 7, HOLD, hold_expires_ms=9, held=100))
    assert not row.startswith(b'{"+')
    with pytest.raises(msgspec.ValidationError):
        Decoder(FormerPayment).decode(row)


def test_an_account_that_holds_money_is_unreadable_before() -> None:
    account, counter = Account(100, 2, "EUR", 40), CounterAccount({"EUR": -100}, {"EUR": -40})
    assert decode_account(encode_account(account)) == account
    assert decode_counter(encode_counter(counter)) == counter
    with pytest.raises(msgspec.ValidationError):
        Decoder(FormerAccount).decode(encode_account(account))
    with pytest.raises(msgspec.ValidationError):
        Decoder(FormerCounter).decode(encode_counter(counter))


def test_rows_without_holds_are_read_as_before() -> None:
    made = Payment(State.COMPLETED, 7, MAKE, metadata={"held": "x"})
    assert open_payment(encode_payment(made)) is None
    assert Decoder(FormerPayment).decode(encode_payment(made)).state == "completed"
    assert Decoder(FormerAccount).decode(encode_account(Account(1, 2, "EUR"))).balance == 1
    emptied = CounterAccount({"EUR": -1}, {})
    assert Decoder(FormerCounter).decode(encode_counter(emptied)).balances == {"EUR": -1}
