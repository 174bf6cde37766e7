"""The timer index: the keys of one partition's rows, by the times of their timers.

It is lazy: a timer that a change of its row has moved stays where it was. So a write reads nothing,
and who takes a key looks at its row (``Context.due``).
"""

from heapq import heappop, heappush

_FEW = 4096
"""Keys of one time among which repeats are not looked for."""


class TimerIndex:
    """Keys by time, in memory: 8 bytes for each, plus the slack of a list.

    That is so if the key objects are those of the rows, and many timers share a time.
    """

    def __init__(self) -> None:
        self._keys: dict[int, list[bytes]] = {}
        """None of the lists is empty."""
        self._order: list[int] = []
        """A heap of the times in ``_keys``."""
        self._many = _FEW
        """Keys of one time that may include repeats."""

    def add(self, time_ms: int, key: bytes) -> None:
        """Add a timer; it is due at once where its time has passed."""
        keys = self._keys.get(time_ms)
        if keys is None:
            keys = self._keys[time_ms] = []
            heappush(self._order, time_ms)
        keys.append(key)
        if len(keys) > self._many:
            self._keys[time_ms] = keys = list(dict.fromkeys(keys))
            self._many = max(_FEW, 2 * len(keys), self._many)

    def is_due(self, now_ms: int) -> bool:
        """Whether a key can be taken."""
        return bool(self._order) and self._order[0] <= now_ms

    def overdue_ms(self, now_ms: int) -> int:
        """Return for how long the earliest timer is due; 0 where none is. Any thread may ask."""
        try:
            return max(0, now_ms - self._order[0])
        except IndexError:
            return 0

    def take(self, now_ms: int) -> bytes | None:
        """Take a key whose time has come, the earliest time first; None: there is none."""
        if not self._order or self._order[0] > now_ms:
            return None
        time_ms = self._order[0]
        keys = self._keys[time_ms]
        key = keys.pop()
        if not keys:
            del self._keys[heappop(self._order)]
        return key
