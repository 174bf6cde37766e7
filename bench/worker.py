"""The worker that is measured: one ``payments worker`` as a process, with its log."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.child import Child
from payments.settings import Settings

READY = "worker ready"
READY_LIMIT_SECONDS = 60.0
_MEASURED_SETTINGS = ("brokers", "app_id", "topic_prefix", "partitions", "opening_balance")


class WorkerProcess(Child):
    """One worker process, or another command that says ``ready``."""

    def __init__(
        self,
        settings: Settings,
        log: Path,
        command: Sequence[str] = ("worker",),
        ready: str = READY,
        *,
        more: Mapping[str, str] | None = None,
        module: Sequence[str] = ("payments.cli",),
    ) -> None:
        self._ready = ready
        # All else that the environment says of PAYMENTS_* holds for the worker too.
        values = {f"PAYMENTS_{f.upper()}": str(getattr(settings, f)) for f in _MEASURED_SETTINGS}
        super().__init__(
            f"the {command[0]}",
            [sys.executable, "-m", *module, *command],
            log,
            env={**values, **(more or {})},
        )

    def wait_until_ready(self, limit_seconds: float) -> float:
        """Wait for the line that says so; return the seconds since its start."""
        return self.wait_until(lambda: self._ready in self.log.read_text(), limit_seconds)


@contextmanager
def running_worker(
    settings: Settings, log: Path, command: Sequence[str] = ("worker",), ready: str = READY
) -> Iterator[WorkerProcess]:
    """Start a worker that ends with the block; it need not be ready yet."""
    worker = WorkerProcess(settings, log, command, ready)
    try:
        yield worker
    finally:
        worker.stop()
