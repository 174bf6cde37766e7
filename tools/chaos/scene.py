"""The scene: brokers, proxy and fleet as the faults find them."""

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from payments.settings import Settings
from tools.chaos.errors import ChaosError
from tools.chaos.fleet import Fleet
from tools.chaos.proxy import Proxy
from tools.chaos.storm import Storm
from tools.dev.local_broker import LocalBroker

ASK_SECONDS = 5.0
BETWEEN_SECONDS = 0.01
START_LIMIT_SECONDS = 180.0
NODE_LIMIT_SECONDS = 30.0


@dataclass
class Scene:
    """What a fault may touch. ``chance`` is seeded, so that a run's faults can be told again."""

    settings: Settings
    fleet: Fleet
    nodes: Mapping[int, LocalBroker] = field(default_factory=dict)
    chance: random.Random = field(default_factory=random.Random)
    proxy: Proxy | None = None
    """Between the first seat's worker and the broker, where the stand has one."""

    load: Storm | None = None
    """The storm of commands, where there is one."""

    @property
    def storm(self) -> Storm:
        """The storm. Raises ``ChaosError`` when there is none."""
        if self.load is None:
            raise ChaosError("there is no storm here")
        return self.load

    def admin(self) -> AdminClient:
        """Return a new client of the cluster.

        One that has seen its broker die does not find the coordinator again (librdkafka): its
        questions after that only time out.
        """
        return AdminClient({"bootstrap.servers": self.settings.brokers, "log_level": 0})

    async def leader(self) -> LocalBroker:
        """Return the node that leads a partition of the results, chosen at random."""
        topic = self.settings.topics.results
        partition = self.chance.randrange(self.settings.partitions)

        def ask() -> int:
            metadata = self.admin().list_topics(topic, ASK_SECONDS)
            leader: int = metadata.topics[topic].partitions[partition].leader
            return leader

        return await self._node(ask)

    async def coordinator(self) -> LocalBroker:
        """Return the node that coordinates the consumer group."""

        def ask() -> int:
            coordinator: int = self._describe().coordinator.id
            return coordinator

        return await self._node(ask)

    async def _node(self, ask: Callable[[], int]) -> LocalBroker:
        """Ask which node it is until one is named. Raises ``ChaosError`` when none is for long."""
        deadline = time.monotonic() + NODE_LIMIT_SECONDS
        while True:
            try:
                return self.nodes[await asyncio.to_thread(ask)]
            except (KafkaException, TimeoutError, KeyError) as error:  # -1 is none, for now
                if time.monotonic() > deadline:
                    message = f"no node is named within {NODE_LIMIT_SECONDS:.0f} s: {error!r}"
                    raise ChaosError(message) from error
            await asyncio.sleep(BETWEEN_SECONDS)

    async def group(self) -> str:
        """Return how the consumer group is: ``stable with 3``, say, or why that is not known."""
        try:
            described = await asyncio.to_thread(self._describe)
        except (KafkaException, TimeoutError) as error:
            return repr(error)
        return f"{described.state.name.lower()} with {len(described.members)}"

    async def rebalance_began(self, limit_seconds: float) -> bool:
        """Wait until members join or sync; tell whether it was seen within the limit."""
        deadline = time.monotonic() + limit_seconds
        while time.monotonic() < deadline:
            if "rebalancing" in await self.group():
                return True
            await asyncio.sleep(BETWEEN_SECONDS)
        return False

    def _describe(self) -> Any:
        # The client must live until it has answered.
        client, group = self.admin(), self.settings.app_id
        asked = client.describe_consumer_groups([group], request_timeout=ASK_SECONDS)[group]
        return asked.result(2 * ASK_SECONDS)


async def kill(broker: LocalBroker) -> None:
    """Kill a broker."""
    await asyncio.to_thread(broker.kill)


async def start(broker: LocalBroker) -> None:
    """Start a broker and wait until it answers; under load that takes longer than at rest."""
    broker.start_limit_seconds = START_LIMIT_SECONDS
    await asyncio.to_thread(broker.start)
