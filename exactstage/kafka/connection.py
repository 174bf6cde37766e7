"""Connections to the brokers: metadata, leaders, coordinators, and the policy of retries."""

import asyncio
import itertools
import logging
import random
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from aiokafka import errors
from aiokafka.client import ConnectionGroup, CoordinationType

from exactstage.advice import setting
from exactstage.backoff import backoff_seconds
from exactstage.errors import FailStop, Fenced
from exactstage.log import Channel, TopicPartition
from exactstage.outage import OUTAGE
from exactstage.pauses import PAUSES
from exactstage.troubles import Trouble

from .diagnosis import diagnosis
from .hints import Hints, error_in_words
from .metadata import NonCreatingClient, metadata_request
from .throttling import Throttling

logger = logging.getLogger(__name__)


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
"""Errors after which the same request may succeed; all others end the process.

Coordinator errors have their consumer-group names in aiokafka: the codes 14 to 16 are the same.
"""

FENCED: tuple[type[Exception], ...] = (errors.InvalidProducerEpoch, errors.ProducerFenced)

_PRODUCER_FENCED_CODE = 90
"""PRODUCER_FENCED of KIP-588, which aiokafka 0.14 does not know."""


class OtherTopicId(errors.UnknownTopicOrPartitionError):  # type: ignore[misc] # aiokafka has no types
    """The leader knows no topic with this id: it was deleted, and maybe recreated (KIP-516).

    Or the leader does not know it yet; so the topic's id decides whether to try again.
    """


_FURTHER_RETRIABLE_CODES = {
    74: errors.NotLeaderForPartitionError,  # FENCED_LEADER_EPOCH
    75: errors.NotLeaderForPartitionError,  # UNKNOWN_LEADER_EPOCH
    100: OtherTopicId,  # UNKNOWN_TOPIC_ID
    103: OtherTopicId,  # INCONSISTENT_TOPIC_ID
    120: errors.ConcurrentTransactions,  # TRANSACTION_ABORTABLE
}
"""Errors that aiokafka 0.14 does not know."""


def error_for(code: int) -> type[errors.KafkaError] | None:
    """Return the error class of a response's code; None for success."""
    if code == 0:
        return None
    if code == _PRODUCER_FENCED_CODE:
        found: type[errors.KafkaError] = errors.ProducerFenced
    else:
        found = _FURTHER_RETRIABLE_CODES.get(code) or errors.for_code(code)
    return found


class RetryPolicy:
    """Back-off between attempts, and a deadline, for one operation."""

    def __init__(self, doing: str, limit_seconds: float, hints: Hints | None = None) -> None:
        self._doing = doing
        self._limit_seconds = limit_seconds
        self._hints = hints or {}
        self._started = asyncio.get_running_loop().time()
        self._tries = 0

    @property
    def trouble(self) -> Trouble:
        """The operation that is retried, as the reason why the worker is not ready."""
        return Trouble("no success yet", self._doing, self._started)

    @property
    def _waited(self) -> float:
        """Seconds since the first attempt, without time in which the process did not run."""
        now = asyncio.get_running_loop().time()
        return now - self._started - PAUSES.within(self._started)

    async def after(self, error: BaseException) -> None:
        """Pause before the next attempt. Raises ``FailStop`` after the deadline."""
        if self._waited > self._limit_seconds:
            await asyncio.sleep(0.01)  # Lets the watch record a pause of the process first.
        self.require(error)
        await asyncio.sleep(backoff_seconds(self._tries))
        self._tries += 1

    def require(self, error: BaseException) -> None:
        """Raise ``FailStop`` after the deadline; before it, log the failure at intervals."""
        waited = self._waited
        hint = self._hints.get(type(error))
        why = error_in_words(error) + (f" ({hint})" if hint else "")
        if waited > self._limit_seconds:
            message = (
                f"{self._doing}: no success after {waited:.0f} s: {why}; look at the brokers: "
                f"nothing is lost, and this process may be started again any time"
            )
            raise FailStop(message) from error
        OUTAGE.failed(self._doing, why, waited, self._limit_seconds)


class Connection:
    """One client for all requests of the engine except fetches."""

    def __init__(self, arguments: Mapping[str, Any], *, delivery_timeout_seconds: float) -> None:
        self.arguments = arguments
        self.delivery_timeout_seconds = delivery_timeout_seconds
        self.request_timeout_ms: int = arguments.get("request_timeout_ms", 20_000)
        self.failure: errors.KafkaConnectionError | None = None
        """Why the last attempt to connect failed; None before it, and once connected."""
        self.throttling = Throttling()
        self.leaders_version = 0
        """Changes with every answer that names leaders."""
        self._heard: Any = None
        """The metadata whose changes are heard of."""
        self._client: NonCreatingClient | None = None
        self._topics: list[str] = []
        self._refreshing: asyncio.Task[bool] | None = None
        self._sent_at: dict[int, float] = {}
        """Send time of each request in flight, by its number; the oldest comes first."""
        self._requests = itertools.count()

    @property
    def client(self) -> NonCreatingClient:
        """The client; ``start`` creates it."""
        assert self._client is not None, "start() comes first"
        return self._client

    async def start(self, topics: Sequence[str]) -> None:
        """Connect and learn the leaders of ``topics``. Raises ``FailStop`` when that fails."""
        servers = self.arguments["bootstrap_servers"]
        retry = RetryPolicy(
            f"connecting to Kafka at {servers} ({setting('BROKERS')})",
            self.delivery_timeout_seconds,
        )
        while True:
            self._client = NonCreatingClient(**self.arguments, metadata_max_age_ms=60_000)
            try:
                await self._client.bootstrap()
                self._hear(self._client.cluster)
                # Not awaited: its answer would come from aiokafka's task, see ``refresh``.
                self._client.set_topics(topics)
                self._topics = list(topics)
                await self._require_metadata()
            except RETRIABLE:
                await self.close()
                self.failure = errors.KafkaConnectionError(await self._diagnosis())
                await retry.after(self.failure)
            except BaseException:
                await self.close()
                raise
            else:
                self.failure = None
                return

    def separate(self) -> "Connection":
        """Return a second connection to the same cluster, for requests that a broker holds.

        It needs no request to start: both use, and refresh, the same metadata.
        """
        made = Connection(self.arguments, delivery_timeout_seconds=self.delivery_timeout_seconds)
        client = made._client = NonCreatingClient(**self.arguments)
        client.cluster, client.cluster_id = self.client.cluster, self.client.cluster_id
        made._hear(client.cluster)
        made._topics = self._topics
        return made

    async def add_topics(self, topics: Sequence[str]) -> None:
        """Learn the leaders of further topics; requests to these topics meet their errors."""
        new = [topic for topic in topics if topic not in self._topics]
        if new:
            self._topics += new
            self.client.set_topics(self._topics)
            await self.refresh()

    async def _require_metadata(self) -> None:
        """Learn the leaders; without an answer, all topics would seem to be missing."""
        if not await self.refresh():
            raise errors.NodeNotReadyError

    async def _diagnosis(self) -> str:
        """Return why there is no connection. Raises ``Refusal`` when a retry can't help."""
        hosts = [(host, port) for host, port, _ in self.client.hosts]
        return await diagnosis(hosts, self.arguments)

    async def close(self) -> None:
        """Close all connections."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        if self._client is not None:
            if self._heard is not None:
                self._heard.remove_listener(self._note_leaders)
                self._heard = None
            # aiokafka waits for its own metadata task first, which may have died in a broker's
            # restart (see ``refresh``); its error would leave the connections open.
            task = self._client._sync_task  # noqa: SLF001 - aiokafka shows it nowhere else
            if task is not None and task.done() and not task.cancelled():
                logger.debug("the metadata task of aiokafka had ended: %r", task.exception())
                self._client._sync_task = None  # noqa: SLF001 - see above
            await self._client.close()

    def _hear(self, cluster: Any) -> None:
        self._heard = cluster
        cluster.add_listener(self._note_leaders)

    def _note_leaders(self, _: object) -> None:
        self.leaders_version += 1

    def leader(self, at: TopicPartition) -> int | None:
        """Return the leader of a partition; None while it has none."""
        node: int | None = self.client.cluster.leader_for_partition(at)
        return None if node is None or node < 0 else node

    async def refresh(self) -> bool:
        """Ask for the leaders again, one broker after the other; return whether one answered.

        aiokafka has a task for this, but waiting for it is not safe: after a broker's restart that
        task was seen to have died, and a caller that waited for its next answer never returned.
        When no broker answers, the metadata stays as it is; the caller's retry policy has a
        deadline.
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

    async def send(self, node: int, request: Any, channel: Channel = Channel.JOURNAL) -> Any:
        """Send one request to one node on the channel's connection; return the response."""
        group = (
            ConnectionGroup.DEFAULT if channel is Channel.JOURNAL else ConnectionGroup.COORDINATION
        )
        response = await self._sent(self.client.send(node, request, group=group))
        if throttle_ms := getattr(request, "throttle_ms", 0):
            self.throttling.note(throttle_ms)
        return response

    def oldest_request(self) -> float | None:
        """Return the send time of the oldest request in flight, in the event loop's time."""
        return next(iter(self._sent_at.values()), None)

    async def _sent(self, request: Awaitable[Any]) -> Any:
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
        # The coordinator may be a node that is not in the metadata yet.
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
