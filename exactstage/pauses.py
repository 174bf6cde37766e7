"""Pauses: times in which this process did not run (SIGSTOP, a suspended machine, a starved host).

They count for no deadline: an answer of Kafka is not late because this process did not read it. A
watch ticks once a second; where the ticks are far apart, the process did not run.
"""

import logging
import time
from collections import deque
from collections.abc import Callable

logger = logging.getLogger(__name__)

TICK_SECONDS = 1.0
PAUSE_SECONDS = 5.0
"""Between two ticks; less than this is a busy machine."""

_KEPT = 16


class Pauses:
    """The pauses of one process, as far as they are known; times are those of ``clock``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ticked: float | None = None
        self._known: deque[tuple[float, float]] = deque(maxlen=_KEPT)

    def tick(self) -> None:
        """Note that the process runs; to be called once a second. Says so after a pause."""
        now = self._clock()
        gap = 0.0 if self._ticked is None else now - self._ticked - TICK_SECONDS
        if gap >= PAUSE_SECONDS:
            self._known.append((now - gap, now))
            logger.warning(
                "this process did not run for %.0f s: it was paused, or its machine was; what it "
                "had asked of Kafka is asked again",
                gap,
            )
        self._ticked = now

    def stop(self) -> None:
        """Tick no more: the time until the next tick, if there is one, is no pause."""
        self._ticked = None

    def within(self, since: float) -> float:
        """Return how many seconds since a time this process did not run.

        Only pauses that a tick has met: a watch that has ended must not prolong deadlines for ever.
        """
        return sum(max(0.0, end - max(begin, since)) for begin, end in self._known)


PAUSES = Pauses()
"""Those of this process: an event loop's time is ``time.monotonic`` too."""
