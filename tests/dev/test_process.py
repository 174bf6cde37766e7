"""The record of a process: found again by its pid file, and never mistaken for another process."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.dev.process import ProcessRecord

MARK = "mark-of-this-test"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that runs until it is told to end, with the mark on its command line."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, MARK], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_a_running_process_is_found_by_another_record(
    child: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    ProcessRecord(tmp_path / "pid", MARK).write(child)
    assert ProcessRecord(tmp_path / "pid", MARK).pid() == child.pid


def test_a_number_that_belongs_to_another_program_is_not_taken_for_it(
    child: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    ProcessRecord(tmp_path / "pid", "other-mark").write(child)
    stale = ProcessRecord(tmp_path / "pid", "other-mark")
    assert stale.pid() is None
    stale.send(signal.SIGKILL)
    assert child.poll() is None


@pytest.mark.parametrize("content", ["", "none", "999999999"])
def test_a_pid_file_without_a_process_means_that_it_does_not_run(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "pid").write_text(content)
    assert ProcessRecord(tmp_path / "pid", MARK).pid() is None


def test_the_end_is_waited_for_and_the_file_goes(
    child: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    record = ProcessRecord(tmp_path / "pid", MARK)
    record.write(child)
    assert not record.wait_for_end(0.05)
    record.send(signal.SIGTERM)
    assert record.wait_for_end(10)
    assert not (tmp_path / "pid").exists()
