"""Deciding: what a stage decides of records now, into journals that are not written yet."""

from collections.abc import Iterable, Sequence

from exactstage.dead_letters import batch_letter, refusal_of
from exactstage.errors import UnreadableBatch
from exactstage.journal import Journal  # noqa: TC001 - an attribute's type, which docs may read
from exactstage.limits import Limits
from exactstage.log import Log, Record, TopicPartition
from exactstage.outputs import Output
from exactstage.pipeline import CommitPipeline
from exactstage.processing import Processing, Run
from exactstage.stage import Stage, senders_of
from exactstage.vouching import Vouching

from .new_journals import NewJournal


class Deciding:
    """Decides records as a worker would that reads them now; nothing is appended anywhere.

    Methods that add to a journal raise ``TooManyCommits``.
    """

    def __init__(
        self,
        log: Log,
        stages: Sequence[Stage],
        stage: Stage,
        partitions: int,
        limits: Limits | None = None,
    ) -> None:
        """Decide records of ``stage``, one of the ``stages`` of its application."""
        self._stage = stage
        self._limits = limits or Limits()
        self._journals: dict[int, Journal] = {}
        """The journal that a record is decided for, by its partition."""
        self._processing = Processing(
            stage,
            partitions,
            CommitPipeline(),  # Nothing takes from it: ``NewJournal`` seals a journal's commits.
            self._limits,
            senders=senders_of(stage, stages, partitions),
            vouching=Vouching(log, {}),
            journals=self._journals,
        )

    def restore(self, journals: Iterable[NewJournal]) -> None:
        """Let the stage build what it keeps beside the rows, as after a takeover."""
        for journal in journals:
            self._stage.callbacks.restored(journal.partition, journal.journal.rows)

    async def decide(self, record: Record, journal: NewJournal) -> None:
        """Decide a record on the partition of the journal."""
        await self._handle(record, journal)
        journal.accept()

    async def outputs_of(self, record: Record, partition: int) -> Sequence[Output]:
        """Return what the stage would publish for a record that sees no rows; nothing changes."""
        scratch = NewJournal(self._stage, partition, {}, base=0, limits=self._limits)
        await self._handle(record, scratch)
        return scratch.journal.seal().publication.outputs

    def refuse(self, record: Record, batch: UnreadableBatch, journal: NewJournal) -> None:
        """Have a record of a dead-lettered batch answered."""
        self._stage.callbacks.on_error(record, refusal_of(batch), journal.journal)
        journal.accept()

    def dead_letter(self, batch: UnreadableBatch, journal: NewJournal, *, unanswered: int) -> None:
        """Publish the dead letter of a batch, ``unanswered`` of whose records were not refused."""
        journal.publish(
            batch_letter(self._stage, batch.partition, batch, self._limits, unanswered=unanswered)
        )
        journal.accept()

    async def _handle(self, record: Record, journal: NewJournal) -> None:
        inner, topic = journal.journal, record.topic
        inner.inputs[topic] = 0  # Whatever its offset is: it was not handled.
        run = Run(TopicPartition(topic, inner.partition), [record])
        self._journals[inner.partition] = inner
        await self._processing.handle([run])
