"""Readiness: whether a worker handles records now, and why not.

What stands still for longer than ``stall_seconds`` is logged, once and then rarely, and makes the
worker not ready. It is looked at once a second, not for each record.
"""

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from .outage import OUTAGE
from .pauses import PAUSES, Pauses
from .troubles import Trouble, troubles_in_words

logger = logging.getLogger(__name__)

REPEAT_SECONDS = 600.0


class Readiness:
    """Follows the troubles of one worker from look to look."""

    def __init__(self, stall_seconds: float, pauses: Pauses = PAUSES) -> None:
        self._stall_seconds = stall_seconds
        self._pauses = pauses
        self._said: dict[tuple[str, str], float] = {}
        """When each trouble, by kind and place, was last logged."""
        self.reasons: Sequence[str] = ()
        """Why the worker was not ready at the last look; empty where it was."""
        self.kinds: Sequence[str] = ()
        """Kinds of the troubles that were the reasons."""
        self.standing_partitions = 0
        self.standing_seconds = 0.0
        """Partitions that stood still at the last look, and for how long the longest of them."""

    def look(self, troubles: Sequence[Trouble], now: float) -> Sequence[str]:
        """Take the troubles of this moment; return why the worker is not ready."""
        lasting = [
            trouble
            for trouble in troubles
            if now - trouble.since - self._pauses.within(trouble.since) >= self._stall_seconds
        ]
        partitions = [now - trouble.since for trouble in lasting if trouble.partition]
        self.standing_partitions = len(partitions)
        self.standing_seconds = max(partitions, default=0.0)
        self.reasons = troubles_in_words(lasting)
        self.kinds = tuple(dict.fromkeys(trouble.kind for trouble in lasting))
        if lasting:
            self._say(lasting, now)
        elif self._said:
            logger.info("ready again: nothing stands still any more")
            self._said = {}
        return self.reasons

    def _say(self, lasting: Sequence[Trouble], now: float) -> None:
        new = [
            trouble
            for trouble in lasting
            if now - self._said.get(_key(trouble), -REPEAT_SECONDS) >= REPEAT_SECONDS
        ]
        if not new:
            return
        since = datetime.fromtimestamp(time.time() - (now - min(t.since for t in new)), UTC)
        text = f"not ready since {since:%H:%M:%S} UTC: {'; '.join(troubles_in_words(new))}"
        if OUTAGE.say(text):
            self._said |= {_key(trouble): now for trouble in new}


def _key(trouble: Trouble) -> tuple[str, str]:
    return trouble.kind, trouble.where
