"""Processes of a tool: started with a log of their own, watched, killed, started again, ended."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from pydantic import SecretStr

from payments.settings import Settings
from tools.dev.errors import ToolError

PAYMENTS = (sys.executable, "-m", "payments.cli")
WORKER = (*PAYMENTS, "worker")
READY, GATEWAY_READY = "worker ready", "gateway ready"
READY_LIMIT_SECONDS = 60.0
STOP_LIMIT_SECONDS = 30.0
LOG_TAIL_CHARACTERS = 3000
POLL_SECONDS = 0.02


class Child:
    """One process; what it prints is in ``log``. ``name`` is for messages; it ends with a block.

    ``ready`` is what its log says when it can be used.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        ready: str = "",
        env: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.name, self.log = name, log
        self._command, self._ready, self._folder = list(command), ready, folder
        self._env = os.environ | dict(env or {})
        self._first_log, self._starts = log, 0
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self._started = time.monotonic()
        self._starts += 1
        if self._starts > 1:
            self.log = self._first_log.with_stem(f"{self._first_log.stem}-{self._starts}")
        with self.log.open("wb") as output:
            # A session of its own: Ctrl-C in the terminal reaches the benchmark, which ends it.
            return subprocess.Popen(
                self._command,
                env=self._env,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def wait_until_ready(self, limit_seconds: float = READY_LIMIT_SECONDS) -> float:
        """Wait for the line that says so; return the seconds since its start."""
        return self.wait_until(
            lambda: self._ready in self.log.read_text(errors="replace"), limit_seconds
        )

    def wait_until(self, ready: Callable[[], bool], limit_seconds: float) -> float:
        """Wait for a condition; return the seconds since the process was started."""
        while not ready():
            self.must_run()
            if time.monotonic() - self._started > limit_seconds:
                raise ToolError(f"{self.name} is not ready after {limit_seconds} s:\n{self.tail()}")
            time.sleep(POLL_SECONDS)
        return time.monotonic() - self._started

    def must_run(self) -> None:
        """Raise ``ToolError`` when it has ended: what was measured means nothing then."""
        if (code := self.exit_code) is not None:
            raise ToolError(f"{self.name} has ended with exit code {code}:\n{self.tail()}")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        self._process.kill()
        self._process.wait(STOP_LIMIT_SECONDS)

    def restart(self) -> None:
        """Kill it and start the next one at once, with a log of its own."""
        self.kill()
        self._process = self._start()

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


class WorkerProcess(Child):
    """One worker process, or another command of ``payments`` that says ``ready``."""

    def __init__(
        self,
        settings: Settings,
        log: Path,
        command: Sequence[str] = WORKER,
        ready: str = READY,
        *,
        more: Mapping[str, str] | None = None,
    ) -> None:
        env = {**environment(settings), **(more or {})}
        super().__init__(f"the {command[-1]}", command, log, ready=ready, env=env)


def gateway_process(settings: Settings, log: Path, port: int) -> WorkerProcess:
    """Start a gateway on a port."""
    return WorkerProcess(settings, log, (*PAYMENTS, "gateway", f"--port={port}"), GATEWAY_READY)


def environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a process with these settings.

    What they leave open is as our own environment says; so are secrets.
    """
    given = {field: getattr(settings, field) for field in settings.model_fields_set}
    return os.environ | {
        f"PAYMENTS_{field.upper()}": str(value)
        for field, value in given.items()
        if value is not None and not isinstance(value, SecretStr)
    }


def output_of(
    name: str,
    command: Sequence[str],
    limit_seconds: float | None = None,
    *,
    folder: Path | None = None,
) -> str:
    """Run a program to its end; return what it prints. Raises ``ToolError`` when it fails."""
    try:
        done = subprocess.run(
            list(command),
            check=True,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            timeout=limit_seconds,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{name} failed: {error}") from error
    return done.stdout
