"""A cluster of Kafka brokers on this machine: acknowledged records survive the loss of one node."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.dev import ports
from tools.dev.local_broker import LocalBroker
from tools.dev.server_properties import Quorum

NODES = 3
REPLICATED = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    # A node that was stopped hands its partitions over at once; one that was killed is noticed
    # when its session ends. Followers that lag leave the set of copies in sync after 10 s.
    "replica.lag.time.max.ms": "10000",
    "leader.imbalance.check.interval.seconds": "10",
    # Three Java processes on a few cores: a slow heartbeat is no dead broker yet.
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
}


class LocalCluster:
    """Three nodes, each broker and controller at once, on ports that stay for this object."""

    def __init__(self, *, version: str, folder: Path, heap: str | None = None) -> None:
        free = ports.free_ports(2 * NODES)
        numbers = range(1, NODES + 1)
        controllers = dict(zip(numbers, free[:NODES], strict=True))
        self.nodes = {
            number: LocalBroker(
                version=version,
                folder=folder / f"node-{number}",
                port=port,
                extra=REPLICATED,
                quorum=Quorum(number, controllers),
                heap=heap,
            )
            for number, port in zip(numbers, free[NODES:], strict=True)
        }

    @property
    def bootstrap(self) -> str:
        """The addresses for clients."""
        return ",".join(node.bootstrap for node in self.nodes.values())

    def start(self) -> None:
        """Start all nodes and wait until each answers: one alone has no quorum and waits."""
        _all_at_once(node.start for node in self.nodes.values())

    def stop(self) -> None:
        """End all nodes: at once too, since the last one could not hand over in order."""
        _all_at_once(node.stop for node in self.nodes.values())


def _all_at_once(actions: Iterable[Callable[[], object]]) -> None:
    with ThreadPoolExecutor(NODES) as pool:
        for done in [pool.submit(action) for action in actions]:
            done.result()
