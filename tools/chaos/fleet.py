"""The fleet: worker processes, each started again at once when it ends, and how they ended."""

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from exactstage.errors import EXIT_FAIL_STOP
from payments.settings import Settings
from tools.chaos.errors import ChaosError
from tools.dev.child_process import READY, WORKER, WorkerProcess

LOOK_SECONDS = 0.02
TRACEBACK_LINES = 40
END_LIMIT_SECONDS = 30.0
BEGIN = signal.SIGWINCH
"""Begins the hold-up of a hooked worker. Nobody else uses it: Faust takes SIGUSR1 and SIGUSR2."""

BEGUN = "chaos: the membership is held up"
TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True, slots=True)
class Ending:
    """How one process ended, and whether that is as it should be."""

    seat: str
    at: float
    code: int
    cause: str | None
    """The fault that ended it; None when it ended by itself."""

    expected: bool
    log: str
    last_line: str
    """Of the log, with the log's name."""


class Seat:
    """One place of the fleet: its worker is started again whenever it ends."""

    def __init__(self, name: str, settings: Settings, folder: Path) -> None:
        self.name = name
        self.settings = settings
        self.starts = 0
        self.endings: list[Ending] = []
        self.failure: BaseException | None = None
        self._folder = folder
        self._process: WorkerProcess | None = None
        self._task: asyncio.Task[None] | None = None
        self._command: Sequence[str] = WORKER
        self._cause: str | None = None
        self._told_code: int | None = None

    @property
    def process(self) -> WorkerProcess:
        """The present process. Raises ``ChaosError`` when the seat is empty."""
        if self._process is None:
            raise ChaosError(f"{self.name} is not running")
        return self._process

    @property
    def occupied(self) -> bool:
        """Whether a worker is wanted here."""
        return self._task is not None

    def start(self, command: Sequence[str] = WORKER) -> None:
        """Let a worker run here from now on; ``command`` is that of its first process only."""
        if self._task is None:
            self._launch(command)
            self._task = asyncio.create_task(self._supervise())
            self._task.add_done_callback(self._note_failure)

    def _note_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self.failure = task.exception()

    def _launch(self, command: Sequence[str]) -> None:
        self.starts += 1
        log = self._folder / f"{self.name}.{self.starts:04}.log"
        self._cause = self._told_code = None
        self._process = WorkerProcess(self.settings, log, command)

    async def _supervise(self) -> None:
        while True:
            await self._ended(self.process)
            self._note_ending()
            command, self._command = self._command, WORKER
            self._launch(command)

    @staticmethod
    async def _ended(process: WorkerProcess) -> None:
        while process.exit_code is None:  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(LOOK_SECONDS)

    def _note_ending(self) -> None:
        code = self.process.exit_code
        if code is None:
            raise ChaosError(f"{self.name} has not ended")
        said = self.process.log.read_text(errors="replace")
        told = {0, -signal.SIGKILL, self._told_code}
        if not said:  # It was still starting, and had no handler for SIGTERM.
            told.add(-signal.SIGTERM)
        fine = code == EXIT_FAIL_STOP or (code in told and self._cause is not None)
        self.endings.append(
            Ending(
                self.name,
                time.time(),
                code,
                self._cause,
                fine and TRACEBACK not in said,
                str(self.process.log),
                last_line(self.process.log),
            )
        )

    def send(self, number: signal.Signals) -> None:
        """Send a signal that does not end the process."""
        self.process.send(number)

    def expect_end(self, cause: str, code: int | None = None) -> None:
        """Say that the present process is about to end, why, and maybe with which code."""
        self._cause, self._told_code = cause, code

    async def end(
        self, number: signal.Signals, cause: str, *, then: Sequence[str] = WORKER
    ) -> None:
        """End the process and wait; the next one starts at once, with the command ``then``."""
        process = self.process
        self._command = then
        self.expect_end(cause)
        process.send(number)
        await self._must_end(process)
        await self.until(lambda: self._process is not process, "is not started again")

    async def next_process(self, limit_seconds: float) -> None:
        """Wait until the present process has ended and the next one runs."""
        process = self.process
        await self.until(lambda: self._process is not process, "does not end", limit_seconds)

    async def stop(self, number: signal.Signals = signal.SIGTERM, cause: str = "stopped") -> None:
        """End the worker, by default so that it drains and leaves, and leave the seat empty."""
        if self._task is None:
            return
        self._task.cancel()
        self._task = None
        self.expect_end(cause)
        self.process.send(signal.SIGCONT)
        self.process.send(number)
        await self._must_end(self.process)
        self._note_ending()
        self._process = None

    async def abandon(self) -> None:
        """Kill the worker and leave the seat empty."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self.expect_end("abandoned")
            self.process.send(signal.SIGKILL)
            await self._ended(self.process)
            self._note_ending()

    async def _must_end(self, process: WorkerProcess) -> None:
        try:
            async with asyncio.timeout(END_LIMIT_SECONDS):
                await self._ended(process)
        except TimeoutError:
            process.send(signal.SIGKILL)
            message = f"{self.name} did not end within {END_LIMIT_SECONDS} s:\n{process.tail()}"
            raise ChaosError(message) from None

    @property
    def ready(self) -> bool:
        """Whether the present process has taken its partitions over."""
        return self._process is not None and READY in self._process.log.read_text(errors="replace")

    async def until(
        self, condition: Callable[[], bool], complaint: str, limit_seconds: float = 60.0
    ) -> None:
        """Wait for a condition; raises ``ChaosError`` after the limit."""
        deadline = time.monotonic() + limit_seconds
        while not condition():
            if time.monotonic() > deadline:
                tail = self._process.tail() if self._process else ""
                raise ChaosError(f"{self.name} {complaint} within {limit_seconds} s:\n{tail}")
            await asyncio.sleep(LOOK_SECONDS)


class Fleet:
    """All seats."""

    def __init__(self, seats: Sequence[Seat]) -> None:
        self.seats = list(seats)
        self.guests: list[Seat] = []
        """Seats of workers that do not belong here, and how they ended."""

    def guest(self, name: str) -> Seat | None:
        """Return the guest of this name, when it has been here before."""
        return next((seat for seat in self.guests if seat.name == name), None)

    def start(self) -> None:
        """Let a worker run on each seat."""
        for seat in self.seats:
            seat.start()

    def all_ready(self) -> bool:
        """Whether every worker that is wanted has its partitions."""
        for seat in self.seats:
            if seat.failure is not None:
                raise ChaosError(f"the supervisor of {seat.name} has ended") from seat.failure
        return all(seat.ready for seat in self.seats if seat.occupied)

    async def stop(self) -> None:
        """Let all workers drain and leave."""
        ended = await asyncio.gather(*(seat.stop() for seat in self.seats), return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, BaseException):
                raise outcome

    async def abandon(self) -> None:
        """Kill all workers: after a failure their orderly end would only hide its traces."""
        for seat in (*self.seats, *self.guests):
            await seat.abandon()

    @property
    def size(self) -> int:
        """How many workers are wanted."""
        return sum(seat.occupied for seat in self.seats)

    def endings(self) -> list[Ending]:
        """Return how all processes ended so far, in the order of time."""
        found = [ending for seat in (*self.seats, *self.guests) for ending in seat.endings]
        return sorted(found, key=lambda ending: ending.at)


def last_line(log: Path) -> str:
    """Return the last line of a log that is not empty, behind the log's name."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"{log}: {lines[-1] if lines else '(empty)'}"


def first_traceback(log: Path) -> str | None:
    """Return the first traceback in a log, with the line before it, which says what met it."""
    lines = log.read_text(errors="replace").splitlines()
    for number, line in enumerate(lines):
        if TRACEBACK in line:
            return "\n".join(lines[max(number - 1, 0) : number + TRACEBACK_LINES])
    return None


def hooked(hook: str, *arguments: str) -> tuple[str, ...]:
    """Return the command of a worker that has one of ``chaos.hooks`` in it."""
    return (sys.executable, "-m", "tools.chaos.hooks", hook, *arguments)
