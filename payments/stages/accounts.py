"""The accounts stage: moves money between accounts, in double entries, and keeps their rules."""

import math
from collections.abc import Iterable
from functools import partial

from msgspec import DecodeError

from exactstage import Context, Record, Refused, Stage
from payments.domain.account import (
    CounterAccount,
    Entry,
    Opening,
    Settled,
    counter_name,
    post,
    post_counter,
)
from payments.domain.account_table import AccountAnswer, decide_account
from payments.domain.results import Outcome, Reason
from payments.records.account_commands import (
    own_of_account_command,
    parse_account_command,
    parse_account_id,
    require_account_name,
)
from payments.records.commands import Malformed
from payments.records.internal_codec import (
    decode_account,
    decode_counter,
    decode_transfer,
    encode_account,
    encode_counter,
    encode_settled,
)
from payments.records.record_writer import encode_account_result, encode_ledger_entry
from payments.settings import Settings
from payments.stages.account_counts import AccountCounts

ENTRY_TYPE = "accounts.entry"
ACCOUNT_RESULT_TYPE = "accounts.result"

DECIDES_BY = ("opening_balance", "default_currency")
"""Settings that its decisions depend on."""

_POSTED = encode_settled(Settled(ok=True))


def accounts_stage(settings: Settings) -> Stage:
    """Return the stage that moves money between accounts, and decides the commands for them."""
    return Stage(
        name="accounts",
        logic=AccountsLogic(settings),
        changelog=settings.changelog("accounts"),
        dead_letters=settings.topics.accounts_dead_letters,
        public_inputs=(settings.topics.account_commands,),
        added_inputs=(settings.topics.account_commands,),
        internal_inputs=(settings.topics.transfers,),
        outputs=(settings.topics.ledger, settings.topics.account_results),
        internal_outputs=(settings.topics.inbox,),
        forward_to=settings.topics.transfers,
        keeps={
            settings.topics.account_commands: settings.retention_seconds,
            settings.topics.account_results: settings.retention_seconds,
            settings.topics.transfers: settings.retention_seconds,
            settings.topics.ledger: math.inf,
        },
        settings=settings.of(*DECIDES_BY),
    )


class AccountsLogic:
    """Posts transfers to accounts, and reports the end of each to its payment.

    Answers each command for an account once.
    """

    def __init__(self, settings: Settings) -> None:
        self._ledger = settings.topics.ledger
        self._inbox = settings.topics.inbox
        self._commands = settings.topics.account_commands
        self._results = settings.topics.account_results
        self._currency = settings.default_currency
        self._opening = Opening(settings.opening_balance, settings.default_currency)
        self.counts = AccountCounts()
        self._second_legs: dict[int, dict[bytes, CounterAccount]] = {}
        """Counter-accounts after the open commit of each partition, by name."""

    def handle(self, record: Record, context: Context) -> None:
        """Decide a command for an account, or post one transfer, or decline it."""
        if record.topic == self._commands:
            self._command(record, context)
            return
        transfer = decode_transfer(record.value or b"")
        key = transfer.account.encode()
        row = context.get(key)
        account = None if row is None else decode_account(row)
        posting = post(account, transfer, opening=self._opening)
        if isinstance(posting, Reason):
            reply = encode_settled(Settled(ok=False, reason=posting))
            self._reply(transfer.payment, reply, record, context)
            return
        context.put(key, encode_account(posting.account))
        partition, time_ms = context.partition, record.timestamp
        for entry in posting.entries:
            value = encode_ledger_entry(entry, partition=partition, time_ms=time_ms)
            context.emit(self._ledger, key, value, type=ENTRY_TYPE, time_ms=time_ms)
        self._reply(transfer.payment, _POSTED, record, context)
        self._post_second_legs(posting.entries, context)  # Last: it can't be discarded.

    def _command(self, record: Record, context: Context) -> None:
        """Decide a command for an account: an entry of what it changes, and its result."""
        try:
            name = parse_account_id(record.key)
        except Malformed as error:
            raise Refused(error.reason, error.message) from error
        try:
            require_account_name(name, record.value)
            command = parse_account_command(record.value, default_currency=self._currency)
        except Malformed as error:
            answer = AccountAnswer(
                command=error.command or record.address,
                type=error.type,
                outcome=Outcome.REJECTED,
                reason=error.reason,
                message=error.message,
            )
            self._answer(name, answer, context)
            raise Refused(error.reason, error.message) from error
        key = name.encode()
        row = context.get(key)
        decision = decide_account(
            name,
            None if row is None else decode_account(row),
            command,
            own=command.id or record.address,
        )
        if (entry := decision.entry) is not None:
            context.put(key, encode_account(entry.account))
            value = encode_ledger_entry(
                entry, partition=context.partition, time_ms=record.timestamp
            )
            context.emit(self._ledger, key, value, type=ENTRY_TYPE)
        self._answer(name, decision.answer, context)

    def _answer(self, name: str, answer: AccountAnswer, context: Context) -> None:
        value = encode_account_result(name, answer, context.time_ms)
        context.emit(self._results, name.encode(), value, type=ACCOUNT_RESULT_TYPE)
        context.when_published(lambda _now_ms: self.counts.published(answer))

    def _post_second_legs(self, entries: Iterable[Entry], context: Context) -> None:
        """Change counter-accounts. Every payment does, so their rows are written once a commit."""
        counters = self._second_legs.get(context.partition)
        if counters is None:
            counters = self._second_legs[context.partition] = {}
            context.before_seal(partial(self._write_counters, context))
        for entry in entries:
            name = counter_name(entry.transfer.counter, context.partition).encode()
            counter = counters.get(name)
            if counter is None and (row := context.get(name)) is not None:
                counter = decode_counter(row)
            counters[name] = post_counter(counter, entry)

    def _write_counters(self, context: Context) -> None:
        for name, counter in self._second_legs.pop(context.partition).items():
            context.put(name, encode_counter(counter))

    def _reply(self, payment: str | None, settled: bytes, record: Record, context: Context) -> None:
        """Answer to the partition of the payments stage that sent the transfer."""
        assert context.source is not None, "transfers come from the payments stage only"
        assert payment is not None, "a transfer between the stages names its payment"
        partition = context.source.partition
        context.emit(
            self._inbox,
            payment.encode(),
            settled,
            partition=partition,
            time_ms=record.timestamp,
        )

    def on_error(self, record: Record, error: Exception, context: Context) -> None:
        """Answer a command that met a bug, or is too large for the engine.

        A transfer that met one is declined, so that its payment does not wait for ever.
        """
        if record.topic == self._commands:
            self._reject(record, error, context)
            return
        payment = decode_transfer(record.value or b"").payment
        reply = encode_settled(Settled(ok=False, reason=Reason.INTERNAL_ERROR))
        self._reply(payment, reply, record, context)

    def _reject(self, record: Record, error: Exception, context: Context) -> None:
        try:
            name = parse_account_id(record.key)
        except Malformed:
            return  # It names no account, so there is no key for an answer.
        own, type_ = own_of_account_command(record.value)
        if isinstance(error, Refused):
            reason, message = Reason(error.reason), str(error)
        else:
            reason = Reason.INTERNAL_ERROR
            message = f"{type(error).__name__}; nothing was changed, see the dead letters"
        answer = AccountAnswer(
            command=own or record.address,
            type=type_,
            outcome=Outcome.REJECTED,
            reason=reason,
            message=message,
        )
        self._answer(name, answer, context)

    def check(self, key: bytes, row: bytes) -> None:
        """Raise ``DecodeError`` for what is neither an account nor a counter-account."""
        del key
        try:
            decode_account(row)
        except DecodeError:
            decode_counter(row)

    def released(self, partition: int) -> None:
        """Drop the changes that no commit of this worker will have."""
        self._second_legs.pop(partition, None)
