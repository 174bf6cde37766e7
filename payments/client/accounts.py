"""Accounts as the accounts stage has them: linearizable balances and ledger pages.

The stage's journal is acknowledged before anything that follows from it can be seen (DESIGN 4.2).
So who reads the journal to its end of now sees every posting that anybody has heard of; and the
row's sequence says up to which entry the ledger must be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from payments.client.catching_up import Partition
from payments.client.errors import InvalidCommand
from payments.client.ledger import LedgerIndex, read_page
from payments.client.room import Room
from payments.client.transport import Transport
from payments.domain.names import NAME_RULE, is_name
from payments.domain.results import Reason
from payments.engine.checkpoint import RESERVED
from payments.engine.log import Record, TopicPartition
from payments.engine.partitioner import partition_of
from payments.records.internal import decode_account, decode_counter
from payments.records.public import LedgerEntry
from payments.settings import Settings

MAX_PAGE_ENTRIES = 1000
COUNTERS = ("world/", "sales/")


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """An account: its balance in minor units, and the sequence of its last ledger entry."""

    account: str
    balance: int
    currency: str
    sequence: int


class JournalRows:
    """The rows of one journal partition, as they are there."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.rows: dict[bytes, bytes] = {}
        self.position: int | None = None

    def take(self, records: Sequence[Record]) -> None:
        """Apply records, in order. Raises ``AccountsUnavailable`` when there is no room."""
        rows = self.rows
        for record in records:
            key, value = record.key or RESERVED, record.value
            # The rest is the engine's own: checkpoints and fences. Accounts are never removed.
            if key[:1] != RESERVED and value is not None:
                if key not in rows:
                    self._room.take(1)
                rows[key] = value
            self.position = record.offset + 1


class AccountView:
    """Balances and ledger pages of all accounts, kept per partition once somebody asks."""

    def __init__(self, transport: Transport, settings: Settings) -> None:
        self._transport = transport
        self._journal = settings.changelog("accounts")
        self._ledger = settings.topic("accounts.ledger")
        self._room = Room(settings.client_max_indexed)
        self._journals: dict[int, tuple[Partition, JournalRows]] = {}
        self._ledgers: dict[int, tuple[Partition, LedgerIndex]] = {}

    async def balance(self, account: str, partitions: int) -> AccountBalance | None:
        """Return the account as it is now; None where there is none."""
        key = _key(account)
        row = await self._row(key, partition_of(key, partitions))
        if row is None:
            return None
        held = decode_account(row)
        return AccountBalance(account, held.balance, held.currency, held.sequence)

    async def counter(self, name: str, partitions: int) -> dict[str, int] | None:
        """Return the balances of a counter-account by currency; None where there is none."""
        number = name[len(COUNTERS[0]) :]
        if not is_counter(name):
            message = "must be world/N or sales/N"
            raise InvalidCommand("account", message, Reason.INVALID_ACCOUNT)
        if len(number) > len(str(partitions)) or int(number) >= partitions:
            return None
        row = await self._row(name.encode(), int(number))
        return None if row is None else dict(decode_counter(row).balances)

    async def entries(
        self, account: str, after: int, limit: int, partitions: int
    ) -> list[LedgerEntry]:
        """Return the account's entries behind sequence ``after``, at most ``limit``, in order."""
        if after < 0 or not 1 <= limit <= MAX_PAGE_ENTRIES:
            message = f"after must be at least 0, limit 1 to {MAX_PAGE_ENTRIES}"
            raise ValueError(message)
        held = await self.balance(account, partitions)
        if held is None or after >= held.sequence:
            return []
        key = account.encode()
        partition, index = self._ledger_partition(partition_of(key, partitions))
        last = min(after + limit, held.sequence)
        await partition.until(lambda: index.has(key, last))
        offsets = index.find(key, after, limit)
        return await read_page(self._transport, partition.at, key, offsets)

    async def _row(self, key: bytes, number: int) -> bytes | None:
        found = self._journals.get(number)
        if found is None:
            rows = JournalRows(self._room)
            at = TopicPartition(self._journal, number)
            found = self._journals[number] = Partition(self._transport, at, rows), rows
        partition, rows = found
        await partition.refresh()
        return rows.rows.get(key)

    def _ledger_partition(self, number: int) -> tuple[Partition, LedgerIndex]:
        found = self._ledgers.get(number)
        if found is None:
            index = LedgerIndex(self._room)
            at = TopicPartition(self._ledger, number)
            found = self._ledgers[number] = Partition(self._transport, at, index), index
        return found


def is_counter(name: str) -> bool:
    """Return whether this is the name of a counter-account."""
    return name.startswith(COUNTERS) and name.isascii() and name[len(COUNTERS[0]) :].isdecimal()


def _key(account: str) -> bytes:
    if not is_name(account):
        raise InvalidCommand("account", NAME_RULE, Reason.INVALID_ACCOUNT)
    if is_counter(account):
        message = "is a counter-account: ask for it with counter_account"
        raise InvalidCommand("account", message, Reason.RESERVED_ACCOUNT)
    return account.encode()
