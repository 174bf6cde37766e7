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


class Outage:
    """What the tasks of a process report; any thread may."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._said = -BETWEEN_SECONDS

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
        """Say that ``doing`` fails since so many seconds, unless something was said just now."""
        if seconds >= FIRST_SECONDS:
            since = datetime.fromtimestamp(time.time() - seconds, UTC)
            self.say(
                f"{doing}: no success since {since:%H:%M:%S} UTC ({seconds:.0f} s), tried again "
                f"until {limit_seconds:.0f} s are over: {why}"
            )


OUTAGE = Outage()
"""That of this process."""
