"""The worker that is measured: one ``payments worker`` as a process, with its log."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.errors import BenchError
from payments.settings import Settings

READY = "worker ready"
READY_LIMIT_SECONDS = 60.0
STOP_LIMIT_SECONDS = 30.0
LOG_TAIL_CHARACTERS = 3000
WORKER = (sys.executable, "-m", "payments.cli", "worker")


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a process with these settings.

    What they leave open is as our own environment says.
    """
    given = {field: getattr(settings, field) for field in settings.model_fields_set}
    values = {f"PAYMENTS_{f.upper()}": str(v) for f, v in given.items() if v is not None}
    return os.environ | values


class WorkerProcess:
    """One worker process; its output is in ``log``."""

    def __init__(self, settings: Settings, log: Path, command: Sequence[str] = WORKER) -> None:
        self.log = log
        self._started = time.monotonic()
        with log.open("wb") as output:
            # A session of its own: Ctrl-C in the terminal reaches the benchmark, which ends it.
            self._process = subprocess.Popen(
                command,
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        self._process.send_signal(number)

    def wait_until_ready(self, limit_seconds: float) -> float:
        """Wait for the line that says so; return the seconds since its start."""
        while READY not in self.log.read_text():
            self.must_run()
            if time.monotonic() - self._started > limit_seconds:
                raise BenchError(f"the worker is not ready after {limit_seconds} s:\n{self.tail()}")
            time.sleep(0.02)
        return time.monotonic() - self._started

    def must_run(self) -> None:
        """Raise ``BenchError`` when it has ended: what was measured means nothing then."""
        if self._process.poll() is not None:
            code = self._process.returncode
            raise BenchError(f"the worker has ended with exit code {code}:\n{self.tail()}")

    def stop(self) -> None:
        """End it with SIGTERM and wait; kill it when that takes too long."""
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_LIMIT_SECONDS)

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]


@contextmanager
def running_worker(settings: Settings, log: Path) -> Iterator[WorkerProcess]:
    """Start a worker that ends with the block; it need not be ready yet."""
    worker = WorkerProcess(settings, log)
    try:
        yield worker
    finally:
        worker.stop()
