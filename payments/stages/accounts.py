"""The accounts stage: moves money between accounts, in double entries."""

import math
from collections.abc import Iterable, Mapping
from functools import partial

from msgspec import DecodeError

from exactstage import Context, Record, Stage
from payments.domain.account import (
    CounterAccount,
    Entry,
    Opening,
    Settled,
    counter_name,
    post,
    post_counter,
)
from payments.domain.results import Reason
from payments.records.internal_codec import (
    decode_account,
    decode_counter,
    decode_transfer,
    encode_account,
    encode_counter,
    encode_settled,
)
from payments.records.record_writer import encode_ledger_entry
from payments.settings import Settings

ENTRY_TYPE = "accounts.entry"

_POSTED = encode_settled(Settled(ok=True))


def accounts_stage(settings: Settings) -> Stage:
    """Return the stage that moves money between accounts."""
    return Stage(
        name="accounts",
        logic=AccountsLogic(settings),
        changelog=settings.changelog("accounts"),
        dead_letters=settings.topics.accounts_dead_letters,
        internal_inputs=(settings.topics.transfers,),
        outputs=(settings.topics.ledger,),
        internal_outputs=(settings.topics.inbox,),
        keeps={
            settings.topics.transfers: settings.retention_seconds,
            settings.topics.ledger: math.inf,
        },
        settings=settings.of("opening_balance", "default_currency"),
    )


class AccountsLogic:
    """Posts transfers to accounts, and reports the end of each to its payment."""

    def __init__(self, settings: Settings) -> None:
        self._ledger = settings.topics.ledger
        self._inbox = settings.topics.inbox
        self._opening = Opening(settings.opening_balance, settings.default_currency)
        self._second_legs: dict[int, dict[bytes, CounterAccount]] = {}
        """Counter-accounts after the open commit of each partition, by name."""

    def handle(self, record: Record, context: Context) -> None:
        """Post one transfer, or decline it."""
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
        """Decline a transfer that met a bug, so that its payment does not wait for ever."""
        del error
        payment = decode_transfer(record.value or b"").payment
        reply = encode_settled(Settled(ok=False, reason=Reason.INTERNAL_ERROR))
        self._reply(payment, reply, record, context)

    def restored(self, partition: int, rows: Mapping[bytes, bytes]) -> None:
        """Check that each row can be decoded; only the open commit has further state."""
        for row in rows.values():
            try:
                decode_account(row)
            except DecodeError:
                decode_counter(row)
        self.released(partition)

    def released(self, partition: int) -> None:
        """Drop the changes that no commit of this worker will have."""
        self._second_legs.pop(partition, None)

    def tick(self, context: Context, now_ms: int, limit: int) -> bool:
        """Do nothing: accounts have no timers."""
        del context, now_ms, limit
        return False
