"""Expiry: the index of payments by windows of time."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from payments.stages.expiry import Windows, window_of


def windows() -> Windows:
    return Windows(width_ms=10, retention_ms=100)


def test_a_window_is_the_floor_of_time_by_width() -> None:
    assert [window_of(time_ms, 10) for time_ms in (0, 9, 10, 19, 20)] == [0, 0, 1, 1, 2]


def test_a_window_closes_when_it_ended_a_retention_ago() -> None:
    index = windows()
    index.add(b"a", 5)
    assert index.take(109, 9) == []
    assert index.take(110, 9) == [b"a"]
    assert index.take(10**9, 9) == []


def test_keys_are_taken_in_bounded_pieces_the_oldest_window_first() -> None:
    index = windows()
    for key, time_ms in ((b"c", 25), (b"a", 1), (b"d", 31), (b"b", 11), (b"e", 900)):
        index.add(key, time_ms)
    assert index.take(200, 2) == [b"a", b"b"]
    assert index.take(200, 0) == []
    assert index.take(200, 9) == [b"c", b"d"]
    assert index.take(200, 9) == []
    assert index.take(10**9, 9) == [b"e"]


def test_due_takes_no_key_before_it_is_asked_for() -> None:
    index = windows()
    index.add(b"a", 1)
    index.add(b"b", 11)
    due = index.due(200)
    assert next(due) == b"a"
    assert index.take(200, 9) == [b"b"]


def test_a_change_within_the_window_is_not_added_twice() -> None:
    index = windows()
    index.add(b"a", 1)
    index.add(b"a", 9, previous_ms=1)
    assert index.take(200, 9) == [b"a"]


def test_a_change_into_a_later_window_leaves_the_key_in_both() -> None:
    index = windows()
    index.add(b"a", 1)
    index.add(b"a", 11, previous_ms=1)
    assert index.take(200, 9) == [b"a", b"a"]


def test_a_key_that_was_taken_and_changes_in_the_same_window_is_not_lost() -> None:
    index = windows()
    for key in (b"a", b"b"):
        index.add(key, 1)
    (first,) = index.take(200, 1)
    index.add(first, 2, previous_ms=1)
    assert sorted(index.take(200, 9)) == [b"a", b"b"]
    index.add(first, 3, previous_ms=2)
    assert index.take(200, 9) == [first]


def test_an_older_window_that_comes_while_another_is_being_taken_is_not_lost() -> None:
    index = windows()
    for key in (b"a", b"b"):
        index.add(key, 51)
    taken = index.take(200, 1)
    index.add(b"old", 1)
    taken += index.take(200, 1)
    index.add(taken[0], 52, previous_ms=51)
    taken += index.take(200, 9)
    assert taken[1] == b"old"
    assert sorted(taken) == sorted([b"a", b"b", b"old", taken[0]])


def test_the_index_costs_about_eight_bytes_for_a_shared_key() -> None:
    keys = [b"payment-%d" % number for number in range(20_000)]
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    index = windows()
    for number, key in enumerate(keys):
        index.add(key, number // 1_000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (after - before) / len(keys) < 10
    assert len(index.take(10**9, 10**6)) == len(keys)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("change"), st.integers(0, 3), st.integers(-30, 40)),
            st.tuples(st.just("take"), st.integers(1, 3), st.integers(0, 90)),
        ),
        max_size=40,
    )
)
def test_a_payment_is_offered_after_its_window_closes_whatever_happened_before(
    plan: list[tuple[str, int, int]],
) -> None:
    index, rows, now_ms = windows(), dict[bytes, int](), 1_000
    for what, number, delta in plan:
        if what == "change":
            key, time_ms = b"%d" % number, max(0, now_ms + delta - 60)
            index.add(key, time_ms, rows.get(key))
            rows[key] = time_ms
        else:
            now_ms += delta
            for key in index.take(now_ms, number):
                closed = window_of(rows.get(key, now_ms), 10) < window_of(now_ms - 100, 10)
                if closed and number != 2:  # With 2, it still waits for a transfer: it stays.
                    del rows[key]
                elif closed:
                    index.add(key, now_ms, rows[key])
                    rows[key] = now_ms
    offered = set(index.take(10**9, 10**6))
    assert set(rows) <= offered
