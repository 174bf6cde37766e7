"""Balances: folds the ledger into the rows of the accounts and the movements of each payment."""

from collections import Counter
from collections.abc import Container, Sequence
from typing import NamedTuple, get_args

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from exactstage import Record
from exactstage.inspection import OUTPUT_ID_HEADER, iso_time
from payments.domain.account import Account, CounterAccount, Kind, RuleKind, Status
from payments.records.internal_codec import encode_account, encode_counter
from payments.records.later_versions import LaterVersion, decode_again
from payments.records.record_address import RecordAddress
from payments.records.record_models import LedgerEntry
from payments.records.record_parts import part_of

from .errors import RecoveryRefused, later_version
from .lives import epoch_ms


@part_of(LedgerEntry)
class _Entry(Struct, gc=False, forbid_unknown_fields=True):
    account: str
    sequence: int
    payment: str | None
    kind: Kind
    amount: int
    balance: int
    currency: str
    counter_account: str
    time: str
    exponent: int | None = None
    held_change: int = 0
    held: int = 0
    available: int = 0
    part: str | None = None
    metadata: dict[str, str] | None = None
    status: Status = Status.OPEN
    credit_limit: int = 0


_decode = Decoder(_Entry).decode


class Movement(NamedTuple):
    """A movement of a payment's money on its account; negative where money was taken."""

    kind: Kind
    account: str
    amount: int
    currency: str
    time_ms: int
    held: int = 0
    """What it added to what the account holds."""

    part: str | None = None
    metadata: dict[str, str] | None = None


class RuleEntry(NamedTuple):
    """The entry of a command for an account, which moves nothing."""

    name: str
    """The account's."""

    kind: RuleKind
    time_ms: int
    account: Account
    """The account after it."""

    before: Account | None = None
    """The account before it; None where there was none."""

    since: Account | None = None
    """The account after the rule entry before it; None where there is no such entry."""


_RULE_KINDS = frozenset(get_args(RuleKind))


class Balances:
    """The accounts of one partition according to the ledger."""

    def __init__(
        self,
        partition: int,
        movements: dict[str, list[Movement]],
        since_ms: int,
        only: frozenset[str] | None = None,
        rules_of: Container[str] | None = (),
    ) -> None:
        """Note the movements since ``since_ms``; with ``only`` those of these payments.

        ``rules_of`` are the accounts whose rule entries are noted; None: all.
        """
        self.partition = partition
        self.accounts: dict[str, Account] = {}
        self.counters: dict[str, Counter[str]] = {}
        self.held_counters: dict[str, Counter[str]] = {}
        self.entries = 0
        self.repeats = 0
        self.foreign = 0
        """Records that no stage wrote for this partition; they are skipped."""
        self.rules: list[RuleEntry] = []
        self._movements, self._only, self._rules_of = movements, only, rules_of
        self._ruled: dict[str, Account] = {}
        """By account: the row after the last of its ``rules``."""
        self._since = iso_time(max(0, since_ms)).decode()
        self._mark = b"accounts/%d/" % partition

    def read(self, records: Sequence[Record]) -> None:
        """Take the next entries. Raises ``RecoveryRefused`` at one that does not follow.

        There may be tens of millions: the loop makes as few calls as possible.
        """
        accounts, counters, since = self.accounts, self.counters, self._since
        for record in records:
            if not self._is_of_the_stage(record):
                self.foreign += 1
                continue
            try:
                entry = _decode(record.value or b"")
            except (DecodeError, UnicodeDecodeError, RecursionError):
                entry = _decode_again(record)
            name, sequence, balance = entry.account, entry.sequence, entry.balance
            before = accounts.get(name)
            number, was = (0, 0) if before is None else (before.sequence, before.balance)
            if sequence != number + 1:
                if sequence <= number:
                    self.repeats += 1  # A copy of a topic may have a record twice.
                    continue
                raise _broken(record, f"number {sequence} of {name!r} after {number}")
            if was + entry.amount != balance:
                raise _broken(record, f"{was} and {entry.amount} do not make {balance}")
            if entry.held_change or entry.held or (before is not None and before.held):
                self._hold(record, entry, 0 if before is None else before.held)
            self.entries += 1
            accounts[name] = Account(
                balance, sequence, entry.currency, entry.held, entry.status, entry.credit_limit
            )
            if entry.amount:
                counter = counters.setdefault(entry.counter_account, Counter())
                counter[entry.currency] -= entry.amount
            # Times in this form sort as text.
            if entry.payment is None or entry.time >= since:
                self._note(entry, before, accounts[name])

    def _hold(self, record: Record, entry: _Entry, was: int) -> None:
        """Take what an entry changes of what the account holds."""
        if was + entry.held_change != entry.held:
            change = f"{was} held and {entry.held_change}"
            raise _broken(record, f"{change} do not make {entry.held}")
        if entry.held_change:
            self.counters.setdefault(entry.counter_account, Counter())
            counter = self.held_counters.setdefault(entry.counter_account, Counter())
            counter[entry.currency] -= entry.held_change

    def counter(self, name: str) -> CounterAccount:
        """Return the row of a counter-account."""
        held = self.held_counters.get(name, Counter())
        return CounterAccount(
            dict(self.counters.get(name, Counter())),
            {currency: amount for currency, amount in held.items() if amount},
        )

    def _is_of_the_stage(self, record: Record) -> bool:
        for name, value in record.headers:
            if name == OUTPUT_ID_HEADER:
                return value is not None and value.startswith(self._mark)
        return False

    def _note(self, entry: _Entry, before: Account | None, after: Account) -> None:
        payment, kind, rules_of = entry.payment, entry.kind, self._rules_of
        if payment is not None:
            if self._only is None or payment in self._only:
                self._note_movement(entry, self._movements.setdefault(payment, []))
        elif kind in _RULE_KINDS and (rules_of is None or entry.account in rules_of):
            name, time_ms = entry.account, epoch_ms(entry.time)
            since = self._ruled.get(name)
            self.rules.append(RuleEntry(name, kind, time_ms, after, before, since))  # type: ignore[arg-type]
            self._ruled[name] = after

    def _note_movement(self, entry: _Entry, earlier: list[Movement]) -> None:
        """Add a movement to those of its payment.

        The ledger has their order: the clock of one broker may be behind that of another.
        """
        on_account = (each.time_ms for each in reversed(earlier) if each.account == entry.account)
        movement = Movement(
            entry.kind,
            entry.account,
            entry.amount,
            entry.currency,
            max(epoch_ms(entry.time), next(on_account, 0)),
            entry.held_change,
            entry.part,
            entry.metadata,
        )
        earlier.append(movement)

    def rows(self) -> dict[bytes, bytes]:
        """Return the rows of the accounts stage."""
        rows = {name.encode(): encode_account(account) for name, account in self.accounts.items()}
        for name in self.counters:
            rows[name.encode()] = encode_counter(self.counter(name))
        return rows


def note_holds(records: Sequence[Record], accounts: frozenset[str], held: Counter[str]) -> None:
    """Add what entries of these accounts hold, by payment; of those that hold nothing nothing."""
    for record in records:
        try:
            entry = _decode(record.value or b"")
        except (DecodeError, UnicodeDecodeError, RecursionError):
            continue  # It was refused or skipped when the balances were read.
        if entry.held_change and entry.payment is not None and entry.account in accounts:
            held[entry.payment] += entry.held_change
            if not held[entry.payment]:
                del held[entry.payment]


def _decode_again(record: Record) -> _Entry:
    """Return an entry that has null fields of a later version. Raises ``RecoveryRefused``."""
    try:
        return decode_again(record.value or b"", _Entry, LedgerEntry)
    except LaterVersion as later:
        raise later_version(record, later) from later
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _broken(record, f"it can't be read ({error})") from error


def _broken(record: Record, why: str) -> RecoveryRefused:
    message = (
        f"the ledger contradicts itself at {RecordAddress(*record[:3])}: {why}; "
        f"payments verify shows all of it. Restore the ledger from a replica or a backup"
    )
    return RecoveryRefused(message)
