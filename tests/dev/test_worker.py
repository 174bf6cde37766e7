"""The worker of make run: started again when it ends, given up on when it ends again and again."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools.dev import worker as module
from tools.dev.worker import RESTARTS, Worker, WorkerLostError

LIMIT_SECONDS = 120.0


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Worker]:
    """Return a maker of workers that run the given Python code in place of ``payments worker``."""
    python = sys.executable

    def make(code: str) -> Worker:
        script = tmp_path / "python"
        script.write_text(f"#!{python}\n{code}")
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        return Worker({}, tmp_path / "worker.log")

    return make


def watch_until(worker: Worker, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        worker.watch()


def test_a_worker_that_ended_is_started_again_and_its_last_lines_are_shown(
    made: Callable[[str], Worker], capsys: pytest.CaptureFixture[str]
) -> None:
    worker = made("print('the reason')\nraise SystemExit(70)\n")
    worker.start()
    first = worker.pid
    watch_until(worker, lambda: worker.pid != first)
    printed = capsys.readouterr().out
    assert (
        "The worker has stopped itself, since it could not go on exactly (exit code 70)" in printed
    )
    assert "    the reason" in printed
    assert "started again" in printed
    worker.stop()


def test_a_worker_that_ends_again_and_again_is_given_up_on(
    made: Callable[[str], Worker], capsys: pytest.CaptureFixture[str]
) -> None:
    worker = made("raise SystemExit(3)\n")
    worker.start()
    with pytest.raises(WorkerLostError, match=f"{RESTARTS + 1} times in a row"):
        watch_until(worker, lambda: False)
    assert capsys.readouterr().out.count("exit code 3") == RESTARTS + 1


SAYS_READY = "import signal\nprint('worker ready: 8 partitions', flush=True)\nsignal.pause()\n"


def kill_when_ready(worker: Worker, after_ready: Callable[[], None]) -> None:
    """Kill it as a user does, after it was seen to be ready; wait until the next one runs."""
    watch_until(worker, lambda: worker.tail() != [])
    worker.watch()
    after_ready()
    ended = worker.pid
    assert ended is not None
    os.kill(ended, signal.SIGKILL)
    watch_until(worker, lambda: worker.pid != ended)


def test_ends_of_a_worker_that_had_become_ready_do_not_add_up(
    made: Callable[[str], Worker],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def settle() -> None:
        now[0] += module.SETTLED_SECONDS

    worker = made(SAYS_READY)
    worker.start()
    try:
        for _ in range(RESTARTS + 2):
            kill_when_ready(worker, settle)
    finally:
        worker.stop()
    printed = capsys.readouterr().out
    assert printed.count("The worker was killed by signal 9 (SIGKILL). Its last lines:") == (
        RESTARTS + 2
    )
    assert printed.count(f"(1 of {RESTARTS})") == RESTARTS + 2


def test_ends_just_after_readiness_add_up_and_a_signal_is_named(
    made: Callable[[str], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: 0.0))
    worker = made(SAYS_READY)
    worker.start()
    try:
        for _ in range(RESTARTS):
            kill_when_ready(worker, lambda: None)
        with pytest.raises(WorkerLostError, match=r"was killed by signal 9 \(SIGKILL\)") as lost:
            kill_when_ready(worker, lambda: None)
    finally:
        worker.stop()
    assert lost.value.was_killed


def test_a_worker_that_was_long_on_its_way_to_readiness_counts(
    made: Callable[[str], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count(0.0, 3600.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(now)))
    worker = made("raise SystemExit(3)\n")
    worker.start()
    with pytest.raises(WorkerLostError, match=f"{RESTARTS + 1} times in a row") as lost:
        watch_until(worker, lambda: False)
    assert not lost.value.was_killed


def test_a_stop_lets_the_worker_drain(made: Callable[[str], Worker], tmp_path: Path) -> None:
    worker = made(
        "import signal, sys\n"
        "def drain(*_):\n    print('drained', flush=True)\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, drain)\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    worker.start()
    watch_until(worker, lambda: "ready" in (tmp_path / "worker.log").read_text())
    worker.stop()
    assert worker.tail() == ["ready", "drained"]


def test_the_log_of_the_former_run_stays_beside_the_new_one(
    made: Callable[[str], Worker], tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        worker = made(f"import time\nprint({number}, flush=True)\ntime.sleep(60)\n")
        worker.start()
        watch_until(worker, lambda: (tmp_path / "worker.log").read_text() != "")
        worker.stop()
    logs = (tmp_path / name for name in ("worker.log", "worker.log.1"))
    assert [log.read_text() for log in logs] == ["3\n", "2\n"]


def test_a_worker_that_does_not_end_is_killed(
    made: Callable[[str], Worker],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(module, "DRAIN_LIMIT_SECONDS", 0.5)
    worker = made(
        "import signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    worker.start()
    watch_until(worker, lambda: "ready" in (tmp_path / "worker.log").read_text())
    worker.stop()
    assert "killed" in capsys.readouterr().out
    ended = worker.pid
    worker.watch()
    assert worker.pid != ended
    worker.stop()
