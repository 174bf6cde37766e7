"""A Faust app that runs stages on the engine."""

import asyncio
import logging
import os
import threading
import uuid
from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn, Self, cast

from aiokafka.errors import KafkaError
from faust.app.base import BootStrategy
from faust.types import TP, StreamT, TransportT
from faust.types.tuples import ConsumerMessage

from exactstage.advice import setting
from exactstage.counts import JOINING, TAKING_OVER, Counts, nothing_done
from exactstage.engine import Engine
from exactstage.errors import (
    EXIT_FAIL_STOP,
    Defect,
    FailStop,
    Fenced,
    NotOurs,
    as_fail_stop,
    usual_apply,
)
from exactstage.gc_tuning import freeze_and_relax
from exactstage.guarded_tasks import unless
from exactstage.kafka import KafkaLog
from exactstage.kafka.rights import Right
from exactstage.limits import Limits
from exactstage.local_copy import StateDirectory
from exactstage.log import Log, TopicPartition
from exactstage.pauses import PAUSES
from exactstage.readiness import Readiness
from exactstage.reading import Delivery
from exactstage.stage import Stage, by_name
from exactstage.takeover import TakeoverReport

from .assignment import StandbyAssignor
from .balance import Balance
from .client_noise import install, quiet_client
from .host import Host
from .membership import FAUST_LOGGER, MembershipConsumer, MembershipTransport
from .orderly_end import OrderlyEnd
from .stage_worker import StageWorker
from .tables import JournalTable, JournalTableManager
from .unsupported import no_page, no_table_route, require_channel, require_stage

if TYPE_CHECKING:
    from faust.transport.conductor import Conductor

logger = logging.getLogger(__name__)

_OFFSET_COMMIT_SECONDS = 5.0
_LAST_COMMIT_SECONDS = 2.0
_READINESS_SECONDS = 1.0
_TOPICS_SECONDS = 1.0
_MEMBERSHIP_POLL_LIMIT_SECONDS = 1000.0
_HEARTBEAT_SECONDS = 0.5
"""A worker learns by the answer that others have come or gone; until then, partitions rest."""


class _Boot(BootStrategy):
    """Does not start Faust's own producer: all writes go through the engine."""

    enable_kafka_producer = False


def _membership_options(session_timeout_seconds: float, instance_id: str | None) -> dict[str, Any]:
    """Return the settings of the membership."""
    return {
        "broker_session_timeout": session_timeout_seconds,
        "broker_heartbeat_interval": min(_HEARTBEAT_SECONDS, session_timeout_seconds / 4),
        "consumer_group_instance_id": instance_id,
        # Faust's assignor refuses an assignment with another URL than the worker's own; a static
        # member gets its former assignment back, even when it restarts on another host.
        "canonical_url": f"http://{instance_id or uuid.uuid4().hex}",
    }


def _faust_options(connection: Mapping[str, Any], request_timeout_ms: int) -> dict[str, Any]:
    """Return the settings that leave reading, writing and restoring to the engine."""
    return {
        "broker": [f"kafka://{server}" for server in connection["bootstrap_servers"].split(",")],
        "broker_request_timeout": request_timeout_ms / 1000,
        "broker_max_poll_interval": _MEMBERSHIP_POLL_LIMIT_SECONDS,
        "store": "memory://",
        "Table": JournalTable,
        "TableManager": JournalTableManager,
        "PartitionAssignor": StandbyAssignor,
        "Worker": StageWorker,
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        "web_enabled": False,
        "stream_recovery_delay": 0.0,
        "stream_wait_empty": False,
    }


def rights_of(stages: Iterable[Stage]) -> dict[str, set[Right]]:
    """Return a worker's rights on each topic: it reads all of them, also those it writes.

    It also reads the configurations of inputs and journals, before it relies on them.
    """
    needed: dict[str, set[Right]] = {}
    for stage in stages:
        for topic in stage.inputs:
            needed.setdefault(topic, set()).update({Right.READ, Right.DESCRIBE_CONFIGS})
        for topic in (*stage.emits, stage.changelog):
            needed.setdefault(topic, set()).update({Right.READ, Right.WRITE})
        needed[stage.changelog].add(Right.DESCRIBE_CONFIGS)
    return needed


class EngineApp(Host):
    """Hosts ``stages``. Agents pass ``Delivery`` events to ``engine.handle``.

    ``connection`` are the arguments of every aiokafka client: membership, appends, claims, restore.
    ``log`` replaces the broker, in tests. ``show_readiness`` is called once a second with the
    reasons why the worker is not ready, none when it is; ``show_end`` with the line with which the
    process ends, and its failure if it is one. ``apply_command`` returns the command that creates
    or corrects the given topics. ``standbys`` other workers follow the journals of each partition,
    where rows are on disk (``open_state``).
    """

    BootStrategy = _Boot
    logger = FAUST_LOGGER

    phase = JOINING
    """What a worker that is not ready yet does: ``JOINING``, ``TAKING_OVER``; else ""."""

    def __init__(
        self,
        app_id: str,
        *,
        stages: Sequence[Stage],
        partitions: int,
        connection: Mapping[str, Any],
        log: Log | None = None,
        delivery_timeout_seconds: float = 60.0,
        drain_timeout_seconds: float = 8.0,
        renewal_seconds: float = 3600.0,
        session_timeout_seconds: float = 10.0,
        instance_id: str | None = None,
        open_state: Callable[[], StateDirectory] | None = None,
        standbys: int = 0,
        limits: Limits | None = None,
        apply_command: Callable[[Iterable[str]], str] = usual_apply,
        show_readiness: Callable[[Sequence[str]], None] | None = None,
        show_end: Callable[[str, FailStop | None], None] | None = None,
        **options: Any,
    ) -> None:
        self._app_id = app_id
        self.stages = by_name(stages)
        self.connection = connection
        self.delivery_timeout_seconds = delivery_timeout_seconds
        self.partitions = partitions
        self._drain_timeout_seconds = drain_timeout_seconds
        self._brokers = KafkaLog(
            connection,
            delivery_timeout_seconds=delivery_timeout_seconds,
            rights=rights_of(stages),
            apply_command=apply_command,
            keeps_topics=True,
        )
        self._log = log or self._brokers
        self._limits = limits or Limits()
        self._renewal_seconds = renewal_seconds
        self._readiness = Readiness(self._limits.stall_seconds)
        self._engine: Engine | None = None
        self._channels, self._test_agents = dict[str, Any](), dict[str, Any]()
        self._lag: asyncio.Future[Any] | None = None
        self._show_readiness, self._show_end = show_readiness, show_end
        self._starting: asyncio.Task[None] | None = None
        self._failing = threading.Lock()
        self._instance_id, self._open_state = instance_id, open_state
        self._on_embedded_failure: Callable[[FailStop], None] | None = None
        """Called with a failure instead of ending the process, when the app runs embedded."""
        self.was_ready, self.orderly_end = False, OrderlyEnd()
        super().__init__(
            app_id,
            topic_partitions=partitions,
            # In memory nothing is followed; but who leads the group decides for all members.
            table_standby_replicas=0 if open_state is None else standbys,
            **_membership_options(session_timeout_seconds, instance_id),
            **_faust_options(connection, self._brokers.connection.request_timeout_ms),
            **options,
        )
        self.on_partitions_revoked.connect(self._drain_before_rebalance)  # type: ignore[arg-type] # Faust's signals have no types

    @property
    def engine(self) -> Engine:
        """The engine, once it is open. Raises ``RuntimeError`` before."""
        if self._engine is None:
            raise RuntimeError("the app has not started, so its engine is not open")
        return self._engine

    async def _open_engine(self) -> Engine:
        self._engine = await Engine.open(
            app_id=self._app_id,
            stages=list(self.stages.values()),
            log=self._log,
            deliver=self.deliver,
            on_failure=self.fail_stop,
            limits=self._limits,
            readiness=self._readiness,
            renewal_seconds=self._renewal_seconds,
            state=None if self._open_state is None else self._open_state(),
        )
        return self._engine

    def counts(self) -> Counts:
        """Return what was done since the start, before it too; any thread may ask."""
        if self._engine is not None:
            found = self._engine.counts()
        else:
            found = nothing_done(self.stages, self._readiness, self._log.clock)
        return found._replace(phase="" if found.ready else self.phase)

    def _new_transport(self) -> TransportT:
        return MembershipTransport(self.conf.broker_consumer, self)

    def inputs(self, stage: Stage) -> Any:
        """Return the channel of a stage's agent: its input topics, without Faust's own decoding."""
        channel = self._channels[stage.name] = self.topic(
            *stage.assigned_inputs,
            key_type=bytes,
            value_type=bytes,
            key_serializer="raw",
            value_serializer="raw",
            partitions=self.partitions,
            acks=False,
        )
        return channel

    def run_stage(self, stage: Stage) -> None:
        """Define the agent of a stage, by its name: it hands each delivery to the engine."""

        async def handle(stream: StreamT[Delivery]) -> None:
            async for delivery in stream:
                await self.engine.handle(delivery)

        self.agent(self.inputs(stage), name=stage.name)(handle)

    def rows(self, stage: Stage) -> JournalTable:
        """Return a read-only table of a stage's rows, of the partitions that this worker owns."""
        table = self.Table(
            stage.name,
            partitions=self.partitions,
            key_type=bytes,
            value_type=bytes,
            help=f"rows of the {stage.name} stage, written through its journal",
        )
        return cast("JournalTable", table)

    # --- Faust's features that are refused --------------------------------------------------------

    def Table(self, name: str, **options: Any) -> Any:  # noqa: N802 - Faust's name and types
        """Define the table of a stage (``rows``). Raises ``FailStop`` for any other."""
        require_stage(name, self.stages)
        return super().Table(name, **options)

    def GlobalTable(self, name: str, **_: Any) -> NoReturn:  # noqa: N802
        """Refuse: see ``Table``."""
        require_stage(name, ())
        raise AssertionError

    SetTable = SetGlobalTable = GlobalTable

    def table_route(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: workers do not know each other's addresses."""
        raise no_table_route()

    def stream(self, channel: Any, *arguments: Any, **options: Any) -> Any:
        """Return a stream. Raises ``FailStop`` for topics that only the engine reads."""
        journals = [table.changelog_topic.schema for table in self.tables.values()]
        if any(getattr(channel, "schema", None) is schema for schema in journals):
            require_channel("a stream", channel, ())
        return super().stream(channel, *arguments, **options)

    def page(self, *arguments: Any, name: str | None = None, **options: Any) -> Any:
        """Refuse: Faust's web server is not started here.

        Faust's own pages are allowed: those of its blueprints, such as ``router:table_list``.
        """
        if name is None or ":" not in name:
            raise no_page()
        return super().page(*arguments, name=name, **options)

    def topic_route(self, *_: Any, **__: Any) -> NoReturn:
        """Refuse: see ``page``."""
        raise no_page()

    @property
    def channels(self) -> Collection[Any]:
        """The channels of the stages' agents, which alone receive records."""
        return self._channels.values()

    @property
    def written(self) -> AbstractSet[str]:
        """Topics that the stages alone write."""
        found = {stage.changelog for stage in self.stages.values()}
        return found.union(*(stage.emits for stage in self.stages.values()))

    def changelog(self, stage: str) -> str:
        """Return the journal's topic of a stage."""
        return self.stages[stage].changelog

    def rows_in_memory(self, stage: str) -> Mapping[bytes, bytes]:
        """Return the rows of a stage, of all owned partitions; none before it owns some."""
        journals = {} if self._engine is None else self._engine.owned.of(stage)
        found = [journal.all_rows for journal in journals.values()]
        return ChainMap(*cast("list[dict[bytes, bytes]]", found))  # Nothing is written there.

    def _require_own_agents(self) -> None:
        for name, agent in self.agents.items():
            require_channel(f"agent {name!r}", agent.channel, self._channels.values())

    # --- called by the engine --------------------------------------------------------------------

    async def deliver(self, delivery: Delivery) -> None:
        """Put one delivery into the channel of its stage's agent, as one event."""
        if agent := self._test_agents.get(delivery.stage):
            await agent.put(delivery, wait=False)
            return
        first = delivery.runs[0]
        at = first.at
        # Faust knows the topics that the group assigns; all of a stage have the same agent.
        assigned = self.stages[delivery.stage].assigned_inputs
        tp = TP(at.topic if at.topic in assigned else assigned[0], at.partition)
        message = ConsumerMessage(
            topic=at.topic,
            partition=at.partition,
            offset=first.offset,
            timestamp=0.0,
            timestamp_type=0,
            headers=[],
            key=None,
            value=None,
            checksum=None,
            tp=tp,
            generation_id=self.consumer_generation_id,
        )
        # Faust's conductor is the only way to the queues of its agents.
        for channel in cast("Conductor", self.topics)._tp_index[tp]:  # noqa: SLF001
            await channel.queue.put(self.create_event(None, delivery, {}, message))

    def fail_stop(self, failure: FailStop) -> None:
        """End the process at once, since its state in memory may be out of date.

        Any thread may call it. A worker that was asked to stop before it owned partitions has
        decided nothing, so for it an error is no failure.
        """
        if self._on_embedded_failure is not None:
            self._on_embedded_failure(failure)
            return
        if not self._failing.acquire(blocking=False):
            threading.Event().wait()  # Another thread ends the process, and logs the cause.
        if self.should_stop and not self.was_ready:
            line = f"stopped before it was ready, nothing was decided ({failure})"
            logger.info("%s", line)
            code = 0
        else:
            cause = failure.__cause__ if isinstance(failure, Defect) else None
            # An error of a broker or the network is no defect: its traceback has no information.
            defect = None if isinstance(cause, (KafkaError, OSError)) else cause
            line = f"fail-stop: {self.in_words(failure)}"
            logger.critical("%s", line, exc_info=defect)
            code = EXIT_FAIL_STOP
        if self._show_end is not None:
            self._show_end(line, failure if code else None)
        logging.shutdown()
        os._exit(code)

    def in_words(self, failure: FailStop) -> str:
        """Return the failure as one line; two workers with one instance id fence each other too."""
        instance = self._instance_id
        if not isinstance(failure, Fenced) or instance is None:
            return str(failure)
        return (
            f"{failure}. If this happens again and again, another worker has the same "
            f"{setting('INSTANCE_ID')}, {instance}: give each its own"
        )

    async def crash(self, reason: BaseException) -> None:
        """End the process with one line, instead of Faust's tracebacks."""
        self._crash(reason)

    def _crash(self, reason: BaseException) -> None:
        if isinstance(reason, Exception):
            self.fail_stop(as_fail_stop("the worker", reason))
        super()._crash(reason)

    # --- called by Faust -------------------------------------------------------------------------

    async def note_takeover(self, report: TakeoverReport | None) -> None:
        """Log what was taken over, if anything was."""
        if report is not None:
            logger.info("%s", report)
            freeze_and_relax()

    async def _drain_before_rebalance(self, _app: Any, revoked: set[TP], **_: Any) -> None:  # noqa: ARG002 - Faust's signal
        await self._drain()

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._drain_timeout_seconds):
                if self._engine is not None:
                    await self._engine.drain()
        except TimeoutError:
            message = (
                f"what was decided could not be published within {self._drain_timeout_seconds} "
                f"s before a rebalance; the next owner publishes it from the journal"
            )
            self.fail_stop(FailStop(message))

    async def on_first_start(self) -> None:
        """Connect the engine before the worker joins its group. Ends the process on failure.

        Faust would make a data directory here. The engine needs none: where rows are on disk, their
        directory is its own (``open_state``).
        """
        install(asyncio.get_running_loop())
        quiet_client()
        try:
            self._require_own_agents()
        except FailStop as failure:
            self.fail_stop(failure)
        self.add_future(self._watch_readiness())
        self._starting = asyncio.create_task(self._start_engine())
        await asyncio.wait([self._starting])
        if not self._starting.cancelled():
            self._starting.result()
        if not self.should_stop:
            self._lag = self.add_future(self._commit_for_lag_tools())
            self.add_future(self._watch_topics())
            if self.conf.table_standby_replicas:
                balance = Balance(self, cast("StandbyAssignor", self.assignor))
                self.add_future(balance.watch(self.membership))

    async def _watch_topics(self) -> None:
        """Check once a second that the topics still have the ids that they had at the start.

        Appends to a recreated topic would be lost: its readers start elsewhere.
        """
        while not self.should_stop:
            await self.sleep(_TOPICS_SECONDS)
            try:
                await self._brokers.require_same_topics()
            except NotOurs as failure:
                self.fail_stop(failure)
            except (FailStop, KafkaError, OSError) as error:
                # Appends meet the same error, and report it.
                logger.debug("the topics could not be checked: %r", error)

    async def _watch_readiness(self) -> None:
        """Report once a second why the worker is not ready, from before its start on."""
        try:
            while not self.should_stop:
                PAUSES.tick()
                reasons = self._reasons()
                if self._show_readiness is not None:
                    self._show_readiness(reasons)
                await self.sleep(_READINESS_SECONDS)
        finally:
            PAUSES.stop()

    def _reasons(self) -> Sequence[str]:
        engine = self._engine
        self.phase = ""
        if engine is None:
            self.phase = JOINING
            now = asyncio.get_running_loop().time()
            return ["it joins its group", *self._readiness.look(self._log.troubles(), now)]
        troubles = engine.look()
        if self.rebalancing or not engine.is_reading:
            self.phase = TAKING_OVER if self._joined else JOINING
            what = "its partitions are being taken over" if self._joined else "it joins its group"
            return [what, *troubles]
        return troubles

    @property
    def _joined(self) -> bool:
        return self._consumer is not None and bool(self.assignor.assigned_actives())

    async def _start_engine(self) -> None:
        try:
            self._require_partitions(await self._open_engine())
        except Exception as error:  # noqa: BLE001 - without the engine there is no worker
            self.fail_stop(as_fail_stop("the start", error))

    def _require_partitions(self, engine: Engine) -> None:
        if engine.partitions != self.partitions:
            message = (
                f"the topics have {engine.partitions} partitions, but {setting('PARTITIONS')} "
                f"is {self.partitions}; the number can't be changed in place"
            )
            raise FailStop(message)

    async def on_stop(self) -> None:
        """Publish all decisions, then leave. Ends the process if that fails or takes too long.

        Otherwise the membership would continue in its thread, and keep partitions unserved.
        """
        self.orderly_end.begin("its program ended it")
        try:
            await self._finish()
        except Exception as error:  # noqa: BLE001 - after any error the worker must end
            self.fail_stop(as_fail_stop("the end", error))
        await super().on_stop()

    async def _finish(self) -> None:
        if self._lag is not None:
            self._lag.cancel()
        if self._starting is not None and not self._starting.done():
            self._starting.cancel()
            await asyncio.wait([self._starting])
        self.orderly_end.draining(self._drain_timeout_seconds)
        await self._drain()
        self.orderly_end.drained()
        if self._engine is not None:
            self.orderly_end.partitions_left = len(self._engine.owned.partitions)
        try:
            async with asyncio.timeout(_LAST_COMMIT_SECONDS):
                await self._commit_positions()
        except TimeoutError:
            logger.debug("positions were not committed to the group: no broker answered in time")
        if self._engine is not None:
            await self._engine.stop()

    async def on_shutdown(self) -> None:
        """Log the last line of an orderly end."""
        await super().on_shutdown()
        self.orderly_end.ended(self._left())

    def _left(self) -> str:
        """Return what an ended worker has left, and to whom."""
        if not self.was_ready:
            return "it was not ready yet, nothing was decided"
        count = self.orderly_end.partitions_left
        partitions = f"{count} partition{'' if count == 1 else 's'}"
        if self._instance_id is None:
            return f"all that was decided is published, {partitions} left to the other workers"
        seconds = self.conf.broker_session_timeout
        return (
            f"all that was decided is published, {partitions} kept for {self._instance_id} for "
            f"{seconds:g} s, then left to the other workers"
        )

    async def _commit_for_lag_tools(self) -> None:
        """Commit positions to the consumer group at intervals, for lag tools only."""
        while not self.should_stop:
            await self.sleep(_OFFSET_COMMIT_SECONDS)
            await self._commit_positions()

    async def _commit_positions(self) -> None:
        journals = [] if self._engine is None else self._engine.owned.journals()
        positions = {
            TP(topic, journal.partition): offset
            for journal in journals
            for topic, offset in journal.inputs.items()
        }
        if positions:
            await self.membership.commit_positions(positions)

    @asynccontextmanager
    async def test_context(
        self, on_failure: Callable[[FailStop], None] | None = None
    ) -> AsyncIterator[Self]:
        """Run all stages' agents embedded, without a broker; ``log`` must be an in-memory log.

        ``on_failure`` is called with the failure that would end a worker's process; the block must
        then end. The failure is raised instead of the block's own error.
        """
        failures: list[FailStop] = []
        failed = asyncio.Event()

        def fail(failure: FailStop) -> None:
            failures.append(failure)
            failed.set()
            if on_failure is not None:
                on_failure(failure)

        self._on_embedded_failure = fail
        try:
            async with self._embedded(failed):
                yield self
        finally:
            if failures:
                raise failures[0]

    @asynccontextmanager
    async def _embedded(self, failed: asyncio.Event) -> AsyncIterator[None]:
        self._require_own_agents()
        async with AsyncExitStack() as agents:
            for agent in self.agents.values():
                for stage, channel in self._channels.items():
                    if agent.channel is channel:
                        wrapper = await agents.enter_async_context(agent.test_context())
                        self._test_agents[stage] = wrapper
            engine = await self._open_engine()
            try:
                await engine.rebalance(self.all_inputs())
                yield
                await unless(failed, engine.drain())
            finally:
                await engine.stop()

    def all_inputs(self) -> set[TopicPartition]:
        """Return every input partition of every stage."""
        return {
            TopicPartition(topic, partition)
            for stage in self.stages.values()
            for topic in stage.inputs
            for partition in range(self.partitions)
        }

    @property
    def membership(self) -> MembershipConsumer:
        """The consumer that holds the membership."""
        return cast("MembershipConsumer", self.consumer)
