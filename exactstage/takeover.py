"""Takeover: claim, fence, restore, check, publish what was left (docs/design.md 4.3, 4.5)."""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from .advice import command, setting
from .checkpoint import FENCE_KEY, Checkpoint
from .consistency import (
    Evidence,
    Surroundings,
    identify,
    missing_messages,
    recognise,
    require_all_there,
)
from .copy_restoring import SHARE_OF_TOMBSTONES, belonging
from .epochs import truncated_after_handling
from .errors import FailStop, JournalBroken, NotOurs, PositionLost
from .foreign import described, foreign_reason
from .journal import Journal
from .limits import Limits
from .local_copy import StateDirectory
from .log import NO_EPOCH, NO_HEADERS, Batch, Bounds, Channel, Cluster, Log, TopicPartition, Writer
from .outputs import Rounds, publish, size_of
from .partition_claims import PartitionClaims
from .restoring import Copies, Restored, last_identity, read_journals
from .senders import Owner
from .slow_disk import when_disk_allows
from .stage import Stage, topics_of
from .tails import NOTHING, Tail, read_tails

logger = logging.getLogger(__name__)


class Superseded(Exception):
    """A newer assignment has come: what was being taken over may be another worker's by now."""


@dataclass
class TakeoverReport:
    """What a takeover did and how long each part took."""

    partitions: list[int]
    rows: int = 0
    records_read: int = 0
    copies: tuple[int, int] | None = None
    """With rows on disk: local copies that were used, and journals."""

    republished: int = 0
    missing_messages: Sequence[str] = ()
    """A line for each receiver that lacks messages which were acknowledged."""

    seconds: dict[str, float] = field(default_factory=dict)

    def note_restored(self, restored: Restored, journals: Sequence[Journal]) -> None:
        """Take what reading the journals gave."""
        self.records_read = restored.records_read
        if restored.copies_used is not None:
            self.copies = restored.copies_used, len(journals)
        self.rows = sum(journal.row_count for journal in journals)

    def __str__(self) -> str:
        """Return one line for the log."""
        parts = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in self.seconds.items())
        copies = ""
        if self.copies is not None:
            used, journals = self.copies
            copies = f", {used} of {journals} copies used"
        return (
            f"took over partitions {self.partitions}: {self.rows} rows from "
            f"{self.records_read} records{copies}, "
            f"{self.republished} outputs republished ({parts})"
        )


async def require_own_installation(
    log: Log, app_id: str, stages: Sequence[Stage], partitions: int
) -> None:
    """Look at one partition before anything is claimed, whether a worker belongs here.

    A worker with the settings of another installation would otherwise throw that one's workers
    out, again and again, before it refuses. Nothing is written. Raises ``NotOurs``.
    """
    writers = {
        TopicPartition(topic, 0): stage.name for stage in stages for topic in sorted(stage.public)
    }
    journals = [TopicPartition(stage.changelog, 0) for stage in stages]
    cluster, tails, identities = await asyncio.gather(
        log.describe(topics_of(stages)),
        read_tails(log, writers),
        asyncio.gather(*(last_identity(log, at) for at in journals)),
    )
    around = Surroundings(app_id, stages, partitions, cluster)
    recognise(around, dict(zip(journals, identities, strict=True)), tails)


class Takeover:
    """Brings partitions of all stages to the point where this worker continues with them."""

    def __init__(
        self,
        *,
        log: Log,
        app_id: str,
        stages: Sequence[Stage],
        partitions: int,
        messenger: Writer,
        limits: Limits,
        moved: Mapping[TopicPartition, int] = MappingProxyType({}),
        owner_here: Callable[[str], Owner | None] = lambda _: None,
        tombstone_seconds: float = math.inf,
        state: StateDirectory | None = None,
    ) -> None:
        """Prepare; ``moved`` are positions that an operator chose instead of the journals' own.

        With ``state`` rows are on disk, and only what a local copy there lacks is read.
        """
        self._state = state
        self._moved = moved
        self.longest_restore_seconds = tombstone_seconds * SHARE_OF_TOMBSTONES
        """For how long it is sure that no tombstone goes unread."""
        self._log = log
        self._partitions = partitions
        self._owner_here = owner_here
        self._app_id = app_id
        self.claims = PartitionClaims(log, app_id, stages)
        """Claims what it takes over, and renews the claims later."""
        self._stages = stages
        self._messenger = messenger
        self._limits = limits

    async def run(
        self,
        partitions: Iterable[int],
        still_wanted: Callable[[], bool] = lambda: True,
        owned: Collection[Journal] = (),
    ) -> tuple[list[Journal], TakeoverReport]:
        """Take over ``partitions``; return their journals, ready to continue.

        0. Mark journals that nothing was ever written to, so that a claim shows.
        1. Claim each partition: from here on no older owner writes to its public outputs.
        2. Fence each journal with a tombstone of the new epoch: from here on it does not grow.
        3. Read each journal up to its fence: rows, and checkpoints by number. At the same time find
           out how far publishing got.
        4. Check that all of it fits together, and with the journals that are ``owned`` already.
        5. Find where the inputs continue, and check that the log still has it.
        6. Publish again what is later than what was published.
        7. Let empty journals say what they are written for, so that they never look new again.

        Raises ``Superseded`` when ``still_wanted`` says no before a step that others would feel,
        ``Fenced`` when another worker claims a partition, ``NotOurs``, ``RecordsLost``,
        ``JournalBroken`` and ``PositionLost`` where continuing could lose or repeat something.
        """

        def require_wanted() -> None:
            if not still_wanted():
                raise Superseded

        report = TakeoverReport(sorted(partitions))
        timer = _Timer(report.seconds)
        await self._mark_unused(report.partitions)
        timer.lap("look")
        journals, cluster = await asyncio.gather(
            self._claim(report.partitions, require_wanted),
            self._log.describe(topics_of(self._stages)),
        )
        require_wanted()
        timer.lap("claim")
        fences = await self._fence(journals)
        timer.lap("fence")
        restored, tails = await asyncio.gather(
            read_journals(self._log, journals, fences, self._copies(cluster)),
            self._tails(journals),
        )
        report.note_restored(restored, journals)
        timer.lap("restore")
        self._require_tombstones(report.partitions, restored.seconds)
        evidence = await self._checked(cluster, restored, tails, owned)
        timer.lap("check")
        ends = {at: held.end for at, held in (await self._find_positions(journals)).items()}
        report.missing_messages = missing_messages(evidence, self._stages, ends)
        for line in report.missing_messages:
            logger.warning("%s", line)
        timer.lap("positions")
        require_wanted()
        report.republished = await self._republish(restored.checkpoints, tails)
        timer.lap("republish")
        await self._introduce(journals)
        timer.lap("introduce")
        return journals, report

    def close_copies(self, partitions: Iterable[int]) -> None:
        """Close the local copies of partitions that this worker does not own; they stay."""
        if self._state is None:
            return
        for partition in partitions:
            for stage in self._stages:
                self._state.close_copy(TopicPartition(stage.changelog, partition))

    async def _checked(
        self,
        cluster: Cluster,
        restored: Restored,
        tails: Mapping[TopicPartition, Tail],
        owned: Collection[Journal],
    ) -> Sequence[Evidence]:
        """Check that all of it fits together.

        Raises ``Fenced`` instead of another ``FailStop`` where that has made it look wrong.
        """
        try:
            return self._check(cluster, restored, tails, owned)
        except FailStop:
            # A worker that has claimed since writes what looks impossible here; or had claimed what
            # this one believes to own still.
            held = {
                journal.partition: journal.writer for journal in (*owned, *restored.checkpoints)
            }
            for partition, writer in held.items():
                await self.claims.renew(partition, writer)
            raise

    def _check(
        self,
        cluster: Cluster,
        restored: Restored,
        tails: Mapping[TopicPartition, Tail],
        owned: Collection[Journal],
    ) -> Sequence[Evidence]:
        """Let the journals continue from what they hold, if all of it fits together."""
        evidence: list[Evidence] = []
        for journal, checkpoints in restored.checkpoints.items():
            if checkpoints:
                journal.restore(checkpoints)
            ends = {
                topic: tails[TopicPartition(topic, journal.partition)] for topic in journal.public
            }
            evidence.append(Evidence(journal, checkpoints, restored.held[journal.at], ends))
        around = Surroundings(self._app_id, self._stages, self._partitions, cluster)
        identify(around, evidence, owned)
        for each in evidence:
            foreign = restored.foreign.get(each.journal)
            is_copied = each.recorded is not None and each.recorded.copied
            if foreign is not None and (why := foreign_reason(foreign, copied=is_copied)):
                raise JournalBroken(described(foreign, why))
        require_all_there(evidence, owned)
        return evidence

    async def _mark_unused(self, partitions: Sequence[int]) -> None:
        """Leave a mark in journals that nothing was ever written to, before they are claimed.

        A claim leaves control records on the public partitions, before there is any record. So
        where they are, and the journal is not even marked, another app id has claimed the topics,
        or the journal was recreated. Raises ``NotOurs``.
        """
        at = [TopicPartition(stage.changelog, p) for stage in self._stages for p in partitions]
        if all(held.end for held in (await self._log.bounds(at)).values()):
            return
        public = [tp for partition in partitions for tp in self.claims.public_at(partition)]
        # In this order: a worker of this app id that has claimed there by now had marked the
        # journal.
        claimed = await self._log.bounds(public)
        held = await self._log.bounds(at)
        unused = [tp for tp in at if not held[tp].end]
        await self._require_unclaimed(unused, claimed)
        mark = [(FENCE_KEY, None, NO_HEADERS)]
        batches = [Batch(tp, self._messenger, mark) for tp in unused]
        if batches:
            await self._log.append(batches, Channel.JOURNAL)

    async def _require_unclaimed(
        self, unused: Sequence[TopicPartition], claimed: Mapping[TopicPartition, Bounds]
    ) -> None:
        """Raise ``NotOurs`` where public partitions beside unused journals have been claimed.

        Where a stage has written records there, they show more: that comes later, with the claim.
        """
        suspects = {
            at: next(tp for tp in claimed if tp.partition == at.partition and claimed[tp].end)
            for at in unused
            if any(tp.partition == at.partition and held.end for tp, held in claimed.items())
        }
        if not suspects:
            return
        numbers = {at.partition for at in suspects}
        writers = {
            TopicPartition(topic, partition): stage.name
            for stage in self._stages
            for topic in sorted(stage.public)
            for partition in numbers
        }
        recorded = {
            tp.partition
            for tp, tail in (await read_tails(self._log, writers)).items()
            if tail.output_id != NOTHING
        }
        for at, public in suspects.items():
            if at.partition not in recorded:
                message = (
                    f"{at} holds nothing, not even the mark that workers of {setting('APP_ID')} "
                    f"{self._app_id} leave before their first claim, but {public} was "
                    f"claimed before (it ends at {claimed[public].end}): another app id uses the "
                    f"same topics, or the journal was made anew; set {setting('APP_ID')} to that "
                    f"one, "
                    f"or give this installation topics of its own ({setting('TOPIC_PREFIX')}, "
                    f"then: "
                    f"{command('topics apply')})"
                )
                raise NotOurs(message)

    async def _introduce(self, journals: Sequence[Journal]) -> None:
        """Write the first checkpoint of empty journals."""
        commits = [journal.seal() for journal in journals if not journal.n]
        if commits:
            batches = [commit.batch for commit in commits]
            offsets = await self._log.append(batches, Channel.JOURNAL)
        for commit in commits:
            commit.journal.published = commit.journal.n
            offset = offsets[commit.batch.at]
            await when_disk_allows(
                commit.batch.at,
                partial(commit.journal.acknowledged, commit, offset, self._log.clock),
            )

    def _copies(self, cluster: Cluster) -> Copies | None:
        """Return the local copies, for what this worker and its broker are."""
        if self._state is None:
            return None
        stages = {stage.name: stage for stage in self._stages}
        return Copies(
            self._state,
            stages,
            lambda journal: self.belongs(stages[journal.stage], journal.partition, cluster),
            clock=self._log.clock,
            age_limit_seconds=self.longest_restore_seconds,
        )

    def belongs(self, stage: Stage, partition: int, cluster: Cluster) -> Mapping[str, object]:
        """Return what has to be the same for a copy to be of this journal, as this worker is."""
        return belonging(
            self._app_id, cluster, stage, partition=partition, partitions=self._partitions
        )

    def _require_tombstones(self, partitions: Sequence[int], took_seconds: float) -> None:
        """Raise ``FailStop`` when the restore took so long that it may have missed a tombstone.

        A row that was read before its tombstone went, and before the tombstone was read, would live
        again. A tombstone stays for ``delete.retention.ms`` from the compaction on that took the
        row; the rest of it is for the time that this compaction itself may have taken.
        """
        limit_seconds = self.longest_restore_seconds
        if took_seconds > limit_seconds:
            message = (
                f"reading the journals of partitions {partitions} took {took_seconds:.0f} s, more "
                f"than the {limit_seconds:.0f} s for which it is sure that no tombstone was "
                f"compacted away: raise delete.retention.ms of the changelogs in "
                f"topics.yaml (or an own stage's file), run {command('topics apply')} (--file for "
                f"that), and start the worker again (nothing is lost)"
            )
            raise FailStop(message)

    def _new_journal(self, stage: Stage, partition: int, writer: Writer) -> Journal:
        return Journal(
            stage=stage.name,
            partition=partition,
            changelog=stage.changelog,
            public=stage.public,
            emits=stage.emits,
            writer=writer,
            limits=self._limits,
            owner_here=self._owner_here,
            partitions=self._partitions,
            timers=stage.timers,
        )

    async def _claim(
        self, partitions: Sequence[int], require_wanted: Callable[[], None]
    ) -> list[Journal]:
        """Claim each partition; return the journals that this worker may write, still empty."""
        slots = asyncio.Semaphore(self._limits.concurrent_claims)

        async def claim(partition: int) -> Writer:
            async with slots:
                require_wanted()
                return await self.claims.claim(partition)

        writers = await asyncio.gather(*map(claim, partitions))
        return [
            self._new_journal(stage, partition, writer)
            for stage in self._stages
            for partition, writer in zip(partitions, writers, strict=True)
        ]

    async def _fence(self, journals: Sequence[Journal]) -> Mapping[TopicPartition, int]:
        """Append a tombstone of the new epoch to each journal; return where it is."""
        fence = [(FENCE_KEY, None, NO_HEADERS)]
        return await self._log.append(
            [Batch(journal.at, journal.writer, fence) for journal in journals], Channel.JOURNAL
        )

    async def _republish(
        self,
        checkpoints: Mapping[Journal, Sequence[Checkpoint]],
        tails: Mapping[TopicPartition, Tail],
    ) -> int:
        """Publish outputs of commits that are not known to be published.

        Public ones only past the last output id at the tail of their partition, which is fenced;
        messages always, since their receiver skips what it has.
        """
        rounds = Rounds(self._limits.batch_bytes)
        for journal, found in checkpoints.items():
            after = {
                topic: tails[TopicPartition(topic, journal.partition)].output_id
                for topic in journal.public
            }
            unpublished = [checkpoint for checkpoint in found if checkpoint.n > journal.published]
            assert [checkpoint.n for checkpoint in unpublished] == [
                *range(journal.published + 1, journal.n + 1)
            ], f"{journal}: outputs of a commit would be lost"
            for checkpoint in unpublished:
                assert all(
                    output.partition == journal.partition
                    for output in checkpoint.outputs
                    if output.topic in journal.public
                ), f"{journal}: an output would go where another worker is the owner"
                if checkpoint.outputs:
                    sizes = [size_of(o.key, o.value, o.headers) for o in checkpoint.outputs]
                    publication = journal.publication(checkpoint.n, checkpoint.outputs, sizes)
                    publication.add_to(rounds, self._messenger, after=after)
            journal.published = journal.n
        await publish(self._log, rounds)
        return rounds.count

    async def _tails(self, journals: Sequence[Journal]) -> Mapping[TopicPartition, Tail]:
        """Return how far publishing got, for each public partition of these journals."""
        writers = {
            TopicPartition(topic, journal.partition): journal.stage
            for journal in journals
            for topic in sorted(journal.public)
        }
        return await read_tails(self._log, writers)

    async def _find_positions(self, journals: Sequence[Journal]) -> Mapping[TopicPartition, Bounds]:
        """Set where each input continues; return what the inputs hold.

        Raises ``PositionLost`` when the log does not have a position, ``RecordsLost`` when it has
        lost what was handled before one.
        """
        inputs = {
            TopicPartition(topic, journal.partition): journal
            for stage in self._stages
            for journal in journals
            if journal.stage == stage.name
            for topic in stage.inputs
        }
        for tp, journal in inputs.items():
            if tp in self._moved:
                journal.inputs[tp.topic] = self._moved[tp]
                journal.reads(tp.topic, NO_EPOCH)
        epochs = {
            tp: journal.epochs[tp.topic]
            for tp, journal in inputs.items()
            if tp.topic in journal.epochs
        }
        bounds, ends = await asyncio.gather(
            self._log.bounds(list(inputs)), self._log.epoch_ends(epochs)
        )
        for tp, journal in inputs.items():
            held = bounds[tp]
            position = journal.inputs.setdefault(tp.topic, held.first)
            if self._moved:
                continue  # The other inputs may be lost too: each is moved by itself.
            if (end := ends.get(tp, position)) < position:
                raise truncated_after_handling(journal.at, tp, position, epochs[tp], end)
            if not held.first <= position <= held.end:
                message = (
                    f"{journal.at} continues at {tp.address(position)}, but the broker has "
                    f"{held.first} to {held.end} there: records were deleted before they were "
                    f"handled (retention, or deleted by hand). Restore the topic, or give the "
                    f"missing records up with: {command('journal skip')}"
                )
                raise PositionLost(message)
        return bounds


class _Timer:
    """Notes how long each part took."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self._seconds = seconds
        self._now = asyncio.get_running_loop().time  # The simulation's loop has its own time.
        self._last = self._now()

    def lap(self, name: str) -> None:
        now = self._now()
        self._seconds[name] = now - self._last
        self._last = now
