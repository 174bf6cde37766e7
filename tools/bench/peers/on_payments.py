"""Ours: broker, worker, and over HTTP the gateway, each a process."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import product
from pathlib import Path

from tools.bench.loading import Target
from tools.bench.ours import OURS, running_ours
from tools.bench.peers.peer_system import (
    FLUSH_EVERY_APPEND,
    FSYNC,
    HTTP,
    PAGE_CACHE,
    TOPICS,
    System,
)
from tools.dev.installations import own_broker


def systems() -> Iterator[System]:
    """Yield ours over both transports, in 8 and 2 partitions, without and with a flush."""
    for transport, partitions, flush in product((HTTP, TOPICS), (8, 2), (True, False)):
        yield System(
            f"{OURS}-{partitions}{'-flush' if flush else ''}",
            f"{OURS}, {partitions} partitions",
            OURS,
            transport,
            FSYNC if flush else PAGE_CACHE,
            partial(_running, transport, partitions, flush),
        )


@contextmanager
def _running(transport: str, partitions: int, flush: bool, folder: Path) -> Iterator[Target]:  # noqa: FBT001 - bound by partial
    with (
        own_broker(FLUSH_EVERY_APPEND if flush else None) as broker,
        running_ours(
            broker,
            folder,
            partitions=partitions,
            http=transport == HTTP,
            # Static membership, so that a killed worker need not wait for its own session to end.
            instance_id="worker-1",
        ) as target,
    ):
        yield target
