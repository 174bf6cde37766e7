"""Unanswered: the commands without a result, matched by payment and command id.

A command without an id of its own has its record address as id. In a copy of the topics addresses
differ: there it is matched by its payment and type only, and the last ones of these count as
unanswered.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from exactstage import Record
from exactstage.errors import UnreadableBatch
from exactstage.inspection import LAST_OFFSET, UNANSWERED, unpack_dead_letter
from exactstage.log import Bounds
from payments.domain.account_commands import AccountCommand
from payments.domain.commands import Capture, Command, Refund
from payments.domain.payment import Part
from payments.records.commands import Malformed, own_of, parse_command, parse_payment_id
from payments.records.record_address import RecordAddress

from .errors import RecoveryRefused
from .lives import PartSeen, ResultFields


class Place(NamedTuple):
    """Where a command is."""

    partition: int
    offset: int
    time_ms: int


class Left(NamedTuple):
    """A command without a result, or a malformed one without a dead letter."""

    place: Place
    key: bytes | None
    """The payment's key; None where the command names no payment, or its result is there."""

    lacks_result: bool
    lacks_letter: bool


class _Asked(NamedTuple):
    """What a capture or refund said that no result says."""

    command: str
    """Its id in the answer."""

    final: bool
    amount: int | None
    """None where it asked for all that was left."""


_Question = tuple[bytes, str]
"""A payment's key and a command's id."""

_Letter = tuple[int, int] | tuple[bytes | None, bytes | None]
"""Partition and offset of a malformed command; in a copy: its key and value."""


class Unanswered:
    """Collects the commands of one topic, and removes those with a result or dead letter."""

    def __init__(
        self, topic: str, currency: str, *, copied: bool, former_topic: str | None
    ) -> None:
        self._topic, self._currency, self._copied = topic, currency, copied
        former = re.escape(former_topic or topic)
        self._position = re.compile(rf"{former}/\d+/\d+", re.ASCII).fullmatch
        self._open: dict[_Question, list[Place]] = {}
        self._letters: dict[_Letter, list[Place]] = {}
        self.handled: dict[int, int] = {}
        """By partition: the offset after the last command that is known to be handled."""
        self.first_answered: dict[int, int] = {}
        self.commands = 0
        self.unmatched_results = 0
        """In a copy: results whose command is not there."""
        self.batches: list[UnreadableBatch] = []
        """Batches of commands that can't be read: workers dead-letter them."""
        self._batch_letters: set[tuple[int, int]] = set()
        """Partition and first offset of each batch whose dead letter is there."""
        self._parts: dict[tuple[bytes, str, str], set[_Asked]] = {}
        """What commands said of each part of a payment: by its key, their type, the part's id."""
        self._unmatched: dict[int, str] = {}
        """By partition: the last record address that a result answers and that has no command."""

    # --- what is read ----------------------------------------------------------------------------

    # These three are the difference between the topics of commands.

    def _require_key(self, key: bytes | None) -> None:
        """Raise ``Malformed`` for a key that names nothing a result could be for."""
        parse_payment_id(key)

    def parse(self, record: Record) -> Command | AccountCommand:
        """Return the command in a record whose key is right. Raises ``Malformed``."""
        return parse_command(record.value, default_currency=self._currency)

    def _own_of(self, value: bytes | None) -> tuple[str | None, str | None]:
        """Return the id and the type that an unreadable command shows."""
        return own_of(value)

    def command(self, record: Record) -> None:
        """Take a command."""
        self.commands += 1
        place = Place(record.partition, record.offset, record.timestamp)
        try:
            self._require_key(record.key)
        except Malformed:
            self._malformed(record, place)
            return
        own: str | None
        type_: str | None
        try:
            command = self.parse(record)
            own, type_ = command.id, command.type
            if isinstance(command, (Capture, Refund)):
                self._part(record, command)
        except Malformed as error:
            own, type_ = error.command, error.type
            self._malformed(record, place)
        assert record.key is not None, "it names a payment or an account"
        self._open.setdefault((record.key, self._id(own, type_, place)), []).append(place)

    def is_malformed(self, record: Record) -> bool:
        """Return whether a command can't be read."""
        try:
            self._require_key(record.key)
            self.parse(record)
        except Malformed:
            return True
        return False

    def _part(self, record: Record, command: Capture | Refund) -> None:
        is_capture = isinstance(command, Capture)
        part = command.capture if isinstance(command, Capture) else command.refund
        final = command.final if isinstance(command, Capture) else True
        asked = _Asked(command.id or record.address, final, command.amount)
        key = record.key or b"", "capture" if is_capture else "refund", part
        self._parts.setdefault(key, set()).add(asked)

    def part(self, payment: str, seen: PartSeen) -> Part | None:
        """Return a part as its payment's row has it; None where its command is not there.

        In a copy, and where its result is deleted, its command is known by the part's id only.
        """
        asked = self._parts.get((payment.encode(), seen.type, seen.id), set())
        found = [each for each in asked if each.amount in {None, seen.moved}]
        own = {(each.final, each.amount) for each in found if each.command == seen.command}
        by_id = self._copied or seen.command is None
        said = own or ({(each.final, each.amount) for each in found} if by_id else set())
        if len(said) != 1:
            return None
        [(final, amount)] = said
        return Part(seen.id, seen.moved, seen.type, final, amount is None)

    def batch(self, batch: UnreadableBatch) -> None:
        """Take a batch that can't be read: workers reject those of its records that show an id.

        Raises it where its end is not known: no worker continues after it either.
        """
        if not batch.end_is_known:
            raise batch
        self.batches.append(batch)
        for head in batch.heads:
            place = Place(head.partition, head.offset, head.timestamp)
            try:
                self._require_key(head.key)
            except Malformed:
                continue
            assert head.key is not None, "it names a payment or an account"
            own, type_ = self._own_of(head.value)
            self.commands += 1
            self._open.setdefault((head.key, self._id(own, type_, place)), []).append(place)

    def batch_of(self, partition: int, offset: int) -> UnreadableBatch | None:
        """Return the unreadable batch that a command is in."""
        for batch in self.batches:
            if batch.partition == partition and batch.offset <= offset <= batch.last_offset:
                return batch
        return None

    def lost_letters(self) -> list[UnreadableBatch]:
        """Return the batches that were dead-lettered and whose dead letter is missing."""
        return [
            batch
            for batch in self.batches
            if batch.last_offset < self.handled.get(batch.partition, 0)
            and (batch.partition, batch.offset) not in self._batch_letters
        ]

    def _id(self, own: str | None, type_: str | None, place: Place) -> str:
        if own is not None:
            return own
        if self._copied:
            return f"\0{type_}"
        return str(RecordAddress(self._topic, place.partition, place.offset))

    def _malformed(self, record: Record, place: Place) -> None:
        letter = (record.key, record.value) if self._copied else (place.partition, place.offset)
        self._letters.setdefault(letter, []).append(place)

    def result(self, key: bytes, result: ResultFields) -> None:
        """Take a result: its command is answered."""
        self.answered(key, result.command, result.type)

    def answered(self, key: bytes, own: str | None, type_: str | None) -> None:
        """Note that a command with this id and type is answered; None is that of a notice."""
        if own is None:
            return
        own = self._own_in_copy(own, type_)
        places = self._open.get((key, own))
        if places:
            self._answered_at(key, places.pop(0))
            if not places:
                del self._open[key, own]
        elif self._copied:
            self.unmatched_results += 1
        elif self._position(own):
            self._unmatched[RecordAddress.parse(own).partition] = own

    def _own_in_copy(self, own: str, type_: str | None) -> str:
        """Return the name of an answered command; in a copy, an address says only its type."""
        return f"\0{type_}" if self._copied and self._position(own) else own

    def letter(self, record: Record) -> None:
        """Take a dead letter of the stage that reads these commands."""
        try:
            facts = unpack_dead_letter(record).facts
        except ValueError:  # A client's headers may look like the engine's.
            return
        letter: _Letter = (record.key, record.value)
        if not self._copied:
            if facts.get("topic") != self._topic:
                return
            letter = int(facts["partition"]), int(facts["offset"])
            if LAST_OFFSET in facts:
                self._batch_letter(*letter, facts)
                return
        places = self._letters.get(letter)
        if places:
            self._handled(places.pop(0))
            if not places:
                del self._letters[letter]

    def _batch_letter(self, partition: int, first: int, facts: Mapping[str, str]) -> None:
        """Take the dead letter of a whole batch: none of its records is carried out.

        That holds even where this version, or another replica, can read the batch.
        """
        last = int(facts[LAST_OFFSET])
        self._batch_letters.add((partition, first))
        self._handled(Place(partition, last, 0))
        # Versions before have answered none of them.
        unanswered_from = last + 1 - int(facts.get(UNANSWERED, last + 1 - first))
        for question, places in list(self._open.items()):
            left = [
                place
                for place in places
                if place.partition != partition or not unanswered_from <= place.offset <= last
            ]
            if not left:
                del self._open[question]
            elif len(left) < len(places):
                self._open[question] = left

    def _answered_at(self, key: bytes, place: Place) -> None:
        """Note that the command with this key at a place is answered."""
        del key
        self._handled(place)

    def _handled(self, place: Place) -> None:
        partition, offset, _ = place
        self.handled[partition] = max(offset + 1, self.handled.get(partition, 0))
        self.first_answered[partition] = min(offset, self.first_answered.get(partition, offset))

    # --- what follows ----------------------------------------------------------------------------

    def require_own_positions(self, bounds: Sequence[Bounds]) -> None:
        """Raise ``RecoveryRefused`` when a result answers an address that this topic never had.

        ``bounds`` are those of the topic's partitions.
        """
        for strange in self._unmatched.values():
            _, partition, offset = RecordAddress.parse(strange)
            held = bounds[partition] if partition < len(bounds) else Bounds(0, 0)
            if offset >= held.first:
                message = (
                    f"a result answers the command at {strange}, and no such command is there: the "
                    f"topic was recreated, or is a copy with other offsets (a mirror, a restored "
                    f"backup; it has {held.first} to {held.end}): say so with --copied"
                )
                raise RecoveryRefused(message)

    def consume(self, key: bytes, own: str, place: Place) -> None:
        """Note that the rebuild answers a command."""
        self._remove(key, own, place)
        self._answered_at(key, place)

    def forget(self, key: bytes, own: str, place: Place) -> None:
        """Note that a command was answered, and that retention has deleted its result."""
        self._remove(key, own, place)
        self.handled[place.partition] = max(place.offset + 1, self.handled.get(place.partition, 0))

    def _remove(self, key: bytes, own: str, place: Place) -> None:
        places = self._open[key, own]
        places.remove(place)
        if not places:
            del self._open[key, own]

    def of(self, keys: set[bytes]) -> Iterator[tuple[bytes, str, Place]]:
        """Yield the unanswered commands of these payments."""
        for (key, own), places in self._open.items():
            if key in keys:
                for place in places:
                    yield key, own, place

    def left(self) -> dict[tuple[int, int], "Left"]:
        """Return the commands without a result or dead letter, by partition and offset."""
        found: dict[tuple[int, int], Left] = {}
        for (key, _), places in self._open.items():
            for place in places:
                found[place[:2]] = Left(place, key, lacks_result=True, lacks_letter=False)
        for places in self._letters.values():
            for place in places:
                known = found.get(place[:2])
                found[place[:2]] = (
                    Left(place, None, lacks_result=False, lacks_letter=True)
                    if known is None
                    else known._replace(lacks_letter=True)
                )
        return found
