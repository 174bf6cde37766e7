"""A journal: what one stage has decided for one partition, in memory and on its way to the log.

Nothing that a decision changes leaves the process before its commit is journalled
(docs/design.md 4.1, 4.2). What a stage does with it while it decides is its ``Context``.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from .advice import command
from .checkpoint import Checkpoint, checkpoint_key, encode_checkpoint
from .context import MAX_PARTITIONS, Context
from .errors import RecordsLost
from .identity import TOLD_WITHIN, Identity
from .limits import MAX_COMMITS_AHEAD, SOURCE_ROTATION_CHECKPOINTS, Limits
from .log import NO_EPOCH, NO_HEADERS, Batch, Header, TopicPartition, Writer
from .outputs import INSTALLATION, Output, OutputId, Publication, Source
from .senders import Owner, owner_header, writer_number

_BEFORE_ALL: OutputId = (0, -1)

_ROW_BYTES = 40
"""What a row weighs in a batch beside key and value: an upper bound."""


class CommitBatch(NamedTuple):
    """A closed commit: the batch for the journal, and what is published afterwards."""

    journal: "Journal"
    batch: Batch
    publication: Publication
    callbacks: list[Callable[[], None]]
    """What is called when it is journalled."""


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
    ) -> None:
        super().__init__(
            stage=stage,
            partition=partition,
            public=public,
            emits=emits,
            limits=limits,
            partitions=partitions,
        )
        self.at = TopicPartition(changelog, partition)
        self.writer = writer
        self.inputs, self.epochs = dict[str, int](), dict[str, int]()
        """Next offset by topic; leader epoch of the records before it, or a newer one."""
        self.sources: OrderedDict[str, OutputId] = OrderedDict()
        """Source position of each sender; first the one that no checkpoint has for longest."""
        self.owners: dict[str, Owner] = {}
        """Newest ownership that is known of a sender."""
        self._owner_here = owner_here
        """Returns this worker's ownership of a sender, if it has it."""
        self._vouched: dict[str, int] = {}
        """Last commit of senders whose messages of a version before their journals have."""
        self._sent: dict[str, OutputId] = {}
        """Last position that went, or will go, to each public topic."""
        self.surely_published: dict[str, OutputId] = {}
        """What each topic held at least, by the restored checkpoints."""
        self._heard: dict[str, None] = {}
        """Senders of messages in the open commit."""
        self.n = 0
        """Number of the last sealed commit."""
        self.published = 0
        """All outputs of commits up to this one are acknowledged."""
        self.identity: Identity | None = None
        """What it is written for, once the takeover has established it."""
        self._tells_identity = False
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
        self._room = asyncio.Event()
        self._room.set()

    def __repr__(self) -> str:
        """Name it as it is named in messages."""
        return f"{self.stage}/{self.partition}"

    # --- what the processing does around it ------------------------------------------------------

    def accept_once(self, source: Source) -> bool:
        """Note a message's sender; False when the message was taken before (a repeat)."""
        name, position = source
        if position <= self.sources.get(name, _BEFORE_ALL):
            return False
        self.sources[name] = position
        self._heard[name] = None
        self.source = source
        return True

    def meet(self, source: Source, owner: Owner) -> None:
        """Note who owns the sender of a message that comes now.

        Owners come one after the other, and each begins with all that the ones before have
        journalled; a message leaves only after its commit is journalled. So no commit of an older
        owner is later than where a newer one began. Raises ``RecordsLost`` when one is.
        """
        name, (n, _) = source
        # One that was never heard may be owned here: then a late message of an owner before shows.
        known = self.owners.get(name) or self._owner_here(name)
        if known is not None and known.writer == owner.writer:
            self.owners[name] = owner  # Read from a checkpoint, which has no installation.
        elif known is None or owner.follows(known, n):
            taken = 0 if known is None else self.sources.get(name, _BEFORE_ALL)[0]
            if taken > owner.base:
                raise self._ahead_of(name, taken, owner.base)
            self.owners[name] = owner
            self._heard[name] = None
            self.sources.setdefault(name, _BEFORE_ALL)
        elif n > known.base:
            raise self._ahead_of(name, n, known.base)

    def meet_here(self, name: str, owner: Owner) -> None:
        """Note that this worker owns a sender, whose messages may be delivered locally.

        Raises ``RecordsLost`` when one of a later commit than this owner began at was taken before.
        """
        known, taken = self.owners.get(name), self.sources[name][0]
        if known is None or known.writer == owner.writer or known.follows(owner, 0):
            return
        if taken > owner.base:
            raise self._ahead_of(name, taken, owner.base)
        self.owners[name] = owner

    def needs_vouching(self, source: Source) -> bool:
        """Whether a message without an owner is taken only when its sender's journal has it."""
        name, position = source
        if position <= self.sources.get(name, _BEFORE_ALL):
            return False  # A repeat is not taken anyway.
        return position[0] > self._vouched.get(name, 0)

    def vouch(self, name: str, last: int) -> None:
        """Take messages of a sender that name no owner, up to the last commit of its journal."""
        self._vouched[name] = last
        self.owners.pop(name, None)

    def _ahead_of(self, name: str, n: int, base: int) -> RecordsLost:
        stage, _, partition = name.partition("/")
        message = (
            f"{self.at} knows a message of commit {n} of {name}, but a later owner of {name} began "
            f"at commit {base}: the journal of stage {stage}, partition {partition}, has lost "
            f"acknowledged commits (an unclean election, an older backup); stop all workers and "
            f"look at it with: {command('journal inspect')}"
        )
        return RecordsLost(message)

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
        self._staged_rows.clear()
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
            self._room.clear()

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
        self._room.set()

    async def wait_capacity(self) -> None:
        """Wait until the open commit may grow."""
        await self._room.wait()

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
        self._changed, self._bytes, self._open = {}, 0, False
        self.is_full = False
        self._room.set()
        self.n += 1
        if outputs:
            self._last_with_outputs = self.n
        self._published_on_record = self.published
        checkpoint = Checkpoint(
            self.n,
            self.published,
            self.inputs,
            self._told_sources(),
            outputs,
            self._told_identity(),
            self._sent,
            self.owners,
            self.epochs,
        )
        if outputs:
            self._note_sent(outputs)
        rows.append((checkpoint_key(self.n), encode_checkpoint(checkpoint), NO_HEADERS))
        batch = Batch(self.at, self.writer, rows)
        return CommitBatch(self, batch, self.publication(self.n, outputs, sizes), callbacks)

    def _note_sent(self, outputs: Sequence[Output]) -> None:
        """Note the last output of the sealed commit for each public topic."""
        topics = {output[0] for output in outputs} & self.public
        for topic in topics:
            index = len(outputs) - 1
            while outputs[index][0] != topic:
                index -= 1
            self._sent[topic] = (self.n, index)

    def _told_identity(self) -> Identity | None:
        """Return the identity where this checkpoint has it."""
        if not self._tells_identity and self.n % TOLD_WITHIN:
            return None
        self._tells_identity = False
        return self.identity

    def _told_sources(self) -> dict[str, OutputId]:
        """Return the positions that a checkpoint has: those of the commit, and others by rotation.

        There is a sender for each partition of the stage before, so all of them at once could be
        too much. By rotation they come so often that the ring always has each.
        """
        turn = islice(self.sources, -(-len(self.sources) // SOURCE_ROTATION_CHECKPOINTS))
        told = {name: self.sources[name] for name in (*self._heard, *turn)}
        for name in told:
            self.sources.move_to_end(name)
            # Its messages may have been delivered locally, without headers. But a worker that has
            # lost the sender without knowing it may have heard of a newer owner through the log.
            owner, known = self._owner_here(name), self.owners.get(name)
            if owner is not None and (known is None or owner.follows(known, 0)):
                self.owners[name] = owner
        self._heard.clear()
        return told

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
        self._tells_identity = True
        self.owner = Owner(identity.installation, self.n, writer_number(self.writer))
        installation = (INSTALLATION, identity.installation.encode())
        self._signature = [installation], [owner_header(self.owner)]

    def restore(self, checkpoints: Sequence[Checkpoint]) -> None:
        """Go on where an earlier owner ended: these are its last checkpoints, in order."""
        last = checkpoints[-1]
        self.n = last.n
        self.published = last.published
        self._published_on_record = last.published
        self._last_with_outputs = last.n
        self.inputs = dict(last.inputs)
        self.epochs = dict(last.epochs)
        for checkpoint in checkpoints:
            self._sent |= checkpoint.sent
            self._sent |= checkpoint.last_public(self.public)
            known = {topic: at for topic, at in self._sent.items() if at[0] <= last.published}
            self.surely_published |= known
            self.sources.update(checkpoint.sources)
            for name in checkpoint.sources:
                self.sources.move_to_end(name)
                if name in checkpoint.owners:
                    self.owners[name] = checkpoint.owners[name]
                else:
                    # A version before wrote it, which knows no owners.
                    self.owners.pop(name, None)
