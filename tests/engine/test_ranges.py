"""One loop for all who read ranges of offsets: what comes, and how it ends.

Restores, tails, audits, rebuilds, searches and repairs use it; on a broker in their own tests. The
words of its errors for an operator: ``tests/recovery/test_runbook.py``.
"""

import ast
import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from pathlib import Path

import pytest

import exactstage
from exactstage import ranges as ranges_module
from exactstage.errors import UNDECODABLE_BATCH, PositionLost, Stalled, UnreadableBatch
from exactstage.log import Bounds, Record, TopicPartition
from exactstage.memory import MemoryLog, MemoryReader
from exactstage.ranges import Closing, Ranges, partitions_of, read_ranges, read_with

AT, NEXT = partitions_of("words", 2)
BRIEF_SECONDS = 0.05


class Watched(MemoryLog):
    """Counts its readers, and the bytes of an open transaction at the end of a partition."""

    opened = closed = 0
    held_back: Mapping[TopicPartition, int] = {}

    async def open_reader(
        self, *, committed_only: bool, closing: bytes | None = None
    ) -> MemoryReader:
        """Return a reader that notes when it is closed."""
        del closing
        self.opened += 1
        return WatchedReader(self, committed_only=committed_only)

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Count what nobody may read too, as a broker does."""
        found = await super().bounds(at)
        more = self.held_back
        return {tp: Bounds(first, end + more.get(tp, 0)) for tp, (first, end) in found.items()}


class WatchedReader(MemoryReader):
    """Is counted by its log."""

    async def close(self) -> None:
        """Note it."""
        assert isinstance(self._log, Watched)
        self._log.closed += 1


def log_of(*counts: int) -> Watched:
    """Return a log with so many records in each partition."""
    log = Watched(["words"], 2)
    for partition, count in enumerate(counts):
        for number in range(count):
            log.produce(TopicPartition("words", partition), b"key", b"%d" % number)
    return log


async def read(
    log: MemoryLog, ranges: Ranges, limit_seconds: float = BRIEF_SECONDS
) -> dict[TopicPartition, list[int]]:
    """Return the offsets that come, by partition."""
    found: dict[TopicPartition, list[int]] = {}
    async for at, records in read_ranges(
        log, ranges, committed_only=True, limit_seconds=limit_seconds
    ):
        assert records, "nothing is never given out"
        found.setdefault(at, []).extend(record.offset for record in records)
    return found


def test_nobody_reads_ranges_with_a_loop_of_its_own() -> None:
    """Those who follow topics without an end are the only others that fetch."""
    root = Path(exactstage.__file__ or "").parents[1]
    fetching = {
        str(file.relative_to(root))
        for package in ("exactstage", "payments")
        for file in (root / package).rglob("*.py")
        if "fetch(timeout_seconds=" in file.read_text(encoding="utf-8")
    }
    assert fetching == {
        "exactstage/ranges.py",
        "exactstage/reading.py",
        "exactstage/standby.py",
        "payments/client/result_consumer.py",
    }


async def test_each_partition_is_read_from_its_start_up_to_its_end() -> None:
    log = log_of(10, 5)
    ranges = {AT: Bounds(2, 7), NEXT: Bounds(0, 5)}
    assert await read(log, ranges) == {AT: [2, 3, 4, 5, 6], NEXT: [0, 1, 2, 3, 4]}
    assert (log.opened, log.closed) == (1, 1)


async def test_control_records_at_an_end_are_passed_at_once() -> None:
    log = log_of(3)
    log.partition(AT).mark(99, 0, commit=False)
    async with asyncio.timeout(10):
        assert await read(log, await log.bounds([AT]), limit_seconds=3600) == {AT: [0, 1, 2]}


async def test_empty_ranges_ask_nothing() -> None:
    log = log_of(3)
    assert await read(log, {AT: Bounds(3, 3), NEXT: Bounds(0, 0)}) == {}
    assert log.opened == 0


async def test_what_compaction_has_left_is_read_to_the_end_of_the_range() -> None:
    log = log_of(5)
    log.partition(AT).compact(before=5, tombstones_before_ms=0)
    assert await read(log, {AT: Bounds(0, 4)}) == {}
    assert await read(log, {AT: Bounds(0, 5)}) == {AT: [4]}


async def test_records_that_do_not_come_end_it_with_the_place_and_the_likely_cause() -> None:
    """An open transaction or a leader that gives nothing; what others have is read before."""
    log = log_of(3, 2)
    log.held_back = {NEXT: 4}
    with pytest.raises(
        Stalled, match=r"no record comes from words/1/2 on for .* transaction"
    ) as end:
        await read(log, await log.bounds([AT, NEXT]))
    assert end.value.positions == {NEXT: 2}
    assert log.closed == 1


async def test_a_partition_that_lost_its_end_ends_it_before_the_time_is_up() -> None:
    log = log_of(5)
    ranges = await log.bounds([AT])
    log.partition(AT).truncate(3)
    with pytest.raises(PositionLost, match="words/0 ended at 5 before, and ends at 3 now"):
        await read(log, ranges)


async def test_a_partition_that_lost_its_start_ends_it() -> None:
    log = log_of(5)
    ranges = await log.bounds([AT])
    log.partition(AT).delete_before(2)
    with pytest.raises(PositionLost, match="words/0"):
        await read(log, ranges)


async def test_a_batch_that_can_not_be_decoded_is_raised_if_nobody_takes_it() -> None:
    log = log_of(2)
    log.produce_unreadable(AT, 3, UNDECODABLE_BATCH)
    assert await read(log, {AT: Bounds(0, 2)}) == {AT: [0, 1]}
    with pytest.raises(UnreadableBatch, match="words/0/2"):
        await read(log, await log.bounds([AT]))
    assert log.closed == log.opened


@pytest.mark.parametrize(
    ("end_is_known", "skip_by_header", "expected", "last"),
    [
        (True, False, [0, 1, 2, 5, 6], 4),
        (False, False, [0, 1, 2], 6),
        (False, True, [0, 1, 2, 5, 6], 4),
    ],
)
async def test_a_batch_that_can_not_be_decoded_is_replaced(
    *, end_is_known: bool, skip_by_header: bool, expected: list[int], last: int
) -> None:
    """Where its end is not known the rest of its range is skipped, and no other partition's.

    An audit reads on behind the length that its header says: it reports the batch anyway.
    """
    log = log_of(2, 4)
    batch = log.produce_unreadable(AT, 3, UNDECODABLE_BATCH)
    batch.end_is_known = end_is_known
    log.produce(AT, b"key", b"after")
    log.produce(AT, b"key", b"after")
    log.produce_unreadable(AT, 1, UNDECODABLE_BATCH)
    told: list[tuple[int, int]] = []

    def replaced(unreadable: UnreadableBatch, last_offset: int) -> list[Record]:
        told.append((unreadable.offset, last_offset))
        return [Record(*AT, unreadable.offset, 0, None, b"as it is", ())]

    found: dict[TopicPartition, list[int]] = {}
    ranges = {AT: Bounds(0, 7), NEXT: Bounds(0, 4)}
    async for at, records in read_ranges(
        log,
        ranges,
        committed_only=False,
        on_unreadable=replaced,
        skip_by_header=skip_by_header,
        limit_seconds=BRIEF_SECONDS,
    ):
        found.setdefault(at, []).extend(record.offset for record in records)
    assert found == {AT: expected, NEXT: [0, 1, 2, 3]}
    assert told == [(2, last)]


async def test_one_fetch_without_a_record_ends_nothing() -> None:
    """A process that was paused for longer than the limit has asked only once since."""
    log = log_of(3)
    log.held_back = {AT: 2}

    class Released(MemoryReader):
        """Gets the last record only when it asks again."""

        async def fetch(
            self, *, timeout_seconds: float
        ) -> Mapping[TopicPartition, Sequence[Record]]:
            found = await super().fetch(timeout_seconds=timeout_seconds)
            if not found:
                log.held_back = {}
            return found

    found: list[int] = []
    reader = Released(log, committed_only=False)
    bounds = {AT: Bounds(0, 3)}
    async for _, records in read_with(log, reader, bounds, limit_seconds=0.0):
        found += [record.offset for record in records]
    assert found == [0, 1, 2]


async def test_a_broker_that_could_not_be_asked_for_ends_is_asked_for_records_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a network that was cut: the time until it was back is no time without records."""
    log = log_of(3)
    log.held_back = {AT: 2}
    loop, asked = asyncio.get_running_loop(), 0
    clock, late_seconds = loop.time, 0.0
    monkeypatch.setattr(loop, "time", lambda: clock() + late_seconds)

    class CutOff(Watched):
        """Answers the second question for ends only after an hour; then the records are there."""

        async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
            nonlocal asked, late_seconds
            asked += 1
            found = await log.bounds(at)
            if asked == 2:
                late_seconds, log.held_back = 3600.0, {}
                log.produce(AT, b"key", b"late")
                log.produce(AT, b"key", b"late")
            return found

    cut_off, found = CutOff(["words"], 2), list[int]()

    class Impatient(MemoryReader):
        """Waits for nothing."""

        async def fetch(
            self, *, timeout_seconds: float
        ) -> Mapping[TopicPartition, Sequence[Record]]:
            del timeout_seconds
            return await super().fetch(timeout_seconds=0.0)

    reader, bounds = Impatient(log, committed_only=False), await log.bounds([AT])
    async for _, records in read_with(cut_off, reader, bounds, limit_seconds=60.0):
        found += [record.offset for record in records]
    assert found == [0, 1, 2, 3, 4]
    assert asked == 2


async def test_the_progress_is_shown_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges_module, "_PROGRESS_SECONDS", 0)
    shown: list[str] = []
    found = read_ranges(log_of(1500), {AT: Bounds(0, 1500)}, committed_only=True, show=shown.append)
    assert sum([len(records) async for _, records in found]) == 1500
    assert shown[-1].startswith("words: 1,500 of about 1,500 records, ")
    assert shown[-1].endswith("/s, about 0 s left")


def named(node: ast.AST, name: str) -> bool:
    """Whether this is a call of a function of that name."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def test_every_reader_of_ranges_is_closed_where_it_is_left_early() -> None:
    """A generator that an error or a return leaves is closed much later, if at all."""
    root = Path(exactstage.__file__ or "").parents[1]
    for package in ("exactstage", "payments", "tools"):
        for file in (root / package).rglob("*.py"):
            nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
            reading = [node for node in nodes if named(node, "read_ranges")]
            closing = [node for node in nodes if named(node, "aclosing") or named(node, "Closing")]
            closed = [node.args[0] for node in closing]  # type: ignore[attr-defined]
            assert set(reading) <= set(closed), f"{file} may leave a reader open"


async def test_a_coroutine_that_is_thrown_away_throws_its_reader_away() -> None:
    """As where the simulator turns a machine off: there is no loop that could await anything."""

    class Suspended:
        def __await__(self) -> Generator[None, None, None]:
            yield

    async def endless() -> AsyncGenerator[tuple[TopicPartition, Sequence[Record]], None]:
        await Suspended()
        yield AT, []

    async def read() -> None:
        async with Closing(endless()) as found:
            async for _ in found:
                pass

    reading = read()
    reading.send(None)
    reading.close()


async def test_who_stops_in_the_middle_closes_the_reader() -> None:
    log = log_of(5, 5)
    found = read_ranges(log, await log.bounds([AT, NEXT]), committed_only=True)
    async for _ in found:
        break
    await found.aclose()
    assert (log.opened, log.closed) == (1, 1)
