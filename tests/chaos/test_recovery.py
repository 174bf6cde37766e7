"""Recovery's arithmetic: which partitions were lost, when they answered, when the rate was back."""

from tools.chaos.pulse import Beat
from tools.chaos.recovery import BEFORE_SECONDS, Case, Recovery, Stand, recovery, table

KILLED = 100.0
EVERY = 0.02


def steady(partition: int, begin: float, end: float) -> list[Beat]:
    """Answers at 50/s, each 10 ms after its command."""
    steps = round((end - begin) / EVERY)
    return [Beat(partition, begin + EVERY * n, begin + EVERY * n + 0.01) for n in range(steps)]


def before(*partitions: int) -> list[Beat]:
    return [b for p in partitions for b in steady(p, KILLED - BEFORE_SECONDS, KILLED)]


def test_the_partitions_that_go_on_answering_do_not_count() -> None:
    beats = before(0, 1) + steady(1, KILLED, KILLED + 5)
    assert recovery(beats, KILLED) is None
    beats += steady(0, KILLED + 2, KILLED + 5)
    found = recovery(beats, KILLED)
    assert found is not None
    assert abs(found.first - 2.01) < 1e-6


def test_a_result_of_a_command_from_before_the_kill_is_no_new_one() -> None:
    beats = [*before(0), Beat(0, KILLED - 0.01, KILLED + 1), *steady(0, KILLED + 3, KILLED + 5)]
    found = recovery(beats, KILLED)
    assert found is not None
    assert abs(found.first - 3.01) < 1e-6


def test_the_rate_is_back_when_half_of_it_comes_again() -> None:
    lonely = Beat(0, KILLED + 1, KILLED + 1)
    beats = [*before(0), lonely, *steady(0, KILLED + 4, KILLED + 6)]
    found = recovery(beats, KILLED)
    assert found is not None
    assert (found.first, round(found.half, 2)) == (1, 4.01)


def test_the_last_partition_counts_for_all() -> None:
    beats = before(0, 1) + steady(0, KILLED + 1, KILLED + 6)
    assert recovery(beats, KILLED) is None, "one partition answers nothing yet"
    found = recovery(beats + steady(1, KILLED + 3, KILLED + 6), KILLED)
    assert found is not None
    assert (round(found.first, 2), round(found.all, 2)) == (1.01, 3.01)


def test_the_table_has_medians() -> None:
    kills = [Recovery(1, 2, 3), Recovery(5, 6, 7), Recovery(2, 3, 4)]
    assert table([Case(Stand(100_000, 3, static=True), kills)]).splitlines()[-1] == (
        "| 100,000 | memory | 3 | static | 3 | 2.00 | 3.00 | 4.00 |"
    )
