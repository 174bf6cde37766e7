"""Standbys: journals of other workers are followed, and taken over from where the copy is."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exactstage import Context, Record, Stage
from exactstage.errors import FailStop, JournalBroken
from exactstage.limits import RING, Limits
from exactstage.local_copy import LocalCopy, StateDirectory
from exactstage.log import TopicPartition
from exactstage.memory import MemoryLog
from exactstage.plain_host import PlainHost
from exactstage.slow_disk import DiskBehind
from exactstage.standby import Follower, Standbys
from exactstage.testing import Arrived

from .test_copies_through_takeovers import Wrong
from .test_local_copies import JOURNAL, MANY, Bed, counts, flip_tables, thrown_away, words
from .test_timers import Reminders, reminders_stage

pytest.importorskip("rocksdict")

LIMIT_SECONDS = 30.0
RING_AND_A_FEW = 70


class Other(PlainHost):
    """Another worker of the installation, which owns what it is told, and follows."""

    def __init__(self, bed: Bed, path: Path, *stages: Stage) -> None:
        self.bed = bed
        super().__init__(
            "testbed",
            stages or bed._stages,
            bed.log,
            partitions=(),
            limits=Limits(tick_seconds=0.01, idle_seconds=0.02),
            state=StateDirectory(path, memory_bytes=8 * 1024**2),
        )

    async def share(self, owned: Collection[int], standbys: Collection[int] = ()) -> None:
        """Own and follow these partitions from now on."""
        await self.engine.drain()
        inputs = {t for stage in self._stages for t in stage.inputs}
        await self.engine.rebalance(
            {TopicPartition(topic, p) for topic in inputs for p in owned}, standbys=standbys
        )

    def follower(self, at: TopicPartition = JOURNAL) -> Follower:
        """Return what follows a journal."""
        return self.standbys._followers[at]

    @property
    def standbys(self) -> Standbys:
        """What it follows."""
        return self.engine.standbys

    def copy(self, at: TopicPartition = JOURNAL) -> LocalCopy:
        """Return the open copy of a journal."""
        assert self._state is not None
        return self._state._copies[at]

    def has_all(self, at: TopicPartition = JOURNAL) -> bool:
        """Whether a copy has its journal up to the last checkpoint."""
        assert self._state is not None
        copy = self._state._copies.get(at)
        position = None if copy is None else copy.position
        checkpoints = [
            r.offset
            for r in self.bed.log.partition(at).records
            if r.key and r.key[:1] == b"\0" and r.value is not None
        ]
        return position is not None and position.checkpoint_offset == checkpoints[-1]

    def rows(self) -> dict[bytes, bytes]:
        """Return the rows of all owned partitions."""
        return {key: row for j in self.engine.owned.journals() for key, row in j.all_rows.items()}


@asynccontextmanager
async def other_worker(bed: Bed, path: Path, *stages: Stage) -> AsyncIterator[Other]:
    async with Other(bed, path, *stages) as other:
        yield other


async def until(log: MemoryLog, condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while not condition():
            await log.grown(0.005)


async def until_followed(other: Other, at: TopicPartition = JOURNAL) -> None:
    await until(other.bed.log, lambda: other.has_all(at))


def late_once(follower: Follower, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let any time be too long for a tombstone, until the copy is thrown away for it."""
    follower._age_limit_seconds = 0.0
    refuse = follower.refuse

    def then_in_time(why: str, now: float) -> None:
        follower._age_limit_seconds = 1000.0
        refuse(why, now)
        assert follower.is_hasty

    monkeypatch.setattr(follower, "refuse", then_in_time)


async def promote(bed: Bed, other: Other) -> None:
    """Kill the owner of the first partition; the other worker takes it over."""
    await bed._kill()
    bed._log.killed = False
    await other.share({0})


async def give_back(bed: Bed, other: Other) -> None:
    """End the other worker, and let the first one own everything."""
    await other.kill()
    await bed._start()


async def until_handled(bed: Bed, host: PlainHost) -> None:
    """Wait until a worker has handled all words, and published what follows."""

    def is_done() -> bool:
        assert host.failure is None, host.failure
        journals = host.engine.owned.journals()
        return host.engine.is_idle and all(
            offset >= bed.log.end(TopicPartition(topic, journal.partition))
            for journal in journals
            for topic, offset in journal.inputs.items()
        )

    await until(bed.log, is_done)


def produce(bed: Bed, key: bytes, value: bytes = b"", partition: int = 0) -> None:
    bed.log.produce(TopicPartition("words", partition), key, value)


async def test_a_standby_takes_over_with_the_rows_and_reads_only_the_tail(tmp_path: Path) -> None:
    async with Bed(tmp_path / "a") as bed, other_worker(bed, tmp_path / "b") as other:
        await bed.count_all()
        await bed.send("words", b"w1", b"forget")
        await other.share((), {0})
        await until_followed(other)
        for number in range(100):
            await bed.send("words", b"x%d" % number)
        await until_followed(other)
        assert other.engine.counts().standby_partitions == 1
        await until(bed.log, lambda: other.engine.counts().standby_lags == {"words": 0})
        rows = bed.rows()
        await promote(bed, other)
        assert other.engine.counts().standby_partitions == 0
        assert other.engine.counts().records_read < 2 * RING_AND_A_FEW < MANY
        assert other.rows() == rows
        for key in (b"w0", b"w1"):
            produce(bed, key)
        await until_handled(bed, other)
        assert counts(bed, b"w0") == [b"1", b"2"]
        assert counts(bed, b"w1") == [b"1", b"1"]
        await give_back(bed, other)


async def test_nothing_is_claimed_or_written_while_a_journal_is_followed(tmp_path: Path) -> None:
    async with Bed(tmp_path / "a") as bed, other_worker(bed, tmp_path / "b") as other:
        await bed.count_all(10)
        ends = {at: partition.end for at, partition in bed.log._partitions.items()}
        await other.share((), {0})
        await until_followed(other)
        await bed.settle()
        assert {at: partition.end for at, partition in bed.log._partitions.items()} == ends
        assert dict(other.copy().rows()) == bed.rows()
        await other.share(())
        assert other._state is not None
        assert not other._state._copies


async def test_a_standby_that_is_behind_reads_the_rest_when_it_is_promoted(tmp_path: Path) -> None:
    async with Bed(tmp_path / "a") as bed, other_worker(bed, tmp_path / "b") as other:
        await bed.count_all(10)
        await other.share((), {0})
        await until_followed(other)
        other.standbys.keep({0})  # It follows nothing more, as while something is taken over.
        await bed.count_all()
        assert not other.has_all()
        rows = bed.rows()
        await promote(bed, other)
        assert other.engine.counts().records_read > MANY
        assert other.rows() == rows
        await give_back(bed, other)


@pytest.mark.parametrize("arrived", ["nothing", "part", "all"])
@pytest.mark.parametrize("append", [1, 2, 3])
async def test_what_a_crash_leaves_of_a_commit_round_is_exact_in_the_standby(
    arrived: Arrived, append: int, tmp_path: Path
) -> None:
    bed = Bed(tmp_path / "a", partitions=2)
    async with bed, other_worker(bed, tmp_path / "b") as other:
        await other.share((), {0, 1})
        for number in range(20):
            await bed.send("words", b"w%d" % number, partition=number % 2)
        bed.crash_at(append, arrived)
        owner = bed._running()
        for number in range(40):
            produce(bed, b"w%d" % (number % 20), partition=number % 2)
        await until(bed.log, lambda: owner.failure is not None)
        await owner.kill()
        bed._log.killed = False
        await other.share({0, 1})
        await until_handled(bed, other)
        for number in range(20):
            assert counts(bed, b"w%d" % number) == [b"1", b"2", b"3"]
        assert other.rows() == {b"w%d" % number: b"3" for number in range(20)}
        await give_back(bed, other)


async def test_what_a_stale_owner_decides_is_in_no_copy(tmp_path: Path) -> None:
    """The journal refuses it, so who follows never sees it."""
    async with (
        Bed(tmp_path / "a") as bed,
        other_worker(bed, tmp_path / "b") as second,
        other_worker(bed, tmp_path / "c") as third,
    ):
        await bed.count_all(10)
        await third.share((), {0})
        await until_followed(third)
        stale = bed._running()
        await second.share({0})
        produce(bed, b"w0")
        await until(bed.log, lambda: stale.failure is not None)
        await until_handled(bed, second)
        await until_followed(third)
        assert dict(third.copy().rows()) == second.rows()
        assert counts(bed, b"w0") == [b"1", b"2"]
        await stale.kill()
        await second.kill()
        await third.share({0})
        produce(bed, b"w0")
        await until_handled(bed, third)
        assert counts(bed, b"w0") == [b"1", b"2", b"3"]
        await give_back(bed, third)


async def test_an_owner_that_becomes_the_standby_continues_its_copy(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bed(tmp_path / "a") as bed, other_worker(bed, tmp_path / "b") as other:
        await bed.count_all()
        owner = bed._running()
        await owner.engine.drain()
        await owner.engine.rebalance(set(), standbys={0})
        await other.share({0})
        produce(bed, b"new")
        await until_handled(bed, other)
        state = owner.engine._state
        assert state is not None
        await until(
            bed.log, lambda: JOURNAL in state._copies and state._copies[JOURNAL].get(b"new") == b"1"
        )
        assert owner.engine.standbys.records_read < 2 * RING_AND_A_FEW < MANY
        assert len(dict(state._copies[JOURNAL].rows())) == MANY + 1
        await other.share(())
        await owner.engine.rebalance({TopicPartition("words", 0)})
    assert not thrown_away(caplog)


async def test_a_commit_that_comes_in_pieces_is_written_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exactstage.standby._RECORDS_AT_ONCE", 1)
    async with Bed(tmp_path / "a") as bed, other_worker(bed, tmp_path / "b") as other:
        await bed.count_all(1)
        await other.share((), {0})
        await until_followed(other)
        for number in range(MANY):
            produce(bed, b"w%d" % number)
        await bed.settle()
        assert bed.log.end(JOURNAL) < 2 * MANY, "commits have several rows"
        await until_followed(other)
        assert dict(other.copy().rows()) == bed.rows()


async def test_rows_whose_checkpoints_were_compacted_away_are_not_collected_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("exactstage.standby._MOST_OPEN", 100)
    async with Bed(tmp_path / "a") as bed, other_worker(bed, tmp_path / "b") as other:
        await bed.count_all(1)
        await other.share((), {0})
        await until_followed(other)
        other.standbys.keep({0})
        await bed.send("words", b"w0")  # What its reader waits for.
        await bed.count_all(MANY)
        bed.log.partition(JOURNAL).compact(before=bed.log.end(JOURNAL), tombstones_before_ms=0)
        lengths: list[int] = []
        real = Follower._go_on

        def go_on(follower: Follower, *given: Any) -> None:
            try:
                real(follower, *given)
            finally:
                lengths.append(len(follower._open) + len(given[1]))

        monkeypatch.setattr(Follower, "_go_on", go_on)
        other.standbys.follow({0})
        await until_followed(other)
        assert 100 < max(lengths) <= 300
        assert dict(other.copy().rows()) == bed.rows()
    [line] = thrown_away(caplog)
    assert "does not have its commit" in line, "its last commit was compacted away too"


async def test_a_journal_that_is_compacted_while_it_is_followed_has_the_same_rows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bed(tmp_path / "a") as bed, other_worker(bed, tmp_path / "b") as other:
        await bed.count_all(10)
        await other.share((), {0})
        await until_followed(other)
        other.standbys.keep({0})
        await bed.count_all(MANY)
        await bed.send("words", b"w1", b"forget")
        await bed.send("words", b"w0")
        assert bed.log.partition(JOURNAL).compact(
            before=bed.log.end(JOURNAL), tombstones_before_ms=0
        )
        other.standbys.follow({0})
        await until_followed(other)
        assert dict(other.copy().rows()) == bed.rows()
        await promote(bed, other)
        assert b"w1" not in other.rows()
        await give_back(bed, other)
    assert not thrown_away(caplog)


async def test_a_copy_that_may_have_missed_a_tombstone_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bed(tmp_path / "a") as bed, other_worker(bed, tmp_path / "b") as other:
        await bed.count_all(10)
        await other.share((), {0})
        await until_followed(other)
        other.standbys.keep({0})
        await bed.send("words", b"w0")  # What its reader waits for.
        await bed.send("words", b"w1", b"forget")
        await bed.send("words", b"w0")
        bed.log.partition(JOURNAL).compact(
            before=bed.log.end(JOURNAL), tombstones_before_ms=bed.now_ms + 1
        )
        late_once(other.follower(), monkeypatch)
        caplog.clear()
        other.standbys.follow({0})
        await until(bed.log, lambda: bool(thrown_away(caplog)))
        await until_followed(other)
        [line] = thrown_away(caplog)
        assert "tombstones may have been compacted away" in line
        assert dict(other.copy().rows()) == bed.rows()


def remember(record: Record, context: Context) -> None:
    """Store what comes, and publish nothing."""
    assert record.key is not None
    context.put(record.key, b"1")


async def test_a_journal_that_is_read_for_longer_than_a_tombstone_lives_is_read_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bed(tmp_path / "a") as bed, other_worker(bed, tmp_path / "b") as other:
        await bed.count_all(MANY)
        await bed.send("words", b"w1", b"forget")
        await bed.send("words", b"w0")
        journal = bed.log.partition(JOURNAL)
        journal.compact(before=bed.log.end(JOURNAL), tombstones_before_ms=bed.now_ms + 1)
        await other.share((), {0})
        late_once(other.follower(), monkeypatch)
        await until(bed.log, lambda: bool(thrown_away(caplog)))
        await until_followed(other)
        assert dict(other.copy().rows()) == bed.rows()


async def test_a_disk_that_is_behind_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bed(tmp_path / "a") as bed, other_worker(bed, tmp_path / "b") as other:
        await bed.count_all(10)
        real, refused = LocalCopy.write, Counter[str]()

        def write(copy: LocalCopy, *given: Any, **more: Any) -> None:
            if copy.path.parent.name == "b":
                refused["times"] += 1
                if refused["times"] % 3:
                    raise DiskBehind
            real(copy, *given, **more)

        monkeypatch.setattr(LocalCopy, "write", write)
        await other.share((), {0})
        await until_followed(other)
        await bed.send("words", b"w1", b"forget")
        await bed.count_all(MANY)
        await until_followed(other)
        assert refused["times"] > 6
        monkeypatch.setattr(LocalCopy, "write", real)
        assert dict(other.copy().rows()) == bed.rows()
        position = other.copy().position
        assert position is not None
        rings = [
            r.offset for r in bed.log.partition(JOURNAL).records if r.key and r.key[:1] == b"\0"
        ]
        assert position.ring_offset == rings[-RING - 1] + 1
        await promote(bed, other)
        await give_back(bed, other)


@pytest.mark.parametrize("others", [1, 30])
async def test_a_copy_of_what_the_journal_has_lost_is_made_anew(
    others: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As after an unclean election: others have the numbers and offsets of the lost commits."""
    stage, at = replace(words(), logic=remember), TopicPartition("words", 0)
    async with Bed(tmp_path / "a", stage) as bed, other_worker(bed, tmp_path / "b") as other:
        await bed.count_all(10)
        ends = bed.log.end(JOURNAL), bed.log.end(at)
        await other.share((), {0})
        await until_followed(other)
        other.standbys.keep({0})
        for key in (b"lost", b"too"):
            await bed.send("words", key)
        await bed._kill()
        bed.log.partition(JOURNAL).truncate(ends[0])
        bed.log.partition(at).truncate(ends[1])
        await bed._start()
        for number in range(others):
            await bed.send("words", b"other-%d" % number)
        caplog.clear()
        other.standbys.follow({0})
        await until(bed.log, lambda: bool(thrown_away(caplog)))
        await until_followed(other)
        assert dict(other.copy().rows()) == bed.rows()
        assert b"lost" not in bed.rows()


async def test_a_damaged_copy_is_made_anew_with_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Bed(tmp_path / "a") as bed:
        await bed.count_all(100)
        async with other_worker(bed, tmp_path / "b") as other:
            await other.share((), {0})
            await until_followed(other)
        flip_tables(tmp_path / "b")
        caplog.clear()
        async with other_worker(bed, tmp_path / "b") as other:
            await other.share((), {0})
            await until_followed(other)
            [line] = thrown_away(caplog)
            assert "it can't be opened" in line
            assert dict(other.copy().rows()) == bed.rows()


async def test_a_copy_that_can_not_be_written_ends_no_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bed(tmp_path / "a") as bed, other_worker(bed, tmp_path / "b") as other:
        await bed.count_all(10)
        await other.share((), {0})
        await until_followed(other)

        def full(*_: object, **__: object) -> None:
            raise FailStop("is the disk full?")

        with monkeypatch.context() as patched:
            patched.setattr(other.copy(), "write", full)
            await bed.count_all(1)
            await until(bed.log, lambda: not other.follower().has_begun)
        [line] = [r.getMessage() for r in caplog.records if "can't be followed" in r.getMessage()]
        assert "tried again in 30 s" in line
        assert "is the disk full?" in line
        assert other.failure is None
        other.follower().rests_until = 0.0
        await until_followed(other)
        assert dict(other.copy().rows()) == bed.rows()


async def test_timers_of_what_has_expired_do_not_pile_up_in_the_copy(tmp_path: Path) -> None:
    journal = TopicPartition("reminders-changelog", 0)
    stage = reminders_stage(Reminders(), None)
    async with Bed(tmp_path / "a", stage) as bed, other_worker(bed, tmp_path / "b") as other:
        await other.share((), {0})
        for number in range(20):
            await bed.send("requests", b"r%d" % number, b"60")
        for number in range(10):
            await bed.send("requests", b"r%d" % number, b"120")
        await until_followed(other, journal)
        assert len(list(other.copy(journal).timers(b"t"))) == 20
        await bed.advance(60)
        await until_followed(other, journal)
        assert len(list(other.copy(journal).timers(b"t"))) == 10
        await promote(bed, other)
        bed.now_ms += 60_000
        await until(bed.log, lambda: len(bed.records("reminders")) == 20)
        await give_back(bed, other)


async def test_a_row_that_only_a_newer_version_can_read_stops_the_following_not_the_worker(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = TopicPartition("reminders-changelog", 0)
    old = reminders_stage(Reminders(), None)
    async with (
        Bed(tmp_path / "a", replace(old, logic=Wrong())) as bed,
        other_worker(bed, tmp_path / "b", old) as other,
    ):
        await other.share((), {0})
        await until(bed.log, lambda: other.follower(journal).has_begun)
        await bed.send("requests", b"bad")
        await until(bed.log, lambda: "can't be followed" in caplog.text)
        assert "with the key b'bad' that the stage reminders can't read here" in caplog.text
        assert other.failure is None
        await bed._kill()
        bed._log.killed = False
        with pytest.raises(JournalBroken, match="with the key b'bad' is a row that the stage"):
            await other.share({0})
        await give_back(bed, other)


async def test_without_rows_on_disk_nothing_is_followed(tmp_path: Path) -> None:
    async with Bed(tmp_path / "a") as bed:
        memory = PlainHost("testbed", bed._stages, bed.log, partitions=())
        async with memory:
            await memory.engine.rebalance(set(), standbys={0})
            assert memory.engine.counts().standby_partitions == 0
