"""Deadlines of many calls with one timer: calls are in buckets by time."""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

TICK_SECONDS = 0.02
"""Width of a bucket: the maximum delay of a deadline. A deadline is never early by more than the
millisecond that an event loop's clock may be off."""


class Timed(Protocol):
    """An item with a deadline."""

    tick: int
    """Its bucket."""


Item = TypeVar("Item", bound=Timed)


class Deadlines(Generic[Item]):
    """Calls ``expire`` with each item whose deadline passes; two dictionary changes for each item.

    At most one timer is set: for the earliest bucket when it was set.
    """

    def __init__(self, expire: Callable[[Item], None]) -> None:
        self._expire = expire
        self._buckets: dict[int, dict[Item, None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_tick = 0

    def add(self, item: Item, seconds: float) -> None:
        """Let ``item`` expire in ``seconds``."""
        loop = asyncio.get_running_loop()
        tick = item.tick = int((loop.time() + seconds) / TICK_SECONDS) + 1
        self._buckets.setdefault(tick, {})[item] = None
        if self._timer is None or tick < self._timer_tick:
            self._set_timer(tick)

    def discard(self, item: Item) -> None:
        """Forget an item, expired or not."""
        bucket = self._buckets.get(item.tick)
        if bucket is not None:
            bucket.pop(item, None)
            if not bucket:
                del self._buckets[item.tick]

    def close(self) -> None:
        """Forget all items and the timer."""
        self._buckets.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_tick = tick
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(tick * TICK_SECONDS, self._run)

    def _run(self) -> None:
        self._timer = None
        # A loop's timer may fire a little early.
        now = max(self._timer_tick, int(asyncio.get_running_loop().time() / TICK_SECONDS))
        for tick in sorted(tick for tick in self._buckets if tick <= now):
            for item in self._buckets.pop(tick, {}):
                self._expire(item)
        if self._buckets and self._timer is None:
            self._set_timer(min(self._buckets))
