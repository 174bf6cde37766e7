"""The transport on a broker: the engine's connections, Produce and Fetch, without retries.

It uses the engine's classes instead of aiokafka's producer and consumer because they survive a
broker's restart (see ``Connection.refresh``) and take a fraction of the CPU time.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from aiokafka import errors

from exactstage import TopicPartition
from exactstage.errors import FailStop, PositionLost
from exactstage.kafka import (
    RETRIABLE,
    AppendFailure,
    Chunk,
    Connection,
    KafkaLog,
    KafkaReader,
    Needed,
    Right,
    Trouble,
    append_once,
    denied,
    encode_batch,
    fetch_once,
    require_same_cluster,
    troubles_in_words,
)
from exactstage.log import Batch, Bounds, Cluster, Writer
from payments.client.transport import CommandRecord, Unavailable


class KafkaTransport:
    """See ``Transport``. ``arguments`` are those of every aiokafka client (SASL, TLS, ...)."""

    def __init__(
        self,
        arguments: Mapping[str, Any],
        *,
        delivery_timeout_seconds: float,
        stall_seconds: float = 5.0,
        rights: Needed | None = None,
    ) -> None:
        """Take the rights without which ``open`` raises ``NotAuthorized``."""
        self._arguments = arguments
        self._rights = rights
        self._stall_seconds = stall_seconds
        self._delivery_timeout_seconds = delivery_timeout_seconds
        self._log: KafkaLog | None = None
        self._connecting: Connection | None = None
        self._cluster_id: str | None = None
        """The cluster of the first connection, and so of all later ones."""
        self._reader: KafkaReader | None = None

    @property
    def _opened(self) -> KafkaLog:
        if self._log is None:
            message = "there is no connection to Kafka"
            raise Unavailable(message)
        return self._log

    @property
    def _connection(self) -> Connection:
        return self._opened.connection

    async def open(self, topics: Sequence[str]) -> None:
        """Connect again, from the addresses in the settings.

        Raises ``FailStop`` when they lead to another cluster than before: positions and batches in
        doubt are not valid there.
        """
        await self.close()
        log = KafkaLog(
            self._arguments,
            delivery_timeout_seconds=self._delivery_timeout_seconds,
            rights=self._rights,
        )
        self._connecting = log.connection
        try:
            await log.start(topics)
            found, where = log.connection.client.cluster_id, self._arguments["bootstrap_servers"]
            require_same_cluster(self._cluster_id, found, where)
        except BaseException:
            await log.close()
            raise
        self._log, self._cluster_id = log, found

    async def add_topics(self, topics: Sequence[str]) -> None:
        """Learn the leaders of topics that are read only on request."""
        await self._opened.add_topics(topics)

    async def close(self) -> None:
        """Close all connections except the reader's, which has its own ``close``."""
        log, self._log, self._reader = self._log, None, None
        if log is not None:
            await log.close()

    @property
    def failure(self) -> Exception | None:
        """Why the last attempt to connect failed, while it is retried."""
        return None if self._connecting is None else self._connecting.failure

    @property
    def trouble(self) -> str | None:
        """Why results can't be read now: a partition stands still, or no broker answers."""
        if self._reader is None:
            return "there is no connection to Kafka"
        answered, now = self._reader.is_answered, asyncio.get_running_loop().time()
        lasting = [
            trouble
            for trouble in self._reader.troubles()
            if not answered or now - trouble.since >= self._stall_seconds
        ]
        return "; ".join(troubles_in_words(lasting)) or None

    def standing(self) -> Sequence[Trouble]:
        """Return the partitions of the results that stand still, even if only for a moment."""
        found = self._reader.troubles() if self._reader is not None else []
        return [trouble for trouble in found if trouble.partition]

    def partition_count(self, topic: str) -> int:
        """Return a topic's number of partitions. Raises ``FailStop`` when it does not exist."""
        return self._opened.partition_count(topic)

    def leader(self, at: TopicPartition) -> int | None:
        """Return the leader of a partition; None while it has none."""
        return None if self._log is None else self._connection.leader(at)

    def request_refresh(self) -> None:
        """Ask for the leaders again, without waiting for the answer."""
        if self._log is not None:
            self._connection.request_refresh()

    async def new_writer(self) -> Writer:
        """Return a plain idempotent writer."""
        return await self._opened.new_writer()

    def seal(self, at: TopicPartition, writer: Writer, commands: Sequence[CommandRecord]) -> bytes:
        """Return the batch in Kafka's format, with the writer's next sequence number."""
        return encode_batch(Batch(at, writer, commands))

    async def append(
        self, node: int, batches: Mapping[TopicPartition, bytes]
    ) -> Mapping[TopicPartition, AppendFailure]:
        """Send one produce request to ``node``."""
        return await append_once(self._connection, node, batches)

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Return the first offset and the end of each partition."""
        return await self._opened.bounds(at)

    async def ends(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, int]:
        """Return the end of each partition."""
        return await self._opened.ends(at)

    async def describe(self, topics: Sequence[str]) -> Cluster:
        """Return the ids of the cluster and of these topics."""
        return await self._opened.describe(topics)

    async def open_reader(self) -> KafkaReader:
        """Return a reader of committed records, with connections of its own."""
        self._reader = await self._opened.open_reader(committed_only=True)
        return self._reader

    async def read(
        self, at: TopicPartition, offset: int, *, max_bytes: int, headers: bool = True
    ) -> Chunk:
        """Send one fetch request that does not wait."""
        connection = self._connection
        node = connection.leader(at)
        if node is None:
            self.request_refresh()
            message = f"{at} has no leader"
            raise Unavailable(message)
        try:
            return await fetch_once(
                connection, node, at, offset, max_bytes=max_bytes, headers=headers
            )
        except RETRIABLE as error:
            self.request_refresh()
            message = f"reading {at.address(offset)}: {error!r}"
            raise Unavailable(message) from error
        except errors.OffsetOutOfRangeError as error:
            message = f"{at.address(offset)} is not in the log any more"
            raise PositionLost(message) from error
        except errors.KafkaError as error:
            message = f"reading {at.address(offset)} was refused: {type(error).__name__}"
            refused = denied(error, self._arguments, at.topic, Right.READ)
            raise (refused or FailStop(message)) from error
