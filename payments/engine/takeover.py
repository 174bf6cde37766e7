"""Taking over partitions: claim, fence, restore, publish what was left (DESIGN 4.3, 4.5)."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .checkpoint import FENCE_KEY, Checkpoint
from .committer import publish
from .errors import PositionLost
from .journal import Journal
from .limits import Limits
from .log import NO_HEADERS, Batch, Lane, Log, TopicPartition, Writer
from .outputs import Position, Rounds, size_of
from .restoring import read_journals
from .stage import Stage
from .tails import last_positions


class Superseded(Exception):  # noqa: N818 - an outcome, not an error
    """A newer assignment has come: what was being taken over may be another worker's by now."""


@dataclass
class TakeoverReport:
    """What a takeover did and how long each part took."""

    partitions: list[int]
    rows: int = 0
    records_read: int = 0
    republished: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return one line for the log."""
        parts = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in self.seconds.items())
        return (
            f"took over partitions {self.partitions}: {self.rows} rows from "
            f"{self.records_read} records, {self.republished} outputs republished ({parts})"
        )


class Takeover:
    """Brings partitions of all stages to the point where this worker goes on with them."""

    def __init__(
        self,
        *,
        log: Log,
        claim_prefix: str,
        stages: Sequence[Stage],
        messenger: Writer,
        limits: Limits,
    ) -> None:
        self._log = log
        self._claim_prefix = claim_prefix
        self._stages = stages
        self._messenger = messenger
        self._limits = limits

    def claim_name(self, partition: int) -> str:
        """Return the transactional id that owns a partition number."""
        return f"{self._claim_prefix}-{partition}"

    def visible_at(self, partition: int) -> list[TopicPartition]:
        """Return the visible outputs that the owner of a partition number writes."""
        topics = sorted({topic for stage in self._stages for topic in stage.visible})
        return [TopicPartition(topic, partition) for topic in topics]

    async def renew(self, partition: int, writer: Writer) -> None:
        """Renew the claim of a partition, over its visible outputs and its journals."""
        journals = [TopicPartition(stage.changelog, partition) for stage in self._stages]
        fenced = self.visible_at(partition) + journals
        await self._log.renew(self.claim_name(partition), writer, fenced)

    async def run(
        self, partitions: Iterable[int], still_wanted: Callable[[], bool] = lambda: True
    ) -> tuple[list[Journal], TakeoverReport]:
        """Take over ``partitions``; return their journals, ready to go on.

        1. Claim each partition: from here on no older owner writes to its visible outputs.
        2. Fence each journal with a tombstone of the new epoch: from here on it does not grow.
        3. Read each journal up to its fence: rows, and checkpoints by number.
        4. Find out how far publishing got, and publish again what is later than that.
        5. Find where the inputs go on, and check that the log still has it.

        Raises ``Superseded`` when ``still_wanted`` says no before a step that others would feel,
        ``Fenced`` when another worker claims a partition meanwhile, ``JournalBroken`` and
        ``PositionLost`` where going on could lose or repeat something.
        """

        def require_wanted() -> None:
            if not still_wanted():
                raise Superseded

        report = TakeoverReport(sorted(partitions))
        timer = _Timer(report.seconds)
        writers = await self._claim(report.partitions, require_wanted)
        require_wanted()
        timer.lap("claim")
        journals = [
            self._new_journal(stage, partition, writers[partition])
            for stage in self._stages
            for partition in report.partitions
        ]
        fence = [(FENCE_KEY, None, NO_HEADERS)]
        fences = await self._log.append(
            [Batch(journal.at, journal.writer, fence) for journal in journals], Lane.JOURNAL
        )
        timer.lap("fence")
        checkpoints, report.records_read = await read_journals(self._log, journals, fences)
        report.rows = sum(len(journal.rows) for journal in journals)
        timer.lap("restore")
        require_wanted()
        report.republished = await self._republish(checkpoints)
        timer.lap("republish")
        await self._find_positions(journals)
        timer.lap("positions")
        return journals, report

    def _new_journal(self, stage: Stage, partition: int, writer: Writer) -> Journal:
        return Journal(
            stage=stage.name,
            partition=partition,
            changelog=stage.changelog,
            visible=stage.visible,
            writer=writer,
            limits=self._limits,
        )

    async def _claim(
        self, partitions: Sequence[int], require_wanted: Callable[[], None]
    ) -> dict[int, Writer]:
        slots = asyncio.Semaphore(self._limits.concurrent_claims)

        async def claim(partition: int) -> Writer:
            async with slots:
                require_wanted()
                return await self._log.claim(self.claim_name(partition), self.visible_at(partition))

        writers = await asyncio.gather(*map(claim, partitions))
        return dict(zip(partitions, writers, strict=True))

    async def _republish(self, checkpoints: Mapping[Journal, Sequence[Checkpoint]]) -> int:
        """Publish outputs of groups that are not known to be published.

        Visible ones only past the last position at the tail of their partition, which is fenced;
        messages always, since their receiver skips what it has.
        """
        left: dict[Journal, list[Checkpoint]] = {}
        for journal, found in checkpoints.items():
            if found:
                journal.restore(found)
                left[journal] = [c for c in found if c.n > journal.published and c.outputs]
        tails = await self._tails([journal for journal, later in left.items() if later])
        rounds = Rounds(self._limits.batch_bytes)
        for journal, later in left.items():
            for checkpoint in later:
                sizes = [size_of(o.key, o.value, o.headers) for o in checkpoint.outputs]
                publication = journal.publication(checkpoint.n, checkpoint.outputs, sizes)
                publication.add_to(rounds, self._messenger, after=tails[journal])
            journal.published = journal.n
        await publish(self._log, rounds)
        return rounds.count

    async def _tails(self, journals: Sequence[Journal]) -> dict[Journal, dict[str, Position]]:
        """Return, for each journal, the last published position of each visible topic."""
        tails: dict[Journal, dict[str, Position]] = {}
        for stage in self._stages:
            mine = [journal for journal in journals if journal.stage == stage.name]
            at = [TopicPartition(topic, j.partition) for j in mine for topic in stage.visible]
            found = await last_positions(self._log, stage.name, at) if at else {}
            for journal in mine:
                tails[journal] = {
                    topic: found[TopicPartition(topic, journal.partition)]
                    for topic in stage.visible
                }
        return tails

    async def _find_positions(self, journals: Sequence[Journal]) -> None:
        """Set where each input goes on. Raises ``PositionLost`` when the log does not have it."""
        inputs = {stage.name: stage.inputs for stage in self._stages}
        at = [TopicPartition(topic, j.partition) for j in journals for topic in inputs[j.stage]]
        bounds = await self._log.bounds(at)
        for journal in journals:
            for topic in inputs[journal.stage]:
                held = bounds[TopicPartition(topic, journal.partition)]
                position = journal.inputs.setdefault(topic, held.first)
                if not held.first <= position <= held.end:
                    message = (
                        f"{journal.at} goes on at {topic}/{journal.partition}/{position}, but the "
                        f"broker has {held.first} to {held.end} there. Records were deleted "
                        f"before they were handled (retention, or the topic was made anew). Find "
                        f"out which are lost, then start with a new app id or restore the topic"
                    )
                    raise PositionLost(message)


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
