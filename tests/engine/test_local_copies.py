"""Local copies of journals: what a worker finds on its disk is used, or thrown away."""

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import sha512
from pathlib import Path
from typing import Any

import msgspec
import pytest

from exactstage import Context, Record, Stage, copy_restoring, local_copy, testing
from exactstage.copy_restoring import Changes, Tail, new_local
from exactstage.errors import FailStop, JournalBroken
from exactstage.journal import CommitBatch, Journal
from exactstage.limits import RING
from exactstage.local_copy import FORMAT, LocalCopy, Position, StateDirectory
from exactstage.local_rows import LocalRows
from exactstage.log import Bounds, TopicPartition
from exactstage.slow_disk import DiskBehind, when_disk_allows
from exactstage.takeover import Takeover, TakeoverReport
from exactstage.testing import StageTestbed, crash_at_every_append

from .harness import LIMIT_SECONDS
from .test_journal import new_journal
from .test_timers import Reminders, reminders_stage
from .wordcount import WordCount

pytest.importorskip("rocksdict")

JOURNAL = TopicPartition("words-changelog", 0)
MANY = 300
POSITION = Position(
    belongs={}, commit=1, checkpoint="", checkpoint_offset=0, offset=1, ring_offset=0, time_ms=0
)


def count(record: Record, context: Context) -> None:
    assert record.key is not None
    if record.value == b"forget":
        context.delete(record.key)
        return
    number = int(context.get(record.key) or b"0") + 1
    context.put(record.key, b"%d" % number)
    context.emit("counts", record.key, b"%d" % number, type="count")


def words(**given: object) -> Stage:
    return Stage(
        "words",
        count,
        changelog="words-changelog",
        dead_letters="dead-words",
        public_inputs=("words",),
        outputs=("counts",),
        **given,  # type: ignore[arg-type]
    )


class Bed(StageTestbed):
    """A test bed with its rows on disk, which shows what its worker has read."""

    def __init__(self, path: Path, *stages: Stage, partitions: int = 1) -> None:
        super().__init__(*(stages or (words(),)), partitions=partitions, state_directory=path)

    def read(self) -> int:
        """Return how many records the present worker has read to take over."""
        return self._running().engine.counts().records_read

    def rows(self) -> dict[bytes, bytes]:
        """Return all rows of the first partition."""
        [journal, *_] = self._running().engine.owned.journals()
        return dict(journal.all_rows)

    async def count_all(self, number: int = MANY) -> None:
        """Count each of so many words once."""
        for each in range(number):
            await self.send("words", b"w%d" % each)


class CannotSay(Reminders):
    """Can't say of one row whether it is open."""

    def is_open(self, key: bytes, row: bytes) -> bool:
        """Fail for one row."""
        del row
        if key == b"bad":
            raise KeyError(key)
        return True


def counts(bed: StageTestbed, key: bytes) -> list[bytes | None]:
    return [record.value for record in bed.records("counts") if record.key == key]


def thrown_away(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "is thrown away" in r.getMessage()]


async def test_a_takeover_reads_the_tail_only_and_continues_exactly(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bed(tmp_path) as bed:
        await bed.count_all()
        await bed.send("words", b"w1", b"forget")
        await bed.crash()
        assert 64 < bed.read() < MANY, "the ring of checkpoints, and what the copy lacks"
        await bed.send("words", b"w0")
        await bed.send("words", b"w1")
        await bed.crash()
        rows = {b"w%d" % number: b"1" for number in range(MANY)} | {b"w0": b"2"}
        assert bed.rows() == rows
        assert counts(bed, b"w0") == [b"1", b"2"]
        assert counts(bed, b"w1") == [b"1", b"1"]
    assert not thrown_away(caplog)


def test_a_takeover_after_one_without_a_commit_reads_the_ring_only(tmp_path: Path) -> None:
    """It knows one checkpoint less, and must not begin at the start of the journal then."""
    copy = StateDirectory(tmp_path).open(JOURNAL)
    found = []
    for known in (65, 63, 63):
        local = LocalRows(copy, {})
        ends = [(number, 10 * number) for number in range(101 - known, 101)]
        local.restored(ends, 0, b"a checkpoint")
        local.begin(0)
        assert copy.position is not None
        found.append(copy.position.ring_offset)
    assert found == [10 * (100 - RING)] * 3
    copy.close()


async def test_rows_are_not_kept_in_memory(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        await bed.count_all()
        [journal] = bed._running().engine.owned.journals()
        assert journal.local is not None
        assert len(journal.rows) == len(journal.local._latest) == len(journal.local._deleted) == 0
        assert len(bed.rows()) == MANY


async def test_counts_are_exact_after_any_crash(tmp_path: Path) -> None:
    beds = 0

    def new_bed() -> Bed:
        nonlocal beds
        beds += 1
        return Bed(tmp_path / str(beds))

    async def scenario(bed: StageTestbed) -> None:
        await bed.send("words", b"a")
        await bed.send("words", b"b")
        await bed.send("words", b"a", b"forget")
        await bed.send("words", b"a", times=2)

    assert await crash_at_every_append(new_bed, scenario)


async def test_reminders_are_exact_after_any_crash(tmp_path: Path) -> None:
    beds = 0

    def new_bed() -> Bed:
        nonlocal beds
        beds += 1
        return Bed(tmp_path / str(beds), reminders_stage(Reminders(), None))

    async def scenario(bed: StageTestbed) -> None:
        await bed.send("requests", b"a", b"10")
        await bed.send("requests", b"b", b"20")
        await bed.advance(15)
        await bed.send("requests", b"a", b"10")
        await bed.advance(15)

    assert await crash_at_every_append(new_bed, scenario)


async def test_timers_are_found_again_in_the_copy(tmp_path: Path) -> None:
    async with Bed(tmp_path, reminders_stage(Reminders(), None)) as bed:
        for number in range(MANY):
            await bed.send("requests", b"r%d" % number, b"60")
        for number in range(0, MANY, 2):
            await bed.send("requests", b"r%d" % number, b"120")
        await bed.crash()
        await bed.advance(60)
        assert len(bed.records("reminders")) == MANY // 2
        await bed.crash()
        await bed.advance(60)
        assert len(bed.records("reminders")) == MANY
        assert bed.rows() == {}


async def test_a_timer_that_comes_late_is_found_before_those_that_are_there(tmp_path: Path) -> None:
    async with Bed(tmp_path, reminders_stage(Reminders(), None)) as bed:
        await bed.send("requests", b"b", b"60")
        await bed.advance(61)
        await bed.send("requests", b"c", b"60")
        await bed.send("requests", b"a", b"-100")
        await bed.advance(0)
        await bed.advance(60)
        assert [record.key for record in bed.records("reminders")] == [b"b", b"a", b"c"]


def acknowledge(journal: Journal, commit: CommitBatch, offset: int) -> None:
    journal.acknowledged(commit, offset, lambda: 0)


def test_a_timer_stays_on_disk_until_what_was_decided_on_it_is_journalled(tmp_path: Path) -> None:
    """A commit of before that is acknowledged in between does not take it away."""
    state = StateDirectory(tmp_path, memory_bytes=2**23)
    copy = state.open(JOURNAL)
    journal = new_journal(timers=lambda _, row: (int(row),))
    journal.keep_locally(LocalRows(copy, journal.rows))
    journal.put(b"a", b"10")
    journal.accept()
    acknowledge(journal, journal.seal(), 0)
    journal.put(b"b", b"99")
    journal.accept()
    before = journal.seal()
    given: list[bytes] = []

    def forget(context: Context, now_ms: int, limit: int) -> bool:
        for key in context.due(now_ms, limit):
            given.append(key)
            context.delete(key)
        return False

    assert not journal.tick(forget, 10, 9)
    assert given == [b"a"]
    later = journal.seal()
    acknowledge(journal, before, 2)
    assert [key for _, _, key in copy.timers(b"t")] == [b"a", b"b"]
    assert journal.get(b"a") is None
    assert copy.get(b"a") == b"10"
    assert not journal.tick(forget, 10, 9)
    assert given == [b"a"], "it is taken once"
    acknowledge(journal, later, 4)
    assert [key for _, _, key in copy.timers(b"t")] == [b"b"]
    assert copy.get(b"a") is None
    assert (dict(journal.rows), journal.get(b"b")) == ({}, b"99")
    state.close()


def test_a_takeover_that_was_left_to_a_newer_assignment_leaves_its_copy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = StateDirectory(tmp_path, memory_bytes=2**23)
    state.open(JOURNAL).write([(b"a", b"1")], position=POSITION)
    again = state.open(JOURNAL)
    assert again.position == POSITION
    assert again.get(b"a") == b"1"
    assert not thrown_away(caplog)
    state.close()


def test_a_decision_sees_the_last_row_whatever_is_acknowledged_by_then(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path, memory_bytes=2**23)
    copy = state.open(JOURNAL)
    journal = new_journal()
    journal.keep_locally(LocalRows(copy, journal.rows))

    def decide(row: bytes | None) -> None:
        if row is None:
            journal.delete(b"a")
        else:
            journal.put(b"a", row)
        journal.accept()
        assert journal.get(b"a") == row

    decide(b"1")
    first = journal.seal()
    decide(b"2")
    second = journal.seal()
    acknowledge(journal, first, 0)
    assert (journal.get(b"a"), copy.get(b"a")) == (b"2", b"1")
    decide(b"3")
    acknowledge(journal, second, 2)
    assert (journal.get(b"a"), copy.get(b"a")) == (b"3", b"2")
    third = journal.seal()
    acknowledge(journal, third, 4)
    assert (journal.get(b"a"), dict(journal.rows)) == (b"3", {})
    decide(None)
    fourth = journal.seal()
    decide(b"5")
    decide(None)
    acknowledge(journal, fourth, 6)
    assert (journal.get(b"a"), copy.get(b"a")) == (None, None)
    decide(b"6")
    acknowledge(journal, journal.seal(), 8)
    assert (journal.get(b"a"), dict(journal.all_rows)) == (b"6", {b"a": b"6"})
    state.close()


# --- copies that must not be used ----------------------------------------------------------------


def folder(path: Path) -> Path:
    return path / "words-changelog-0"


def files(path: Path, pattern: str) -> list[Path]:
    found = sorted((folder(path) / "rows").glob(pattern))
    assert found
    return found


def flip(file: Path, *, first: int = 0, step: int = 1) -> None:
    data = bytearray(file.read_bytes())
    for index in range(first, len(data), step):
        data[index] ^= 0xFF
    file.write_bytes(data)


def flip_tables(path: Path) -> None:
    for file in files(path, "*.sst"):
        flip(file)


def drop_a_table(path: Path) -> None:
    files(path, "*.sst")[0].unlink()


def drop_the_manifest(path: Path) -> None:
    for file in files(path, "MANIFEST-*"):
        file.unlink()


def flip_the_manifest(path: Path) -> None:
    for file in files(path, "MANIFEST-*"):
        flip(file, first=20)


def cut_tables(path: Path) -> None:
    for file in files(path, "*.sst"):
        os.truncate(file, file.stat().st_size // 2)


def position_of(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change what a copy says of itself."""
    state = StateDirectory(path, memory_bytes=2**23)
    copy = state.open(JOURNAL)
    copy._db.put(b"p", change(copy._db.get(b"p") or b""))
    state.close()


def newer_format(path: Path) -> None:
    position_of(path, lambda p: p.replace(b'"format":%d' % FORMAT, b'"format":%d' % (FORMAT + 1)))


def spoil_the_position(path: Path) -> None:
    position_of(path, lambda p: p[:40])


def other_topic(path: Path) -> None:
    position_of(path, lambda p: p.replace(b"id-of-words-changelog", b"id-of-another"))


def other_checkpoint(path: Path) -> None:
    def change(stored: bytes) -> bytes:
        start = stored.index(b'"checkpoint":"') + len(b'"checkpoint":"')
        return stored[:start] + b"0" * 32 + stored[start + 32 :]

    position_of(path, change)


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (flip_tables, "it can't be opened"),
        (drop_a_table, "it can't be opened"),
        (cut_tables, "it can't be opened"),
        (drop_the_manifest, "it can't be opened"),
        (flip_the_manifest, "it can't be opened"),
        (newer_format, f"it has format {FORMAT + 1}, this version reads up to {FORMAT}"),
        (spoil_the_position, "what it says of itself can't be read"),
        (other_topic, "it was written for topic 'id-of-another'"),
        (other_checkpoint, "is not that of the journal"),
    ],
)
async def test_a_copy_that_is_torn_or_foreign_is_thrown_away_with_one_line(
    damage: Callable[[Path], None], why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bed(tmp_path) as bed:
        await bed.count_all(100)
        await bed._running().kill()
        damage(tmp_path)
        caplog.clear()
        await bed._start()
        [line] = thrown_away(caplog)
        assert why in line
        await bed.send("words", b"w0")
        assert counts(bed, b"w0") == [b"1", b"2"]
        assert len(bed.rows()) == 100
        await bed.crash()
        assert len(thrown_away(caplog)) == 1, "the new copy is used"
        assert len(bed.rows()) == 100


async def test_a_copy_that_an_interrupted_takeover_was_filling_is_filled_anew_without_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has rows, and does not say up to where: that is no sign of a bad disk."""
    caplog.set_level(logging.INFO)

    async def killed(*_: object) -> None:
        raise FailStop("it is killed before it has taken over")

    async with Bed(tmp_path) as bed:
        await bed.count_all(100)
        await bed._running().kill()
        shutil.rmtree(folder(tmp_path))
        with monkeypatch.context() as patched:
            patched.setattr("exactstage.rebalancing.restore_stage", killed)
            with pytest.raises(FailStop, match="it is killed"):
                await bed._start()
        caplog.clear()
        await bed._start()
        assert len(bed.rows()) == 100
        assert not thrown_away(caplog)
        [line] = [r for r in caplog.records if "local copy" in r.getMessage()]
        assert line.levelname == "INFO"
        assert line.getMessage() == (
            f"words-changelog/0: the local copy in {folder(tmp_path)} is not used: "
            f"the takeover or standby that filled it did not end; it is filled anew"
        )


async def test_the_line_of_a_takeover_says_how_many_copies_were_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = list[TakeoverReport]()
    run = Takeover.run

    async def noted(*given: Any) -> tuple[list[Journal], TakeoverReport]:
        journals, report = await run(*given)
        reports.append(report)
        return journals, report

    monkeypatch.setattr(Takeover, "run", noted)

    def used() -> list[str]:
        line = str(reports.pop())
        assert line.startswith("took over partitions [")
        assert not reports
        return [part for part in line.split(", ") if "copies" in part]

    async with Bed(tmp_path, partitions=2) as bed:
        assert used() == ["0 of 2 copies used"]
        for partition in (0, 1):
            await bed.send("words", b"w%d" % partition, partition=partition)
        await bed.crash()
        assert used() == ["2 of 2 copies used"]
        await bed._running().kill()
        position_of(tmp_path, lambda p: p[:40])
        await bed._start()
        assert used() == ["1 of 2 copies used"]
        await bed._running().kill()
        other_checkpoint(tmp_path)  # Refused while its journal is read.
        await bed._start()
        assert used() == ["1 of 2 copies used"]
    async with StageTestbed(words()):
        assert used() == []


async def test_a_copy_without_its_current_file_is_made_anew(tmp_path: Path) -> None:
    async with Bed(tmp_path) as bed:
        await bed.count_all(100)
        await bed._running().kill()
        (folder(tmp_path) / "rows" / "CURRENT").unlink()
        await bed._start()
        assert len(bed.rows()) == 100


async def test_a_copy_of_another_partition_is_thrown_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bed(tmp_path, partitions=2) as bed:
        for number in range(20):
            await bed.send("words", b"w%d" % number, partition=number % 2)
        await bed._running().kill()
        shutil.rmtree(tmp_path / "words-changelog-1")
        shutil.copytree(tmp_path / "words-changelog-0", tmp_path / "words-changelog-1")
        await bed._start()
        [line] = thrown_away(caplog)
        assert "words-changelog/1" in line
        assert "it was written for partition 0, here is 1" in line
        journals = bed._running().engine.owned.journals()
        assert sorted(key for j in journals for key in j.all_rows) == sorted(
            b"w%d" % number for number in range(20)
        )


async def test_a_copy_that_is_ahead_of_its_journal_is_thrown_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a broker came back without the end of its log, or a test installation began anew."""
    async with Bed(tmp_path) as bed:
        await bed.count_all(100)
    async with Bed(tmp_path) as younger:
        [line] = thrown_away(caplog)
        assert "it is ahead of its journal" in line
        assert younger.rows() == {}
        await younger.send("words", b"w0")
        assert counts(younger, b"w0") == [b"1"]


async def test_a_copy_whose_last_commit_was_compacted_away_is_thrown_away(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its journal may have lost that commit and got others since: nothing says which."""
    async with Bed(tmp_path / "now") as bed:
        await bed.count_all(10)
        await bed._running().kill()
        shutil.copytree(tmp_path / "now", tmp_path / "old")
        await bed._start()
        await bed.count_all(100)
        rows = bed.rows()
        await bed._running().kill()
        shutil.rmtree(tmp_path / "now")
        shutil.copytree(tmp_path / "old", tmp_path / "now")
        journal = bed.log.partition(JOURNAL)
        assert journal.compact(before=bed.log.end(JOURNAL), tombstones_before_ms=0)
        await bed._start()
        [line] = thrown_away(caplog)
        assert "its journal does not have its commit" in line
        assert bed.rows() == rows


async def test_an_older_copy_is_brought_up_to_date(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As after partitions were elsewhere for a while, for fewer and for more than 64 commits."""
    async with Bed(tmp_path / "now") as bed:
        for number in (10, 200):
            await bed._running().kill()
            shutil.rmtree(tmp_path / "old", ignore_errors=True)
            shutil.copytree(tmp_path / "now", tmp_path / "old")
            await bed._start()
            await bed.count_all(number)
            await bed.send("words", b"w0", b"forget")
            before = bed.rows()
            await bed._running().kill()
            shutil.rmtree(tmp_path / "now")
            shutil.copytree(tmp_path / "old", tmp_path / "now")
            await bed._start()
            assert bed.rows() == before
    assert not thrown_away(caplog)


async def test_other_settings_make_the_copy_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Timers in the copy depend on them."""
    settings = {"RETENTION": "60", "LIMIT": "5", "OLD": "1"}
    async with Bed(tmp_path, words(settings=settings)) as bed:
        await bed.count_all(10)
        await bed.crash(words(settings={"RETENTION": "90", "LIMIT": "5", "NEW": "2"}))
        [line] = thrown_away(caplog)
        assert line.endswith(
            ": it was written with NEW=not set (here 2), OLD=1 (here not set), "
            "RETENTION=60 (here 90)"
        )
        assert len(bed.rows()) == 10


async def test_damage_that_is_found_while_rows_are_read_ends_the_worker_and_the_copy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def store(record: Record, context: Context) -> None:
        assert record.key is not None
        context.get(record.key)
        context.put(record.key, sha512(record.key).hexdigest().encode())

    async with Bed(tmp_path, words()) as bed:
        bed._stages = (replace(words(), logic=store),)
        await bed.crash()
        await bed.count_all()
        await bed._running().kill()
        file = max(files(tmp_path, "*.sst"), key=lambda each: each.stat().st_size)
        data = bytearray(file.read_bytes())
        data[len(data) // 3] ^= 0xFF  # In a block that nothing reads at the start.
        file.write_bytes(data)
        await bed._start()
        assert not thrown_away(caplog)
        with pytest.raises(FailStop, match=r"can't be read .* the disk has damaged it"):
            await bed.count_all()
        await bed._running().kill()
        await bed._start()
        [line] = thrown_away(caplog)
        assert "it was found damaged while it was in use" in line
        await bed.settle()
        assert len(bed.rows()) == MANY


@pytest.mark.parametrize("found_by", ["a write", "the end"])
def test_damage_that_is_found_while_files_are_merged_ends_the_worker_and_the_copy(
    found_by: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """RocksDB reads a damaged block by itself: without a mark each next worker would end too."""

    def fill(copy: LocalCopy) -> None:
        keys = (sha512(b"%d" % number).digest() for number in range(MANY))
        copy.write(((key, key) for key in keys), position=POSITION)

    for _ in range(2):  # Two files.
        directory = StateDirectory(tmp_path)
        fill(directory.open(JOURNAL))
        directory.close()
    file = min(files(tmp_path, "*.sst"))
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 0xFF
    file.write_bytes(data)
    directory = StateDirectory(tmp_path)
    copy = directory.open(JOURNAL)
    fill(copy)
    copy._db.compact_range(None, None)
    if found_by == "a write":
        with pytest.raises(FailStop, match=r"can't be read .* the disk has damaged it"):
            fill(copy)
    directory.close()
    assert not thrown_away(caplog)
    directory = StateDirectory(tmp_path)
    assert directory.open(JOURNAL).position is None
    directory.close()
    [line] = thrown_away(caplog)
    assert "it was found damaged while it was in use" in line


async def test_a_disk_that_refuses_a_write_ends_the_worker_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bed(tmp_path) as bed:
        await bed.count_all(10)
        [journal] = bed._running().engine.owned.journals()
        assert journal.local is not None

        real = journal.local.copy._db

        class Full:
            """A database on a full disk."""

            def __getattr__(self, name: str) -> object:
                """Do everything else."""
                return getattr(real, name)

            def write(self, *_: object) -> None:
                """Refuse."""
                raise Exception("IO error: No space left on device")  # noqa: TRY002 - as rocksdict does

        journal.local.copy._db = Full()  # type: ignore[assignment]
        with pytest.raises(FailStop, match=r"can't be written \(IO error: No space left on dev"):
            await bed.send("words", b"w0")
        await bed._running().kill()
        await bed._start()
        await bed.settle()
        assert counts(bed, b"w0") == [b"1", b"2"]


@pytest.mark.parametrize(
    "error",
    [
        "IO error: While open a file for random read: rows/000009.sst: Too many open files",
        "Invalid argument: Found options incompatible with filesystem: IO error: Too many open",
        "Corruption: IO error: While open a file: rows/000009.sst: Too many open files",
        "IO error: While pread offset 1071 len 53: rows/000009.sst: Input/output error",
        "IO error: No space left on device: While appending to file: rows/MANIFEST-000013",
        "IO error: lock hold by current process, acquire time 1: rows/LOCK: No locks available",
        "Busy: another thread has it",
    ],
)
async def test_what_may_pass_does_not_delete_a_copy(
    error: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object) -> None:
        raise Exception(error)  # noqa: TRY002 - as rocksdict does

    async with Bed(tmp_path) as bed:
        await bed.count_all()
        await bed._running().kill()
        with monkeypatch.context() as patched:
            patched.setattr("rocksdict.Rdict", refuses)
            with pytest.raises(FailStop, match="there can be no local copy in"):
                await bed._start()
        await bed._start()
        assert bed.read() < MANY, "the copy is used"
    assert not thrown_away(caplog)


def test_an_error_while_one_copy_is_closed_leaves_no_other_open(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = StateDirectory(tmp_path, memory_bytes=2**23)
    copies = [state.open(JOURNAL._replace(partition=number)) for number in range(3)]

    class Full:
        """A database on a full disk."""

        def close(self) -> None:
            """Refuse."""
            raise Exception("IO error: No space left on device")  # noqa: TRY002 - as rocksdict does

        def property_int_value(self, _: str) -> int:
            """Refuse."""
            raise Exception("IO error: No space left on device")  # noqa: TRY002 - as rocksdict does

    monkeypatch.setattr(copies[1], "_db", Full())
    with pytest.raises(FailStop, match=r"there can be no local copy in .*No space left on device"):
        copies[1].estimated_keys()
    state.close()
    assert [copy.is_closed for copy in copies] == [True] * 3
    assert [copy.estimated_keys() for copy in copies] == [0] * 3
    [line] = [r.getMessage() for r in caplog.records]
    assert line.startswith("words-changelog/1: the local copy in ")
    assert "could not be written to its end" in line
    StateDirectory(tmp_path).close()  # It is unlocked.


@pytest.mark.parametrize(("most_known", "marks"), [(100, 1), (2, 3)])
def test_an_empty_copy_is_filled_without_marks_for_rows_that_were_never_open(
    most_known: int, marks: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mark that a row is not open is one more key, and most rows of a journal are not."""

    class CountsOnce(WordCount):
        """Calls words open that came once."""

        def is_open(self, key: bytes, row: bytes) -> bool:
            """Return whether a word came once."""
            del key
            return row == b"1"

    monkeypatch.setattr(copy_restoring, "_MOST_KEPT", most_known)
    copy = StateDirectory(tmp_path).open(JOURNAL)
    marked: list[bytes] = []
    written = copy.write

    def write(rows: Iterable[tuple[bytes, bytes | None]], **given: Any) -> None:
        kept = given["kept"]
        keys = [key for key, row in rows if row != b"1"]
        marked.extend(key for key in keys if kept is None or key in kept)
        written(rows, **given)

    monkeypatch.setattr(copy, "write", write)
    stage = replace(words(), logic=CountsOnce("counts"))
    journal = new_journal()
    tail = Tail(stage, new_local(stage, journal, copy, {}), Bounds(0, 9))
    all_changes = ({b"a": b"1", b"b": b"1", b"c": b"1"}, {b"a": b"2"}, {b"d": b"2", b"e": b"2"})
    for offset, changed in enumerate(all_changes):
        tail.add([Record(*JOURNAL, offset, 0, b"a", b"", ())], Changes(changed))
    assert dict(copy.kept()) == {b"b": b"1", b"c": b"1"}
    assert dict(copy.rows()) == {
        key: row for changed in all_changes for key, row in changed.items()
    }
    assert len(marked) == marks
    copy.close()


async def test_is_open_that_can_not_read_what_was_decided_names_the_row(tmp_path: Path) -> None:
    async with Bed(tmp_path, reminders_stage(CannotSay(), None)) as bed:
        await bed.send("requests", b"good")
        with pytest.raises(FailStop, match=r"has a row with the key b'bad' of which .* is_open"):
            await bed.send("requests", b"bad")
        await bed._running().kill()
        with pytest.raises(JournalBroken, match=r"with the key b'bad' is a row .*KeyError"):
            await bed._start()
        bed._stages = (reminders_stage(Reminders(), None),)
        await bed._start()
        assert bed.rows().keys() == {b"good", b"bad"}


async def test_after_a_kill_a_copy_has_what_was_flushed(tmp_path: Path) -> None:
    def killed() -> Position | None:
        shutil.rmtree(tmp_path / "killed", ignore_errors=True)
        shutil.copytree(tmp_path / "now", tmp_path / "killed")
        state = StateDirectory(tmp_path / "killed")
        try:
            return state.open(JOURNAL).position
        finally:
            state.close()

    state = StateDirectory(tmp_path / "now")
    copy = state.open(JOURNAL)
    copy.write([(b"a", b"1")], position=POSITION)
    assert killed() is None
    await state.flush()
    assert killed() == POSITION
    later = msgspec.structs.replace(POSITION, commit=2)
    copy.write([(b"a", b"2")], position=later)
    await state.flush()
    assert killed() == later
    files = sorted((tmp_path / "now").rglob("*.sst"))
    await state.flush()
    assert sorted((tmp_path / "now").rglob("*.sst")) == files, "there was nothing to write"
    state.close()
    copy.flush()  # It is closed: nothing is left to write.


async def test_a_worker_writes_its_copies_to_their_files_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = asyncio.Semaphore(0)

    class State(StateDirectory):
        """Counts."""

        async def flush(self) -> None:
            """Count, and flush."""
            await super().flush()
            times.release()

    monkeypatch.setattr(local_copy, "FLUSH_SECONDS", 0.001)
    monkeypatch.setattr(testing, "StateDirectory", State)
    async with Bed(tmp_path) as bed, asyncio.timeout(LIMIT_SECONDS):
        await bed.count_all(3)
        for _ in range(3):
            await times.acquire()


async def test_a_flush_that_the_disk_refuses_ends_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        """Refuses."""

        def flush(self) -> None:
            """Refuse, as rocksdict does."""
            raise Exception("IO error: No space left on device")  # noqa: TRY002 - as rocksdict does

        def write(self, *given: Any) -> None:
            """Take what an idle journal writes meanwhile."""
            real.write(*given)

    monkeypatch.setattr(local_copy, "FLUSH_SECONDS", 0.001)
    bed = Bed(tmp_path)
    async with asyncio.timeout(LIMIT_SECONDS):
        await bed.__aenter__()
        await bed.count_all(3)
        [journal] = bed._running().engine.owned.journals()
        assert journal.local is not None
        real = journal.local.copy._db
        monkeypatch.setattr(journal.local.copy, "_flushed", None)
        monkeypatch.setattr(journal.local.copy, "_db", Broken())
        with pytest.raises(FailStop, match=r"there can be no local copy in .* Make room"):
            await bed._running().run()
        monkeypatch.setattr(journal.local.copy, "_db", real)
        await bed._running().kill()


def test_a_busy_copy_among_many_is_flushed_when_its_share_is_full(tmp_path: Path) -> None:
    """And not at each write because all of them together are at a limit."""
    count, memory_bytes = 64, 2**25
    state = StateDirectory(tmp_path, memory_bytes=memory_bytes)
    copies = [state.open(JOURNAL._replace(partition=number)) for number in range(count)]
    for copy in copies:
        copy.write([(b"a", b"1")], position=POSITION)
    busy, row = copies[0], sha512(b"").digest() * 16
    share_bytes = memory_bytes // 4 // count
    for number in range(2 * share_bytes // len(row)):
        busy.write([(b"%d" % number, row)], position=POSITION)
        while any(
            busy._db.property_int_value(f"rocksdb.{name}")
            for name in ("num-running-flushes", "mem-table-flush-pending")
        ):
            pass  # One that runs would hide the next.
    state.close()
    logs = [path.read_text() for path in tmp_path.glob("*/rows/LOG")]
    assert len(logs) == count
    flushes = sum(log.count('"event": "flush_started"') for log in logs)
    assert count <= flushes <= count + 4, "each at the end, and the busy one when it is full"


# --- disks that are too slow ---------------------------------------------------------------------


class Behind:
    """A database whose disk is behind until it is set free."""

    def __init__(self, real: object) -> None:
        self._real = real
        self.refused, self.free = asyncio.Event(), False

    def __getattr__(self, name: str) -> object:
        """Do everything else."""
        return getattr(self._real, name)

    def write(self, *given: object) -> None:
        """Refuse, as rocksdict does."""
        if not self.free:
            self.refused.set()
            raise Exception("Result incomplete: Write stall")  # noqa: TRY002 - as rocksdict does
        self._real.write(*given)  # type: ignore[attr-defined]


def behind(bed: Bed) -> tuple[Journal, Behind]:
    """Let the disk of a bed be behind from now on."""
    [journal] = bed._running().engine.owned.journals()
    assert journal.local is not None
    db = Behind(journal.local.copy._db)
    journal.local.copy._db = db  # type: ignore[assignment]
    return journal, db


async def test_commits_wait_for_a_disk_that_is_behind_and_the_worker_goes_on(
    tmp_path: Path,
) -> None:
    async with Bed(tmp_path) as bed:
        await bed.send("words", b"a")
        journal, db = behind(bed)
        sending = asyncio.create_task(bed.send("words", b"a"))
        await db.refused.wait()
        assert journal.get(b"a") == b"2", "a decision sees it"
        assert dict(journal.all_rows) == {b"a": b"2"}
        assert counts(bed, b"a") == [b"1"]
        db.refused.clear()
        async with asyncio.timeout(LIMIT_SECONDS):
            await db.refused.wait()  # The event loop runs, and the write comes again.
        db.free = True
        await sending
        await bed.send("words", b"a", b"forget")
        await bed.send("words", b"a")
        assert counts(bed, b"a") == [b"1", b"2", b"1"]
        assert journal.local is not None
        assert journal.local.copy.position is not None
        assert journal.local.copy.position.commit == journal.n
        assert dict(journal.local.copy.rows()) == {b"a": b"1"}
        await bed.crash()
        assert bed.rows() == {b"a": b"1"}


def test_a_commit_that_the_disk_has_refused_changes_nothing(tmp_path: Path) -> None:
    state = StateDirectory(tmp_path, memory_bytes=2**23)
    copy = state.open(JOURNAL)
    journal = new_journal(timers=lambda _, row: (int(row),))
    journal.keep_locally(LocalRows(copy, journal.rows))
    journal.put(b"a", b"10")
    journal.accept()
    commit = journal.seal()
    db = Behind(copy._db)
    copy._db = db  # type: ignore[assignment]
    for _ in range(2):
        with pytest.raises(DiskBehind):
            acknowledge(journal, commit, 0)
        assert (journal.get(b"a"), copy.get(b"a"), copy.position) == (b"10", None, None)
        assert not journal.timer_index.is_due(10)
    db.free = True
    acknowledge(journal, commit, 0)
    assert (dict(journal.rows), copy.get(b"a")) == ({}, b"10")
    assert journal.timer_index.take(10) == b"a"
    state.close()


async def test_a_disk_that_stays_behind_ends_the_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exactstage.slow_disk._WARN_SECONDS", 0.02)
    monkeypatch.setattr("exactstage.slow_disk.LIMIT_SECONDS", 0.06)
    async with Bed(tmp_path) as bed:
        behind(bed)
        with pytest.raises(FailStop, match="the disk has taken nothing for the local copy of word"):
            await bed.send("words", b"a")
        lines = [r.getMessage() for r in caplog.records if "the disk is behind" in r.getMessage()]
        assert len(lines) == 1
        await bed._running().kill()
        await bed._start()
        await bed.settle()
        assert counts(bed, b"a") == [b"1"]


async def test_a_write_for_which_rocksdb_would_have_to_wait_comes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def limited(memory_bytes: int) -> Any:
        options = real(memory_bytes)
        options.set_ratelimiter(1_000_000, 100_000, 10)  # Bytes a second.
        return options

    real = local_copy._options
    monkeypatch.setattr(local_copy, "_options", limited)
    state = StateDirectory(tmp_path, memory_bytes=2**21)
    copy = state.open(JOURNAL)

    def fill() -> None:
        for number in range(10_000):
            copy.write([(b"%d" % number, os.urandom(1000))], position=POSITION)

    with pytest.raises(DiskBehind):
        fill()
    written = len(list(copy.rows()))
    assert copy.get(b"%d" % written) is None
    await when_disk_allows(JOURNAL, lambda: copy.write([(b"last", b"1")], position=POSITION))
    assert len(list(copy.rows())) == written + 1
    state.close()


# --- processes and directories -------------------------------------------------------------------


async def test_two_processes_can_not_share_a_directory(tmp_path: Path) -> None:
    async with Bed(tmp_path):
        with pytest.raises(FailStop, match=f"{tmp_path} is in use by another process"):
            StateDirectory(tmp_path)


def test_a_directory_that_can_not_be_made_is_a_clear_end(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FailStop, match=r"there can be no local copy in .*file/state"):
        StateDirectory(tmp_path / "file" / "state")


async def test_a_row_that_the_stage_can_not_read_is_found_in_the_tail(tmp_path: Path) -> None:
    class Wrong(Reminders):
        """A version that stores something else."""

        def timers(self, key: bytes, row: bytes) -> tuple[int, ...]:
            """Read any row."""
            del key, row
            return ()

        def handle(self, record: Record, context: Context) -> None:
            """Store one."""
            assert record.key is not None
            context.put(record.key, b"no number")

    async with Bed(tmp_path, reminders_stage(Wrong(), None)) as bed:
        await bed.send("requests", b"a")
        await bed._running().kill()
        shutil.rmtree(tmp_path)
        bed._stages = (reminders_stage(Reminders(), None),)
        with pytest.raises(JournalBroken, match="with the key b'a' is a row that the stage"):
            await bed._start()
        bed._stages = (reminders_stage(Wrong(), None),)
        await bed._start()


_WRITER = """
import sys
import time
from pathlib import Path
from exactstage.local_copy import Position, StateDirectory, timer_key
from exactstage.log import Bounds, TopicPartition
from exactstage.slow_disk import DiskBehind

state = StateDirectory(Path(sys.argv[1]), memory_bytes=4 * 2**20)
copy = state.open(TopicPartition("words-changelog", 0))
for n in range(1, 10**9):
    position = Position(belongs={}, commit=n, checkpoint="", checkpoint_offset=n, offset=n,
                        ring_offset=0, time_ms=0)
    rows = [(b"%d" % (n * 100 + each), b"%d" % n * 50) for each in range(100)]
    while True:
        try:
            copy.write(rows, timers=[timer_key(n, key) for key, _ in rows], position=position)
            break
        except DiskBehind:
            time.sleep(0.001)
    print(n, flush=True)
"""


@pytest.mark.parametrize("writes", [1, 50, 700, 2000])
def test_a_process_that_is_killed_leaves_whole_commits_only(writes: int, tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    for _ in range(writes):
        assert child.stdout.readline()
    child.send_signal(signal.SIGKILL)
    child.communicate()
    state = StateDirectory(tmp_path, memory_bytes=2**23)
    copy = state.open(JOURNAL)
    commit = 0 if copy.position is None else copy.position.commit
    rows = dict(copy.rows())
    assert set(rows) == {b"%d" % (n * 100 + e) for n in range(1, commit + 1) for e in range(100)}
    assert len(list(copy.timers(b""))) == len(rows)
    state.close()
