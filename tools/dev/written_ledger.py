"""Ledger entries of many accounts, written as a worker would publish them; no worker runs."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence

from exactstage.limits import Limits
from exactstage.log import Log, NewRecord, TopicPartition, Writer
from exactstage.outputs import Output, Publication, Rounds, publish, size_of
from exactstage.partitioner import partition_of
from exactstage.recovery import append_records
from payments.domain.account import Account, Entry, Transfer
from payments.records.internal_codec import encode_account
from payments.records.record_writer import encode_ledger_entry
from payments.settings import Settings
from payments.stages.accounts import ENTRY_TYPE

CHUNK = 20_000
"""Entries that are appended at once; also the accounts that take turns with their entries."""

AMOUNT = 5


class Ledger:
    """The accounts, and how many entries each has. ``time_ms`` is that of all entries."""

    def __init__(self, settings: Settings, accounts: int, time_ms: int | None = None) -> None:
        self._settings = settings
        self._time_ms = time.time_ns() // 1_000_000 if time_ms is None else time_ms
        self._commit = 0
        self.names = [f"customer-{number:012d}" for number in range(accounts)]
        self.homes = [partition_of(name.encode(), settings.partitions) for name in self.names]
        self.sequences = [0] * accounts

    def in_turns(self, entries: int) -> Iterator[Sequence[int]]:
        """Yield whose entries come next: block after block of accounts, each with all its own."""
        for start in range(0, len(self.names), CHUNK):
            for _ in range(entries // len(self.names)):
                yield range(start, min(start + CHUNK, len(self.names)))

    async def write(self, log: Log, writer: Writer, chunks: Iterable[Sequence[int]]) -> None:
        """Append an entry for each number of an account, chunk by chunk."""
        written = 0
        for numbers in chunks:
            self._commit += 1
            rounds = Rounds(Limits().batch_bytes)
            for publication in self._publications(numbers, writer):
                publication.add_to(rounds, writer)
            await publish(log, rounds)
            if written // 500_000 != (written + len(numbers)) // 500_000:
                progress = f"{written + len(numbers):,} ledger entries are written"
                print(progress, file=sys.stderr, flush=True)
            written += len(numbers)

    def _publications(self, numbers: Sequence[int], writer: Writer) -> Iterator[Publication]:
        found: list[list[Output]] = [[] for _ in range(self._settings.partitions)]
        topic = self._settings.topics.ledger
        for number in numbers:
            self.sequences[number] = sequence = self.sequences[number] + 1
            name, partition = self.names[number], self.homes[number]
            payment = f"{sequence:04d}-{name}"
            transfer = Transfer("deposit", name, AMOUNT, "EUR", "world", payment)
            entry = Entry(transfer, self._account(number))
            value = encode_ledger_entry(entry, partition=partition, time_ms=self._time_ms)
            found[partition].append(
                Output(topic, partition, name.encode(), value, ENTRY_TYPE, self._time_ms, ())
            )
        public = frozenset({topic})
        for partition, outputs in enumerate(found):
            sizes = [size_of(o.key, o.value, o.headers) for o in outputs]
            yield Publication("accounts", partition, self._commit, outputs, sizes, public, writer)

    def _account(self, number: int) -> Account:
        return Account(AMOUNT * self.sequences[number], self.sequences[number], "EUR")

    async def write_rows(self, log: Log, writer: Writer) -> None:
        """Append the row of each account that has entries to its journal."""
        topic = self._settings.changelog("accounts")
        rows: list[tuple[TopicPartition, NewRecord]] = []
        for number, (name, home) in enumerate(zip(self.names, self.homes, strict=True)):
            if self.sequences[number]:
                row = encode_account(self._account(number))
                rows.append((TopicPartition(topic, home), (name.encode(), row, [])))
        await append_records(log, writer, rows)
