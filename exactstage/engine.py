"""The engine as a host sees it: open, rebalance, handle, drain, stop.

A host (a Faust worker, a test, a simulation) names the partitions that it owns, and carries its
deliveries to the stages' agents; the engine does the rest.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple, Self

from . import local_copy
from .advice import command
from .committer import Committer
from .config_watch import ConfigWatch
from .counts import Counts
from .errors import FailStop, NotOurs, as_fail_stop
from .guarded_tasks import GuardedTasks
from .intake import Intake
from .lag import LagWatch
from .limits import Limits
from .local_copy import StateDirectory
from .local_delivery import LocalDelivery, Receiving
from .log import Log, Reader, TopicPartition, Writer
from .ownership import Ownership
from .pipeline import CommitPipeline
from .processing import Processing
from .readiness import Readiness
from .reading import Deliver, Delivery
from .rebalancing import Rebalancing
from .stage import Stage, by_name, senders_of, topics_of
from .standby import Standbys
from .takeover import Takeover, TakeoverReport, require_own_installation
from .timers import Timers
from .vouching import Vouching


class Engine:
    """All stages of one application in one worker, at work. ``open`` makes one."""

    @classmethod
    async def open(
        cls,
        *,
        app_id: str,
        stages: Sequence[Stage],
        log: Log,
        deliver: Deliver,
        on_failure: Callable[[FailStop], None],
        limits: Limits | None = None,
        readiness: Readiness | None = None,
        renewal_seconds: float = 3600.0,
        local_delivery: bool = True,
        state: StateDirectory | None = None,
    ) -> Self:
        """Connect, check the topics, and return the engine with its loops started.

        ``deliver`` takes what was read to the agent of its stage, which calls ``handle``.
        ``on_failure`` is called with the error after which the process has to end. ``readiness``
        continues what a host has observed while the log connected. Claims are renewed every
        ``renewal_seconds``; without ``local_delivery`` all messages go through the log. With
        ``state`` rows are on this worker's disk; the engine closes it when it stops.

        ``rebalance`` comes next, ``stop`` last. Raises ``FailStop``, and ``ValueError`` for
        stages that do not fit together; the log is closed then, as it is when this is cancelled.
        """
        limits = limits or Limits()
        try:
            by_name(stages)  # Reported before what the brokers lack.
            engine = cls(
                app_id=app_id,
                stages=stages,
                log=log,
                connected=await _connect(log, app_id, stages),
                deliver=deliver,
                on_failure=on_failure,
                limits=limits,
                readiness=readiness or Readiness(limits.stall_seconds),
                renewal_seconds=renewal_seconds,
                local_delivery=local_delivery,
                state=state,
            )
        except BaseException:
            if state is not None:
                state.close()
            await log.close()
            raise
        engine._start()
        return engine

    def __init__(
        self,
        *,
        app_id: str,
        stages: Sequence[Stage],
        log: Log,
        connected: "_Connected",
        deliver: Deliver,
        on_failure: Callable[[FailStop], None],
        limits: Limits,
        readiness: Readiness,
        renewal_seconds: float,
        local_delivery: bool,
        state: StateDirectory | None,
    ) -> None:
        """Make all parts and connect them; see ``open`` for what they are made of."""
        self.stages = by_name(stages)
        self.log = log
        self.partitions = connected.partitions
        """Partitions of every topic."""
        self.readiness = readiness
        self.owned = Ownership(self.stages)
        self._limits, self._state = limits, state
        self._reader, self._on_failure = connected.reader, on_failure
        self._tasks = GuardedTasks(on_failure)
        self._pipeline, self._lag = CommitPipeline(log.clock), LagWatch()
        self._local_delivery = LocalDelivery(
            self.stages, self.owned, clock=log.clock, limits=limits, enabled=local_delivery
        )
        self._committer = Committer(
            log=log,
            messenger=connected.messenger,
            pipeline=self._pipeline,
            local_delivery=self._local_delivery,
            limits=limits,
            on_failure=on_failure,
        )
        self._processing = self._new_processing(stages)
        self._handling = {name: asyncio.Lock() for name in self.stages}
        self._intake = Intake(
            reader=connected.reader,
            stages=stages,
            deliver=deliver,
            limits=limits,
            tasks=self._tasks,
        )
        takeover = self._new_takeover(app_id, stages, connected)
        self.standbys = self._new_standbys(stages, takeover)
        self._rebalancing = self._new_rebalancing(app_id, stages, takeover)
        self.timers = Timers(
            stages=self.stages,
            owned=self.owned,
            pipeline=self._pipeline,
            intake=self._intake,
            local_delivery=self._local_delivery,
            claims=takeover.claims,
            limits=limits,
            clock=log.clock,
            renewal_seconds=renewal_seconds,
        )

    def _new_takeover(
        self, app_id: str, stages: Sequence[Stage], connected: "_Connected"
    ) -> Takeover:
        return Takeover(
            log=self.log,
            app_id=app_id,
            stages=stages,
            partitions=self.partitions,
            # Of its own: the committer may be publishing to the same partitions.
            messenger=connected.takeover_messenger,
            limits=self._limits,
            owner_here=self.owned.owners.get,
            tombstone_seconds=connected.tombstone_seconds,
            state=self._state,
        )

    def _new_standbys(self, stages: Sequence[Stage], takeover: Takeover) -> Standbys:
        return Standbys(
            log=self.log,
            stages=stages,
            state=self._state,
            belongs=takeover.belongs,
            age_limit_seconds=takeover.longest_restore_seconds,
            tasks=self._tasks,
            is_busy=lambda: bool(self.owned.partitions),
        )

    def _new_rebalancing(
        self, app_id: str, stages: Sequence[Stage], takeover: Takeover
    ) -> Rebalancing:
        return Rebalancing(
            app_id=app_id,
            stages=stages,
            partitions=self.partitions,
            log=self.log,
            takeover=takeover,
            owned=self.owned,
            pipeline=self._pipeline,
            local_delivery=self._local_delivery,
            intake=self._intake,
            standbys=self.standbys,
        )

    def _new_processing(self, stages: Sequence[Stage]) -> dict[str, Processing]:
        vouching = Vouching(self.log, {stage.name: stage.changelog for stage in stages})
        return {
            stage.name: Processing(
                stage,
                self.partitions,
                self._pipeline,
                self._limits,
                senders=senders_of(stage, stages, self.partitions),
                vouching=vouching,
                journals=self.owned.of(stage.name),
            )
            for stage in stages
        }

    def _start(self) -> None:
        """Start the loops in the running event loop."""
        self._committer.start()
        for name, processing in self._processing.items():
            receiving = Receiving(
                processing=processing,
                local_delivery=self._local_delivery,
                pipeline=self._pipeline,
                limits=self._limits,
            )
            self._tasks.spawn(f"messages of {name}", receiving.run())
        self._tasks.spawn("timers", self.timers.tick_forever())
        self._tasks.spawn("look at outputs", self._look_at_outputs())
        self._tasks.spawn("renewal", self.timers.renew_forever())
        self._tasks.spawn("configurations", self._watch_configs())
        if self._state is not None:
            self._tasks.spawn("files of local copies", self._flush(self._state))

    async def stop(self) -> None:
        """End everything; call ``drain`` first for a clean end."""
        await self._tasks.cancel_all()
        await self._committer.stop()
        if self._state is not None:
            self._state.close()
        await self._reader.close()
        await self.log.close()

    @staticmethod
    async def _flush(state: StateDirectory) -> None:
        while True:
            await asyncio.sleep(local_copy.FLUSH_SECONDS)
            await state.flush()

    # --- partitions ------------------------------------------------------------------------------

    async def rebalance(
        self,
        assigned: AbstractSet[TopicPartition],
        *,
        standbys: Collection[int] = (),
        is_superseded: Callable[[], bool] = lambda: False,
        settle: Callable[[TakeoverReport | None], Awaitable[None]] | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Own exactly these input partitions, then read on: the protocol of every host.

        A host calls ``drain`` when partitions are revoked, and this when its assignment comes; one
        call after the other. ``settle`` is awaited with what was taken over. Where a newer
        assignment has come by then (``is_superseded``), or another drain, nothing is read: the next
        call does that. Else ``on_ready`` is called and records are read, without an await in
        between, so that no revocation can come there. The journals of the partitions ``standbys``,
        which another worker owns, are followed from then on where rows are on disk. Raises
        ``FailStop``, after which the process has to end.
        """
        await self._rebalancing.rebalance(
            assigned,
            standbys=standbys,
            is_superseded=is_superseded,
            settle=settle,
            on_ready=on_ready,
        )

    async def drain(self) -> None:
        """Stop taking records, and wait until all that was decided is journalled and published."""
        await self._rebalancing.drain()

    @property
    def is_idle(self) -> bool:
        """Whether all that was decided so far is journalled and published."""
        return self._pipeline.is_idle

    @property
    def is_reading(self) -> bool:
        """Whether it has its partitions and handles their records."""
        return self._intake.reading is not None

    # --- records ---------------------------------------------------------------------------------

    async def handle(self, delivery: Delivery) -> int:
        """Decide what a delivery holds; return how many records were new.

        Ends the process on an error: its host may take the next delivery, and so make the
        records of this one look handled.
        """
        stage = delivery.stage
        with delivery.being_handled() as is_wanted:
            if not is_wanted:
                return 0
            try:
                # One at a time, in the order of arrival, however many agents there are: a later
                # record that overtook an earlier one would make it look handled.
                async with self._handling[stage]:
                    return await self._processing[stage].handle(delivery.runs, delivery.is_stopped)
            except Exception as error:
                self._on_failure(as_fail_stop(f"handling records of {stage}", error))
                raise

    # --- how it is -------------------------------------------------------------------------------

    def look(self) -> Sequence[str]:
        """Look at what stands still, and log it; return why this worker is not ready."""
        self._lag.look(self.owned.journals(), self._reader.seen_ends())
        troubles = [*self.log.troubles(), *self._intake.troubles()]
        return self.readiness.look(troubles, asyncio.get_running_loop().time())

    async def _look_at_outputs(self) -> None:
        """Look now and then whether readers get what this worker writes, also into the journals.

        While a foreign transaction is open there, they get nothing, and appends do not show it.
        """
        while True:
            await asyncio.sleep(self._limits.stall_seconds / 2)
            await self.log.check_open_transactions(self.owned.written())

    async def _watch_configs(self) -> None:
        """Look now and then at the configurations of the topics, once no takeover waits for it."""
        await self._intake.began.wait()
        stages = self.stages.values()
        watch = ConfigWatch(
            self.log,
            inputs=[topic for stage in stages for topic in stage.inputs],
            journals=[stage.changelog for stage in stages],
            keeps={topic: kept for stage in stages for topic, kept in stage.keeps.items()},
            between_seconds=self._limits.configs_seconds,
        )
        await watch.run()

    def counts(self) -> Counts:
        """Return what was done since the start; any thread may ask."""
        committed, journals = self._pipeline.counts, self.owned.journals()
        rebalancing, now_ms = self._rebalancing, self.log.clock.stamp_ms()
        recent = rebalancing.recent_takeovers(now_ms)
        identities = [journal.identity for journal in journals if journal.identity is not None]
        return Counts(
            rows={
                name: sum(journal.row_count for journal in list(self.owned.of(name).values()))
                for name in self.stages
            },
            timers_overdue_seconds={
                name: max(
                    (
                        journal.timer_index.overdue_ms(now_ms) / 1000
                        for journal in list(self.owned.of(name).values())
                    ),
                    default=0.0,
                )
                for name, stage in self.stages.items()
                if stage.timers is not None
            },
            ready=self.is_reading and not self.readiness.reasons,
            standing_partitions=self.readiness.standing_partitions,
            standing_seconds=self.readiness.standing_seconds,
            clock_difference_seconds=self.log.clock.difference_seconds,
            time_ms=now_ms,
            handled={name: each.handled for name, each in self._processing.items()},
            dead_lettered={
                name: dict(each.dead_lettered) for name, each in self._processing.items()
            },
            troubles=self.readiness.kinds,
            owned_partitions=len(self.owned.partitions),
            lags=self._lag.lags(journals, self._reader.seen_ends(), now_ms),
            commits=committed.commits,
            commit_rounds=committed.commit_rounds,
            commits_in_flight=sum(journal.ahead for journal in journals),
            appends=self._committer.appends,
            appended_bytes=self.log.appended_bytes,
            rebalances=rebalancing.rebalances,
            takeovers=rebalancing.takeovers,
            takeover_seconds=dict(rebalancing.takeover_seconds),
            rows_taken_over=rebalancing.rows_taken_over,
            records_read=rebalancing.records_read,
            recent_rows_taken_over=recent.rows,
            recent_records_read=recent.records_read,
            standby_partitions=len(self.standbys.partitions),
            standby_lags=self.standbys.lags(),
            settings_differ=rebalancing.settings_differ(now_ms),
            installation=identities[0].installation if identities else None,
        )


class _Connected(NamedTuple):
    """What a log that was started has for an engine."""

    partitions: int
    tombstone_seconds: float
    """How long a tombstone surely stays in a journal."""

    takeover_messenger: Writer
    messenger: Writer
    reader: Reader


async def _connect(log: Log, app_id: str, stages: Sequence[Stage]) -> _Connected:
    """Start the log and check that its topics are those of this application.

    Raises ``FailStop``.
    """
    await log.start(topics_of(stages))
    partitions = _partitions_of_all(log, topics_of(stages))
    tombstone_seconds = await log.require_configs(
        inputs=[topic for stage in stages for topic in stage.inputs],
        journals=[stage.changelog for stage in stages],
    )
    takeover_messenger = await log.new_writer()
    await require_own_installation(log, app_id, stages, partitions)
    messenger = await log.new_writer()
    reader = await log.open_reader(committed_only=True)
    return _Connected(partitions, tombstone_seconds, takeover_messenger, messenger, reader)


def _partitions_of_all(log: Log, topics: Sequence[str]) -> int:
    """Return how many partitions each topic has. Raises ``NotOurs`` where they differ."""
    counts = {topic: log.partition_count(topic) for topic in topics}
    usual, _ = Counter(counts.values()).most_common(1)[0]
    others = [f"{topic} has {count}" for topic, count in counts.items() if count != usual]
    if others:
        message = (
            f"all topics need the same number of partitions: {', '.join(others)}, the other "
            f"{len(counts) - len(others)} have {usual}; a number is never changed in place, "
            f"since keys would move: go to another one with {command('repartition')}"
        )
        raise NotOurs(message)
    return usual
