"""The ledger: what a transfer does to an account, and that no money appears or vanishes."""

import json
import re
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.domain.account import (
    COUNTER_PATTERN,
    MAX_BALANCE,
    Account,
    CounterAccount,
    Entry,
    Kind,
    Opening,
    Posting,
    Transfer,
    counter_name,
    is_counter_name,
    partition_of_counter,
    post,
    post_counter,
)
from payments.domain.results import Reason
from payments.records.record_writer import encode_ledger_entry

NO_OPENING = Opening(0, "EUR")
OPENING = Opening(1_000, "EUR")
TIME_MS = 1_767_225_600_007


def make(amount: int, currency: str = "EUR") -> Transfer:
    return Transfer("make", "abc", -amount, currency, "sales", "p1")


def deposit(amount: int, currency: str = "EUR") -> Transfer:
    return Transfer("deposit", "abc", amount, currency, "world", "p1")


def undo(transfer: Transfer) -> Transfer:
    return Transfer(
        "rollback", transfer.account, -transfer.amount, transfer.currency, transfer.counter, "p1"
    )


@pytest.mark.parametrize(
    ("account", "transfer", "opening", "expected"),
    [
        (Account(100, 3, "EUR"), make(100), OPENING, Account(0, 4, "EUR")),
        (Account(0, 4, "EUR"), deposit(5), OPENING, Account(5, 5, "EUR")),
        (Account(100, 3, "EUR"), undo(make(7)), NO_OPENING, Account(107, 4, "EUR")),
        (Account(100, 3, "EUR"), undo(deposit(100)), NO_OPENING, Account(0, 4, "EUR")),
        (None, make(1_000), OPENING, Account(0, 2, "EUR")),
        (None, make(1), Opening(1, "EUR"), Account(0, 2, "EUR")),
        (None, deposit(5), OPENING, Account(1_005, 2, "EUR")),
        (None, deposit(5), NO_OPENING, Account(5, 1, "EUR")),
        (None, deposit(5, "USD"), OPENING, Account(5, 1, "USD")),
        (
            Account(MAX_BALANCE - 1, 3, "EUR"),
            deposit(1),
            NO_OPENING,
            Account(MAX_BALANCE, 4, "EUR"),
        ),
        (
            Account(MAX_BALANCE, 3, "EUR"),
            undo(make(9)),
            NO_OPENING,
            Account(MAX_BALANCE + 9, 4, "EUR"),
        ),
        (
            Account(MAX_BALANCE + 9, 4, "EUR"),
            make(1),
            NO_OPENING,
            Account(MAX_BALANCE + 8, 5, "EUR"),
        ),
    ],
)
def test_an_accepted_transfer_changes_balance_and_sequence(
    account: Account | None, transfer: Transfer, opening: Opening, expected: Account
) -> None:
    posting = post(account, transfer, opening=opening)
    assert isinstance(posting, Posting)
    assert posting.account == expected
    assert posting.entries[-1] == Entry(transfer, expected)


@pytest.mark.parametrize(
    ("account", "transfer", "opening", "reason"),
    [
        (None, make(1), NO_OPENING, Reason.UNKNOWN_ACCOUNT),
        (None, make(1, "USD"), OPENING, Reason.UNKNOWN_ACCOUNT),
        (None, undo(make(1)), OPENING, Reason.UNKNOWN_ACCOUNT),
        (None, undo(deposit(1)), NO_OPENING, Reason.UNKNOWN_ACCOUNT),
        (None, make(1_001), OPENING, Reason.INSUFFICIENT_FUNDS),
        (Account(0, 9, "EUR"), make(1), OPENING, Reason.INSUFFICIENT_FUNDS),
        (Account(99, 3, "EUR"), make(100), OPENING, Reason.INSUFFICIENT_FUNDS),
        (Account(99, 3, "EUR"), undo(deposit(100)), OPENING, Reason.INSUFFICIENT_FUNDS),
        (Account(99, 3, "EUR"), make(1, "USD"), OPENING, Reason.WRONG_CURRENCY),
        (Account(99, 3, "USD"), deposit(1), OPENING, Reason.WRONG_CURRENCY),
        (Account(MAX_BALANCE, 3, "EUR"), deposit(1), NO_OPENING, Reason.BALANCE_LIMIT),
    ],
)
def test_a_transfer_that_may_not_be_is_declined_for_a_reason(
    account: Account | None, transfer: Transfer, opening: Opening, reason: Reason
) -> None:
    assert post(account, transfer, opening=opening) is reason


def test_an_account_with_an_opening_balance_is_opened_by_an_entry_of_its_own() -> None:
    posting = post(None, make(100), opening=OPENING)
    assert isinstance(posting, Posting)
    written = [encode_ledger_entry(e, partition=3, time_ms=TIME_MS) for e in posting.entries]
    assert [json.loads(value) for value in written] == [
        {
            "account": "abc",
            "sequence": 1,
            "payment": None,
            "kind": "opening",
            "amount": 1_000,
            "balance": 1_000,
            "currency": "EUR",
            "exponent": 2,
            "counter_account": "world/3",
            "time": "2026-01-01T00:00:00.007Z",
        },
        {
            "account": "abc",
            "sequence": 2,
            "payment": "p1",
            "kind": "make",
            "amount": -100,
            "balance": 900,
            "currency": "EUR",
            "exponent": 2,
            "counter_account": "sales/3",
            "time": "2026-01-01T00:00:00.007Z",
        },
    ]


def test_the_second_leg_goes_to_the_counter_account_of_its_currency() -> None:
    euro = Entry(make(100), Account(0, 1, "EUR"))
    dollar = Entry(make(7, "USD"), Account(0, 1, "USD"))
    first = post_counter(None, euro)
    second = post_counter(first, dollar)
    assert first == CounterAccount({"EUR": 100})
    assert second == CounterAccount({"EUR": 100, "USD": 7})
    assert post_counter(second, euro) == CounterAccount({"EUR": 200, "USD": 7})


def held(kind: Kind, amount: int, change: int) -> Transfer:
    return Transfer(kind, "abc", amount, "EUR", "sales", "p1", held=change)


@pytest.mark.parametrize(
    ("before", "transfer", "after"),
    [
        ((100, 0), held("hold", 0, 100), (100, 100)),
        ((100, 60), held("hold", 0, 40), (100, 100)),
        ((100, 60), make(40), (60, 60)),
        ((100, 60), held("capture", -60, -60), (40, 0)),
        ((100, 100), held("capture", -30, -100), (70, 0)),
        ((100, 100), held("release", 0, -100), (100, 0)),
        ((0, 0), held("refund", 7, 0), (7, 0)),
        ((40, 20), held("rollback", 30, -20), (70, 0)),
        ((MAX_BALANCE, 0), held("refund", 7, 0), (MAX_BALANCE + 7, 0)),
        # An account that has less than it holds: a promise is kept all the same.
        ((50, 80), held("capture", -80, -80), (-30, 0)),
        ((50, 80), held("capture", -10, -80), (40, 0)),
        ((50, 80), held("release", 0, -10), (50, 70)),
        ((50, 80), held("refund", 10, 0), (60, 80)),
        ((50, 80), held("rollback", 10, -5), (60, 75)),
    ],
)
def test_a_posting_changes_the_balance_and_what_is_held(
    before: tuple[int, int], transfer: Transfer, after: tuple[int, int]
) -> None:
    account = Account(before[0], 3, "EUR", before[1])
    posting = post(account, transfer, opening=NO_OPENING)
    expected = Account(after[0], 4, "EUR", after[1])
    assert posting == Posting(expected, (Entry(transfer, expected),))


@pytest.mark.parametrize(
    ("before", "transfer"),
    [
        ((100, 0), held("hold", 0, 101)),
        ((100, 60), held("hold", 0, 41)),
        ((100, 60), make(41)),
        ((100, 60), undo(deposit(41))),
        ((50, 80), held("hold", 0, 1)),
        ((50, 80), make(1)),
    ],
)
def test_what_is_held_can_not_be_spent_or_held_again(
    before: tuple[int, int], transfer: Transfer
) -> None:
    account = Account(before[0], 3, "EUR", before[1])
    assert post(account, transfer, opening=NO_OPENING) is Reason.INSUFFICIENT_FUNDS


def test_no_account_releases_more_than_it_holds() -> None:
    with pytest.raises(AssertionError, match="releases more"):
        post(Account(100, 3, "EUR", 5), held("release", 0, -6), opening=NO_OPENING)


def test_a_hold_opens_an_account_that_has_an_opening_balance() -> None:
    hold = held("hold", 0, 1_000)
    posting = post(None, hold, opening=OPENING)
    assert isinstance(posting, Posting)
    assert posting.account == Account(1_000, 2, "EUR", 1_000)
    assert [entry.account.held for entry in posting.entries] == [0, 1_000]
    assert post(None, hold, opening=NO_OPENING) is Reason.UNKNOWN_ACCOUNT
    assert post(None, held("hold", 0, 1_001), opening=OPENING) is Reason.INSUFFICIENT_FUNDS


@pytest.mark.parametrize("kind", ["capture", "release", "refund", "rollback"])
def test_what_follows_a_hold_opens_no_account(kind: Kind) -> None:
    assert post(None, held(kind, 1, 0), opening=OPENING) is Reason.UNKNOWN_ACCOUNT


def test_the_second_leg_of_a_hold_is_held_on_the_counter_account() -> None:
    account = Account(100, 2, "EUR", 100)
    holding = post_counter(None, Entry(held("hold", 0, 100), account))
    assert holding == CounterAccount({}, {"EUR": -100})
    captured = post_counter(holding, Entry(held("capture", -30, -100), account))
    assert captured == CounterAccount({"EUR": 30})
    refunded = post_counter(captured, Entry(held("refund", 30, 0), account))
    assert refunded == CounterAccount({"EUR": 0})


movements = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["hold", "capture", "release", "refund", "make", "deposit"]),
        st.integers(1, 40),
        st.integers(0, 5),
    ),
    max_size=40,
)


@given(movements)
def test_whatever_is_held_is_covered_and_adds_up_to_zero(
    plan: list[tuple[str, Kind, int, int]],
) -> None:
    accounts = {name: Account(60, 1, "EUR") for name in ("a", "b")}
    counter: CounterAccount | None = None
    for name, kind, amount, rest in plan:
        account = accounts[name]
        moved, change = {
            "hold": (0, amount),
            "capture": (-amount, -(amount + rest)),
            "release": (0, -amount),
            "make": (-amount, 0),
        }.get(kind, (amount, 0))
        if account.held + change < 0:  # No payment has so much to release.
            continue
        transfer = Transfer(kind, name, moved, "EUR", "sales", held=change)
        posting = post(account, transfer, opening=NO_OPENING)
        lowers = moved - change < 0
        if isinstance(posting, Reason):
            assert lowers
            assert account.balance + moved < account.held + change
            continue
        accounts[name] = posting.account
        counter = post_counter(counter, posting.entries[0])
        assert 0 <= posting.account.held <= posting.account.balance
    own = sum(account.held for account in accounts.values())
    balances = sum(account.balance for account in accounts.values()) - 2 * 60
    assert own + (counter.held.get("EUR", 0) if counter else 0) == 0
    assert balances + (counter.balances.get("EUR", 0) if counter else 0) == 0


amounts = st.one_of(st.integers(1, 50), st.integers(10**15 - 5, 10**15))
steps = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from(["make", "deposit", "undo"]),
        amounts,
        st.sampled_from(["EUR", "USD"]),
    ),
    max_size=30,
)


@given(steps, st.sampled_from([0, 60]))
def test_whatever_is_posted_the_ledger_is_gapless_solvent_and_adds_up_to_zero(
    plan: list[tuple[str, str, int, str]], opening_balance: int
) -> None:
    accounts: dict[str, Account] = {}
    counters: dict[str, CounterAccount] = {}
    entries: dict[str, list[Entry]] = defaultdict(list)
    for name, kind, amount, currency in plan:
        transfer = Transfer("deposit", name, amount, currency, "world")
        if kind == "make":
            transfer = Transfer("make", name, -amount, currency, "sales")
        if kind == "undo":
            last = [e.transfer for e in entries[name] if e.transfer.kind != "opening"][-1:]
            transfer = undo(last[0]) if last else transfer
        posting = post(accounts.get(name), transfer, opening=Opening(opening_balance, "EUR"))
        if isinstance(posting, Reason):
            continue
        accounts[name] = posting.account
        for entry in posting.entries:
            entries[name].append(entry)
            counter = entry.transfer.counter
            counters[counter] = post_counter(counters.get(counter), entry)
    totals: dict[str, int] = defaultdict(int)
    for name, account in accounts.items():
        assert [e.account.sequence for e in entries[name]] == [*range(1, account.sequence + 1)]
        assert all(e.account.balance >= 0 for e in entries[name])
        assert sum(e.transfer.amount for e in entries[name]) == account.balance
        totals[account.currency] += account.balance
    for counter_account in counters.values():
        for currency, balance in counter_account.balances.items():
            totals[currency] += balance
    assert not any(totals.values())


@pytest.mark.parametrize("partition", [0, 7, 4095])
def test_the_name_of_a_counter_account_has_its_partition(partition: int) -> None:
    assert partition_of_counter(counter_name("sales", partition)) == partition
    assert partition_of_counter(counter_name("world", partition)) == partition


@pytest.mark.parametrize(
    "name", ["", "abc", "sales", "sales/", "sales/x", "sales/-1", "sales/00", "sales/" + "9" * 5000]
)
def test_a_name_that_no_partition_gives_has_no_partition(name: str) -> None:
    assert partition_of_counter(name) is None


@given(st.from_regex(r"(sales|world|other)?/?[0-9x٣]{0,3}", fullmatch=True))
def test_the_pattern_of_counter_accounts_is_their_rule(name: str) -> None:
    assert bool(re.fullmatch(COUNTER_PATTERN, name)) == is_counter_name(name)
