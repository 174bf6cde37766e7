"""Several ``make run`` of one checkout: each has logs and process records of its own.

A run holds a lock for as long as it lives, however it ends; in the locked file it says what it
uses. What a run that was killed has left is found by its records, and ended by the next one.
"""

import fcntl
import itertools
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from tools.dev.errors import BrokerError
from tools.dev.process import ProcessRecord
from tools.dev.terminal import say

NAMES = ("gateway", "worker")
MARK = "payments.cli"
END_LIMIT_SECONDS = 30.0


@dataclass(frozen=True)
class Use:
    """What a run uses, for another one to read."""

    brokers: str
    gateway_port: int
    app_id: str
    pid: int = 0
    started: str = ""
    """Local time, for people."""

    ends_broker: bool = False
    """Whether it started its broker, and so ends it."""

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return what the run of this lock says; None where it says nothing, or nothing whole."""
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def meets(self, other: "Use") -> bool:
        """Return whether two runs would be in each other's way."""
        same_port = self.gateway_port == other.gateway_port != 0
        return same_port or (self.brokers, self.app_id) == (other.brokers, other.app_id)

    def in_words(self) -> str:
        """Return what one says who meets this run."""
        return (
            f"make run is already running: started {self.started}, pid {self.pid}, brokers "
            f"{self.brokers}, gateway http://127.0.0.1:{self.gateway_port}; use it, stop it with "
            f"Ctrl-C there or with kill {self.pid}, or run another one beside it: make run "
            f"PAYMENTS_PORT=9192 PAYMENTS_GATEWAY_PORT=8081"
        )


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

    def begin(self, use: Use) -> bool:
        """Say what this run uses; return whether a run that was killed has left its broker.

        Raises BrokerError where a run that lives is in its way.
        """
        said = {path: Use.read(path) for path in (self._path, *self._others())}
        locks = {path: _locked(path) for path in self._others()} | {self._path: self._lock}
        try:
            for path, lock in locks.items():
                other = said[path]
                if lock is None and other is not None and other.meets(use):
                    raise BrokerError(other.in_words())
            left = False
            for path, lock in locks.items():
                other = said[path]
                if lock is not None and other is not None and other.brokers == use.brokers:
                    left = left or other.ends_broker
                    os.ftruncate(lock, 0)  # What it left is this run's from now on.
        finally:
            for lock in locks.values():
                if lock is not None and lock != self._lock:
                    os.close(lock)
        self._say(replace(use, pid=os.getpid(), started=time.strftime("%Y-%m-%d %H:%M:%S")))
        return left

    def ends_broker(self) -> None:
        """Note that this run has started its broker: if it is killed, the next one ends it."""
        if (use := Use.read(self._path)) is not None:
            self._say(replace(use, ends_broker=True))

    def end(self) -> None:
        """Note that nothing of this run is left."""
        os.ftruncate(self._lock, 0)

    @property
    def _path(self) -> Path:
        return self._folder / f"run{self._suffix}.lock"

    def _others(self) -> list[Path]:
        return [path for path in sorted(self._folder.glob("run*.lock")) if path != self._path]

    def _say(self, use: Use) -> None:
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, json.dumps(asdict(use)).encode(), 0)

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
