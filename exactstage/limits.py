"""The limits of the engine: everything that could grow has one (docs/design.md 4.6)."""

from dataclasses import dataclass

RING = 64
"""Checkpoints that compaction can't remove: a checkpoint's key is its number modulo this."""

MAX_COMMITS_AHEAD = RING - 2
"""Commits journalled but not published: each of them must still be in the ring after a crash."""

SOURCE_ROTATION_CHECKPOINTS = RING - 2
"""Any this many consecutive checkpoints together contain every source position."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds. The defaults fit Kafka's own (1 MiB batches)."""

    commit_bytes: int = 512 * 1024
    """A commit is sealed when its rows and outputs reach this."""

    row_bytes: int = 256 * 1024
    """A stored row may not be larger; a decision that makes one is an internal error."""

    batch_bytes: int = 768 * 1024
    """Outputs for one partition are split into batches of at most this."""

    forward_bytes: int = 256 * 1024
    """A larger record on a wrong partition is dead-lettered instead of forwarded; only its answer
    comes from the right one."""

    dead_letter_bytes: int = 1024 * 1024
    """A larger value is truncated in the dead letter; a header gives its full size."""

    inflated_bytes: int = 16 * 1024 * 1024
    """A batch that is larger without its compression is dead-lettered whole, undecoded, and its
    commands are refused one by one."""

    heads_bytes: int = 256 * 1024 * 1024
    """How far such a batch is inflated, piece by piece, to find its records; those behind that get
    no answer."""

    heads_records: int = 1_000_000
    """Records of such a batch that are answered."""

    head_bytes: int = 64 * 1024
    """A larger key or value of such a record is not looked at."""

    fetch_records: int = 100_000
    """Records that are decoded at once; the others wait as they were fetched."""

    local_queue_bytes: int = 4 * 1024 * 1024
    """Messages queued in memory for one partition; beyond it they go through the log instead."""

    deliveries: int = 2
    """Fetches that a stage has in flight; the reader waits for it."""

    publish_queue: int = 4
    """Rounds journalled but not yet taken up by the publisher."""

    loop_iterations_before_seal: int = 8
    """Iterations of the event loop for which a seal waits for messages just delivered locally."""

    piggyback_min_outputs: int = 64
    """Fewest outputs of a round that are piggybacked on the next journal append, when appends are
    slow."""

    slow_append_seconds: float = 0.005
    """Appends at least this slow are taken to wait for a disk: they turn piggybacking on."""

    yield_every: int = 200
    """Records handled before the event loop runs."""

    expiry_rows: int = 250
    """Rows that a timer changes before the event loop runs."""

    stall_seconds: float = 5.0
    """What stands still for so long is logged, and the worker is not ready."""

    idle_seconds: float = 1.0
    """A journal that is idle this long writes its ``published`` once more."""

    rest_seconds: float = 75.0
    """A journal that has not moved for this long gets one more checkpoint, which closes its segment
    where ``segment.ms`` is less; then after twice as long, and so on."""

    time_seconds: float = 60.0
    """How old the last answer with the brokers' time may become."""

    configs_seconds: float = 300.0
    """How often a running worker looks at the configurations of its topics; nothing that deletes or
    compacts does so within minutes of a change, unless the times were shortened too."""

    tick_seconds: float = 0.5
    """How often timers run."""

    concurrent_claims: int = 16
    """Partitions that are claimed at the same time."""
