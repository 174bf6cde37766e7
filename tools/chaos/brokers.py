"""The brokers of a stand: one, with a second listener behind the proxy, or a cluster of three."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tools.chaos.proxy import Proxy
from tools.dev.broker import kafka_version
from tools.dev.local_broker import KAFKA_FOLDER, LocalBroker
from tools.dev.local_cluster import LocalCluster
from tools.dev.ports import free_ports
from tools.dev.server_properties import Proxied

# Transactions whose producer is gone are looked for every second instead of every ten.
EXTRA = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000"}
HEAP = "512m"
CLUSTER_HEAP = "384m"


@dataclass(frozen=True, slots=True)
class Brokers:
    """Running brokers by their node number, and the proxy, which is not started yet."""

    bootstrap: str
    nodes: Mapping[int, LocalBroker]
    replication: int
    proxy: Proxy | None = None
    ours: bool = True
    """Whether they end with the run: then nothing on them needs to be removed."""


@contextmanager
def single_broker() -> Iterator[Brokers]:
    """Start one broker that ends with the block."""
    with _folder() as folder:
        behind, in_front = free_ports(2)
        broker = LocalBroker(
            version=kafka_version(),
            folder=folder,
            proxied=Proxied(port=behind, proxy_port=in_front),
            heap=HEAP,
            extra=EXTRA,
        )
        try:
            broker.start()
            proxy = Proxy(port=in_front, target_port=behind)
            yield Brokers(broker.bootstrap, {1: broker}, replication=1, proxy=proxy)
        finally:
            broker.stop()


@contextmanager
def three_brokers() -> Iterator[Brokers]:
    """Start three brokers that end with the block; each record is on all of them."""
    with _folder() as folder:
        cluster = LocalCluster(version=kafka_version(), folder=folder, heap=CLUSTER_HEAP)
        try:
            cluster.start()
            yield Brokers(cluster.bootstrap, cluster.nodes, replication=len(cluster.nodes))
        finally:
            cluster.stop()


@contextmanager
def _folder() -> Iterator[Path]:
    KAFKA_FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=KAFKA_FOLDER) as folder:
        yield Path(folder)
