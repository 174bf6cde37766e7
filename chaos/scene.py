"""The scene: brokers, proxy and fleet as the faults find them."""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from chaos.fleet import Fleet
from chaos.proxy import Proxy
from dev.local_broker import LocalBroker
from payments.settings import Settings

ASK_SECONDS = 5.0
BETWEEN_SECONDS = 0.01
START_LIMIT_SECONDS = 180.0


@dataclass
class Scene:
    """What a fault may touch. ``chance`` is seeded, so that a run's faults can be told again."""

    settings: Settings
    fleet: Fleet
    nodes: Mapping[int, LocalBroker] = field(default_factory=dict)
    chance: random.Random = field(default_factory=random.Random)
    proxy: Proxy | None = None
    """Between the first seat's worker and the broker, where the stand has one."""

    def admin(self) -> AdminClient:
        """Return a new client of the cluster.

        One that has seen its broker die does not find the coordinator again (librdkafka): its
        questions after that only time out.
        """
        return AdminClient({"bootstrap.servers": self.settings.brokers, "log_level": 0})

    async def leader(self) -> LocalBroker:
        """Return the node that leads a partition of the results, chosen at random."""
        topic = self.settings.topic("payments.results")
        partition = self.chance.randrange(self.settings.partitions)
        metadata = await asyncio.to_thread(self.admin().list_topics, topic, ASK_SECONDS)
        return self.nodes[metadata.topics[topic].partitions[partition].leader]

    async def coordinator(self) -> LocalBroker:
        """Return the node that coordinates the consumer group."""
        return self.nodes[(await self._described()).coordinator.id]

    async def group(self) -> str:
        """Return how the consumer group is: ``stable with 3``, say, or why that is not known."""
        try:
            described = await self._described()
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

    async def _described(self) -> Any:  # noqa: ANN401 - confluent-kafka does not export its type
        return await asyncio.to_thread(self._describe)

    def _describe(self) -> Any:  # noqa: ANN401 - see above
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
