"""A process that is measured: started with a log of its own, watched, and ended."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tools.bench.errors import BenchError

STOP_LIMIT_SECONDS = 30.0
LOG_TAIL_CHARACTERS = 3000
POLL_SECONDS = 0.02


class Child:
    """One process; what it prints is in ``log``. ``name`` is for messages."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self._started = time.monotonic()
        with log.open("wb") as output:
            # A session of its own: Ctrl-C in the terminal reaches the benchmark, which ends it.
            self._process = subprocess.Popen(
                list(command),
                env=os.environ | dict(env or {}),
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def wait_until(self, ready: Callable[[], bool], limit_seconds: float) -> float:
        """Wait for a condition; return the seconds since the process was started."""
        while not ready():
            self.must_run()
            if time.monotonic() - self._started > limit_seconds:
                raise BenchError(
                    f"{self.name} is not ready after {limit_seconds} s:\n{self.tail()}"
                )
            time.sleep(POLL_SECONDS)
        return time.monotonic() - self._started

    def must_run(self) -> None:
        """Raise ``BenchError`` when it has ended: what was measured means nothing then."""
        if self._process.poll() is not None:
            code = self._process.returncode
            raise BenchError(f"{self.name} has ended with exit code {code}:\n{self.tail()}")

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        self._process.kill()
        self._process.wait(STOP_LIMIT_SECONDS)

    def stop(self) -> None:
        """End it with SIGTERM and wait; kill it when that takes too long."""
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]
