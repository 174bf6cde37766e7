"""What an audit finds: violations with their places, and what could not be checked."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from payments.records.record_address import RecordAddress

MAX_KEPT = 10_000
"""Violations that are kept with their places; more are only counted."""


UNPUBLISHED = 2**44 - 2**24
"""From here on an offset is the number of a record that is journalled, but not in its topic yet."""


class Kind(StrEnum):
    """The guarantee that is violated; the values are stable."""

    MISSING_RESULT = "missing_result"  # A command was handled, and has no result.
    SURPLUS_RESULT = "surplus_result"  # More results than commands, or a result of no command.
    CONTRADICTING_RESULT = "contradicting_result"  # A payment's results cannot all be true.
    MISSING_DEAD_LETTER = "missing_dead_letter"  # A malformed command was not dead-lettered.
    SURPLUS_DEAD_LETTER = "surplus_dead_letter"  # Dead-lettered twice, or well-formed.
    MONEY_TWICE = "money_twice"  # A payment moved its money, or moved it back, twice.
    MISSING_ENTRY = "missing_entry"  # The results say that money moved, the ledger does not.
    UNEXPECTED_ENTRY = "unexpected_entry"  # The ledger has a movement that is in no result.
    WRONG_ENTRY = "wrong_entry"  # An entry differs from the payment's request.
    SEQUENCE_GAP = "sequence_gap"  # A number is missing between an account's entries.
    SEQUENCE_REPEATED = "sequence_repeated"  # An account's numbers go back.
    WRONG_BALANCE = "wrong_balance"  # A balance does not follow from the amounts.
    NEGATIVE_BALANCE = "negative_balance"  # An account is below zero, or below its credit limit.
    WRONG_RULES = "wrong_rules"  # An account's status or credit limit does not follow.
    AGAINST_RULES = "against_rules"  # An entry that a frozen or closed account must decline.
    WRONG_HELD = "wrong_held"  # An account holds other money than the changes and payments say.
    OVER_HELD = "over_held"  # An account holds less than nothing, or more than its balance.
    WRONG_AMOUNTS = "wrong_amounts"  # The amounts of a payment's results can't all be true.
    WRONG_LAPSE = "wrong_lapse"  # A hold lapsed too early or without one notice, or too late.
    NOT_ZERO = "not_zero"  # Accounts and counter-accounts do not add up to zero.
    ROW_DIFFERS = "row_differs"  # A table's row is not the one that the public records imply.
    JOURNAL_BROKEN = "journal_broken"  # A journal lacks a checkpoint that a restart would need.
    LATER_VERSION = "later_version"  # A record has what only a later version knows.
    MALFORMED_RECORD = "malformed_record"  # A record that only a stage writes cannot be read.
    COPY_DIFFERS = "copy_differs"  # A local copy of a journal is not what its journal has.


class Place(NamedTuple):
    """Address of a record; ``offset`` may be ``UNPUBLISHED`` or more."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        """Return ``topic/partition/offset``, as ``RecordAddress`` does."""
        if self.offset >= UNPUBLISHED:
            return f"{self.topic}/{self.partition}/unpublished"
        return str(RecordAddress(*self))


class Violation(NamedTuple):
    """One guarantee that does not hold, and the record that shows it."""

    kind: Kind
    place: Place
    message: str

    def __str__(self) -> str:
        """Return one line."""
        return f"{self.kind} {self.place}: {self.message}"

    def as_json(self) -> dict[str, object]:
        """Return the object of the ``--json`` report."""
        place = self.place._asdict()
        if self.place.offset >= UNPUBLISHED:
            place["offset"] = None
        return {"kind": self.kind.value, **place, "message": self.message}


@dataclass(slots=True)
class Findings:
    """Collects violations as they are found, and counts what cannot be checked by its reason."""

    kept: list[Violation] = field(default_factory=list)
    by_kind: Counter[Kind] = field(default_factory=Counter)
    unchecked: Counter[str] = field(default_factory=Counter)

    def add(self, kind: Kind, place: Place, message: str) -> None:
        """Note a violation."""
        self.by_kind[kind] += 1
        if len(self.kept) < MAX_KEPT:
            self.kept.append(Violation(kind, place, message))

    def take(self, others: "Findings") -> None:
        """Note what others have found."""
        self.kept += others.kept[: max(0, MAX_KEPT - len(self.kept))]
        self.by_kind.update(others.by_kind)
        self.unchecked.update(others.unchecked)


class CopyState(StrEnum):
    """What became of one copy; the values are stable."""

    SAME = "same"  # It is its journal as of its position.
    DIFFERS = "differs"  # It is not; each difference is a violation.
    EMPTY = "empty"  # It has nothing yet.
    NOT_USED = "not_used"  # The next worker throws it away.
    UNKNOWN = "unknown"  # It is no copy of one of the journals.


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What was found out about one directory of a state directory."""

    name: str
    state: CopyState
    why: str | None = None
    """Why it is not used."""

    commit: int | None = None
    offset: int | None = None
    """Up to which commit and offset it has its journal."""

    rows: int | None = None

    def __str__(self) -> str:
        """Return one line."""
        if self.why is not None:
            return f"local copy {self.name}: not compared: {self.why}"
        if self.commit is None:
            return f"local copy {self.name}: empty (nothing in its files yet: nothing was compared)"
        as_of = f"{self.rows:,} rows as of commit {self.commit} (offset {self.offset})"
        verb = "are" if self.state is CopyState.SAME else "are NOT"
        return f"local copy {self.name}: {as_of} {verb} those of the journal"

    def as_json(self) -> dict[str, object]:
        """Return the object of the ``--json`` report."""
        return {
            "name": self.name,
            "state": self.state.value,
            "why": self.why,
            "commit": self.commit,
            "offset": self.offset,
            "rows": self.rows,
        }


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of an audit."""

    violations: Sequence[Violation]
    by_kind: Mapping[Kind, int]
    """All violations counted, also those beyond ``MAX_KEPT``."""

    unchecked: Mapping[str, int]
    """Counts of what could not be checked, by kind and cause."""

    in_flight: int
    """Commands without a result for a known cause: not yet read, forwarded, or waiting."""

    pending: int
    """Payments whose transfer is in flight."""

    counts: Mapping[str, int]
    dead_letters: Mapping[str, int]
    """Dead letters by reason."""

    copies: Sequence[CopyReport] | None = None
    """What was found out about the local copies; None where none were looked at."""

    copies_missing: int = 0
    """Journals that the state directory has no folder of: other workers may own them."""

    @property
    def copies_counted(self) -> str | None:
        """How many copies there are of each state, as one line; None where none were looked at."""
        if self.copies is None:
            return None
        states = Counter(copy.state for copy in self.copies)
        differ, others = states[CopyState.DIFFERS], states[CopyState.UNKNOWN]
        return (
            f"local copies: {states[CopyState.SAME] + differ} compared"
            f"{f' ({differ} NOT as the journal)' if differ else ''}, "
            f"{states[CopyState.NOT_USED]} not used, {states[CopyState.EMPTY]} empty, "
            f"{self.copies_missing} missing{f'; other folders: {others}' if others else ''}"
        )

    @property
    def ok(self) -> bool:
        """Whether nothing is violated."""
        return not self.by_kind

    def as_json(self) -> dict[str, object]:
        """Return the object of ``--json``."""
        return {
            "ok": self.ok,
            "violations": [violation.as_json() for violation in self.violations],
            "violations_by_kind": {kind.value: n for kind, n in self.by_kind.items()},
            "in_flight": self.in_flight,
            "pending_payments": self.pending,
            "unchecked": dict(self.unchecked),
            "counts": dict(self.counts),
            "dead_letters": dict(self.dead_letters),
            **self._copies_as_json(),
        }

    def _copies_as_json(self) -> dict[str, object]:
        if self.copies is None:
            return {}
        copies = [copy.as_json() for copy in self.copies]
        return {"copies": copies, "copies_missing": self.copies_missing}
