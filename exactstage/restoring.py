"""Restoring: what a journal holds, read up to its fence, becomes rows and checkpoints again."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from .advice import command
from .anonymous import Anonymous
from .checkpoint import FENCE_KEY, MOVED_KEY, NOTE_KEY, RESERVED, Checkpoint, decode_checkpoint
from .copy_restoring import Changes, Tail, new_local, read_row, why_foreign
from .errors import FailStop, JournalBroken, NewerFormat, NotOurs, Stalled
from .foreign import described, foreign_reason, is_removal
from .identity import Identity
from .journal import Journal
from .limits import RING, SOURCE_ROTATION_CHECKPOINTS
from .local_copy import LocalCopy, StateDirectory
from .log import Bounds, Clock, Log, Record, TopicPartition
from .ranges import TAKEOVER_LIMIT_SECONDS, Closing, read_ranges
from .slow_disk import when_disk_allows
from .stage import Stage
from .typed_rows import UnreadableRow, unreadable_row

logger = logging.getLogger(__name__)

_IDENTITY_RECORDS = 2048
"""Offsets at the end of a journal that are looked at before anything is claimed."""

_BRIEF_SECONDS = 1.5
"""How long their records may fail to come; a takeover reports later what was not found."""

_RESERVED_BYTE = RESERVED[0]

Foreign = dict[bytes, Record]
"""Foreign records of one journal by key: the last of each."""

Checkpoints = dict[bytes, Record]
"""Checkpoints of one journal by their key, as read: only the last of each slot counts."""


class Restored(NamedTuple):
    """What journals were found to hold, beside the rows."""

    checkpoints: Mapping[Journal, Sequence[Checkpoint]]
    """In order."""

    held: Mapping[TopicPartition, Bounds]
    foreign: Mapping[Journal, Record]
    """The first record that no worker wrote, where there is one."""

    records_read: int
    copies_used: int | None
    """Journals that were not read from their start, thanks to a local copy; None without a disk."""

    seconds: float
    """How long reading took, from the first record to the last."""


async def read_journals(
    log: Log,
    journals: Sequence[Journal],
    fences: Mapping[TopicPartition, int],
    copies: "Copies | None" = None,
) -> Restored:
    """Fill the rows of ``journals``; return what else they hold.

    With ``copies`` only what those lack is read.

    What is foreign for another reason than its producer (``engine/foreign``) is an error here.
    ``fences`` gives the offset of each journal's fence. Raises ``JournalBroken`` when checkpoints
    are missing or out of order, and what ``read_ranges`` raises.
    """
    bounds = await log.bounds([journal.at for journal in journals])
    tails = {} if copies is None else copies.tails(journals, bounds, fences)
    found = _Found()
    now = asyncio.get_running_loop().time
    began = now()
    await _read(log, journals, bounds, fences, tails, into=found)
    if copies is not None and (again := copies.refuse(tails, found.slots, bounds)):
        await _read(log, list(again), bounds, fences, again, into=found)
        copies.require(again)
        tails |= again
    took_seconds = now() - began
    used = None if copies is None else sum(tail.has_copy for tail in tails.values())
    checkpoints = {journal: _in_order(journal, found.slots[journal]) for journal in journals}
    for journal, tail in tails.items():
        slots = found.slots[journal].values()
        last = max(slots, key=lambda record: decoded(record).n, default=None)
        tail.local.restored(
            ends_of(found.slots[journal]),
            bounds[journal.at].first,
            None if last is None else last.value or b"",
        )
    anonymous = {
        journal: first for journal, by_key in found.foreign.items() if (first := _first(by_key))
    }
    return Restored(checkpoints, bounds, anonymous, found.count, used, took_seconds)


class _Found:
    """What was read so far, beside the rows."""

    def __init__(self) -> None:
        self.slots: dict[Journal, Checkpoints] = {}
        self.foreign: dict[Journal, Foreign] = {}
        self.count = 0


async def _read(
    log: Log,
    journals: Sequence[Journal],
    bounds: Mapping[TopicPartition, Bounds],
    fences: Mapping[TopicPartition, int],
    tails: Mapping[Journal, Tail],
    *,
    into: _Found,
) -> None:
    """Read journals up to their fences, those with a copy from where it ends."""
    by_address = {journal.at: journal for journal in journals}
    for journal in journals:
        into.slots[journal], into.foreign[journal] = {}, {}
    # What comes after the fences is a newer owner's, who has claimed since.
    ranges = {
        at: Bounds(tails[journal].first if journal in tails else bounds[at].first, fences[at] + 1)
        for at, journal in by_address.items()
    }
    async with Closing(
        read_ranges(
            log,
            ranges,
            committed_only=False,
            closing=RESERVED,
            limit_seconds=TAKEOVER_LIMIT_SECONDS,
            show=_log_progress,
        )
    ) as fetched:
        async for at, records in fetched:
            journal = by_address[at]
            slots, foreign = into.slots[journal], into.foreign[journal]
            into.count += len(records)
            if (tail := tails.get(journal)) is None:
                fold(records, journal.rows, slots, foreign)
                continue
            known, new = tail.split(records)
            fold(known, Changes(), slots, foreign)
            fold(new, changes := Changes(), slots, foreign)
            await when_disk_allows(at, partial(tail.add, new, changes))


def ends_of(slots: Checkpoints) -> list[tuple[int, int]]:
    """Return the last commits of a journal, each with the offset behind it."""
    found = sorted((decoded(record).n, record.offset + 1) for record in slots.values())
    return [(n, end) for n, end in found if n > found[-1][0] - RING]


class Copies:
    """The local copies of the journals that are taken over."""

    def __init__(
        self,
        state: StateDirectory,
        stages: Mapping[str, Stage],
        belongs: Callable[[Journal], Mapping[str, Any]],
        *,
        clock: Clock,
        age_limit_seconds: float,
    ) -> None:
        """Use the copies in ``state`` that belong to what ``belongs`` says of their journals."""
        self._state, self._stages, self._belongs = state, stages, belongs
        self._clock, self._age_limit_ms = clock, age_limit_seconds * 1000

    def tails(
        self,
        journals: Sequence[Journal],
        bounds: Mapping[TopicPartition, Bounds],
        fences: Mapping[TopicPartition, int],
    ) -> dict[Journal, Tail]:
        """Open the copies of journals; those that are not theirs are thrown away."""
        return {
            journal: self._tail(journal, bounds[journal.at], fences[journal.at])
            for journal in journals
        }

    def _tail(self, journal: Journal, held: Bounds, fence: int) -> Tail:
        copy, belongs = self._state.open(journal.at), self._belongs(journal)
        if copy.position is not None and (why := why_foreign(copy.position, belongs, held, fence)):
            copy = self._state.renew(journal.at, why)
        return self._new(journal, copy, held)

    def _new(self, journal: Journal, copy: LocalCopy, held: Bounds) -> Tail:
        stage = self._stages[journal.stage]
        local = new_local(stage, journal, copy, self._belongs(journal))
        return Tail(stage, local, held)

    def refuse(
        self,
        tails: Mapping[Journal, Tail],
        slots: Mapping[Journal, Checkpoints],
        bounds: Mapping[TopicPartition, Bounds],
    ) -> dict[Journal, Tail]:
        """Throw away the copies that what was read contradicts; return their journals, to be read.

        All of them has to be read then.
        """
        again: dict[Journal, Tail] = {}
        for journal, tail in tails.items():
            commits = [decoded(record).n for record in slots[journal].values()]
            why = tail.judge(
                max(commits, default=0), age_limit_ms=self._age_limit_ms, now_ms=self._clock()
            )
            if why is not None:
                copy = self._state.renew(journal.at, why)
                again[journal] = self._new(journal, copy, bounds[journal.at])
        return again

    def require(self, tails: Mapping[Journal, Tail]) -> None:
        """Check that none of these, which were read from the start, is refused."""
        assert not any(tail.refused for tail in tails.values()), "an empty copy says nothing"


def _log_progress(progress: str) -> None:
    logger.info("restoring %s", progress)


def fold(records: Sequence[Record], rows: Any, slots: Checkpoints, foreign: Foreign) -> None:
    """Apply records in order: a later one replaces an earlier one, a tombstone removes it.

    ``foreign`` gets what no worker wrote, unless a worker, or a repair, has replaced it since.
    """
    for record in records:
        _, _, _, _, key, value, _ = record
        if key and key[0] != _RESERVED_BYTE and type(record) is Record and not foreign:
            # Nearly all records: a row of this stage, with nothing foreign to compare it with.
            if value is None:
                rows.pop(key, None)
            else:
                rows[key] = value
            continue
        is_foreign = type(record) is Anonymous
        if not key or key[:1] == RESERVED:
            if foreign_reason(record, copied=True) is not None:
                is_foreign = is_foreign or not (key and is_removal(record))
            elif key not in {FENCE_KEY, NOTE_KEY}:
                slots[key or b""] = record
        elif value is None:
            rows.pop(key, None)
        else:
            rows[key] = value
        if is_foreign:
            foreign[key or b""] = record
        elif foreign:
            foreign.pop(key or b"", None)


def _first(foreign: Foreign) -> Record | None:
    """Return the first foreign record that only lacks a producer's identity.

    Raises ``JournalBroken`` for one that can't be a worker's.
    """
    found = sorted(foreign.values(), key=lambda record: record.offset)
    for record in found:
        if record.key == MOVED_KEY and record.value is not None:
            message = (
                f"{record.address}: this installation was moved by {command('repartition')}; start "
                f"workers with {record.value.decode(errors='replace')}. To go back to this "
                f"one, remove the mark with: {command('journal repair')}"
            )
            raise NotOurs(message)
        if (why := foreign_reason(record, copied=True)) is not None:
            raise JournalBroken(described(record, why))
    return found[0] if found else None


def decoded(record: Record) -> Checkpoint:
    """Return the checkpoint in a record. Raises ``JournalBroken``, ``NewerFormat``."""
    try:
        return decode_checkpoint(record.value or b"")
    except JournalBroken as error:
        message = f"{record.address}: {error}"
        if isinstance(error, NewerFormat):
            raise NewerFormat(message) from error
        raise JournalBroken(described(record, message)) from error


async def last_identity(log: Log, at: TopicPartition) -> Identity | None:
    """Return what a journal says of itself near its end; None when it says nothing there."""
    first, end = (await log.bounds([at]))[at]
    found: Identity | None = None
    last = {at: Bounds(max(first, end - _IDENTITY_RECORDS), end)}
    try:
        async with Closing(
            read_ranges(log, last, committed_only=False, limit_seconds=_BRIEF_SECONDS)
        ) as fetched:
            async for _, records in fetched:
                for record in records:
                    found = _identity_in(record) or found
    except Stalled:
        return found  # The takeover reads all of it, and is more patient.
    return found


def _identity_in(record: Record) -> Identity | None:
    """Return the identity in a record, if it is a checkpoint that has one and can be read."""
    key, value = record.key, record.value
    if not key or key[:1] != RESERVED or value is None or b'"identity":' not in value:
        return None
    try:
        return decode_checkpoint(value).identity
    except JournalBroken:
        return None  # The takeover reports it, with its place.


async def _find_row(log: Log, at: TopicPartition, key: bytes, row: bytes) -> Record | None:
    """Return the record of a journal that has this row; None when it is not there any more."""
    found: Record | None = None
    async with Closing(
        read_ranges(
            log, await log.bounds([at]), committed_only=False, limit_seconds=TAKEOVER_LIMIT_SECONDS
        )
    ) as fetched:
        async for _, records in fetched:
            found = next((r for r in records if (r.key, r.value) == (key, row)), found)
    return found


async def restore_stage(log: Log, stage: Stage, journal: Journal) -> None:
    """Check the restored rows, note their timers, and let the stage build what it keeps beside.

    Of rows in a local copy that was done while they were read; it says that it has them only when
    the stage has taken them. Raises ``JournalBroken`` with the row that the stage can't read.
    """
    if journal.local is None:
        rows: Mapping[bytes, bytes] = journal.rows
        for key, row in rows.items():
            try:
                restore_row(stage, journal, key, row)
            except FailStop:
                raise
            except Exception as error:
                raise await _unreadable(log, stage, journal, (key, row), error) from error
    else:
        for key in journal.local.suspects:
            raise await _suspected(log, stage, journal, key, journal.local.get(key) or b"")
        copy, has_open = journal.local.copy, stage.keeps_open is not None
        rows = dict(copy.kept()) if has_open else journal.all_rows
    await _let_build(log, stage, journal, rows)
    if journal.local is not None:
        await when_disk_allows(journal.at, partial(journal.local.begin, log.clock()))


async def _suspected(
    log: Log, stage: Stage, journal: Journal, key: bytes, row: bytes
) -> JournalBroken:
    """Return the failure for a row that the stage could not read when it came from the journal."""
    why: Exception = ValueError("it could not be read before")
    try:
        read_row(stage, key, row)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported with its row
        why = error
    broken = await _unreadable(log, stage, journal, (key, row), why)
    broken.__cause__ = why
    return broken


async def _let_build(log: Log, stage: Stage, journal: Journal, rows: Mapping[bytes, bytes]) -> None:
    """Let the stage build what it keeps beside its rows. Raises ``JournalBroken``."""
    try:
        stage.callbacks.restored(journal.partition, rows)
    except FailStop:
        raise
    except Exception as error:
        for key, row in rows.items():
            try:
                stage.callbacks.restored(journal.partition, {key: row})
            except Exception as cause:  # noqa: BLE001 - whatever it is, it names the row
                raise await _unreadable(log, stage, journal, (key, row), cause) from error
        raise


def restore_row(stage: Stage, journal: Journal, key: bytes, row: bytes) -> None:
    """Check one restored row, and note its timers. Raises what the stage does."""
    if stage.check is not None:
        stage.check(key, row)
    journal.restore_timers(key, row)


async def _unreadable(
    log: Log, stage: Stage, journal: Journal, row: tuple[bytes, bytes], error: Exception
) -> JournalBroken:
    """Return the failure for a row that a stage can't read, with its place if it is still there."""
    key, value = row
    if isinstance(error, UnreadableRow):
        assert stage.rows is not None, "only typed rows have a type"
        return unreadable_row(journal.at, key, stage.rows, error.__cause__ or error)
    record = await _find_row(log, journal.at, key, value)
    where = f"{journal.at}" if record is None else record.address
    return JournalBroken(
        f"{where} with the key {key!r} is a row that the stage {journal.stage} "
        f"can't read ({error!r}): another program wrote to the journal, or a newer "
        f"version; remove it with: {command('journal repair')}"
    )


def _in_order(journal: Journal, slots: Checkpoints) -> list[Checkpoint]:
    """Return the checkpoints by number, the last ``RING`` of them at most."""
    found = sorted((decoded(record) for record in slots.values()), key=lambda c: c.n)
    if not found:
        if next(iter(journal.all_rows), None) is not None:
            message = f"{journal.at} has rows but no checkpoint; was it written by something else?"
            raise JournalBroken(message)
        return []
    last = found[-1]
    found = [checkpoint for checkpoint in found if checkpoint.n > last.n - RING]
    have = {checkpoint.n for checkpoint in found}
    first = min(last.published, max(0, last.n - SOURCE_ROTATION_CHECKPOINTS)) + 1
    missing = [n for n in range(first, last.n + 1) if n not in have]
    if missing:
        message = (
            f"{journal.at} lacks the checkpoints {missing} before {last.n}, so it is not known "
            f"what they published or took; restore the topic from a replica or a backup"
        )
        raise JournalBroken(message)
    return found
