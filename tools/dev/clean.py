"""``make clean``: remove the environment, caches and the data of Kafka brokers that do not run.

Runs with any Python, since the environment may be what is broken. A broker that runs is never
touched, and neither is its data: whoever uses it may be another ``make run``.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.dev.process import ProcessRecord

ROOT = Path(__file__).resolve().parents[2]
REMOVED = (
    *(".venv", ".compiled", ".kafka", ".mypy_cache", ".ruff_cache", ".pytest_cache"),
    *(".hypothesis", ".coverage", ".coverage.*", ".site", "build", "*.egg-info"),
)


def running_brokers(root: Path) -> Iterator[tuple[int, Path]]:
    """Yield process id and folder of each broker of this checkout that runs."""
    for record in sorted((root / ".kafka").rglob("broker.pid")):
        folder = record.parent
        # As ``LocalBroker`` marks its process.
        pid = ProcessRecord(record, str(folder / "server.properties")).pid()
        if pid is not None:
            yield pid, folder


def clean(root: Path) -> int:
    """Remove all of it, or nothing while a broker runs; return the exit code."""
    running = list(running_brokers(root))
    if running:
        shown = "; ".join(f"pid {pid} with its data in {folder}" for pid, folder in running)
        print(
            f"Error: Kafka of this checkout still runs ({shown}), so nothing was removed. End "
            f"make run with Ctrl-C, or a broker in the background with: "
            f".venv/bin/python -m tools.dev.broker down",
            file=sys.stderr,
        )
        return 1
    for pattern in REMOVED:
        for found in root.glob(pattern):
            if found.is_dir() and not found.is_symlink():
                shutil.rmtree(found)
            else:
                found.unlink()
    for cache in list(root.rglob("__pycache__")):
        shutil.rmtree(cache, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(clean(ROOT))
