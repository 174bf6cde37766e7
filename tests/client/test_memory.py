"""What a client that reads accounts keeps in memory, as docs/client.md tells it."""

import tracemalloc

from payments.client.accounts import JournalRows
from payments.client.ledger import LedgerIndex
from payments.client.room import Room
from payments.domain.account import Account, Entry, Transfer
from payments.engine.log import Record
from payments.records.internal import encode_account
from payments.records.written import encode_ledger_entry

ACCOUNTS, ENTRIES = 2000, 20
MAX_BYTES_PER_ACCOUNT = 600
MAX_BYTES_PER_ENTRY = 10


def test_an_account_takes_at_most_600_bytes_and_each_entry_10() -> None:
    room = Room(10**9)
    rows, index = JournalRows(room), LedgerIndex(room)
    tracemalloc.start()
    try:
        for number in range(ACCOUNTS):
            key = f"customer-{number:08d}".encode()
            account = Account(100_000, 1, "EUR")
            rows.take([Record("j", 0, number, 0, key, encode_account(account), ())])
            entry = Entry(Transfer("make", key.decode(), -1, "EUR", "sales", "pay-1"), account)
            value = encode_ledger_entry(entry, partition=0, time_ms=0)
            index.take([Record("l", 0, number, 0, key, value, ())])
        per_account = tracemalloc.get_traced_memory()[0] / ACCOUNTS
        for offset in range(ACCOUNTS, ACCOUNTS * ENTRIES):
            key = f"customer-{offset % ACCOUNTS:08d}".encode()
            index.take([Record("l", 0, offset, 0, key, None, ())])
        total = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    per_entry = (total / ACCOUNTS - per_account) / (ENTRIES - 1)
    assert 100 < per_account <= MAX_BYTES_PER_ACCOUNT, per_account
    assert 8 <= per_entry <= MAX_BYTES_PER_ENTRY, per_entry
