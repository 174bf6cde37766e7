"""What was measured at one number of partitions, and what follows from it alone."""

import math
from dataclasses import dataclass
from typing import NamedTuple

from exactstage.limits import SOURCE_ROTATION_CHECKPOINTS


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
    """From the start of the process to its readiness, joining the commit included."""

    @property
    def total_seconds(self) -> float:
        """All steps together."""
        return sum(self.seconds.values())

    @property
    def claim_seconds(self) -> float:
        """All steps but reading the journals, which depends on what is stored."""
        return self.total_seconds - self.seconds.get("restore", 0.0)


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The last checkpoints of the journals: means over the partitions."""

    bytes: float
    """Of the value, without the outputs that it holds."""

    source_entries: float
    source_entry_bytes: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """One worker under a closed loop; CPU in microseconds per payment, None where not known."""

    rate: float
    p50_ms: float
    worker_us: float | None
    broker_us: float | None
    requests: Requests
    """Of the worker, in a second."""

    requests_each: float
    """Of the worker, for one payment."""

    bytes_each: float
    """Written to the broker's disk for one payment, by all topics."""

    batches_each: float
    """Batches that these are, those of the client included."""

    batch_records: float
    """Records in a batch, on average."""


class Shares(NamedTuple):
    """What CPU goes into, in microseconds: a payment itself, and each request or batch."""

    payment_us: float
    each_us: float


def shares(one: float | None, other: float | None, counts: tuple[float, float]) -> Shares | None:
    """Split the CPU per payment of two loads that need different numbers of something for one.

    In both it is ``payment + each * count``. None where that has no answer.
    """
    if one is None or other is None or counts[0] == counts[1]:
        return None
    each_us = (one - other) / (counts[0] - counts[1])
    return Shares(one - each_us * counts[0], each_us)


@dataclass(frozen=True, slots=True)
class IdleFigures:
    """One column of the table, as far as it needs no load."""

    partitions: int
    create_seconds: float
    first: Takeover
    """Of journals that nobody has written yet."""

    idle: Requests
    idle_percent: float | None


@dataclass(frozen=True, slots=True)
class ScaleFigures(IdleFigures):
    """One column of the table."""

    again: Takeover
    """Of the same journals after the load."""

    lone: Loaded
    """One payment at a time."""

    busy: Loaded
    checkpoints: Checkpoints

    @property
    def worker_shares(self) -> Shares | None:
        """What the worker's CPU goes into."""
        return shares(self.lone.worker_us, self.busy.worker_us, self._requests_each)

    @property
    def broker_shares(self) -> Shares | None:
        """What the broker's CPU goes into; all of it is put down to the worker's requests."""
        return shares(self.lone.broker_us, self.busy.broker_us, self._requests_each)

    @property
    def quiet_checkpoint_bytes(self) -> float:
        """A checkpoint of a commit without messages, once every sender has been heard of."""
        rest = self.checkpoints.bytes - self._sources_bytes
        return rest + senders_told(self.partitions) * self.checkpoints.source_entry_bytes

    @property
    def _requests_each(self) -> tuple[float, float]:
        return self.lone.requests_each, self.busy.requests_each

    @property
    def _sources_bytes(self) -> float:
        return self.checkpoints.source_entries * self.checkpoints.source_entry_bytes


def senders_told(senders: int) -> int:
    """Return of how many senders a checkpoint tells beside those of its own commit's messages."""
    return math.ceil(senders / SOURCE_ROTATION_CHECKPOINTS)


def batch_shares(few: ScaleFigures, many: ScaleFigures) -> tuple[Shares | None, Shares | None]:
    """Split the CPU of worker and broker into payments and batches, by two rows under load."""
    one, other = few.busy, many.busy
    counts = one.batches_each, other.batches_each
    return (
        shares(one.worker_us, other.worker_us, counts),
        shares(one.broker_us, other.broker_us, counts),
    )


def batches_for(ratio: float, few: ScaleFigures, many: ScaleFigures) -> float | None:
    """Return how many batches a payment may have at this ratio to the rate of ``few``.

    All of the CPU of worker and broker is used, before and after. None where it is not known.
    """
    worker, broker = batch_shares(few, many)
    if worker is None or broker is None:
        return None
    payment_us, batch_us = worker.payment_us + broker.payment_us, worker.each_us + broker.each_us
    spent = payment_us + batch_us * few.busy.batches_each
    return (spent / ratio - payment_us) / batch_us
