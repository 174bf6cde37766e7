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
