"""Invariants: whatever strikes, each command is answered once, money is exact, and all gets quiet.

Faults: all kinds of ``simulator.faults``, by seed. Size: a few seeds here; ``make simulate`` and
continuous integration run hundreds of them.
"""

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from exactstage import Record, Stage, TopicPartition
from exactstage.copy_restoring import read_row
from tools.simulator.faults import Kind
from tools.simulator.run import Outcome, draw_story, play, replayed
from tools.simulator.subject import Remains
from tools.simulator.words_subject import COUNTS, LINES, Words

# Measuring coverage would take far longer than the runs; the same code has tests of its own.
pytestmark = pytest.mark.no_cover

REPOSITORY = Path(__file__).parents[2]
COMMANDS, HOURS = 200, 0.1
SEEDS = range(1, 25)
HASHES = """
from tools.simulator.run import draw_story, play
print(*(play(draw_story(seed, 100, 0.05)).hash for seed in range(1, 5)))
"""


@functools.cache
def played(seed: int) -> Outcome:
    return play(draw_story(seed, COMMANDS, HOURS))


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_wrong_after_a_storm(seed: int) -> None:
    assert played(seed).findings == []


@functools.cache
def played_with_disks(seed: int) -> Outcome:
    return play(draw_story(seed, COMMANDS, HOURS, has_disks=True))


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_wrong_after_a_storm_with_rows_on_disk(seed: int) -> None:
    assert played_with_disks(seed).findings == []


def test_copies_are_thrown_away_now_and_then() -> None:
    seeds = (49, 71, 75, 79)
    """The first that do; few do among today's commands."""
    assert any(played_with_disks(seed).copies_thrown_away for seed in seeds)
    assert [played_with_disks(seed).findings for seed in seeds] == [[]] * len(seeds)


@pytest.mark.parametrize(
    ("left", "finding"),
    [
        (lambda times, is_open: ((), is_open), "timers are not on disk"),
        (lambda times, is_open: (times, False), "the open rows on disk are not those of the"),
    ],
)
def test_a_copy_that_lacks_what_is_beside_the_rows_is_found(
    left: Callable[[Sequence[int], bool], tuple[Sequence[int], bool]],
    finding: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forgetful(stage: Stage, key: bytes, row: bytes) -> tuple[Sequence[int], bool]:
        return left(*read_row(stage, key, row))

    monkeypatch.setattr("exactstage.copy_restoring.read_row", forgetful)
    found = play(draw_story(6, COMMANDS, HOURS, has_disks=True)).findings
    assert any(finding in each for each in found)


def test_every_kind_of_fault_is_injected() -> None:
    injected = {fault.kind for seed in SEEDS for fault in played(seed).injected}
    assert injected == set(Kind)


def test_a_seed_runs_the_same_way_twice() -> None:
    for seed in SEEDS[:4]:
        assert play(draw_story(seed, COMMANDS, HOURS)).hash == played(seed).hash
        assert play(draw_story(seed + 1000, COMMANDS, HOURS)).hash != played(seed).hash


def test_a_run_does_not_depend_on_the_seed_of_pythons_hashes() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", HASHES],
            cwd=REPOSITORY,
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(REPOSITORY)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_list_of_the_faults_that_struck_replays_the_run() -> None:
    for seed in SEEDS[:6]:
        outcome = played(seed)
        assert outcome.injected
        story = draw_story(seed, COMMANDS, HOURS)
        assert play(replayed(story, outcome)).hash == outcome.hash


# --- another subject -----------------------------------------------------------------------------


@functools.cache
def counted(seed: int) -> Outcome:
    return play(draw_story(seed, COMMANDS, HOURS, subject="words"))


@pytest.mark.parametrize("seed", SEEDS[:8])
def test_words_are_counted_once_in_any_storm(seed: int) -> None:
    assert counted(seed).findings == []


def test_words_are_counted_while_workers_crash() -> None:
    injected = {fault.kind for seed in SEEDS[:8] for fault in counted(seed).injected}
    assert {Kind.CRASH, Kind.PAUSE, Kind.TWO_OWNERS} <= injected


def test_a_word_that_is_counted_twice_or_not_at_all_is_found() -> None:
    words = Words(partitions=1)
    committed = {
        TopicPartition(LINES, 0): [record(LINES, b"line", b"a a b c")],
        TopicPartition(COUNTS, 0): [
            *(record(COUNTS, b"a", b"%d" % number) for number in (1, 2, 2)),
            record(COUNTS, b"b", b"1"),
        ],
    }
    assert list(words.violations(Remains(committed, {}, {}, may_wait=False))) == [
        "the counts of b'a' are [b'1', b'2', b'2']",
        "b'a' was written 2 times, and counted 3 times",
        "b'c' was written 1 times, and counted 0 times",
    ]
    waiting = list(words.violations(Remains(committed, {}, {}, may_wait=True)))
    assert len(waiting) == 2, "a word may wait, but not be counted twice"


def record(topic: str, key: bytes, value: bytes) -> Record:
    return Record(topic, 0, 0, 0, key, value, ())
