"""Several make run of one checkout: own logs, and the next one ends what a killed one left."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dev.runs import MARK, Run


@pytest.fixture
def orphan() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process that looks like a worker of make run."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *MARK.split(), "worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_two_at_once_have_logs_of_their_own(tmp_path: Path) -> None:
    first, second = Run(tmp_path), Run(tmp_path)
    assert first.log("worker") == tmp_path / "worker.log"
    assert second.log("worker") == tmp_path / "worker-2.log"


def test_what_a_killed_run_has_left_is_ended_by_the_next_one(
    tmp_path: Path, orphan: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; from pathlib import Path; from dev.runs import Run; Run(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    (tmp_path / "worker.pid").write_text(f"{orphan.pid}\n")
    Run(tmp_path).end_leftovers()
    assert orphan.wait(30) != 0
    assert f"pid {orphan.pid}" in capsys.readouterr().out


def test_the_processes_of_a_run_that_lives_are_left_alone(
    tmp_path: Path, orphan: subprocess.Popen[bytes]
) -> None:
    lives = Run(tmp_path)
    lives.record("worker").write(orphan)
    Run(tmp_path).end_leftovers()
    assert orphan.poll() is None
