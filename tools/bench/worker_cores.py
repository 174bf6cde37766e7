"""From one measured row to 1, 10 and 100 worker cores: each number with what it rests on."""

from collections.abc import Callable, Mapping

from exactstage.limits import SOURCE_ROTATION_CHECKPOINTS
from tools.bench.failures import BenchError
from tools.bench.markdown import markdown_table
from tools.bench.scale_figures import ScaleFigures, rotated_senders

CORES = (1, 10, 100)
EACH = 8
"""Partitions of a worker."""

COPIES = 3
NETWORK_BYTES_PER_SECOND = 1.25e9
"""Of one broker: 10 Gbit/s."""

DAY_SECONDS = 86_400


def computed(measured: ScaleFigures) -> Mapping[str, tuple[Callable[[int], float], str]]:
    """Return each quantity as a function of worker cores, and its basis.

    Raises ``BenchError`` where the CPU is not known.
    """
    busy, partitions = measured.busy, measured.partitions
    if busy.worker_us is None or busy.broker_us is None:
        raise BenchError("the CPU of worker and broker is not known here")
    per_core, broker_us = 1e6 / busy.worker_us, busy.broker_us
    written = COPIES * per_core * busy.bytes_each
    produce, idle = busy.requests.produce, measured.at_rest.idle.total
    claim = (measured.again.total_seconds - measured.again.restore_seconds) / partitions
    entry = measured.checkpoints.source_entry_bytes
    return {
        "payments, 1/s": (
            lambda n: n * per_core,
            (
                f"measured: {busy.worker_us:,.0f} µs of a worker's CPU per payment; assumed: a "
                "worker has a core for itself and workers do not slow each other down"
            ),
        ),
        "partitions": (
            lambda n: n * EACH,
            f"assumed: {EACH} for each worker, so that they can be shared evenly",
        ),
        "broker cores": (
            lambda n: COPIES * n * per_core * broker_us / 1e6,
            (
                f"measured: {broker_us:,.0f} µs of the broker's CPU per payment; assumed: each of "
                f"{COPIES} copies costs as much as the first"
            ),
        ),
        "records written, MB/s": (
            lambda n: n * written / 1e6,
            (
                f"measured: {busy.bytes_each:,.0f} bytes per payment on the broker; assumed: "
                f"{COPIES} copies"
            ),
        ),
        "brokers, by their network": (
            lambda n: 2 * n * written / NETWORK_BYTES_PER_SECOND,
            "assumed: 10 Gbit/s each, every byte in once and out once",
        ),
        "disk for a day, before compaction, TB": (
            lambda n: n * written * DAY_SECONDS / 1e12,
            "computed from the line of records written, at that rate all day",
        ),
        "produce requests, 1/s": (
            lambda n: n * produce,
            (
                f"measured: {produce:,.0f}/s of one busy worker, {partitions} partitions; one "
                "broker; assumed: a worker talks to one broker at a time"
            ),
        ),
        "requests of idle workers, 1/s": (
            lambda n: n * idle,
            f"measured: {idle:,.1f}/s of one idle worker; each further broker adds its own",
        ),
        "source positions in a checkpoint, kB": (
            lambda n: rotated_senders(n * EACH) * entry / 1e3,
            (
                f"measured: {entry:,.1f} bytes for each sender; a checkpoint names one in "
                f"{SOURCE_ROTATION_CHECKPOINTS} of all senders, and those of its own commit's "
                "messages"
            ),
        ),
        "takeover of all partitions by one worker, without restore, s": (
            lambda n: n * EACH * claim,
            f"measured: {1e3 * claim:,.1f} ms for each partition",
        ),
    }


def cores_table(measured: ScaleFigures) -> str:
    """Return one column for each number of worker cores, and the basis of each number."""
    return markdown_table(
        ["worker cores", *map(str, CORES), "rests on"],
        [
            [what, *(_short(value(cores)) for cores in CORES), basis]
            for what, (value, basis) in computed(measured).items()
        ],
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"  # noqa: PLR2004 - three digits
