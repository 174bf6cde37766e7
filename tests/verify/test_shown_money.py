"""What the audit says of money is in major units; see ``tests/domain/test_money.py`` for others."""

import pytest

from payments.domain.account import Account, CounterAccount
from payments.records.record_models import LedgerEntry
from payments.verify.accounts import AccountsPartition
from payments.verify.findings import Findings
from payments.verify.judgement import HeldByPayments


@pytest.mark.parametrize(
    ("currency", "shown"),
    [
        ("EUR", ["a deposit of -19.99 EUR", "says 0.01 EUR", "has -19.99 EUR", "up to -19.98 EUR"]),
        ("JPY", ["a deposit of -1,999 JPY", "says 1 JPY", "has -1,999 JPY", "up to -1,998 JPY"]),
    ],
)
def test_amounts_and_balances_are_shown_with_the_decimals_of_the_currency(
    currency: str, shown: list[str]
) -> None:
    findings = Findings()
    partition = AccountsPartition(0, "accounts.ledger", "journal", findings)
    entry = LedgerEntry(
        account="abc",
        sequence=1,
        payment="p1",
        kind="deposit",
        amount=-1999,
        balance=1,
        currency=currency,
        counter_account="world/0",
        time="2026-01-01T00:00:00.000Z",
    )
    partition.entry(entry, 0, by_snapshot=True)
    partition.row("abc", 1, Account(-1999, 1, currency))
    partition.counter_row("world/0", 2, CounterAccount({currency: 1}))
    partition.judge(HeldByPayments())
    messages = [violation.message for violation in findings.kept]
    assert len(messages) == 5
    for message in messages:
        assert currency in message
