"""The shape of a run's installation: subject, partitions, workers and limits, from its seed."""

from random import Random
from typing import NamedTuple

from exactstage.limits import Limits

from .subject import DrawSubject, Subject

REQUEST_TIMEOUT_SECONDS, DELIVERY_TIMEOUT_SECONDS = 20.0, 60.0


class Shape(NamedTuple):
    """What is installed in one run."""

    partitions: int
    nodes: int
    workers: int
    latency_seconds: float
    fetch_records: int
    subject: Subject
    renewal_seconds: float
    drain_timeout_seconds: float
    limits: Limits
    local_delivery: bool
    """Whether messages between stages of one worker take the short way."""


def draw_shape(random: Random, seconds: float, draw_subject: DrawSubject) -> Shape:
    """Return the installation of a run of so many seconds; some have tiny limits.

    What is done again and again is done less often in a long run, since it takes real time.
    """
    partitions = random.choice((1, 2, 3, 4))
    subject = draw_subject(random, partitions)
    renewal_seconds = max(random.choice((10.0, 3600.0)), seconds / 500)
    drain_timeout_seconds = random.choice((1.0, 8.0))
    limits = Limits(
        commit_bytes=random.choice((600, 4096, 512 * 1024)),
        batch_bytes=random.choice((700, 768 * 1024)),
        forward_bytes=random.choice((2048, 256 * 1024)),
        deliveries=random.choice((1, 2)),
        publish_queue=random.choice((1, 4)),
        piggyback_min_outputs=random.choice((1, 4, 64)),
        slow_append_seconds=random.choice((0.0, 0.01)),
        yield_every=random.choice((1, 7, 200)),
        expiry_rows=random.choice((1, 250)),
        tick_seconds=max(random.choice((0.2, 0.5, 2.0)), min(5.0, seconds / 3000)),
        concurrent_claims=random.choice((1, 16)),
    )
    return Shape(
        partitions=partitions,
        nodes=random.choice((1, 3)),
        workers=random.choice((1, 2, 3)),
        latency_seconds=random.choice((0.0003, 0.002, 0.02)),
        fetch_records=random.choice((1, 5, 500)),
        subject=subject,
        renewal_seconds=renewal_seconds,
        drain_timeout_seconds=drain_timeout_seconds,
        limits=limits,
        local_delivery=random.random() < 0.5,  # a coin
    )
