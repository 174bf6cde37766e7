"""Payments that were sent once while the system was killed: counts of what is missing or double."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tools.bench.installations import OPENING_BALANCE


class Entry(NamedTuple):
    """One ledger entry: ``amount`` was added to the account, ``balance`` is what it holds then."""

    account: str
    payment: str | None
    amount: int
    balance: int


class Audit(NamedTuple):
    """Counts of payments, of accounts at the end."""

    sent: int
    unanswered: int
    """Without any result."""

    answered_twice: int
    """With more than one result."""

    not_taken: int
    """Without a ledger entry: the money has not moved."""

    taken_twice: int
    """With more than one ledger entry: the money has moved again."""

    wrong_accounts: int
    """Accounts whose last balance is not the opening balance and all entries added up."""


def audit(sent: Iterable[str], results: Mapping[str, int], entries: Iterable[Entry]) -> Audit:
    """Count what is missing and what is double. All payments are makes of an amount above zero.

    ``results`` is the number of result records by payment. Entries without a payment, or of one
    that was not sent, open accounts or belong to others; they count for their account alone.
    """
    wanted = set(sent)
    taken: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    last: dict[str, int] = {}
    for entry in entries:
        last[entry.account] = entry.balance
        if entry.payment is None:
            continue
        moved[entry.account] += entry.amount
        if entry.payment in wanted:
            taken[entry.payment] += 1
    return Audit(
        sent=len(wanted),
        unanswered=sum(not results.get(payment) for payment in wanted),
        answered_twice=sum(results.get(payment, 0) > 1 for payment in wanted),
        not_taken=sum(not taken[payment] for payment in wanted),
        taken_twice=sum(taken[payment] > 1 for payment in wanted),
        wrong_accounts=sum(
            balance != OPENING_BALANCE + moved[account] for account, balance in last.items()
        ),
    )
