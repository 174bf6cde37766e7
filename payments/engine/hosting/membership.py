"""Group membership: Faust's consumer, which holds the assignment and reads nothing.

Its partitions are paused as soon as they are assigned. It must still be polled, or aiokafka leaves
the group, and its coordinator asked for errors, which Faust never does: a member whose SyncGroup
met an error after a broker's restart would hang for ever, silently. Dead membership ends the
process, unless it can be brought back to life.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

import aiokafka
from aiokafka import errors
from aiokafka.structs import OffsetAndMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.transports import ConsumerT
from mode import Service

from payments.engine.errors import FailStop

if TYPE_CHECKING:
    from .app import EngineApp

logger = logging.getLogger(__name__)

FAUST_LOGGER = logging.getLogger("faust")
"""Where Faust's services say that they start and stop, instead of in this package's name."""

_POLL_SECONDS = 0.5

_MAX_METADATA_DEATHS = 10
"""How many polls in a row may find the client's metadata task ended."""


class MembershipThread(driver.AIOKafkaConsumerThread):
    """Runs the consumer in Faust's second thread, where heartbeats can't be held up."""

    logger = FAUST_LOGGER
    _metadata_deaths = 0

    @property
    def _host(self) -> "EngineApp":
        return cast("EngineApp", self.app)

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:  # noqa: ANN401, ARG002 - Faust's signature
        conf = self.app.conf
        self._assignor = self.app.assignor
        return aiokafka.AIOKafkaConsumer(
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
            metadata_max_age_ms=60_000,
        )

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Let aiokafka neither look up positions, with a request for each, nor fetch.

        That comes first: its fetcher begins when this waits for something.
        """
        consumer = self._ensure_consumer()
        partitions = consumer.assignment()
        consumer.pause(*partitions)
        for at in partitions:
            consumer.seek(at, 0)
        await super().on_partitions_assigned(assigned, generation_id)

    async def poll(self) -> None:
        """Poll once, and raise what the membership met."""
        await self.call_thread(self._poll)

    async def _poll(self) -> None:
        consumer = self._consumer
        if consumer is None or consumer._coordinator is None:  # noqa: SLF001 - it is not started yet
            return
        consumer._coordinator.check_errors()  # noqa: SLF001 - aiokafka shows these nowhere else
        self._keep_metadata_coming(consumer._client)  # noqa: SLF001 - nor the end of its task
        with consumer._fetcher._subscriptions.fetch_context():  # noqa: SLF001 - what counts as a poll
            return

    def _keep_metadata_coming(self, client: Any) -> None:  # noqa: ANN401 - aiokafka has no types
        """Start the client's metadata task again where it has ended.

        A broker's restart may end it: over uvloop, writing to a connection that has just closed
        raises ``RuntimeError``, which aiokafka does not expect. Who waits for the task's next
        answer would wait for ever.
        """
        task = client._sync_task  # noqa: SLF001 - aiokafka never looks at it either
        if task is None or not task.done():
            self._metadata_deaths = 0
            return
        self._metadata_deaths += 1
        if self._metadata_deaths > _MAX_METADATA_DEATHS:
            message = f"its metadata task ends again and again: {task!r}"
            raise errors.KafkaError(message)
        # What it met is told here, or asyncio would complain that nobody asked.
        met = None if task.cancelled() else task.exception()
        logger.warning("the membership's metadata task has ended and is started again: %r", met)
        client._sync_task = asyncio.create_task(client._md_synchronizer())  # noqa: SLF001 - as ``bootstrap`` does

    async def commit_positions(self, positions: Mapping[TP, int]) -> None:
        """Commit positions to the group; see ``MembershipConsumer.commit_positions``."""
        await self.call_thread(self._commit_positions, positions)

    async def _commit_positions(self, positions: Mapping[TP, int]) -> None:
        consumer = self._ensure_consumer()
        assigned = {(tp.topic, tp.partition) for tp in consumer.assignment()}
        offsets = {
            aiokafka.TopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, "")
            for tp, offset in positions.items()
            if (tp.topic, tp.partition) in assigned
        }
        if not offsets:
            return
        try:
            await consumer.commit(offsets)
        except (errors.KafkaError, errors.IllegalStateError) as error:
            # Only lag tools read these offsets; a rebalance or a broken coordinator that matters
            # is found by the poll.
            logger.info("positions were not committed to the group: %r", error)


class MembershipConsumer(driver.Consumer):
    """Takes part in the group; the engine's reader does the reading."""

    logger = FAUST_LOGGER
    _thread: MembershipThread

    @property
    def _host(self) -> "EngineApp":
        return cast("EngineApp", self.app)

    def _new_consumer_thread(self) -> MembershipThread:
        return MembershipThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Positions come from the journals, not from the group."""

    async def commit_positions(self, positions: Mapping[TP, int]) -> None:
        """Commit positions to the group, for lag tools; failures are only logged."""
        await self._thread.commit_positions(positions)

    @Service.task
    async def _watch(self) -> None:
        """Poll from the start until stopped; end the process when the membership has died."""
        while not self.should_stop:
            try:
                await self._thread.poll()
            except self.consumer_stopped_errors:
                if not self.app.should_stop:
                    message = "the membership has ended although the worker goes on"
                    self._host.fail_stop(FailStop(message))
                return
            except Exception as error:  # noqa: BLE001 - whatever killed it, this is no member now
                message = (
                    f"the membership in group {self.app.conf.id} is dead: {error!r}; the worker "
                    f"has to be started again"
                )
                self._host.fail_stop(FailStop(message))
            await self.sleep(_POLL_SECONDS)

    async def _drain_messages(self, fetcher: Any) -> None:  # noqa: ANN401 - Faust's signature
        """Read nothing: the engine does."""


class MembershipTransport(driver.Transport):
    """Faust's Kafka transport with the consumer above."""

    Consumer: ClassVar[type[ConsumerT]] = MembershipConsumer
