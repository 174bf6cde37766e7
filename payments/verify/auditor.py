"""The auditor: takes the records of each topic, and reports violations at the end.

It does no I/O. The topics of a phase must come after those of the phases before it (see
``Topics.phases``), and the records of a partition in the order of their offsets.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

from exactstage import Record, TopicPartition
from exactstage.errors import FailStop, UnreadableBatch
from exactstage.inspection import ORIGIN
from exactstage.log import Bounds
from payments.records.account_commands import (
    own_of_account_command,
    parse_account_command,
    parse_account_id,
    require_account_name,
)
from payments.records.commands import Malformed, own_of, parse_command, parse_payment_id
from payments.records.record_address import RecordAddress
from payments.settings import Settings

from .account_commands import IN_FLIGHT, RESULT_EXPIRED, AccountCommands, Asked
from .accounts import AccountsPartition
from .copies import LocalCopies
from .facts import MAX_WORD, digest, place_of
from .findings import Findings, Kind, Place, Report
from .journals import Checkpoints, Snapshot
from .judgement import CommandFlags, RetentionGaps
from .letters import Letters
from .numbering import Numbering
from .payments import Payments
from .public_topics import Public, as_record
from .retention import Retention
from .rows import Rows
from .topics import Topics

LONG_RETENTION_SECONDS = 6 * 3600.0
"""From here on no clock that jumps lets an id be used again at almost the same time."""

LIVES_DIFFER_MS = 30_000
"""Under any earlier setting an id was not used again so soon."""


class Auditor:
    """Audits one installation."""

    def __init__(self, settings: Settings) -> None:
        self._currency = settings.default_currency
        is_long = settings.retention_seconds >= LONG_RETENTION_SECONDS
        self._lives_differ_ms = LIVES_DIFFER_MS if is_long else -MAX_WORD
        self.partitions = settings.partitions
        self.topics = topics = Topics.of(settings)
        self._findings = findings = Findings()
        self._retention = Retention(settings.partitions)
        self._accounts = [
            AccountsPartition(partition, topics.ledger, topics.accounts_journal, findings)
            for partition in range(settings.partitions)
        ]
        self._payments = Payments(findings)
        self._account_commands = AccountCommands(findings)
        self._numbering = Numbering(topics.commands)
        self._account_numbering = Numbering(topics.account_commands)
        self._letters = Letters(findings, self._numbering, topics.commands)
        self._account_letters = Letters(findings, self._account_numbering, topics.account_commands)
        self._rows = Rows(self._payments, self._accounts, findings, self._numbering)
        self._public = Public(
            topics,
            payments=self._payments,
            accounts=self._accounts,
            account_commands=self._account_commands,
            letters={
                topics.payments_letters: self._letters,
                topics.accounts_letters: self._account_letters,
            },
            retention=self._retention,
            findings=findings,
            numbering={
                topics.results: self._numbering,
                topics.account_results: self._account_numbering,
            },
        )
        self._checkpoints = {
            topics.payments_journal: Checkpoints(findings, self._numbering),
            topics.accounts_journal: Checkpoints(findings, self._account_numbering),
        }
        self._forwarded: set[str] = set()
        """Addresses of commands that were forwarded and not yet handled."""
        self._copies: LocalCopies | None = None
        self._commands = 0
        self._phase = 0
        self._handlers: dict[str, Callable[[Record], None]] = {
            topics.payments_journal: self._read_payments_journal,
            topics.accounts_journal: self._read_accounts_journal,
            topics.inbox: self._read_inbox,
            topics.transfers: self._read_transfer,
            topics.commands: self._read_command,
            topics.account_commands: self._read_account_command,
            **dict.fromkeys(topics.public, self._read_public),
        }

    # --- what is read -----------------------------------------------------------------------------

    def added_partitions(self, counts: Mapping[str, int]) -> dict[str, range]:
        """Return by topic the partitions that were added in place: no worker reads them.

        Raises ``FailStop`` when no topic has as many partitions as the settings say, or one fewer.
        """
        for topic, count in counts.items():
            if count < self.partitions or self.partitions not in counts.values():
                message = (
                    f"{topic} has {count} partitions, PAYMENTS_PARTITIONS is {self.partitions}: "
                    f"set it to what the workers have"
                )
                raise FailStop(message)
        return {t: range(self.partitions, n) for t, n in counts.items() if n > self.partitions}

    def leave_out(self, topic: str, records: int) -> None:
        """Note how many offsets of a topic are in partitions that were added in place."""
        reason = f"offsets of {topic} in partitions that were added in place, see repartition"
        self._findings.unchecked[reason] += records

    def compare(self, copies: LocalCopies) -> None:
        """Compare local copies with the journals too; to be called before anything is read."""
        self._copies = copies

    def holds(self, bounds: Mapping[TopicPartition, Bounds]) -> None:
        """Note what journals have, before they are read, and each time that is asked again."""
        if self._copies is not None:
            self._copies.holds(bounds)

    def begins(self, at: TopicPartition, offset: int) -> None:
        """Note the first offset that a partition still has, before any of its records is read."""
        if offset > 0 and at.topic not in self.topics.journals:
            self._retention.begins(at)
            if at.topic == self.topics.ledger:
                self._accounts[at.partition].lacks_entries()

    def shows(self, at: TopicPartition, end: int) -> None:
        """Note where a public partition ended before the journals were read.

        The records before that end were journalled first, so the journal has their commits.
        """
        self._public.was_there[at] = end

    def start_of(self, at: TopicPartition, first: int) -> int:
        """Return where to start reading a partition: messages from the first unhandled one."""
        if at.topic not in self.topics.internal:
            return first
        return max(first, self._snapshots[at.topic][at.partition].inputs.get(at.topic, 0))

    def unread(self, at: TopicPartition, position: int, end: int) -> None:
        """Note that nothing came from ``position`` on: a transaction was left open there."""
        reason = f"offsets of {at} from {position} on, held back by an open transaction"
        self._findings.unchecked[reason] += end - position
        if self._copies is not None:
            self._copies.unread(at, "its journal could not be read to its end")

    def unreadable(self, batch: UnreadableBatch) -> None:
        """Take a batch that can't be decoded: of commands it must be dead-lettered whole."""
        topics = self.topics
        if batch.topic not in {topics.commands, topics.account_commands}:
            message = f"offsets up to {batch.last_offset} can't be read: {batch.cause}"
            place = Place(batch.topic, batch.partition, batch.offset)
            self._findings.add(Kind.MALFORMED_RECORD, place, message)
            if self._copies is not None:
                at = TopicPartition(batch.topic, batch.partition)
                self._copies.unread(at, "a batch of its journal can't be read")
            return
        snapshot = self._snapshots[batch.topic][batch.partition]
        of_payments = batch.topic == topics.commands
        letters = self._letters if of_payments else self._account_letters
        topic = topics.payments_letters if of_payments else topics.accounts_letters
        letters.unreadable(
            batch,
            in_flight=not snapshot.handled(batch.topic, batch.last_offset),
            letter_expired=self._retention.lacks(topic),
        )
        for head in batch.heads:
            letter = letters.batch_of(head.partition, head.offset)
            if letter is None or head.offset < letter.unanswered_from:
                (self._read_refused if of_payments else self._read_refused_of_account)(head)

    def read(self, records: Iterable[Record]) -> None:
        """Take the next records. Raises ``ValueError`` for topics out of order."""
        topic, handler = None, self._handlers[self.topics.commands]
        for record in records:
            if record.topic != topic:
                topic = record.topic
                handler = self._handlers[topic]
                self._enter_phase(topic)
            handler(record)

    def _enter_phase(self, topic: str) -> None:
        [phase] = [number for number, topics in enumerate(self.topics.phases) if topic in topics]
        if phase < self._phase:
            message = f"{topic} must come before the topics that were read"
            raise ValueError(message)
        self._phase = phase

    def _read_payments_journal(self, record: Record) -> None:
        if self._copies is not None:
            self._copies.take(record)
        if not self._checkpoints[record.topic].take(record):
            self._rows.payment(record)

    def _read_accounts_journal(self, record: Record) -> None:
        if self._copies is not None:
            self._copies.take(record)
        if not self._checkpoints[record.topic].take(record):
            self._rows.account(record)

    @cached_property
    def _snapshots(self) -> dict[str, Sequence[Snapshot]]:
        """The snapshots of each topic's partitions: of the stage that reads or publishes it."""
        topics = self.topics
        payments, accounts = (
            [self._checkpoints[journal].snapshot(partition) for partition in range(self.partitions)]
            for journal in topics.journals
        )
        for snapshot in payments:
            for _, output in snapshot.unpublished:
                if output.topic == topics.payments_letters:
                    self._letters.expect_skip(as_record(output))
                elif output.topic == topics.inbox:
                    self._on_its_way(output.key, output.headers[-1:])
        for snapshot in accounts:
            for number, (_, output) in enumerate(snapshot.unpublished):
                if output.topic == topics.accounts_letters:
                    self._account_letters.expect_skip(as_record(output))
                elif output.topic == topics.account_results:
                    self._public.expect_account_result(as_record(output, number))
                elif output.topic == topics.transfers:
                    self._on_its_way_to_account(output.headers[-1:])
        of_payments = (topics.commands, topics.inbox, topics.results, topics.payments_letters)
        of_accounts = (
            topics.account_commands,
            topics.transfers,
            topics.account_results,
            topics.ledger,
            topics.accounts_letters,
        )
        return {**dict.fromkeys(of_payments, payments), **dict.fromkeys(of_accounts, accounts)}

    def _read_inbox(self, record: Record) -> None:
        """Note forwarded commands and settlements that were not handled at the snapshot."""
        if not self._snapshots[record.topic][record.partition].handled(record.topic, record.offset):
            self._on_its_way(record.key, record.headers[-2:-1])

    def _on_its_way(self, key: bytes | None, header: Iterable[tuple[str, bytes | None]]) -> None:
        self._payments.moving(digest(key))
        self._on_its_way_to_account(header)

    def _read_transfer(self, record: Record) -> None:
        """Note forwarded commands for accounts that were not handled at the snapshot."""
        if not self._snapshots[record.topic][record.partition].handled(record.topic, record.offset):
            self._on_its_way_to_account(record.headers[-2:-1])

    def _on_its_way_to_account(self, header: Iterable[tuple[str, bytes | None]]) -> None:
        for name, content in header:
            if name == ORIGIN and content is not None:
                place, _, _ = content.partition(b" ")  # The rest is why the record was refused.
                self._forwarded.add(place.decode(errors="replace"))

    def _read_public(self, record: Record) -> None:
        self._retention.read(TopicPartition(record.topic, record.partition), record.timestamp)
        self._public.read(record, self._snapshots[record.topic][record.partition])

    def _read_command(self, record: Record) -> None:
        self._commands += 1
        topic, partition, offset, _, key, value, _ = record
        if self._letters.is_skipped(topic, partition, offset):
            self._findings.unchecked["commands that were given up by payments journal skip"] += 1
            return
        if self._letters.batches:
            letter = self._letters.batch_of(partition, offset)
            if letter is not None:  # Its batch was dead-lettered whole, even if it can be read now.
                self._commands -= 1
                if offset < letter.unanswered_from:
                    self._read_refused(record)
                return
        in_flight = self._is_in_flight(record)
        try:
            parse_payment_id(key)
        except Malformed:
            self._expect_letter(record, in_flight=in_flight)
            return
        try:
            command = parse_command(value, default_currency=self._currency)
            own = command.id
            if command.type == "capture" and not self._numbering.is_copy(partition, offset):
                known_as = digest(self._numbering.command(own, partition, offset))
                self._payments.capture(digest(key), known_as, partition, record.timestamp)
        except Malformed as error:
            own = error.command
            self._expect_letter(record, in_flight=in_flight)
        self._expect_result(record, own, in_flight=in_flight)

    def _read_account_command(self, record: Record) -> None:
        self._commands += 1
        topic, partition, offset, _, key, value, _ = record
        letters = self._account_letters
        if letters.is_skipped(topic, partition, offset):
            self._findings.unchecked["commands that were given up by payments journal skip"] += 1
            return
        if letters.batches and (letter := letters.batch_of(partition, offset)) is not None:
            self._commands -= 1
            if offset < letter.unanswered_from:
                self._read_refused_of_account(record)
            return
        own, asked, is_malformed, is_answered = None, Asked.malformed(None), False, True
        try:
            name = parse_account_id(key)
        except Malformed:
            is_malformed, is_answered = True, False
        else:
            try:
                require_account_name(name, value)
                # Without a default: it may have been another one when it was decided.
                command = parse_account_command(value, default_currency="")
                own, asked = command.id, Asked.by(command)
            except Malformed as error:
                own, asked, is_malformed = error.command, Asked.malformed(error.type), True
        in_flight = self._is_in_flight(record)
        if is_malformed:
            topic = self.topics.accounts_letters
            expired = self._retention.may_lack(topic, record.key, record.timestamp)
            letters.malformed(record, in_flight=in_flight, letter_expired=expired)
        if is_answered:
            self._expect_account_result(record, own, asked, in_flight=in_flight)

    def _read_refused_of_account(self, head: Record) -> None:
        """Read a command of a batch that is dead-lettered whole: it has a result, no letter."""
        try:
            parse_account_id(head.key)
        except Malformed:
            return
        self._commands += 1
        own, type_ = own_of_account_command(head.value)
        asked, in_flight = Asked.malformed(type_), self._is_in_flight(head)
        self._expect_account_result(head, own, asked, in_flight=in_flight)

    def _expect_account_result(
        self, record: Record, own: str | None, asked: Asked, *, in_flight: bool
    ) -> None:
        _, partition, offset, time_ms, key, _, _ = record
        flags = IN_FLIGHT if in_flight else 0
        if self._retention.may_lack(self.topics.account_results, key, time_ms):
            flags |= RESULT_EXPIRED
        known_as, at = self._account_numbering.command(own, partition, offset), (partition, offset)
        self._account_commands.command(digest(key), digest(known_as), at, asked, flags)

    def _read_refused(self, head: Record) -> None:
        """Read a command of a batch that is dead-lettered whole: it has a result, no letter."""
        try:
            parse_payment_id(head.key)
        except Malformed:
            return
        self._commands += 1
        own, _ = own_of(head.value)
        self._expect_result(head, own, in_flight=self._is_in_flight(head))

    def _is_in_flight(self, record: Record) -> bool:
        topic, partition, offset = record[:3]
        if not self._snapshots[topic][partition].handled(topic, offset):
            return True
        if not self._forwarded:
            return False
        return str(RecordAddress(topic, partition, offset)) in self._forwarded

    def _expect_result(self, record: Record, own: str | None, *, in_flight: bool) -> None:
        _, partition, offset, time_ms, key, _, _ = record
        asked = CommandFlags.IN_FLIGHT if in_flight else 0
        if self._retention.may_lack(self.topics.results, key, time_ms):
            asked |= CommandFlags.RESULT_EXPIRED
        known_as = self._numbering.command(own, partition, offset)
        self._payments.command(digest(key), digest(known_as), (partition, offset), asked)

    def _expect_letter(self, record: Record, *, in_flight: bool) -> None:
        """Expect a dead letter for a command."""
        topic = self.topics.payments_letters
        expired = self._retention.may_lack(topic, record.key, record.timestamp)
        self._letters.malformed(record, in_flight=in_flight, letter_expired=expired)

    # --- what follows -----------------------------------------------------------------------------

    def finish(self) -> Report:
        """Judge all that was read. To be called once."""
        topics, findings = self.topics, self._findings
        self._rows.judge()
        for checkpoints in self._checkpoints.values():
            checkpoints.judge()
        self._public.take_unpublished(self._snapshots)
        lacks_commands = self._retention.lacks(topics.commands) or self._numbering.lacks_commands
        self._letters.judge(topics.payments_letters, lacks_commands=lacks_commands)
        lacks_of_accounts = (
            self._retention.lacks(topics.account_commands) or self._account_numbering.lacks_commands
        )
        self._account_letters.judge(topics.accounts_letters, lacks_commands=lacks_of_accounts)
        self._account_commands.judge(topics, lacks_commands=lacks_of_accounts)
        known = RetentionGaps(
            topics,
            lacks_commands=lacks_commands,
            lacks_entries=self._retention.lacks(topics.ledger),
            lacks_results=self._retention.lacking(topics.results),
            snapshots_ms=[snapshot.time_ms for snapshot in self._snapshots[topics.results]],
            lives_differ_ms=self._lives_differ_ms,
        )
        held = self._payments.judge(known)
        lacks_entries = self._retention.lacks(topics.ledger)
        for partition in self._accounts:
            partition.judge(held)
            partition.results.judge(lacks_entries=lacks_entries)
        for place, amount in held.held.items():
            if amount and place not in held.unclear:
                message = "a payment holds money on an account that there is not"
                at = Place(topics.payments_journal, *place_of(held.rows.get(place, 0)))
                findings.add(Kind.WRONG_HELD, at, message)
        copies = None if self._copies is None else self._copies.judge(findings)
        counts = self._public.counts
        return Report(
            violations=findings.kept,
            by_kind=findings.by_kind,
            unchecked=findings.unchecked,
            in_flight=self._payments.in_flight + self._account_commands.in_flight,
            pending=self._payments.pending,
            counts={
                "commands": self._commands,
                "results": counts[topics.results] + counts[topics.account_results],
                "payments": self._payments.count,
                "entries": counts[topics.ledger],
                "dead_letters": counts[topics.payments_letters] + counts[topics.accounts_letters],
            },
            dead_letters=self._letters.by_reason + self._account_letters.by_reason,
            copies=copies,
            copies_missing=0 if self._copies is None else self._copies.missing,
        )
