"""Connections to the brokers: metadata, leaders, coordinators, and patience with their errors."""

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from aiokafka import errors
from aiokafka.client import ConnectionGroup, CoordinationType

from exactstage.errors import FailStop, Fenced
from exactstage.log import Channel, TopicPartition
from exactstage.outage import OUTAGE
from exactstage.pauses import PAUSES
from exactstage.troubles import Trouble

from .diagnosis import diagnosis
from .hints import Hints, in_words
from .metadata import NonCreatingClient, metadata_request
from .throttling import Throttling

logger = logging.getLogger(__name__)

_BACKOFF_SECONDS = (0.02, 0.05, 0.1, 0.2, 0.5)

RETRIABLE: tuple[type[Exception], ...] = (
    errors.CorruptRecordException,
    errors.UnknownTopicOrPartitionError,
    errors.LeaderNotAvailableError,
    errors.NotLeaderForPartitionError,
    errors.RequestTimedOutError,
    errors.BrokerNotAvailableError,
    errors.ReplicaNotAvailableError,
    errors.NotEnoughReplicasError,
    errors.NotEnoughReplicasAfterAppendError,
    errors.KafkaStorageError,
    errors.GroupLoadInProgressError,
    errors.GroupCoordinatorNotAvailableError,
    errors.NotCoordinatorForGroupError,
    errors.ConcurrentTransactions,
    errors.NodeNotReadyError,
    errors.StaleMetadata,
    errors.KafkaConnectionError,
    errors.CorrelationIdError,
    asyncio.TimeoutError,
    OSError,
)
"""Errors after which the same request may succeed; all else ends the process.

Coordinator errors have their consumer-group names in aiokafka: the codes 14 to 16 are the same.
"""

FENCED: tuple[type[Exception], ...] = (errors.InvalidProducerEpoch, errors.ProducerFenced)

_PRODUCER_FENCED_CODE = 90
"""PRODUCER_FENCED of KIP-588, which aiokafka 0.14 does not know."""

_KIP_890_RETRIABLE_CODES = {
    74: errors.NotLeaderForPartitionError,  # FENCED_LEADER_EPOCH
    75: errors.NotLeaderForPartitionError,  # UNKNOWN_LEADER_EPOCH
    120: errors.ConcurrentTransactions,  # TRANSACTION_ABORTABLE
}


def error_for(code: int) -> type[errors.KafkaError] | None:
    """Return the error of a response's code; None for success."""
    if code == 0:
        return None
    if code == _PRODUCER_FENCED_CODE:
        found: type[errors.KafkaError] = errors.ProducerFenced
    else:
        found = _KIP_890_RETRIABLE_CODES.get(code) or errors.for_code(code)
    return found


class RetryPolicy:
    """How long one thing is retried: pauses between tries, and an end."""

    def __init__(self, doing: str, limit_seconds: float, hints: Hints | None = None) -> None:
        self._doing = doing
        self._limit_seconds = limit_seconds
        self._hints = hints or {}
        self._started = asyncio.get_running_loop().time()
        self._tries = 0

    @property
    def trouble(self) -> Trouble:
        """What is retried, as what keeps the worker from being ready."""
        return Trouble("no success yet", self._doing, self._started)

    @property
    def _waited(self) -> float:
        """How many seconds it is retried; time in which the process did not run does not count."""
        now = asyncio.get_running_loop().time()
        return now - self._started - PAUSES.within(self._started)

    async def after(self, error: BaseException) -> None:
        """Pause before the next try. Raises ``FailStop`` when the limit is over."""
        if self._waited > self._limit_seconds:
            await asyncio.sleep(0.01)  # After a pause of the process, its watch ticks first.
        self.require(error)
        await asyncio.sleep(_BACKOFF_SECONDS[min(self._tries, len(_BACKOFF_SECONDS) - 1)])
        self._tries += 1

    def require(self, error: BaseException) -> None:
        """Raise ``FailStop`` when the limit is over; else say now and then that it fails."""
        waited = self._waited
        hint = self._hints.get(type(error))
        why = in_words(error) + (f" ({hint})" if hint else "")
        if waited > self._limit_seconds:
            message = (
                f"{self._doing}: no success after {waited:.0f} s: {why}; look at the brokers: "
                f"nothing is lost, and this process may be started again any time"
            )
            raise FailStop(message) from error
        OUTAGE.failed(self._doing, why, waited, self._limit_seconds)


class Connection:
    """One client for all that the engine writes, and asks, outside of reading."""

    def __init__(self, arguments: Mapping[str, Any], *, delivery_timeout_seconds: float) -> None:
        self.arguments = arguments
        self.delivery_timeout_seconds = delivery_timeout_seconds
        self.request_timeout_ms: int = arguments.get("request_timeout_ms", 20_000)
        self.failure: errors.KafkaConnectionError | None = None
        """Why the last try to connect failed; None before it, and once there is a connection."""
        self.throttling = Throttling()
        self._client: NonCreatingClient | None = None
        self._topics: list[str] = []
        self._refreshing: asyncio.Task[bool] | None = None
        self._sent_at: dict[int, float] = {}
        """When each request in flight was sent, by its number; the oldest is the first."""
        self._requests = itertools.count()

    @property
    def client(self) -> NonCreatingClient:
        """The client. It exists from ``start`` on."""
        assert self._client is not None, "start() comes first"
        return self._client

    async def start(self, topics: Sequence[str]) -> None:
        """Connect and learn the leaders of ``topics``. Raises ``FailStop`` when that can't be."""
        servers = self.arguments["bootstrap_servers"]
        patience = RetryPolicy(
            f"connecting to Kafka at {servers} (PAYMENTS_BROKERS)", self.delivery_timeout_seconds
        )
        while True:
            self._client = NonCreatingClient(**self.arguments, metadata_max_age_ms=60_000)
            try:
                await self._client.bootstrap()
                # Not awaited: its answer would come from the task that ``refresh`` does without.
                self._client.set_topics(topics)
                self._topics = list(topics)
                await self._require_metadata()
            except RETRIABLE:
                await self.close()
                self.failure = errors.KafkaConnectionError(await self._diagnosis())
                await patience.after(self.failure)
            except BaseException:
                await self.close()
                raise
            else:
                self.failure = None
                return

    def beside(self) -> "Connection":
        """Return connections of its own to the same cluster, for requests that a broker holds.

        It asks for nothing to begin: it goes by the same metadata, which both refresh.
        """
        made = Connection(self.arguments, delivery_timeout_seconds=self.delivery_timeout_seconds)
        client = made._client = NonCreatingClient(**self.arguments)
        client.cluster, client.cluster_id = self.client.cluster, self.client.cluster_id
        made._topics = self._topics
        return made

    async def add_topics(self, topics: Sequence[str]) -> None:
        """Learn the leaders of further topics too; their errors are for whoever asks them."""
        new = [topic for topic in topics if topic not in self._topics]
        if new:
            self._topics += new
            self.client.set_topics(self._topics)
            await self.refresh()

    async def _require_metadata(self) -> None:
        """Learn the leaders; without any, topics would look as if they were not there."""
        if not await self.refresh():
            raise errors.NodeNotReadyError

    async def _diagnosis(self) -> str:
        """Return why there is no connection. Raises ``Refusal`` where it will never be one."""
        hosts = [(host, port) for host, port, _ in self.client.hosts]
        return await diagnosis(hosts, self.arguments)

    async def close(self) -> None:
        """Close all connections."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        if self._client is not None:
            # aiokafka waits for its own task first. It may have died in a broker's restart, which
            # ``refresh`` does without; its error would leave the connections open.
            task = self._client._sync_task  # noqa: SLF001 - aiokafka shows it nowhere else
            if task is not None and task.done() and not task.cancelled():
                logger.debug("the metadata task of aiokafka had ended: %r", task.exception())
                self._client._sync_task = None  # noqa: SLF001 - see above
            await self._client.close()

    def leader(self, at: TopicPartition) -> int | None:
        """Return the node that leads a partition; None while there is none."""
        node: int | None = self.client.cluster.leader_for_partition(at)
        return None if node is None or node < 0 else node

    async def refresh(self) -> bool:
        """Ask for the leaders again, one broker after the other; return whether one answered.

        aiokafka has a task for this, but waiting for it is not safe: after a broker's restart that
        task was seen to have died, and who waited for its next answer waited for ever. When no
        broker answers, the metadata stays as it is; the caller's patience has an end.
        """
        client = self.client
        nodes = [broker.nodeId for broker in client.cluster.brokers()]
        random.shuffle(nodes)
        for node in nodes:
            try:
                response = await self._sent(client.send(node, metadata_request(self._topics)))
            except RETRIABLE as error:
                logger.debug("node %d gives no metadata: %r", node, error)
            else:
                client.cluster.update_metadata(response)
                return True
        return False

    def request_refresh(self) -> None:
        """Ask for the leaders again, without waiting for the answer."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self.refresh())

    async def send(self, node: int, request: Any, channel: Channel = Channel.JOURNAL) -> Any:  # noqa: ANN401 - aiokafka's structs have no types
        """Send one request to one node on the channel's connection; return the response."""
        group = (
            ConnectionGroup.DEFAULT if channel is Channel.JOURNAL else ConnectionGroup.COORDINATION
        )
        response = await self._sent(self.client.send(node, request, group=group))
        if throttle_ms := getattr(request, "throttle_ms", 0):
            self.throttling.heard(throttle_ms)
        return response

    def oldest_request(self) -> float | None:
        """Return when the oldest request in flight was sent, by the event loop's time."""
        return next(iter(self._sent_at.values()), None)

    async def _sent(self, request: Awaitable[Any]) -> Any:  # noqa: ANN401 - aiokafka's structs have no types
        """Return the response. A connection that has just closed is a retriable error.

        Over uvloop, writing to one raises ``RuntimeError``, which aiokafka lets through.
        """
        number = next(self._requests)
        self._sent_at[number] = asyncio.get_running_loop().time()
        try:
            return await request
        except RuntimeError as error:
            if "closed" not in str(error):
                raise
            raise errors.KafkaConnectionError(str(error)) from error
        finally:
            del self._sent_at[number]

    async def coordinator(self, transactional_id: str) -> int:
        """Return the node that coordinates a transactional id."""
        node: int = await self.client.coordinator_lookup(
            CoordinationType.TRANSACTION, transactional_id
        )
        # The coordinator may be a node that the metadata did not name yet.
        if self.client.cluster.broker_metadata(node) is None:
            await self.refresh()
        return node


def fenced(what: str, error: BaseException) -> Fenced:
    """Return the failure of a writer whose epoch is out of date."""
    message = (
        f"{what}: {type(error).__name__}. Another worker owns this partition now; this process "
        f"ends, and its supervisor may start it again"
    )
    return Fenced(message)
