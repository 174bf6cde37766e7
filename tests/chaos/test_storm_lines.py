"""Lines of a storm: what a fault explains, and a refusal that must be a false one."""

import logging
import os
import sys
from collections.abc import Collection
from pathlib import Path

import pytest

from exactstage.local_copy import StateDirectory
from exactstage.record import TopicPartition
from payments.process.logs import StandardError
from tools.chaos.faults.table import FAULTS
from tools.chaos.storm_lines import (
    ENDS_AFTER,
    STORM,
    THROWN_AWAY_AFTER,
    strange_lines,
    thrown_away,
)

STAMP = "2026-01-01 00:00:00,000"
FENCED = (
    f"{STAMP} CRITICAL payments.app: fail-stop: the claim of a-3 was refused: InvalidEpoch. "
    "Another worker owns this partition now; this process ends"
)
LOST = f"{STAMP} CRITICAL payments.app: fail-stop: acknowledged records of the journal were lost"
FOREIGN = (
    f"{STAMP} CRITICAL payments.app: fail-stop: a-log/1/59 with the key b'k' was written by no "
    "worker (its producer is not idempotent): remove it with: payments journal repair"
)


def strange(folder: Path, *lines: str, struck: Collection[str] = ()) -> list[str]:
    log = folder / "worker-0.0001.log"
    log.write_text("".join(f"{line}\n" for line in lines))
    return strange_lines(log, struck)


def test_an_end_by_another_owner_is_explained_and_a_refusal_is_not(tmp_path: Path) -> None:
    assert strange(tmp_path, FENCED, LOST) == [LOST]


def test_a_foreign_record_is_refused_only_where_one_was_written(tmp_path: Path) -> None:
    assert strange(tmp_path, FOREIGN) == [FOREIGN]
    assert strange(tmp_path, FOREIGN, struck={"foreign-row"}) == []


def test_a_disk_that_was_full_is_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other lines that are no log lines are those of few files and of a held-up membership."""
    log = tmp_path / "worker-0.0001.log"
    full = os.open("/dev/full", os.O_WRONLY)
    with log.open("w") as healthy:
        monkeypatch.setattr(sys, "stderr", healthy)
        handler = StandardError()
        disk = os.dup(healthy.fileno())
        os.dup2(full, healthy.fileno())
        handler.say(LOST)
        os.dup2(disk, healthy.fileno())
        handler.say(FENCED)
    for number in (full, disk):
        os.close(number)
    assert log.read_text().splitlines()[0].endswith("standard error took nothing)")
    assert strange_lines(log) == []


@pytest.mark.parametrize(
    "line", ["Traceback (most recent call last):", f"{STAMP} ERROR   asyncio: Task was destroyed"]
)
def test_any_other_line_is_strange(tmp_path: Path, line: str) -> None:
    wrong_clock = f"{STAMP} WARNING exactstage.clock: the clock of this machine is 9 s behind"
    assert strange(tmp_path, wrong_clock, line) == [line]


def test_every_line_of_a_storm_has_a_reason() -> None:
    assert all(allowed.reason for allowed in STORM)


def test_what_ends_a_worker_with_local_copies_is_explained_by_its_fault_only(
    tmp_path: Path,
) -> None:
    at = "fail-stop: the local copy of a-1 in /state/a-1"
    full = f"{STAMP} CRITICAL payments.app: {at} can't be written (IO error): is the disk full"
    damaged = f"{STAMP} CRITICAL payments.app: {at} can't be read (x): the disk has damaged it"
    assert strange(tmp_path, full, damaged, struck={"worker-kill"}) == [full, damaged]
    assert strange(tmp_path, full, damaged, struck={"copies-disk-full"}) == [damaged]
    assert strange(tmp_path, full, damaged, struck={"copies-damaged"}) == [full]


def test_a_local_copy_is_thrown_away_only_after_a_fault_that_may_have_damaged_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("rocksdict")
    at = TopicPartition("a", 1)
    directory = StateDirectory(tmp_path / "state")
    for why in (
        "it can't be opened (Corruption: block checksum mismatch)",
        "its journal does not have its commit 286 any more",
        "it can't be opened (Corruption: no log_file_number, next_file_number)",
    ):
        (tmp_path / "state" / "a-1").mkdir()
        directory.throw_away(at, why)
    directory.close()
    lines = [f"{STAMP} WARNING exactstage.local_copy: {said}" for said in caplog.messages]
    assert strange(tmp_path, *lines, struck={"worker-kill", "copies-old"}) == lines[:1]
    assert strange(tmp_path, *lines, struck={"copies-damaged"}) == []
    assert thrown_away(tmp_path / "worker-0.0001.log") == 3


def test_a_copy_that_was_not_filled_to_its_end_is_no_finding_after_any_fault(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("rocksdict")
    caplog.set_level(logging.INFO)
    for _ in range(2):
        directory = StateDirectory(tmp_path / "state")
        directory.open(TopicPartition("a", 1)).write([(b"a", b"1")])
        directory.close()
    lines = [
        f"{STAMP} {r.levelname:<7} exactstage.local_copy: {r.getMessage()}" for r in caplog.records
    ]
    assert len(lines) == 1
    assert strange(tmp_path, *lines, struck={"worker-kill"}) == []
    assert thrown_away(tmp_path / "worker-0.0001.log") == 0


def test_what_explains_lines_and_ends_are_faults() -> None:
    assert THROWN_AWAY_AFTER | ENDS_AFTER.keys() <= FAULTS.keys()
