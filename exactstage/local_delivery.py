"""Local delivery: messages between stages of one worker, in memory (docs/design.md 4.4).

A message whose receiver this worker owns need not go through the log. It is delivered locally when
its sender's commit is journalled, so it can't be lost: after a crash the next owner of the sender
publishes it. It is done with when the receiver's commit is journalled, so it is taken once: the
receiver's checkpoint has its output id by then.

Two rules make that safe:

- *No overtaking.* A receiver skips what is not newer than the last message of a source. So one is
  delivered locally only when no older one may still be in the log: the receiver has read up to
  where any of them could be, and none is in flight to it. The other way round, when messages have
  to go through the log after all, all that are queued for the same receiver go there first.
- *No waiting in circles.* Two journals may wait for each other's commits, and each can run only so
  far ahead. A journal that is far ahead gets nothing more locally: the messages go through the log,
  which does not wait.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain

from .journal import Journal
from .limits import MAX_COMMITS_AHEAD, Limits
from .log import Batch, Clock, Record, TopicPartition
from .outputs import Selected, Source
from .ownership import Ownership
from .pipeline import CommitPipeline, CommitRound, PublishJob
from .processing import Processing
from .stage import Stage

MAX_COMMITS_AHEAD_LOCAL = MAX_COMMITS_AHEAD * 3 // 4
"""A journal that has this many commits unpublished gets nothing more locally."""

_new = tuple.__new__

NO_OFFSET = -1
"""Offset of a record that was never in the log."""

Message = tuple[Record, Source]
"""A message as its receiver would read it, but without the header of its output id; its sender."""


@dataclass(eq=False, slots=True)
class LocalRun:
    """Messages of one round for one partition, in order; what is taken is removed."""

    at: TopicPartition
    commit_round: CommitRound
    messages: deque[Message] = field(default_factory=deque)
    size: int = 0
    """Upper bound of the bytes that all its messages took in a batch at first."""

    def as_outputs(self) -> list[Selected]:
        """Return its messages as what they are in the commits of their senders."""
        indexes: dict[tuple[str, int], list[int]] = {}
        for _, (name, (n, index)) in self.messages:
            indexes.setdefault((name, n), []).append(index)
        sent = [commit.publication for commit in self.commit_round.commits]
        by_name = {(f"{each.stage}/{each.partition}", each.commit): each for each in sent}
        return [(by_name[sender], found) for sender, found in indexes.items()]


class LocalQueue:
    """Messages queued for one stage that it has not accepted yet, in the order of arrival."""

    def __init__(self) -> None:
        self._runs: deque[LocalRun] = deque()
        self._bytes: Counter[TopicPartition] = Counter()
        self._come = asyncio.Event()

    def add(self, run: LocalRun) -> None:
        """Put a run behind the others."""
        self._runs.append(run)
        self._bytes[run.at] += run.size
        self._come.set()

    def size(self, at: TopicPartition) -> int:
        """Return how many bytes of messages wait for a partition, at most."""
        return self._bytes[at]

    def oldest_ms(self, at: TopicPartition) -> int | None:
        """Return the time of the first message that waits for a partition; None without one."""
        for run in self._runs:
            if run.at == at and run.messages:
                return run.messages[0][0].timestamp
        return None

    async def first(self) -> LocalRun:
        """Wait for a run, and return the first; it stays until it is finished."""
        await self._come.wait()
        return self._runs[0]

    def finish(self, run: LocalRun) -> None:
        """Remove the first run: it has no messages left."""
        first = self._runs.popleft()
        assert first is run, f"another run waits before that of {run.at}"
        assert not first.messages, f"{run.at}: a message would be lost"
        self._bytes[first.at] -= first.size
        if not self._runs:
            self._come.clear()

    def drain(self, at: TopicPartition) -> Iterator[LocalRun]:
        """Take all messages that wait for a partition away, run by run, in order."""
        self._bytes[at] = 0
        for run in self._runs:
            if run.at == at:
                run.size = 0  # Also of one whose last message was just taken.
                if run.messages:
                    messages, run.messages = run.messages, deque()
                    yield LocalRun(at, run.commit_round, messages)


class LocalDelivery:
    """Routes each output, to the log or to a receiver here, and keeps what is queued in memory."""

    def __init__(
        self,
        stages: Mapping[str, Stage],
        owned: Ownership,
        *,
        clock: Clock,
        limits: Limits,
        enabled: bool,
    ) -> None:
        self._stage_of = {
            topic: stage.name for stage in stages.values() for topic in stage.internal_inputs
        }
        self._journals = {topic: owned.of(stage) for topic, stage in self._stage_of.items()}
        self._clock = clock
        self._limits = limits
        self._enabled = enabled
        self.waiting = {name: LocalQueue() for name in stages}
        self.runs_waiting = 0
        """Runs of messages that are queued in memory, or being taken."""
        self._ends: dict[TopicPartition, int] = {}
        """Offset before which any message of the sources that are owned now is in the log."""
        self._in_flight: Counter[tuple[str, int]] = Counter()
        """Messages that were given to the log and are not acknowledged."""

    def inputs(self, partitions: Sequence[int]) -> list[TopicPartition]:
        """Return the partitions of all topics that carry messages."""
        return [TopicPartition(topic, p) for topic in self._stage_of for p in partitions]

    def oldest_ms(self, at: TopicPartition) -> int | None:
        """Return the time of the first message that waits in memory for a partition, if any."""
        stage = self._stage_of.get(at.topic)
        return None if stage is None else self.waiting[stage].oldest_ms(at)

    def note_log_ends(self, ends: Mapping[TopicPartition, int]) -> None:
        """Note how far the messages of newly owned sources may be in the log."""
        for at, end in ends.items():
            self._ends[at] = max(self._ends.get(at, 0), end)

    def acknowledged(self, batches: Sequence[Batch], offsets: Mapping[TopicPartition, int]) -> None:
        """Note that batches are in the log, where they are."""
        for batch in batches:
            if batch.at.topic in self._stage_of:
                count = len(batch.records)
                self._in_flight[batch.at] -= count
                assert self._in_flight[batch.at] >= 0, f"{batch.at}: one more than was sent"
                # A repeat that the broker knows by its sequence alone has no offset: from then on
                # it is unknown whether all of it was read, until the next assignment.
                if offsets[batch.at] < 0:
                    self._ends.pop(batch.at, None)
                elif batch.at in self._ends:
                    self._ends[batch.at] = offsets[batch.at] + count

    def route(self, commit_round: CommitRound) -> list[PublishJob]:
        """Deliver locally what can be; return what has to go to the log, in order."""
        jobs: list[PublishJob] = []
        runs: dict[tuple[str, int], LocalRun | None] = {}
        outputs: list[Selected] = []
        now_ms = self._clock()
        for commit in commit_round.commits:
            publication = commit.publication
            public = publication.public
            name = f"{publication.stage}/{publication.partition}"
            n, sizes = publication.commit, publication.sizes
            rest: list[int] = []
            for index, output in enumerate(publication.outputs):
                topic, partition, key, value, _, _, headers = output
                if topic in public:
                    rest.append(index)
                    continue
                at = topic, partition
                try:
                    run = runs[at]
                except KeyError:
                    run = runs[at] = self._begin(TopicPartition(*at), commit_round, jobs)
                if run is None:
                    self._in_flight[at] += 1
                    rest.append(index)
                    continue
                record = _new(Record, (topic, partition, NO_OFFSET, now_ms, key, value, headers))
                run.messages.append((record, _new(Source, (name, (n, index)))))
                run.size += sizes[index]
            if rest:
                outputs.append((publication, rest))
        local = [run for run in runs.values() if run is not None]
        sealed = sum(len(commit.publication.outputs) for commit in commit_round.commits)
        ways = [run.messages for run in local], [indexes for _, indexes in outputs]
        assert sum(map(len, chain(*ways))) == sealed, "an output would be lost, or go both ways"
        for run in local:
            commit_round.parts_left += 1
            self.runs_waiting += 1
            self.waiting[self._stage_of[run.at.topic]].add(run)
        if outputs or not local:
            jobs.append(PublishJob(commit_round, outputs))
        else:
            commit_round.parts_left -= 1  # Nothing of it goes to the log.
        return jobs

    def _begin(
        self, at: TopicPartition, commit_round: CommitRound, jobs: list[PublishJob]
    ) -> LocalRun | None:
        """Return the run for messages of a round to a partition; None: they go through the log."""
        if not self._is_open(at):
            return None
        if self.waiting[self._stage_of[at.topic]].size(at) >= self._limits.local_queue_bytes:
            jobs += self.spill_to_log(at)
            return None
        return LocalRun(at, commit_round)

    def _is_open(self, at: TopicPartition) -> bool:
        """Whether no older message for a partition may be in the log, or in flight to it."""
        journals = self._journals.get(at.topic)
        journal = None if journals is None else journals.get(at.partition)
        end = self._ends.get(at)
        return (
            self._enabled
            and journal is not None
            and end is not None
            and not self._in_flight[at]
            and journal.inputs[at.topic] >= end
        )

    def spill_to_log(self, at: TopicPartition) -> list[PublishJob]:
        """Send all messages queued for a partition through the log instead."""
        jobs = []
        for run in self.waiting[self._stage_of[at.topic]].drain(at):
            self._in_flight[at] += len(run.messages)
            run.commit_round.parts_left += 1
            jobs.append(PublishJob(run.commit_round, run.as_outputs()))
        assert not self.waiting[self._stage_of[at.topic]].size(at), "later ones would overtake it"
        return jobs


class Receiving:
    """Accepts the messages that are delivered locally to one stage."""

    def __init__(
        self,
        *,
        processing: Processing,
        local_delivery: LocalDelivery,
        pipeline: CommitPipeline,
        limits: Limits,
    ) -> None:
        self._processing = processing
        self._local_delivery = local_delivery
        self._waiting = local_delivery.waiting[processing.stage.name]
        self._pipeline = pipeline
        self._yield_every = limits.yield_every

    async def run(self) -> None:
        """Take messages for ever."""
        while True:
            run = await self._waiting.first()
            # A partition is given up only when nothing is in flight: so it is there.
            journal = self._processing.journals[run.at.partition]
            assert journal.partition == run.at.partition, f"{journal} is not {run.at}"
            await self._take(run, journal)
            # What was taken is in the open commit or an earlier one.
            journal.when_journalled(partial(self._pipeline.part_done, run.commit_round))
            self._pipeline.touch(journal)
            self._waiting.finish(run)
            self._local_delivery.runs_waiting -= 1

    async def _take(self, run: LocalRun, journal: Journal) -> None:
        taken = 0
        while run.messages:
            if journal.is_full:
                self._pipeline.touch(journal)
                await journal.wait_capacity()
            if journal.ahead >= MAX_COMMITS_AHEAD_LOCAL:
                for job in self._local_delivery.spill_to_log(run.at):
                    self._pipeline.to_publish.put_nowait(job)
            elif run.messages:
                record, source = run.messages.popleft()
                is_new = self._processing.take_message(record, source, journal)
                assert is_new, f"{journal} skips a message of {source} that is in no log"
                taken += 1
                if not taken % self._yield_every:
                    self._pipeline.touch(journal)
                    await asyncio.sleep(0)
        self._processing.handled += taken
