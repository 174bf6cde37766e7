"""The ledger by account: where each entry is, and pages of them."""

from array import array
from collections.abc import Sequence

from pydantic import ValidationError

from payments.client.errors import AccountsUnavailable
from payments.client.room import Room
from payments.client.transport import Transport
from payments.engine.log import Record, TopicPartition
from payments.records.public import LedgerEntry

_PAGE_BYTES = 16 * 1024
"""Bytes asked for at an entry's offset: it is one small record, others may be near it."""


class LedgerIndex:
    """Offsets of one ledger partition's entries, by account, in the order of their sequence."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._offsets: dict[bytes, array[int]] = {}
        self._first: dict[bytes, int] = {}
        """Sequence of an account's first entry that is still there, where it is not 1."""
        self.position: int | None = None

    def take(self, records: Sequence[Record]) -> None:
        """Add entries, in order. Raises ``AccountsUnavailable`` when there is no room."""
        for record in records:
            key = record.key or b""
            offsets = self._offsets.get(key)
            if offsets is None:
                self._room.take(2)
                sequence = _entry(record).sequence
                if sequence != 1:
                    self._first[key] = sequence
                offsets = self._offsets[key] = array("q")
            else:
                self._room.take(1)
            offsets.append(record.offset)
            self.position = record.offset + 1

    def has(self, account: bytes, sequence: int) -> bool:
        """Whether the entry with this sequence, or a later one of the account, was taken."""
        offsets = self._offsets.get(account)
        return offsets is not None and self._first.get(account, 1) + len(offsets) > sequence

    def find(self, account: bytes, after: int, limit: int) -> Sequence[int]:
        """Return the offsets of the entries behind sequence ``after``, at most ``limit``."""
        first = max(after + 1 - self._first.get(account, 1), 0)
        return self._offsets.get(account, _NOTHING)[first : first + limit]


_NOTHING = array("q")


async def read_page(
    transport: Transport, at: TopicPartition, account: bytes, offsets: Sequence[int]
) -> list[LedgerEntry]:
    """Fetch the entries at these offsets of one partition."""
    entries: list[LedgerEntry] = []
    left = list(reversed(offsets))
    while left:
        wanted = left[-1]
        chunk = await transport.read(at, wanted, max_bytes=_PAGE_BYTES)
        for record in chunk.records:
            if left and record.offset == left[-1]:
                left.pop()
                entries.append(_entry(record))
        if left and left[-1] == wanted:
            message = f"{at}/{wanted} is not there any more"
            raise AccountsUnavailable(message)
    name = account.decode()
    for before, entry in zip([None, *entries], entries, strict=False):
        if entry.account != name or (before and entry.sequence != before.sequence + 1):
            message = f"{at} holds entries of one account that do not follow each other"
            raise AccountsUnavailable(message)
    return entries


def _entry(record: Record) -> LedgerEntry:
    try:
        return LedgerEntry.model_validate_json(record.value or b"", extra="ignore")
    except ValidationError:
        message = f"{record.topic}/{record.partition}/{record.offset} is no ledger entry"
        raise AccountsUnavailable(message) from None
