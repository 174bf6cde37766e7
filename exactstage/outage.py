"""Outage: what fails for long is said once in ten seconds by the whole process, with its beginning.

Many tasks of one process meet the same broker that is away; each tries again a few times a second.
"""

import logging
import threading
import time
from datetime import UTC, datetime

logger = logging.getLogger(__name__)

FIRST_SECONDS = 2.0
"""What is over sooner (a new leader, a broken connection) is no news."""

BETWEEN_SECONDS = 10.0

SAME_WITHIN_SECONDS = 5.0
"""What fails again after less than this was not over in between."""


class Outage:
    """What the tasks of a process report; any thread may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said = -BETWEEN_SECONDS
        self._failing: dict[str, tuple[float, float]] = {}
        """When each thing that fails began to, and when it failed last."""

    def forget(self) -> None:
        """Begin anew: what was said before does not count any more. Tests share one process."""
        with self._lock:
            self._said = -BETWEEN_SECONDS
            self._failing.clear()

    def say(self, text: str) -> bool:
        """Log a warning, unless there was one just now; return whether it was logged."""
        now = time.monotonic()
        with self._lock:
            if now - self._said < BETWEEN_SECONDS:
                return False
            self._said = now
        logger.warning("%s", text)
        return True

    def failed(self, doing: str, why: str, seconds: float, limit_seconds: float) -> None:
        """Say that ``doing`` fails since some seconds, unless something was said just now.

        A caller that gives up after ``limit_seconds`` may begin again at once, as a gateway does
        without end: the line names the beginning of all of it.
        """
        now = time.monotonic()
        with self._lock:
            ended = [
                name
                for name, (_, last) in self._failing.items()
                if now - last >= SAME_WITHIN_SECONDS
            ]
            for name in ended:
                del self._failing[name]
            began = min(now - seconds, self._failing.get(doing, (now, now))[0])
            self._failing[doing] = (began, now)
        if now - began >= FIRST_SECONDS:
            since = datetime.fromtimestamp(time.time() - (now - began), UTC)
            self.say(
                f"{doing}: no success since {since:%H:%M:%S} UTC ({now - began:.0f} s), tried "
                f"again for {limit_seconds:.0f} s at a time: {why}"
            )


OUTAGE = Outage()
"""That of this process."""
