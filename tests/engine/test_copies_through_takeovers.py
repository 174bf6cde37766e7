"""Local copies through takeovers: what one that ends early leaves, and what other code makes of it.

What is damaged or foreign on a disk is in ``test_local_copies``.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from exactstage import Context, Record, Stage
from exactstage.errors import FailStop, JournalBroken
from exactstage.log import TopicPartition

from .test_local_copies import Bed, CannotSay, counts, thrown_away, words
from .test_timers import Reminders, reminders_stage

JOURNAL = TopicPartition("reminders-changelog", 0)
REQUESTS = TopicPartition("requests", 0)


class Wrong(Reminders):
    """A version that stores something else."""

    def timers(self, key: bytes, row: bytes) -> Sequence[int]:
        """Read any row."""
        del key, row
        return ()

    def handle(self, record: Record, context: Context) -> None:
        """Store one."""
        assert record.key is not None
        context.put(record.key, b"no number")


class Disk:
    """Sets the directory of a worker back to what it was."""

    def __init__(self, path: Path) -> None:
        self.now, self._old = path / "now", path / "old"

    def keep(self) -> None:
        """Remember how it is."""
        shutil.rmtree(self._old, ignore_errors=True)
        shutil.copytree(self.now, self._old)

    def restore(self) -> None:
        """Make it what it was."""
        shutil.rmtree(self.now)
        shutil.copytree(self._old, self.now)


def reminders(logic: object | None = None) -> Stage:
    return reminders_stage(logic or Reminders(), None)


@pytest.mark.parametrize("has_older_copy", [False, True])
async def test_a_row_that_can_not_be_read_is_refused_at_every_start(
    has_older_copy: bool, tmp_path: Path
) -> None:
    disk = Disk(tmp_path)
    async with Bed(disk.now, reminders()) as bed:
        await bed.send("requests", b"good")
        await bed._running().kill()
        disk.keep()
        bed._stages = (reminders(Wrong()),)
        await bed._start()
        await bed.send("requests", b"bad")
        await bed._running().kill()
        if has_older_copy:
            disk.restore()
        else:
            shutil.rmtree(disk.now)
        bed._stages = (reminders(),)
        for _ in range(3):
            with pytest.raises(JournalBroken, match="with the key b'bad' is a row that the stage"):
                await bed._start()
        bed._stages = (reminders(Wrong()),)
        await bed._start()


async def test_a_row_that_was_replaced_before_the_takeover_is_not_asked_about(
    tmp_path: Path,
) -> None:
    async with Bed(tmp_path, reminders(Wrong())) as bed:
        await bed.send("requests", b"a")
        await bed.crash(reminders())
        await bed.send("requests", b"a")
        await bed._running().kill()
        shutil.rmtree(tmp_path)
        await bed._start()
        assert bed.rows().keys() == {b"a"}


async def test_a_row_that_is_open_can_not_say_is_named(tmp_path: Path) -> None:
    async with Bed(tmp_path, reminders()) as bed:
        await bed.send("requests", b"bad")
        await bed.send("requests", b"good")
        await bed._running().kill()
        bed._stages = (reminders(CannotSay()),)
        for _ in range(2):
            with pytest.raises(JournalBroken, match=r"with the key b'bad' is a row .*KeyError"):
                await bed._start()
        bed._stages = (reminders(),)
        await bed._start()


class Later(Reminders):
    """A version that reminds ten seconds later."""

    def timers(self, key: bytes, row: bytes) -> Sequence[int]:
        """Return another time."""
        del key
        return (int(row) + 10_000,)


def without_timers() -> Stage:
    def handle(record: Record, context: Context) -> None:
        Reminders().handle(record, context)

    return replace(reminders(), logic=handle)


async def test_a_version_that_adds_timers_has_those_of_older_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bed(tmp_path, without_timers()) as bed:
        await bed.send("requests", b"a", b"60")
        await bed.crash(reminders())
        [line] = thrown_away(caplog)
        assert "it was written for timers False, here is True" in line
        await bed.advance(61)
        assert [record.key for record in bed.records("reminders")] == [b"a"]


async def test_a_version_with_other_timers_raises_the_version_of_the_index(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bed(tmp_path, reminders()) as bed:
        await bed.send("requests", b"a", b"60")
        await bed.crash(replace(reminders(Later()), index_version=2))
        [line] = thrown_away(caplog)
        assert "it was written for index 1, here is 2" in line
        await bed.advance(65)
        assert bed.records("reminders") == []
        await bed.advance(10)
        assert [record.key for record in bed.records("reminders")] == [b"a"]


async def lose_after(bed: Bed, end: int, requests_end: int) -> None:
    """Lose the ends of a journal and of its input, as after an unclean election."""
    bed.log.partition(JOURNAL).truncate(end)
    bed.log.partition(REQUESTS).truncate(requests_end)


async def copy_of_a_left_takeover(
    bed: Bed, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> tuple[int, int]:
    """Leave a copy into which a takeover has read more than it says; return where that began."""
    await bed.send("requests", b"a")
    await bed._running().kill()
    disk.keep()
    ends = bed.log.end(JOURNAL), bed.log.end(REQUESTS)
    await bed._start()
    for key in (b"b", b"c"):
        await bed.send("requests", key)
    await bed._running().kill()
    disk.restore()

    async def killed(*_: object) -> None:
        raise FailStop("it is killed before it has taken over")

    with monkeypatch.context() as patched:
        patched.setattr("exactstage.rebalancing.restore_stage", killed)
        with pytest.raises(FailStop, match="it is killed"):
            await bed._start()
    disk.keep()
    return ends


async def test_rows_of_a_takeover_that_did_not_end_are_not_believed_where_the_journal_lost_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path)
    async with Bed(disk.now, reminders()) as bed:
        end, requests_end = await copy_of_a_left_takeover(bed, disk, monkeypatch)
        await lose_after(bed, end, requests_end)
        shutil.rmtree(disk.now)  # Another worker, on another disk.
        await bed._start()
        for number in range(3):
            await bed.send("requests", b"other-%d" % number)
        rows = bed.rows()
        await bed._running().kill()
        disk.restore()
        caplog.clear()
        await bed._start()
        [line] = thrown_away(caplog)
        assert "a takeover that did not end has written rows up to offset" in line
        assert bed.rows() == rows
        assert rows.keys() == {b"a", b"other-0", b"other-1", b"other-2"}


async def test_they_are_not_believed_either_where_the_journal_ends_before_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path)
    async with Bed(disk.now, reminders()) as bed:
        end, requests_end = await copy_of_a_left_takeover(bed, disk, monkeypatch)
        await lose_after(bed, end, requests_end)
        caplog.clear()
        await bed._start()
        [line] = thrown_away(caplog)
        assert "a takeover that did not end has written rows up to offset" in line
        assert bed.rows().keys() == {b"a"}


async def test_a_copy_of_a_takeover_that_did_not_end_is_used_if_its_journal_has_all_of_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path)
    async with Bed(disk.now, reminders()) as bed:
        await copy_of_a_left_takeover(bed, disk, monkeypatch)
        caplog.clear()
        await bed._start()
        await bed.send("requests", b"d")
        assert bed.rows().keys() == {b"a", b"b", b"c", b"d"}
        await bed.crash()
        assert bed.rows().keys() == {b"a", b"b", b"c", b"d"}
    assert not thrown_away(caplog)


async def test_fences_that_a_journal_loses_hide_no_commit_that_comes_in_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path)
    async with Bed(disk.now, reminders()) as bed:
        await bed.send("requests", b"a")
        await bed._running().kill()
        end = bed.log.end(JOURNAL)
        for _ in range(5):
            # Owners that write nothing but their fences.
            with monkeypatch.context() as patched:
                patched.setattr("exactstage.pipeline.CommitPipeline.touch", lambda *_: None)
                await bed._start()
                await bed._running().kill()
        assert bed.log.end(JOURNAL) == end + 5
        disk.keep()
        bed.log.partition(JOURNAL).truncate(end)
        shutil.rmtree(disk.now)
        await bed._start()
        for key in (b"b", b"c", b"d"):
            await bed.send("requests", key)
        await bed._running().kill()
        disk.restore()
        await bed._start()
        assert bed.rows().keys() == {b"a", b"b", b"c", b"d"}


async def test_one_row_without_a_checkpoint_is_refused(tmp_path: Path) -> None:
    async with Bed(tmp_path, reminders(Wrong())) as bed:  # Its rows have no timers.
        await bed.send("requests", b"a")
        await bed._running().kill()
        shutil.rmtree(tmp_path)
        journal = bed.log.partition(JOURNAL)
        journal.records[:] = [record for record in journal.records if record.key == b"a"]
        journal._offsets[:] = [record.offset for record in journal.records]
        with pytest.raises(JournalBroken, match="has rows but no checkpoint"):
            await bed._start()


def left_by_a_newer_assignment(bed: Bed, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Let a drain come in the middle of the next takeover."""
    engine = bed._running().engine
    real: Callable[..., object] = getattr(engine._rebalancing._takeover, at)

    def then_drain(*given: object) -> object:
        engine._rebalancing._drains += 1
        return real(*given)

    monkeypatch.setattr(engine._rebalancing._takeover, at, then_drain)


@pytest.mark.parametrize("at", ["_require_tombstones", "_introduce"])
async def test_copies_are_closed_when_a_takeover_is_left_and_when_partitions_go(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bed(tmp_path, words(), partitions=2) as bed:
        engine = bed._running().engine
        state = engine._state
        assert state is not None
        assert len(state._copies) == 2
        await engine.drain()
        await engine.rebalance({TopicPartition("words", 0)})
        assert len(state._copies) == 1
        with monkeypatch.context() as patched:
            left_by_a_newer_assignment(bed, patched, at)
            await engine.rebalance({TopicPartition("words", p) for p in range(2)})
        assert engine.owned.partitions == {0}
        assert len(state._copies) == 1
        await engine.rebalance({TopicPartition("words", p) for p in range(2)})
        assert len(state._copies) == 2
        await bed.send("words", b"a", partition=1)
        assert counts(bed, b"a") == [b"1"]


async def test_a_renewal_leaves_no_gap_behind_what_a_copy_has(tmp_path: Path) -> None:
    """Control records look like records that were compacted away; an idle journal has no other."""
    async with Bed(tmp_path) as bed:
        await bed.send("words", b"a")
        timers = bed._running().engine.timers
        for partition, writer in bed._running().engine.owned.writers().items():
            await timers._renew(partition, writer)
        await bed.settle()
        [journal] = bed._running().engine.owned.journals()
        assert journal.local is not None
        assert journal.local.copy.position is not None
        assert journal.local.copy.position.offset == bed.log.end(
            TopicPartition("words-changelog", 0)
        )


async def test_timers_that_are_overdue_show_whether_rows_are_on_disk_or_not(tmp_path: Path) -> None:
    class Late(Reminders):
        """Takes no timer."""

        def tick(self, context: Context, now_ms: int, limit: int) -> bool:
            """Do nothing."""
            del context, now_ms, limit
            return False

    async with Bed(tmp_path, reminders(Late())) as bed:

        def overdue() -> float:
            return bed._running().engine.counts().timers_overdue_seconds["reminders"]

        await bed.send("requests", b"b", b"90")
        await bed.send("requests", b"a", b"60")
        await bed.advance(59)
        assert overdue() == 0
        await bed.advance(31)
        assert overdue() == 30
        await bed.crash()
        assert overdue() == 30
        await bed.crash(reminders())
        await bed.advance(0)
        assert [record.key for record in bed.records("reminders")] == [b"a", b"b"]
        assert overdue() == 0
        await bed.send("requests", b"c", b"10")
        await bed.advance(5)
        assert overdue() == 0
