"""Metadata: topics and leaders, by requests that create no topic.

A broker with Kafka's default ``auto.create.topics.enable=true`` creates a topic that a client asks
for by name, with the broker's defaults: for example, a journal that deletes after a week. A request
of version 4 or later may forbid that (KIP-204); aiokafka's own requests do not.
"""

import logging
import random
import time
from collections.abc import Callable, Collection
from typing import Any
from weakref import WeakSet

from aiokafka import errors
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.metadata import MetadataRequest

from exactstage.advice import setting
from exactstage.errors import FailStop
from exactstage.outage import BETWEEN_SECONDS

logger = logging.getLogger(__name__)

_BOOTSTRAP = "bootstrap"
"""aiokafka's name for its first connection while it knows no broker."""


def metadata_request(topics: Collection[str] | None) -> MetadataRequest:
    """Return a request for these topics, or for all topics; it creates none."""
    return MetadataRequest(
        None if topics is None else list(topics), allow_auto_topic_creation=False
    )


def require_same_cluster(before: str | None, found: str | None, where: str) -> None:
    """Raise ``FailStop`` when a broker is of another cluster than the process began on."""
    if before is not None and found != before:
        message = (
            f"{where} is a broker of cluster {found} now, this process began on cluster {before}; "
            f"nothing was sent there. Check where {setting('BROKERS')} leads (names, forwarded "
            f"ports) "
            f"before the next start"
        )
        raise FailStop(message)


class Rarely(logging.Filter):
    """Passes one of aiokafka's lines about an absent broker in ten seconds.

    aiokafka logs several for each attempt, also in services that use the client library.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._said = -BETWEEN_SECONDS

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a line."""
        if not str(record.msg).startswith("Unable "):
            return True
        now = self._clock()
        if now - self._said < BETWEEN_SECONDS:
            return False
        self._said = now
        return True


_RARELY = Rarely()


class NonCreatingClient(AIOKafkaClient):  # type: ignore[misc] # aiokafka has no types
    """aiokafka's client with metadata requests that create no topics, for one cluster only."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        logging.getLogger("aiokafka").addFilter(_RARELY)
        self.cluster_id: str | None = None
        """The cluster of the first connection; None before it, and if brokers report none."""
        self._checked: WeakSet[AIOKafkaConnection] = WeakSet()

    async def _get_conn(
        self, node_id: int | str, *, group: int = ConnectionGroup.DEFAULT, no_hint: bool = False
    ) -> AIOKafkaConnection | None:
        """Return a connection to a node of the same cluster as before; None without one.

        Raises ``FailStop`` when an address leads to another cluster now (a host name of another
        broker, a forwarded port). Positions, producer epochs and the state in memory are not valid
        there, and its broker would accept appends.
        """
        connection = await super()._get_conn(node_id, group=group, no_hint=no_hint)
        if connection is None or connection in self._checked:
            return connection
        try:
            found = (await connection.send(metadata_request([]))).cluster_id
        except (TimeoutError, errors.KafkaError) as error:
            logger.debug("node %s does not report its cluster: %r", node_id, error)
            connection.close()
            return None
        try:
            require_same_cluster(self.cluster_id, found, f"{connection.host}:{connection.port}")
        except FailStop:
            connection.close()
            raise
        self.cluster_id = found
        self._checked.add(connection)
        return connection

    async def _metadata_update(self, cluster_metadata: Any, topics: Collection[str] | None) -> bool:
        """Ask one broker after the other; return whether one answered with brokers."""
        request = metadata_request(topics or None)
        nodes = [broker.nodeId for broker in self.cluster.brokers()]
        first_connection = (_BOOTSTRAP, ConnectionGroup.DEFAULT)
        if first_connection in self._conns:
            nodes.append(_BOOTSTRAP)
        random.shuffle(nodes)
        for node in nodes:
            connection = await self._get_conn(node)
            if connection is None:
                continue
            try:
                metadata = await connection.send(request)
            except (TimeoutError, errors.KafkaError) as error:
                logger.debug("node %s gives no metadata: %r", node, error)
                continue
            if not metadata.brokers:
                return False
            cluster_metadata.update_metadata(metadata)
            if first_connection in self._conns and self.cluster.brokers():
                self._conns.pop(first_connection).close()
            return True
        logger.debug("no broker gives metadata")  # The retry policy logs it at intervals.
        cluster_metadata.failed_update(None)
        return False
