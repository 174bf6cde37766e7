"""Whether a worker is ready: what ``payments health`` says, and what the worker tells it."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from payments.worker import health
from tests.broker.client import WorkerProcess
from tests.broker_fixture import Installations
from tests.command_line import Ended, run


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "health"


def ask(file: Path | None) -> Ended:
    return run("health", environment={"PAYMENTS_HEALTH_FILE": str(file) if file else None})


def set_age(file: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(file, (then, then))


def test_a_worker_that_says_so_is_ready(file: Path) -> None:
    health.show(file, [])
    answer = ask(file)
    assert (answer.exit_code, answer.output) == (0, "ready\n")


def test_a_worker_that_is_not_ready_is_told_with_its_reasons(file: Path) -> None:
    """On a broker: frozen, with an open transaction (``tests/broker/test_standstill.py``)."""
    health.show(file, ["it joins its group", "Kafka does not answer: a fetch"])
    answer = ask(file)
    assert answer.exit_code == 1
    assert answer.stderr == "Error: not ready: it joins its group; Kafka does not answer: a fetch\n"


def test_writing_makes_an_old_file_young_again(file: Path) -> None:
    health.show(file, [])
    set_age(file, health.LIMIT_SECONDS + 1)
    assert ask(file).exit_code == 1
    health.show(file, [])
    assert ask(file).exit_code == 0


def test_a_file_from_the_future_is_told(file: Path) -> None:
    """The clock was set back, and the worker may have hung since."""
    health.show(file, [])
    set_age(file, -86_400)
    answer = ask(file)
    assert answer.exit_code == 1
    assert "future" in answer.output


def test_a_file_that_is_too_old_is_told_with_its_age(file: Path) -> None:
    health.show(file, [])
    set_age(file, health.LIMIT_SECONDS + 5)
    answer = ask(file)
    assert answer.exit_code == 1
    assert answer.stderr == (
        f"Error: the worker hangs or was killed: it last wrote {file} 20 s ago (limit 15 s)\n"
    )


def change_writer(file: Path, **values: object) -> None:
    """Let the file name another process than the one that has written it."""
    content = json.loads(file.read_text())
    content["process"] |= values
    file.write_text(json.dumps(content))


def test_a_file_of_a_process_that_is_gone_is_not_ready_although_it_is_young(file: Path) -> None:
    """The next worker of a container has the same number as the one that was killed before.

    A real worker that is killed: the test with a broker below.
    """
    health.show(file, [])
    change_writer(file, started="1")
    assert "has ended without a reason: it was killed" in ask(file).stderr
    change_writer(file, pid=2**22 + 1)  # Over any kernel's pid_max.
    assert "has ended without a reason: it was killed" in ask(file).stderr


def test_a_zombie_counts_as_gone(file: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        started = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19]
        health.show(file, [])
        change_writer(file, pid=child.pid, started=started)
        assert "has ended without a reason" in ask(file).stderr


def test_numbers_of_another_container_or_machine_mean_nothing(file: Path) -> None:
    """A host, or another container on the same volume, asks: the age alone counts then."""
    for values in ({"namespace": "pid:[1]"}, {"boot": "another"}):
        health.show(file, [])
        change_writer(file, pid=2**22 + 1, **values)
        assert ask(file).exit_code == 0
        set_age(file, health.LIMIT_SECONDS + 5)
        assert ask(file).exit_code == 1


def test_a_file_from_before_the_container_was_started_is_not_ready(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    health.show(file, [])
    monkeypatch.setattr(health, "container_started", lambda: time.time() + 1)
    assert "from before this container was started" in ask(file).stderr


def test_a_file_of_a_version_before_goes_by_its_age(file: Path) -> None:
    file.write_text(json.dumps({"ready": True, "reasons": []}))
    assert ask(file).exit_code == 0


@pytest.mark.parametrize("process", [None, {}, {"pid": 0, "started": "", "boot": ""}])
def test_a_file_that_names_no_process_is_none_of_a_worker(file: Path, process: object) -> None:
    file.write_text(json.dumps({"ready": True, "reasons": [], "process": process}))
    assert "is not a health file of a worker" in ask(file).stderr


def test_a_forgotten_file_is_not_ready(file: Path) -> None:
    health.show(file, [])
    health.remove(file)
    health.remove(file)
    answer = ask(file)
    assert answer.exit_code == 1
    assert answer.stderr.startswith(
        f"Error: no worker is running: it writes {file} (PAYMENTS_HEALTH"
    )


def test_a_worker_that_has_ended_is_told_at_once_and_for_ever_with_its_last_line(
    file: Path,
) -> None:
    health.show(file, [])
    health.show_end(file, "fail-stop: the journal of p/1 was lost")
    health.show(file, [])  # What another thread saw before.
    set_age(file, 3600)
    answer = ask(file)
    assert answer.exit_code == 1
    assert answer.stderr == (
        "Error: the worker has ended: fail-stop: the journal of p/1 was lost\n"
    )
    health.remove(file)  # The next worker.
    health.show(file, [])
    assert ask(file).exit_code == 0


@pytest.mark.parametrize("content", ["", "no json", "[]", "{}"])
def test_a_file_of_something_else_is_not_ready(file: Path, content: str) -> None:
    file.write_text(content)
    answer = ask(file)
    assert answer.exit_code == 1
    assert "is not a health file of a worker; PAYMENTS_HEALTH_FILE names it" in answer.stderr


def test_without_a_file_nothing_is_ready_and_the_setting_is_named() -> None:
    answer = ask(None)
    assert answer.exit_code == 1
    assert "PAYMENTS_HEALTH_FILE is not set" in answer.stderr


def test_a_file_that_cannot_be_written_is_logged_and_not_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="payments.worker.health"):
        health.show(tmp_path / "missing" / "health", [])
        health.remove(tmp_path)
    assert [record.getMessage()[:40] for record in caplog.records] == [
        "PAYMENTS_HEALTH_FILE can't be written: [",
        "PAYMENTS_HEALTH_FILE can't be removed: [",
    ]


def test_a_full_disk_is_logged_once_until_the_file_can_be_written_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker writes every second, and an operator wants one line."""
    folder = tmp_path / "missing"
    file = folder / "health"
    with caplog.at_level(logging.INFO, logger="payments.worker.health"):
        for _ in range(2):
            health.show(file, [])
            health.show(file, [])
            folder.mkdir()
            health.show(file, [])
            file.unlink()
            folder.rmdir()
    said = [record.getMessage()[:40] for record in caplog.records]
    assert said == 2 * [
        "PAYMENTS_HEALTH_FILE can't be written: [",
        "PAYMENTS_HEALTH_FILE can be written agai",
    ]


async def test_a_worker_is_ready_while_it_runs_and_not_once_it_has_drained(
    installations: Installations, file: Path
) -> None:
    health.show(file, [])
    settings = await installations.make(health_file=file)
    worker = WorkerProcess(settings)
    try:
        await worker.start()
        await worker.until(lambda: ask(file).exit_code == 0, "does not say that it is ready")
        # It stops answering without ending: the file grows old.
        worker.signal(signal.SIGSTOP)
        set_age(file, health.LIMIT_SECONDS + 1)
        assert ask(file).exit_code == 1
        worker.signal(signal.SIGCONT)
        await worker.until(lambda: ask(file).exit_code == 0, "is not ready again")
        await worker.kill()
        # At once: the file is young still, and says that it was ready.
        assert "has ended without a reason: it was killed" in ask(file).stderr
        await worker.start()
        await worker.until(lambda: ask(file).exit_code == 0, "does not say that it is ready")
        assert await worker.stop() == 0
        assert "no worker is running" in ask(file).stderr
    finally:
        await worker.kill()
        worker.log.unlink()


async def test_a_worker_that_ends_with_a_fail_stop_says_so_to_health(
    installations: Installations, file: Path
) -> None:
    settings = await installations.make(health_file=file)
    wrong = settings.model_copy(update={"partitions": settings.partitions + 1})
    worker = WorkerProcess(wrong)
    try:
        worker.spawn()
        assert await worker.ended() == 70
        answer = ask(file)
        assert answer.exit_code == 1
        assert "the worker has ended: fail-stop: " in answer.stderr
        assert "PAYMENTS_PARTITIONS" in answer.stderr
    finally:
        await worker.kill()
        worker.log.unlink()
