"""The worker that is measured: one ``payments worker`` as a process, with its log."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.child import Child
from payments.settings import Settings

READY = "worker ready"
READY_LIMIT_SECONDS = 60.0
_MEASURED_SETTINGS = ("brokers", "app_id", "topic_prefix", "partitions", "opening_balance")


class WorkerProcess(Child):
    """One worker process."""

    def __init__(self, settings: Settings, log: Path, **more: str) -> None:
        command = [sys.executable, "-m", "payments.cli", "worker"]
        super().__init__("the worker", command, log, env=worker_environment(settings) | more)

    def wait_until_ready(self, limit_seconds: float) -> float:
        """Wait for the line that says so; return the seconds since its start."""
        return self.wait_until(lambda: READY in self.log.read_text(), limit_seconds)


def worker_environment(settings: Settings) -> dict[str, str]:
    """Return the variables of what is measured; all else that the environment says holds too."""
    return {f"PAYMENTS_{f.upper()}": str(getattr(settings, f)) for f in _MEASURED_SETTINGS}


@contextmanager
def running_worker(settings: Settings, log: Path) -> Iterator[WorkerProcess]:
    """Start a worker that ends with the block; it need not be ready yet."""
    worker = WorkerProcess(settings, log)
    try:
        yield worker
    finally:
        worker.stop()
