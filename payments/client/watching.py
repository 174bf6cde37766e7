"""Watches: iterators over all later results of one payment."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

from payments.client.errors import Overloaded, WatchBroken

if TYPE_CHECKING:
    from collections.abc import Callable

    from payments.records.record_models import Result

MAX_UNREAD_RESULTS = 1000
"""Maximum number of results that wait for one watch; beyond it, the watch breaks."""


class Watches:
    """All watches of a client, found by payment."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self.by_payment: dict[bytes, list[_Feed]] = {}
        """By the payment's key."""

    def add(self, key: bytes, check: Callable[[asyncio.AbstractEventLoop], None]) -> Watch:
        """Begin a watch. Raises ``Overloaded`` at the limit.

        ``check`` raises for another event loop than the client's.
        """
        if self._count >= self._limit:
            message = f"{self._limit} watches are open, as many as PAYMENTS_CLIENT_MAX_CALLS"
            raise Overloaded(message)
        feed = _Feed()
        self._count += 1
        self.by_payment.setdefault(key, []).append(feed)
        return Watch(self, key, feed, check)

    def discard(self, key: bytes, feed: _Feed) -> None:
        """End a watch."""
        feeds = self.by_payment.get(key, [])
        if feed in feeds:
            feeds.remove(feed)
            self._count -= 1
            if not feeds:
                del self.by_payment[key]

    def show(self, key: bytes, result: Result) -> None:
        """Deliver a result to all watches of its payment."""
        for feed in self.by_payment.get(key, ()):
            feed.put(result)

    def break_all(self, message: str) -> None:
        """End all watches with an error."""
        for feeds in self.by_payment.values():
            for feed in feeds:
                feed.end(WatchBroken(message))

    def close(self) -> None:
        """End all watches without an error."""
        for feeds in self.by_payment.values():
            for feed in feeds:
                feed.end(None)


class _Feed:
    """Results that wait for one watch."""

    def __init__(self) -> None:
        self.results: deque[Result] = deque()
        self.ended = False
        self.error: WatchBroken | None = None
        self.changed = asyncio.Event()

    def put(self, result: Result) -> None:
        """Add a result; at the limit, break the watch."""
        if self.ended:
            return
        if len(self.results) >= MAX_UNREAD_RESULTS:
            self.end(WatchBroken(f"{MAX_UNREAD_RESULTS} results were not taken: too slow"))
            return
        self.results.append(result)
        self.changed.set()

    def end(self, error: WatchBroken | None) -> None:
        """Accept no more results; those that wait can still be read."""
        if not self.ended:
            self.ended, self.error = True, error
            self.changed.set()


class Watch:
    """An iterator over the results of one payment. It ends when dropped, or with ``aclose``."""

    def __init__(
        self,
        watches: Watches,
        key: bytes,
        feed: _Feed,
        check: Callable[[asyncio.AbstractEventLoop], None],
    ) -> None:
        self._watches = watches
        self._key = key
        self._feed = feed
        self._check = check

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> Result:
        """Return the next result. Raises ``WatchBroken`` when results would be missing."""
        self._check(asyncio.get_running_loop())
        feed = self._feed
        while not feed.results:
            if feed.ended:
                self._close()
                raise feed.error or StopAsyncIteration
            feed.changed.clear()
            await feed.changed.wait()
        return feed.results.popleft()

    async def aclose(self) -> None:
        """End the watch."""
        self._feed.end(None)
        self._close()

    def _close(self) -> None:
        self._watches.discard(self._key, self._feed)

    def __del__(self) -> None:
        """End a watch that was dropped before its end (``break`` in a loop)."""
        self._close()
