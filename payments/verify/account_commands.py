"""Commands for accounts: each has one result, and what results show is in the ledger."""

from collections.abc import Mapping
from typing import NamedTuple

from payments.records.record_models import AccountResult, LedgerEntry

from .facts import BUCKETS, Facts, code_of, pack, place_of
from .findings import Findings, Kind, Place
from .rules import RULE_KINDS, ShownAccount, shown_by_entry
from .topics import Topics

IN_FLIGHT, RESULT_EXPIRED = 1, 2
"""What is known of a command when it is read: bits that may be combined."""


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


class AccountCommands:
    """Matches the commands for accounts with their results."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._commands, self._results = Facts(3), Facts(3)
        self.in_flight = 0

    def command(self, account: int, own: int, at: tuple[int, int], asked: int) -> None:
        """Note a command; ``asked`` are the flags of this module."""
        self._commands.add(account, own, pack(asked, *at))

    def result(self, account: int, own: int, at: tuple[int, int]) -> None:
        """Note a result."""
        self._results.add(account, own, pack(0, *at))

    def judge(self, topics: Topics, *, lacks_commands: bool) -> None:
        """Require that each command has one result."""
        for bucket in range(BUCKETS):
            asked, answered = _by_id(self._commands, bucket), _by_id(self._results, bucket)
            for key, words in asked.items():
                left = len(words) - len(answered.get(key, ()))
                if left > 0:
                    self._unmatched(topics.account_commands, words, left)
            for key, words in answered.items():
                extra = len(words) - len(asked.get(key, ()))
                if extra > 0:
                    self._surplus(topics.account_results, words[-extra:], lacks_commands)

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
            reason = "results whose commands may have been deleted by retention"
            self._findings.unchecked[reason] += len(words)
            return
        for word in words:
            message = "a second result for its command, or one of no command"
            self._findings.add(Kind.SURPLUS_RESULT, Place(topic, *place_of(word)), message)


def _by_id(facts: Facts, bucket: int) -> Mapping[tuple[int, int], list[int]]:
    """Return the words of a bucket by account and the command's id."""
    found: dict[tuple[int, int], list[int]] = {}
    for account, own, word in facts.take(bucket):
        found.setdefault((account, own), []).append(word)
    return found
