"""What was measured at one number of partitions, and what follows from it alone."""

import math
from dataclasses import dataclass

from payments.engine.limits import SOURCES_TOLD_WITHIN


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests of a worker in a second, by kind."""

    produce: float
    fetch: float
    other: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.produce + self.fetch + self.other


@dataclass(frozen=True, slots=True)
class Takeover:
    """One takeover of all partitions by one worker, from its own log."""

    rows: int
    records: int
    seconds: dict[str, float]
    """Of each step: claim, fence, restore, republish, positions."""

    ready_seconds: float
    """From the start of the process to its readiness, joining the group included."""

    @property
    def total_seconds(self) -> float:
        """All steps together."""
        return sum(self.seconds.values())


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The last checkpoints of the journals: means over the partitions."""

    bytes: float
    """Of the value, without the outputs that it holds."""

    source_entries: float
    source_entry_bytes: float


@dataclass(frozen=True, slots=True)
class ScaleFigures:
    """One row of the table."""

    partitions: int
    create_seconds: float
    first: Takeover
    """Of journals that nobody has written yet."""

    again: Takeover
    """Of the same ones after the load."""

    idle: Requests
    idle_percent: float | None
    busy: Requests
    rate: float
    p50_ms: float
    worker_us: float | None
    broker_us: float | None
    bytes_each: float
    """Written to the broker's disk for one payment, by all topics."""

    checkpoints: Checkpoints

    @property
    def quiet_checkpoint_bytes(self) -> float:
        """A checkpoint of a group without messages, once every sender has been heard of."""
        rest = self.checkpoints.bytes - self._sources_bytes
        return rest + senders_told(self.partitions) * self.checkpoints.source_entry_bytes

    @property
    def _sources_bytes(self) -> float:
        return self.checkpoints.source_entries * self.checkpoints.source_entry_bytes


def senders_told(senders: int) -> int:
    """Return of how many senders a checkpoint tells beside those of its own group's messages."""
    return math.ceil(senders / SOURCES_TOLD_WITHIN)
