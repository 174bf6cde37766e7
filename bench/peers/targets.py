"""What can be measured: a system, how it is started, and where it is reached once it runs."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from bench.child import Child

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


@dataclass(frozen=True, slots=True)
class Target:
    """A system that runs; ``processes`` are all that do its work, by name.

    ``restart`` kills the process that handles payments and starts it again at once.
    """

    endpoint: HttpEndpoint | TopicsEndpoint
    processes: Callable[[], Mapping[str, int | None]]
    must_run: Callable[[], None]
    restart: Callable[[], None] | None = None


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


class Restartable:
    """A child that may be killed and started again; each start has a log of its own."""

    def __init__(self, start: Callable[[Path], Child], folder: Path, name: str) -> None:
        self._start, self._folder, self._name = start, folder, name
        self._starts = 0
        self.child = self._next()

    def _next(self) -> Child:
        self._starts += 1
        return self._start(self._folder / f"{self._name}-{self._starts}.log")

    def restart(self) -> None:
        """Kill it and start the next one."""
        self.child.kill()
        self.child = self._next()
