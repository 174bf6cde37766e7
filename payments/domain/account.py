"""The ledger: how a transfer changes an account, and the double entries that record it.

An entry's amount goes to the account and its opposite to a counter-account, so that every entry is
balanced by itself. Amounts and balances are in minor units.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from payments.domain.names import has_outer_space
from payments.domain.results import Frozen, Reason

MAX_BALANCE = 10**18
Kind = Literal["make", "deposit", "rollback", "opening"]
Counter = Literal["world", "sales"]
COUNTERS: tuple[Counter, ...] = ("world", "sales")
COUNTER_OF: Mapping[Kind, Counter] = {"make": "sales", "deposit": "world", "opening": "world"}
"""The other side of an entry, by its kind. A rollback has that of the payment that it undoes."""
COUNTER_PREFIXES = tuple(f"{counter}/" for counter in COUNTERS)
COUNTER_PATTERN = f"^({'|'.join(COUNTERS)})/[0-9]+$"
"""The form of ``is_counter_name`` as a regular expression, for schemas."""

_MAX_DIGITS = 10


def counter_name(counter: Counter, partition: int) -> str:
    """Return the name of a partition's counter-account: ``sales/3``."""
    return f"{counter}/{partition}"


def is_counter_name(name: str) -> bool:
    """Return whether a name has the form of a counter-account's; no other account may have it."""
    number = name.partition("/")[2] if name.startswith(COUNTER_PREFIXES) else ""
    return number.isascii() and number.isdecimal()


def partition_of_counter(name: str) -> int | None:
    """Return the partition whose counter-account has this name; None where none can have it."""
    number = name.partition("/")[2] if is_counter_name(name) else ""
    if not number or len(number) > _MAX_DIGITS or (number[0] == "0" and number != "0"):
        return None
    return int(number)


class Transfer(Frozen, frozen=True):
    """Money to move: the message from a payment to an account."""

    kind: Kind
    account: str
    amount: int
    """Minor units to add to the account; negative where they are taken."""

    currency: str
    counter: Counter
    """The other side of the double entry."""

    payment: str | None = None
    """The payment's id, which ``decide`` does not know; None in an opening."""


class Settled(Frozen, frozen=True):
    """How a transfer ended: the message back to its payment."""

    ok: bool
    reason: Reason | None = None


class Account(Frozen, frozen=True):
    """The row of an account."""

    balance: int
    sequence: int
    """Number of its last ledger entry."""

    currency: str


class CounterAccount(Frozen, frozen=True):
    """The row of a counter-account, such as ``sales/3``: a balance for each currency."""

    balances: dict[str, int]


class Opening(NamedTuple):
    """The first entry of a new account, from ``world``; none when the balance is 0."""

    balance: int
    currency: str


class Entry(Frozen, frozen=True):
    """One line of the ledger: a transfer and the account after it."""

    transfer: Transfer
    account: Account


class Posting(Frozen, frozen=True):
    """An accepted transfer: the new row and its entries, two when it opened the account."""

    account: Account
    entries: tuple[Entry, ...]


def post(account: Account | None, transfer: Transfer, *, opening: Opening) -> Posting | Reason:
    """Apply a transfer to an account; a reason means that it is declined and leaves no trace."""
    steps = [transfer]
    if account is None:
        opens = opening.balance > 0 and opening.currency == transfer.currency
        if transfer.kind == "rollback" or (transfer.kind == "make" and not opens):
            return Reason.UNKNOWN_ACCOUNT
        if has_outer_space(transfer.account):  # An account that was opened before the rule stays.
            return Reason.INVALID_ACCOUNT
        account = Account(balance=0, sequence=0, currency=transfer.currency)
        if opens:
            first = Transfer(
                kind="opening",
                account=transfer.account,
                amount=opening.balance,
                currency=opening.currency,
                counter=COUNTER_OF["opening"],
            )
            steps.insert(0, first)
    if transfer.currency != account.currency:
        return Reason.WRONG_CURRENCY
    entries = []
    for step in steps:
        balance = account.balance + step.amount
        if balance < 0:
            return Reason.INSUFFICIENT_FUNDS
        if balance > MAX_BALANCE and step.kind == "deposit":  # A rollback may exceed the limit.
            return Reason.BALANCE_LIMIT
        account = Account(balance, account.sequence + 1, account.currency)
        entries.append(Entry(step, account))
    return Posting(account, tuple(entries))


def post_counter(row: CounterAccount | None, entry: Entry) -> CounterAccount:
    """Apply the second leg of an entry to its counter-account."""
    balances = {} if row is None else row.balances
    currency, amount = entry.transfer.currency, entry.transfer.amount
    return CounterAccount({**balances, currency: balances.get(currency, 0) - amount})
