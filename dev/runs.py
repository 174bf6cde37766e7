"""Several ``make run`` of one checkout: each has logs and process records of its own.

A run holds a lock for as long as it lives, however it ends. What a run that was killed has left
behind is found by its records, and ended by the next one.
"""

import fcntl
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

from dev.process import ProcessRecord
from dev.terminal import say

NAMES = ("gateway", "worker")
MARK = "payments.cli"
END_LIMIT_SECONDS = 30.0


class Run:
    """One ``make run``: the first of a folder has plain names, another one at its side a number."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        for suffix in _suffixes():
            lock = _locked(folder / f"run{suffix}.lock")
            if lock is not None:
                # It is kept open, and so is the lock, until this process ends.
                self._lock, self._suffix = lock, suffix
                return

    def log(self, name: str) -> Path:
        """Return where the output of a process goes."""
        return self._folder / f"{name}{self._suffix}.log"

    def record(self, name: str) -> ProcessRecord:
        """Return the record of a process."""
        return _record(self._folder, name, self._suffix)

    def end_leftovers(self) -> None:
        """End the processes of runs that were killed; they drain as at any other end."""
        for path in sorted(self._folder.glob("run*.lock")):
            suffix = path.stem.removeprefix("run")
            lock = self._lock if suffix == self._suffix else _locked(path)
            if lock is None:
                continue
            for name in NAMES:
                _end(_record(self._folder, name, suffix), name)
            if lock != self._lock:
                os.close(lock)


def _suffixes() -> Iterator[str]:
    yield ""
    for number in itertools.count(2):
        yield f"-{number}"


def _locked(path: Path) -> int | None:
    """Return a file descriptor that holds the lock, or None while another process has it."""
    lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock


def _record(folder: Path, name: str, suffix: str) -> ProcessRecord:
    return ProcessRecord(folder / f"{name}{suffix}.pid", f"{MARK} {name}")


def _end(record: ProcessRecord, name: str) -> None:
    pid = record.pid()
    if pid is None:
        return
    say(f"Ending the {name} (pid {pid}) that a make run has left which was killed")
    record.send(signal.SIGTERM)
    if not record.wait_for_end(END_LIMIT_SECONDS):
        record.send(signal.SIGKILL)
        record.wait_for_end(END_LIMIT_SECONDS)
