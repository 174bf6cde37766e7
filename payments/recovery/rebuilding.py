"""Rebuilding: plans new journals from the ledger, the results and the commands.

``docs/design.md`` has the reasons. Only journals are written. Answers, missing entries and the
transfers of commands that are decided again are outputs of their last commits, not yet published:
the worker that takes over publishes them, exactly once, as after any crash.
"""

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import inf
from typing import Literal, NamedTuple

from exactstage import Log, Record, Stage, TopicPartition, partition_of
from exactstage.inspection import Show, partitions_of, read_ranges
from exactstage.log import Bounds
from exactstage.recovery import MAX_COMMITS, MAX_COMMITS_AHEAD, Deciding, NewJournal, TooManyCommits
from payments.domain.account import (
    Opening,
    Transfer,
    counter_name,
    post,
    post_counter,
)
from payments.domain.account_table import AccountAnswer, decide_account
from payments.domain.money import money_text
from payments.domain.payment import Policy
from payments.domain.results import Outcome, Reason
from payments.records.commands import Malformed, parse_command
from payments.records.internal_codec import encode_account, encode_counter, encode_payment
from payments.records.record_writer import encode_account_result, encode_ledger_entry, encode_result
from payments.settings import Settings
from payments.stages.accounts import ACCOUNT_RESULT_TYPE, ENTRY_TYPE
from payments.stages.payments import RESULT_TYPE

from . import account_questions
from .balances import Movement, RuleEntry
from .entries import Guess
from .errors import RecoveryRefused
from .forgetting import numbers_of, refuse_fewer_entries, refuse_unknown_losses
from .gathering import CLOCKS_DIFFER_MS, Facts, Gathering, Source
from .installation import stages_of
from .lives import Life
from .rule_answers import (
    RuleAnswer,
    RuleMatch,
    UnansweredRule,
    answer_unchanging,
    in_order_of_commands,
    in_order_of_time,
    match_copied,
    match_times,
    unshown,
    without_entry,
)
from .settling import Settlement, Waiting, settle, shows_all, surplus_of
from .unanswered import Left, Unanswered

OldCommands = Literal["answered", "unanswered"]


@dataclass(slots=True)
class Plan:
    """The journals that a rebuild writes, and counts of what it read."""

    base: int
    """Commit number from which the new journals count: later than any that was ever published."""

    journals: list[NewJournal]
    installation: str | None
    """The installation that wrote the public records, where they name one."""

    source: Source
    commands_before: list[int]
    """By partition: the end of the commands when they were read."""

    commands_are_gone: bool
    """Whether a copy lacks commands that results answer."""

    account_commands_before: list[int]
    account_commands_are_gone: bool
    """The same of the commands for accounts."""

    counts: Counter[str]
    """What was read and found, by words for a person."""

    guesses: Mapping[Guess, Sequence[str]]
    """The payments of which no record says something, by what that is."""


ANSWERS_AT_ONCE = 20_000
"""So many unclear commands that change nothing the rebuild answers itself; more, a worker."""

_OLD = "old commands taken for answered, their results are deleted"


class _Asked(NamedTuple):
    """The commands that one stage answers."""

    topic: str
    unanswered: Unanswered
    results_expired_before_ms: list[float]
    letters_expired_before_ms: list[float]
    journals: list[NewJournal]
    stage: Stage
    option: str
    """The option that says if old ones were answered."""


class _Redo(NamedTuple):
    """An unanswered command that is decided now."""

    record: Record
    left: Left


async def plan_rebuild(
    log: Log,
    settings: Settings,
    *,
    source: Source,
    old_commands: OldCommands | None,
    old_account_commands: OldCommands | None = None,
    now_ms: int,
    show: Show,
    published: Mapping[bytes, int] | None = None,
    processes: int = 1,
) -> Plan:
    """Read the topics and return the plan. Raises ``RecoveryRefused``.

    ``published`` is the last entry of each account that the present journals know; None where lost
    entries are accepted. A long ledger is read by up to ``processes``.
    """
    gathering = Gathering(log, settings, source, show, processes=processes)
    facts = await gathering.run(now_ms, old_are_answered=old_account_commands == "answered")
    try:
        planning = _Planning(gathering, facts, now_ms)
        return await planning.run(old_commands, old_account_commands, published)
    except TooManyCommits as error:
        message = (
            f"{error.journal}: more than {MAX_COMMITS} commits of outputs would have to be "
            f"published at once; restore the results from a replica or a backup first"
        )
        raise RecoveryRefused(message) from error


class _Planning:
    """Makes journals from facts."""

    def __init__(self, gathering: Gathering, facts: Facts, now_ms: int) -> None:
        self._log, self._settings = gathering.log, gathering.settings
        self._show = gathering.show
        self._gathering, self._facts, self._now_ms = gathering, facts, now_ms
        settings = self._settings
        self._partitions = settings.partitions
        self._policy = Policy(
            settings.decline_policy,
            settings.max_waiters,
            settings.hold_seconds * 1000,
            settings.hold_notice_seconds * 1000,
        )
        self._stages = stages_of(settings)
        # A payment that can be refunded may be remembered longer; workers forget the others.
        self._longest_ms = int(settings.longest_retention_seconds * 1000)
        # The clock as a commit number is later than any that was counted up to, one by one.
        self.base = max(facts.last_commit + MAX_COMMITS_AHEAD, now_ms)
        self.counts: Counter[str] = Counter()
        self._guesses: dict[Guess, list[str]] = {}
        self._changes_nothing: set[tuple[int, int]] = set()
        """Partition and offset of unclear commands that are decided now: none is carried out."""
        payments, accounts = self._stages
        self._payments = [self._new(payments, p, {}) for p in range(self._partitions)]
        self._accounts = [
            self._new(accounts, p, facts.balances[p].rows()) for p in range(self._partitions)
        ]
        self._of_payments = _Asked(
            gathering.commands,
            facts.unanswered,
            facts.results_expired_before_ms,
            facts.letters_expired_before_ms,
            self._payments,
            payments,
            "--old-commands",
        )
        self._of_accounts = _Asked(
            gathering.account_commands,
            facts.account_questions,
            facts.account_results_expired_before_ms,
            facts.account_letters_expired_before_ms,
            self._accounts,
            accounts,
            "--old-account-commands",
        )

    def _new(self, stage: Stage, partition: int, rows: Mapping[bytes, bytes]) -> NewJournal:
        return NewJournal(stage, partition, rows, base=self.base)

    async def run(
        self,
        old_commands: OldCommands | None,
        old_account_commands: OldCommands | None,
        published: Mapping[bytes, int] | None,
    ) -> Plan:
        """Return the plan.

        1. Settle every payment: its row, and what was in flight.
        2. Find how far the commands were handled, and which of those are unanswered.
        3. Decide these as a worker would, and set the offsets at which workers start.
        """
        await self._fetch_old_movements()
        waiting = await self._waiting(self._facts.movements)
        settlements = await self._settle_all(waiting)
        await self._settle_old_holds(settlements)
        self._refuse_lost_holds(settlements)
        for payment, settlement in settlements.items():
            self._take(payment, settlement)
        if published is not None:
            self._refuse_unknown_losses(settlements)
        self._post_missing(settlements)
        if published is not None:
            numbers: dict[bytes, int] = {}
            for rebuilt in self._accounts:
                numbers |= numbers_of(rebuilt.now)
            refuse_fewer_entries(published, numbers)
        if old_account_commands is None:
            await self._refuse_unclear_copy()
        await self._answer_rules(old_account_commands)
        await self._settle_unclear(old_commands, old_account_commands)
        for asked in (self._of_accounts, self._of_payments):
            await self._decide(asked, await self._to_redo(asked))
        await self._set_positions()
        self._count()
        journals = [*self._payments, *self._accounts]
        at = partitions_of(self._gathering.commands, self._partitions)
        of_accounts = partitions_of(self._gathering.account_commands, self._partitions)
        return Plan(
            self.base,
            journals,
            self._facts.installation,
            self._gathering.source,
            [self._facts.bounds[tp].end for tp in at],
            self._facts.unanswered.unmatched_results > 0,
            [self._facts.bounds[tp].end for tp in of_accounts],
            self._facts.account_questions.unmatched_results > 0,
            self.counts,
            {guess: sorted(names) for guess, names in self._guesses.items()},
        )

    # --- payments --------------------------------------------------------------------------------

    async def _fetch_old_movements(self) -> None:
        """Read the whole ledger for payments that lack a movement of some kind.

        A hold may be older than the other movements that matter.
        """
        facts = self._facts
        short = frozenset(
            name
            for name, life in facts.lives.items()
            if life.has_amounts and _lacks_some(facts.movements.get(name, ()), life)
        )
        if short:
            facts.movements |= await self._gathering.all_movements(short)

    async def _waiting(
        self, movements_of: Mapping[str, Sequence[Movement]]
    ) -> dict[str, list[Waiting]]:
        """Return the unanswered commands of payments with a movement that no result shows."""
        facts = self._facts
        keys = {
            payment.encode()
            for payment, movements in movements_of.items()
            if _has_more(movements, facts.lives.get(payment))
        }
        wanted = {place[:2]: (key, own, place) for key, own, place in facts.unanswered.of(keys)}
        found: dict[str, list[Waiting]] = {}
        for record in await self._load(self._gathering.commands, wanted.keys()):
            key, own, place = wanted[record.partition, record.offset]
            if facts.unanswered.batch_of(*place[:2]) is not None:
                continue  # It has moved nothing: it is refused.
            try:
                command = parse_command(
                    record.value, default_currency=self._settings.default_currency
                )
            except Malformed:
                continue  # It changes nothing, and is decided again.
            waiting = Waiting(command.id or record.address, own, place, command)
            found.setdefault(key.decode(), []).append(waiting)
        for each in found.values():
            each.sort(key=lambda w: (w.place.time_ms, *w.place))
        return found

    async def _load(self, topic: str, places: AbstractSet[tuple[int, int]]) -> list[Record]:
        """Return the commands of a topic at these places, by partition and offset."""
        ranges: dict[TopicPartition, Bounds] = {}
        for partition, of_partition in groupby(sorted(places), key=lambda place: place[0]):
            offsets = [offset for _, offset in of_partition]
            ranges[TopicPartition(topic, partition)] = Bounds(offsets[0], offsets[-1] + 1)
        found: list[Record] = []

        def take(records: Iterable[Record]) -> None:
            found.extend(r for r in records if (r.partition, r.offset) in places)

        async with aclosing(
            read_ranges(
                self._log,
                ranges,
                committed_only=True,
                show=self._show,
                on_unreadable=lambda batch, _last: take(batch.heads),
            )
        ) as fetched:
            async for _, records in fetched:
                take(records)
        return sorted(found, key=lambda record: (record.partition, record.offset))

    async def _settle_all(self, waiting: Mapping[str, list[Waiting]]) -> dict[str, Settlement]:
        facts = self._facts
        names = facts.lives.keys() | facts.movements.keys()
        found = {name: self._settle(name, facts.movements, waiting) for name in names}
        lacking = frozenset(name for name, settlement in found.items() if settlement.missing)
        if lacking:
            # Nothing is posted before it is certain that the ledger lacks it, however far back.
            movements = await self._gathering.all_movements(lacking)
            found |= {name: self._settle(name, movements, waiting) for name in lacking}
        return found

    async def _settle_old_holds(self, settlements: dict[str, Settlement]) -> None:
        """Settle the payments that hold money since before what was read of the ledger.

        No result is left of them, so only what their accounts hold says that they are there.
        """
        accounts = frozenset(self._lost_holds(settlements))
        if not accounts:
            return
        names = await self._gathering.payments_that_hold(accounts)
        movements = await self._gathering.all_movements(names)
        waiting = await self._waiting(movements)
        settlements |= {name: self._settle(name, movements, waiting) for name in sorted(names)}

    def _settle(
        self,
        name: str,
        movements: Mapping[str, list[Movement]],
        waiting: Mapping[str, list[Waiting]],
    ) -> Settlement:
        partition = partition_of(name.encode(), self._partitions)
        return settle(
            name,
            self._facts.lives.get(name),
            movements.get(name, ()),
            waiting.get(name, ()),
            policy=self._policy,
            results_expired_before_ms=self._facts.results_expired_before_ms[partition],
            is_due=self._is_due,
            part_of=self._facts.unanswered.part,
        )

    def _is_due(self, time_ms: int) -> bool:
        width_ms = int(self._settings.window_seconds * 1000)
        window_end_ms = (time_ms // width_ms + 1) * width_ms
        return window_end_ms + self._longest_ms <= self._now_ms

    def _take(self, payment: str, settlement: Settlement) -> None:
        """Put a payment's row into its journal, and answer the commands that waited for it."""
        key = payment.encode()
        journal = self._payments[partition_of(key, self._partitions)]
        if settlement.row is not None:
            journal.know(key, encode_payment(settlement.row))
        for guess in settlement.guesses:
            self._guesses.setdefault(guess, []).append(payment)
        for waiting in settlement.answered:
            self._facts.unanswered.consume(key, waiting.own, waiting.place)
        for answer in settlement.answers:
            value = encode_result(payment, answer, settlement.time_ms)
            journal.emit(
                self._gathering.results, key, value, type=RESULT_TYPE, time_ms=settlement.time_ms
            )
            journal.accept()
            self.counts["commands answered from the ledger"] += 1

    # --- accounts --------------------------------------------------------------------------------

    def _refuse_unknown_losses(self, settlements: Mapping[str, Settlement]) -> None:
        """Raise ``RecoveryRefused`` where the ledger may lack more than the results show."""
        bounds, partitions = self._facts.bounds, self._partitions
        of_results = partitions_of(self._gathering.results, partitions)
        newest_ms = max((life.time_ms for life in self._facts.lives.values()), default=0)
        refuse_unknown_losses(
            [
                (partition_of(transfer.account.encode(), partitions), settlement.time_ms)
                for settlement in settlements.values()
                for transfer in settlement.missing
            ],
            results_expired=any(bounds[at].first > 0 for at in of_results),
            empty=frozenset(
                partition
                for partition, balances in enumerate(self._facts.balances)
                if not balances.entries
            ),
            in_flight_since_ms=newest_ms - CLOCKS_DIFFER_MS,
        )

    def _lost_holds(self, settlements: Mapping[str, Settlement]) -> dict[str, tuple[int, int]]:
        """Return the accounts that hold other money than their payments: both amounts."""
        held: Counter[str] = Counter()
        for settlement in settlements.values():
            row = settlement.row
            if row is not None and row.held and row.request is not None:
                held[row.request.account] += row.held
        return {
            name: (account.held, held[name])
            for balances in self._facts.balances
            for name, account in balances.accounts.items()
            if account.held != held[name]
        }

    def _refuse_lost_holds(self, settlements: Mapping[str, Settlement]) -> None:
        """Raise ``RecoveryRefused`` where an account holds other money than its payments say."""
        for name, (by_ledger, by_payments) in self._lost_holds(settlements).items():
            currency = next(
                balances.accounts[name].currency
                for balances in self._facts.balances
                if name in balances.accounts
            )
            message = (
                f"account {name!r} holds {money_text(by_ledger, currency)} by the ledger, and "
                f"{money_text(by_payments, currency)} by the results of its payments: results of "
                f"holds were deleted or lost; restore the results from a replica or a backup"
            )
            raise RecoveryRefused(message)

    def _post_missing(self, settlements: Mapping[str, Settlement]) -> None:
        """Post the movements that the ledger lacks: first those that give, then those that take.

        Where a result shows that an account was changed in between, they have the results' order.
        """
        numbers = self._last_numbers()
        changed = {
            name
            for name, changes in self._facts.account_questions.changes.items()
            if any((each.sequence or 0) > numbers[name] for each in changes)
        }
        missing: dict[str, list[tuple[Transfer, int]]] = {}
        for settlement in settlements.values():
            for transfer in settlement.missing:
                missing.setdefault(transfer.account, []).append((transfer, settlement.time_ms))
        written = set(self._post_missing_rules(changed))
        for name, transfers in missing.items():
            if name in changed:
                transfers.sort(key=lambda each: (each[1], each[0].amount < 0))
            else:
                transfers.sort(key=lambda each: (each[0].amount < 0, each[1]))
            written |= self._post_of_account(name, transfers, is_changed=name in changed)
        self._refuse_lost_rules(numbers, written)

    def _last_numbers(self) -> dict[str, int]:
        """Return the ledger's last number of each account that results say was changed."""
        found: dict[str, int] = {}
        for name in self._facts.account_questions.changes:
            balances = self._facts.balances[partition_of(name.encode(), self._partitions)]
            account = balances.accounts.get(name)
            found[name] = 0 if account is None else account.sequence
        return found

    def _post_missing_rules(self, names: Iterable[str]) -> Iterator[tuple[str, int]]:
        """Write the next entries of accounts, as far as results show them; yield their numbers."""
        for name in names:
            key, changes = name.encode(), self._facts.account_questions.changes[name]
            journal = self._accounts[partition_of(key, self._partitions)]
            accounts = self._facts.balances[journal.partition].accounts
            while (found := account_questions.next_change(accounts.get(name), changes)) is not None:
                entry, time_ms = found
                accounts[name] = entry.account
                journal.put(key, encode_account(entry.account))
                value = encode_ledger_entry(entry, partition=journal.partition, time_ms=time_ms)
                journal.emit(self._gathering.ledger, key, value, type=ENTRY_TYPE, time_ms=time_ms)
                journal.accept()
                self.counts["missing entries posted, known from results"] += 1
                yield name, entry.account.sequence

    def _refuse_lost_rules(
        self, numbers: Mapping[str, int], written: AbstractSet[tuple[str, int]]
    ) -> None:
        """Raise ``RecoveryRefused`` where results show changes after the ledger's last entry.

        ``written`` are the account and number of those that were written as they were.
        """
        for name, changes in self._facts.account_questions.changes.items():
            for result in changes:
                number = result.sequence or 0
                if number > numbers[name] and (name, number) not in written:
                    message = (
                        f"a result says that the {result.type} of account {name!r} is its entry "
                        f"{number}, and the ledger has {numbers[name]}: entries were lost; restore "
                        f"the ledger from a replica or a backup"
                    )
                    raise RecoveryRefused(message)

    def _post_of_account(
        self, name: str, transfers: Sequence[tuple[Transfer, int]], *, is_changed: bool
    ) -> set[tuple[str, int]]:
        """Post the missing movements of an account; return the numbers of changes between them.

        One that is declined is tried again after each of the others: the clocks of brokers differ.
        """
        written: set[tuple[str, int]] = set()
        journal = self._accounts[partition_of(name.encode(), self._partitions)]
        left = deque(transfers)
        declined: list[tuple[Transfer, int]] = []
        reasons: dict[str | None, Reason] = {}
        while left:
            transfer, time_ms = left.popleft()
            if transfer.payment in reasons:  # The movements of one payment keep their order.
                declined.append((transfer, time_ms))
            elif (reason := self._post(journal, transfer, time_ms)) is not None:
                reasons[transfer.payment] = reason
                declined.append((transfer, time_ms))
            else:
                if is_changed:
                    written |= set(self._post_missing_rules({name}))
                left.extendleft(reversed(declined))
                declined.clear()
                reasons.clear()
        for transfer, _ in declined[:1]:
            message = (
                f"results say that payment {transfer.payment!r} moved {transfer.amount} "
                f"{transfer.currency} on account {transfer.account!r}, the ledger lacks it, and it "
                f"can't be posted ({reasons[transfer.payment]}): the ledger lacks more; restore it "
                f"from a backup"
            )
            raise RecoveryRefused(message)
        return written

    def _post(self, journal: NewJournal, transfer: Transfer, time_ms: int) -> Reason | None:
        """Post a movement that the ledger lacks; a reason means that it is declined."""
        settings = self._settings
        accounts = self._facts.balances[journal.partition]
        opening = Opening(settings.opening_balance, settings.default_currency)
        posting = post(accounts.accounts.get(transfer.account), transfer, opening=opening)
        if isinstance(posting, Reason):
            return posting
        accounts.accounts[transfer.account] = posting.account
        key = transfer.account.encode()
        journal.put(key, encode_account(posting.account))
        for entry in posting.entries:
            name = counter_name(entry.transfer.counter, journal.partition)
            counter = accounts.counters.setdefault(name, Counter())
            changed = post_counter(accounts.counter(name), entry)
            counter.clear()
            counter.update(changed.balances)
            journal.put(name.encode(), encode_counter(changed))
            value = encode_ledger_entry(entry, partition=journal.partition, time_ms=time_ms)
            journal.emit(self._gathering.ledger, key, value, type=ENTRY_TYPE, time_ms=time_ms)
            self.counts["missing entries posted, known from results"] += 1
        journal.accept()
        return None

    # --- commands --------------------------------------------------------------------------------

    async def _refuse_unclear_copy(self) -> None:
        """Raise ``RecoveryRefused`` where a copy's results fit later commands too.

        If none of the commands in question would change its account, it does not matter.
        """
        unclear = self._facts.unclear_in_copy
        left = [
            each
            for (partition, offset), each in self._facts.account_questions.left().items()
            if offset <= unclear.get(partition, -1)
            and each.key is not None
            and partition_of(each.key, self._partitions) == partition
        ]
        if left and await self._change_some(left):
            message = (
                f"{_named(self._of_accounts, left)} have no result, and the results that are left "
                f"fit the last commands as well as the first: retention may have deleted results. "
                f"{_choose([self._of_accounts])}"
            )
            raise RecoveryRefused(message)

    async def _answer_rules(self, choice: OldCommands | None) -> None:
        """Answer the commands for accounts whose entries are in the ledger, from the ledger.

        And those before them that have none: they changed nothing, and must not do so now.
        """
        questions = self._facts.account_questions
        entries: dict[str, list[RuleEntry]] = {}
        for balances in self._facts.balances:
            for entry in unshown(balances.rules, questions.changes):
                entries.setdefault(entry.name, []).append(entry)
        commands = await self._unanswered_for(frozenset(name.encode() for name in entries))
        match = match_copied if self._gathering.source.copied else match_times
        matches: dict[str, list[RuleMatch]] = {}
        for name, left in commands.items():
            key = name.encode()
            given = [(entry, self._result_is_deleted(entry)) for entry in entries[name]]
            for found in match(given, left, partial(questions.last_answered, key)):
                command = found.command
                if found.is_old:
                    questions.forget(key, command.own, command.place)
                    self.counts[_OLD] += 1
                else:
                    questions.consume(key, command.own, command.place)
                matches.setdefault(name, []).append(found)
        others: list[list[RuleAnswer]] = [[] for _ in range(self._partitions)]
        changing: list[Left] = []
        for name, found_of_one in matches.items():
            partition = partition_of(name.encode(), self._partitions)
            answers, unknown = self._unchanging(found_of_one, commands[name], choice)
            others[partition].extend(answers)
            changing.extend(unknown)
        if changing:
            message = (
                f"{_named(self._of_accounts, changing)} have neither a result nor an entry, and "
                f"changed nothing; what was answered is not known, and now they would change their "
                f"accounts. To leave them without an answer: {self._of_accounts.option} answered. "
                f"To carry them out now: {self._of_accounts.option} unanswered"
            )
            raise RecoveryRefused(message)
        for balances in self._facts.balances:
            changes = _in_order_of_ledger(balances.rules, matches)
            for answer in in_order_of_commands(changes, others[balances.partition]):
                self._answer_rule(answer)
                self.counts["commands answered from the ledger"] += 1

    def _unchanging(
        self,
        matches: Sequence[RuleMatch],
        commands: Sequence[UnansweredRule],
        choice: OldCommands | None,
    ) -> tuple[list[RuleAnswer], list[Left]]:
        """Return the answers of an account's commands that changed nothing before an entry.

        And those of which it is not known, where there is no ``choice``.
        """
        questions = self._facts.account_questions
        answers: list[RuleAnswer] = []
        unknown: list[Left] = []
        for command, match in without_entry(matches, commands):
            entry, place = match.entry, command.place
            name, key = entry.name, entry.name.encode()
            left = Left(place, key, lacks_result=True, lacks_letter=False)
            if match.is_old or self._may_be_answered(self._of_accounts, left):
                continue  # It counts as answered.
            answer = answer_unchanging(command, entry)
            if answer is not None:
                questions.consume(key, command.own, place)
                answers.append(RuleAnswer(name, place, answer, entry.time_ms))
            elif choice == "answered":
                questions.forget(key, command.own, place)
                self.counts[_OLD] += 1
            elif choice is None:
                unknown.append(left)
        return answers, unknown

    def _result_is_deleted(self, entry: RuleEntry) -> bool:
        """Whether the result of an entry that no result shows was given, and deleted."""
        partition = partition_of(entry.name.encode(), self._partitions)
        before_ms = self._facts.account_results_expired_before_ms[partition]
        if before_ms == -inf:
            return False
        # Results for one account have the order of its entries.
        last = self._facts.account_questions.last_shown(entry.name)
        return entry.account.sequence <= last if last else entry.time_ms <= before_ms

    def _answer_rule(self, given: RuleAnswer) -> None:
        """Answer a command for an account."""
        key, time_ms = given.name.encode(), given.time_ms
        value = encode_account_result(given.name, given.answer, time_ms)
        journal = self._accounts[partition_of(key, self._partitions)]
        topic = self._gathering.account_results
        journal.emit(topic, key, value, type=ACCOUNT_RESULT_TYPE, time_ms=time_ms)
        journal.accept()

    async def _unanswered_for(self, keys: AbstractSet[bytes]) -> dict[str, list[UnansweredRule]]:
        """Return the unanswered commands for these accounts that can be read, in their order."""
        questions = self._facts.account_questions
        wanted = {place[:2]: (key, own, place) for key, own, place in questions.of(set(keys))}
        found: dict[str, list[UnansweredRule]] = {}
        for record in await self._load(self._gathering.account_commands, wanted.keys()):
            key, own, place = wanted[record.partition, record.offset]
            if questions.batch_of(*place[:2]) is None and not questions.is_malformed(record):
                command = questions.parse(record)
                each = UnansweredRule(command.id or record.address, own, place, command)
                found.setdefault(key.decode(), []).append(each)
        return found

    async def _settle_unclear(
        self, old_commands: OldCommands | None, old_account_commands: OldCommands | None
    ) -> None:
        """Decide which of the last commands were answered, where their results may be deleted."""
        unclear: list[tuple[_Asked, list[Left]]] = []
        for asked, choice in (
            (self._of_payments, old_commands),
            (self._of_accounts, old_account_commands),
        ):
            handled = asked.unanswered.handled
            left = [
                each
                for (partition, offset), each in asked.unanswered.left().items()
                if offset >= handled.get(partition, 0) and self._may_be_answered(asked, each)
            ]
            if not left or choice == "unanswered":
                continue
            if choice == "answered":
                _take_for_answered(left, handled)
            elif asked is self._of_payments or await self._change_some(left):
                unclear.append((asked, left))
            else:
                await self._answer_as_now(left)
        if unclear:
            raise _unclear(unclear)

    async def _change_some(self, commands: Sequence[Left]) -> bool:
        """Whether one of these commands for accounts would change its account now.

        If none would, it does not matter if they were answered.
        """
        questions = self._facts.account_questions
        places = {each.place[:2] for each in commands}
        for record in await self._load(self._gathering.account_commands, places):
            if questions.batch_of(*record[1:3]) is not None or questions.is_malformed(record):
                continue
            name = (record.key or b"").decode()
            partition = partition_of(record.key or b"", self._partitions)
            account = self._facts.balances[partition].accounts.get(name)
            command = questions.parse(record)
            if decide_account(name, account, command, own="").entry is not None:
                return True
        return False

    async def _answer_as_now(self, commands: Sequence[Left]) -> None:
        """Answer unclear commands for accounts, none of which would change its account now.

        They may be new, so they get an answer; one that was answered long ago gets another. The
        rebuild gives it, and not a worker: it might be after another command. So many that the
        commits would be too many are left to the worker.
        """
        if len(commands) > ANSWERS_AT_ONCE:
            return
        questions = self._facts.account_questions
        places = {each.place[:2]: each for each in commands}
        keys = {each.key for each in commands if each.key is not None}
        own_at = {place[:2]: own for _, own, place in questions.of(keys)}
        for record in await self._load(self._gathering.account_commands, places.keys()):
            left = places[record.partition, record.offset]
            if questions.batch_of(*left.place[:2]) is not None or questions.is_malformed(record):
                self._changes_nothing.add(left.place[:2])
                continue
            command, key = questions.parse(record), record.key or b""
            name = key.decode()
            account = self._facts.balances[partition_of(key, self._partitions)].accounts.get(name)
            decision = decide_account(name, account, command, own=command.id or record.address)
            self._answer_rule(RuleAnswer(name, left.place, decision.answer, self._now_ms))
            questions.consume(key, own_at[left.place[:2]], left.place)
            self.counts["unclear commands that change nothing, answered now"] += 1
        _take_for_answered(commands, questions.handled)

    async def _to_redo(self, asked: _Asked) -> list[_Redo]:
        """Return the unanswered commands before the offsets at which workers will start."""
        handled = asked.unanswered.handled
        before = {
            at: each
            for at, each in asked.unanswered.left().items()
            if each.place.offset < handled.get(at[0], 0)
        }
        again = self._changes_nothing if asked is self._of_accounts else set()
        forgotten = {
            at
            for at, each in before.items()
            if at not in again and self._may_be_answered(asked, each)
        }
        if forgotten:
            self.counts[_OLD] += len(forgotten)
        records = await self._load(asked.topic, before.keys() - forgotten)
        if not self._gathering.source.copied:  # In a copy times say nothing.
            records = in_order_of_time(records)
        return [_Redo(record, before[record.partition, record.offset]) for record in records]

    def _may_be_answered(self, asked: _Asked, left: Left) -> bool:
        """Whether the answer to a command may have been given, and deleted by retention."""
        place = left.place
        if left.key is None:
            before_ms = asked.letters_expired_before_ms[place.partition]
        else:
            before_ms = asked.results_expired_before_ms[partition_of(left.key, self._partitions)]
        if before_ms == -inf:
            return False
        if asked is self._of_accounts and left.key is not None:
            last = self._facts.account_questions.last_answered(left.key, place.partition)
            if place.offset < last:
                return True  # The commands for one account are answered in their order.
        if not self._gathering.source.copied:
            return place.time_ms <= before_ms
        # Copied commands have the times of the copy, so their order decides.
        return place.offset < asked.unanswered.first_answered.get(place.partition, inf)

    async def _decide(self, asked: _Asked, redo: Sequence[_Redo]) -> None:
        """Decide unanswered commands as a worker that reads them now."""
        deciding = Deciding(self._log, self._stages, asked.stage, self._partitions)
        deciding.restore(asked.journals)
        for record, left in redo:
            key = record.key
            # The partition that it would be forwarded to, so that it need not be forwarded.
            right = partition_of(key, self._partitions) if key else record.partition
            journal = asked.journals[right]
            if (batch := asked.unanswered.batch_of(*left.place[:2])) is not None:
                deciding.refuse(record, batch, journal)
            elif asked.unanswered.is_malformed(record):
                await self._dead_letter(deciding, record, left, journal)
            else:
                await deciding.decide(record, journal)
            self.counts["unanswered commands decided now"] += 1
        self._write_lost_letters(asked, deciding)

    def _write_lost_letters(self, asked: _Asked, deciding: Deciding) -> None:
        """Publish the dead letters of batches that were dead-lettered, where they are missing."""
        for batch in asked.unanswered.lost_letters():
            if batch.timestamp <= asked.letters_expired_before_ms[batch.partition]:
                continue  # Retention has deleted it.
            answered = sum(1 for _ in batch.heads)
            unanswered = batch.last_offset + 1 - batch.offset - answered
            deciding.dead_letter(batch, asked.journals[batch.partition], unanswered=unanswered)
            self.counts["dead letters of batches that were missing"] += 1

    async def _dead_letter(
        self, deciding: Deciding, record: Record, left: Left, journal: NewJournal
    ) -> None:
        """Decide a malformed command, and publish its result or dead letter where missing."""
        for output in await deciding.outputs_of(record, journal.partition):
            is_letter = output.topic == journal.stage.dead_letters
            if left.lacks_letter if is_letter else left.lacks_result:
                journal.publish(output)
        journal.accept()

    async def _set_positions(self) -> None:
        """Start the journals after the handled records, and accept no message of the old ones."""
        payments, accounts = self._stages
        internal = [*payments.internal_inputs, *accounts.internal_inputs]
        bounds = await self._log.bounds(
            [tp for topic in internal for tp in partitions_of(topic, self._partitions)]
        )
        senders = [
            f"{sender.name}/{partition}"
            for sender in (payments, accounts)
            for partition in range(self._partitions)
        ]
        for journal in (*self._payments, *self._accounts):
            inputs = {
                topic: bounds[TopicPartition(topic, journal.partition)].end
                for topic in journal.stage.internal_inputs
            }
            asked = self._of_payments if journal.stage is payments else self._of_accounts
            at = TopicPartition(asked.topic, journal.partition)
            first, handled = self._facts.bounds[at].first, asked.unanswered.handled
            inputs[asked.topic] = max(first, handled.get(journal.partition, 0))
            journal.close(inputs, senders, taken_up_to=self.base)

    def _count(self) -> None:
        facts = self._facts
        self.counts["commands read"] = facts.unanswered.commands
        self.counts["results read"] = facts.results
        self.counts["ledger entries read"] = sum(each.entries for each in facts.balances)
        self.counts["accounts"] = sum(len(each.accounts) for each in facts.balances)
        self.counts["payments"] = sum(len(journal.now) for journal in self._payments)
        if facts.foreign:
            self.counts["public records that no stage wrote, skipped"] = facts.foreign


def _has_more(movements: Sequence[Movement], life: Life | None) -> bool:
    """Whether the ledger may have a movement that no result shows."""
    if life is None:
        return True
    if not life.has_amounts:
        return len(movements) > life.movements
    return max(surplus_of(life, movements).values()) > 0


def _lacks_some(movements: Sequence[Movement], life: Life) -> bool:
    """Whether what was read of the ledger has less than the results show."""
    if min(surplus_of(life, movements).values()) < 0:
        return True
    return life.state is not None and life.captured is not None and not shows_all(life, movements)


def _take_for_answered(commands: Sequence[Left], handled: dict[int, int]) -> None:
    for each in commands:
        partition, offset, _ = each.place
        handled[partition] = max(offset + 1, handled.get(partition, 0))


def _in_order_of_ledger(
    rules: Sequence[RuleEntry], matches: Mapping[str, Sequence[RuleMatch]]
) -> list[RuleAnswer]:
    """Return the answers of the commands whose entries in the ledger have no result yet."""
    found = {
        (name, match.entry.account.sequence): match
        for name, of_one in matches.items()
        for match in of_one
        if not match.is_old
    }
    answers: list[RuleAnswer] = []
    for entry in rules:
        match = found.get((entry.name, entry.account.sequence))
        if match is not None:
            command = match.command
            answer = AccountAnswer(command.id, entry.kind, Outcome.COMPLETED, account=entry.account)
            answers.append(RuleAnswer(entry.name, command.place, answer, entry.time_ms))
    return answers


def _named(asked: _Asked, left: Sequence[Left]) -> str:
    partitions = sorted({each.place.partition for each in left})
    return f"{len(left):,} commands of {asked.topic} (partitions {partitions})"


def _choose(asked: Sequence[_Asked]) -> str:
    answered, unanswered = (
        " ".join(f"{each.option} {choice}" for each in asked)
        for choice in ("answered", "unanswered")
    )
    return (
        f"If workers ran when they came in, they were answered: {answered}. If none "
        f"has run since they came, they were not: {unanswered}. A wrong choice loses them, or "
        f"carries them out a second time"
    )


def _unclear(unclear: Sequence[tuple[_Asked, Sequence[Left]]]) -> RecoveryRefused:
    named = " and ".join(_named(asked, left) for asked, left in unclear)
    message = (
        f"{named} have no result, and are older than every result that is left: retention may have "
        f"deleted it. {_choose([asked for asked, _ in unclear])}"
    )
    return RecoveryRefused(message)
