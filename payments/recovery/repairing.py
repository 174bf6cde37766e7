"""Repairing: undoes the effect of other programs' records on a journal.

A foreign record stays in the log. Later records undo its effect on a restart: a tombstone where no
stage has its key, the last good row where it replaced one, the last good checkpoint where it is in
a slot of the ring. All of them are one batch with a fence at its end.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from msgspec import DecodeError

from exactstage import Record, Stage, TopicPartition, partition_of
from exactstage.inspection import (
    NO_WORKERS_BATCH,
    NOTE_KEY,
    RESERVED,
    RING,
    Anonymous,
    is_removal,
    read_ranges,
)
from exactstage.kafka import KafkaLog
from exactstage.log import NO_HEADERS, NewRecord
from exactstage.recovery import Claimed
from payments.domain.account import COUNTERS, counter_name
from payments.records.internal_codec import decode_account, decode_counter, decode_payment

from .inspecting import Foreign, ForeignRecords, foreign_reason, undo


@dataclass(slots=True)
class Repair:
    """The records to append to one journal."""

    at: TopicPartition
    foreign: list[Foreign] = field(default_factory=list)
    records: dict[bytes, bytes | None] = field(default_factory=dict)
    """Key and value of each record that is appended; None is a tombstone."""

    unclear: list[bytes] = field(default_factory=list)
    """Keys whose last good record is no longer in the log: only a rebuild helps."""

    keyless: int = 0
    """Records without a key: nothing can replace them."""

    @property
    def can_be_repaired(self) -> bool:
        """Whether the repair is complete without a rebuild."""
        return not self.unclear and not self.keyless

    def as_json(self) -> dict[str, Any]:
        """Return the object of ``--json``."""
        return {
            "topic": self.at.topic,
            "partition": self.at.partition,
            "foreign": [record.offset for record in self.foreign],
            "tombstones": [_shown(k) for k, value in self.records.items() if value is None],
            "restored": [_shown(k) for k, value in self.records.items() if value is not None],
            "needs_rebuild": [_shown(key) for key in self.unclear],
            "keyless": self.keyless,
        }


def _shown(key: bytes) -> str:
    return key.decode(errors="backslashreplace")


def payments_row(key: bytes, value: bytes, partition: int, partitions: int) -> bool:
    """Return whether this can be a row of the payments stage."""
    return partition_of(key, partitions) == partition and _decodes(decode_payment, value)


def accounts_row(key: bytes, value: bytes, partition: int, partitions: int) -> bool:
    """Return whether this can be a row of the accounts stage."""
    if key.decode(errors="replace") in {counter_name(each, partition) for each in COUNTERS}:
        return _decodes(decode_counter, value)
    return partition_of(key, partitions) == partition and _decodes(decode_account, value)


def _decodes(decode: Callable[[bytes], object], value: bytes) -> bool:
    try:
        decode(value)
    except (DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


ROWS: Mapping[str, Callable[[bytes, bytes, int, int], bool]] = {
    "payments": payments_row,
    "accounts": accounts_row,
}
"""By stage."""


class Repairing:
    """Reads one journal, and finds the records that undo its foreign ones."""

    def __init__(self, stage: str, at: TopicPartition, partitions: int) -> None:
        self._is_row, self._partitions = ROWS[stage], partitions
        self._repair = Repair(at)
        self._good: dict[bytes, bytes | None] = {}
        """Last record of each key that a stage wrote, of those that are still in the log."""
        self._spoilt: dict[bytes, bool] = {}
        """Keys whose last record is foreign, and whether compaction may have reached it."""
        self._uncleaned = False
        """Whether two records of one key were read: compaction has not reached the second."""

    def take(self, records: Sequence[Record]) -> None:
        """Take the next records."""
        for record in records:
            why = self._foreign_reason(record)
            if why is not None:
                self._repair.foreign.append(Foreign(record.offset, record.key, why))
                if not record.key:
                    self._repair.keyless += record.key is None
                else:
                    self._spoilt[record.key] = not self._uncleaned
            elif record.key is not None:
                self._uncleaned = self._uncleaned or record.key in self._good
                self._good[record.key] = record.value
                if self._spoilt.pop(record.key, None) is not None:
                    undo(self._repair.foreign, record.key)

    def _foreign_reason(self, record: Record) -> str | None:
        key, value = record.key, record.value
        if type(record) is Anonymous:
            return NO_WORKERS_BATCH
        if not key or key[:1] == RESERVED:
            return None if key and is_removal(record) else foreign_reason(key, value)
        if value is None or self._is_row(key, value, record.partition, self._partitions):
            return None
        return "it is no row of this stage, or one of another partition"

    def finish(self) -> Repair:
        """Return the repair."""
        repair = self._repair
        for key in self._spoilt:
            if key in self._good:
                repair.records[key] = self._good[key]
            elif key[:1] == RESERVED:
                self._reserved(key)
            elif self._spoilt[key] and partition_of(key, self._partitions) == repair.at.partition:
                # A row may have been there, which compaction has removed since.
                repair.unclear.append(key)
            else:
                repair.records[key] = None
        return repair

    def _reserved(self, key: bytes) -> None:
        slot = key[1:]
        if key == NOTE_KEY or (slot.isdigit() and int(slot) < RING):
            self._repair.unclear.append(key)
        else:
            self._repair.records[key] = None


async def plan(log: KafkaLog, stage: str, at: TopicPartition, partitions: int) -> Repair:
    """Return the repair of a journal. Raises what ``read_ranges`` raises.

    A stage appends whole commits, each a batch that ends with its checkpoint; a takeover appends a
    fence. So a batch whose last record is neither was written by another program, whatever its keys
    and values are.
    """
    repairing = Repairing(stage, at, partitions)
    held = await log.bounds([at])
    async with aclosing(read_ranges(log, held, committed_only=False, closing=RESERVED)) as fetched:
        async for _, records in fetched:
            repairing.take(records)
    return repairing.finish()


def foreign_records(log: KafkaLog, partitions: int) -> ForeignRecords:
    """Return a function that finds the foreign records of a journal by its batches."""

    async def find(stage: str, at: TopicPartition) -> list[Foreign]:
        return (await plan(log, stage, at, partitions)).foreign

    return find


async def carry_out(log: KafkaLog, app_id: str, stages: Sequence[Stage], repair: Repair) -> None:
    """Claim the partition, and append the repair of its journal as one batch."""
    claimed = Claimed(log, app_id, stages, [repair.at.partition])
    await claimed.claim()
    records: list[NewRecord] = [(key, value, NO_HEADERS) for key, value in repair.records.items()]
    await claimed.append(repair.at, records)
