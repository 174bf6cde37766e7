"""A journal: what one stage has decided for one partition, in memory and on its way to the log.

Nothing that a decision changes leaves the process before its commit is journalled
(docs/design.md 4.1, 4.2). What a stage does with it while it decides is its ``Context``.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from .checkpoint import Checkpoint, checkpoint_key, encode_checkpoint
from .context import MAX_PARTITIONS, Context, RowTimers
from .identity import IDENTITY_EVERY, Identity
from .limits import MAX_COMMITS_AHEAD, Limits
from .local_rows import LocalRows
from .log import NO_EPOCH, NO_HEADERS, Batch, Header, TopicPartition, Writer
from .outputs import INSTALLATION, Output, OutputId, Publication
from .senders import KnownSenders, Owner, owner_header, writer_number

_ROW_BYTES = 40
"""What a row weighs in a batch beside key and value: an upper bound."""


class CommitBatch(NamedTuple):
    """A closed commit: the batch for the journal, and what is published afterwards."""

    journal: "Journal"
    batch: Batch
    publication: Publication
    callbacks: list[Callable[[], None]]
    """What is called when it is journalled."""

    when_published: Sequence[Callable[[int], None]] = ()
    """What is called, with the log's time, when its outputs are acknowledged."""


class LastPublished:
    """How far publishing got: the last output of one journal for each public topic.

    What the topics themselves show is in ``tails``; a takeover compares the two.
    """

    def __init__(self, topics: frozenset[str]) -> None:
        self._topics = topics
        self.sent: dict[str, OutputId] = {}
        """Last output that went, or will go, to each public topic."""
        self.surely: dict[str, OutputId] = {}
        """Last output that each topic holds at least, by the restored checkpoints."""

    def note(self, commit: int, outputs: Sequence[Output]) -> None:
        """Note the last output of a sealed commit for each public topic."""
        for topic in {output[0] for output in outputs} & self._topics:
            index = len(outputs) - 1
            while outputs[index][0] != topic:
                index -= 1
            self.sent[topic] = (commit, index)

    def restore(self, checkpoint: Checkpoint, *, published: int) -> None:
        """Take what a checkpoint of the ring has; commits up to ``published`` are published."""
        self.sent |= checkpoint.sent
        self.sent |= checkpoint.last_public(self._topics)
        known = {topic: last for topic, last in self.sent.items() if last[0] <= published}
        self.surely |= known


class Journal(Context):
    """Rows, open commit and positions of one stage and partition."""

    def __init__(
        self,
        *,
        stage: str,
        partition: int,
        changelog: str,
        public: frozenset[str],
        emits: frozenset[str],
        writer: Writer,
        limits: Limits,
        owner_here: Callable[[str], Owner | None] = lambda _: None,
        partitions: int = MAX_PARTITIONS,
        timers: RowTimers | None = None,
    ) -> None:
        super().__init__(
            stage=stage,
            partition=partition,
            public=public,
            emits=emits,
            limits=limits,
            partitions=partitions,
            timers=timers,
        )
        self.at = TopicPartition(changelog, partition)
        self.writer = writer
        self.inputs, self.epochs = dict[str, int](), dict[str, int]()
        """Next offset by topic; leader epoch of the records before it, or a newer one."""
        self.reached: dict[str, int] = {}
        """Timestamp of the record that was handled last, by topic; none before the first one."""
        self.senders = KnownSenders(self.at, owner_here)
        """What it knows of the journals that send it messages."""
        self.last_published = LastPublished(public)
        """As far as the journal itself knows."""
        self.n = 0
        """Number of the last sealed commit."""
        self.published = 0
        """All outputs of commits up to this one are acknowledged."""
        self.identity: Identity | None = None
        """What it is written for, once the takeover has established it."""
        self.changed_settings: Collection[str] = ()
        """Settings of which the owner before this one had another value."""
        self._owes_identity = False
        """Whether this ownership has yet to write the identity."""
        self.owner: Owner | None = None
        """This ownership, as receivers of messages know it."""
        self._signature: tuple[Sequence[Header], Sequence[Header]] = ((), ())
        """Headers that name the installation in public records, and the owner in messages."""
        self._last_with_outputs = self._published_on_record = 0
        self._changed: dict[bytes, bytes | None] = {}
        self._outputs, self._sizes, self._bytes = list[Output](), list[int](), 0
        self.is_full = False
        """Whether the open commit has to be sealed before it takes another decision."""
        self._may_grow = asyncio.Event()
        self._may_grow.set()

    def __repr__(self) -> str:
        """Name it as it is named in messages."""
        return f"{self.stage}/{self.partition}"

    # --- what the processing does around it ------------------------------------------------------

    def accept(self) -> None:
        """Add what is staged to the open commit: the decision is made."""
        if not self._staged_rows and not self._staged_outputs:
            return
        rows, changed, size = self.rows, self._changed, self._bytes
        for key, row in self._staged_rows:
            changed[key] = row
            if row is None:
                rows.pop(key, None)
                size += len(key) + _ROW_BYTES
            else:
                rows[key] = row
                size += len(key) + len(row) + _ROW_BYTES
        if self.local is not None:
            self.local.accepted(self._staged_rows)
        self._staged_rows.clear()
        if self._staged_timers:
            for time_ms, key in self._staged_timers:
                self.timer_index.add(time_ms, key)
            self._staged_timers.clear()
        if self._staged_outputs:
            self._outputs += self._staged_outputs
            self._staged_outputs.clear()
            sizes = self._staged_sizes
            self._sizes += sizes
            size += sum(sizes)
            sizes.clear()
        self._bytes = size
        self._open = True
        if size >= self.limits.commit_bytes:
            self.is_full = True
            self._may_grow.clear()

    def tick(self, tick: Callable[[Context, int, int], bool], now_ms: int, limit: int) -> bool:
        """Run a stage's ``tick``, and make its decision; return whether more is due now."""
        self.time_ms, self.source = now_ms, None
        self._given.clear()
        self._took_timers = False
        more = tick(self, now_ms, limit)
        self.accept()
        if self.local is not None and self.local.wants_commit:
            self._open = True
        return more or (self._took_timers and self.timer_index.is_due(now_ms))

    def advance(self, topic: str, position: int) -> None:
        """Note that the records before ``position`` are handled.

        It has to come before the next ``await``: a commit may be sealed there.
        """
        self.source = None
        self.inputs[topic] = position
        self._open = True

    def reads(self, topic: str, epoch: int) -> None:
        """Note the leader epoch of the records that are handled next.

        A newer one than a position's own does no harm: a leader that has lost that has a newer one.
        """
        if epoch == NO_EPOCH:
            self.epochs.pop(topic, None)
        else:
            self.epochs[topic] = epoch

    def release_waiters(self) -> None:
        """Release what waits for capacity: nothing will be sealed here any more."""
        self.is_full = False
        self._may_grow.set()

    async def wait_capacity(self) -> None:
        """Wait until the open commit may grow."""
        await self._may_grow.wait()

    # --- what the committer does -----------------------------------------------------------------

    def skip_to(self, topic: str, position: int, epoch: int = NO_EPOCH) -> None:
        """Note that nothing is left to handle before ``position``: control records, at most.

        Without this, retention could delete them and make the position look lost.
        """
        if position > self.inputs[topic]:
            self.reads(topic, epoch)
            self.inputs[topic] = position
            self._open = True

    @property
    def is_open(self) -> bool:
        """Whether something is decided that is not sealed yet."""
        return self._open

    @property
    def ahead(self) -> int:
        """How many commits are sealed and not published."""
        return self.n - self.published

    @property
    def may_seal(self) -> bool:
        """Whether the ring has a slot that no crash would need."""
        return self.ahead < MAX_COMMITS_AHEAD

    @property
    def published_on_record(self) -> bool:
        """Whether the journal itself says that every output is published."""
        return self._published_on_record >= self._last_with_outputs and not self._open

    def seal(self) -> CommitBatch:
        """Close the open commit: its rows and then its checkpoint, as one batch."""
        assert self.may_seal, f"{self}: commit {self.n + 1} would overwrite a needed checkpoint"
        if self._finishing:
            for finish in self._finishing:
                finish()
            self._finishing.clear()
            self.accept()
        staged = self._staged_rows or self._staged_outputs
        assert not staged, f"{self}: half a decision would be left for the next commit"
        rows = [(key, row, NO_HEADERS) for key, row in self._changed.items()]
        outputs, self._outputs = self._outputs, []
        sizes, self._sizes = self._sizes, []
        callbacks, self._callbacks = self._callbacks, []
        published, self._when_published = self._when_published, []
        self._changed, self._bytes, self._open = {}, 0, False
        self.is_full = False
        self._may_grow.set()
        self.n += 1
        if self.local is not None:
            self.local.sealed(self.n, [key for key, _, _ in rows])
        self._published_on_record = self.published
        publication = self.publication(self.n, outputs, sizes)
        checkpoint = Checkpoint(
            n=self.n,
            published=self.published,
            inputs=self.inputs,
            sources=self.senders.for_checkpoint(),
            outputs=outputs,
            identity=self._identity_for_checkpoint(),
            sent=self.last_published.sent,
            owners=self.senders.owners,
            epochs=self.epochs,
        )
        rows.append((checkpoint_key(self.n), encode_checkpoint(checkpoint), NO_HEADERS))
        if outputs:
            self._last_with_outputs = self.n
            self.last_published.note(self.n, outputs)
        batch = Batch(self.at, self.writer, rows)
        return CommitBatch(self, batch, publication, callbacks, published)

    def acknowledged(self, commit: CommitBatch, offset: int, clock: Callable[[], int]) -> None:
        """Take a commit that the journal has into the local copy, if there is one.

        Raises ``DiskBehind`` where it has to come again.
        """
        if self.local is not None:
            self.local.acknowledged(
                commit.publication.commit,
                commit.batch.records,
                offset=offset,
                time_ms=clock(),
                open_keys=self._changed,
            )

    @property
    def row_count(self) -> int:
        """How many rows there are; with a local copy, about."""
        if self.local is None:
            return len(self.rows)
        keys = self.local.copy.estimated_keys()
        return len(self.rows) + (keys if self._timers is None else keys // 2)

    def keep_locally(self, local: LocalRows) -> None:
        """Have rows and timers on the worker's disk from now on."""
        self.local = local
        self.timer_index = local.timers

    def _identity_for_checkpoint(self) -> Identity | None:
        """Return the identity where this checkpoint has it."""
        if not self._owes_identity and self.n % IDENTITY_EVERY:
            return None
        self._owes_identity = False
        return self.identity

    def publication(self, n: int, outputs: list[Output], sizes: list[int]) -> Publication:
        """Return the outputs of commit ``n`` as they are published."""
        return Publication(
            self.stage,
            self.partition,
            n,
            outputs,
            sizes,
            self.public,
            self.writer,
            *self._signature,
        )

    # --- what the takeover does ------------------------------------------------------------------

    def identify(self, identity: Identity) -> None:
        """Set the identity that is written from now on; the next checkpoint has it."""
        self.identity = identity
        self._owes_identity = True
        self.owner = Owner(identity.installation, self.n, writer_number(self.writer))
        installation = (INSTALLATION, identity.installation.encode())
        self._signature = [installation], [owner_header(self.owner)]

    def restore_timers(self, key: bytes, row: bytes) -> None:
        """Note the timers of a row that was restored. Raises what the stage's ``timers`` does."""
        if self._timers is not None:
            for time_ms in self._timers(key, row):
                self.timer_index.add(time_ms, key)

    def restore(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Continue where an earlier owner ended: these are its last checkpoints, in order."""
        last = checkpoints[-1]
        self.n = last.n
        self.published = last.published
        self._published_on_record = last.published
        self._last_with_outputs = last.n
        self.inputs = dict(last.inputs)
        self.epochs = dict(last.epochs)
        for checkpoint in checkpoints:
            self.last_published.restore(checkpoint, published=last.published)
            self.senders.restore(checkpoint.sources, checkpoint.owners)
