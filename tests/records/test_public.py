"""Results and ledger entries: what anyone may read is written as published, and parsed back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from payments.domain.account import Account, Entry, Transfer, counter_name
from payments.domain.commands import COMMAND_TYPES
from payments.domain.payment_table import State
from payments.domain.results import Amounts, Answer, Outcome, Reason, Request
from payments.records.record_models import OF_A_LIFE, LedgerEntry, Result, members
from payments.records.record_writer import (
    encode_ledger_entry,
    encode_result,
    iso_time,
)

TIME_MS = 1_767_225_600_000


def test_a_result_has_its_fields_in_the_published_order() -> None:
    answer = Answer(
        "c1",
        "make",
        Outcome.COMPLETED,
        state="completed",
        request=Request("make", "abc", 100, "EUR"),
    )
    assert encode_result("p1", answer, TIME_MS) == (
        b'{"payment":"p1","command":"c1","type":"make","outcome":"completed","reason":null,'
        b'"message":null,"replayed":false,"state":"completed","account":"abc","amount":100,'
        b'"currency":"EUR","exponent":2,"time":"2026-01-01T00:00:00.000Z"}'
    )


def test_an_expiry_notice_has_no_command() -> None:
    value = encode_result("p1", Answer(None, "expire", Outcome.EXPIRED), TIME_MS)
    result = Result.model_validate_json(value)
    assert (result.command, result.type, result.outcome) == (None, "expire", Outcome.EXPIRED)
    assert (result.state, result.account, result.amount, result.currency) == (None,) * 4


texts = st.text(st.characters(codec="utf-8"), max_size=9)
minor = st.integers(0, 10**15)
times_ms = st.integers(0, 4_102_444_800_000)
notes = st.none() | st.dictionaries(texts, texts, max_size=3)
amounts = (
    st.none()
    | st.builds(Amounts, captured=minor, refunded=minor)
    | st.builds(
        Amounts,
        captured=minor,
        refunded=minor,
        authorized=minor,
        held=minor,
        hold_expires_ms=times_ms,
    )
)
_answers = st.builds(
    Answer,
    command=st.none() | texts,
    type=st.sampled_from([None, *COMMAND_TYPES, "expire", "lapse"]),
    outcome=st.sampled_from(Outcome),
    reason=st.none() | st.sampled_from(Reason),
    message=st.none() | texts,
    replayed=st.booleans(),
    state=st.none() | st.sampled_from(State),
    request=st.none()
    | st.builds(
        Request,
        type=st.sampled_from(["make", "deposit", "authorize"]),
        account=texts,
        amount=st.integers(1, 10**15),
        currency=st.sampled_from(["EUR", "USD"]),
    ),
    part=st.none() | texts,
    amounts=amounts,
    metadata=notes,
)
answers = _answers | st.builds(replace, _answers, part=texts, part_amount=minor)


@given(texts, answers, times_ms)
def test_a_result_is_parsed_back(payment: str, answer: Answer, time_ms: int) -> None:
    value = encode_result(payment, answer, time_ms)
    result = Result.model_validate_json(value)
    request, amounts = answer.request, answer.amounts
    expires_ms = amounts and amounts.hold_expires_ms
    expected = {
        "payment": payment,
        "command": answer.command,
        "type": answer.type,
        "outcome": answer.outcome,
        "reason": answer.reason,
        "message": answer.message,
        "replayed": answer.replayed,
        "state": answer.state,
        "account": request.account if request else None,
        "amount": request.amount if request else None,
        "currency": request.currency if request else None,
        "exponent": 2 if request else None,
        "time": iso_time(time_ms),
        "authorized": amounts and amounts.authorized,
        "captured": amounts and amounts.captured,
        "refunded": amounts and amounts.refunded,
        "held": amounts and amounts.held,
        "hold_expires": None if expires_ms is None else iso_time(expires_ms),
        "part": answer.part,
        "part_amount": answer.part_amount,
        "metadata": answer.metadata,
    }
    assert result.model_dump() == expected
    absent = {name for name in OF_A_LIFE if expected[name] is None}
    record = json.loads(value)
    assert record == {name: found for name, found in expected.items() if name not in absent}
    assert members(result) == record
    assert list(members(result)) == list(record)


@pytest.mark.parametrize(
    ("currency", "exponent"), [("EUR", 2), ("JPY", 0), ("KWD", 3), ("BGN", None)]
)
def test_a_record_says_the_decimals_of_its_currency(currency: str, exponent: int | None) -> None:
    answer = Answer(None, "get", Outcome.FOUND, request=Request("make", "abc", 1999, currency))
    value = encode_result("p1", answer, TIME_MS)
    assert Result.model_validate_json(value).exponent == exponent
    # Of a version that did not write it yet; and one of a later version, which writes more.
    before = value.replace(b',"exponent":%s' % json.dumps(exponent).encode(), b"")
    assert b"exponent" not in before
    assert Result.model_validate_json(before).exponent == exponent
    assert Result.model_validate_json(value[:-1] + b',"later":1}').exponent == exponent


def test_a_text_that_is_no_unicode_never_stops_a_result() -> None:
    answer = Answer("c1", "get", Outcome.REJECTED, message="\ud800 broke")
    result = Result.model_validate_json(encode_result("p1", answer, TIME_MS))
    assert result.message == "? broke"


def test_the_fields_of_a_ledger_entry_have_a_fixed_order() -> None:
    transfer = Transfer("make", "abc", -5, "EUR", "sales", "p1")
    entry = Entry(transfer, Account(0, 2, "EUR"))
    assert encode_ledger_entry(entry, partition=0, time_ms=0) == (
        b'{"account":"abc","sequence":2,"payment":"p1","kind":"make","amount":-5,"balance":0,'
        b'"currency":"EUR","exponent":2,"counter_account":"sales/0",'
        b'"time":"1970-01-01T00:00:00.000Z"}'
    )


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=9)


@given(
    payment=names,
    account=names,
    amount=st.integers(-(10**15), 10**15),
    balance=st.integers(0, 2 * 10**18),
    held_change=st.integers(-(10**15), 10**15),
    held=st.integers(0, 2 * 10**18),
    part=st.none() | texts,
    metadata=notes,
)
def test_a_ledger_entry_is_parsed_back(  # noqa: PLR0917 - the fields of an entry
    payment: str,
    account: str,
    amount: int,
    balance: int,
    held_change: int,
    held: int,
    part: str | None,
    metadata: dict[str, str] | None,
) -> None:
    transfer = Transfer(
        "rollback", account, amount, "EUR", "world", payment, held_change, part, metadata
    )
    entry = Entry(transfer, Account(balance, 8, "EUR", held))
    value = encode_ledger_entry(entry, partition=2, time_ms=TIME_MS)
    assert LedgerEntry.model_validate_json(value) == LedgerEntry(
        account=account,
        sequence=8,
        payment=payment,
        kind="rollback",
        amount=amount,
        balance=balance,
        currency="EUR",
        counter_account="world/2",
        time="2026-01-01T00:00:00.000Z",
        held_change=held_change,
        held=held,
        available=balance - held,
        part=part,
        metadata=metadata,
    )


def test_a_counter_account_is_named_by_its_partition() -> None:
    assert counter_name("sales", 3) == "sales/3"


@pytest.mark.parametrize(
    ("time_ms", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_767_225_599_999, "2025-12-31T23:59:59.999Z"),
        (1_767_225_600_001, "2026-01-01T00:00:00.001Z"),
        (1_767_225_661_120, "2026-01-01T00:01:01.120Z"),
    ],
)
def test_a_time_is_written_in_utc_with_milliseconds(time_ms: int, text: str) -> None:
    assert iso_time(time_ms) == text


@given(st.integers(0, 250_000_000_000_000))
def test_no_millisecond_is_lost_in_a_time(time_ms: int) -> None:
    assert int(iso_time(time_ms)[-4:-1]) == time_ms % 1000
