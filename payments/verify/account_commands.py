"""Commands for accounts: each has one result that fits it, which shows what the ledger has."""

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import NamedTuple

from payments.domain.account_commands import AccountCommand, Limit, Open
from payments.domain.results import Outcome, Reason
from payments.records.record_models import AccountResult, LedgerEntry

from .facts import BUCKETS, Facts, code_of, digest, pack, place_of, signed, word_of
from .findings import Findings, Kind, Place
from .numbering import COPIED
from .rules import RULE_KINDS, ShownAccount, shown_by_entry
from .topics import Topics

IN_FLIGHT, RESULT_EXPIRED = 1, 2
"""What is known of a command when it is read: bits that may be combined."""

_TYPES = (None, "open", "freeze", "unfreeze", "limit", "close", "get")
_COPIED = digest(COPIED)
_NO_CURRENCY = 0


class Asked(NamedTuple):
    """What a command asks for: words for ``Facts``."""

    type: int
    """Its place in ``_TYPES``."""

    limit: int = 0
    """The credit limit of an open or a limit, in minor units."""

    currency: int = _NO_CURRENCY
    """The hash of the currency that an open names."""

    can_be_read: int = 1
    """Whether a worker can carry it out; if not it is rejected."""

    @classmethod
    def by(cls, command: AccountCommand) -> "Asked":
        """Return it for a command that was parsed without a default currency."""
        limit = command.credit_limit if isinstance(command, (Open, Limit)) else 0
        currency = command.currency if isinstance(command, Open) else ""
        return cls(_TYPES.index(command.type), limit, digest(currency) if currency else 0)

    @classmethod
    def malformed(cls, type_: str | None) -> "Asked":
        """Return it for a command that can't be read, of which the type may be known."""
        return cls(_TYPES.index(type_), can_be_read=0)


class Says(IntEnum):
    """What a result says of its command."""

    NOT_KNOWN = 0
    """A later version has written it."""

    REJECTED = 1
    CARRIED_OUT = 2
    HAS_ITS_LIMIT = 3
    """The account has the currency and the credit limit that were asked for."""

    OTHER_LIMIT = 4
    """The account has the currency that was asked for, and another credit limit."""

    OTHER_CURRENCY = 5


class Answered(NamedTuple):
    """What a result says that its command was: words for ``Facts``."""

    type: int
    limit: int
    """The credit limit that it shows."""

    currency: int
    """The hash of the currency that it shows."""

    says: int

    @classmethod
    def by(cls, result: AccountResult) -> "Answered":
        """Return it for a result."""
        type_, says = result.type, _SAYS_BY_REASON.get(result.reason, Says.REJECTED)
        if result.outcome is not Outcome.REJECTED:
            says = Says.HAS_ITS_LIMIT if type_ in {"open", "limit"} else Says.CARRIED_OUT
        limit, currency = result.credit_limit or 0, result.currency
        return cls(_TYPES.index(type_), word_of(limit), digest(currency) if currency else 0, says)

    def fits(self, asked: Asked) -> bool:
        """Whether it can be the answer to a command."""
        if self.says == Says.NOT_KNOWN:
            return True
        if not asked.can_be_read:
            # Of one that was too large to be forwarded only the key was.
            return self.says == Says.REJECTED and self.type in {0, asked.type}
        return self.type == asked.type and self._has_its_values(asked)

    def _has_its_values(self, asked: Asked) -> bool:
        has_limit = self.limit == asked.limit
        has_currency = asked.currency in {_NO_CURRENCY, self.currency}
        if self.says == Says.HAS_ITS_LIMIT:
            return has_limit and has_currency
        if self.says == Says.OTHER_LIMIT:
            return has_currency and not has_limit
        return self.says != Says.OTHER_CURRENCY or self.currency != asked.currency

    def differs(self, asked: Asked) -> str:
        """Return in words how it differs from a command."""
        now, before = (_TYPES[each.type] or "unknown" for each in (self, asked))
        if now != before:
            return f"it answers a command of type {now}, its command has type {before}"
        if not asked.can_be_read:
            return f"its command, of type {before}, can't be read, and it does not reject it"
        if asked.currency not in {_NO_CURRENCY, self.currency} or self.says == Says.OTHER_CURRENCY:
            is_other = self.says == Says.OTHER_CURRENCY
            which = "the currency that" if is_other else "another currency than"
            return f"the account has {which} its command asks for"
        has = f"the account has a credit limit of {signed(self.limit)} minor units"
        rejects = ", and it is rejected for another one" if self.says == Says.OTHER_LIMIT else ""
        return f"{has}, its command asks for {asked.limit}{rejects}"


_SAYS_BY_REASON: Mapping[object, Says] = {
    Reason.DIFFERENT_LIMIT: Says.OTHER_LIMIT,
    Reason.WRONG_CURRENCY: Says.OTHER_CURRENCY,
}
NOT_KNOWN = Answered(0, 0, 0, Says.NOT_KNOWN)
"""Of a result of a later version."""


class _Seen(NamedTuple):
    """What results show of an account at one number of its entries."""

    place: Place
    shown: ShownAccount
    kind: str | None
    """The kind of the entry, where one of the results says that it has made it."""

    command: str
    """The command that this result answers."""

    by_snapshot: bool


class ResultsOfAccounts:
    """What the results in one partition show, compared with the entries as they are read."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._seen: dict[tuple[str, int], _Seen] = {}

    @property
    def are_shown(self) -> bool:
        """Whether a result shows an account at an entry that was not read yet."""
        return bool(self._seen)

    def result(
        self, result: AccountResult, place: Place, shown: ShownAccount, *, by_snapshot: bool
    ) -> None:
        """Note what a result shows; all results are read before the entries."""
        assert result.sequence is not None, "what shows an account has its number"
        changed = result.outcome.value == "completed" and not result.replayed
        key, kind = (result.account, result.sequence), result.type if changed else None
        seen = _Seen(place, shown, kind, result.command, by_snapshot)
        before = self._seen.setdefault(key, seen)
        name = f"account {result.account!r}: number {result.sequence}"
        if before.shown != shown:
            message = f"{name}: another result shows another account"
            self._findings.add(Kind.CONTRADICTING_RESULT, place, message)
        elif kind is not None and before.kind is None:
            self._seen[key] = seen
        elif kind is not None and before.command != result.command:
            message = f"{name}: another result says that it has made this entry"
            self._findings.add(Kind.CONTRADICTING_RESULT, place, message)

    def entry(
        self, entry: LedgerEntry, place: Place, *, by_snapshot: bool, result_expired: bool
    ) -> None:
        """Compare an entry with the results that show its account after it."""
        seen = self._seen.pop((entry.account, entry.sequence), None)
        is_rule = entry.kind in RULE_KINDS
        name = f"account {entry.account!r}: number {entry.sequence}"
        if seen is not None and seen.shown != shown_by_entry(entry):
            message = f"{name}: a result shows another account than the entry"
            self._findings.add(Kind.CONTRADICTING_RESULT, seen.place, message)
        kind = None if seen is None else seen.kind
        if kind is not None and kind != entry.kind:
            message = f"{name}: a result says that it is a {kind}, the entry is a {entry.kind}"
            self._findings.add(Kind.WRONG_ENTRY, place, message)
        elif is_rule and kind is None and by_snapshot:
            if result_expired:
                self._findings.unchecked[
                    "changes of accounts whose results may have been deleted by retention"
                ] += 1
            else:
                message = f"{name}: a {entry.kind} that no result says"
                self._findings.add(Kind.UNEXPECTED_ENTRY, place, message)

    def judge(self, *, lacks_entries: bool) -> None:
        """Report what results show and no entry has."""
        for (account, sequence), seen in self._seen.items():
            if not seen.by_snapshot:
                continue  # Its entry may have come after the end that was read.
            if lacks_entries:
                reason = "results of accounts whose entries were deleted"
                self._findings.unchecked[reason] += 1
                continue
            message = f"account {account!r}: there is no entry of number {sequence}"
            self._findings.add(Kind.MISSING_ENTRY, seen.place, message)


_DELETED = "results whose commands may have been deleted by retention"


class AccountCommands:
    """Matches the commands for accounts with their results."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._commands = Facts(3 + len(Asked._fields))
        self._results = Facts(3 + len(Answered._fields))
        self.in_flight = 0

    def command(
        self, account: int, own: int, at: tuple[int, int], asked: Asked, flags: int
    ) -> None:
        """Note a command; ``flags`` are those of this module."""
        self._commands.add(account, own, pack(flags, *at), *asked)

    def result(self, account: int, own: int, at: tuple[int, int], says: Answered) -> None:
        """Note a result."""
        self._results.add(account, own, pack(0, *at), *says)

    def judge(self, topics: Topics, *, lacks_commands: bool) -> None:
        """Require that each command has one result, and each result what its command asks for."""
        for bucket in range(BUCKETS):
            asked, answered = _by_id(self._commands, bucket), _by_id(self._results, bucket)
            for key, commands in asked.items():
                left = len(commands) - len(answered.get(key, ()))
                if left > 0:
                    words = [word for word, *_ in commands]
                    self._unmatched(topics.account_commands, words, left)
            for key, results in answered.items():
                commands = asked.get(key, [])
                extra = len(results) - len(commands)
                if extra > 0:
                    words = [word for word, *_ in results[-extra:]]
                    self._surplus(topics.account_results, words, lacks_commands)
                elif key[1] != _COPIED:
                    wanted = [Asked(*each) for _, *each in commands]
                    self._compare(topics.account_results, wanted, results, lacks_commands)

    def _compare(
        self,
        topic: str,
        asked: Sequence[Asked],
        results: Sequence[Sequence[int]],
        lacks_commands: bool,  # noqa: FBT001
    ) -> None:
        """Compare the results of an id with its commands, which may be several and in any order."""
        for word, *words in results:
            says = Answered(*words)
            if any(says.fits(each) for each in asked):
                continue
            if lacks_commands:
                self._findings.unchecked[_DELETED] += 1
                continue
            place = Place(topic, *place_of(word))
            self._findings.add(Kind.CONTRADICTING_RESULT, place, says.differs(asked[-1]))

    def _unmatched(self, topic: str, words: list[int], left: int) -> None:
        codes = [code_of(word) for word in words]
        excused = min(left, sum(bool(code & IN_FLIGHT) for code in codes))
        self.in_flight += excused
        lacking = left - excused
        if not lacking:
            return
        if any(code & RESULT_EXPIRED for code in codes):
            reason = "commands whose results may have been deleted by retention"
            self._findings.unchecked[reason] += lacking
            return
        handled = [w for w, code in zip(words, codes, strict=True) if not code & IN_FLIGHT]
        for word in handled[-lacking:]:
            message = "the command was handled, but has no result"
            self._findings.add(Kind.MISSING_RESULT, Place(topic, *place_of(word)), message)

    def _surplus(self, topic: str, words: list[int], lacks_commands: bool) -> None:  # noqa: FBT001
        if lacks_commands:
            self._findings.unchecked[_DELETED] += len(words)
            return
        for word in words:
            message = "a second result for its command, or one of no command"
            self._findings.add(Kind.SURPLUS_RESULT, Place(topic, *place_of(word)), message)


def _by_id(facts: Facts, bucket: int) -> Mapping[tuple[int, int], list[Sequence[int]]]:
    """Return the other words of a bucket by account and the command's id."""
    found: dict[tuple[int, int], list[Sequence[int]]] = {}
    for account, own, *words in facts.take(bucket):
        found.setdefault((account, own), []).append(words)
    return found
