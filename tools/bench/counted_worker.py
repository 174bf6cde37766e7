"""A worker whose requests to the brokers are counted, of this checkout or of another one."""

import sys
from pathlib import Path

from payments.settings import Settings
from tools.bench import counting
from tools.bench.measured_process import WorkerProcess

COUNTING = "tools.bench.counting"


class CountedWorker(WorkerProcess):
    """A worker with counts and log in ``folder``; ``tree`` is the checkout that it runs."""

    def __init__(
        self, settings: Settings, folder: Path, name: str, tree: Path | None = None
    ) -> None:
        self._counts = folder / f"{name}.counts"
        counting.make_file(self._counts)
        # Another version may lack the module: then it is run as a file, and not from its folder.
        called = ["-m", COUNTING] if tree is None else ["-P", counting.__file__]
        command = (sys.executable, *called, str(self._counts), "worker")
        more = {} if tree is None else {"PYTHONPATH": str(tree)}
        super().__init__(settings, folder / f"{name}.log", command, more=more)

    def counts(self) -> tuple[int, ...]:
        """Return its requests so far, by API key."""
        return counting.read_counts(self._counts)
