"""Processing: one run of records after the other into the open commits (docs/design.md 4.1).

From decode to decide there is no await, so a record is in a commit whole or not at all.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from .anonymous import Anonymous
from .dead_letters import (
    FOREIGN_RECORD,
    MISSING_POSITION,
    TOO_LARGE,
    batch_letter,
    dead_letter,
    reason_of,
    refusal_of,
)
from .errors import FailStop, UnreadableBatch
from .journal import Journal
from .limits import Limits
from .log import NO_EPOCH, Header, Headers, Record, TopicPartition
from .log_facts import facts_of
from .outputs import (
    ORIGIN,
    SOURCE_HEADER,
    Source,
    parse_source,
    size_of,
    source_header,
)
from .partitioner import partition_of
from .pipeline import CommitPipeline
from .record import parse_address
from .senders import OWNER, parse_owner
from .stage import Refused, Stage
from .vouching import Vouching

logger = logging.getLogger(__name__)

_REFUSAL = b" "
"""Stands in an origin between the place and why the record was refused there."""

_REASON = "refused-as"
"""Header of a refused record that is forwarded: the reason, where the origin names an older one
because versions before know no other."""

_FOREIGN_SECONDS = 10.0
"""Foreign records on internal topics make at most one line in this time."""

_new = tuple.__new__
"""A named tuple's own constructor, and ``_replace`` even more, cost too much for each record."""


class Run(NamedTuple):
    """Records of one partition, in the order of their offsets."""

    at: TopicPartition
    records: Sequence[Record]
    unreadable: UnreadableBatch | None = None
    """A batch that can't be decoded, which comes alone."""

    epoch: int = NO_EPOCH
    """Newest leader epoch of them."""

    @property
    def offset(self) -> int:
        """Offset of the first record."""
        return self.records[0].offset if self.unreadable is None else self.unreadable.offset


class _NamesNoOwner(Exception):
    """A message names no owner: its sender's journal is to be asked."""

    def __init__(self, source: Source) -> None:
        super().__init__(source.name)
        self.source = source


class Processing:
    """Passes records to one stage, each exactly once."""

    def __init__(
        self,
        stage: Stage,
        partitions: int,
        pipeline: CommitPipeline,
        limits: Limits,
        *,
        senders: Mapping[str, frozenset[str]],
        vouching: Vouching,
        journals: Mapping[int, Journal],
    ) -> None:
        """Decide for one stage. ``journals`` are its owned ones by partition, now and later."""
        self.stage = stage
        self.journals = journals
        self._partitions = partitions
        self._pipeline = pipeline
        self._limits = limits
        self._internal = frozenset(stage.internal_inputs)
        self._senders = senders
        """Who may send messages, by topic."""
        self._vouching = vouching
        self._handle = stage.callbacks.handle
        self.handled = 0
        """Records that were new, since the start."""
        self._logged_foreign = -_FOREIGN_SECONDS
        self.dead_lettered: Counter[str] = Counter()
        """Dead letters by reason, since the start."""

    async def handle(
        self, runs: Sequence[Run], is_stopped: Callable[[], bool] = lambda: False
    ) -> int:
        """Handle the records of ``runs`` that are new; return how many.

        Records of partitions that this worker no longer owns are left to their new owner, and the
        rest of a batch that is dead-lettered to the next owner, once it ``is_stopped``.
        """
        handled = 0
        for run in runs:
            journal = self.journals.get(run.at.partition)
            if journal is None:
                continue
            journal.reads(run.at.topic, run.epoch)
            if run.unreadable is not None:
                await self._dead_letter_batch(run.unreadable, journal, is_stopped)
            handled = await self._handle_run(run, journal, handled)
            if journal.is_open:
                self._pipeline.touch(journal)
        self.handled += handled
        return handled

    async def _handle_run(self, run: Run, journal: Journal, handled: int) -> int:
        """Handle the records of one run; return how many it are with those ``handled`` before."""
        yield_every = self._limits.yield_every
        topic = run.at.topic
        take = self._take_from_log if topic in self._internal else self._take_public
        position = before = journal.inputs[topic]
        for record in run.records:
            if record.offset < position:
                continue
            if journal.is_full:
                journal.advance(topic, position)
                self._pipeline.touch(journal)
                await journal.wait_capacity()
            try:
                take(record, journal)
            except _NamesNoOwner as message:
                journal.advance(topic, position)
                self._pipeline.touch(journal)
                await self._take_without_owner(record, message.source, journal)
            position = record.offset + 1
            handled += 1
            if not handled % yield_every:
                journal.advance(topic, position)
                self._pipeline.touch(journal)
                await asyncio.sleep(0)
        if position > journal.inputs[topic]:
            journal.advance(topic, position)
        if position > before:
            journal.reached[topic] = run.records[-1].timestamp
        return handled

    async def _dead_letter_batch(
        self, batch: UnreadableBatch, journal: Journal, is_stopped: Callable[[], bool]
    ) -> None:
        """Refuse the records of a batch that can't be decoded, and write its dead letter.

        Records are refused one after the other, so another owner may continue within the batch. The
        letter comes last, with the position behind the batch.
        """
        topic, refused = batch.topic, 0
        if batch.last_offset < journal.inputs[topic]:
            return  # It was dead-lettered before.
        refusal = refusal_of(batch)
        for head in batch.heads:
            refused += 1
            if head.offset >= journal.inputs[topic]:
                if journal.is_full:
                    self._pipeline.touch(journal)
                    await journal.wait_capacity()
                self._reject(head, refusal, journal)
                journal.advance(topic, head.offset + 1)
            if not refused % self._limits.yield_every:
                self._pipeline.touch(journal)
                await asyncio.sleep(0)
                if is_stopped():
                    return
        if journal.is_full:
            self._pipeline.touch(journal)
            await journal.wait_capacity()
        unanswered = batch.last_offset + 1 - batch.offset - refused
        limits, partition = self._limits, journal.partition
        journal.publish(*batch_letter(self.stage, partition, batch, limits, unanswered=unanswered))
        journal.accept()
        journal.advance(topic, batch.last_offset + 1)
        self.dead_lettered[batch.reason] += 1
        logger.warning(
            "%s: the batch of offsets %d to %d is dead-lettered on %s as %s: %s; %d of its "
            "records are refused, %d can't be found and get no answer",
            batch.address,
            batch.offset,
            batch.last_offset,
            self.stage.dead_letters,
            batch.reason,
            batch.cause,
            refused,
            unanswered,
            extra={
                "stage": self.stage.name,
                "topic": batch.topic,
                "partition": batch.partition,
                "offset": batch.offset,
            },
        )

    def _reject(self, head: Record, refusal: Refused, journal: Journal) -> None:
        """Have a record of a batch that is dead-lettered answered where its key's row is."""
        key, forward_to = head.key, self.stage.forward_to
        if not key:
            return  # It names nothing that an answer could be about.
        right = partition_of(key, self._partitions)
        if right == journal.partition or forward_to is None:
            self._answer(head, refusal, journal)
            return
        origin = head.address.encode() + _REFUSAL + f"{TOO_LARGE} {refusal}".encode()
        headers = [(_REASON, refusal.reason.encode()), (ORIGIN, origin)]
        journal.publish(forward_to, right, key, head.value, "", head.timestamp, headers)
        journal.accept()

    def _take_public(self, record: Record, journal: Journal) -> None:
        """Decide a record that anyone may have written, or forward it to its right partition.

        One whose key and value are too large to forward is refused, whatever its key's row is.
        """
        journal.source = None
        key = record.key
        if key and self.stage.forward_to is not None:
            right = partition_of(key, self._partitions)
            if right != journal.partition:
                size = len(key) + len(record.value or b"")
                if size <= self._limits.forward_bytes:
                    self._forward(record, key, right, journal)
                else:
                    self._refuse(record, key, size, right, journal)
                return
        self._decide(record, journal)

    def _forward(self, record: Record, key: bytes, right: int, journal: Journal) -> None:
        assert self.stage.forward_to is not None
        # Headers take no part in a decision: where they are what makes a record large, they stay.
        large = size_of(key, record.value, record.headers) > 2 * self._limits.forward_bytes
        headers = [*(() if large else record.headers), (ORIGIN, record.address.encode())]
        journal.publish(
            self.stage.forward_to, right, key, record.value, "", record.timestamp, headers
        )
        journal.accept()

    def _refuse(self, record: Record, key: bytes, size: int, right: int, journal: Journal) -> None:
        """Dead-letter a record where it is, and have it answered where its key's row is.

        All answers to one key come from one partition: so they stay in their order.
        """
        limit = self._limits.forward_bytes
        message = f"{size} bytes of key and value on another partition than its key's, allowed are "
        refusal = Refused(TOO_LARGE, f"{message}{limit}")
        self._dead_letter(record, refusal, journal)
        if len(key) <= limit and self.stage.forward_to is not None:
            origin = record.address.encode() + _REFUSAL + f"{refusal.reason} {refusal}".encode()
            headers = [(ORIGIN, origin)]
            journal.publish(self.stage.forward_to, right, key, None, "", record.timestamp, headers)
            journal.accept()

    def _take_from_log(self, record: Record, journal: Journal) -> None:
        """Decide a message of a stage, unless it is a repeat.

        The engine's headers are the last ones, whatever the headers of a forwarded record are.
        """
        try:
            *headers, (name, output_id) = record.headers
            if name != SOURCE_HEADER or output_id is None:
                raise ValueError(name)  # noqa: TRY301 - one answer to every way of being foreign
            source = parse_source(output_id)
        except ValueError:
            message = f"no stage wrote this record: its last header is not {SOURCE_HEADER}"
            self._dead_letter_foreign(record, Refused(MISSING_POSITION, message), journal)
            return
        foreign = self._why_no_sender(record, source) or self._note_owner(source, headers, journal)
        if foreign is not None:
            self._dead_letter_foreign(record, Refused(FOREIGN_RECORD, foreign), journal)
            return
        if _is_forwarded(headers) and _owner_text(headers) is not None:
            headers = [*headers[:-2], headers[-1]]  # What is left is what the client has sent.
        self.take_message(_new(Record, (*record[:-1], headers)), source, journal)

    def _why_no_sender(self, record: Record, source: Source) -> str | None:
        """Return why no worker can have sent a message; None if one may have."""
        if source.name not in self._senders[record.topic]:
            return f"{source.name} sends no messages to {record.topic}"
        if type(record) is Anonymous:
            return "its producer is not idempotent, workers are"
        return None

    def _note_owner(
        self, source: Source, headers: Sequence[Header], journal: Journal
    ) -> str | None:
        """Note the owner that a message names; return why it is none of this installation.

        Raises ``_NamesNoOwner`` where it should name one, ``NewerFormat`` for a message of a newer
        version, ``RecordsLost`` when it proves that its sender's journal has lost commits.
        """
        text = _owner_text(headers)
        if text is None:
            if journal.senders.needs_vouching(source):
                raise _NamesNoOwner(source)
            return None
        try:
            owner = parse_owner(text)
        except ValueError:
            return f"its header {OWNER} can't be read"
        assert journal.identity is not None, "a journal is identified when it is taken over"
        if owner.installation != journal.identity.installation:
            return (
                f"it was sent by installation {owner.installation}, this one is "
                f"{journal.identity.installation}"
            )
        if journal.senders.owners.get(source.name) != owner:
            journal.senders.meet(source, owner)
        return None

    async def _take_without_owner(self, record: Record, source: Source, journal: Journal) -> None:
        """Decide a message of a version before, when its sender's journal has it."""
        if last := await self._vouching.last_commit(source, record):
            journal.senders.vouch(source.name, last)
            await journal.wait_capacity()
            self._take_from_log(record, journal)
        else:
            message = f"the journal of {source.name} has not sent it, and it names no owner"
            self._dead_letter_foreign(record, Refused(FOREIGN_RECORD, message), journal)

    def take_message(self, record: Record, source: Source, journal: Journal) -> bool:
        """Decide a message, without the header of its output id; False when it is a repeat."""
        if not journal.senders.accept_once(source):
            return False
        journal.source = source
        forwarded = _is_forwarded(record.headers)
        if forwarded and _REFUSAL in (record.headers[-1][1] or b""):
            self._answer_refused(record, journal)
        else:
            self._decide(_as_received(record) if forwarded else record, journal)
        return True

    def _decide(self, record: Record, journal: Journal) -> None:
        journal.time_ms = record.timestamp
        try:
            self._handle(record, journal)
        except FailStop:
            raise
        except Refused as refusal:
            self._dead_letter(self._as_sent(record, journal), refusal, journal)
        except Exception as error:
            journal.discard()
            logger.exception(
                "%s can't handle %s (key %r); it is on %s as internal_error",
                self.stage.name,
                record.address,
                record.key,
                self.stage.dead_letters,
                extra=facts_of(record, self.stage.name),
            )
            self._dead_letter(self._as_sent(record, journal), error, journal)
            self._answer(record, error, journal)
        else:
            journal.accept()

    def _answer_refused(self, record: Record, journal: Journal) -> None:
        """Let the stage answer a record that was dead-lettered where it came in."""
        [(_, origin)] = record.headers[-1:]
        _, _, why = (origin or b"").decode().partition(" ")
        reason, _, message = why.partition(" ")
        for name, newer in record.headers:
            if name == _REASON and newer is not None:
                reason = newer.decode()
        self._answer(_as_received(record), Refused(reason, message), journal)

    def _as_sent(self, record: Record, journal: Journal) -> Record:
        """Return a message as it is, or would be, in the log: with the header of its output id."""
        if journal.source is None or record.topic not in self._internal:
            return record
        return record._replace(headers=[*record.headers, source_header(journal.source)])

    def _dead_letter(self, record: Record, error: Exception, journal: Journal) -> None:
        """Write the dead letter, together with what was staged."""
        journal.publish(*dead_letter(self.stage, journal.partition, record, error, self._limits))
        journal.accept()
        self.dead_lettered[reason_of(error)] += 1

    def _dead_letter_foreign(self, record: Record, refusal: Refused, journal: Journal) -> None:
        """Dead-letter a record that no worker sent, with a warning at most once in some seconds."""
        self._dead_letter(record, refusal, journal)
        now = asyncio.get_running_loop().time()
        if now - self._logged_foreign < _FOREIGN_SECONDS:
            return
        self._logged_foreign = now
        logger.warning(
            "%s (key %r) is dead-lettered on %s as %s: %s; only workers may write there, "
            "so find who else does",
            record.address,
            (record.key or b"")[:80],
            self.stage.dead_letters,
            refusal.reason,
            refusal,
            extra=facts_of(record, self.stage.name),
        )

    def _answer(self, record: Record, error: Exception, journal: Journal) -> None:
        """Let the stage answer a record that it failed on."""
        try:
            self.stage.callbacks.on_error(record, error, journal)
        except FailStop:
            raise
        except Exception:
            journal.discard()
            facts = facts_of(record, self.stage.name)
            logger.exception("%s can't answer %r either", self.stage.name, record.key, extra=facts)
        else:
            journal.accept()


def _is_forwarded(headers: Headers) -> bool:
    """Whether a message is a record that was forwarded; without the header of its output id."""
    return bool(headers) and headers[-1][0] == ORIGIN


def _owner_text(headers: Headers) -> bytes | None:
    """Return the header that names the owner of a message's sender; None in versions before."""
    at = -2 if _is_forwarded(headers) else -1
    name, text = headers[at] if len(headers) >= -at else ("", None)
    return text if name == OWNER else None


def _as_received(record: Record) -> Record:
    """Return a forwarded record as it was on the partition where it came in; its time is now's."""
    *headers, (_, origin) = record.headers
    place, _, _ = (origin or b"").partition(_REFUSAL)
    topic, partition, offset = parse_address(place.decode())
    return record._replace(topic=topic, partition=partition, offset=offset, headers=headers)
