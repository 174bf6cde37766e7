"""Faust's producer in an app of stages: it starts at the first send, and creates no topic.

The stages never use it; ``app.topic(...).send()`` and the sinks of agents do.
"""

from typing import Any

import aiokafka
from faust.transport.conductor import Conductor
from faust.transport.drivers import aiokafka as driver
from faust.types import TopicT

from exactstage.errors import FailStop, NoTopic
from exactstage.kafka.metadata import NonCreatingClient

from .host import host_of
from .unsupported import PAGE, require_channel


class StagesConductor(Conductor):
    """Refuses to register topics that would never get a record."""

    def add(self, topic: TopicT) -> None:
        """Register a topic. Raises ``FailStop`` for one that no agent of a stage reads."""
        host = host_of(self.app)
        # An agent reads a copy of its channel, which shares only the schema.
        if not any(topic.schema is known.schema for known in [*host.channels, *self._changelogs()]):
            require_channel("a stream", topic, ())
        super().add(topic)

    def _changelogs(self) -> list[TopicT]:
        """Return the topics of the stages' tables: Faust subscribes to them without reading."""
        return [table.changelog_topic for table in self.app.tables.values()]


class NonCreatingProducer(driver.Producer):
    """Faust's producer over the app's own connection; a topic that is missing is an error."""

    def _new_producer(self, transactional_id: str | None = None) -> aiokafka.AIOKafkaProducer:
        host = host_of(self.app)
        producer = aiokafka.AIOKafkaProducer(
            **host.connection,
            client_id=self.client_id,
            acks=self.acks,
            linger_ms=self.linger_ms,
            max_batch_size=self.max_batch_size,
            max_request_size=self.max_request_size,
            compression_type=self.compression_type,
            partitioner=self.partitioner,
            transactional_id=transactional_id,
        )
        client = NonCreatingClient(
            **host.connection, client_id=self.client_id, metadata_max_age_ms=60_000
        )
        # It has no parameter for a client, and its own would create a topic by requesting its
        # metadata (KIP-204).
        producer.client = client
        producer._sender.client = client  # noqa: SLF001 - it holds the other client
        return producer

    async def send(self, topic: str, *arguments: Any, **options: Any) -> Any:
        """Send a record. Raises ``NoTopic``, or ``FailStop`` for a topic that only stages write."""
        host = host_of(self.app)
        if topic in host.written:
            raise FailStop(f"{topic}: only the stages write there, through the journal; {PAGE}")
        client = self._ensure_producer().client
        if topic not in client.cluster.topics():
            # The last answer may be from before the topic was created, so it is requested again.
            client.add_topic(topic)
            await client.force_metadata_update()
            if not client.cluster.partitions_for_topic(topic):
                raise NoTopic(
                    f"there is no topic {topic}, and this app creates none by sending to it: "
                    f"create it first; {PAGE}"
                )
        return await super().send(topic, *arguments, **options)
