"""The worker of ``make run``: a child process, watched, started again, drained at the end."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from tools.dev.errors import BrokerError
from tools.dev.process import ProcessRecord
from tools.dev.terminal import colored, indented, say, step

RESTARTS = 5
SETTLED_SECONDS = 5.0
"""A worker that was ready for this long is sound: with its end the count of ends begins again."""
DRAIN_LIMIT_SECONDS = 30.0
LOG_TAIL_LINES = 12
FAIL_STOP = 70


class WorkerLostError(BrokerError):
    """The worker ended too often; what it said is on the screen already.

    ``was_killed``: by a signal, so that its last line says nothing about the end.
    """

    def __init__(self, message: str, *, was_killed: bool = False) -> None:
        super().__init__(message)
        self.was_killed = was_killed


class Worker:
    """One ``payments worker``, or another command that runs for ever, with its log file."""

    def __init__(
        self,
        environment: dict[str, str],
        log: Path,
        name: str = "worker",
        record: ProcessRecord | None = None,
    ) -> None:
        self._name = name
        self._record = record
        self._environment = environment
        self._log = log
        self._log_start = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._ready_at: float | None = None
        self._restarts = 0

    @property
    def pid(self) -> int | None:
        """The process id, if it was started."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the process; its output goes to the log."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        if self._process is None and self._log.exists():
            # A log for this run, and the former one beside it: it may say why that one ended.
            self._log.replace(self._log.with_name(f"{self._log.name}.1"))
        # A restart appends, and tail() shows the present process only.
        with self._log.open("ab") as log:
            self._log_start = log.tell()
            # A session of its own: Ctrl-C in the terminal must not reach it beside our SIGTERM.
            self._process = subprocess.Popen(
                [sys.executable, "-m", "payments.cli", self._name],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        if self._record is not None:
            self._record.write(self._process)
        self._ready_at = None

    def watch(self) -> None:
        """Start the process again if it has ended.

        Raises WorkerLostError when it ends again and again, before it is ready or just after that.
        """
        if self._process is None:
            return
        code = self._process.poll()
        if self._ready_at is None and self._says_ready():
            self._ready_at = time.monotonic()
        if code is None:
            return
        say(colored(f"The {self._name} {_reason(code)}. Its last lines:", "red"))
        say(indented(self.tail()))
        if self._ready_at is not None and time.monotonic() - self._ready_at >= SETTLED_SECONDS:
            self._restarts = 0
        if self._restarts == RESTARTS:
            message = (
                f"the {self._name} ended {RESTARTS + 1} times in a row, each time before it was "
                f"ready or within {SETTLED_SECONDS:.0f} s after that; the last time it "
                f"{_reason(code)}; all of its log: {self._log}"
            )
            raise WorkerLostError(message, was_killed=code < 0)
        self._restarts += 1
        self.start()
        step(self._name, f"started again, pid {self.pid} ({self._restarts} of {RESTARTS})")

    def stop(self) -> None:
        """Let it finish what it has taken (SIGTERM) and wait; kill it when that takes too long."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(DRAIN_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            limit = f"{DRAIN_LIMIT_SECONDS:.0f} s of SIGTERM"
            say(f"The {self._name} did not end within {limit}: killed")
            self._process.kill()
            self._process.wait(DRAIN_LIMIT_SECONDS)

    def tail(self) -> list[str]:
        """Return the last lines of its log."""
        return self._said().splitlines()[-LOG_TAIL_LINES:]

    def _says_ready(self) -> bool:
        return f"{self._name} ready" in self._said()

    def _said(self) -> str:
        with self._log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")


def _reason(code: int) -> str:
    if code == FAIL_STOP:
        return f"has stopped itself, since it could not go on exactly (exit code {code})"
    return f"was killed by {_signal(-code)}" if code < 0 else f"has ended with exit code {code}"


def _signal(number: int) -> str:
    known = number in set(signal.Signals)
    return f"signal {number} ({signal.Signals(number).name})" if known else f"signal {number}"
