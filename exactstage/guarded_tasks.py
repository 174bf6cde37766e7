"""Guarded tasks: loops of one worker, of which an error in any ends the process."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from .errors import FailStop, as_fail_stop


class GuardedTasks:
    """Tasks by name; what one raises is given to ``on_failure``."""

    def __init__(self, on_failure: Callable[[FailStop], None]) -> None:
        self._on_failure = on_failure
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start a task. ``name`` is what a failure says of it."""
        task = self._tasks[name] = asyncio.create_task(work, name=name)
        # No coroutine around it, which each of its wake-ups would have to pass through.
        task.add_done_callback(partial(self._ended, name))

    async def cancel(self, name: str) -> None:
        """End one task, if it was started."""
        if (task := self._tasks.pop(name, None)) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def cancel_all(self) -> None:
        """End every task where it is."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        """Report whatever error a task has ended with: the process must not hang."""
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._on_failure(as_fail_stop(name, error))


async def unless(ended: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do some work, or leave it when ``ended`` is set: what can't come any more is not waited for.

    Raises what the work raises.
    """
    doing, ending = asyncio.create_task(work), asyncio.create_task(ended.wait())
    try:
        await asyncio.wait([doing, ending], return_when=asyncio.FIRST_COMPLETED)
    finally:
        doing.cancel()
        ending.cancel()
    done, _ = await asyncio.gather(doing, ending, return_exceptions=True)
    if isinstance(done, Exception):
        raise done
