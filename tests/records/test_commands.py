"""Commands as bytes: what is accepted, and that the two readers of a value agree."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from payments.domain.commands import Cancel, Command, Deposit, Get, Make
from payments.domain.results import Reason
from payments.records.commands import (
    Malformed,
    command_of,
    decode_members,
    parse_command,
    parse_movement,
    parse_payment_id,
)

MAKE = b'{"type":"make","account":"abc","amount":100}'


def parse(value: bytes | None) -> Command:
    return parse_command(value, default_currency="EUR")


def make_with(amount: str) -> bytes:
    return f'{{"type":"make","account":"abc","id":"c1","amount":{amount}}}'.encode()


def account_with(account: str) -> bytes:
    return f'{{"type":"deposit","amount":1,"id":"c1","account":{account}}}'.encode()


@pytest.mark.parametrize(
    ("value", "command"),
    [
        (MAKE, Make(account="abc", amount=100, currency="EUR")),
        (MAKE[:-1] + b',"currency":"USD"}', Make(account="abc", amount=100, currency="USD")),
        (MAKE[:-1] + b',"currency":null}', Make(account="abc", amount=100, currency="EUR")),
        (MAKE[:-1] + b',"id":null}', Make(account="abc", amount=100, currency="EUR")),
        (make_with("1"), Make(account="abc", amount=1, currency="EUR", id="c1")),
        (make_with(str(10**15)), Make(account="abc", amount=10**15, currency="EUR", id="c1")),
        (account_with('"a"'), Deposit(account="a", amount=1, currency="EUR", id="c1")),
        (account_with('"null"'), Deposit(account="null", amount=1, currency="EUR", id="c1")),
        (account_with('"a\\"b\\\\"'), Deposit(account='a"b\\', amount=1, currency="EUR", id="c1")),
        (account_with('"sales/x"'), Deposit(account="sales/x", amount=1, currency="EUR", id="c1")),
        (
            account_with(f'"{"é" * 255}"'),
            Deposit(account="é" * 255, amount=1, currency="EUR", id="c1"),
        ),
        (b'{"type":"cancel"}', Cancel()),
        (b' { "id" : "c 1", "type" : "cancel" }\n', Cancel(id="c 1")),
        (b'{"type":"get","id":"\\u0061"}', Get(id="a")),
        (b'{"type":"get"}' + b" " * (65_536 - 14), Get()),
    ],
)
def test_a_well_formed_command_is_parsed(value: bytes, command: Command) -> None:
    assert parse(value) == command


@pytest.mark.parametrize("key", ["p1", "a", "a b", "é/ü", "\ufffd", "x" * 255, "é" * 255])
def test_a_well_formed_key_is_the_payment_id(key: str) -> None:
    assert parse_payment_id(key.encode()) == key


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 10**16),
    st.floats(),
    st.sampled_from(["make", "deposit", "cancel", "get", "abc", "EUR", "", " ", "sales/1", "null"]),
    st.text(st.characters(codec=None), max_size=4),
)
members = st.lists(
    st.tuples(
        st.sampled_from(["type", "account", "amount", "currency", "id", "note"]),
        st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(st.text(), scalars)),
    ),
    max_size=6,
)
usual = st.fixed_dictionaries(
    {"type": st.sampled_from(["make", "deposit"]), "account": st.text(min_size=1, max_size=9)},
    optional={
        "amount": st.integers(0, 10**16),
        "currency": st.sampled_from(["EUR", "USD", None]),
        "id": st.one_of(st.none(), st.text(max_size=5)),
    },
).map(lambda fields: list(fields.items()))


Told = Command | tuple[Reason, str, str | None, str | None]


def parse_slowly(value: bytes, *, default_currency: str) -> Command:
    return command_of(decode_members(value), default_currency=default_currency)


def told(reader: Callable[..., Command], value: bytes) -> Told:
    try:
        return reader(value, default_currency="EUR")
    except Malformed as fault:
        return fault.reason, fault.message, fault.command, fault.type


@given(fields=st.one_of(members, usual), ascii_only=st.booleans())
@example(
    fields=[("type", "make"), ("account", "a"), ("amount", 1), ("amount", 1), ("id", None)],
    ascii_only=True,
)
@example(fields=[("type", "get"), ("id", "c1"), ("id", "c2")], ascii_only=False)
def test_both_readers_say_the_same_of_any_object(
    fields: list[tuple[str, Any]], *, ascii_only: bool
) -> None:
    texts = [f"{json.dumps(n)}:{json.dumps(v, ensure_ascii=ascii_only)}" for n, v in fields]
    value = f"{{{','.join(texts)}}}".encode(errors="surrogatepass")
    usual_reader = told(parse_command, value)
    assert usual_reader == told(parse_slowly, value)
    if len({name for name, _ in fields}) < len(fields):
        assert isinstance(usual_reader, tuple)


@given(fields=st.one_of(members, usual), ascii_only=st.booleans())
@example(fields=[("account", "a"), ("amount", 1), ("currency", "EUR")], ascii_only=True)
@example(fields=[("type", "make"), ("account", "a"), ("amount", 1)], ascii_only=True)
@example(fields=[("account", "a"), ("amount", 1), ("amount", 2), ("amount", 3)], ascii_only=True)
@example(fields=[("account", "a"), ("amount", 1), ("id", None)], ascii_only=True)
def test_the_quick_reader_of_a_movement_returns_what_the_strict_one_would(
    fields: list[tuple[str, Any]], *, ascii_only: bool
) -> None:
    """The gateway reads the body of a make or deposit so; a wrong one is left to ``command_of``."""
    texts = [f"{json.dumps(n)}:{json.dumps(v, ensure_ascii=ascii_only)}" for n, v in fields]
    value = f"{{{','.join(texts)}}}".encode(errors="surrogatepass")
    found = parse_movement(value, Make)
    if found is not None:
        assert found == command_of([("type", "make"), *fields], default_currency="")
        assert {name for name, _ in fields} <= {"account", "amount", "currency"}


def test_a_usual_movement_takes_the_quick_reader() -> None:
    assert parse_movement(b'{"account": "abc", "amount": 100}', Make) == Make("abc", 100)
    assert parse_movement(b'{"amount":1,"account":"a","currency":"USD"}\n', Deposit) == Deposit(
        "a", 1, "USD"
    )


@given(st.one_of(st.binary(), st.text().map(str.encode)))
def test_any_bytes_are_a_command_or_malformed(value: bytes) -> None:
    assert isinstance(told(parse_command, value), (tuple, Make, Deposit, Cancel, Get))
