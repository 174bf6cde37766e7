"""Rows and the messages between the stages: each survives its codec, and can be read by people."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from payments.domain.account import Account, CounterAccount, Kind, Settled, Transfer
from payments.domain.payment import Payment
from payments.domain.payment_table import State
from payments.domain.results import Reason, Request
from payments.records.internal_codec import (
    decode_account,
    decode_counter,
    decode_payment,
    decode_settled,
    decode_transfer,
    encode_account,
    encode_counter,
    encode_payment,
    encode_settled,
    encode_transfer,
    payment_time_ms,
)
from tests.domain.expectations import ROWS

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)
kinds: st.SearchStrategy[Kind] = st.sampled_from(["make", "deposit", "rollback"])


@given(names, names, kinds, st.integers(-(10**15), 10**15), st.sampled_from(["EUR", "USD"]))
def test_a_transfer_survives_its_codec_with_its_payment(
    payment: str, account: str, kind: Kind, amount: int, currency: str
) -> None:
    transfer = Transfer(kind, account, amount, currency, "sales")
    sent = Transfer(kind, account, amount, currency, "sales", payment)
    assert decode_transfer(encode_transfer(transfer, payment)) == sent


@pytest.mark.parametrize(
    "settled", [Settled(ok=True), *(Settled(ok=False, reason=r) for r in Reason)]
)
def test_a_settlement_survives_its_codec(settled: Settled) -> None:
    assert decode_settled(encode_settled(settled)) == settled


def test_rows_survive_their_codecs_and_are_readable() -> None:
    account = Account(0, 12, "EUR")
    assert encode_account(account) == b'{"balance":0,"sequence":12,"currency":"EUR"}'
    assert decode_account(encode_account(account)) == account
    counter = CounterAccount({"EUR": -100_000, "USD": 10**30})
    assert encode_counter(CounterAccount({"EUR": -100_000})) == b'{"balances":{"EUR":-100000}}'
    assert decode_counter(encode_counter(counter)) == counter


@pytest.mark.parametrize("row", list(ROWS.values())[1:])
def test_a_row_survives_its_codec(row: Payment) -> None:
    assert decode_payment(encode_payment(row)) == row


@pytest.mark.parametrize("time_ms", [0, 1_767_225_600_000])
@pytest.mark.parametrize("row", list(ROWS.values())[1:])
def test_the_time_of_a_row_is_read_without_the_rest(row: Payment, time_ms: int) -> None:
    assert payment_time_ms(encode_payment(replace(row, time_ms=time_ms))) == time_ms


def test_no_name_in_a_row_passes_for_its_time() -> None:
    request = Request("make", '"time_ms":7,', 100, "EUR")
    row = encode_payment(Payment(State.COMPLETED, 1000, request))
    assert payment_time_ms(row) == 1000
    assert payment_time_ms(encode_payment(Payment(State.CANCELLED, 1000, None))) == 1000


def test_a_row_is_compact_readable_json_without_absent_fields() -> None:
    row = ROWS["pending"]
    assert row is not None
    assert encode_payment(row) == (
        b'{"state":"pending","time_ms":1000,"request":{"type":"make","account":"abc",'
        b'"amount":100,"currency":"EUR"},"waiters":[["m1","make",false]]}'
    )
    first = ROWS["cancelled first"]
    assert first is not None
    assert encode_payment(first) == b'{"state":"cancelled","time_ms":1000,"reason":"prevented"}'
