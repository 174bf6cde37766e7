"""Intake: reads the inputs of the owned partitions, for one assignment after the other."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from .guarded_tasks import GuardedTasks
from .journal import Journal
from .limits import Limits
from .log import Reader, TopicPartition
from .reading import Deliver, Reading
from .stage import Stage
from .troubles import Trouble

_TASK = "reading"


class Intake:
    """Reads while it is started; between two assignments it reads nothing."""

    def __init__(
        self,
        *,
        reader: Reader,
        stages: Iterable[Stage],
        deliver: Deliver,
        limits: Limits,
        tasks: GuardedTasks,
    ) -> None:
        self._reader = reader
        self._stage_of: Mapping[str, str] = {
            topic: stage.name for stage in stages for topic in stage.inputs
        }
        self._public = {topic for stage in stages for topic in stage.public_inputs}
        self._deliver = deliver
        self._limits = limits
        self._tasks = tasks
        self.reading: Reading | None = None
        """What reads for the present assignment; None between two."""
        self.began = asyncio.Event()
        """Set when it reads for the first time."""

    def start(self, journals: Iterable[Journal]) -> None:
        """Read the inputs of these journals, from their positions."""
        assert self.reading is None, "two readers would deliver a record twice"
        positions: dict[TopicPartition, int] = {}
        epochs: dict[TopicPartition, int] = {}
        for journal in journals:
            for topic, offset in journal.inputs.items():
                if topic in self._stage_of:
                    positions[TopicPartition(topic, journal.partition)] = offset
            for topic, epoch in journal.epochs.items():
                epochs[TopicPartition(topic, journal.partition)] = epoch
        # Before anything can see ``reading``: else a tick would take the positions of the former
        # assignment for those of this one. What stood still may belong to other workers now.
        self._reader.assign(positions, epochs)
        self.reading = Reading(
            self._reader, self._stage_of, self._deliver, self._limits, public=self._public
        )
        if positions:
            self._tasks.spawn(_TASK, self.reading.run())
        self.began.set()

    async def stop(self) -> None:
        """Read no more, and wait until no delivery is being handled."""
        await self._tasks.cancel(_TASK)
        if self.reading is not None:
            reading, self.reading = self.reading, None
            reading.stopped = True
            await reading.handling_ended()

    def troubles(self) -> Sequence[Trouble]:
        """Return what keeps records from being read and handled at this moment."""
        if self.reading is None:
            return ()
        found = [*self._reader.troubles()]
        if (since := self.reading.waiting_since) is not None:
            found.append(Trouble("a stage does not get on with its records", "", since))
        return found
