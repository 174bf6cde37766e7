"""Public records: what the stages have published, each with the output id in its header."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from msgspec import DecodeError
from pydantic import TypeAdapter, ValidationError

from exactstage import Record, TopicPartition
from exactstage.inspection import OUTPUT_ID_HEADER, Output, OutputId, parse_source
from payments.records.later_versions import LaterVersion, has_known_values, require_known
from payments.records.record_models import AccountResult, LedgerEntry, Result

from .account_commands import NOT_KNOWN, AccountCommands, Answered
from .accounts import AccountsPartition
from .facts import digest
from .findings import UNPUBLISHED, Findings, Kind, Place
from .implied import Implied, implied_by, terms, terms_of
from .journals import Snapshot
from .judgement import LATER, NOTICE, RESULT_EXPIRED
from .letters import Letters
from .lifecycle import (
    DIRECTIONS,
    EntryDirection,
    HeldByEntry,
    epoch_ms,
    fault_of,
    part_of,
    place_of_money,
    shown_by,
)
from .numbering import Numbering
from .payments import Payments
from .retention import Retention
from .rules import RULE_KINDS, fault_of_result, shown_by_result
from .topics import Topics

# The validators themselves: the models' methods only wrap them.
_validate_result = TypeAdapter(Result).validator.validate_json
_validate_entry = TypeAdapter(LedgerEntry).validator.validate_json
_validate_account_result = TypeAdapter(AccountResult).validator.validate_json

_Read = TypeVar("_Read", Result, LedgerEntry, AccountResult)


class Public:
    """Gives each public record to its checker, and keeps the last output id of each partition."""

    def __init__(
        self,
        topics: Topics,
        *,
        payments: Payments,
        accounts: Sequence[AccountsPartition],
        account_commands: AccountCommands,
        letters: Mapping[str, Letters],
        retention: Retention,
        findings: Findings,
        numbering: Mapping[str, Numbering],
    ) -> None:
        """Take ``letters`` by their topic, and ``numbering`` by that of the results."""
        self._topics = topics
        self._payments, self._accounts, self._letters = payments, accounts, letters
        self._account_commands = account_commands
        self._retention, self._findings = retention, findings
        self._numbering = numbering
        self._last: dict[TopicPartition, OutputId] = {}
        self.was_there: dict[TopicPartition, int] = {}
        """End of each public partition before the journals were read."""

        self._ahead: set[TopicPartition] = set()
        """Partitions that are known to be ahead of their journal."""

        self._later: set[TopicPartition] = set()
        """Partitions with a record that only a later version understands."""

        self.counts: Counter[str] = Counter()

    def read(self, record: Record, snapshot: Snapshot) -> None:
        """Take a record of a public topic; ``snapshot`` is that of its journal."""
        self.counts[record.topic] += 1
        try:
            found = next(value for name, value in record.headers if name == OUTPUT_ID_HEADER)
            position = parse_source(found or b"").output_id
        except (StopIteration, ValueError):
            message = f"no stage wrote it: it has no header {OUTPUT_ID_HEADER} with a position"
            self._findings.add(Kind.MALFORMED_RECORD, Place(*record[:3]), message)
            return
        at = TopicPartition(record.topic, record.partition)
        self._last[at] = max(position, self._last.get(at, position))
        if position[0] > snapshot.n and record.offset < self.was_there.get(at, 0):
            self._report_ahead(record, at, position[0], snapshot.n)
        self._take(record, position[0], by_snapshot=position[0] <= snapshot.n)

    def _report_ahead(self, record: Record, at: TopicPartition, commit: int, last: int) -> None:
        """Report, once for each partition, that its journal lacks commits that were published."""
        if at not in self._ahead:
            self._ahead.add(at)
            message = (
                f"it is of commit {commit}, its journal ends at {last}: records of it were "
                f"lost, or PAYMENTS_APP_ID is another one's; see: payments journal inspect"
            )
            self._findings.add(Kind.JOURNAL_BROKEN, Place(*record[:3]), message)

    def take_unpublished(self, snapshots: Mapping[str, Sequence[Snapshot]]) -> None:
        """Take outputs that are journalled and not yet published: a takeover would publish them."""
        for topic in self._topics.public:
            for partition, snapshot in enumerate(snapshots[topic]):
                last = self._last.get(TopicPartition(topic, partition), (0, -1))
                for number, (position, output) in enumerate(snapshot.unpublished):
                    if output.topic == topic and position > last:
                        self._take(as_record(output, number), position[0], by_snapshot=True)

    def _take(self, record: Record, commit: int, *, by_snapshot: bool) -> None:
        try:
            if record.topic == self._topics.results:
                self._take_result(record, commit, by_snapshot=by_snapshot)
            elif record.topic == self._topics.ledger:
                self._take_entry(record, by_snapshot=by_snapshot)
            elif record.topic == self._topics.account_results:
                self.take_account_result(record, commit, by_snapshot=by_snapshot)
            else:
                self._letters[record.topic].letter(record, commit)
        except ValidationError as error:
            fault = error.errors(include_url=False, include_input=False)[0]
            message = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            self._findings.add(Kind.MALFORMED_RECORD, Place(*record[:3]), message)
        except (DecodeError, UnicodeDecodeError) as error:  # It has NaN, or the like.
            self._findings.add(Kind.MALFORMED_RECORD, Place(*record[:3]), f"not JSON: {error}")

    def _read(self, validate: Callable[..., _Read], record: Record) -> tuple[_Read, bool]:
        """Return a record, and whether this version understands it. Raises ``ValidationError``."""
        value = record.value or b""
        try:
            read = validate(value, extra="forbid")
            if has_known_values(read):
                return read, True
        except ValidationError:
            read = validate(value, extra="ignore")
        try:
            require_known(value, type(read))
        except LaterVersion as later:
            self._report_later(record, later)
            payment = getattr(read, "payment", None)  # A result for an account has none.
            if payment is not None:
                self._payments.skip(digest(payment.encode()))
            return read, False
        return read, True

    def _report_later(self, record: Record, later: LaterVersion) -> None:
        """Report, once for each partition, that a later version has written to it."""
        at = TopicPartition(record.topic, record.partition)
        if at not in self._later:
            self._later.add(at)
            message = (
                f"a later version wrote it, and perhaps more ({later}): audit with the version of "
                f"the workers"
            )
            self._findings.add(Kind.LATER_VERSION, Place(*record[:3]), message)

    def _take_result(self, record: Record, commit: int, *, by_snapshot: bool) -> None:
        result, understood = self._read(_validate_result, record)
        if not understood:
            return
        if result.payment.encode() != record.key:
            message = f"a result of payment {result.payment!r} has another key"
            self._findings.add(Kind.MALFORMED_RECORD, Place(*record[:3]), message)
        what = implied_by(result)
        if what is None:
            message = f"{result.outcome} with state {result.state} and reason {result.reason}"
            self._findings.add(Kind.CONTRADICTING_RESULT, Place(*record[:3]), message)
            what = Implied.NOTHING
        key, at = digest(record.key), (record.partition, record.offset)
        code = what if by_snapshot else what | LATER
        known_as = self._known_as(result.command, record, commit)
        self._payments.result(key, known_as, at, code, terms_of(result))
        if result.captured is not None:
            self._take_amounts(record, result, key, code)

    def _take_amounts(self, record: Record, result: Result, key: int, code: int) -> None:
        fault = fault_of(result)
        if fault is not None:
            self._findings.add(Kind.WRONG_AMOUNTS, Place(*record[:3]), fault)
        try:
            shown = shown_by(result)
        except ValueError as error:
            message = str(error)
            self._findings.add(Kind.MALFORMED_RECORD, Place(*record[:3]), message)
            return
        if shown is not None:
            self._payments.shown(key, (record.partition, record.offset), code, shown)

    def _known_as(self, command: str | None, record: Record, commit: int) -> int:
        if command is None:
            return NOTICE
        numbering = self._numbering[record.topic]
        return digest(numbering.answered(command, record.partition, commit))

    def take_account_result(self, record: Record, commit: int, *, by_snapshot: bool) -> None:
        """Take a result of a command for an account."""
        result, understood = self._read(_validate_account_result, record)
        known_as = self._known_as(result.command, record, commit)
        says = Answered.by(result) if understood else NOT_KNOWN
        self._account_commands.result(digest(record.key), known_as, record[1:3], says)
        if understood and record.offset < UNPUBLISHED:  # Others were expected before.
            self.show_account(record, result, by_snapshot=by_snapshot)

    def show_account(self, record: Record, result: AccountResult, *, by_snapshot: bool) -> None:
        """Note what a result shows of its account."""
        place = Place(*record[:3])
        if result.account.encode() != record.key:
            message = f"a result of account {result.account!r} has another key"
            self._findings.add(Kind.MALFORMED_RECORD, place, message)
        fault = fault_of_result(result)
        if fault is not None:
            self._findings.add(Kind.CONTRADICTING_RESULT, place, fault)
        try:
            shown = shown_by_result(result)
        except ValueError as error:
            self._findings.add(Kind.CONTRADICTING_RESULT, place, str(error))
            return
        if shown is not None:
            results = self._accounts[record.partition].results
            results.result(result, place, shown, by_snapshot=by_snapshot)

    def expect_account_result(self, record: Record) -> None:
        """Note a result that is journalled and not published yet, before entries are read."""
        try:
            result, understood = self._read(_validate_account_result, record)
        except (ValidationError, DecodeError, UnicodeDecodeError):
            return  # It is reported when it is taken.
        if understood:
            self.show_account(record, result, by_snapshot=True)

    def _take_entry(self, record: Record, *, by_snapshot: bool) -> None:
        entry, understood = self._read(_validate_entry, record)
        is_new = self._accounts[record.partition].entry(
            entry, record.offset, by_snapshot=by_snapshot
        )
        if not is_new or not understood:
            return
        results = self._accounts[record.partition].results
        if results.are_shown or entry.kind in RULE_KINDS:
            topic, time_ms = self._topics.account_results, record.timestamp
            expired = self._retention.may_lack(topic, record.key, time_ms)
            at_entry = Place(*record[:3])
            results.entry(entry, at_entry, by_snapshot=by_snapshot, result_expired=expired)
        if entry.payment is None:
            return
        key = entry.payment.encode()
        moved = DIRECTIONS.get(entry.kind, EntryDirection.FORWARD)
        # The entry may be there although retention has deleted the results that name it.
        result_expired = self._retention.may_lack(self._topics.results, key, record.timestamp)
        code = moved | RESULT_EXPIRED if result_expired else int(moved)
        own, at = digest(key), (record.partition, record.offset)
        amount = -entry.amount if moved is EntryDirection.BACK else entry.amount
        its_terms, time_ms = (
            terms(entry.account, amount, entry.currency),
            self._time_of(record, entry),
        )
        self._payments.entry(own, at, code, its_terms, time_ms)
        if moved > EntryDirection.BACK or entry.held_change:
            place = place_of_money(entry.account, entry.currency)
            held = HeldByEntry(entry.held_change, part_of(entry.part), place, by_snapshot)
            self._payments.hold(own, at, code, held)

    def _time_of(self, record: Record, entry: LedgerEntry) -> int:
        """Return the time of an entry: that of its record where the entry has no time."""
        try:
            return epoch_ms(entry.time)
        except ValueError as error:
            self._findings.add(Kind.MALFORMED_RECORD, Place(*record[:3]), str(error))
            return max(record.timestamp, 0)


def as_record(output: Output, number: int = 0) -> Record:
    """Return an output as a record without an offset; ``number`` distinguishes it from others."""
    topic, partition, key, value, _, time_ms, headers = output
    return Record(topic, partition, UNPUBLISHED + number, time_ms, key, value, headers)
