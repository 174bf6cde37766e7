"""Judgement: whether the commands, results, entries and row of one payment agree."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from .facts import unpack
from .findings import Findings, Kind, Place
from .told import Replay, Told
from .topics import Topics

NOTICE = 0
"""Stands for a command's id in a result that answers none."""


class Asked(IntEnum):
    """What is known of a command when it is read: bits, which may be added."""

    IN_FLIGHT = 1  # Not handled at the cut, or on its way to its right partition.
    RESULT_CUT = 2  # So old that retention may have deleted its result.


class Moved(IntEnum):
    """What a ledger entry does for its payment."""

    FORWARD = 1
    BACK = 2


LATER = 0x80
"""Of a result: decided after its journal's cut."""

RESULT_CUT = 0x80
"""Of an entry: so old that retention may have deleted the result that tells of it."""


@dataclass(frozen=True, slots=True)
class Known:
    """The topics, and which of them lack records that retention has deleted."""

    topics: Topics
    lacks_commands: bool
    lacks_entries: bool
    lacks_results: frozenset[int]
    """Partitions without their first results."""


@dataclass(slots=True)
class OnePayment:
    """All facts of one payment, each in the order in which they were read."""

    commands: list[tuple[int, int]] = field(default_factory=list)
    """Hash of the command's id, place with ``Asked``."""

    results: list[tuple[int, int, int]] = field(default_factory=list)
    """Hash of the command's id, place with ``Told`` and ``LATER``, terms."""

    entries: list[tuple[int, int]] = field(default_factory=list)
    """Place with ``Moved`` and ``RESULT_CUT``, terms of the movement forward."""

    row: tuple[int, int] | None = None
    """Place with ``Told``, terms."""


_AS_ROW = {Told.MOVED_NOW: Told.MOVED, Told.EXPIRED: Told.NO_PAYMENT}


class Judgement:
    """Judges one payment: first its answers, then its money, then its row."""

    def __init__(self, payment: OnePayment, known: Known, findings: Findings) -> None:
        self._payment, self._known, self._findings = payment, known, findings
        self._topics = known.topics
        self._state = Told.NO_PAYMENT if payment.row is None else Told(unpack(payment.row[0]).code)
        self.is_pending = self._state is Told.UNDER_WAY
        self._unanswered = 0
        self._missing = 0
        """Results that should be there and are not: what they told is not known."""

    def _find(self, kind: Kind, topic: str, word: int, message: str) -> None:
        _, partition, offset = unpack(word)
        self._findings.add(kind, Place(topic, partition, offset), message)

    def answers(self, waiting: Sequence[int]) -> int:
        """Match commands with results; return how many commands are in flight."""
        payment = self._payment
        asked: dict[int, list[int]] = {}
        answered: dict[int, list[int]] = {}
        for own, word in payment.commands:
            asked.setdefault(own, []).append(word)
        for own, word, _ in payment.results:
            if own != NOTICE:
                answered.setdefault(own, []).append(word)
        in_flight = 0
        for own, words in asked.items():
            left = len(words) - len(answered.get(own, ()))
            if left > 0:
                in_flight += self._unmatched(words, left, waiting.count(own))
        for own, words in answered.items():
            extra = len(words) - len(asked.get(own, ()))
            if extra > 0:
                self._surplus(words, extra, known=own in asked)
        self._unanswered = in_flight
        return in_flight

    def _unmatched(self, words: Sequence[int], left: int, waiting: int) -> int:
        """Say which of the commands with one id lack a result; return how many are in flight."""
        codes = [unpack(word).code for word in words]
        excused = min(left, waiting + sum(bool(code & Asked.IN_FLIGHT) for code in codes))
        lacking = left - excused
        if not lacking:
            return excused
        self._missing += lacking
        if any(code & Asked.RESULT_CUT for code in codes):
            reason = "commands whose results may have been deleted by retention"
            self._findings.unchecked[reason] += lacking
            return excused
        handled = [w for w, code in zip(words, codes, strict=True) if not code & Asked.IN_FLIGHT]
        for word in handled[-lacking:]:
            message = "the command was handled and is not waiting, but has no result"
            self._find(Kind.MISSING_RESULT, self._topics.commands, word, message)
        return excused

    def _surplus(self, words: Sequence[int], extra: int, *, known: bool) -> None:
        if not known and self._known.lacks_commands:
            reason = "results whose commands may have been deleted by retention"
            self._findings.unchecked[reason] += extra
            return
        message = "a second result for its command" if known else "there is no such command"
        dropped = set(words[-extra:])
        for word in words[-extra:]:
            self._find(Kind.SURPLUS_RESULT, self._topics.results, word, message)
        self._payment.results = [r for r in self._payment.results if r[1] not in dropped]

    def _replay(self, *, up_to_cut: bool) -> Replay:
        results = []
        for _, word, its_terms in self._payment.results:
            code = unpack(word).code
            if not (up_to_cut and code & LATER):
                results.append((Told(code & ~LATER), its_terms, word))
        return Replay().read(results)

    def money(self, *, moving: bool) -> None:
        """Compare what the results tell of the money with the ledger."""
        replay = self._replay(up_to_cut=False)
        cut = replay if not self._has_later else self._replay(up_to_cut=True)
        if not self._missing:
            for word, message in replay.contradictions:
                self._find(Kind.CONTRADICTING_RESULT, self._topics.results, word, message)
        # What is in flight may have moved money once more than the results tell.
        in_flight = moving or self._has_later or self.is_pending or self._unanswered > 0
        hidden = self._missing + in_flight
        for moved, told, told_by_cut, what in (
            (Moved.FORWARD, replay.forward, cut.forward, "moved"),
            (Moved.BACK, replay.back, cut.back, "moved back"),
        ):
            entries = [e for e in self._payment.entries if unpack(e[0]).code & ~RESULT_CUT == moved]
            old = sum(bool(unpack(word).code & RESULT_CUT) for word, _ in entries)
            if len(entries) < len(told_by_cut):
                if self._known.lacks_entries:
                    self._findings.unchecked["payments whose entries may have been deleted"] += 1
                    continue
                message = f"the money was {what}, but the ledger has {len(entries)} such entries"
                word = told_by_cut[len(entries)].word
                self._find(Kind.MISSING_ENTRY, self._topics.results, word, message)
            extra = len(entries) - len(told) - hidden
            if extra > old:
                self._too_many(entries[-1][0], what, len(entries), len(told))
            elif extra > 0:
                self._findings.unchecked["entries whose results may have been deleted"] += extra
        self._compare_terms(replay)

    @property
    def _has_later(self) -> bool:
        return any(unpack(word).code & LATER for _, word, _ in self._payment.results)

    def _too_many(self, word: int, what: str, found: int, told: int) -> None:
        kind = Kind.MONEY_TWICE if found > 1 else Kind.UNEXPECTED_ENTRY
        message = f"the payment's money was {what} {found} times, the results tell of {told}"
        self._find(kind, self._topics.ledger, word, message)

    def _compare_terms(self, replay: Replay) -> None:
        """Compare account, amount and currency of the entries with those in the results."""
        told = Counter(life.terms for life in replay.forward if life.terms)
        forward: Counter[int] = Counter()
        for word, its_terms in self._payment.entries:
            if unpack(word).code & ~RESULT_CUT == Moved.FORWARD:
                forward[its_terms] += 1
        known = len(replay.forward) == told.total() == forward.total()
        for word, its_terms in self._payment.entries:
            moved = unpack(word).code & ~RESULT_CUT
            if moved == Moved.FORWARD and known and its_terms not in told:
                message = "account, amount or currency is not what the payment's results say"
                self._find(Kind.WRONG_ENTRY, self._topics.ledger, word, message)
            elif moved == Moved.BACK and forward and its_terms not in forward:
                message = "it does not undo the payment's entry: account, amount or currency differ"
                self._find(Kind.WRONG_ENTRY, self._topics.ledger, word, message)

    def table(self) -> None:
        """Compare the row with what the results told by the journal's cut."""
        if self.is_pending or self._missing:
            return
        replay, row, state = self._replay(up_to_cut=True), self._payment.row, self._state
        if replay.last is None:
            if row is not None and state is not Told.NO_PAYMENT:
                self._untold(row)
            return
        last = _AS_ROW.get(replay.last, replay.last)
        said = replay.lives[-1].terms if replay.lives and state is not Told.NO_PAYMENT else 0
        cancelled = last is Told.CANCELLED and state in (Told.PREVENTED, Told.MOVED_BACK)
        if state is not last and not cancelled:
            message = f"the row says {_named(state)}, the last result says {_named(last)}"
            self._find_row(row, replay.last_word, message)
        elif row is not None and said not in (0, row[1]):
            message = "the row has another account, amount or currency than the results"
            self._find_row(row, replay.last_word, message)

    def _untold(self, row: tuple[int, int]) -> None:
        if unpack(row[0]).partition in self._known.lacks_results:
            self._findings.unchecked["rows whose results may have been deleted"] += 1
            return
        message = f"the payment is {_named(self._state)}, but no result told of it"
        self._find(Kind.ROW_DIFFERS, self._topics.payments_journal, row[0], message)

    def _find_row(self, row: tuple[int, int] | None, word: int, message: str) -> None:
        if row is None:
            self._find(Kind.ROW_DIFFERS, self._topics.results, word, message)
        else:
            self._find(Kind.ROW_DIFFERS, self._topics.payments_journal, row[0], message)


def _named(told: Told) -> str:
    return told.name.lower().replace("_", " ")
