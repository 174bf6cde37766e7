"""Expiry: keeps the keys of payments by the expiry window of their last change."""

from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import islice


def window_of(time_ms: int, width_ms: int) -> int:
    """Return the number of the window in which a time lies."""
    return time_ms // width_ms


class Windows:
    """The keys of one partition by window; a window closes one retention after its end.

    The index is lazy: a key stays in its window when its payment changes in a later one, so the
    caller checks the row of each key that it takes. It costs 8 bytes per key, plus the slack of a
    list, if the key objects are those of the table.
    """

    def __init__(self, *, width_ms: int, retention_ms: int) -> None:
        self._width_ms, self._retention_ms = width_ms, retention_ms
        self._keys: dict[int, list[bytes]] = {}
        self._order: list[int] = []  # A heap of the windows in ``_keys``.
        self._taken_up_to = -1  # The latest window that any key was taken from.

    def add(self, key: bytes, time_ms: int, previous_ms: int | None = None) -> None:
        """Note the time of a payment's change; ``previous_ms`` is that of the row it replaces."""
        width_ms = self._width_ms
        window = time_ms // width_ms
        same = previous_ms is not None and window == previous_ms // width_ms
        if same and window > self._taken_up_to:  # Else the key may have been taken from there.
            return
        keys = self._keys.get(window)
        if keys is None:
            keys = self._keys[window] = []
            heappush(self._order, window)
        keys.append(key)

    def due(self, now_ms: int) -> Iterator[bytes]:
        """Take the keys of closed windows one by one, from the oldest window on."""
        closed = window_of(now_ms - self._retention_ms, self._width_ms)
        while self._order and self._order[0] < closed:
            window = self._order[0]
            self._taken_up_to = max(self._taken_up_to, window)
            if self._keys[window]:
                yield self._keys[window].pop()
            else:
                del self._keys[heappop(self._order)]

    def overdue_ms(self, now_ms: int) -> int:
        """Return for how long the oldest window is closed that has keys; 0 where none is closed."""
        try:
            oldest = self._order[0]
        except IndexError:
            return 0
        return max(0, now_ms - self._retention_ms - (oldest + 1) * self._width_ms)

    def take(self, now_ms: int, limit: int) -> list[bytes]:
        """Take at most ``limit`` keys of closed windows: none means that none is left."""
        return list(islice(self.due(now_ms), limit))
