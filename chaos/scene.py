"""The scene: brokers, proxy and fleet as the faults find them."""

import asyncio
import random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from chaos.fleet import Fleet
from chaos.proxy import Proxy
from dev.local_broker import LocalBroker
from payments.settings import Settings

ASK_SECONDS = 5.0
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

    def __post_init__(self) -> None:
        """Connect."""
        self._client = AdminClient({"bootstrap.servers": self.settings.brokers, "log_level": 0})

    async def leader(self) -> LocalBroker:
        """Return the node that leads a partition of the results, chosen at random."""
        topic = self.settings.topic("payments.results")
        partition = self.chance.randrange(self.settings.partitions)
        metadata = await asyncio.to_thread(self._client.list_topics, topic, ASK_SECONDS)
        return self.nodes[metadata.topics[topic].partitions[partition].leader]

    async def coordinator(self) -> LocalBroker:
        """Return the node that coordinates the consumer group."""
        group = self.settings.app_id
        asked = self._client.describe_consumer_groups([group], request_timeout=ASK_SECONDS)[group]
        described = await asyncio.to_thread(asked.result)
        return self.nodes[described.coordinator.id]

    async def members(self) -> int | None:
        """Return how many members the group has; None while it is not at rest, or nobody says."""
        group = self.settings.app_id
        asked = self._client.describe_consumer_groups([group], request_timeout=ASK_SECONDS)[group]
        try:
            described = await asyncio.to_thread(asked.result)
        except KafkaException:
            return None
        return len(described.members) if described.state.name == "STABLE" else None

    async def rebalance_began(self, limit_seconds: float) -> bool:
        """Wait until members join or sync; tell whether it was seen within the limit."""
        group = self.settings.app_id
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_seconds):
                while True:
                    asked = self._client.describe_consumer_groups(
                        [group], request_timeout=ASK_SECONDS
                    )
                    with suppress(KafkaException):
                        described = await asyncio.to_thread(asked[group].result)
                        if "REBALANCING" in described.state.name:
                            return True
                    await asyncio.sleep(0.005)
        return False


async def kill(broker: LocalBroker) -> None:
    """Kill a broker."""
    await asyncio.to_thread(broker.kill)


async def start(broker: LocalBroker) -> None:
    """Start a broker and wait until it answers; under load that takes longer than at rest."""
    broker.start_limit_seconds = START_LIMIT_SECONDS
    await asyncio.to_thread(broker.start)
