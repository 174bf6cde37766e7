"""make run: the guided set has the results it must have, and the end is in order."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from payments.settings import Settings
from tests.broker_fixture import process_environment
from tools.dev import run
from tools.dev.demo import guided_set, run_number
from tools.dev.ports import free_ports
from tools.dev.runs import Run
from tools.dev.worker import WorkerLostError

ROOT = Path(__file__).parent.parent.parent
LIMIT_SECONDS = 120.0
GATEWAY = {"PAYMENTS_GATEWAY_PORT": str(free_ports(1)[0])}


@contextmanager
def start(
    settings: Settings, *arguments: str, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tools.dev.run", *arguments],
        cwd=ROOT,
        env=process_environment(settings) | GATEWAY | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        # A test that has failed must not wait for what would never end by itself.
        process.terminate()
        process.communicate(timeout=LIMIT_SECONDS)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def lines_until(process: subprocess.Popen[str], text: str) -> Iterator[str]:
    assert process.stdout is not None
    for line in process.stdout:
        yield line
        if text in line:
            return
    message = f"it ended before it said {text!r}"
    raise AssertionError(message)


def test_the_guided_set_gets_the_expected_results_and_ends(settings: Settings) -> None:
    with start(settings, "--exit-after-demo") as process:
        printed, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, printed
    steps = guided_set("x", 1)
    results = [line.split() for line in printed.splitlines() if line.strip().startswith("<-")]
    assert [words[2] for words in results] == [step.outcome for step in steps]
    assert "\033" not in printed
    assert "Stopping Kafka" not in printed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_until_it_is_told_to_end_and_takes_its_worker_along(
    settings: Settings, number: signal.Signals
) -> None:
    with start(settings) as process:
        printed = list(lines_until(process, "It stays up"))
        worker = next(int(line.split()[2].rstrip(",")) for line in printed if "worker  " in line)
        assert is_running(worker)
        process.send_signal(number)
        rest, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0, rest
    assert "Stopping the gateway and the worker" in rest
    assert not is_running(worker)


def test_its_curl_lines_work_while_it_is_up(settings: Settings) -> None:
    with start(settings) as process:
        printed = list(lines_until(process, "It stays up")) + list(lines_until(process, "kcat"))
        lines = [line.strip() for line in printed if line.strip().startswith("curl ")]
        answers = []
        for line in lines:
            done = subprocess.run([*shlex.split(line), "-s"], capture_output=True, check=True)
            answers.append(json.loads(done.stdout))
    assert [answer.get("outcome") for answer in answers] == ["completed", "cancelled", None]
    assert answers[-1]["account"].startswith("acc-")


def test_a_gateway_port_that_is_taken_is_told_before_anything_starts(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with start(settings, PAYMENTS_GATEWAY_PORT=port) as process:
            printed, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 1
    assert f"port {port} is in use by another program (pid {os.getpid()}: " in printed
    assert "worker" not in printed


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("PAYMENTS_GATEWAY_PORT", "99999", "PAYMENTS_GATEWAY_PORT=99999: "),
        ("PAYMENTS_RETENTION_SECONDS", "a day", "PAYMENTS_RETENTION_SECONDS=a day: "),
        ("PAYMENTS_OPENING_BALANCE", "much", "PAYMENTS_OPENING_BALANCE: "),
        ("PAYMENTS_PORT", "99999", "PAYMENTS_PORT=99999 is not a port number"),
        ("JAVA_HOME", "/nowhere", "/nowhere/bin/java does not run"),
    ],
)
def test_what_keeps_it_from_starting_is_one_line(variable: str, value: str, told: str) -> None:
    """Of the same kind, by hand: no Java, no Maven, an older Java, a port that is taken."""
    environment = {name: text for name, text in os.environ.items() if "PAYMENTS_" not in name}
    ended = subprocess.run(
        [sys.executable, "-m", "tools.dev.start"],
        cwd=ROOT,
        env=environment | {"PAYMENTS_PROVIDER": "local", "PAYMENTS_PORT": str(free_ports(1)[0])}
        | GATEWAY | {variable: value},
        capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (1, "")
    assert told in ended.stdout
    last = ended.stdout.splitlines()[-1]
    assert last.startswith("Error: ")
    assert "Kafka goes on" not in ended.stdout


def test_a_second_one_says_that_the_first_runs_and_how_to_go_on(settings: Settings) -> None:
    """Not "another program". What a killed run has left: ``test_runs.py``, and below."""
    with start(settings) as first:
        list(lines_until(first, "Kafka  "))
        with start(settings, PAYMENTS_APP_ID="other") as second:
            printed, _ = second.communicate(timeout=LIMIT_SECONDS)
        assert second.returncode == 1
        assert "make run is already running: started 20" in printed
        assert f"pid {first.pid}, brokers {settings.brokers}, gateway http://127" in printed
        assert f"kill {first.pid}, or run another one beside it: make run PAYMENTS_PORT=" in printed


def test_a_worker_that_is_killed_is_started_again(settings: Settings) -> None:
    with start(settings) as process:
        printed = list(lines_until(process, "It stays up"))
        worker = next(int(line.split()[2].rstrip(",")) for line in printed if "worker  " in line)
        os.kill(worker, signal.SIGKILL)
        again = list(lines_until(process, "started again"))
    assert any("killed by signal 9" in line for line in again)


def test_run_numbers_are_short_and_do_not_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = set()
    for second in (1_800_000_000, 1_800_000_001, 1_900_000_000):
        monkeypatch.setattr(time, "time", lambda now=second: now)
        numbers.add(run_number())
    assert len(numbers) == 3
    assert all(len(number) <= 6 and number.isalnum() for number in numbers)


def test_what_doctor_finds_is_shown_and_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    finding = {
        "level": "warning",
        "what": "broker",
        "where": "1",
        "value": "auto.create.topics.enable=true",
        "next_step": "set it to false",
    }

    def doctor(*_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess([], 2, json.dumps(finding), "")

    monkeypatch.setattr(run, "run_command", doctor)
    assert run.examine({}) == [
        "warning: broker 1: auto.create.topics.enable=true -> set it to false"
    ]


class FakeBroker:
    """A broker that is started by ``make run``."""

    bootstrap = "localhost:1"
    running = False

    def start(self) -> bool:
        """Begin."""
        self.running = True
        return True

    def stop(self) -> None:
        """End."""
        self.running = False

    def describe(self) -> str:
        """Return what is shown."""
        return "fake"


def test_a_worker_that_is_lost_leaves_kafka_to_the_operator(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """What its last line asks for, such as ``payments journal repair``, needs the broker."""

    def lose(*_: object, **__: object) -> None:
        raise WorkerLostError("the worker ended 6 times in a row")

    monkeypatch.setattr(run, "with_worker", lose)
    monkeypatch.setattr(run, "ignore_interrupts", lambda: None)
    broker = FakeBroker()
    with pytest.raises(WorkerLostError, match=r"Kafka goes on at localhost:1"):
        run.with_broker(broker, Run(tmp_path), stay=True, left=False)
    assert broker.running
    printed = capsys.readouterr().out
    assert "Stopping Kafka" not in printed
    assert "-m tools.dev.broker down --port " in printed, (
        "PAYMENTS_BROKERS may be set where it is typed"
    )


def test_of_a_worker_that_was_killed_no_last_line_is_said_to_help(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def lose(*_: object, **__: object) -> None:
        raise WorkerLostError("the worker was killed by signal 9", was_killed=True)

    monkeypatch.setattr(run, "with_worker", lose)
    monkeypatch.setattr(run, "ignore_interrupts", lambda: None)
    with pytest.raises(WorkerLostError, match="Find out who sends the signal") as lost:
        run.with_broker(FakeBroker(), Run(tmp_path), stay=True, left=False)
    assert "last line" not in str(lost.value)
