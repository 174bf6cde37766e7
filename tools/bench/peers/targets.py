"""What can be measured: a system, how it is started, and where it is reached once it runs."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tools.bench.child import Child

OPENING_BALANCE = 10**9
"""Of each account that is used for the first time."""

HTTP, TOPICS = "http", "topics"
FSYNC = "fsync of every append"
PAGE_CACHE = "page cache"


@dataclass(frozen=True, slots=True)
class HttpEndpoint:
    """Where a system answers over HTTP, and how it is spoken to (``DIALECTS``)."""

    port: int
    dialect: str


@dataclass(frozen=True, slots=True)
class TopicsEndpoint:
    """Where a system takes commands and answers over topics."""

    brokers: str
    commands: str
    results: str
    ledger: str


class Running(Protocol):
    """A process of a system."""

    @property
    def pid(self) -> int:
        """The process id."""

    def must_run(self) -> None:
        """Raise ``BenchError`` when it has ended."""


class Restartable:
    """A child that may be killed and started again; each start has a log of its own."""

    def __init__(self, start: Callable[[Path], Child], folder: Path, name: str) -> None:
        self._start, self._folder, self._name = start, folder, name
        self._starts = 0
        self._child = self._next()

    def _next(self) -> Child:
        self._starts += 1
        return self._start(self._folder / f"{self._name}-{self._starts}.log")

    @property
    def pid(self) -> int:
        """The process id of the child that runs now."""
        return self._child.pid

    def must_run(self) -> None:
        """Raise ``BenchError`` when it has ended by itself."""
        self._child.must_run()

    def wait_for(self, text: str, limit_seconds: float) -> None:
        """Wait until the log of the child that runs now says so."""
        child = self._child
        child.wait_until(lambda: text in child.log.read_text(errors="replace"), limit_seconds)

    def restart(self) -> None:
        """Kill it and start the next one at once."""
        self._child.kill()
        self._child = self._next()

    def stop(self) -> None:
        """End the child that runs now."""
        self._child.stop()


@dataclass(frozen=True, slots=True)
class Target:
    """A system that runs; ``children`` and the broker are all that do its work, by name."""

    endpoint: HttpEndpoint | TopicsEndpoint
    children: Mapping[str, Running]
    broker_pid: int | None = None
    handler: Restartable | None = None
    """The one that handles payments, where it may be killed."""

    def processes(self) -> dict[str, int | None]:
        """Return the process ids as they are now."""
        pids: dict[str, int | None] = {name: child.pid for name, child in self.children.items()}
        return pids if self.broker_pid is None else {**pids, "broker": self.broker_pid}

    def must_run(self) -> None:
        """Raise ``BenchError`` when a process has ended: what was measured means nothing then."""
        for child in self.children.values():
            child.must_run()


@dataclass(frozen=True, slots=True)
class System:
    """A system in one setting; ``key`` names it in files and on the command line."""

    key: str
    name: str
    peer: str
    """Whose installation it needs; "payments" needs none."""

    transport: str
    durability: str
    start: Callable[[Path], AbstractContextManager[Target]]
    """Starts it in an empty folder; it ends, and its data with it, with the block."""

    most_at_once: int = 1_000_000
    """It is not asked for more at once."""
