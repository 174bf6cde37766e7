"""Timers of rows: the index, and what ``tick`` is given of it."""

import tracemalloc
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exactstage import Context, Record, RowRefused, Rows, Stage, TypedContext
from exactstage.errors import JournalBroken
from exactstage.journal import Journal
from exactstage.testing import START_MS, StageTestbed, crash_at_every_append
from exactstage.timer_index import TimerIndex

from .test_journal import new_journal


def taken(index: TimerIndex, now_ms: int, limit: int = 99) -> list[bytes]:
    found = iter(lambda: index.take(now_ms), None)
    return [key for _, key in zip(range(limit), found, strict=False)]


def test_keys_are_taken_when_their_time_has_come_the_earliest_first() -> None:
    index = TimerIndex()
    for key, time_ms in ((b"c", 20), (b"a", 0), (b"d", 30), (b"b", 10), (b"e", 900)):
        index.add(time_ms, key)
    assert taken(index, 9) == [b"a"]
    assert not index.is_due(9)
    assert index.is_due(10)
    assert taken(index, 200, 2) == [b"b", b"c"]
    index.add(5, b"late")
    assert taken(index, 200) == [b"late", b"d"]
    assert taken(index, 899) == []
    assert taken(index, 900) == [b"e"]


def test_the_index_costs_about_eight_bytes_for_a_shared_key() -> None:
    keys = [b"payment-%d" % number for number in range(20_000)]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    index = TimerIndex()
    for number, key in enumerate(keys):
        index.add(number // 1_000, key)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / len(keys) < 10
    assert len(taken(index, 10**9, 10**6)) == len(keys)


def timed_journal() -> Journal:
    """Return a journal whose rows are the time at which they are due."""
    return new_journal(timers=lambda _, row: (int(row),) if row != b"never" else ())


def change(journal: Journal, key: bytes, row: bytes | None) -> None:
    if row is None:
        journal.delete(key)
    else:
        journal.put(key, row)
    journal.accept()


def due(journal: Journal, now_ms: int, limit: int = 99) -> list[bytes]:
    found: list[bytes] = []

    def tick(context: Context, now_ms: int, limit: int) -> bool:
        found.extend(context.due(now_ms, limit))
        return False

    while journal.tick(tick, now_ms, limit):
        pass
    return found


def test_tick_is_given_what_is_due_by_the_row_that_is_there() -> None:
    journal = timed_journal()
    for key, row in ((b"a", b"10"), (b"moved", b"10"), (b"gone", b"10"), (b"quiet", b"10")):
        change(journal, key, row)
    for key, change_to in ((b"moved", b"30"), (b"gone", None), (b"quiet", b"never")):
        change(journal, key, change_to)
    assert due(journal, 9) == []
    assert due(journal, 10) == [b"a"]
    assert due(journal, 29) == []
    assert due(journal, 30) == [b"moved"]


def test_rows_that_are_stored_again_and_again_do_not_make_the_index_grow() -> None:
    journal = timed_journal()
    for number in range(20_000):
        change(journal, b"%d" % (number % 10), b"10")
    assert len(taken(journal.timer_index, 10, 10**6)) < 5_000
    for number in range(20_000):
        change(journal, b"%d" % number, b"20")
    assert len(taken(journal.timer_index, 20, 10**6)) == 20_000


def test_a_key_is_given_once_in_a_tick_and_again_when_it_is_stored_again() -> None:
    journal = timed_journal()
    for row in (b"10", b"never", b"10"):
        change(journal, b"a", row)
    assert due(journal, 10) == [b"a"]
    assert due(journal, 10) == []
    change(journal, b"a", b"10")
    assert due(journal, 10) == [b"a"]


def test_a_decision_that_is_discarded_leaves_no_timer() -> None:
    journal = timed_journal()
    journal.put(b"a", b"10")
    journal.discard()
    change(journal, b"b", b"20")
    assert taken(journal.timer_index, 99) == [b"b"]


def test_what_tick_has_not_taken_is_left_to_the_next_one() -> None:
    journal = timed_journal()
    for number in range(9):
        change(journal, b"%d" % number, b"10")
    calls: list[list[bytes]] = []

    def tick(context: Context, now_ms: int, limit: int) -> bool:
        calls.append([key for _, key in zip(range(2), context.due(now_ms, limit), strict=False)])
        return False

    while journal.tick(tick, 10, 4):
        pass
    assert sorted(key for keys in calls for key in keys) == [b"%d" % n for n in range(9)]


def test_timers_that_rows_have_left_are_looked_at_in_bounded_pieces() -> None:
    journal = timed_journal()
    for number in range(10):
        change(journal, b"%d" % number, b"10")
        change(journal, b"%d" % number, b"900")
    change(journal, b"due", b"10")
    ticks = 0

    def tick(context: Context, now_ms: int, limit: int) -> bool:
        nonlocal ticks
        ticks += 1
        for key in context.due(now_ms, limit):
            context.delete(key)
        return False

    while journal.tick(tick, 10, 3):
        pass
    assert ticks == 4
    assert journal.get(b"due") is None


def test_a_tick_that_ignores_its_timers_is_not_called_for_ever() -> None:
    journal = timed_journal()
    change(journal, b"a", b"10")
    assert journal.tick(lambda *_: False, 10, 9) is False


@pytest.mark.parametrize("time_ms", [-1, 1.5, True, None, 10**18])
def test_a_timer_that_is_no_time_is_refused_with_its_row(time_ms: Any) -> None:
    journal = new_journal(timers=lambda *_: (time_ms,))
    with pytest.raises(RowRefused, match="is no whole number of milliseconds"):
        journal.put(b"a", b"row")
    journal.accept()
    assert journal.get(b"a") is None


def test_a_stage_without_timers_can_not_ask_for_them() -> None:
    with pytest.raises(TypeError, match="the stage count has no timers"):
        next(new_journal().due(10, 9))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("change"), st.integers(0, 3), st.integers(-30, 40)),
            st.tuples(st.just("tick"), st.integers(1, 3), st.integers(0, 90)),
        ),
        max_size=40,
    )
)
def test_every_row_is_given_when_it_is_due_whatever_happened_before(
    plan: list[tuple[str, int, int]],
) -> None:
    journal, now_ms = timed_journal(), 1_000
    for what, number, delta in plan:
        if what == "change":
            change(journal, b"%d" % number, b"%d" % (now_ms + delta))
            continue
        now_ms += delta
        expected = {key for key, row in journal.rows.items() if int(row) <= now_ms}
        found = set[bytes]()

        def tick(context: Context, now_ms: int, limit: int) -> bool:
            for key in context.due(now_ms, limit):
                found.add(key)  # noqa: B023 - called in this iteration only
                if key == b"2":  # It stays, for later.
                    context.put(key, b"%d" % (now_ms + 15))
                else:
                    context.delete(key)
            return False

        while journal.tick(tick, now_ms, number):
            pass
        assert found == expected


class Reminders:
    """Emits what was sent once its time has passed: seconds after the record."""

    def handle(self, record: Record, context: Context) -> None:
        """Keep the time; a later record for the same key puts it off."""
        assert record.key is not None
        context.put(record.key, b"%d" % (record.timestamp + 1000 * int(record.value or b"60")))

    def timers(self, key: bytes, row: bytes) -> Sequence[int]:
        """Return the time in the row."""
        del key
        return (int(row),)

    def tick(self, context: Context, now_ms: int, limit: int) -> bool:
        """Emit what is due."""
        for key in context.due(now_ms, limit):
            context.delete(key)
            context.emit("reminders", key, context.get(key), type="reminder")
        return False


class Reminder(msgspec.Struct):
    """The row of a stage with typed rows."""

    due_ms: int
    text: str = ""


class TypedReminders:
    """The same with typed rows."""

    def handle(self, record: Record, context: TypedContext[Reminder]) -> None:
        """As that of ``Reminders``."""
        assert record.key is not None
        seconds = int(record.value or b"60")
        context.put(record.key, Reminder(record.timestamp + 1000 * seconds))

    def timers(self, key: bytes, row: Reminder) -> Sequence[int]:
        """As that of ``Reminders``."""
        del key
        return [row.due_ms]

    def tick(self, context: TypedContext[Reminder], now_ms: int, limit: int) -> bool:
        """As that of ``Reminders``."""
        for key in context.due(now_ms, limit):
            reminder = context.get(key)
            assert reminder is not None
            context.delete(key)
            context.emit("reminders", key, b"%d" % reminder.due_ms, type="reminder")
        return False


def reminders_stage(logic: Any, rows: Rows[Any] | None) -> Stage:
    return Stage(
        "reminders",
        logic,
        changelog="reminders-changelog",
        dead_letters="dead-reminders",
        public_inputs=("requests",),
        outputs=("reminders",),
        rows=rows,
    )


@pytest.fixture(params=["bytes", "typed"])
def reminders(request: pytest.FixtureRequest) -> Stage:
    typed = request.param == "typed"
    logic = TypedReminders() if typed else Reminders()
    return reminders_stage(logic, Rows(Reminder) if typed else None)


async def test_a_stage_is_reminded_at_its_time_also_after_a_crash(reminders: Stage) -> None:
    async with StageTestbed(reminders, partitions=1) as bed:
        await bed.send("requests", b"a", b"60")
        await bed.send("requests", b"b", b"60")
        await bed.send("requests", b"b", b"90")
        await bed.advance(59)
        await bed.crash()
        await bed.advance(0.9)
        assert not bed.records("reminders")
        await bed.advance(0.1)
        assert [(r.key, r.value) for r in bed.records("reminders")] == [
            (b"a", b"%d" % (START_MS + 60_000))
        ]
        await bed.advance(30)
        await bed.crash()
        await bed.advance(3600)
        assert [r.key for r in bed.records("reminders")] == [b"a", b"b"]


async def test_reminders_are_exact_after_any_crash(reminders: Stage) -> None:
    async def scenario(bed: StageTestbed) -> None:
        await bed.send("requests", b"a", b"10")
        await bed.send("requests", b"b", b"20")
        await bed.advance(15)
        await bed.send("requests", b"a", b"10")
        await bed.advance(15)

    assert await crash_at_every_append(lambda: StageTestbed(reminders, partitions=1), scenario)


async def test_a_record_whose_row_has_no_timers_by_an_error_is_a_dead_letter() -> None:
    class Wrong(Reminders):
        """Its timers fail for one row."""

        def timers(self, key: bytes, row: bytes) -> Sequence[int]:
            """Raise for the key of the test."""
            if key == b"wrong":
                raise ZeroDivisionError
            return super().timers(key, row)

    async with StageTestbed(reminders_stage(Wrong(), None), partitions=1) as bed:
        await bed.send("requests", b"wrong")
        await bed.send("requests", b"right")
        await bed.advance(60)
        [letter] = bed.records("dead-reminders")
        assert letter.key == b"wrong"
        assert [r.key for r in bed.records("reminders")] == [b"right"]
        assert [r.key for r in bed.records("reminders-changelog") if r.key == b"wrong"] == []


async def test_a_row_whose_timers_can_not_be_read_is_found_at_the_takeover() -> None:
    class Newer(Reminders):
        """A version that stores something else."""

        def timers(self, key: bytes, row: bytes) -> Sequence[int]:
            """Read rows with a prefix."""
            return super().timers(key, row.removeprefix(b"v2:"))

        def handle(self, record: Record, context: Context) -> None:
            """Store one."""
            assert record.key is not None
            context.put(record.key, b"v2:9999999999999")

    async with StageTestbed(reminders_stage(Newer(), None), partitions=1) as bed:
        await bed.send("requests", b"a")
        with pytest.raises(JournalBroken, match=r"with the key b'a' is a row that the stage rem"):
            await bed.crash(reminders_stage(Reminders(), None))
        await bed.crash(reminders_stage(Newer(), None))


async def test_a_stage_may_check_its_rows_when_they_are_restored() -> None:
    class Checking:
        """Reads rows only when it needs them."""

        def __init__(self, known: bytes) -> None:
            self._known = known

        def handle(self, record: Record, context: Context) -> None:
            """Store what it knows."""
            assert record.key is not None
            context.put(record.key, self._known)

        def check(self, key: bytes, row: bytes) -> None:
            """Refuse what it does not know."""
            del key
            if row != self._known:
                raise LookupError(row)

    def stage(known: bytes) -> Stage:
        return reminders_stage(Checking(known), None)

    async with StageTestbed(stage(b"1"), partitions=1) as bed:
        await bed.send("requests", b"a")
        with pytest.raises(JournalBroken, match=r"can't read \(LookupError\(b'1'\)\)"):
            await bed.crash(stage(b"2"))
        await bed.crash(stage(b"1"))
