"""Local copies of journals that have gone on, were compacted since, or met crashes."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from exactstage import Record, Stage, TopicPartition
from exactstage.inspection import belonging, copy_digest, open_copies, read_row, record_digest
from exactstage.local_copy import Position, StateDirectory
from exactstage.log import Bounds
from exactstage.testing import StageTestbed, crash_at_every_append
from payments.verify.copies import Ages, LocalCopies
from payments.verify.findings import CopyState, Findings
from tests.engine.test_timers import Reminders, reminders_stage

pytest.importorskip("rocksdict")

AT = TopicPartition("rows-changelog", 0)
CHECKPOINT, KEY = b"a checkpoint", b"\0\1"
NO_GAP = Ages(limit_ms=1000, now_ms=5000)
Rows = Mapping[bytes, bytes]
Entry = tuple[int, bytes, bytes | None]
"""Offset, key and row of a record."""


def position(offset: int, **given: Any) -> Position:
    """Return the position of a copy that has all before an offset, where its checkpoint is last."""
    known: dict[str, Any] = {
        "belongs": {},
        "commit": 7,
        "checkpoint": copy_digest(CHECKPOINT),
        "checkpoint_offset": offset - 1,
        "ring_offset": 0,
        "time_ms": 4500,
    }
    return Position(offset=offset, **(known | given))


def no_timers(key: bytes, row: bytes) -> tuple[Sequence[int], bool]:
    del key, row
    return (), False


class Found:
    """What comes of comparing one copy."""

    def __init__(
        self,
        path: Path,
        rows: Rows,
        stands: Position,
        journal: Sequence[Entry],
        *,
        first: int = 0,
        ages: Ages = NO_GAP,
        read: int | None = None,
    ) -> None:
        """Compare a copy with these rows with a journal that has these records.

        Of the journal only the first ``read`` records can be read, where that is given.
        """
        state = StateDirectory(path)
        state.open(AT).write(rows.items(), position=stands)
        state.close()
        records = [Record(*AT, offset, 0, key, row, ()) for offset, key, row in journal]
        findings, copies = Findings(), LocalCopies(ages)
        with open_copies(path, [AT]) as found:
            [copy] = found.copies
            copies.add(copy, {}, no_timers)
            copies.holds({AT: Bounds(first, records[-1].offset + 1)})
            for record in records[:read]:
                copies.take(record)
            if read is not None:
                copies.unread(AT, "it stalled")
            [self.report] = copies.judge(findings)
        self.faults = [violation.message.partition(": ")[2] for violation in findings.kept]
        self.unchecked = dict(findings.unchecked)

    @property
    def is_same(self) -> bool:
        """Whether nothing differs, and all was checked."""
        return self.report.state is CopyState.SAME and not self.faults and not self.unchecked


def test_rows_that_the_journal_has_changed_since_are_compared_as_they_were(tmp_path: Path) -> None:
    journal = [(0, b"a", b"1"), (1, b"b", b"1"), (2, KEY, CHECKPOINT)]
    later: list[Entry] = [(3, b"a", b"2"), (4, b"b", None), (5, b"c", b"1")]
    rows = {b"a": b"1", b"b": b"1"}
    assert Found(tmp_path / "1", rows, position(3), [*journal, *later]).is_same
    ahead = Found(tmp_path / "2", {b"a": b"2", b"b": b"1"}, position(3), [*journal, *later])
    assert ahead.faults == ["the row of 'a' is another one than the journal's"]
    assert ahead.report.state is CopyState.DIFFERS
    early = Found(tmp_path / "3", {**rows, b"c": b"1"}, position(3), [*journal, *later])
    assert early.faults == ["it has a row of 'c', and the journal has none"]


def test_a_tombstone_before_the_position_counts(tmp_path: Path) -> None:
    journal = [(0, b"a", b"1"), (1, b"a", None), (2, KEY, CHECKPOINT)]
    assert Found(tmp_path / "1", {}, position(3), journal).is_same
    kept = Found(tmp_path / "2", {b"a": b"1"}, position(3), journal)
    assert kept.faults == ["it has a row of 'a', and the journal has none"]


def test_a_row_that_was_compacted_away_since_is_counted(tmp_path: Path) -> None:
    """The journal had a row of ``a`` at 1, which the one at 4 replaces."""
    journal = [(0, b"b", b"1"), (2, b"c", b"1"), (3, KEY, CHECKPOINT), (4, b"a", b"2")]
    rows = {b"a": b"1", b"b": b"1", b"c": b"1"}
    found = Found(tmp_path, rows, position(4), journal)
    assert found.report.state is CopyState.SAME
    assert found.unchecked == {
        "rows of local copies that the journals have changed since, and compacted": 1
    }


def test_a_copy_whose_journal_can_not_be_read_to_its_end_is_not_compared(tmp_path: Path) -> None:
    """What replaces the row of ``a`` at 1, which was compacted away, is behind the stall."""
    journal = [(0, b"b", b"1"), (2, KEY, CHECKPOINT), (3, b"c", b"1"), (4, b"a", b"2")]
    found = Found(tmp_path, {b"a": b"1", b"b": b"1"}, position(3), journal, read=3)
    assert found.faults == []
    assert (found.report.state, found.report.why) == (CopyState.NOT_USED, "it stalled")


def test_a_gap_before_the_last_known_version_hides_nothing(tmp_path: Path) -> None:
    journal = [(1, b"a", b"1"), (2, KEY, CHECKPOINT), (3, b"a", b"2")]
    found = Found(tmp_path, {b"a": b"0"}, position(3), journal)
    assert found.faults == ["the row of 'a' is another one than the journal's"]


def test_a_row_that_was_not_changed_since_is_compared_in_spite_of_gaps(tmp_path: Path) -> None:
    journal = [(1, b"a", b"1"), (3, KEY, CHECKPOINT), (9, KEY, CHECKPOINT)]
    assert Found(tmp_path / "1", {b"a": b"1"}, position(4), journal).is_same
    assert Found(tmp_path / "2", {b"a": b"0"}, position(4), journal).faults
    assert Found(tmp_path / "3", {}, position(4), journal).faults


def test_an_old_copy_of_a_journal_with_gaps_since_is_not_compared(tmp_path: Path) -> None:
    """A tombstone may be among what was compacted away."""
    journal = [(0, b"a", b"1"), (1, KEY, CHECKPOINT), (3, KEY, CHECKPOINT)]
    old = position(2, time_ms=3999)
    found = Found(tmp_path / "1", {b"a": b"1"}, old, journal)
    assert found.report.state is CopyState.NOT_USED
    assert str(found.report.why).startswith("it is 1 s old, and tombstones may have been compacted")
    assert Found(tmp_path / "2", {b"a": b"1"}, position(2, time_ms=4000), journal).is_same
    journal.insert(2, (2, b"b", b"1"))
    assert Found(tmp_path / "3", {b"a": b"1"}, old, journal).is_same


def test_a_copy_whose_journal_begins_later_now_is_not_compared(tmp_path: Path) -> None:
    journal = [(5, b"a", b"1"), (6, KEY, CHECKPOINT)]
    found = Found(tmp_path, {b"a": b"1"}, position(7, ring_offset=3), journal, first=5)
    assert found.report.why == "the journal begins at 5 now, after 3"


def test_rows_of_a_takeover_that_did_not_end_may_be_any_of_what_it_has_read(
    tmp_path: Path,
) -> None:
    journal = [(0, b"a", b"1"), (1, KEY, CHECKPOINT), (2, b"a", b"2"), (3, b"a", b"3")]
    unfinished = record_digest(Record(*AT, 2, 0, b"a", b"2", ()))
    stands = position(2, unfinished_offset=2, unfinished=unfinished)
    assert Found(tmp_path / "1", {b"a": b"1"}, stands, journal).is_same
    assert Found(tmp_path / "2", {b"a": b"2"}, stands, journal).is_same
    assert Found(tmp_path / "3", {b"a": b"3"}, stands, journal).faults
    journal[2] = (2, b"a", b"4")
    assert str(Found(tmp_path / "4", {b"a": b"2"}, stands, journal).report.why).startswith(
        "a takeover that did not end has written rows up to offset 2"
    )


class Bed(StageTestbed):
    """A test bed that compares its copies with their journals when its worker has ended."""

    def __init__(self, path: Path, stage: Stage) -> None:
        super().__init__(stage, partitions=1, state_directory=path)
        self._path, self._stage = path, stage

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the worker, and compare."""
        await super().__aexit__(kind, error, trace)
        if kind is None:
            await self.compare()

    async def compare(self) -> None:
        """Fail where a copy is not its journal."""
        stage, at = self._stage, TopicPartition(self._stage.changelog, 0)
        findings, copies = Findings(), LocalCopies(Ages(10**9, self.now_ms))
        cluster = await self.log.describe([stage.changelog])
        with open_copies(self._path, [at]) as found:
            [copy] = found.copies
            belongs = belonging("testbed", cluster, stage, partition=0, partitions=1)
            copies.add(copy, belongs, partial(read_row, stage))
            copies.holds(await self.log.bounds([at]))
            for record in self.records(stage.changelog):
                copies.take(record)
            [report] = copies.judge(findings)
        assert report.state is CopyState.SAME, (report.why, findings.kept)
        assert not set(findings.unchecked) - {
            "timers that were due in local copies, and may have been taken"
        }


async def test_copies_are_their_journals_after_any_crash(tmp_path: Path) -> None:
    beds = 0

    def new_bed() -> Bed:
        nonlocal beds
        beds += 1
        return Bed(tmp_path / str(beds), reminders_stage(Reminders(), None))

    async def scenario(bed: StageTestbed) -> None:
        await bed.send("requests", b"a", b"1000")
        await bed.send("requests", b"b", b"2000")
        await bed.advance(1500)
        await bed.send("requests", b"a", b"1000")
        await bed.advance(100)

    assert await crash_at_every_append(new_bed, scenario)
    assert beds > 1
