"""Accounts: the ledger replayed, entry by entry, and compared with the live tables.

Entries after the snapshot of a partition's journal are replayed too; the table is compared with the
last entry before it. Memory grows with the number of accounts, not with that of entries.
"""

from collections import Counter as Sums
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

from payments.domain.account import Account, Counter, CounterAccount, counter_name
from payments.domain.money import money_text
from payments.records.later_versions import has_known_values
from payments.records.record_models import LedgerEntry

from .account_commands import ResultsOfAccounts
from .findings import Findings, Kind, Place
from .judgement import HeldByPayments
from .lifecycle import place_of_money
from .rules import RULE_KINDS, Rules

# Not the domain's COUNTER_OF: an audit that used it could not find a fault in it.
EXPECTED_COUNTER: Mapping[str, Counter] = {
    "make": "sales",
    "deposit": "world",
    "opening": "world",
    **dict.fromkeys(("hold", "capture", "release", "refund"), "sales"),
    **dict.fromkeys(RULE_KINDS, "world"),
}
_IS_POSSIBLE: Mapping[str, Callable[[int, int], bool]] = {
    "make": lambda amount, held: amount < 0 and held == 0,
    "deposit": lambda amount, held: amount > 0 and held == 0,
    "opening": lambda amount, held: amount > 0 and held == 0,
    "hold": lambda amount, held: amount == 0 and held > 0,
    "capture": lambda amount, held: amount < 0 and held <= amount,
    "release": lambda amount, held: amount == 0 and held < 0,
    "refund": lambda amount, held: amount > 0 and held == 0,
    **dict.fromkeys(RULE_KINDS, lambda amount, held: amount == 0 and held == 0),
    "rollback": lambda amount, held: (amount != 0 and held == 0) or (amount >= 0 and held < 0),
}
"""By kind: whether an entry may change balance and held by so much."""


class State(NamedTuple):
    """An account at one moment."""

    balance: int
    sequence: int
    currency: str
    held: int
    status: str = "open"
    credit_limit: int = 0


@dataclass(slots=True)
class Replayed:
    """An account as the ledger has it, and its row."""

    sequence: int = 0
    balance: int = 0
    """The balance in the last entry."""

    summed: int = 0
    """The sum of the amounts."""

    held: int = 0
    """What was held after the last entry."""

    summed_held: int = 0
    """The sum of the changes of it."""

    currency: str = ""
    rules: Rules | None = None
    """Status and credit limit; None where no entry has any: it is open, without credit."""

    offset: int = 0
    at_snapshot: State | None = None
    """The account at the journal's snapshot."""

    row: State | None = None
    row_offset: int = 0


@dataclass(slots=True)
class CounterReplayed:
    """A counter-account in the ledger at the journal's snapshot, and its row; by currency."""

    summed: Sums[str] = field(default_factory=Sums)
    summed_held: Sums[str] = field(default_factory=Sums)
    row: CounterAccount = field(default_factory=lambda: CounterAccount({}))
    row_offset: int = 0


class AccountsPartition:
    """The accounts of one partition."""

    def __init__(self, partition: int, ledger: str, journal: str, findings: Findings) -> None:
        self._partition, self._ledger, self._journal = partition, ledger, journal
        self._findings = findings
        self._accounts: dict[str, Replayed] = {}
        self._counters: dict[str, CounterReplayed] = {}
        self._lacks_entries = False
        self._has_gap = False
        self._journal_end = 0
        self.results = ResultsOfAccounts(findings)

    def _find(self, kind: Kind, offset: int, message: str) -> None:
        self._findings.add(kind, Place(self._ledger, self._partition, offset), message)

    def _find_row(self, kind: Kind, offset: int, message: str) -> None:
        self._findings.add(kind, Place(self._journal, self._partition, offset), message)

    def lacks_entries(self) -> None:
        """Note that retention has deleted the first entries of the ledger."""
        self._lacks_entries = True

    # --- what is read -----------------------------------------------------------------------------

    def row(self, name: str, offset: int, row: Account | None) -> None:
        """Note the row of an account, which replaces an earlier one."""
        account = self._accounts.setdefault(name, Replayed())
        account.row = (
            None
            if row is None
            else State(
                row.balance,
                row.sequence,
                row.currency,
                row.held,
                row.status.value,
                row.credit_limit,
            )
        )
        account.row_offset = self._journal_end = offset

    def counter_row(self, name: str, offset: int, row: CounterAccount | None) -> None:
        """Note the row of a counter-account."""
        counter = self._counters.setdefault(name, CounterReplayed())
        counter.row = CounterAccount({}) if row is None else row
        counter.row_offset = self._journal_end = offset

    def entry(self, entry: LedgerEntry, offset: int, *, by_snapshot: bool) -> bool:
        """Replay one entry; False when an earlier entry has its number."""
        account = self._accounts.get(entry.account)
        if account is None:
            account = self._accounts[entry.account] = Replayed()
        expected, begins = account.sequence + 1, account.sequence == 0
        if entry.sequence != expected:
            if entry.sequence < expected:
                message = f"account {entry.account!r}: number {entry.sequence} after {expected - 1}"
                self._find(Kind.SEQUENCE_REPEATED, offset, message)
                return False
            self._skip(account, entry, offset, begins=begins)
        balance, summed = account.balance + entry.amount, account.summed + entry.amount
        if entry.balance not in (balance, summed):
            money = partial(money_text, currency=entry.currency)
            message = (
                f"account {entry.account!r}: {money(account.balance)} and {money(entry.amount)} "
                f"make {money(balance)}, the entry says {money(entry.balance)}"
            )
            self._find(Kind.WRONG_BALANCE, offset, message)
        if (
            account.rules is not None
            or entry.status != "open"
            or entry.credit_limit
            or entry.kind in RULE_KINDS
        ):
            self._rule(account, entry, offset, begins=begins)
        if entry.balance < 0 or account.rules is not None:
            self._check_below_zero(account, entry, offset)
        if (
            entry.held_change
            or entry.held
            or account.held
            or entry.available != entry.balance
            or entry.credit_limit
        ):
            self._hold(account, entry, offset)
        self._check_form(account, entry, offset)
        account.sequence, account.balance, account.summed = entry.sequence, entry.balance, summed
        account.currency, account.offset = entry.currency, offset
        if by_snapshot:
            account.at_snapshot = State(
                entry.balance,
                entry.sequence,
                entry.currency,
                entry.held,
                entry.status,
                entry.credit_limit,
            )
            counter = self._counters.setdefault(entry.counter_account, CounterReplayed())
            counter.summed[entry.currency] -= entry.amount
            if entry.held_change:
                counter.summed_held[entry.currency] -= entry.held_change
        return True

    def _hold(self, account: Replayed, entry: LedgerEntry, offset: int) -> None:
        """Replay what an entry changes of what the account holds."""
        money, name = partial(money_text, currency=entry.currency), entry.account
        held = account.held + entry.held_change
        summed = account.summed_held + entry.held_change
        wrong = None
        if entry.held not in (held, summed):
            wrong = (
                f"{money(account.held)} held and {money(entry.held_change)} make {money(held)}, "
                f"the entry says {money(entry.held)}"
            )
        elif entry.available != entry.balance + entry.credit_limit - entry.held:
            credit = f" and {money(entry.credit_limit)} of credit" if entry.credit_limit else ""
            wrong = (
                f"of {money(entry.balance)}{credit} are {money(entry.held)} held, and the entry "
                f"says that {money(entry.available)} are available"
            )
        if wrong is not None:
            self._find(Kind.WRONG_HELD, offset, f"account {name!r}: {wrong}")
        self._check_held(
            name,
            State(entry.balance, entry.sequence, entry.currency, entry.held),
            partial(self._find, offset=offset),
            had_credit=account.rules is not None and account.rules.had_credit,
        )
        account.held, account.summed_held = entry.held, summed

    def _rule(self, account: Replayed, entry: LedgerEntry, offset: int, *, begins: bool) -> None:
        """Replay what an entry does to the status and the credit limit, and what they allow."""
        rules = account.rules
        if rules is None:
            rules = account.rules = Rules()
            if begins and entry.sequence > 1:
                rules.begin_at(entry)
        name = f"account {entry.account!r}"
        if rules.forbids(entry):
            message = f"{name} is {rules.status}, and the entry is a {entry.kind}"
            self._find(Kind.AGAINST_RULES, offset, message)
        if (wrong := rules.change(entry)) is not None:
            self._find(Kind.WRONG_RULES, offset, f"{name}: {wrong}")

    def _check_below_zero(self, account: Replayed, entry: LedgerEntry, offset: int) -> None:
        """Require a credit limit for a balance below zero, and that nothing goes further below it.

        A limit may be lowered below what is used, and what is held is a promise.
        """
        rules = account.rules
        if rules is not None and rules.had_credit:
            lowers = entry.amount < entry.held_change
            if not lowers or entry.balance + entry.credit_limit >= entry.held:
                return
        elif entry.balance >= 0:
            return
        message = f"account {entry.account!r} is at {money_text(entry.balance, entry.currency)}"
        if entry.credit_limit or entry.held:
            limit, held = (
                money_text(each, entry.currency) for each in (entry.credit_limit, entry.held)
            )
            message += f" with a credit limit of {limit}, and holds {held}"
        self._find(Kind.NEGATIVE_BALANCE, offset, message)

    def _skip(self, account: Replayed, entry: LedgerEntry, offset: int, *, begins: bool) -> None:
        """Continue at an entry whose predecessor is missing."""
        if begins and self._lacks_entries:
            self._findings.unchecked["accounts whose first entries were deleted"] += 1
        else:
            self._has_gap = True
            after = f"{account.sequence}" if not begins else "no entry"
            message = f"account {entry.account!r}: number {entry.sequence} after {after}"
            self._find(Kind.SEQUENCE_GAP, offset, message)
        account.balance = account.summed = entry.balance - entry.amount
        account.held = account.summed_held = entry.held - entry.held_change
        if account.rules is not None:
            account.rules.begin_at(entry)

    def _check_form(self, account: Replayed, entry: LedgerEntry, offset: int) -> None:
        """Check an entry's kind against its sign, counter-account, payment and currency."""
        kind, amount = entry.kind, entry.amount
        if not has_known_values(entry):
            return  # It is reported as a later version's.
        counter = EXPECTED_COUNTER.get(kind) or ("sales" if amount >= 0 else "world")
        wrong, is_possible = None, _IS_POSSIBLE.get(kind)
        if is_possible is None or not is_possible(amount, entry.held_change):
            wrong = f"a {kind} of {money_text(amount, entry.currency)}"
            if entry.held_change:
                wrong += f" and {money_text(entry.held_change, entry.currency)} held"
        elif entry.counter_account != counter_name(counter, self._partition):
            wrong = f"its counter-account is {entry.counter_account}"
        elif (entry.payment is None) != (kind == "opening" or kind in RULE_KINDS):
            wrong = f"a {kind} of payment {entry.payment!r}"
        elif (entry.part is None) == (kind in {"capture", "refund"}):
            wrong = f"a {kind} with the part {entry.part!r}"
        elif kind == "opening" and entry.sequence != 1:
            wrong = f"the opening has the number {entry.sequence}"
        elif account.currency not in ("", entry.currency):
            wrong = f"{entry.currency} on an account in {account.currency}"
        if wrong is not None:
            self._find(Kind.WRONG_ENTRY, offset, f"account {entry.account!r}: {wrong}")

    # --- what follows -----------------------------------------------------------------------------

    def judge(self, held_by_payments: HeldByPayments) -> None:
        """Compare the tables with the ledger, and with what payments hold, and add them up."""
        total: Sums[str] = Sums()
        held: Sums[str] = Sums()
        for name, account in self._accounts.items():
            self._compare(name, account)
            if account.row is not None:
                self._compare_held(name, account.row, account.row_offset, held_by_payments)
                total[account.row.currency] += account.row.balance
                held[account.row.currency] += account.row.held
        for name, counter in self._counters.items():
            self._compare_counter(name, counter)
            total.update(counter.row.balances)
            held.update(counter.row.held)
        for what, sums in (("", total), ("what is held: ", held)):
            for currency, amount in sums.items():
                if amount:
                    message = f"{what}accounts and counter-accounts add up to "
                    message += money_text(amount, currency)
                    self._find_row(Kind.NOT_ZERO, self._journal_end, message)

    def _compare(self, name: str, account: Replayed) -> None:
        row, ledger = account.row, account.at_snapshot
        if ledger is None and row is not None and self._lacks_entries:
            self._findings.unchecked["accounts whose entries were all deleted"] += 1
            had_credit = row.credit_limit > 0 or row.status != "open"  # Or it may have had.
            if row.balance < 0 and not had_credit:
                message = f"account {name!r} is at {money_text(row.balance, row.currency)}"
                self._find_row(Kind.NEGATIVE_BALANCE, account.row_offset, message)
            find = partial(self._find_row, offset=account.row_offset)
            self._check_held(name, row, find, had_credit=had_credit)
        elif row != ledger:
            message = f"account {name!r}: the row has {_shown(row)}, the ledger {_shown(ledger)}"
            if row is None:
                self._find(Kind.ROW_DIFFERS, account.offset, message)
            else:
                self._find_row(Kind.ROW_DIFFERS, account.row_offset, message)

    def _compare_held(self, name: str, row: State, offset: int, found: HeldByPayments) -> None:
        """Compare what an account holds with what its payments hold."""
        place = place_of_money(name, row.currency)
        held = found.held.pop(place, 0)
        if place in found.unclear:
            self._findings.unchecked["accounts that hold money for payments in flight"] += 1
        elif row.held != held:
            money = partial(money_text, currency=row.currency)
            message = f"account {name!r} holds {money(row.held)}, its payments {money(held)}"
            self._find_row(Kind.WRONG_HELD, offset, message)

    def _compare_counter(self, name: str, counter: CounterReplayed) -> None:
        if self._lacks_entries or self._has_gap:
            self._findings.unchecked["counter-accounts: not all entries are there"] += 1
            return
        for what, rows, sums in (
            ("", counter.row.balances, counter.summed),
            (" held", counter.row.held, counter.summed_held),
        ):
            for currency in sorted({*rows, *sums}):
                row, summed = rows.get(currency, 0), sums[currency]
                if row != summed:
                    has, make = money_text(row, currency), money_text(summed, currency)
                    message = f"{name}: the row has {has}{what}, the entries make {make}"
                    self._find_row(Kind.ROW_DIFFERS, counter.row_offset, message)

    def _check_held(
        self, name: str, state: State, find: Callable[..., None], *, had_credit: bool
    ) -> None:
        """Require that an account holds no less than nothing, and no more than its balance.

        One that had credit may hold more: that is checked where it is held.
        """
        if state.held < 0 or (state.held > max(state.balance, 0) and not had_credit):
            money = partial(money_text, currency=state.currency)
            message = f"account {name!r} holds {money(state.held)} of {money(state.balance)}"
            find(Kind.OVER_HELD, message=message)


def _shown(state: State | None) -> str:
    if state is None:
        return "nothing"
    balance, sequence, currency, held, status, limit = state
    of_it = f", {money_text(held, currency)} of it held," if held else ""
    if status != "open" or limit:
        of_it += f" ({status}, credit limit {money_text(limit, currency)})"
    return f"{money_text(balance, currency)}{of_it} at number {sequence}"
