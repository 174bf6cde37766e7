"""The ledger: how a transfer changes an account, and the double entries that record it.

An entry's amount goes to the account and its opposite to a counter-account, so that every entry is
balanced by itself. Amounts and balances are in minor units.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Literal, NamedTuple

from msgspec import field

from payments.domain.names import has_outer_space
from payments.domain.results import Frozen, Reason

MAX_BALANCE = 10**18
RuleKind = Literal["open", "freeze", "unfreeze", "close", "limit"]
"""The kinds of entries that move nothing: they change the status of an account, or its limit."""

Kind = (
    Literal["make", "deposit", "rollback", "opening", "hold", "capture", "release", "refund"]
    | RuleKind
)
Counter = Literal["world", "sales"]
COUNTERS: tuple[Counter, ...] = ("world", "sales")
COUNTER_OF: Mapping[str, Counter] = {
    "make": "sales",
    "authorize": "sales",
    "deposit": "world",
    "opening": "world",
}
"""The other side of an entry, by what began its payment. What undoes it has the same."""
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


class Transfer(Frozen, frozen=True, omit_defaults=True):
    """Money to move or to hold: the message from a payment to an account."""

    kind: Kind
    account: str
    amount: int
    """Minor units to add to the account; negative where they are taken."""

    currency: str
    counter: Counter
    """The other side of the double entry."""

    payment: str | None = None
    """The payment's id, which ``decide`` does not know; None in an opening."""

    held: int = 0
    """Minor units to add to what the account holds; negative where they are released."""

    part: str | None = None
    """The id of the capture or refund within its payment."""

    metadata: dict[str, str] | None = None
    """What the client noted on the payment."""


class Settled(Frozen, frozen=True):
    """How a transfer ended: the message back to its payment."""

    ok: bool
    reason: Reason | None = None


class Status(StrEnum):
    """What an account may do, whatever is on it."""

    OPEN = "open"
    FROZEN = "frozen"
    """Nothing new is taken from it or held on it; deposits are accepted."""

    CLOSED = "closed"
    """Nothing new is moved on it."""


_OPEN = Status.OPEN
_DECLINES: Mapping[Status, Mapping[str, Reason]] = {
    Status.OPEN: {},
    Status.FROZEN: dict.fromkeys(("make", "hold"), Reason.ACCOUNT_FROZEN),
    Status.CLOSED: dict.fromkeys(("make", "hold", "deposit"), Reason.ACCOUNT_CLOSED),
}
"""By status: the kinds of transfers that are declined, and why. What a payment has begun always
ends: captures, releases, refunds and rollbacks are in none of them."""


class Account(Frozen, frozen=True, omit_defaults=True):
    """The row of an account."""

    balance: int
    sequence: int
    """Number of its last ledger entry."""

    currency: str
    held: int = 0
    """What payments hold on it."""

    status: Status = Status.OPEN
    credit_limit: int = 0
    """How far below zero the balance may be, less what is held."""

    @property
    def available(self) -> int:
        """What can be taken or held: the only number that declines a transfer for its amount."""
        return self.balance + self.credit_limit - self.held


class CounterAccount(Frozen, frozen=True, omit_defaults=True):
    """The row of a counter-account, such as ``sales/3``: a balance for each currency."""

    balances: dict[str, int]
    held: dict[str, int] = field(default_factory=dict)
    """The opposite of what its accounts hold, for each currency."""


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
    """Apply a transfer to an account; a reason means that it is declined and leaves no trace.

    Only what lowers the available amount can be declined for it: captures, releases and refunds
    never are. A hold is a promise.
    """
    opened: tuple[Entry, ...] = ()
    if account is None:
        opens = opening.balance > 0 and opening.currency == transfer.currency
        if transfer.kind != "deposit" and not (opens and transfer.kind in {"make", "hold"}):
            return Reason.UNKNOWN_ACCOUNT
        if has_outer_space(transfer.account):  # An account that was opened before the rule stays.
            return Reason.INVALID_ACCOUNT
        account = Account(0, 0, transfer.currency)
        if opens:
            opened = (_opening_entry(transfer.account, opening),)
            account = opened[0].account
    if (account.status is not _OPEN or transfer.currency != account.currency) and (
        reason := _refusal(account, transfer)
    ):
        return reason
    balance, held = account.balance + transfer.amount, account.held + transfer.held
    assert held >= 0, "no payment releases more than it holds"
    left, limit = balance - held, account.credit_limit
    if left < 0 and left < -limit and left < account.balance - account.held:
        return Reason.INSUFFICIENT_FUNDS
    if balance > MAX_BALANCE and transfer.kind == "deposit":  # A rollback may exceed the limit.
        return Reason.BALANCE_LIMIT
    account = Account(balance, account.sequence + 1, account.currency, held, account.status, limit)
    return Posting(account, (*opened, Entry(transfer, account)))


def _refusal(account: Account, transfer: Transfer) -> Reason | None:
    """Return why an account declines a transfer whatever its amount is; None where it does not."""
    if transfer.currency != account.currency:
        return Reason.WRONG_CURRENCY
    return _DECLINES[account.status].get(transfer.kind)


def _opening_entry(account: str, opening: Opening) -> Entry:
    counter = COUNTER_OF["opening"]
    transfer = Transfer("opening", account, opening.balance, opening.currency, counter)
    return Entry(transfer, Account(opening.balance, 1, opening.currency))


def post_counter(row: CounterAccount | None, entry: Entry) -> CounterAccount:
    """Apply the second leg of an entry to its counter-account."""
    if row is None:
        row = CounterAccount({})
    step, balances, held = entry.transfer, row.balances, row.held
    currency, amount = step.currency, step.amount
    if amount:
        balances = {**balances, currency: balances.get(currency, 0) - amount}
    if step.held:
        held = _held_after(held, currency, step.held)
    return CounterAccount(balances, held)


def _held_after(held: dict[str, int], currency: str, change: int) -> dict[str, int]:
    """Return what a counter-account holds; a currency of which it is 0 is left out."""
    own = held.get(currency, 0) - change
    others = {name: other for name, other in held.items() if name != currency}
    return {**others, currency: own} if own else others
