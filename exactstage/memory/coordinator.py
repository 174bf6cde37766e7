"""Transactional ids in memory: epochs and transactions, by a coordinator's rules.

See docs/design.md 4.3. The end of a transaction is decided and answered at once. Its control
records are written later, one partition after the other; until the last one is written, further
requests for that transactional id are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from exactstage.errors import Fenced
from exactstage.log import TopicPartition, Writer

from .partition import MemoryPartition


class Concurrent(Exception):
    """The last transaction of this name is not complete yet: retry later."""


@dataclass(slots=True)
class _Claim:
    """A transactional id: its owner's epoch, and its last transaction."""

    producer_id: int
    epoch: int
    added: dict[TopicPartition, None] = field(default_factory=dict)
    """Partitions of a transaction in flight."""
    unmarked: dict[TopicPartition, None] = field(default_factory=dict)
    """Partitions of an ended transaction whose control record is not written yet."""
    commit: bool = False


class Coordinator:
    """Names (transactional ids), their owners and their transactions."""

    def __init__(self) -> None:
        self._next_producer_id = 0
        self._claims: dict[str, _Claim] = {}

    def new_writer(self) -> Writer:
        """Return a plain idempotent writer."""
        self._next_producer_id += 1
        return Writer(self._next_producer_id, 0)

    def initialise(self, name: str) -> Writer:
        """Raise the epoch of ``name``.

        Raises ``Concurrent`` while a transaction in flight is being ended.
        """
        claim = self._claims.get(name)
        if claim is None:
            writer = self.new_writer()
            self._claims[name] = _Claim(writer.producer_id, 0)
            return writer
        self.abort_open(name)
        self._require_finished(claim)
        claim.epoch += 1
        return Writer(claim.producer_id, claim.epoch)

    def abort_open(self, name: str) -> None:
        """Abort a transaction in flight and raise the epoch, which fences its owner."""
        claim = self._claims[name]
        if claim.added:
            claim.epoch += 1
            self._finish(claim, commit=False)

    def add(self, name: str, writer: Writer, at: Sequence[TopicPartition]) -> None:
        """Add partitions to the transaction of ``name``. Raises ``Fenced``, ``Concurrent``."""
        claim = self._owned(name, writer)
        self._require_finished(claim)
        claim.added |= dict.fromkeys(at)

    def end(self, name: str, writer: Writer, *, commit: bool) -> None:
        """Decide how the transaction ends; ``unmarked`` has the partitions to write it to."""
        claim = self._owned(name, writer)
        self._require_finished(claim)
        self._finish(claim, commit=commit)

    def is_open(self, name: str, epoch: int) -> bool:
        """Whether a transaction of this epoch is in flight."""
        claim = self._claims[name]
        return bool(claim.added) and claim.epoch == epoch

    def unmarked(self, name: str) -> Sequence[TopicPartition]:
        """Return the partitions without a control record of the ended transaction."""
        return list(self._claims[name].unmarked)

    def mark(self, name: str, partition: MemoryPartition) -> None:
        """Write the control record of the ended transaction to one partition."""
        claim = self._claims[name]
        if partition.at in claim.unmarked:
            del claim.unmarked[partition.at]
            partition.mark(claim.producer_id, claim.epoch, commit=claim.commit)

    def _finish(self, claim: _Claim, *, commit: bool) -> None:
        claim.unmarked, claim.added, claim.commit = claim.added, {}, commit

    def _owned(self, name: str, writer: Writer) -> _Claim:
        claim = self._claims[name]
        if (writer.producer_id, writer.epoch) != (claim.producer_id, claim.epoch):
            message = f"{name} was claimed by another worker"
            raise Fenced(message)
        return claim

    def _require_finished(self, claim: _Claim) -> None:
        if claim.unmarked:
            raise Concurrent
