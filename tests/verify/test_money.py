"""Violations of what the ledger promises, planted in a run and found where they stand."""

import pytest

from payments.verify.findings import Kind

from .recording import ACCOUNTS, LEDGER, OPENING, RESULTS, Recording, at, read


@pytest.mark.parametrize("payment", ["at once", "undone", "given", "taken back"])
def test_a_payment_that_moved_money_twice(run: Recording, payment: str) -> None:
    entry = run.all(LEDGER, payment=payment)[0]
    second = run.post(entry)
    assert run.found() == [at(Kind.MONEY_TWICE, second)]


def test_a_payment_that_moved_money_back_twice(run: Recording) -> None:
    second = run.post(run.find(LEDGER, payment="undone", kind="rollback"))
    assert run.found() == [at(Kind.MONEY_TWICE, second)]


@pytest.mark.parametrize("payment", ["declined", "at nowhere", "never"])
def test_money_that_no_result_tells_of(run: Recording, payment: str) -> None:
    entry = run.find(LEDGER, payment="made", kind="make")
    added = run.post(entry, payment=payment)
    assert run.found() == [at(Kind.UNEXPECTED_ENTRY, added)]


@pytest.mark.parametrize("where", [{"payment": "prevented"}, {"payment": "taken back"}])
def test_money_that_a_result_tells_of_and_the_ledger_does_not(
    run: Recording, where: dict[str, object]
) -> None:
    entry = run.find(LEDGER, **where)
    run.unpost(entry)
    outcome = "cancelled" if read(entry)["kind"] == "rollback" else "completed"
    result = run.find(RESULTS, **where, outcome=outcome, replayed=False)
    assert run.found() == [at(Kind.MISSING_ENTRY, result)]


@pytest.mark.parametrize(
    "change",
    [
        {"payment": None},
        {"kind": "deposit"},
        {"kind": "opening"},
        {"counter_account": "sales/9"},
    ],
)
def test_an_entry_that_is_not_what_it_says(run: Recording, change: dict[str, object]) -> None:
    entry = run.find(LEDGER, payment="undone", kind="make")
    run.change(entry, **change)
    assert at(Kind.WRONG_ENTRY, entry) in run.found()


def test_an_entry_of_another_amount_than_the_payments(run: Recording) -> None:
    deposit = run.find(LEDGER, payment="given")
    run.unpost(run.find(LEDGER, payment="taken back", kind="rollback"))
    run.unpost(run.find(LEDGER, payment="taken back"))
    run.unpost(deposit)
    less = run.post(deposit, amount=99)
    assert at(Kind.WRONG_ENTRY, less) in run.found()


def test_an_entry_that_is_in_the_ledger_twice(run: Recording) -> None:
    second = run.append(run.find(LEDGER, payment="given"))
    assert run.found() == [at(Kind.SEQUENCE_REPEATED, second)]


def test_a_sequence_number_that_is_left_out(run: Recording) -> None:
    last = run.find(LEDGER, account="spender")
    number = read(last)["sequence"] + 1
    run.change(last, sequence=number)
    run.change(run.row(ACCOUNTS, b"spender"), sequence=number)
    assert run.found() == [at(Kind.SEQUENCE_GAP, last)]


def test_an_account_that_does_not_begin_with_its_first_entry(run: Recording) -> None:
    opening, following = run.all(LEDGER, account="spender")[:2]
    run.remove(opening)
    assert run.found() == [at(Kind.SEQUENCE_GAP, following)]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_balance_that_does_not_follow_from_the_amounts(run: Recording, which: int) -> None:
    entry = run.all(LEDGER, account="abc")[which]
    run.change(entry, balance=read(entry)["balance"] + 1)
    assert run.found() == [at(Kind.WRONG_BALANCE, entry)]


def test_an_account_below_zero(run: Recording) -> None:
    less = OPENING + 150  # So much less is it opened with: all its later balances are lower too.
    run.each_entry("spender", lambda entry: {"balance": entry["balance"] - less})
    opening = run.find(LEDGER, account="spender", kind="opening")
    run.change(opening, amount=OPENING - less)
    for key in (b"spender", f"world/{opening.partition}".encode()):
        row = run.row(ACCOUNTS, key)
        values = read(row)
        if "balance" in values:
            run.change(row, balance=values["balance"] - less)
        else:
            run.change(
                row, balances={**values["balances"], "EUR": values["balances"]["EUR"] + less}
            )
    entries = run.all(LEDGER, account="spender")
    below = [at(Kind.NEGATIVE_BALANCE, entry) for entry in entries]
    assert run.found() == sorted([*below, at(Kind.WRONG_ENTRY, opening)])
