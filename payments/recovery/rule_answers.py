"""Rule answers: which unanswered commands for accounts the ledger shows as carried out.

An entry without a result is in flight, or retention has deleted its result. In both cases its
command must not be carried out again: an old ``unfreeze`` would open a frozen account. An entry
has its account, its kind and the credit limit; its time is that of the command's record, or of the
forwarded one.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from exactstage import Record
from payments.domain.account_commands import AccountCommand, Limit, Open
from payments.domain.account_table import AccountAnswer, decide_account

from .account_questions import AccountAnswered
from .balances import RuleEntry
from .gathering import CLOCKS_DIFFER_MS
from .unanswered import Place


class UnansweredRule(NamedTuple):
    """An unanswered command for an account."""

    id: str
    """The id in its answer."""

    own: str
    """Its name in ``Unanswered``."""

    place: Place
    command: AccountCommand


class RuleMatch(NamedTuple):
    """A command that an entry shows as carried out."""

    entry: RuleEntry
    command: UnansweredRule
    is_old: bool
    """Whether it was answered, and retention has deleted the result."""


class RuleAnswer(NamedTuple):
    """What the rebuild answers a command for an account."""

    name: str
    place: Place
    answer: AccountAnswer
    time_ms: int


def unshown(
    entries: Sequence[RuleEntry], changes: Mapping[str, Sequence[AccountAnswered]]
) -> Iterator[RuleEntry]:
    """Yield the entries that no result shows."""
    shown: dict[str, set[int | None]] = {}
    for entry in entries:
        name = entry.name
        if name not in shown:
            shown[name] = {result.sequence for result in changes.get(name, ())}
        if entry.account.sequence not in shown[name]:
            yield entry


Entries = Sequence[tuple[RuleEntry, bool]]
"""The entries of an account that no result shows; of each, if retention has deleted its result."""

LastAnswered = Callable[[int], int]
"""Returns the offset of the account's last answered command in a partition; -1 if there is none."""


def match_times(
    entries: Entries, commands: Sequence[UnansweredRule], last_answered: LastAnswered
) -> Iterator[RuleMatch]:
    """Match the entries of an account with its unanswered commands by their times."""
    left = list(commands)
    for entry, is_old in entries:
        fitting = [
            each
            for each in left
            if _fits(entry, each.command)
            and each.place.time_ms <= entry.time_ms + CLOCKS_DIFFER_MS
            and (is_old or _is_later(each, last_answered))
        ]
        # One that was forwarded has another time than its entry.
        exact = [each for each in fitting if each.place.time_ms == entry.time_ms]
        for found in (*exact, *fitting)[:1]:
            left = _after(left, found)
            yield RuleMatch(entry, found, is_old)


def match_copied(
    entries: Entries, commands: Sequence[UnansweredRule], last_answered: LastAnswered
) -> Iterator[RuleMatch]:
    """Match them in a copy, where commands have no times, by the order of the commands."""
    left = [each for each in commands if _is_later(each, last_answered)]
    old = [entry for entry, is_old in entries if is_old]
    if old and len(left) == len(commands):
        # None is answered by a result that is left. If the command of the last old entry is
        # deleted, those before it are too; a repetition of it that is taken for it changes nothing.
        for found in [each for each in left if _fits(old[-1], each.command)][-1:]:
            left = _after(left, found)
            yield RuleMatch(old[-1], found, is_old=True)
    for entry, is_old in entries:
        fitting = [each for each in left if not is_old and _fits(entry, each.command)]
        for found in fitting[:1]:
            left = _after(left, found)
            yield RuleMatch(entry, found, is_old=False)


def without_entry(
    matches: Sequence[RuleMatch], commands: Sequence[UnansweredRule]
) -> Iterator[tuple[UnansweredRule, RuleMatch]]:
    """Yield an account's commands without an entry that precede one with an entry, with that one.

    Those of one partition are carried out in their order, so they changed nothing.
    """
    matched = {match.command.place[:2] for match in matches}
    for each in commands:
        partition, offset, _ = each.place
        later = [
            match
            for match in matches
            if match.command.place.partition == partition and match.command.place.offset > offset
        ]
        if later and (partition, offset) not in matched:
            yield each, min(later, key=lambda match: match.command.place.offset)


def answer_unchanging(command: UnansweredRule, entry: RuleEntry) -> AccountAnswer | None:
    """Return the answer of a command that changed nothing before an entry of its account.

    None where it would have changed the account as it was right before the entry, and as it was
    after the rule entry before: movements between the two decided it.
    """
    for account in (entry.before, entry.since):
        if account is None and entry.before is not None:
            continue
        decision = decide_account(entry.name, account, command.command, own=command.id)
        if decision.entry is None:
            return decision.answer
    return None


def in_order_of_commands(
    changes: Sequence[RuleAnswer], others: Sequence[RuleAnswer]
) -> Iterator[RuleAnswer]:
    """Yield answers of one partition: changes as the ledger has them, the others between them.

    Each of the others stands before the changes that follow its command in the command's partition.
    """
    waiting: dict[int, deque[RuleAnswer]] = {}
    for each in sorted(others, key=lambda answer: answer.place.offset):
        waiting.setdefault(each.place.partition, deque()).append(each)
    for change in changes:
        before = waiting.get(change.place.partition, deque())
        while before and before[0].place.offset < change.place.offset:
            yield before.popleft()
        yield change
    assert not any(waiting.values()), "each precedes a change of its account"


def _after(commands: Sequence[UnansweredRule], found: UnansweredRule) -> list[UnansweredRule]:
    """Return what may be carried out after a command; of other partitions that is not known."""
    partition, offset, _ = found.place
    return [e for e in commands if e.place.partition != partition or e.place.offset > offset]


def _is_later(command: UnansweredRule, last_answered: LastAnswered) -> bool:
    return command.place.offset > last_answered(command.place.partition)


def _fits(entry: RuleEntry, command: AccountCommand) -> bool:
    if command.type != entry.kind:
        return False
    if isinstance(command, Open) and command.currency != entry.account.currency:
        return False
    if isinstance(command, (Open, Limit)):
        return command.credit_limit == entry.account.credit_limit
    return True


def in_order_of_time(records: Sequence[Record]) -> list[Record]:
    """Return records of several partitions by their time; those of one keep their order."""
    latest: dict[int, int] = {}
    timed: list[tuple[int, Record]] = []
    for record in records:
        time_ms = max(record.timestamp, latest.get(record.partition, 0))
        latest[record.partition] = time_ms
        timed.append((time_ms, record))
    return [record for _, record in sorted(timed, key=lambda each: each[0])]
