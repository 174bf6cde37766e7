"""Group membership: Faust's consumer, which holds the assignment and reads nothing.

Its partitions are paused as soon as they are assigned. It must still be polled, or aiokafka leaves
the group, and its coordinator must be asked for errors, which Faust never does: a member whose
SyncGroup failed after a broker's restart would hang for ever without a line in the log. A dead
membership ends the process, unless it can be restarted.

Faust's tasks for a consumer that fetches (committing acknowledged offsets, reporting partitions
without fetches) are not started.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import aiokafka
from aiokafka import errors
from aiokafka.client import CoordinationType
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.transports import ConductorT, ConsumerT, ProducerT
from mode import Service

from exactstage.errors import FailStop, as_fail_stop
from exactstage.kafka.connection import RETRIABLE, RetryPolicy
from exactstage.kafka.hints import GROUP_COORDINATOR
from exactstage.kafka.metadata import NonCreatingClient

from .client_noise import install
from .host import Host, host_of
from .refusals import dead_membership, not_allowed_in_group
from .sending import NonCreatingProducer, StagesConductor
from .static_membership import require_own_instance

logger = logging.getLogger(__name__)

FAUST_LOGGER = logging.getLogger("faust")
"""Logger of Faust's services for start and stop, instead of one with this package's name."""

_EXPECTED_WARNINGS = (
    # A rebalance took as long as the session timeout. A drain may: it has its own limit, after
    # which the worker ends with a line.
    "Warning: Task timed out!",
    "Please make sure it's hanging before restart.",
    # A rebalance began before the last one was complete: only Faust's statistics, which are unused.
    "Missing sensor state for rebalance",
)


def _is_unexpected(record: logging.LogRecord) -> bool:
    """Return False for warnings that Faust logs in regular rebalances."""
    return not any(text in str(record.msg) for text in _EXPECTED_WARNINGS)


FAUST_LOGGER.addFilter(_is_unexpected)

_POLL_SECONDS = 0.5
_METADATA_AGE_MS = 60_000

_LEAVE_SECONDS = 3.0

_MAX_METADATA_DEATHS = 10
"""Maximum number of polls in a row that find the client's metadata task ended."""


class MembershipThread(driver.AIOKafkaConsumerThread):
    """Runs the consumer in Faust's second thread, where the engine can't delay heartbeats."""

    logger = FAUST_LOGGER
    _metadata_deaths = 0
    _without_coordinator: RetryPolicy | None = None

    @property
    def _host(self) -> Host:
        return host_of(self.app)

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:  # noqa: ARG002 - Faust's signature
        conf = self.app.conf
        self._assignor = self.app.assignor
        consumer = aiokafka.AIOKafkaConsumer(
            **self._host.connection,
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=int(conf.broker_session_timeout * 1000),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000),
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000),
            metadata_max_age_ms=_METADATA_AGE_MS,
        )
        # The consumer's own client would create a deleted topic by requesting its metadata.
        consumer._client = NonCreatingClient(  # noqa: SLF001 - it has no parameter for a client
            **self._host.connection,
            client_id=conf.broker_client_id,
            metadata_max_age_ms=_METADATA_AGE_MS,
        )
        return consumer

    async def on_start(self) -> None:
        """Connect and find the group's coordinator, or end the process after the deadline."""
        self.time_started = time.monotonic()  # Faust reads it.
        install(asyncio.get_running_loop())
        await self.wait(self._connect())

    async def _connect(self) -> None:
        try:
            retry = self._retry_policy(f"connecting to Kafka to join group {self._group}")
            while not await self._started_consumer(retry):
                pass
            await self._find_coordinator()
        except errors.GroupAuthorizationFailedError:
            self._host.fail_stop(not_allowed_in_group(self._group, self._host.connection))
        except Exception as error:  # noqa: BLE001 - after any error this worker can't be a member
            self._host.fail_stop(as_fail_stop(f"joining group {self._group}", error))

    async def _started_consumer(self, retry: RetryPolicy) -> bool:
        """Try once to start aiokafka's consumer."""
        consumer = self._consumer = self._create_consumer(loop=self.thread_loop)
        try:
            await consumer.start()
        except RETRIABLE as error:
            await consumer.stop()
            await retry.after(error)
            return False
        if consumer._group_instance_id is not None:  # noqa: SLF001 - the coordinator's id
            require_own_instance(consumer._coordinator)  # noqa: SLF001 - aiokafka does not check
        return True

    async def _find_coordinator(self) -> None:
        """Wait for the coordinator: aiokafka would ask ten times a second, without a limit."""
        retry = self._retry_policy(f"finding the coordinator of group {self._group}")
        client = self._ensure_consumer()._client  # noqa: SLF001 - as its coordinator does
        while True:
            try:
                await client.coordinator_lookup(CoordinationType.GROUP, self._group)
            except RETRIABLE as error:
                await retry.after(error)
                await client.force_metadata_update()
            else:
                return

    def _retry_policy(self, doing: str) -> RetryPolicy:
        return RetryPolicy(doing, self._host.delivery_timeout_seconds, GROUP_COORDINATOR)

    @property
    def _group(self) -> str:
        return str(self.app.conf.id)

    async def crash(self, exc: BaseException) -> None:
        """End the process with one line that has the cause, instead of Faust's tracebacks."""
        await self._host.crash(exc)

    def on_crash(self, msg: str, *fmt: Any, **_: Any) -> None:
        """Do nothing: ``crash`` logs the error, mode would print a traceback."""

    async def _keepalive2(self) -> None:
        """Start no second timer next to the thread's: it logs an error after each pause."""

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Prevent that aiokafka looks up positions, with a request for each, or fetches.

        This comes before any await, since aiokafka's fetcher starts at the first one.
        """
        consumer = self._ensure_consumer()
        partitions = consumer.assignment()
        consumer.pause(*partitions)
        for at in partitions:
            consumer.seek(at, 0)
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_thread_stop(self) -> None:
        """Leave the group, with a time limit: an absent broker must not delay the worker's end."""
        try:
            async with asyncio.timeout(_LEAVE_SECONDS):
                await super().on_thread_stop()
        except (TimeoutError, errors.KafkaError, OSError) as error:
            logger.info("the worker did not leave its group, which notices by itself: %r", error)

    async def poll(self) -> None:
        """Poll once, and raise the membership's errors."""
        await self.call_thread(self._poll)

    async def _poll(self) -> None:
        consumer = self._consumer
        if consumer is None or consumer._coordinator is None:  # noqa: SLF001 - it is not started yet
            return
        consumer._coordinator.check_errors()  # noqa: SLF001 - aiokafka shows these nowhere else
        self._require_coordinator(consumer._coordinator)  # noqa: SLF001 - aiokafka has no limit
        self._restart_metadata_task(consumer._client)  # noqa: SLF001 - aiokafka does not restart it
        with consumer._fetcher._subscriptions.fetch_context():  # noqa: SLF001 - this counts as a poll
            return

    def _require_coordinator(self, coordinator: Any) -> None:
        """Raise ``FailStop`` when the group has had no coordinator for too long."""
        if coordinator.coordinator_id is not None:
            self._without_coordinator = None
            return
        if self._without_coordinator is None:
            self._without_coordinator = self._retry_policy(f"membership in group {self._group}")
        self._without_coordinator.require(
            errors.NotCoordinatorForGroupError("no broker that coordinates the group answers")
        )

    def _restart_metadata_task(self, client: Any) -> None:
        """Start the client's metadata task again if it has ended.

        A broker's restart may end it: over uvloop, writing to a connection that has just closed
        raises ``RuntimeError``, which aiokafka does not expect. Callers that wait for the task's
        next answer would never return.
        """
        task = client._sync_task  # noqa: SLF001 - aiokafka does not check it
        if task is None or not task.done():
            self._metadata_deaths = 0
            return
        self._metadata_deaths += 1
        if self._metadata_deaths > _MAX_METADATA_DEATHS:
            message = f"its metadata task ends again and again: {task!r}"
            raise errors.KafkaError(message)
        # The error is retrieved and logged here, or asyncio would report it as never retrieved.
        cause = None if task.cancelled() else task.exception()
        logger.warning("the membership's metadata task has ended and is started again: %r", cause)
        client._sync_task = asyncio.create_task(client._md_synchronizer())  # noqa: SLF001 - as ``bootstrap`` does

    async def rejoin(self) -> None:
        """Join the group once more, so that it shares the partitions out again."""
        await self.call_thread(self._rejoin)

    async def _rejoin(self) -> None:
        coordinator: Any = self._ensure_consumer()._coordinator  # noqa: SLF001 - it has no other way
        coordinator.request_rejoin()

    async def commit_positions(self, positions: Mapping[TP, int]) -> None:
        """Commit positions to the group; see ``MembershipConsumer.commit_positions``."""
        await self.call_thread(self._commit_positions, positions)

    async def _commit_positions(self, positions: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        subscription = consumer._subscription.subscription  # noqa: SLF001 - see below
        assignment = None if subscription is None else subscription.assignment
        if assignment is None:
            return
        assigned = {(tp.topic, tp.partition) for tp in assignment.tps}
        topics, numbers = ({each[place] for each in assigned} for place in (0, 1))
        offsets = {
            aiokafka.TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, "")
            for tp, offset in positions.items()
            # An added input is not assigned: it goes with its partition (``Stage.added_inputs``).
            if (tp.topic, tp.partition) in assigned
            or (tp.topic not in topics and tp.partition in numbers)
        }
        if not offsets:
            return
        try:
            # The consumer itself commits only what is assigned; a broker takes any topic's.
            await consumer._coordinator.commit_offsets(assignment, offsets)  # noqa: SLF001
        except (errors.KafkaError, errors.IllegalStateError) as error:
            # Only lag tools read these offsets; the poll finds rebalances and coordinator errors.
            logger.debug("positions were not committed to the group: %r", error)


class MembershipConsumer(driver.Consumer):
    """Is a member of the group; the engine's reader does the reading."""

    logger = FAUST_LOGGER
    _thread: MembershipThread

    @property
    def _host(self) -> Host:
        return host_of(self.app)

    def _new_consumer_thread(self) -> MembershipThread:
        return MembershipThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Do nothing: positions come from the journals, not from the group."""

    async def commit_positions(self, positions: Mapping[TP, int]) -> None:
        """Commit positions to the group, for lag tools; failures are only logged."""
        await self._thread.commit_positions(positions)

    async def rejoin(self) -> None:
        """Join the group once more, so that it shares the partitions out again."""
        await self._thread.rejoin()

    @Service.task
    async def _watch(self) -> None:
        """Poll from the start until stopped; end the process when the membership has died."""
        while not self.should_stop:
            try:
                await self._thread.poll()
            except self.consumer_stopped_errors:
                if not self.app.should_stop:
                    message = "the membership has ended although the worker still runs"
                    self._host.fail_stop(FailStop(message))
                return
            except Exception as error:  # noqa: BLE001 - after any error this is no member any more
                await self._die(error)
            await self.sleep(_POLL_SECONDS)

    async def _die(self, error: Exception) -> None:
        host, conf = self._host, self.app.conf
        self._host.fail_stop(
            await dead_membership(error, conf.id, conf.broker_session_timeout, host.connection)
        )

    async def crash(self, reason: BaseException) -> None:
        """End the process with one line that has the cause, instead of Faust's tracebacks."""
        await self._host.crash(reason)

    @Service.task
    async def _commit_handler(self) -> None:
        """Commit nothing: agents acknowledge nothing, and the journals have the positions."""

    @Service.task
    async def _commit_livelock_detector(self) -> None:
        """Check nothing: this consumer fetches from no partition."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Check nothing: the engine's reader checks its own partitions."""

    def verify_recovery_event_path(self, now: float, tp: TP) -> None:
        """Check nothing in recovery either."""

    async def _drain_messages(self, fetcher: Any) -> None:
        """Read nothing: the engine does."""


class MembershipTransport(driver.Transport):
    """Faust's Kafka transport with this consumer; see ``sending`` for the other classes."""

    Consumer: ClassVar[type[ConsumerT]] = MembershipConsumer
    Producer: ClassVar[type[ProducerT]] = NonCreatingProducer
    Conductor: ClassVar[type[ConductorT]] = StagesConductor
