"""Progress: up to which time a journal has handled its inputs.

A timer that ends something at a time must not overtake a record that was appended before it: after
a downtime the timers run while the backlog is still being read. So a journal knows for each input
how far it is read, as a time:

- All that a partition held at the last answer to a fetch is handled: the time of that question. An
  idle partition answers several times a second.
- Else the time of the last record that was handled: the records of a partition are in the order in
  which they were appended. So a backlog that never ends holds no timer up for ever.
- Messages that wait in memory for the journal have the time at which they were sent.

The earliest of these counts. It is about the partition of the journal alone: a record that another
worker has not forwarded yet is not known here, and counts from when it is forwarded.
"""

import asyncio
from collections.abc import Mapping
from math import ceil

from .intake import Intake
from .journal import Journal
from .local_delivery import LocalDelivery
from .log import TopicPartition
from .reading import Reading
from .stage import Stage

UNKNOWN_MS = 0
"""Nothing is known: nothing is due."""


class Progress:
    """How far the journals of one worker have handled their inputs."""

    def __init__(
        self, stages: Mapping[str, Stage], intake: Intake, local_delivery: LocalDelivery
    ) -> None:
        self._stages = stages
        self._intake = intake
        self._local_delivery = local_delivery

    def read_until_ms(self, journal: Journal, now_ms: int) -> int:
        """Return the time before which every record of its inputs was handled, ``now_ms`` at most.

        ``now_ms`` is the brokers' time now.
        """
        reading = self._intake.reading
        if reading is None:
            return UNKNOWN_MS
        until_ms, now = now_ms, asyncio.get_running_loop().time()
        for topic in self._stages[journal.stage].inputs:
            at = TopicPartition(topic, journal.partition)
            until_ms = min(until_ms, self._input_ms(at, journal, reading, now_ms, now))
            waiting_ms = self._local_delivery.oldest_ms(at)
            if waiting_ms is not None:
                until_ms = min(until_ms, waiting_ms)
        return until_ms

    @staticmethod
    def _input_ms(
        at: TopicPartition, journal: Journal, reading: Reading, now_ms: int, now: float
    ) -> int:
        known_ms = journal.reached.get(at.topic, UNKNOWN_MS)
        seen = reading.end_seen(at)
        if seen is not None and reading.position(at, journal.inputs.get(at.topic, 0)) >= seen.end:
            # The clock may be late, never early, and so may be what it says of that moment.
            known_ms = max(known_ms, now_ms - ceil(max(0.0, now - seen.asked_seconds) * 1000))
        return known_ms
