"""Senders: what a receiver of messages knows of each sending journal (docs/design.md 4.4).

A message says who owned its sender's journal when it was sent, and at which commit that owner began
(its base). A receiver that has taken a later commit from an owner before knows more of the journal
than the present owner found in it: acknowledged commits were lost, and the messages that come now
would look like repeats.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from .advice import command
from .errors import RecordsLost, newer_format
from .limits import SOURCE_ROTATION_CHECKPOINTS
from .log import Header, TopicPartition, Writer
from .outputs import OutputId, Source

OWNER = "src-owner"
"""Header of a message, before ``origin`` and ``src``:
``<format>/<app id>/<topic id>/<base>/<producer id and epoch>``, the installation in the middle."""

MESSAGE_FORMAT = 1
"""Oldest format of messages that a receiver has to know; see ``identity.CHECKPOINT_FORMAT``."""

_EPOCH_BITS = 16

_BEFORE_ALL: OutputId = (0, -1)


class Owner(NamedTuple):
    """One ownership of a journal."""

    installation: str
    base: int
    """Number of the last commit that the owner found in the journal."""

    writer: int
    """Producer id and epoch of the claim; for one producer id a later owner has a larger one."""

    def follows(self, other: "Owner", n: int) -> bool:
        """Whether this owner, who sent a message of commit ``n``, came after the other one."""
        if self.writer >> _EPOCH_BITS == other.writer >> _EPOCH_BITS:
            return self.writer > other.writer
        # A claim gets another producer id when its epochs are used up, or Kafka has forgotten it.
        if self.base != other.base:
            return self.base > other.base
        return n > other.base


def writer_number(writer: Writer) -> int:
    """Return producer id and epoch as one number."""
    return writer.producer_id << _EPOCH_BITS | writer.epoch


def owner_header(owner: Owner) -> Header:
    """Return the header that messages of this owner carry."""
    text = f"{MESSAGE_FORMAT}/{owner.installation}/{owner.base}/{owner.writer}"
    return OWNER, text.encode()


@lru_cache(maxsize=16_384)
def parse_owner(text: bytes) -> Owner:
    """Read the header's value.

    Raises ``ValueError`` when it is something else, ``NewerFormat`` for one of a newer version.
    """
    version, app, topic_id, *rest = text.decode("ascii").split("/")
    if int(version) > MESSAGE_FORMAT:
        raise newer_format("a message", int(version), MESSAGE_FORMAT)
    base, writer = rest
    return Owner(f"{app}/{topic_id}", int(base), int(writer))


class KnownSenders:
    """What one journal knows of those that send it messages: source positions and owners.

    It makes the journal an idempotent receiver: of each sender it takes every message once.
    """

    def __init__(self, receiver: TopicPartition, owner_here: Callable[[str], Owner | None]) -> None:
        """Know none; ``owner_here`` returns this worker's ownership of a sender, if it has it."""
        self._receiver = receiver
        self._owner_here = owner_here
        self.positions: OrderedDict[str, OutputId] = OrderedDict()
        """Source position of each sender; first the one that no checkpoint has for longest."""
        self.owners: dict[str, Owner] = {}
        """Newest ownership that is known of a sender."""
        self._vouched: dict[str, int] = {}
        """Last commit of senders whose messages of a version before their journals have."""
        self._changed: dict[str, None] = {}
        """Senders of messages in the open commit."""

    def accept_once(self, source: Source) -> bool:
        """Note a message's sender; False when the message was taken before (a repeat)."""
        name, output_id = source
        if output_id <= self.positions.get(name, _BEFORE_ALL):
            return False
        self.positions[name] = output_id
        self._changed[name] = None
        return True

    def meet(self, source: Source, owner: Owner) -> None:
        """Note who owns the sender of a message that comes now.

        Owners come one after the other, and each begins with all that the ones before have
        journalled; a message leaves only after its commit is journalled. So no commit of an older
        owner is later than where a newer one began. Raises ``RecordsLost`` when one is.
        """
        name, (n, _) = source
        # An unknown sender may be owned here: then a late message of a former owner shows.
        known = self.owners.get(name) or self._owner_here(name)
        if known is not None and known.writer == owner.writer:
            self.owners[name] = owner  # Read from a checkpoint, which has no installation.
        elif known is None or owner.follows(known, n):
            taken = 0 if known is None else self.positions.get(name, _BEFORE_ALL)[0]
            if taken > owner.base:
                raise self._ahead_of(name, taken, owner.base)
            self.owners[name] = owner
            self._changed[name] = None
            self.positions.setdefault(name, _BEFORE_ALL)
        elif n > known.base:
            raise self._ahead_of(name, n, known.base)

    def meet_here(self, name: str, owner: Owner) -> None:
        """Note that this worker owns a sender, whose messages may be delivered locally.

        Raises ``RecordsLost`` when one of a later commit than this owner began at was taken before.
        """
        known, taken = self.owners.get(name), self.positions[name][0]
        if known is None or known.writer == owner.writer or known.follows(owner, 0):
            return
        if taken > owner.base:
            raise self._ahead_of(name, taken, owner.base)
        self.owners[name] = owner

    def needs_vouching(self, source: Source) -> bool:
        """Whether a message without an owner is taken only when its sender's journal has it."""
        name, output_id = source
        if output_id <= self.positions.get(name, _BEFORE_ALL):
            return False  # A repeat is not taken anyway.
        return output_id[0] > self._vouched.get(name, 0)

    def vouch(self, name: str, last: int) -> None:
        """Take messages of a sender that name no owner, up to the last commit of its journal."""
        self._vouched[name] = last
        self.owners.pop(name, None)

    def _ahead_of(self, name: str, n: int, base: int) -> RecordsLost:
        stage, _, partition = name.partition("/")
        message = (
            f"{self._receiver} knows a message of commit {n} of {name}, but a later owner of "
            f"{name} began at commit {base}: the journal of stage {stage}, partition {partition}, "
            f"has lost acknowledged commits (an unclean election, an older backup); stop all "
            f"workers and look at it with: {command('journal inspect')}"
        )
        return RecordsLost(message)

    def for_checkpoint(self) -> dict[str, OutputId]:
        """Return the source positions that a checkpoint records: the commit's, and some others.

        There is a sender for each partition of the stage before, so all of them at once could be
        too much. The others come by rotation, so often that the ring always has each.
        """
        others = islice(self.positions, -(-len(self.positions) // SOURCE_ROTATION_CHECKPOINTS))
        recorded = {name: self.positions[name] for name in (*self._changed, *others)}
        for name in recorded:
            self.positions.move_to_end(name)
            # Its messages may have been delivered locally, without headers. But a worker that has
            # lost the sender without knowing it may have read of a newer owner in the log.
            owner, known = self._owner_here(name), self.owners.get(name)
            if owner is None or owner is known:
                continue  # Most often it was noted before.
            if known is None or owner.follows(known, 0):
                self.owners[name] = owner
        self._changed.clear()
        return recorded

    def restore(self, recorded: Mapping[str, OutputId], owners: Mapping[str, Owner]) -> None:
        """Take what a checkpoint records, the checkpoints of the ring in order."""
        self.positions.update(recorded)
        for name in recorded:
            self.positions.move_to_end(name)
            if name in owners:
                self.owners[name] = owners[name]
            else:
                # A version before wrote it, which knows no owners.
                self.owners.pop(name, None)
