"""The account table, cell by cell: what each command does to an account of each status."""

import json
from typing import NamedTuple, get_args

import pytest

from payments.domain.account import MAX_BALANCE, Account, Opening, Posting, Status, Transfer, post
from payments.domain.account_commands import (
    ACCOUNT_COMMAND_TYPES,
    AccountCommand,
    Close,
    Freeze,
    GetAccount,
    Limit,
    Open,
    Unfreeze,
)
from payments.domain.account_table import ACCOUNT_TABLE, TYPES, decide_account
from payments.domain.results import Outcome, Reason
from payments.records.internal_codec import decode_account, encode_account
from payments.records.record_writer import encode_ledger_entry

OPEN, FROZEN, CLOSED = Status.OPEN, Status.FROZEN, Status.CLOSED
COMPLETED, REJECTED = Outcome.COMPLETED, Outcome.REJECTED
TIME_MS = 1_767_225_600_007
NO_OPENING = Opening(0, "EUR")


def account(
    status: Status = OPEN, balance: int = 0, held: int = 0, limit: int = 0, sequence: int = 3
) -> Account:
    return Account(balance, sequence, "EUR", held, status, limit)


class Case(NamedTuple):
    """One command for one account, and what is expected."""

    before: Account | None
    command: AccountCommand
    outcome: Outcome
    after: Account | None
    """The account that a change leaves; None where nothing changes."""

    reason: Reason | None = None
    replayed: bool = False


def rejected(before: Account | None, command: AccountCommand, reason: Reason) -> Case:
    return Case(before, command, REJECTED, None, reason)


def repeated(before: Account, command: AccountCommand) -> Case:
    return Case(before, command, COMPLETED, None, replayed=True)


def changed(before: Account | None, command: AccountCommand, after: Account) -> Case:
    return Case(before, command, COMPLETED, after)


def found(before: Account) -> Case:
    return Case(before, GetAccount(), Outcome.FOUND, None)


UNKNOWN, IS_CLOSED = Reason.UNKNOWN_ACCOUNT, Reason.ACCOUNT_CLOSED
CASES = [
    changed(None, Open("EUR"), Account(0, 1, "EUR")),
    changed(None, Open("USD", 500), Account(0, 1, "USD", 0, OPEN, 500)),
    *(rejected(None, each, UNKNOWN) for each in (Freeze(), Unfreeze(), Close(), Limit(5))),
    Case(None, GetAccount(), Outcome.NOT_FOUND, None),
    # open
    repeated(account(), Open("EUR")),
    repeated(account(limit=500, balance=7), Open("EUR", 500)),
    rejected(account(), Open("USD"), Reason.WRONG_CURRENCY),
    rejected(account(limit=500), Open("EUR"), Reason.DIFFERENT_LIMIT),
    rejected(account(), Open("EUR", 1), Reason.DIFFERENT_LIMIT),
    changed(
        account(balance=7, held=2, limit=9),
        Freeze(),
        account(FROZEN, 7, 2, limit=9, sequence=4),
    ),
    repeated(account(), Unfreeze()),
    changed(account(limit=500), Close(), account(CLOSED, sequence=4)),
    rejected(account(balance=1), Close(), Reason.NOT_ZERO),
    rejected(account(balance=-1, limit=5), Close(), Reason.NOT_ZERO),
    rejected(account(held=1, limit=5), Close(), Reason.NOT_ZERO),
    changed(account(balance=-9, limit=10), Limit(3), account(balance=-9, limit=3, sequence=4)),
    changed(account(), Limit(MAX_BALANCE), account(limit=MAX_BALANCE, sequence=4)),
    repeated(account(limit=3), Limit(3)),
    found(account()),
    # frozen
    repeated(account(FROZEN), Open("EUR")),
    rejected(account(FROZEN), Open("USD"), Reason.WRONG_CURRENCY),
    rejected(account(FROZEN, limit=1), Open("EUR"), Reason.DIFFERENT_LIMIT),
    repeated(account(FROZEN), Freeze()),
    changed(account(FROZEN, 7, 2, 9), Unfreeze(), account(OPEN, 7, 2, 9, sequence=4)),
    changed(account(FROZEN), Close(), account(CLOSED, sequence=4)),
    rejected(account(FROZEN, 1), Close(), Reason.NOT_ZERO),
    changed(account(FROZEN), Limit(3), account(FROZEN, limit=3, sequence=4)),
    repeated(account(FROZEN, limit=3), Limit(3)),
    found(account(FROZEN)),
    # closed
    changed(account(CLOSED, balance=7), Open("EUR", 5), account(OPEN, 7, limit=5, sequence=4)),
    rejected(account(CLOSED), Open("USD"), Reason.WRONG_CURRENCY),
    *(rejected(account(CLOSED), each, IS_CLOSED) for each in (Freeze(), Unfreeze(), Limit(0))),
    repeated(account(CLOSED), Close()),
    repeated(account(CLOSED, balance=7), Close()),
    found(account(CLOSED)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.before} {case.command}")
def test_each_cell(case: Case) -> None:
    decision = decide_account("abc", case.before, case.command, own="c1")
    answer, entry = decision.answer, decision.entry
    assert (answer.outcome, answer.reason) == (case.outcome, case.reason)
    assert answer.replayed is case.replayed
    assert (answer.command, answer.type) == ("c1", case.command.type)
    assert (answer.message is not None) is (case.outcome is REJECTED)
    assert answer.account == (case.before if case.after is None else case.after)
    assert (None if entry is None else entry.account) == case.after


@pytest.mark.parametrize(
    ("before", "command", "message"),
    [
        (
            account(limit=5000),
            Open("EUR"),
            "account abc is open with a credit limit of 50.00 EUR: change it with limit",
        ),
        (
            account(FROZEN, limit=5000),
            Open("EUR"),
            (
                "account abc exists and is frozen (credit limit 50.00 EUR): unfreeze it, or change "
                "the limit with limit"
            ),
        ),
        (
            account(),
            Open("USD"),
            "account abc is open, and is kept in EUR: no command changes its currency",
        ),
        (
            account(FROZEN),
            Open("USD"),
            "account abc is frozen, and is kept in EUR: no command changes its currency",
        ),
        (
            account(CLOSED),
            Open("USD"),
            "account abc is closed, and is kept in EUR: open it again in EUR",
        ),
        *(
            (account(CLOSED), each, "account abc is closed: open it again first")
            for each in (Freeze(), Unfreeze(), Limit(5))
        ),
    ],
)
def test_a_refusal_says_what_the_account_is(
    before: Account, command: AccountCommand, message: str
) -> None:
    assert decide_account("abc", before, command, own="c1").answer.message == message


def test_every_cell_has_a_case() -> None:
    seen = {(None if c.before is None else c.before.status, c.command.type) for c in CASES}
    assert seen == {(status, type_) for status in (None, *Status) for type_ in TYPES}
    assert TYPES == ACCOUNT_COMMAND_TYPES
    assert len(TYPES) == len(get_args(AccountCommand))
    assert all(set(row) == set(TYPES) for row in ACCOUNT_TABLE.values())
    assert set(ACCOUNT_TABLE) == {None, *Status}


@pytest.mark.parametrize("name", [" abc", "abc "])
def test_no_new_account_has_a_space_at_an_end(name: str) -> None:
    answer = decide_account(name, None, Open("EUR"), own="c1").answer
    assert (answer.outcome, answer.reason) == (REJECTED, Reason.INVALID_ACCOUNT)
    assert decide_account(name, account(), Freeze(), own="c1").answer.outcome is COMPLETED


@pytest.mark.parametrize("case", [c for c in CASES if c.after], ids=lambda c: f"{c.command}")
def test_a_change_repeated_changes_nothing(case: Case) -> None:
    """Whatever is sent again finds what it asked for."""
    assert case.after is not None
    again = decide_account("abc", case.after, case.command, own="c2")
    assert again.entry is None
    assert (again.answer.outcome, again.answer.replayed) == (COMPLETED, True)


def test_a_change_is_an_entry_that_moves_nothing() -> None:
    entry = decide_account("abc", account(balance=7), Freeze(), own="c1").entry
    assert entry is not None
    assert json.loads(encode_ledger_entry(entry, partition=3, time_ms=TIME_MS)) == {
        "account": "abc",
        "sequence": 4,
        "payment": None,
        "kind": "freeze",
        "amount": 0,
        "balance": 7,
        "currency": "EUR",
        "exponent": 2,
        "counter_account": "world/3",
        "time": "2026-01-01T00:00:00.007Z",
        "status": "frozen",
        "credit_limit": 0,
    }


MAKE = Transfer("make", "abc", -10, "EUR", "sales", "p1")
HOLD = Transfer("hold", "abc", 0, "EUR", "sales", "p1", 10)
DEPOSIT = Transfer("deposit", "abc", 10, "EUR", "world", "p1")
ENDS = [
    Transfer("capture", "abc", -10, "EUR", "sales", "p1", -10, "c1"),
    Transfer("release", "abc", 0, "EUR", "sales", "p1", -10),
    Transfer("refund", "abc", 10, "EUR", "sales", "p1", 0, "r1"),
    Transfer("rollback", "abc", 10, "EUR", "sales", "p1"),
    Transfer("rollback", "abc", -10, "EUR", "world", "p1"),
]


@pytest.mark.parametrize(
    ("status", "transfer", "reason"),
    [
        (FROZEN, MAKE, Reason.ACCOUNT_FROZEN),
        (FROZEN, HOLD, Reason.ACCOUNT_FROZEN),
        (FROZEN, DEPOSIT, None),
        (CLOSED, MAKE, Reason.ACCOUNT_CLOSED),
        (CLOSED, HOLD, Reason.ACCOUNT_CLOSED),
        (CLOSED, DEPOSIT, Reason.ACCOUNT_CLOSED),
        *((status, end, None) for status in (FROZEN, CLOSED) for end in ENDS),
    ],
)
def test_what_is_new_is_declined_and_what_was_promised_is_not(
    status: Status, transfer: Transfer, reason: Reason | None
) -> None:
    before = account(status, balance=100, held=10)
    posting = post(before, transfer, opening=NO_OPENING)
    if reason is not None:
        assert posting is reason
        return
    assert isinstance(posting, Posting)
    assert (posting.account.status, posting.account.sequence) == (status, 4)


@pytest.mark.parametrize("kind", ["make", "hold"])
@pytest.mark.parametrize(
    ("before", "amount", "is_accepted"),
    [
        (account(limit=10), 10, True),
        (account(limit=10), 11, False),
        (account(balance=-10, limit=10), 1, False),
        (account(balance=5, held=3, limit=10), 12, True),
        (account(balance=5, held=3, limit=10), 13, False),
        (account(balance=-5, limit=0), 1, False),
    ],
)
def test_the_credit_limit_is_part_of_what_is_available(
    kind: str, before: Account, amount: int, *, is_accepted: bool
) -> None:
    transfer = (
        Transfer("make", "abc", -amount, "EUR", "sales", "p1")
        if kind == "make"
        else Transfer("hold", "abc", 0, "EUR", "sales", "p1", amount)
    )
    posting = post(before, transfer, opening=NO_OPENING)
    if not is_accepted:
        assert posting is Reason.INSUFFICIENT_FUNDS
        return
    assert isinstance(posting, Posting)
    assert posting.account.available == before.available - amount
    assert posting.account.credit_limit == before.credit_limit


def test_below_a_limit_that_was_lowered_only_what_lowers_further_is_declined() -> None:
    before = account(balance=-500, held=50, limit=0)
    assert post(before, MAKE, opening=NO_OPENING) is Reason.INSUFFICIENT_FUNDS
    for transfer in (DEPOSIT, *ENDS[:4]):
        assert isinstance(post(before, transfer, opening=NO_OPENING), Posting)


def test_an_account_that_was_opened_by_command_gets_no_opening_balance() -> None:
    opening = Opening(1000, "EUR")
    entry = decide_account("abc", None, Open("EUR"), own="c1").entry
    assert entry is not None
    assert post(entry.account, MAKE, opening=opening) is Reason.INSUFFICIENT_FUNDS
    posting = post(entry.account, DEPOSIT, opening=opening)
    assert isinstance(posting, Posting)
    assert (posting.account.balance, len(posting.entries)) == (10, 1)


@pytest.mark.parametrize(
    ("row", "stored"),
    [
        (account(balance=7), b'{"balance":7,"sequence":3,"currency":"EUR"}'),
        (account(balance=7, held=5), b'{"+balance":7,"sequence":3,"currency":"EUR","held":5}'),
        (
            account(FROZEN, balance=7, held=5),
            b'{"*balance":7,"sequence":3,"currency":"EUR","held":5,"status":"frozen"}',
        ),
        (account(limit=9), b'{"*balance":0,"sequence":3,"currency":"EUR","credit_limit":9}'),
        (account(CLOSED), b'{"*balance":0,"sequence":3,"currency":"EUR","status":"closed"}'),
    ],
)
def test_rows_with_rules_are_marked_so_that_no_former_version_reads_them(
    row: Account, stored: bytes
) -> None:
    """One that knows holds reads the mark of held money, so rules have another one."""
    assert encode_account(row) == stored
    assert decode_account(stored) == row
