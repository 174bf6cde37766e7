"""The brokers' time: what everything that expires goes by, whatever this machine's clock says.

A broker states its time in the answer to each append to a topic with ``message.timestamp.type:
LogAppendTime``. Between two answers the time advances by this process's monotonic clock. It never
goes back: where brokers differ by seconds, it follows the one that is ahead, and stands still when
a broker states an earlier time.

An answer is always late, never early. So a worker that was held up takes the time for earlier than
it is: something may expire late by that, never early.
"""

import logging
import time
from collections.abc import Callable

from .outputs import iso_time

logger = logging.getLogger(__name__)

WORTH_LOGGING_SECONDS = 5.0
"""A difference between this machine's clock and the brokers' that is logged."""

_MUCH_MORE = 0.1
"""It is logged again when it has changed by this share, and by the seconds above."""


def wall_clock_ms() -> int:
    """Return the time of this machine, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class BrokerClock:
    """The brokers' time, in milliseconds since 1970, once a broker has stated it."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self._monotonic = monotonic
        self.wall_ms = wall_ms
        """This machine's time."""
        self._time_ms: int | None = None
        """The last time that a broker stated."""
        self._at_seconds = 0.0
        """When it was stated, by the monotonic clock."""
        self._latest_ms = 0
        """The latest time that was returned."""
        self._logged_seconds = 0.0
        """The difference that was logged last."""
        self.difference_seconds = 0.0
        """How far this machine's clock is ahead of the brokers'; negative when it is behind.

        Only what is sure counts: the time that the answer took is no difference.
        """

    def __call__(self) -> int:
        """Return the brokers' time. A broker must have stated it before (``is_known``)."""
        assert self._time_ms is not None, "no broker has stated its time yet"
        passed_ms = int((self._monotonic() - self._at_seconds) * 1000)
        self._latest_ms = max(self._latest_ms, self._time_ms + passed_ms)
        return self._latest_ms

    @property
    def is_known(self) -> bool:
        """Whether a broker has stated its time."""
        return self._time_ms is not None

    @property
    def age_seconds(self) -> float:
        """How long ago a broker stated its time."""
        return self._monotonic() - self._at_seconds

    def stamp_ms(self) -> int:
        """Return a time for new records: the brokers', or this machine's while none is known."""
        return self() if self._time_ms is not None else self.wall_ms()

    def heard(self, time_ms: int, asked_ms: int | None = None) -> None:
        """Take the time that a broker stated. ``asked_ms`` is this machine's at the request.

        Without ``asked_ms`` the answer may be to an earlier question, so it measures nothing.
        """
        self._time_ms, self._at_seconds = time_ms, self._monotonic()
        if asked_ms is None:
            return
        # The broker's clock stood at ``time_ms`` at some moment between question and answer.
        ahead_ms = max(0, asked_ms - time_ms) or min(0, self.wall_ms() - time_ms)
        self.difference_seconds = seconds = ahead_ms / 1000
        if abs(seconds - self._logged_seconds) > max(
            WORTH_LOGGING_SECONDS, abs(self._logged_seconds) * _MUCH_MORE
        ):
            self._log_difference(seconds, time_ms)

    def _log_difference(self, seconds: float, time_ms: int) -> None:
        if abs(seconds) < WORTH_LOGGING_SECONDS:
            self._logged_seconds = 0.0
            logger.info("the clock of this machine agrees with the brokers' again")
            return
        self._logged_seconds = seconds
        here, there = iso_time(self.wall_ms()).decode(), iso_time(time_ms).decode()
        logger.warning(
            "the clock of this machine is %.0f s %s the brokers': %s here, %s there. Records go "
            "by the brokers' clock, so nothing expires early or late; check the time "
            "synchronization (NTP) of this machine and of the brokers",
            abs(seconds),
            "ahead of" if seconds > 0 else "behind",
            here,
            there,
        )
