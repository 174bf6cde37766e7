"""Idle journals: what is appended to a journal although nothing is decided there.

A checkpoint without rows, for one of three reasons:

- the last checkpoint does not say yet that all is published (docs/design.md 4.2);
- the journal's last records can't be compacted before something is appended behind them: Kafka
  compacts no segment that is still written to, and closes one only at an append (docs/design.md
  4.8);
- no append has brought the brokers' time for a while (docs/design.md 4.9).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from .advice import command
from .errors import FailStop
from .journal import Journal  # noqa: TC001 - a dataclass has it
from .limits import Limits
from .log import NO_EPOCH, Clock, TopicPartition
from .ownership import Ownership
from .pipeline import CommitPipeline


@dataclass(slots=True)
class _Rest:
    """Since when a journal has stood at a commit, and when it is to be closed off next."""

    n: int
    since: float
    pause_seconds: float


class IdleJournals:
    """Appends checkpoints to the journals of one worker that are idle."""

    def __init__(
        self, owned: Ownership, pipeline: CommitPipeline, *, clock: Clock, limits: Limits
    ) -> None:
        self._owned = owned
        self._pipeline = pipeline
        self._clock = clock
        self._limits = limits
        self._seen: dict[Journal, int] = {}
        """Number of the commit at which a journal was last seen."""
        self._rests: dict[Journal, _Rest] = {}
        self._asks_for_time = False

    def write_published(
        self, handled: Mapping[TopicPartition, int], epochs: Mapping[TopicPartition, int]
    ) -> None:
        """Let journals that have not moved since the last call say what is published and read.

        ``handled`` are the positions up to which all records are handled, ``epochs`` the leader
        epochs there.
        """
        seen, self._seen = self._seen, {}
        for journal in self._owned.journals():
            if seen.get(journal) == journal.n:
                for topic in journal.inputs:
                    at = TopicPartition(topic, journal.partition)
                    journal.skip_to(topic, handled.get(at, 0), epochs.get(at, NO_EPOCH))
                if not journal.published_on_record:
                    self._pipeline.touch(journal)
            self._seen[journal] = journal.n

    def close_segments(self) -> None:
        """Append to journals that rest, after a while, and again whenever that has doubled.

        The first one closes the segment with the last rows, the next ones let what compaction has
        left of them (tombstones) go too. Then little is left to gain, so the pauses grow.
        """
        now, rests = asyncio.get_running_loop().time(), self._rests
        self._rests = {}
        for journal in self._owned.journals():
            rest = rests.get(journal)
            if rest is None or rest.n < journal.n:
                rest = _Rest(journal.n, now, self._limits.rest_seconds)
            elif now - rest.since >= rest.pause_seconds:
                self._pipeline.touch(journal)
                # The checkpoint of this one counts as no movement.
                rest = _Rest(journal.n + 1, now, rest.pause_seconds * 2)
            self._rests[journal] = rest

    def ask_for_time(self) -> None:
        """Append to one journal when the last answer of a broker is old.

        The committer ends with ``FailStop`` when the answer has no time.
        """
        if self._asks_for_time or self._clock.age_seconds < self._limits.time_seconds:
            return
        # The one with the least to compact again and again.
        journal = min(self._owned.journals(), key=lambda each: each.row_count, default=None)
        if journal is not None:
            self._asks_for_time = True
            journal.when_journalled(self._require_time)
            self._pipeline.touch(journal)

    def _require_time(self) -> None:
        self._asks_for_time = False
        if self._clock.age_seconds >= self._limits.time_seconds:
            message = (
                "the brokers do not state their time any more, and what expires depends on it: has "
                "a journal lost its message.timestamp.type=LogAppendTime? Bring the topics back "
                f"with: {command('topics apply')} (--file for those of an own stage), then start "
                f"the "
                "worker again (nothing is lost)"
            )
            raise FailStop(message)
