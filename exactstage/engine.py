"""The engine as a host sees it: assign, handle, drain, stop.

A host (a Faust worker, a test, a simulation) names the partitions that it owns, and carries its
deliveries to the stages' agents; the engine does the rest.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial

from .advice import command
from .committer import Committer, CommitterCounts
from .config_watch import ConfigWatch
from .counts import Counts
from .errors import FailStop, JournalBroken, NotOurs, as_fail_stop
from .journal import Journal
from .limits import Limits
from .local_delivery import LocalDelivery
from .log import Log, Reader, TopicPartition
from .ownership import Ownership
from .processing import Processing
from .readiness import Readiness
from .reading import Deliver, Delivery, Reading
from .receiving import Receiving
from .restoring import find_row
from .stage import Stage, by_name, senders_of, topics_of
from .takeover import Superseded, Takeover, TakeoverReport, require_own_installation
from .timers import Timers
from .troubles import Trouble
from .vouching import Vouching

logger = logging.getLogger(__name__)


class Engine:
    """All stages of one application in one worker."""

    def __init__(
        self,
        *,
        app_id: str,
        stages: Sequence[Stage],
        log: Log,
        deliver: Deliver,
        on_failure: Callable[[FailStop], None],
        limits: Limits | None = None,
        renewal_seconds: float = 3600.0,
        local_delivery: bool = True,
    ) -> None:
        self.stages = by_name(stages)
        self.log = log
        self.limits = limits or Limits()
        self.partitions = 0
        """Partitions of every topic."""
        self._app_id = app_id
        self._deliver = deliver
        self._on_failure = on_failure
        self._renewal_seconds = renewal_seconds
        self.owned = Ownership(self.stages)
        self._local_delivery = LocalDelivery(
            self.stages, self.owned, clock=log.clock, limits=self.limits, enabled=local_delivery
        )
        self.readiness = Readiness(self.limits.stall_seconds)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reading: Reading | None = None
        self._assigning = asyncio.Lock()
        self.drains = 0
        """A takeover that began before the last drain is out of date."""
        self._turns = {name: asyncio.Lock() for name in self.stages}
        self._processing: dict[str, Processing] = {}
        self._committer: Committer
        self._rows_taken_over = self._records_read = 0

    # --- life ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect, check the topics, and start the loops. Raises ``FailStop``."""
        stages = list(self.stages.values())
        await self.log.start(topics_of(stages))
        self.partitions = self._count_partitions(stages)
        inputs = [topic for stage in stages for topic in stage.inputs]
        journals = [stage.changelog for stage in stages]
        tombstone_seconds = await self.log.require_configs(inputs=inputs, journals=journals)
        self._takeover = Takeover(
            log=self.log,
            claim_prefix=self._app_id,
            stages=stages,
            partitions=self.partitions,
            # Of its own: the committer may be publishing to the same partitions.
            messenger=await self.log.new_writer(),
            limits=self.limits,
            owner_here=self.owned.owner,
            tombstone_seconds=tombstone_seconds,
        )
        await require_own_installation(self.log, self._app_id, stages, self.partitions)
        messenger = await self.log.new_writer()
        self._reader: Reader = await self.log.open_reader(committed_only=True)
        self._committer = Committer(
            self.log, messenger, self._local_delivery, self.limits, self._on_failure
        )
        self._committer.start()
        vouching = Vouching(self.log, {stage.name: stage.changelog for stage in stages})
        self._processing = {
            stage.name: Processing(
                stage,
                self.partitions,
                self._committer,
                self.limits,
                senders=senders_of(stage, stages, self.partitions),
                vouching=vouching,
            )
            for stage in stages
        }
        self.timers = Timers(
            self.stages,
            self.owned,
            self._committer,
            self._takeover,
            limits=self.limits,
            clock=self.log.clock,
            renewal_seconds=self._renewal_seconds,
        )
        for name, processing in self._processing.items():
            receiving = Receiving(
                processing, self._local_delivery, self.owned, self._committer, self.limits
            )
            self._spawn(f"messages of {name}", receiving.run)
        self._spawn("timers", self.timers.tick_forever)
        self._spawn("look at outputs", self._look_at_outputs)
        self._spawn("renewal", self.timers.renew_forever)
        self._watch = ConfigWatch(
            self.log,
            inputs=inputs,
            journals=journals,
            keeps={topic: kept for stage in stages for topic, kept in stage.keeps.items()},
            between_seconds=self.limits.configs_seconds,
        )

    async def stop(self) -> None:
        """End everything; call ``drain`` first for a clean end."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        if self._processing:
            await self._committer.stop()
            await self._reader.close()
        await self.log.close()

    def _count_partitions(self, stages: Sequence[Stage]) -> int:
        counts = {topic: self.log.partition_count(topic) for topic in topics_of(stages)}
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

    # --- partitions ------------------------------------------------------------------------------

    async def rebalance(
        self,
        assigned: AbstractSet[TopicPartition],
        *,
        is_superseded: Callable[[], bool] = lambda: False,
        settle: Callable[[TakeoverReport | None], Awaitable[None]] | None = None,
        on_ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Own exactly these input partitions, then read on: the protocol of every host.

        A host calls ``drain`` when partitions are revoked, and this when its assignment comes; one
        call after the other. ``settle`` is awaited with what was taken over. Where a newer
        assignment has come by then (``is_superseded``), or another drain, nothing is read: the next
        call does that. Else ``on_ready`` is called and records are read, without an await in
        between, so that no revocation can come there. Raises ``FailStop``, after which the process
        has to end.
        """
        drains = self.drains
        report = await self.assign(assigned)
        if settle is not None:
            await settle(report)
        if is_superseded() or self.drains != drains:
            return
        on_ready()
        self.resume()

    async def assign(self, assigned: AbstractSet[TopicPartition]) -> TakeoverReport | None:
        """Own exactly these input partitions: drop what is lost, take over what is new.

        Partitions that are kept keep their memory: if another worker had owned them in between, the
        first append is refused and the process ends. Returns what was taken over, if anything.
        ``resume`` comes next. Raises ``FailStop``.
        """
        async with self._assigning:
            drains = self.drains
            await self._stop_reading()
            wanted = self._partition_numbers(assigned)
            if lost := self.owned.partitions - wanted:
                # A drain has done this before, unless the partitions were lost without one.
                await self._committer.flush()
                for partition in lost:
                    self._release(partition)
            report, journals = None, list[Journal]()
            if new := wanted - self.owned.partitions:
                try:
                    journals, report = await self._takeover.run(
                        new, lambda: self.drains == drains, self.owned.journals()
                    )
                except Superseded:
                    logger.info("the takeover of %s is left to a newer assignment", sorted(new))
                    return None
            bounds = await self.log.bounds(self._local_delivery.inputs(sorted(wanted)))
            if self.drains != drains:
                return None
            if report is not None:
                self._rows_taken_over += report.rows
                self._records_read += report.records_read
            self._local_delivery.note_log_ends({at: held.end for at, held in bounds.items()})
            for journal in journals:
                await self._restore_stage(journal)
                self.owned.add(journal)
                self._committer.touch(journal)
            return report

    async def _restore_stage(self, journal: Journal) -> None:
        """Let the stage build what it keeps beside the rows; name the row that it can't read."""
        logic = self.stages[journal.stage].callbacks
        try:
            logic.restored(journal.partition, journal.rows)
        except FailStop:
            raise  # It names the row already.
        except Exception as error:
            for key, row in journal.rows.items():
                try:
                    logic.restored(journal.partition, {key: row})
                except Exception as cause:  # noqa: BLE001 - whatever it is, it names the row
                    record = await find_row(self.log, journal.at, key, row)
                    where = f"{journal.at}" if record is None else f"{journal.at}/{record.offset}"
                    message = (
                        f"{where} with the key {key!r} is a row that the stage {journal.stage} "
                        f"can't read ({cause!r}): another program wrote to the journal, or a newer "
                        f"version; remove it with: {command('journal repair')}"
                    )
                    raise JournalBroken(message) from error
            raise

    @property
    def is_idle(self) -> bool:
        """Whether all that was decided so far is journalled and published."""
        return self._committer.is_idle

    async def drain(self) -> None:
        """Stop taking records, and wait until all that was decided is journalled and published."""
        self.drains += 1
        if not self._processing:
            return  # It was stopped while it was starting: nothing is decided.
        await self._stop_reading()
        await self._committer.flush()
        for journal in self.owned.journals():
            if not journal.published_on_record:
                self._committer.touch(journal)
        await self._committer.flush()

    def _partition_numbers(self, assigned: AbstractSet[TopicPartition]) -> set[int]:
        inputs = {topic for stage in self.stages.values() for topic in stage.inputs}
        found: dict[int, set[str]] = {}
        for at in assigned:
            if at.topic in inputs:
                found.setdefault(at.partition, set()).add(at.topic)
        for partition, topics in found.items():
            if topics != inputs:
                raise self._not_together(partition, sorted(topics), sorted(inputs - topics))
        return set(found)

    def _not_together(
        self, partition: int, here: Sequence[str], elsewhere: Sequence[str]
    ) -> FailStop:
        """Return the failure for a partition whose inputs were not all assigned to this worker."""
        if partition >= self.partitions:
            has, have = ("has" if len(topics) == 1 else "have" for topics in (here, elsewhere))
            message = (
                f"{', '.join(here)} {has} more than {self.partitions} partitions now, "
                f"{', '.join(elsewhere)} {have} not: a number is never changed in place, since "
                f"keys would move; go to another one with {command('repartition')}"
            )
            return NotOurs(message)
        message = (
            f"partition {partition} of {', '.join(here)} was assigned to this worker, that of "
            f"{', '.join(elsewhere)} was not: another member of the consumer group {self._app_id} "
            f"has it, or nobody; is a foreign consumer in the group, or a worker with other topics?"
        )
        return FailStop(message)

    def _release(self, partition: int) -> None:
        for journal in self.owned.remove(partition):
            self._committer.forget(journal)
            self.stages[journal.stage].callbacks.released(partition)

    # --- records ---------------------------------------------------------------------------------

    async def handle(self, delivery: Delivery) -> int:
        """Decide what a delivery holds; return how many records were new.

        Ends the process on an error: its host may go on with the next delivery, and so make the
        records of this one look handled.
        """
        if not delivery.reading.begin():
            return 0
        stage = delivery.stage
        try:
            # One at a time, in the order of arrival, however many agents there are: a later
            # record that overtook an earlier one would make it look handled.
            async with self._turns[stage]:
                handled = await self._processing[stage].handle(
                    delivery.runs, self.owned.of(stage), lambda: delivery.reading.stopped
                )
        except Exception as error:
            self._on_failure(as_fail_stop(f"handling records of {stage}", error))
            raise
        else:
            if not delivery.reading.stopped:
                delivery.done()  # Else it may not have been handled to its end.
            return handled
        finally:
            delivery.reading.end()

    def resume(self) -> None:
        """Read on, from where the journals are."""
        assert self._reading is None, "resume() follows assign()"
        stage_of = {topic: stage.name for stage in self.stages.values() for topic in stage.inputs}
        positions = {
            TopicPartition(topic, journal.partition): offset
            for journal in self.owned.journals()
            for topic, offset in journal.inputs.items()
            if topic in stage_of
        }
        epochs = {
            TopicPartition(topic, journal.partition): epoch
            for journal in self.owned.journals()
            for topic, epoch in journal.epochs.items()
        }
        public = {topic for stage in self.stages.values() for topic in stage.public_inputs}
        self._reading = Reading(self._reader, stage_of, self._deliver, self.limits, public=public)
        self.timers.reading = self._reading
        if positions:
            self._spawn("reading", partial(self._reading.run, positions, epochs))
        if "configurations" not in self._tasks:
            # Now that it is at work: no takeover waits for that.
            self._spawn("configurations", self._watch.run)

    async def _stop_reading(self) -> None:
        task = self._tasks.pop("reading", None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if self._reading is not None:
            reading, self._reading, self.timers.reading = self._reading, None, None
            reading.stopped = True
            await reading.quiet()

    @property
    def is_reading(self) -> bool:
        """Whether it has its partitions and handles their records."""
        return self._reading is not None

    def look(self) -> Sequence[str]:
        """Look at what stands still, and log it; return why this worker is not ready."""
        return self.readiness.look(self._troubles(), asyncio.get_running_loop().time())

    def _troubles(self) -> list[Trouble]:
        found = [*self.log.troubles()]
        if self._reading is not None:
            found += self._reader.troubles()
            if (since := self._reading.waiting_since) is not None:
                found.append(Trouble("a stage does not get on with its records", "", since))
        return found

    async def _look_at_outputs(self) -> None:
        """Look now and then whether readers get what this worker writes, also into the journals.

        While a foreign transaction is open there, they get nothing, and appends do not show it.
        """
        while True:
            await asyncio.sleep(self.limits.stall_seconds / 2)
            await self.log.check_open_transactions(self.owned.written())

    def counts(self) -> Counts:
        """Return what was done since the start; any thread may ask."""
        committed = self._committer.counts if self._processing else CommitterCounts(0, 0)
        return Counts(
            handled={name: each.handled for name, each in self._processing.items()},
            dead_lettered={
                name: dict(each.dead_lettered) for name, each in self._processing.items()
            },
            rows={
                name: sum(len(journal.rows) for journal in list(self.owned.of(name).values()))
                for name in self.stages
            },
            owned_partitions=len(self.owned.partitions),
            ready=self.is_reading and not self.readiness.reasons,
            standing_partitions=self.readiness.standing_partitions,
            standing_seconds=self.readiness.standing_seconds,
            commits=committed.commits,
            commit_rounds=committed.commit_rounds,
            rows_taken_over=self._rows_taken_over,
            records_read=self._records_read,
            clock_difference_seconds=self.log.clock.difference_seconds,
        )

    # --- failure ---------------------------------------------------------------------------------

    def _spawn(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self._tasks[name] = asyncio.create_task(self._guard(name, work), name=name)

    async def _guard(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must not hang
            self._on_failure(as_fail_stop(name, error))
