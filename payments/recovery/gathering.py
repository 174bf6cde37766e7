"""Gathering: the facts of payments and accounts, from one reading of the public topics."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from math import inf

from msgspec import DecodeError

from exactstage import Log, Record, TopicPartition, partition_of
from exactstage.inspection import (
    OUTPUT_ID_HEADER,
    OnUnreadable,
    OutputId,
    Show,
    Tail,
    parse_source,
    partitions_of,
    read_ranges,
    read_tails,
)
from exactstage.log import Bounds
from payments.records.later_versions import LaterVersion
from payments.settings import TOPICS, Settings

from .account_questions import AccountQuestions, read_account_result
from .balances import Balances, Movement, note_holds
from .errors import RecoveryRefused, later_version
from .folding import Wanted, fold_in_shares, shares_of
from .lives import Life, epoch_ms, read_result
from .unanswered import Unanswered

CLOCKS_DIFFER_MS = 60_000
"""How much the clocks of workers and brokers may differ."""


@dataclass(frozen=True, slots=True)
class Source:
    """The origin of the topics that are read."""

    copied: bool = False
    """Whether they are a copy, in which records have other offsets than results name."""

    former_topic: str | None = None
    """Name that the commands topic had in the place that it was copied from."""

    merged: bool = False
    """Whether records of several partitions were put into one: their order says nothing then."""


@dataclass(slots=True)
class Facts:
    """All facts from the topics."""

    unanswered: Unanswered
    account_questions: AccountQuestions
    lives: dict[str, Life] = field(default_factory=dict)
    movements: dict[str, list[Movement]] = field(default_factory=dict)
    balances: list[Balances] = field(default_factory=list)
    results_expired_before_ms: list[float] = field(default_factory=list)
    """By partition: retention may have deleted older results; -inf where all are there."""

    letters_expired_before_ms: list[float] = field(default_factory=list)
    """The same of the payments stage's dead letters."""

    account_results_expired_before_ms: list[float] = field(default_factory=list)
    """The same of the results of commands for accounts."""

    account_letters_expired_before_ms: list[float] = field(default_factory=list)
    """The same of the accounts stage's dead letters."""

    unclear_in_copy: Mapping[int, int] = field(default_factory=dict)
    """By partition of a copy: up to this offset commands for its accounts may be answered.

    The results that are left fit other commands too.
    """

    bounds: Mapping[TopicPartition, Bounds] = field(default_factory=dict)
    last_commit: int = 0
    """Highest commit number of any public record."""

    installation: str | None = None
    """The installation that wrote the public records; None where they do not name one."""

    results: int = 0
    foreign: int = 0
    """Public records that no stage wrote; they are skipped."""


class Gathering:
    """Reads commands, results, dead letters and ledger of one installation, in this order."""

    def __init__(
        self, log: Log, settings: Settings, source: Source, show: Show, *, processes: int = 1
    ) -> None:
        """Read with ``log``; a long ledger with up to ``processes`` processes."""
        self.log, self.settings, self.show = log, settings, show
        self._processes = processes
        self._partitions = settings.partitions
        self.source = source
        self.commands = settings.topics.commands
        self.results = settings.topics.results
        self.letters = settings.topics.payments_dead_letters
        self.ledger = settings.topics.ledger
        self.account_commands = settings.topics.account_commands
        self.account_results = settings.topics.account_results
        self.account_letters = settings.topics.accounts_dead_letters
        self._facts = Facts(
            Unanswered(
                self.commands,
                settings.default_currency,
                copied=source.copied,
                former_topic=source.former_topic,
            ),
            AccountQuestions(
                self.account_commands,
                settings.default_currency,
                copied=source.copied,
                former_topic=former_account_commands(source.former_topic),
                partitions=settings.partitions,
                merged=source.merged,
            ),
        )
        self._first_ms: dict[TopicPartition, int] = {}
        """Time of the first record of a partition that still has some."""
        self._newest_ms = 0
        """Time of the last result or movement of a copy."""
        self._newest_account_result_ms: dict[int, int] = {}
        """The same of the results of a copy's commands for accounts, by partition."""
        self._last_ids: dict[int, OutputId] = {}
        self._last_account_ids: dict[int, OutputId] = {}

    async def run(self, now_ms: int, *, old_are_answered: bool = False) -> Facts:
        """Read up to the present ends. Raises ``RecoveryRefused`` when the ledger is not whole.

        With ``old_are_answered`` the results of a copy's commands for accounts are those of the
        last commands that they fit; else of the first.
        """
        facts = self._facts
        topics = (
            self.commands,
            self.results,
            self.letters,
            self.ledger,
            self.account_commands,
            self.account_results,
            self.account_letters,
        )
        at = [tp for topic in topics for tp in partitions_of(topic, self._partitions)]
        facts.bounds = await self.log.bounds(at)
        self._require_whole_ledger()
        await self._read(
            self.commands,
            self._command,
            on_unreadable=lambda batch, _last: facts.unanswered.batch(batch),
        )
        await self._read(self.results, self._result)
        await self._read(self.letters, self._letter)
        await self._read(
            self.account_commands,
            self._account_command,
            on_unreadable=lambda batch, _last: facts.account_questions.batch(batch),
        )
        await self._read(self.account_results, self._account_result)
        await self._read(self.account_letters, self._account_letter)
        self._require_own_positions()
        await self._read_ledger(now_ms)
        await self._read_tails()
        self._date_account_results(now_ms, old_are_answered=old_are_answered)
        for partition in range(self._partitions):
            facts.results_expired_before_ms.append(self._since(self.results, partition))
            facts.letters_expired_before_ms.append(self._since(self.letters, partition))
            facts.account_letters_expired_before_ms.append(
                self._since(self.account_letters, partition)
            )
        return facts

    def _require_whole_ledger(self) -> None:
        for partition in range(self._partitions):
            first = self._facts.bounds[TopicPartition(self.ledger, partition)].first
            if first:
                message = (
                    f"{self.ledger}/{partition} begins at offset {first}: earlier entries were "
                    f"deleted, so the balances can't be rebuilt from it; restore it from a backup, "
                    f"and set retention.ms to -1 (payments topics apply)"
                )
                raise RecoveryRefused(message)

    def _date_account_results(self, now_ms: int, *, old_are_answered: bool) -> None:
        """Find since when results of commands for accounts are whole; match those of a copy."""
        facts = self._facts
        if self.source.copied:
            questions = facts.account_questions
            unclear = questions.unclear_in_copy()
            known = questions.lacking_in_copy() | (unclear.keys() if old_are_answered else set())
            since = facts.account_results_expired_before_ms = self._account_results_of_copy_since(
                known
            )
            lacking = {partition for partition, ms in enumerate(since) if ms != -inf}
            facts.unclear_in_copy = {p: unclear[p] for p in unclear.keys() - lacking}
            questions.match_copied(lacking)
        else:
            facts.account_results_expired_before_ms = [
                self._account_results_since(partition, now_ms)
                for partition in range(self._partitions)
            ]

    async def _read(
        self,
        topic: str,
        take: Callable[[Sequence[Record]], None],
        on_unreadable: OnUnreadable | None = None,
    ) -> None:
        ranges = {tp: self._facts.bounds[tp] for tp in partitions_of(topic, self._partitions)}
        async with aclosing(
            read_ranges(
                self.log, ranges, committed_only=True, show=self.show, on_unreadable=on_unreadable
            )
        ) as fetched:
            async for at, records in fetched:
                self._first_ms.setdefault(at, records[0].timestamp)
                take(records)

    def _command(self, records: Sequence[Record]) -> None:
        for record in records:
            self._facts.unanswered.command(record)

    def _result(self, records: Sequence[Record]) -> None:
        facts = self._facts
        lives, unanswered = facts.lives, facts.unanswered
        for record in records:
            position = _position(record, "payments")
            if position is None or record.key is None:
                facts.foreign += 1
                continue
            if position <= self._last_ids.get(record.partition, (0, -1)):
                continue  # A copy of a topic may have a record twice.
            self._last_ids[record.partition] = position
            try:
                result = read_result(record.value or b"")
            except LaterVersion as later:
                raise later_version(record, later) from later
            except (DecodeError, UnicodeDecodeError, RecursionError):
                facts.foreign += 1
                continue
            facts.results += 1
            life = lives.get(result.payment)
            if life is None:
                life = lives[result.payment] = Life()
            life.read(result)
            unanswered.result(record.key, result)
            if self.source.copied:
                at = TopicPartition(record.topic, record.partition)
                time_ms = epoch_ms(result.time)
                self._first_ms[at] = min(time_ms, self._first_ms[at])
                self._newest_ms = max(time_ms, self._newest_ms)

    def _letter(self, records: Sequence[Record]) -> None:
        for record in records:
            if _position(record, "payments") is None:
                self._facts.foreign += 1
            else:
                self._facts.unanswered.letter(record)

    def _account_command(self, records: Sequence[Record]) -> None:
        for record in records:
            self._facts.account_questions.command(record)

    def _account_result(self, records: Sequence[Record]) -> None:
        facts, last_ids = self._facts, self._last_account_ids
        for record in records:
            position = _position(record, "accounts")
            if position is None or record.key is None:
                facts.foreign += 1
            elif position > last_ids.get(record.partition, (0, -1)):
                last_ids[record.partition] = position  # A copy may have a record twice.
                try:
                    result = read_account_result(record)
                except (DecodeError, UnicodeDecodeError, RecursionError):
                    facts.foreign += 1
                else:
                    facts.account_questions.account_result(record.key, result)
                    if self.source.copied:
                        newest = self._newest_account_result_ms
                        time_ms, partition = epoch_ms(result.time), record.partition
                        newest[partition] = max(time_ms, newest.get(partition, 0))

    def _account_letter(self, records: Sequence[Record]) -> None:
        for record in records:
            if _position(record, "accounts") is None:
                self._facts.foreign += 1
            else:
                self._facts.account_questions.letter(record)

    def _require_own_positions(self) -> None:
        for topic, unanswered in (
            (self.commands, self._facts.unanswered),
            (self.account_commands, self._facts.account_questions),
        ):
            bounds = [self._facts.bounds[tp] for tp in partitions_of(topic, self._partitions)]
            unanswered.require_own_positions(bounds)

    async def _read_ledger(self, now_ms: int) -> None:
        facts, settings = self._facts, self.settings
        oldest = min(self._first_ms.values(), default=now_ms)
        longest = settings.longest_retention_seconds
        min_retention_ms = int((longest + settings.window_seconds) * 1000)
        since_ms = 0 if self.source.copied else oldest - min_retention_ms - CLOCKS_DIFFER_MS
        asked = None if self.source.copied else facts.account_questions.names()
        wanted = Wanted(since_ms, asked)
        ranges = {tp: facts.bounds[tp] for tp in partitions_of(self.ledger, self._partitions)}
        shares = shares_of(ranges, self._processes)
        part = f"part 1 of {len(shares)}, all at once: " if len(shares) > 1 else ""
        show: Show = lambda progress: self.show(part + progress)  # noqa: E731 - one line
        facts.balances, facts.movements = await fold_in_shares(
            self.log, settings, shares, wanted, show
        )
        facts.foreign += sum(each.foreign for each in facts.balances)

    async def all_movements(self, payments: frozenset[str]) -> dict[str, list[Movement]]:
        """Return every movement of these payments, however old."""
        found: dict[str, list[Movement]] = {}
        balances = [Balances(p, found, 0, only=payments) for p in range(self._partitions)]
        ranges = {tp: self._facts.bounds[tp] for tp in partitions_of(self.ledger, self._partitions)}
        async with aclosing(
            read_ranges(self.log, ranges, committed_only=True, show=self.show)
        ) as fetched:
            async for at, records in fetched:
                balances[at.partition].read(records)
        return found

    async def payments_that_hold(self, accounts: frozenset[str]) -> frozenset[str]:
        """Return the payments that hold money on these accounts, by the whole ledger."""
        held: Counter[str] = Counter()
        numbers = {partition_of(account.encode(), self._partitions) for account in accounts}
        at = [TopicPartition(self.ledger, number) for number in sorted(numbers)]
        ranges = {tp: self._facts.bounds[tp] for tp in at}
        async with aclosing(
            read_ranges(self.log, ranges, committed_only=True, show=self.show)
        ) as fetched:
            async for _, records in fetched:
                note_holds(records, accounts, held)
        return frozenset(held)

    async def _read_tails(self) -> None:
        """Find the highest commit at the end of each public partition, and the installation."""
        writers = {
            **dict.fromkeys(_all([self.results, self.letters], self._partitions), "payments"),
            **dict.fromkeys(
                _all([self.ledger, self.account_results, self.account_letters], self._partitions),
                "accounts",
            ),
        }
        tails = await read_tails(self.log, writers)
        self._facts.last_commit = max(tail.output_id[0] for tail in tails.values())
        self._facts.installation = _installation(tails, self.settings.app_id)

    def _since(self, topic: str, partition: int) -> float:
        """Return the time before which records of a partition may be missing."""
        at = TopicPartition(topic, partition)
        if not (self._facts.bounds[at].first or self._copy_lacks_results(at)):
            return -inf
        return self._first_ms.get(at, inf) + CLOCKS_DIFFER_MS

    def _copy_lacks_results(self, at: TopicPartition) -> bool:
        """Whether results were missing from the original already when it was copied."""
        if not self.source.copied or at.topic != self.results:
            return False
        # The last movements have no result because they were in flight, not by retention.
        oldest_ms = self._oldest_movements.get(at.partition, inf)
        first_ms = min(self._first_ms.get(at, inf), self._newest_ms)
        return oldest_ms + CLOCKS_DIFFER_MS < first_ms

    def _account_results_since(self, partition: int, now_ms: int) -> float:
        """Return the time before which results of commands for accounts may be missing.

        They are kept for the retention at least. Where commands are rare, the oldest result that
        is left, if any is, may be much younger.
        """
        since_ms = self._since(self.account_results, partition)
        surely_kept_ms = now_ms - int(self.settings.retention_seconds * 1000) + CLOCKS_DIFFER_MS
        return min(since_ms, surely_kept_ms)

    def _account_results_of_copy_since(self, lacking: AbstractSet[int]) -> list[float]:
        """Return the same by partition for a copy, in which the times of commands say nothing.

        Results have the order of their entries, so the result of a first entry is there, or was
        deleted, or is in flight: then the entry is one of the last of its partition. Of the
        ``lacking`` partitions retention had deleted results.
        """
        shown = {
            (name, result.sequence)
            for name, changes in self._facts.account_questions.changes.items()
            for result in changes
        }
        rules = [balances.rules for balances in self._facts.balances]
        newest_ms = self._newest_of_accounts()
        found: list[float] = []
        for partition, of_partition in enumerate(rules):
            in_flight_ms = newest_ms[partition] - CLOCKS_DIFFER_MS
            at = TopicPartition(self.account_results, partition)
            lacks = self._facts.bounds[at].first > 0 or partition in lacking
            if of_partition and not lacks:
                first = of_partition[0]
                is_shown = (first.name, first.account.sequence) in shown
                lacks = not is_shown and first.time_ms < in_flight_ms
            found.append(in_flight_ms if lacks else -inf)
        return found

    def _newest_of_accounts(self) -> list[int]:
        """Return by partition the time of the last entry or result of an account."""
        newest = [self._newest_account_result_ms.get(p, 0) for p in range(self._partitions)]
        for movements in self._facts.movements.values():
            for movement in movements:
                partition = partition_of(movement.account.encode(), self._partitions)
                newest[partition] = max(movement.time_ms, newest[partition])
        for balances in self._facts.balances:
            times = (rule.time_ms for rule in balances.rules)
            newest[balances.partition] = max(newest[balances.partition], 0, *times)
        return newest

    @cached_property
    def _oldest_movements(self) -> dict[int, int]:
        """Time of the oldest movement of any payment, by the payment's partition."""
        found: dict[int, int] = {}
        for payment, movements in self._facts.movements.items():
            partition = partition_of(payment.encode(), self._partitions)
            oldest_ms = min(movement.time_ms for movement in movements)
            self._newest_ms = max(self._newest_ms, *(m.time_ms for m in movements))
            found[partition] = min(oldest_ms, found.get(partition, oldest_ms))
        return found


def former_account_commands(former_topic: str | None) -> str | None:
    """Return the former name of the topic of commands for accounts, from that of the commands."""
    if former_topic is None or not former_topic.endswith(TOPICS.commands):
        return None
    return former_topic.removesuffix(TOPICS.commands) + TOPICS.account_commands


def _installation(tails: Mapping[TopicPartition, Tail], app: str) -> str | None:
    names = {tail.installation: at for at, tail in tails.items() if tail.installation is not None}
    if len(names) > 1 or any(name.partition("/")[0] != app for name in names):
        listing = ", ".join(f"{at} by {name}" for name, at in names.items())
        message = (
            f"the public topics were written by other installations than {app}: {listing}; set "
            f"PAYMENTS_APP_ID and PAYMENTS_TOPIC_PREFIX to those of one installation"
        )
        raise RecoveryRefused(message)
    return next(iter(names), None)


def _all(topics: Sequence[str], partitions: int) -> list[TopicPartition]:
    return [tp for topic in topics for tp in partitions_of(topic, partitions)]


def _position(record: Record, stage: str) -> OutputId | None:
    """Return the output id of a record, when this stage wrote it for its partition."""
    for name, value in record.headers:
        if name == OUTPUT_ID_HEADER:
            try:
                source = parse_source(value or b"")
            except ValueError:
                return None
            return source.output_id if source.name == f"{stage}/{record.partition}" else None
    return None
