"""Accounts, read from the accounts stage's topics: linearizable balances and ledger pages.

The stage publishes nothing before its journal is acknowledged (docs/design.md 4.2). So a reader at
the journal's current end has every posting that is visible anywhere. The row's sequence is that of
the last ledger entry to read.
"""

import asyncio
from collections.abc import Sequence

from exactstage import Record, TopicPartition, partition_of
from exactstage.inspection import RESERVED
from exactstage.kafka import Trouble, troubles_in_words
from payments.client.arguments import require_text
from payments.client.catching_up import CHUNKS_AT_ONCE, Intake, PartitionView
from payments.client.errors import InvalidCommand
from payments.client.index import Index, Row
from payments.client.ledger import places, read_page
from payments.client.transport import Transport
from payments.domain.account import is_counter_name, partition_of_counter
from payments.domain.names import NAME_RULE, is_name
from payments.domain.results import Reason
from payments.records.internal_codec import decode_account, decode_counter
from payments.records.record_models import AccountBalance, CounterBalance, LedgerEntry
from payments.settings import Settings

MAX_PAGE_ENTRIES = 1000


class AccountView:
    """Balances and ledger pages of all accounts; a partition is indexed at its first request."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self._transport, self._brokers = transport, settings.brokers
        self._journal = settings.changelog("accounts")
        self._ledger = settings.topics.ledger
        name = f"accounts-{settings.app_id}"
        self._index = Index(settings.client_state_dir, name, self._journal)
        self._partitions: dict[TopicPartition, PartitionView] = {}
        # Separate slots, so that balances do not wait for entries.
        self._rows = Intake(rows, self._index.take_rows, asyncio.Semaphore(CHUNKS_AT_ONCE))
        self._entries = Intake(places, self._index.take_entries, asyncio.Semaphore(CHUNKS_AT_ONCE))

    async def close(self) -> None:
        """Stop reading, and close the index."""
        for partition in self._partitions.values():
            await partition.close()
        await asyncio.to_thread(self._index.close)

    @property
    def progress(self) -> str | None:
        """How far the reading is before its end, or what blocks it, in words; else None."""
        if troubles := self.troubles():
            return f"accounts can't be read to the end: {'; '.join(troubles_in_words(troubles))}"
        reported = (partition.progress for partition in self._partitions.values())
        found = next((progress for progress in reported if progress is not None), None)
        return found and f"accounts are being read from the topics: {found}; ask again"

    def troubles(self) -> list[Trouble]:
        """Return what prevents reading to the ends now, even if only for a moment."""
        reported = (partition.trouble(self._brokers) for partition in self._partitions.values())
        return [trouble for trouble in reported if trouble is not None]

    @property
    def trouble(self) -> str | None:
        """Why accounts can't be read: their index fails."""
        return self._index.problem

    async def balance(self, account: str, partitions: int) -> AccountBalance | None:
        """Return the account as it is now; None when it does not exist. ``account`` is valid."""
        key = account.encode()
        row = await self._row(key, partition_of(key, partitions))
        if row is None:
            return None
        found = decode_account(row)
        return AccountBalance(
            account=account,
            balance=found.balance,
            currency=found.currency,
            sequence=found.sequence,
            held=found.held,
            credit_limit=found.credit_limit,
            status=found.status.value,
        )

    async def counter(self, name: str, partitions: int) -> list[CounterBalance] | None:
        """Return a counter-account, by currency in their order; None when it does not exist."""
        number = partition_of_counter(name)
        if number is None or number >= partitions:
            return None
        row = await self._row(name.encode(), number)
        if row is None:
            return None
        found = decode_counter(row)
        return [
            CounterBalance(
                account=name,
                balance=found.balances.get(currency, 0),
                currency=currency,
                held=found.held.get(currency, 0),
            )
            for currency in sorted(found.balances.keys() | found.held.keys())
        ]

    async def entries(
        self, account: str, after: int, limit: int, partitions: int
    ) -> list[LedgerEntry] | None:
        """Return the account's entries after sequence ``after``, at most ``limit``, in order.

        None when the account does not exist.
        """
        # Both in one call, so that the error names all missing rights.
        await self._transport.add_topics([self._journal, self._ledger])
        held = await self.balance(account, partitions)
        if held is None:
            return None
        if after >= held.sequence:
            return []
        key = account.encode()
        number = partition_of(key, partitions)
        partition = self._partition(TopicPartition(self._ledger, number), self._entries)
        last = min(after + limit, held.sequence)
        await partition.until(lambda: self._index.last_sequence(number, key) >= last)
        return read_page(self._index, partition.at, account, after, limit)

    async def _row(self, key: bytes, number: int) -> bytes | None:
        at = TopicPartition(self._journal, number)
        await self._partition(at, self._rows).refresh()
        return self._index.row(number, key)

    def _partition(self, at: TopicPartition, intake: Intake) -> PartitionView:
        found = self._partitions.get(at)
        if found is None:
            found = self._partitions[at] = PartitionView(self._transport, at, self._index, intake)
        return found


def rows(records: Sequence[Record]) -> list[Row]:
    """Return the rows among records of the journal."""
    # The other records are the engine's: checkpoints and fences. Accounts are never removed.
    return [
        (record.key, record.value)
        for record in records
        if record.key and record.value is not None and record.key[:1] != RESERVED
    ]


def require_counter(name: str) -> None:
    """Raise ``InvalidCommand`` or ``TypeError`` unless ``name`` is that of a counter-account."""
    require_text("name", name, "world/N or sales/N")
    if not is_counter_name(name):
        message = "must be world/N or sales/N"
        raise InvalidCommand("account", message, Reason.INVALID_ACCOUNT)


def require_account(account: str) -> None:
    """Raise ``InvalidCommand`` or ``TypeError`` unless ``account`` is the id of an account."""
    if not isinstance(account, str):
        raise TypeError(f"an account's id is text (str), not {type(account).__name__}")
    if not is_name(account):
        raise InvalidCommand("account", NAME_RULE, Reason.INVALID_ACCOUNT)
    if is_counter_name(account):
        message = (
            f"{account!r} is a counter-account: its balances are read by: payments account "
            f"{account} (counter_account of the client)"
        )
        raise InvalidCommand("account", message, Reason.RESERVED_ACCOUNT)
