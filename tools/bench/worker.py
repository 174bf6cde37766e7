"""The worker that is measured: one ``payments worker`` as a process, with its log."""

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from payments.settings import Settings
from tools.bench.child import Child

READY = "worker ready"
READY_LIMIT_SECONDS = 60.0
PAYMENTS = (sys.executable, "-m", "payments.cli")
WORKER = (*PAYMENTS, "worker")


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


class WorkerProcess(Child):
    """One worker process, or another command that says ``ready``."""

    def __init__(
        self,
        settings: Settings,
        log: Path,
        command: Sequence[str] = WORKER,
        ready: str = READY,
        *,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self._ready = ready
        env = {**environment(settings), **(more or {})}
        super().__init__(f"the {command[-1]}", command, log, env=env)

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        self._process.send_signal(number)

    def wait_until_ready(self, limit_seconds: float) -> float:
        """Wait for the line that says so; return the seconds since its start."""
        return self.wait_until(lambda: self._ready in self.log.read_text(), limit_seconds)


@contextmanager
def running_worker(
    settings: Settings, log: Path, command: Sequence[str] = WORKER, ready: str = READY
) -> Iterator[WorkerProcess]:
    """Start a worker that ends with the block; it need not be ready yet."""
    worker = WorkerProcess(settings, log, command, ready)
    try:
        yield worker
    finally:
        worker.stop()
