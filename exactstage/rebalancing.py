"""Rebalancing: the partitions of one worker change, from one assignment to the next.

The protocol of every host stands here: drain when partitions are revoked, take over what is
assigned, and read again, unless a newer assignment has come since.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from .advice import command
from .errors import FailStop, NotOurs
from .intake import Intake
from .journal import Journal
from .local_delivery import LocalDelivery
from .log import Log, TopicPartition
from .ownership import Ownership
from .pipeline import CommitPipeline
from .restoring import restore_stage
from .stage import Stage
from .standby import Standbys
from .takeover import Superseded, Takeover, TakeoverReport

RECENT_MS = 3_600_000
"""For how long a takeover is recent: what it read is counted apart, and whether the last owner had
other settings."""

logger = logging.getLogger(__name__)


class TakeoverReads(NamedTuple):
    """What a takeover found, or several did."""

    time_ms: int
    """When it ended, by the log's time."""

    rows: int
    records_read: int
    """Records of the journals that were read for these rows."""


class Rebalancing:
    """Takes partitions over and gives them up, for all stages of one worker together."""

    def __init__(
        self,
        *,
        app_id: str,
        stages: Sequence[Stage],
        partitions: int,
        log: Log,
        takeover: Takeover,
        owned: Ownership,
        pipeline: CommitPipeline,
        local_delivery: LocalDelivery,
        intake: Intake,
        standbys: Standbys,
    ) -> None:
        self._app_id = app_id
        self._stages = {stage.name: stage for stage in stages}
        self._partitions = partitions
        self._log = log
        self._takeover = takeover
        self._owned = owned
        self._pipeline = pipeline
        self._local_delivery = local_delivery
        self._intake = intake
        self._standbys = standbys
        self._assigning = asyncio.Lock()
        self._drains = 0
        """A takeover that began before the last drain is out of date."""
        self.rows_taken_over = self.records_read = 0
        """What all takeovers found, and read for it."""
        self._recent: tuple[TakeoverReads, ...] = ()
        self.rebalances = self.takeovers = 0
        self.takeover_seconds: Counter[str] = Counter()
        """How long each part of all takeovers took."""
        self._taken_over_ms: dict[int, int] = {}
        """When each partition was taken over, by the log's time."""

    async def rebalance(
        self,
        assigned: AbstractSet[TopicPartition],
        *,
        standbys: Collection[int] = (),
        is_superseded: Callable[[], bool],
        settle: Callable[[TakeoverReport | None], Awaitable[None]] | None,
        on_ready: Callable[[], None],
    ) -> None:
        """Own exactly these input partitions, then read on; see ``Engine.rebalance``."""
        drains = self._drains
        self.rebalances += 1
        # What is taken over now is not followed any more: its copy is the takeover's.
        self._standbys.keep(set(standbys) - self._partition_numbers(assigned))
        report = await self.assign(assigned)
        if settle is not None:
            await settle(report)
        if is_superseded() or self._drains != drains:
            return
        on_ready()
        self._intake.start(self._owned.journals())
        self._standbys.follow(set(standbys) - self._owned.partitions)

    async def assign(self, assigned: AbstractSet[TopicPartition]) -> TakeoverReport | None:
        """Own exactly these input partitions: drop what is lost, take over what is new.

        Partitions that are kept keep their memory: if another worker had owned them in between, the
        first append is refused and the process ends. Returns what was taken over, if anything.
        Raises ``FailStop``.
        """
        async with self._assigning:
            drains = self._drains
            await self._intake.stop()
            wanted = self._partition_numbers(assigned)
            if lost := self._owned.partitions - wanted:
                # A drain has done this before, unless the partitions were lost without one.
                await self._pipeline.flush()
                for partition in lost:
                    self._release(partition)
            report, journals = None, list[Journal]()
            if new := wanted - self._owned.partitions:
                try:
                    journals, report = await self._takeover.run(
                        new, lambda: self._drains == drains, self._owned.journals()
                    )
                except Superseded:
                    logger.info("the takeover of %s is left to a newer assignment", sorted(new))
                    self._takeover.close_copies(new)
                    return None
            bounds = await self._log.bounds(self._local_delivery.inputs(sorted(wanted)))
            if self._drains != drains:
                self._takeover.close_copies(new)
                return None
            if report is not None:
                self.rows_taken_over += report.rows
                self.records_read += report.records_read
                self._note_recent(report)
                self.takeovers += 1
                self.takeover_seconds.update(report.seconds)
            self._local_delivery.note_log_ends({at: held.end for at, held in bounds.items()})
            for journal in journals:
                await restore_stage(self._log, self._stages[journal.stage], journal)
                self._owned.add(journal)
                self._pipeline.touch(journal)
                self._taken_over_ms[journal.partition] = self._log.clock.stamp_ms()
            return report

    async def drain(self) -> None:
        """Stop taking records, and wait until all that was decided is journalled and published."""
        self._drains += 1
        await self._intake.stop()
        await self._pipeline.flush()
        for journal in self._owned.journals():
            if not journal.published_on_record:
                self._pipeline.touch(journal)
        await self._pipeline.flush()

    def recent_takeovers(self, now_ms: int) -> TakeoverReads:
        """Return what the takeovers of the last hour found, together. Any thread may ask."""
        recent = [each for each in self._recent if each.time_ms > now_ms - RECENT_MS]
        rows, records = sum(each.rows for each in recent), sum(each.records_read for each in recent)
        return TakeoverReads(now_ms, rows, records)

    def _note_recent(self, report: TakeoverReport) -> None:
        now_ms = self._log.clock.stamp_ms()
        kept = [each for each in self._recent if each.time_ms > now_ms - RECENT_MS]
        self._recent = (*kept, TakeoverReads(now_ms, report.rows, report.records_read))

    def settings_differ(self, now_ms: int) -> Mapping[str, int]:
        """Return, by setting, of how many partitions the last owner had another value of it.

        Only those that were taken over within the last hour. Any thread may ask.
        """
        since_ms = now_ms - RECENT_MS
        differing = {
            (name, journal.partition)
            for journal in self._owned.journals()
            if self._taken_over_ms.get(journal.partition, 0) > since_ms
            for name in journal.changed_settings
        }
        return Counter(name for name, _ in differing)

    def _release(self, partition: int) -> None:
        for journal in self._owned.remove(partition):
            self._pipeline.forget(journal)
            self._stages[journal.stage].callbacks.released(partition)
        self._takeover.close_copies({partition})

    def _partition_numbers(self, assigned: AbstractSet[TopicPartition]) -> set[int]:
        """Return the partition numbers that are assigned, each for the inputs of all stages."""
        inputs = {topic for stage in self._stages.values() for topic in stage.assigned_inputs}
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
        if partition >= self._partitions:
            has, have = ("has" if len(topics) == 1 else "have" for topics in (here, elsewhere))
            message = (
                f"{', '.join(here)} {has} more than {self._partitions} partitions now, "
                f"{', '.join(elsewhere)} {have} not: a number is never changed in place, since "
                f"keys would move; go to another one with {command('repartition')}"
            )
            return NotOurs(message)
        message = (
            f"partition {partition} of {', '.join(here)} was assigned to this worker, that of "
            f"{', '.join(elsewhere)} was not: another member of the consumer group {self._app_id} "
            f"has it, or none; is a foreign consumer in the group, or a worker with other topics?"
        )
        return FailStop(message)
