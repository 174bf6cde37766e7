"""Lag: how old what is not handled may be, before anything of it is read."""

import pytest

from exactstage import lag
from exactstage.lag import LagWatch
from exactstage.log import TopicPartition
from tests.engine.test_journal import new_journal

NOW_MS = 10_000_000


class Clock:
    """A clock that a test moves."""

    seconds = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(lag, "monotonic", made)
    return made


def test_nothing_is_left_at_the_end(clock: Clock) -> None:
    journal, watch = new_journal(), LagWatch()
    journal.inputs["in"] = 7
    at = TopicPartition("in", journal.partition)
    assert watch.lags([journal], {at: 7}, NOW_MS) == {at: (0, 0.0)}
    assert watch.lags([journal], {}, NOW_MS) == {}, "its end is not known"


def test_what_waits_is_later_than_what_was_handled_last(clock: Clock) -> None:
    journal, watch = new_journal(), LagWatch()
    journal.inputs["in"], journal.reached["in"] = 7, NOW_MS - 90_000
    at = TopicPartition("in", journal.partition)
    watch.look([journal], {at: 9})
    clock.seconds += 1
    assert watch.lags([journal], {at: 9}, NOW_MS) == {at: (2, 90.0)}


def test_it_is_later_than_the_last_look_at_which_nothing_was_left(clock: Clock) -> None:
    """A record after an idle hour has not waited for an hour."""
    journal, watch = new_journal(), LagWatch()
    journal.inputs["in"], journal.reached["in"] = 7, NOW_MS - 3_600_000
    at = TopicPartition("in", journal.partition)
    watch.look([journal], {at: 7})
    clock.seconds += 2
    watch.look([journal], {at: 8})
    clock.seconds += 1
    assert watch.lags([journal], {at: 8}, NOW_MS) == {at: (1, 3.0)}
    journal.inputs["in"] = 8
    assert watch.lags([journal], {at: 8}, NOW_MS)[at].seconds == 0


def test_where_nothing_was_handled_it_waits_since_it_is_owned(clock: Clock) -> None:
    journal, watch = new_journal(), LagWatch()
    journal.inputs["in"] = 0
    at = TopicPartition("in", journal.partition)
    watch.look([journal], {at: 4})
    clock.seconds += 30
    watch.look([journal], {at: 4})
    assert watch.lags([journal], {at: 4}, NOW_MS) == {at: (4, 30.0)}


def test_a_partition_that_was_lost_is_forgotten(clock: Clock) -> None:
    journal, watch = new_journal(), LagWatch()
    journal.inputs["in"] = 0
    at = TopicPartition("in", journal.partition)
    watch.look([journal], {at: 0})
    watch.look([], {})
    clock.seconds += 30
    watch.look([journal], {at: 4})
    assert watch.lags([journal], {at: 4}, NOW_MS)[at].seconds == 0
