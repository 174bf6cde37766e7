"""From one measured row to 1, 10 and 100 worker cores: each number with what it rests on."""

from typing import NamedTuple

from exactstage.limits import SOURCE_ROTATION_CHECKPOINTS
from tools.bench.failures import BenchError
from tools.bench.markdown import markdown_table
from tools.bench.scale_figures import ScaleFigures, rotated_senders

CORES = (1, 10, 100)
EACH = 8
"""Partitions of a worker, so that they can be shared evenly."""

COPIES = 3
NETWORK = 1.25e9
"""Bytes per second of one broker: 10 Gbit/s."""

DAY_SECONDS = 86_400


class Line(NamedTuple):
    """One quantity: what one worker core makes of it, and where that comes from."""

    what: str
    of_one: float
    basis: str


def computed(measured: ScaleFigures) -> list[Line]:
    """Return what is proportional to worker cores; raises ``BenchError`` without known CPU."""
    busy, partitions = measured.busy, measured.partitions
    worker_us, broker_us = busy.worker_us, busy.broker_us
    if worker_us is None or broker_us is None:
        raise BenchError("the CPU of worker and broker is not known here")
    rate = 1e6 / worker_us
    written = COPIES * rate * busy.bytes_each
    claim = (measured.again.total_seconds - measured.again.restore_seconds) / partitions
    produce, idle = busy.requests.produce, measured.at_rest.idle.total
    alone = "a worker has a core for itself and workers do not slow each other down"
    on_broker = f"measured: {broker_us:,.0f} µs of the broker's CPU per payment"
    copied = f"measured: {busy.bytes_each:,.0f} bytes per payment on the broker"
    one_broker = (
        f"measured: {produce:,.0f}/s of one busy worker, {partitions} partitions; one broker"
    )
    at_rest = f"measured: {idle:,.1f}/s of one idle worker; each further broker adds its own"
    return [
        Line(
            "payments, 1/s",
            rate,
            f"measured: {worker_us:,.0f} µs of a worker's CPU per payment; assumed: {alone}",
        ),
        Line(
            "partitions",
            EACH,
            f"assumed: {EACH} for each worker, so that they can be shared evenly",
        ),
        Line(
            "broker cores",
            COPIES * rate * broker_us / 1e6,
            f"{on_broker}; assumed: each of {COPIES} copies costs as much as the first",
        ),
        Line("records written, MB/s", written / 1e6, f"{copied}; assumed: {COPIES} copies"),
        Line(
            "brokers, by their network",
            2 * written / NETWORK,
            "assumed: 10 Gbit/s each, every byte in once and out once",
        ),
        Line(
            "disk for a day, before compaction, TB",
            written * DAY_SECONDS / 1e12,
            "computed from the line of records written, at that rate all day",
        ),
        Line(
            "produce requests, 1/s",
            produce,
            f"{one_broker}; assumed: a worker talks to one broker at a time",
        ),
        Line("requests of idle workers, 1/s", idle, at_rest),
        Line(
            "takeover of all partitions by one worker, without restore, s",
            EACH * claim,
            f"measured: {1e3 * claim:,.1f} ms for each partition",
        ),
    ]


def cores_table(measured: ScaleFigures) -> str:
    """Return one column for each number of worker cores, and the basis of each number."""
    rows = [
        [line.what, *(_short(cores * line.of_one) for cores in CORES), line.basis]
        for line in computed(measured)
    ]
    entry = measured.checkpoints.source_entry_bytes
    sizes = [_short(rotated_senders(cores * EACH) * entry / 1e3) for cores in CORES]
    basis = (
        f"measured: {entry:,.1f} bytes for each sender; a checkpoint names one in "
        f"{SOURCE_ROTATION_CHECKPOINTS} of all senders, and those of its own commit's messages"
    )
    rows.append(["source positions in a checkpoint, kB", *sizes, basis])
    return markdown_table(["worker cores", *map(str, CORES), "rests on"], rows)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"  # three digits
