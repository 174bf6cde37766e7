"""The log on Kafka: connection, appender, claims and reader behind the engine's interface."""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from aiokafka.errors import NodeNotReadyError

from exactstage.backoff import backoff_seconds
from exactstage.clock import BrokerClock
from exactstage.errors import NotAuthorized, no_topic, usual_apply
from exactstage.limits import Limits
from exactstage.log import Bounds, Cluster, TopicPartition
from exactstage.troubles import Trouble

from .appender import Appender
from .claims import Claims
from .cluster import KNOWN_WITHIN_SECONDS, describe
from .configs import (
    losses,
    read_configs,
    read_retention,
    require,
    shortest_tombstone_seconds,
)
from .connection import Connection, RetryPolicy
from .epochs import epoch_ends
from .offsets import bounds, ends, offsets_since
from .open_transactions import OpenTransactions
from .reader import KafkaReader
from .rights import Needed, Right, require_rights, rights_refusal
from .same_topics import SameTopics


class KafkaLog:
    """See ``exactstage.log.Log``. ``arguments`` are those of every aiokafka client.

    ``start`` raises ``FailStop`` when one of the ``rights`` is missing. ``apply_command`` returns
    the command that creates or corrects the given topics. With ``keeps_topics``, a topic must keep
    the id that ``describe`` first returned for it; another id raises ``NotOurs``, and appends and
    fetches name the topic by that id where the broker knows such requests.
    """

    def __init__(
        self,
        arguments: Mapping[str, Any],
        *,
        delivery_timeout_seconds: float = 60.0,
        limits: Limits | None = None,
        rights: Needed | None = None,
        apply_command: Callable[[Iterable[str]], str] = usual_apply,
        keeps_topics: bool = False,
    ) -> None:
        self._arguments = arguments
        self._limits = limits or Limits()
        self._rights = rights
        self._further_topics: set[str] = set()
        self._apply_command = apply_command
        self.connection = Connection(arguments, delivery_timeout_seconds=delivery_timeout_seconds)
        self._claims = Claims(self.connection)
        self._open_transactions = OpenTransactions(self.connection)
        self.clock = BrokerClock()
        self._same_topics = SameTopics(self._describe)
        self._keeps_topics = keeps_topics
        self._appender = Appender(
            self.connection,
            self.clock,
            self.require_same_topics,
            topic_ids=self._same_topics.raw_ids,
        )
        self.append = self._appender.append
        self.appended_bytes = self._appender.appended_bytes
        self.claim = self._claims.claim
        self.renew = self._claims.renew
        self.new_writer = self._claims.new_writer

    async def start(self, topics: Sequence[str]) -> None:
        """Connect, and learn the leaders of ``topics``."""
        self._topics = topics
        if self._rights is None:
            await self.connection.start(topics)
        else:
            # Rights come first: aiokafka logs lines of its own about topics that a user may not
            # see.
            await self.connection.start([])
            await require_rights(self.connection, self._rights)
            await self.connection.add_topics(topics)
        await self._wait_for_topics()

    async def _wait_for_topics(self) -> None:
        """Ask again for a moment while topics are missing; ``partition_count`` refuses those.

        A broker may not know of a topic yet that was just created through another one, and without
        an answer all topics seem to be missing.
        """
        now = asyncio.get_running_loop().time
        retry = RetryPolicy("asking for topics", self.connection.delivery_timeout_seconds)
        known_by, tries = now() + KNOWN_WITHIN_SECONDS, 0
        unauthorized = self.connection.client.cluster.unauthorized_topics
        while set(self._missing()) - unauthorized and now() < known_by:
            await asyncio.sleep(backoff_seconds(tries))
            tries += 1
            if not await self.connection.refresh():
                await retry.after(NodeNotReadyError())
                known_by = now() + KNOWN_WITHIN_SECONDS

    async def add_topics(self, topics: Sequence[str]) -> None:
        """Learn the leaders of further topics, once for each topic.

        Raises ``NotAuthorized`` when this user may not read one.
        """
        new = [topic for topic in topics if topic not in self._further_topics]
        if new:
            await require_rights(self.connection, {topic: [Right.READ] for topic in new})
            await self.connection.add_topics(new)
            self._further_topics.update(new)

    async def close(self) -> None:
        """Close all connections."""
        await self.connection.close()

    def troubles(self) -> list[Trouble]:
        """Return what prevents appends and requests now, even if only for a moment."""
        found = self._appender.troubles()
        if (since := self.connection.oldest_request()) is not None:
            found.append(Trouble("Kafka does not answer", "an append or a request", since))
        servers = self._arguments.get("bootstrap_servers", "")
        found += self.connection.throttling.troubles(servers)
        return found + self._open_transactions.troubles(servers)

    async def check_open_transactions(self, at: Sequence[TopicPartition]) -> None:
        """Check for open transactions; ``troubles`` has those found until the next check."""
        await self._open_transactions.check(at)

    def partition_count(self, topic: str) -> int:
        """Return a topic's number of partitions. Raises ``NoTopic`` when it does not exist."""
        partitions = self.connection.client.cluster.partitions_for_topic(topic)
        if not partitions and topic in self.connection.client.cluster.unauthorized_topics:
            raise NotAuthorized(rights_refusal({topic: [Right.DESCRIBE]}, self._arguments))
        if not partitions:
            raise no_topic(dict.fromkeys([topic, *self._missing()]), self._apply_command)
        return len(partitions)

    def _missing(self) -> list[str]:
        cluster = self.connection.client.cluster
        return [topic for topic in self._topics if not cluster.partitions_for_topic(topic)]

    async def describe(self, topics: Sequence[str]) -> Cluster:
        """Return the ids of the cluster and of these topics. Raises ``FailStop`` without ids."""
        if self._keeps_topics:
            return await self._same_topics.describe(topics)
        return await self._describe(topics)

    async def _describe(self, topics: Sequence[str]) -> Cluster:
        return await describe(self.connection, topics, self._apply_command)

    async def require_same_topics(self) -> None:
        """Raise ``NotOurs`` when a described topic was deleted or recreated."""
        await self._same_topics.require()

    async def require_configs(self, *, inputs: Collection[str], journals: Collection[str]) -> float:
        """Check the topics' configurations; return for how many seconds a tombstone stays.

        Checks the rights again too: a right revoked since the start would otherwise be met only by
        the next owner.
        """
        if self._rights is not None:
            await require_rights(self.connection, self._rights)
        configs = await read_configs(self.connection, [*inputs, *journals])
        require(configs, inputs=inputs, journals=journals, apply_command=self._apply_command)
        return shortest_tombstone_seconds(configs, journals)

    async def losses(self, keeps: Mapping[str, float]) -> Sequence[str]:
        """Return a sentence for each topic that deletes records it has to keep."""
        return losses(await read_retention(self.connection, keeps), keeps, self._apply_command)

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Return the first offset and the end of each partition."""
        return await bounds(self.connection, at)

    async def ends(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the end of each partition."""
        return await ends(self.connection, at)

    async def epoch_ends(
        self, epochs: Mapping[TopicPartition, int]
    ) -> Mapping[TopicPartition, int]:
        """Return the offset where each of these leader epochs ends, if its leader knows it."""
        return await epoch_ends(self.connection, epochs)

    async def offsets_since(
        self, at: Sequence[TopicPartition], time_ms: int
    ) -> Mapping[TopicPartition, int]:
        """Return the offset of the first record at or after that time; else the end."""
        return await offsets_since(self.connection, at, time_ms)

    async def open_reader(
        self, *, committed_only: bool, closing: bytes | None = None
    ) -> KafkaReader:
        """Return a reader with connections of its own, since brokers hold fetches."""
        return KafkaReader(
            self.connection.separate(),
            committed_only=committed_only,
            limits=self._limits,
            closing=closing,
            require_same_topics=self.require_same_topics,
            topic_ids=self._same_topics.raw_ids,
        )
