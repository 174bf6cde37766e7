"""Dead letters: each malformed command is dead-lettered once, and nothing else is."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from msgspec import DecodeError

from exactstage import Record
from exactstage.errors import BATCH_TOO_LARGE, UNDECODABLE_BATCH, UnreadableBatch
from exactstage.inspection import HEADER_PREFIX, INTERNAL_ERROR
from payments.records.record_address import address_text
from payments.records.recovery_notes import SKIPPED, decode_skip_notice

from .facts import BUCKETS, Facts, code_of, digest, pack, place_of
from .findings import Findings, Kind, Place
from .numbering import Numbering

_IN_FLIGHT, _LETTER_EXPIRED = 1, 2
_MALFORMED, _DEFECT = 0, 1
_OF_BATCHES = frozenset({UNDECODABLE_BATCH, BATCH_TOO_LARGE})


class BatchLetter(NamedTuple):
    """Dead letters of one batch of commands."""

    last_offset: int
    unanswered_from: int
    """Its records before this offset were refused one by one, each with a result."""

    places: list[Place]


class _Unreadable(NamedTuple):
    """A batch of commands that can't be read, and whether its letter may be missing."""

    place: Place
    in_flight: bool
    letter_expired: bool


class Letters:
    """Matches the malformed commands of one topic with the dead letters of its stage."""

    def __init__(self, findings: Findings, numbering: Numbering, commands: str) -> None:
        self._findings, self._numbering = findings, numbering
        self._commands = commands
        self._malformed, self._letters = Facts(2), Facts(2)
        self.by_reason: Counter[str] = Counter()
        self._skipped: dict[tuple[str, int], list[tuple[int, int]]] = {}
        """Ranges that an operator skipped (``payments journal skip``), by topic and partition."""

        self.batches: dict[tuple[int, int], BatchLetter] = {}
        """Batches of commands that were dead-lettered whole, by partition and first offset."""
        self._unreadable: list[_Unreadable] = []

    def is_skipped(self, topic: str, partition: int, offset: int) -> bool:
        """Whether an operator skipped a record."""
        ranges = self._skipped.get((topic, partition))
        return ranges is not None and any(first <= offset < end for first, end in ranges)

    def malformed(self, record: Record, *, in_flight: bool, letter_expired: bool) -> None:
        """Note a command that must be dead-lettered; with ``letter_expired`` it may be deleted."""
        code = _IN_FLIGHT * in_flight | _LETTER_EXPIRED * letter_expired
        word = pack(code, record.partition, record.offset)
        copied = self._numbering.is_copy(record.partition, record.offset)
        known_as = digest(_content(record)) if copied else digest(record.address)
        self._malformed.add(known_as, word)

    def letter(self, record: Record, commit: int) -> None:
        """Note a dead letter of the stage."""
        facts, commands = _facts(record), self._commands
        reason = facts.get("reason", "unknown")
        self.by_reason[reason] += 1
        if reason == SKIPPED:
            self._note_skip(record, facts)
            return
        if facts.get("topic") == commands and reason in _OF_BATCHES:
            self._note_batch(record, facts)
            return
        place = address_text(*(facts.get(name, "") for name in ("topic", "partition", "offset")))
        copied = self._numbering.letter_names_copy(place, record.partition, commit)
        if copied or facts.get("topic") == commands:
            key = digest(_content(record)) if copied else digest(place)
            code = _DEFECT if reason == INTERNAL_ERROR else _MALFORMED
            self._letters.add(key, pack(code, record.partition, record.offset))

    def expect_skip(self, record: Record) -> None:
        """Note a notice that is journalled and not published yet, before commands are read."""
        facts = _facts(record)
        if facts.get("reason") == SKIPPED:
            self._note_skip(record, facts)

    def _note_skip(self, record: Record, facts: Mapping[str, str]) -> None:
        try:
            found = decode_skip_notice(record.value or b"")
            at = facts["topic"], int(facts["partition"])
            self._skipped.setdefault(at, []).append((found.first, found.end))
        except (DecodeError, KeyError, RecursionError, ValueError) as error:
            message = f"a notice of a skip that can't be read: {error!r}"
            self._findings.add(Kind.MALFORMED_RECORD, Place(*record[:3]), message)

    def _note_batch(self, record: Record, facts: Mapping[str, str]) -> None:
        at, last_offset = (int(facts["partition"]), int(facts["offset"])), int(facts["last.offset"])
        # Versions before have answered none of them.
        count = int(facts.get("unanswered", last_offset + 1 - at[1]))
        new = BatchLetter(last_offset, last_offset + 1 - count, [])
        letter = self.batches.setdefault(at, new)
        letter.places.append(Place(*record[:3]))

    def unreadable(self, batch: UnreadableBatch, *, in_flight: bool, letter_expired: bool) -> None:
        """Note a batch of commands that can't be read, so must be dead-lettered whole."""
        place = Place(batch.topic, batch.partition, batch.offset)
        self._unreadable.append(_Unreadable(place, in_flight, letter_expired))

    def batch_of(self, partition: int, offset: int) -> BatchLetter | None:
        """Return the letter of a command's batch, where that was dead-lettered whole."""
        for (where, first), letter in self.batches.items():
            if where == partition and first <= offset <= letter.last_offset:
                return letter
        return None

    def _judge_batches(self, *, lacks_commands: bool) -> None:
        """Compare the batches that can't be read with those that were dead-lettered."""
        letters = {at: list(letter.places) for at, letter in self.batches.items()}
        for place, in_flight, letter_expired in self._unreadable:
            found = letters.pop((place.partition, place.offset), [])
            for second in found[1:]:
                message = "a second dead letter of one batch"
                self._findings.add(Kind.SURPLUS_DEAD_LETTER, second, message)
            if found or in_flight:
                continue
            if letter_expired:
                self._findings.unchecked["batches whose dead letters may be deleted"] += 1
            else:
                message = "the batch can't be read, but is not among the dead letters"
                self._findings.add(Kind.MISSING_DEAD_LETTER, place, message)
        gone = "whose commands may be deleted" if lacks_commands else "of batches that can be read"
        for _ in letters:
            self._findings.unchecked[f"dead letters {gone}"] += 1

    def judge(self, letters: str, *, lacks_commands: bool) -> None:
        """Compare the commands that had to be dead-lettered with those that were."""
        self._judge_batches(lacks_commands=lacks_commands)
        for bucket in range(BUCKETS):
            found: dict[int, list[int]] = {}
            for key, word in self._letters.take(bucket):
                found.setdefault(key, []).append(word)
            for key, word in self._malformed.take(bucket):
                words = found.get(key)
                if not words:
                    self._missing(self._commands, word)
                else:
                    words.pop(0)
            for words in found.values():
                for word in words:
                    self._surplus(letters, word, known=not lacks_commands)

    def _missing(self, commands: str, word: int) -> None:
        code = code_of(word)
        if code & _LETTER_EXPIRED:
            self._findings.unchecked["malformed commands whose dead letters may be deleted"] += 1
        elif not code & _IN_FLIGHT:
            message = "the command is malformed, but is not among the dead letters"
            place = Place(commands, *place_of(word))
            self._findings.add(Kind.MISSING_DEAD_LETTER, place, message)

    def _surplus(self, letters: str, word: int, *, known: bool) -> None:
        if code_of(word) == _DEFECT:
            return  # A well-formed command that met a bug: it has a result too.
        if not known:
            self._findings.unchecked["dead letters whose commands may be deleted"] += 1
            return
        message = "a second dead letter of one command, or one of a command that is well-formed"
        place = Place(letters, *place_of(word))
        self._findings.add(Kind.SURPLUS_DEAD_LETTER, place, message)


def _facts(record: Record) -> dict[str, str]:
    # The stage's own headers are the last ones: a command may carry headers of that name too.
    return {
        name.removeprefix(HEADER_PREFIX): (content or b"").decode(errors="replace")
        for name, content in record.headers
        if name.startswith(HEADER_PREFIX)
    }


def _content(record: Record) -> tuple[bytes, bytes]:
    return record.key or b"", record.value or b""
