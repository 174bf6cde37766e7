"""The orderly end of a worker: the lines that say why it ended, and what it left."""

import asyncio
import logging

logger = logging.getLogger(__name__)

_SLOW_SECONDS = 1.0


class OrderlyEnd:
    """Logs one line when a worker has ended in order, and one before it if draining takes long."""

    def __init__(self) -> None:
        self._cause = ""
        self._began = 0.0
        self._slow: asyncio.TimerHandle | None = None
        self.partitions_left = 0
        """Partitions that it owned at its end."""

    def begin(self, cause: str) -> None:
        """Note why the worker ends; the first cause is the one that counts."""
        if not self._cause:
            self._cause, self._began = cause, asyncio.get_running_loop().time()

    def draining(self, limit_seconds: float) -> None:
        """Log a line if ``drained`` is not called within a second."""
        self._slow = asyncio.get_running_loop().call_later(
            _SLOW_SECONDS, self._say_slow, limit_seconds
        )

    def drained(self) -> None:
        """Note that all that was decided is published."""
        if self._slow is not None:
            self._slow.cancel()

    def ended(self, left: str) -> None:
        """Log the last line; ``left`` says what the worker has left, and to whom."""
        seconds = asyncio.get_running_loop().time() - self._began
        logger.info("stopped: %s, after %.1f s; %s", self._cause, seconds, left)

    def _say_slow(self, limit_seconds: float) -> None:
        logger.info(
            "stopping: %s; publishing what was decided takes more than %.0f s, after %g s the "
            "worker gives up and the next owner publishes it",
            self._cause,
            _SLOW_SECONDS,
            limit_seconds,
        )
