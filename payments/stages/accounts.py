"""The accounts stage: moves money between accounts, in double entries."""

import math
from collections.abc import Iterable
from functools import partial

from msgspec import DecodeError

from exactstage.journal import Journal, Rows
from exactstage.log import Record
from exactstage.stage import Stage
from payments.domain.account import (
    Account,
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
from payments.records.row_cache import RowCache
from payments.settings import Settings

ENTRY_TYPE = "accounts.entry"

_POSTED = encode_settled(Settled(ok=True))


def accounts_stage(settings: Settings) -> Stage:
    """Return the stage that moves money between accounts."""
    return Stage(
        name="accounts",
        logic=AccountsLogic(settings),
        changelog=settings.changelog("accounts"),
        dead_letters=settings.topic("accounts.dead-letters"),
        internal_inputs=(settings.topic("payments.transfers"),),
        outputs=(settings.topic("accounts.ledger"),),
        internal_outputs=(settings.topic("payments.inbox"),),
        keeps={
            settings.topic("payments.transfers"): settings.retention_seconds,
            settings.topic("accounts.ledger"): math.inf,
        },
        settings=settings.of("opening_balance", "default_currency"),
    )


class AccountsLogic:
    """Posts transfers to accounts, and tells each payment how its transfer ended."""

    def __init__(self, settings: Settings) -> None:
        self._ledger = settings.topic("accounts.ledger")
        self._inbox = settings.topic("payments.inbox")
        self._opening = Opening(settings.opening_balance, settings.default_currency)
        self._rows = RowCache[Account](decode_account)
        self._counters = RowCache[CounterAccount](decode_counter)
        self._second_legs: dict[int, dict[bytes, CounterAccount]] = {}
        """Counter-accounts after the open commit of each partition, by name."""

    def handle(self, record: Record, journal: Journal) -> None:
        """Post one transfer, or decline it."""
        transfer = decode_transfer(record.value or b"")
        key = transfer.account.encode()
        account = self._rows.get(key, journal.get(key))
        posting = post(account, transfer, opening=self._opening)
        if isinstance(posting, Reason):
            reply = encode_settled(Settled(ok=False, reason=posting))
            self._reply(transfer.payment, reply, record, journal)
            return
        row = encode_account(posting.account)
        journal.put(key, row)
        self._rows.put(key, row, posting.account)
        partition, time_ms = journal.partition, record.timestamp
        for entry in posting.entries:
            value = encode_ledger_entry(entry, partition=partition, time_ms=time_ms)
            journal.emit(self._ledger, partition, key, value, ENTRY_TYPE, time_ms)
        self._reply(transfer.payment, _POSTED, record, journal)
        self._post_second_legs(posting.entries, journal)  # Last: it can't be discarded.

    def _post_second_legs(self, entries: Iterable[Entry], journal: Journal) -> None:
        """Change counter-accounts; every payment does, so their rows are written once a commit."""
        counters = self._second_legs.get(journal.partition)
        if counters is None:
            counters = self._second_legs[journal.partition] = {}
            journal.before_seal(partial(self._write_counters, journal))
        for entry in entries:
            name = counter_name(entry.transfer.counter, journal.partition).encode()
            counter = counters.get(name) or self._counters.get(name, journal.get(name))
            counters[name] = post_counter(counter, entry)

    def _write_counters(self, journal: Journal) -> None:
        for name, counter in self._second_legs.pop(journal.partition).items():
            row = encode_counter(counter)
            journal.put(name, row)
            self._counters.put(name, row, counter)

    def _reply(self, payment: str | None, settled: bytes, record: Record, journal: Journal) -> None:
        """Answer to the partition of the payments stage that sent the transfer."""
        assert journal.source is not None, "transfers come from the payments stage alone"
        assert payment is not None, "a transfer between the stages names its payment"
        partition = journal.source.partition
        journal.emit(self._inbox, partition, payment.encode(), settled, "", record.timestamp)

    def on_error(self, record: Record, error: Exception, journal: Journal) -> None:
        """Decline a transfer that met a bug, so that its payment does not wait for ever."""
        del error
        payment = decode_transfer(record.value or b"").payment
        reply = encode_settled(Settled(ok=False, reason=Reason.INTERNAL_ERROR))
        self._reply(payment, reply, record, journal)

    def restored(self, partition: int, rows: Rows) -> None:
        """Check that each row is one; nothing is kept beside them, but for the open commit."""
        for row in rows.values():
            try:
                decode_account(row)
            except DecodeError:
                decode_counter(row)
        self.released(partition)

    def released(self, partition: int) -> None:
        """Drop what no commit of this worker will hold."""
        self._second_legs.pop(partition, None)

    def tick(self, journal: Journal, now_ms: int, limit: int) -> bool:
        """Time changes nothing."""
        del journal, now_ms, limit
        return False
