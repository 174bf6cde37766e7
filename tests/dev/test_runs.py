"""Several make run of one checkout: own logs, and the next one ends what a killed one left."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.dev.errors import BrokerError
from tools.dev.runs import MARK, Run, Use


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
    code = "import pathlib, sys; from tools.dev.runs import Run; Run(pathlib.Path(sys.argv[1]))"
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


USE = Use("127.0.0.1:9092", 8080, "payments")


@pytest.mark.parametrize(
    ("other", "in_the_way"),
    [
        (USE, True),
        (Use("127.0.0.1:9192", 8080, "payments"), True),
        (Use("127.0.0.1:9092", 8081, "payments"), True),
        (Use("127.0.0.1:9192", 8081, "payments"), False),
        (Use("127.0.0.1:9092", 8081, "second"), False),
    ],
)
def test_a_run_that_lives_is_known_by_its_ports_and_its_group(
    tmp_path: Path, other: Use, in_the_way: bool
) -> None:
    first, second = Run(tmp_path), Run(tmp_path)
    assert first.begin(USE) is False
    if in_the_way:
        with pytest.raises(BrokerError, match=r"make run is already running: started 2.*, pid \d+"):
            second.begin(other)
    else:
        assert second.begin(other) is False
    first.end()
    assert second.begin(other) is False


@pytest.mark.parametrize(("brokers", "left"), [(USE.brokers, True), ("127.0.0.1:9192", False)])
def test_the_broker_of_a_killed_run_is_the_next_one_s(
    tmp_path: Path, brokers: str, left: bool
) -> None:
    code = (
        "import os, sys; from pathlib import Path; from tools.dev.runs import Run, Use; "
        "run = Run(Path(sys.argv[1])); run.begin(Use('127.0.0.1:9092', 8080, 'payments')); "
        "run.ends_broker(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert Run(tmp_path).begin(Use(brokers, 8080, "payments")) is left


def test_what_can_t_be_read_of_another_run_is_in_nobody_s_way(tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_text('{"brokers": 1')
    assert Run(tmp_path).begin(USE) is False
