"""The event loop of a simulation: its time is made, and its processes can be paused and killed.

Time moves in two ways: a little with every turn of the loop, as if the work took it, and in one
leap to the next timer when nothing is left to do. So hours pass in a moment, and still an answer
may come between any two steps of a worker.
"""

import asyncio
import math
from asyncio.events import Handle, TimerHandle
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from heapq import heapify, heappop, heappush
from inspect import CORO_CREATED, getcoroutinestate
from itertools import count
from types import CoroutineType
from typing import Any, TypeVar

from exactstage.errors import FailStop
from exactstage.takeover import Superseded

_TURN_SECONDS = 200e-6
"""A turn of the loop takes up to this."""

_FEW_TIMERS = 100

Result = TypeVar("Result")


class Stuck(Exception):
    """Nothing is left to do, and nothing will ever happen."""


class Process:
    """What stands for a process of the operating system: all callbacks in its context.

    A paused one runs nothing until it goes on; what was due meanwhile comes then, in order. A dead
    one runs nothing any more, not even its ``finally`` blocks, as after SIGKILL.
    """

    def __init__(self, name: str, loop: "SimulatedLoop") -> None:
        self.name = name
        self.is_alive = True
        self.steps = 0
        """Callbacks run so far: every await of the process is between two of them."""
        self.next_fault_step: float = math.inf
        self.on_fault_step: Callable[[], None] = lambda: None
        self._loop = loop
        self._paused = False
        self._held: deque[Handle] = deque()
        self._context = copy_context()
        self._context.run(_PROCESS.set, self)

    @property
    def is_running(self) -> bool:
        """Whether it is neither dead nor paused."""
        return self.is_alive and not self._paused

    def spawn(self, work: Coroutine[Any, Any, Result], name: str) -> asyncio.Task[Result]:
        """Run ``work`` in this process."""
        return self._loop.create_task(work, name=f"{self.name}:{name}", context=self._context)

    def pause(self) -> None:
        """Hold everything."""
        self._paused = True

    def go_on(self) -> None:
        """Run what was held, and go on."""
        if self._paused and self.is_alive:
            self._paused = False
            self._loop.put_back(self._held)
            self._held = deque()

    def kill(self) -> None:
        """End it where it stands."""
        self.is_alive = False
        while self._held:
            _discard(self._held.popleft())

    def admits(self, handle: Handle) -> bool:
        """Whether a callback may run now; a paused process keeps it."""
        if self.is_running:
            self.steps += 1
            if self.steps < self.next_fault_step:
                return True
            self.on_fault_step()
            if self.is_running:
                return True
        if self.is_alive:
            self._held.append(handle)
        else:
            _discard(handle)
        return False


_PROCESS: ContextVar[Process] = ContextVar("process")


class SimulatedLoop(asyncio.BaseEventLoop):
    """An event loop without a selector: nothing comes from outside."""

    # What BaseEventLoop keeps, and how it hands out turns, is private; the simulation is its
    # subclass for that reason. Typed here, since the type stubs leave private names out.
    _ready: deque[Handle]
    _timer_cancelled_count: int

    def __init__(self, random: Callable[[], float]) -> None:
        super().__init__()
        self._now = 0.0
        self._random = random
        self._timers: list[tuple[float, int, TimerHandle]] = []
        """A heap; tuples are compared several times as fast as handles."""
        self._serial = count()
        self.defects: list[str] = []
        """Exceptions that nobody has taken."""
        self.set_exception_handler(self._note_defect)

    def time(self) -> float:
        """Return the seconds since the simulation began."""
        return self._now

    def put_back(self, handles: deque[Handle]) -> None:
        """Let callbacks run that were held."""
        self._ready.extend(handles)

    def call_at(  # type: ignore[override] # the same, with simpler types
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> TimerHandle:
        """Call back at a time."""
        timer = TimerHandle(when, callback, args, self, context)
        timer._scheduled = True  # type: ignore[attr-defined] # noqa: SLF001 - as in BaseEventLoop
        heappush(self._timers, (when, next(self._serial), timer))
        return timer

    def in_no_process(
        self,
        when: float,
        callback: Callable[..., object],
        *arguments: Any,
    ) -> TimerHandle:
        """Call back at a time, whatever becomes of the process that asks for it."""
        return self.call_at(when, callback, *arguments, context=_NOBODY)

    def _run_once(self) -> None:
        """Take one turn: let time pass, see what is due, run what was ready."""
        self._drop_cancelled_timers()
        ready, timers = self._ready, self._timers
        if ready:
            self._now += self._random() * _TURN_SECONDS
        elif timers:
            self._now = max(self._now, timers[0][0])
        else:
            raise Stuck
        now = self._now
        while timers and timers[0][0] <= now:
            ready.append(self._pop_timer())
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:  # noqa: SLF001 - as in BaseEventLoop
                continue
            process = handle._context.get(_PROCESS)  # type: ignore[attr-defined] # noqa: SLF001 - the task's own
            if process is None or process.admits(handle):
                handle._run()  # noqa: SLF001 - as in BaseEventLoop

    def _pop_timer(self) -> TimerHandle:
        _, _, timer = heappop(self._timers)
        timer._scheduled = False  # type: ignore[attr-defined] # noqa: SLF001 - as in BaseEventLoop
        self._timer_cancelled_count -= timer.cancelled()
        return timer

    def _drop_cancelled_timers(self) -> None:
        """Drop those at the head, and all of them when they are most: as in BaseEventLoop."""
        timers = self._timers
        if self._timer_cancelled_count * 2 > len(timers) > _FEW_TIMERS:
            timers[:] = [entry for entry in timers if not entry[2].cancelled()]
            heapify(timers)
            self._timer_cancelled_count = 0
        while timers and timers[0][2].cancelled():
            self._pop_timer()

    def close(self) -> None:
        """Drop all that is still to be done. Tasks that end later are not told that it is over."""
        for handle in (*self._ready, *(timer for _, _, timer in self._timers)):
            _discard(handle)
        super().close()

    def _check_closed(self) -> None:
        """Let what is left of a killed process unwind when it is freed, whenever that is."""

    def _write_to_self(self) -> None:
        """Wake nobody: there is one thread."""

    def _note_defect(self, _loop: asyncio.AbstractEventLoop, what: dict[str, Any]) -> None:
        """Note what nobody has handled; the tasks of a dead process end in whatever way."""
        message, error = str(what.get("message")), what.get("exception")
        if not message.startswith("Task was destroyed") and not isinstance(
            error, (FailStop, Superseded)
        ):
            self.defects.append(f"{message}: {error!r}")


def _discard(handle: Handle) -> None:
    """Drop a callback that will not run; a coroutine that it would have begun is closed."""
    task = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined] # noqa: SLF001 - what was to run
    if isinstance(task, asyncio.Task):
        coroutine = task.get_coro()
        if isinstance(coroutine, CoroutineType) and getcoroutinestate(coroutine) == CORO_CREATED:
            coroutine.close()


_NOBODY = Context()
