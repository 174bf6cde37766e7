"""What was measured at one number of partitions, what follows from it, and the tables of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from exactstage.limits import SOURCE_ROTATION_CHECKPOINTS
from tools.bench.markdown import UNKNOWN, figure, markdown_table
from tools.bench.takeover_log import Takeover


class Requests(NamedTuple):
    """Requests of a worker in a second, by kind."""

    produce: float
    fetch: float
    other: float

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self)


class Checkpoints(NamedTuple):
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
class ScaleFigures:
    """One column of the table; ``lone`` is one payment at a time, ``busy`` many."""

    at_rest: IdleFigures
    again: Takeover
    """Of the same journals after the load."""

    ready_seconds: float
    """From the start of that process to its readiness, joining the group included."""

    lone: Loaded
    busy: Loaded
    checkpoints: Checkpoints

    @property
    def partitions(self) -> int:
        """How many the worker has."""
        return self.at_rest.partitions

    @property
    def quiet_checkpoint_bytes(self) -> float:
        """A checkpoint of a commit without messages, once every sender has sent something."""
        size, entries, each = self.checkpoints
        return size - entries * each + rotated_senders(self.partitions) * each


class Shares(NamedTuple):
    """What CPU goes into, in microseconds: a payment itself, and each request or batch."""

    payment_us: float
    each_us: float


def rotated_senders(senders: int) -> int:
    """Return how many senders a checkpoint names beside those of its own commit's messages."""
    return math.ceil(senders / SOURCE_ROTATION_CHECKPOINTS)


def shares(one: float | None, other: float | None, counts: tuple[float, float]) -> Shares | None:
    """Split the CPU per payment of two loads that need different numbers of something for one.

    In both it is ``payment + each * count``. None where that has no answer.
    """
    if one is None or other is None or counts[0] == counts[1]:
        return None
    each_us = (one - other) / (counts[0] - counts[1])
    return Shares(one - each_us * counts[0], each_us)


def request_shares(row: ScaleFigures) -> tuple[Shares | None, Shares | None]:
    """Split the CPU of worker and broker into payments and the worker's requests."""
    counts = row.lone.requests_each, row.busy.requests_each
    return (
        shares(row.lone.worker_us, row.busy.worker_us, counts),
        shares(row.lone.broker_us, row.busy.broker_us, counts),
    )


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

    All of the CPU of worker and broker is used, before and after. None where that has no answer.
    """
    worker, broker = batch_shares(few, many)
    if worker is None or broker is None:
        return None
    payment_us, batch_us = worker.payment_us + broker.payment_us, worker.each_us + broker.each_us
    if not batch_us:
        return None
    spent = payment_us + batch_us * few.busy.batches_each
    return (spent / ratio - payment_us) / batch_us


def idle_table(rows: Sequence[IdleFigures]) -> str:
    """Return one column for each number of partitions, of what needs no load."""
    return _columns([f"{row.partitions:,}" for row in rows], _lines(rows, _IDLE_LINES))


def measured_table(rows: Sequence[ScaleFigures]) -> str:
    """Return one column for each number of partitions."""
    idle = _lines([row.at_rest for row in rows], _IDLE_LINES)
    columns = [f"{row.partitions:,}" for row in rows]
    return _columns(columns, [*idle, *_lines(rows, _LOAD_LINES)])


def batches_table(few: ScaleFigures, many: ScaleFigures) -> str:
    """Return what a batch costs worker and broker, by two numbers of partitions."""
    headings = ["", "a payment itself, µs", "a batch, µs"]
    headings += [f"batches of a payment, {row.partitions:,} partitions" for row in (few, many)]
    counts = [figure(row.busy.batches_each, 2) for row in (few, many)]
    found = zip(("worker", "broker"), batch_shares(few, many), strict=True)
    return markdown_table(headings, [[name, *_parts(part), *counts] for name, part in found])


Row = TypeVar("Row")


def _lines(rows: Sequence[Row], lines: Mapping[str, Callable[[Row], str]]) -> list[list[str]]:
    return [[what, *map(text, rows)] for what, text in lines.items()]


def _columns(names: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return markdown_table(["partitions", *names], lines)


def _takeover(takeover: Takeover) -> str:
    parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in takeover.seconds.items())
    return f"{takeover.total_seconds:.2f} ({parts})"


def _parts(found: Shares | None) -> list[str]:
    return [UNKNOWN] * 2 if found is None else [figure(value) for value in found]


def _shares(found: Shares | None) -> str:
    return UNKNOWN if found is None else ", ".join(_parts(found))


def _requests(requests: Requests, digits: int) -> str:
    return ", ".join(f"{each:.{digits}f}" for each in requests)


_IDLE_LINES: Mapping[str, Callable[[IdleFigures], str]] = {
    "topics made, s": lambda row: f"{row.create_seconds:.1f}",
    "first takeover, s": lambda row: _takeover(row.first),
    "idle: requests/s": lambda row: f"{row.idle.total:.1f}",
    "idle: produce, fetch, other": lambda row: _requests(row.idle, 1),
    "idle: share of a core, %": lambda row: figure(row.idle_percent, 1),
}
_LOAD_LINES: Mapping[str, Callable[[ScaleFigures], str]] = {
    "takeover after the load, s": lambda row: _takeover(row.again),
    "from start to ready, s": lambda row: f"{row.ready_seconds:.1f}",
    "records read for it": lambda row: f"{row.again.records:,}",
    "one at a time: payments/s": lambda row: figure(row.lone.rate),
    "one at a time: requests for each": lambda row: f"{row.lone.requests_each:.1f}",
    "one at a time: worker µs per payment": lambda row: figure(row.lone.worker_us),
    "one at a time: broker µs per payment": lambda row: figure(row.lone.broker_us),
    "busy: payments/s": lambda row: figure(row.busy.rate),
    "busy: p50, ms": lambda row: f"{row.busy.p50_ms:.1f}",
    "busy: requests/s": lambda row: f"{row.busy.requests.total:.0f}",
    "busy: produce, fetch, other": lambda row: _requests(row.busy.requests, 0),
    "busy: requests for each": lambda row: f"{row.busy.requests_each:.3f}",
    "busy: worker µs per payment": lambda row: figure(row.busy.worker_us),
    "busy: broker µs per payment": lambda row: figure(row.busy.broker_us),
    "worker µs: a payment itself, a request": lambda row: _shares(request_shares(row)[0]),
    "broker µs: a payment itself, a request": lambda row: _shares(request_shares(row)[1]),
    "busy: batches for each, records in one": lambda row: (
        f"{row.busy.batches_each:.2f}, {row.busy.batch_records:.1f}"
    ),
    "bytes on the broker per payment": lambda row: figure(row.busy.bytes_each),
    "checkpoint, bytes": lambda row: figure(row.checkpoints.bytes),
    "senders in it": lambda row: figure(row.checkpoints.source_entries, 1),
    "bytes for each": lambda row: figure(row.checkpoints.source_entry_bytes, 1),
    "checkpoint without messages, bytes": lambda row: figure(row.quiet_checkpoint_bytes),
}
