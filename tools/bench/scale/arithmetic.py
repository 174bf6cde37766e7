"""From one measured row to 1, 10 and 100 worker cores: each number with what it rests on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from exactstage.limits import SOURCE_ROTATION_CHECKPOINTS
from tools.bench.scale.figures import ScaleFigures, senders_told

CORES = (1, 10, 100)
PARTITIONS_PER_CORE = 8
REPLICATION = 3
NETWORK_BYTES_PER_SECOND = 1.25e9
"""Of one broker: 10 Gbit/s."""

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity for each number of worker cores, and where it comes from."""

    what: str
    unit: str
    values: Sequence[float]
    basis: str


def lines(measured: ScaleFigures) -> list[Line]:
    """Return the table for a measurement whose CPU is known; raises ``ValueError`` else."""
    busy = measured.busy
    if busy.worker_us is None or busy.broker_us is None:
        message = "the CPU of worker and broker is not known here"
        raise ValueError(message)
    per_core = 1e6 / busy.worker_us
    broker_us, bytes_each = busy.broker_us, busy.bytes_each
    claim_each = measured.again.claim_seconds / measured.partitions
    entry, idle_each = measured.checkpoints.source_entry_bytes, measured.idle.total

    def line(what: str, unit: str, value: Callable[[int], float], basis: str) -> Line:
        return Line(what, unit, [value(cores) for cores in CORES], basis)

    return [
        line(
            "payments", "1/s", lambda n: n * per_core,
            f"measured: {busy.worker_us:,.0f} µs of a worker's CPU per payment; assumed: a "
            "worker has a core for itself and workers do not slow each other down",
        ),
        line(
            "partitions", "", lambda n: n * PARTITIONS_PER_CORE,
            f"assumed: {PARTITIONS_PER_CORE} for each worker, so that they can be shared evenly",
        ),
        line(
            "broker cores", "", lambda n: REPLICATION * n * per_core * broker_us / 1e6,
            f"measured: {broker_us:,.0f} µs of the broker's CPU per payment; assumed: each of "
            f"{REPLICATION} copies costs as much as the first",
        ),
        line(
            "records written", "MB/s", lambda n: REPLICATION * n * per_core * bytes_each / 1e6,
            f"measured: {bytes_each:,.0f} bytes per payment on the broker; assumed: "
            f"{REPLICATION} copies",
        ),
        line(
            "brokers, by their network", "",
            lambda n: 2 * REPLICATION * n * per_core * bytes_each / NETWORK_BYTES_PER_SECOND,
            "assumed: 10 Gbit/s each, every byte in once and out once",
        ),
        line(
            "disk for a day, before compaction", "TB",
            lambda n: REPLICATION * n * per_core * bytes_each * DAY_SECONDS / 1e12,
            "computed from the line of records written, at that rate all day",
        ),
        line(
            "produce requests", "1/s", lambda n: n * busy.requests.produce,
            f"measured: {busy.requests.produce:,.0f}/s of one busy worker, {measured.partitions} "
            "partitions; one broker; assumed: a worker talks to one broker at a time",
        ),
        line(
            "requests of idle workers", "1/s", lambda n: n * idle_each,
            f"measured: {idle_each:,.1f}/s of one idle worker; each further broker adds its own",
        ),
        line(
            "source positions in a checkpoint", "kB",
            lambda n: senders_told(n * PARTITIONS_PER_CORE) * entry / 1e3,
            f"measured: {entry:,.1f} bytes for each sender; a checkpoint tells one in "
            f"{SOURCE_ROTATION_CHECKPOINTS} of all senders, and those of its own commit's messages",
        ),
        line(
            "takeover of all partitions by one worker, without restore", "s",
            lambda n: n * PARTITIONS_PER_CORE * claim_each,
            f"measured: {1e3 * claim_each:,.1f} ms for each partition",
        ),
    ]  # fmt: skip
