"""Judgement: whether the commands, results, entries and row of one payment agree."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from .facts import code_of, digest, place_of
from .findings import Findings, Kind, Place
from .implied import Implied, Life, PaymentHistory
from .lifecycle import (
    NO_PART,
    Did,
    EntryDirection,
    HeldByEntry,
    Move,
    Moved,
    RowAmounts,
    Shown,
    doubled,
)
from .numbering import COPIED
from .retention import CLOCKS_DIFFER_MS
from .topics import Topics

NOTICE = 0
"""Stands for a command's id in a result that answers no command."""


class CommandFlags(IntEnum):
    """What is known of a command when it is read: bits that may be combined."""

    IN_FLIGHT = 1  # Not handled at the snapshot, or forwarded and not yet handled there.
    RESULT_EXPIRED = 2  # Retention may have deleted its result.


LATER = 0x80
"""Bit of a result: decided after its journal's snapshot."""

RESULT_EXPIRED = 0x80
"""Bit of an entry: retention may have deleted the result that belongs to it."""


@dataclass(frozen=True, slots=True)
class RetentionGaps:
    """The topics, and which of them lack records that retention has deleted."""

    topics: Topics
    lacks_commands: bool
    lacks_entries: bool
    lacks_results: frozenset[int]
    """Partitions without their first results."""

    snapshots_ms: Sequence[int]
    """By partition: when the last row of the payments was appended."""

    lives_differ_ms: int
    """Least time between the beginnings of two payments with one id; below zero if not known."""


@dataclass(slots=True)
class HeldByPayments:
    """What all payments hold, by account and currency."""

    held: Counter[int] = field(default_factory=Counter)
    """By the hash of account and currency."""

    rows: dict[int, int] = field(default_factory=dict)
    """By the same hash: the place of the row of one of its payments."""

    unclear: set[int] = field(default_factory=set)
    """Where some payment holds an amount that is not known."""


@dataclass(slots=True)
class PaymentFacts:
    """All facts of one payment, each in the order in which they were read."""

    commands: list[tuple[int, int]] = field(default_factory=list)
    """Hash of the command's id, place with ``CommandFlags``."""

    results: list[tuple[int, int, int]] = field(default_factory=list)
    """Hash of the command's id, place with ``Implied`` and ``LATER``, terms."""

    entries: list[tuple[int, int, int]] = field(default_factory=list)
    """Place with ``EntryDirection`` and ``RESULT_EXPIRED``, terms of the movement forward, time."""

    row: tuple[int, int] | None = None
    """Place with ``Implied``, terms."""

    shown: dict[int, Shown] = field(default_factory=dict)
    """Amounts that results show, by the place with ``Implied``."""

    holds: dict[int, HeldByEntry] = field(default_factory=dict)
    """By the place of an entry."""

    captures: list[tuple[int, int, int]] = field(default_factory=list)
    """Hash of the id of a capture's command, its partition, when it was appended."""

    row_amounts: RowAmounts | None = None
    row_place: int = 0
    """The hash of account and currency in the row."""

    @property
    def places(self) -> set[int]:
        """Where it may hold money."""
        return {self.row_place, *(held.place for held in self.holds.values())}


_NOTHING = PaymentHistory()
_COPIED = digest(COPIED)
_BY_CODE = tuple(Implied)
_WAYS_TO_CANCEL = frozenset({Implied.PREVENTED, Implied.VOIDED, Implied.MOVED_BACK})
_AS_ROW = {Implied.MOVED_NOW: Implied.MOVED, Implied.EXPIRED: Implied.NO_PAYMENT}


class Judgement:
    """Judges one payment: first its answers, then its money, then its row."""

    def __init__(self, payment: PaymentFacts, known: RetentionGaps, findings: Findings) -> None:
        self._payment, self._known, self._findings = payment, known, findings
        self._topics = known.topics
        self._state = (
            Implied.NO_PAYMENT if payment.row is None else Implied(code_of(payment.row[0]))
        )
        self.is_pending = self._state is Implied.IN_FLIGHT
        self._has_later = any(code_of(word) & LATER for _, word, _ in payment.results)
        self._all = self._by_snapshot = _NOTHING
        self._unanswered = 0
        self._missing = 0
        """Number of missing results: what they implied is not known."""
        self._in_flight = False
        """Whether a transfer may have moved money once more than the results imply."""

    def _find(self, kind: Kind, topic: str, word: int, message: str) -> None:
        self._findings.add(kind, Place(topic, *place_of(word)), message)

    def judge(self, waiting: Sequence[int], *, moving: bool) -> int:
        """Judge the payment; return how many commands are in flight."""
        self._late_captures()
        in_flight = self._answers(waiting)
        self._money(moving=moving)
        self._table()
        return in_flight

    def _answers(self, waiting: Sequence[int]) -> int:
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
                # Copied commands can't be distinguished, so neither can those that were deleted.
                known = own in asked and not (own == _COPIED and self._known.lacks_commands)
                self._surplus(words, extra, known=known)
        self._unanswered = in_flight
        return in_flight

    def _unmatched(self, words: Sequence[int], left: int, waiting: int) -> int:
        """Report commands with one id that lack a result; return how many are in flight."""
        codes = [code_of(word) for word in words]
        excused = min(left, waiting + sum(bool(code & CommandFlags.IN_FLIGHT) for code in codes))
        lacking = left - excused
        if not lacking:
            return excused
        self._missing += lacking
        if any(code & CommandFlags.RESULT_EXPIRED for code in codes):
            reason = "commands whose results may have been deleted by retention"
            self._findings.unchecked[reason] += lacking
            return excused
        handled = [
            w for w, code in zip(words, codes, strict=True) if not code & CommandFlags.IN_FLIGHT
        ]
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

    def _replay(self) -> None:
        """Replay all results, and those that were decided before the journal's snapshot."""
        results = [
            (_BY_CODE[code_of(word) & ~LATER], its_terms, word)
            for _, word, its_terms in self._payment.results
        ]
        lacks_first = bool(results) and place_of(results[0][2])[0] in self._known.lacks_results
        # A notice follows in the same commit, which is read whole only up to the snapshot.
        self._all = self._by_snapshot = PaymentHistory(lacks_first, self._has_later).read(
            results, self._payment.shown
        )
        if self._has_later:
            by_snapshot = [result for result in results if not code_of(result[2]) & LATER]
            self._by_snapshot = PaymentHistory(lacks_first).read(by_snapshot, self._payment.shown)

    def _money(self, *, moving: bool) -> None:
        """Compare the movements that the results imply with the ledger."""
        self._replay()
        if not self._missing:
            for word, message in self._all.contradictions:
                self._find(Kind.CONTRADICTING_RESULT, self._topics.results, word, message)
            for kind, word, message in self._all.faults:
                self._find(kind, self._topics.results, word, message)
        # A transfer in flight may have moved money once more than the results imply.
        self._in_flight = moving or self._has_later or self.is_pending or self._unanswered > 0
        hidden = self._missing + self._in_flight
        moved = self._moved_once()
        if self._all.has_amounts or self._payment.holds:
            self._lifecycle(moved, hidden)
            return
        forward, back = self._all.forward, self._all.back
        self._compare(EntryDirection.FORWARD, forward, self._by_snapshot.forward, hidden)
        self._compare(EntryDirection.BACK, back, self._by_snapshot.back, hidden)
        if self._payment.entries:
            self._compare_terms(forward)

    def _compare(
        self, moved: EntryDirection, lives: Sequence[Life], by_snapshot: Sequence[Life], hidden: int
    ) -> None:
        """Compare the number of entries in one direction with the lives that have them."""
        entries = [e for e in self._payment.entries if code_of(e[0]) & ~RESULT_EXPIRED == moved]
        what = "moved" if moved is EntryDirection.FORWARD else "moved back"
        if len(entries) < len(by_snapshot):
            if self._known.lacks_entries:
                self._findings.unchecked["payments whose entries may have been deleted"] += 1
                return
            message = f"the money was {what}, but the ledger has {len(entries)} such entries"
            word = by_snapshot[len(entries)].word
            self._find(Kind.MISSING_ENTRY, self._topics.results, word, message)
        extra = len(entries) - len(lives) - hidden
        if extra <= 0:
            return
        old = sum(bool(code_of(word) & RESULT_EXPIRED) for word, *_ in entries)
        if extra > old:
            self._too_many(entries[-1][0], what, len(entries), len(lives))
        else:
            self._findings.unchecked["entries whose results may have been deleted"] += extra

    def _too_many(self, word: int, what: str, found: int, expected: int) -> None:
        kind = Kind.MONEY_TWICE if found > 1 else Kind.UNEXPECTED_ENTRY
        message = f"the payment's money was {what} {found} times, its results say {expected}"
        self._find(kind, self._topics.ledger, word, message)

    def _compare_terms(self, lives: Sequence[Life]) -> None:
        """Compare account, amount and currency of the entries with those in the results."""
        expected = [life.terms for life in lives if life.terms]
        forward = [
            its_terms
            for word, its_terms, _ in self._payment.entries
            if code_of(word) & ~RESULT_EXPIRED == EntryDirection.FORWARD
        ]
        known = len(lives) == len(expected) == len(forward)
        for word, its_terms, _ in self._payment.entries:
            moved = code_of(word) & ~RESULT_EXPIRED
            if moved == EntryDirection.FORWARD and known and its_terms not in expected:
                message = "account, amount or currency is not what the payment's results say"
                self._find(Kind.WRONG_ENTRY, self._topics.ledger, word, message)
            elif moved == EntryDirection.BACK and forward and its_terms not in forward:
                message = "it does not undo the payment's entry: account, amount or currency differ"
                self._find(Kind.WRONG_ENTRY, self._topics.ledger, word, message)

    def _moved_once(self) -> list[Moved]:
        """Report what the ledger alone shows to have moved twice; return the other entries."""
        payment = self._payment
        moved = [_moved(*entry, payment.holds.get(entry[0])) for entry in payment.entries]
        if len(moved) < 2:
            return moved
        again = {
            entry.word for entry in doubled(moved, lives_differ_ms=self._known.lives_differ_ms)
        }
        for entry in moved:
            if entry.word in again:
                self._moved_again(entry)
        if again:
            payment.entries = [entry for entry in payment.entries if entry[0] not in again]
        return [entry for entry in moved if entry.word not in again]

    def _late_captures(self) -> None:
        """Report captures whose commands were all appended after the end of the hold."""
        payment = self._payment
        for own, word, _ in payment.results if payment.captures else ():
            shown = payment.shown.get(word)
            if shown is None or shown.did != Did.CAPTURED:
                continue
            home = place_of(word)[0]
            # One that was forwarded is decided by the time of the forwarded record.
            asked = [
                time_ms if partition == home else 0
                for its_own, partition, time_ms in payment.captures
                if its_own == own
            ]
            is_known = len(asked) >= sum(own == each for each, _, _ in payment.results)
            if asked and is_known and min(asked) >= shown.expires_ms:
                late_ms = min(asked) - shown.expires_ms
                message = f"captured, but its command came {late_ms} ms after the hold had ended"
                self._find(Kind.WRONG_LAPSE, self._topics.results, word, message)

    def add_held(self, found: HeldByPayments) -> None:
        """Add what the payment holds: by its row, or by its entries where those may be ahead."""
        payment, amounts = self._payment, self._payment.row_amounts
        is_ahead = any(not held.by_snapshot for held in payment.holds.values())
        if self._in_flight or is_ahead or any(map(self._is_lapsing, self._releases())):
            if self._known.lacks_entries:
                found.unclear |= payment.places
            for held in payment.holds.values():
                found.held[held.place] += held.change * held.by_snapshot
        elif amounts is not None and amounts.held and self._state is not Implied.NO_PAYMENT:
            found.held[payment.row_place] += amounts.held
            assert payment.row is not None, "its amounts are of its row"
            found.rows[payment.row_place] = payment.row[0]

    def _releases(self) -> Iterator[Moved]:
        for entry in self._payment.entries:
            if code_of(entry[0]) & ~RESULT_EXPIRED == EntryDirection.RELEASE:
                yield _moved(*entry, self._payment.holds.get(entry[0]))

    def _is_lapsing(self, entry: Moved) -> bool:
        """Whether an entry may be the end of a hold, since the row was read: no command says so."""
        row, amounts = self._payment.row, self._payment.row_amounts
        if row is None or amounts is None or self._state is not Implied.AUTHORIZED:
            return False
        since_ms = max(amounts.expires_ms, self._known.snapshots_ms[place_of(row[0])[0]])
        is_release = entry.direction == EntryDirection.RELEASE
        return is_release and entry.time_ms + CLOCKS_DIFFER_MS >= since_ms

    def _lifecycle(self, moved: Sequence[Moved], hidden: int) -> None:
        """Compare each movement that the results imply with the ledger, and the other way round."""
        if self._missing:
            # What a missing result has moved is in the next one too, so not one by one.
            self._repeated_parts(moved)
            return
        found = Matching(moved)
        needed = {
            (move.direction, move.word) for life in self._by_snapshot.lives for move in life.moves
        }
        moves = [move for life in self._all.lives for move in life.moves]
        taken = [found.take(move) for move in moves]
        for move, fitting in zip(moves, taken, strict=True):
            entry = fitting
            if entry is None and not self._known.lacks_entries:
                entry = found.take_alike(move)
            if entry is None:
                if (move.direction, move.word) in needed:
                    self._lacks(move)
            elif not found.fits(move, entry):
                message = "account, amount, currency or what is held differs from the results"
                self._find(Kind.WRONG_ENTRY, self._topics.ledger, entry.word, message)
            # When a hold ended is in its notice. An entry has the time of another partition, whose
            # broker's clock may differ, so it proves nothing.
        self._surplus_entries(found, hidden)

    def _repeated_parts(self, moved: Sequence[Moved]) -> None:
        """Report parts that have moved money more than once in each life."""
        begins = self._all.present is None  # The next life may be in flight.
        most = max(1, len(self._all.lives) + begins)
        times: Counter[tuple[int, int]] = Counter()
        for entry in moved:
            if entry.part == NO_PART or code_of(entry.word) & RESULT_EXPIRED:
                continue
            times[entry.direction, entry.part] += 1
            if times[entry.direction, entry.part] > most:
                self._moved_again(entry)

    def _moved_again(self, entry: Moved) -> None:
        name = EntryDirection(entry.direction).name.lower()
        message = f"the payment's money was moved a second time: {name}"
        self._find(Kind.MONEY_TWICE, self._topics.ledger, entry.word, message)

    def _lacks(self, move: Move) -> None:
        if self._known.lacks_entries:
            self._findings.unchecked["payments whose entries may have been deleted"] += 1
            return
        kind = EntryDirection(move.direction).name.lower()
        message = f"the ledger has no such entry: {kind}"
        self._find(Kind.MISSING_ENTRY, self._topics.results, move.word, message)

    def _surplus_entries(self, found: "Matching", hidden: int) -> None:
        """Report entries that no result implies; those in flight may not be implied yet."""
        # A life that lost its first results does not imply what the first one left had moved.
        partial = [
            life for life in self._all.lives if life.amounts is not None and life.amounts.is_partial
        ]
        implied = {(move.direction, move.part) for life in partial for move in life.moves}
        # An id that is used again may have in flight what an earlier life has moved.
        present = self._all.present
        once = {(move.direction, move.part) for move in ([] if present is None else present.moves)}
        ahead: set[tuple[int, int]] = set()
        for entry in found.left:
            what = entry.direction, entry.part
            name = EntryDirection(entry.direction).name.lower()
            is_old = bool(code_of(entry.word) & RESULT_EXPIRED)
            if is_old or (partial and what not in implied):
                if not is_old:
                    implied.add(what)
                self._findings.unchecked["entries whose results may have been deleted"] += 1
            elif (hidden or self._is_lapsing(entry)) and what not in ahead | once:
                ahead.add(what)
            elif what in ahead | found.taken:
                self._moved_again(entry)
            else:
                message = f"no result of the payment has such an entry: {name}"
                self._find(Kind.UNEXPECTED_ENTRY, self._topics.ledger, entry.word, message)

    def _table(self) -> None:
        """Compare the row with the last result before the journal's snapshot."""
        if self.is_pending or self._missing:
            return
        replay, row, state = self._by_snapshot, self._payment.row, self._state
        if replay.last is None:
            if row is not None and state is not Implied.NO_PAYMENT:
                self._without_result(row)
            return
        last = _AS_ROW.get(replay.last, replay.last)
        said = replay.lives[-1].terms if replay.lives and state is not Implied.NO_PAYMENT else 0
        cancelled = last is Implied.CANCELLED and state in _WAYS_TO_CANCEL
        if state is not last and not cancelled:
            message = f"the row says {_named(state)}, the last result says {_named(last)}"
            self._find_row(row, replay.last_word, message)
        elif row is not None and said not in (0, row[1]):
            message = "the row has another account, amount or currency than the results"
            self._find_row(row, replay.last_word, message)
        else:
            self._row_amounts(replay)

    def _row_amounts(self, replay: PaymentHistory) -> None:
        """Compare what the row has of captures, refunds and holds with the last result."""
        life, has = replay.present, self._payment.row_amounts or RowAmounts(0, 0, 0, 0, 0)
        if self._payment.row is None or self._state is Implied.NO_PAYMENT:
            return
        wants = RowAmounts(0, 0, 0, 0, 0)
        if life is not None and life.amounts is not None:
            wants = life.amounts.row()
            if life.amounts.is_partial:
                wants = wants._replace(parts=has.parts)
        elif replay.lacks_first:
            return
        if has != wants:
            names = [name for name, a, b in zip(has._fields, has, wants, strict=True) if a != b]
            message = f"the row has other amounts than the results: {', '.join(names)}"
            self._find_row(self._payment.row, replay.last_word, message)

    def _without_result(self, row: tuple[int, int]) -> None:
        if place_of(row[0])[0] in self._known.lacks_results:
            self._findings.unchecked["rows whose results may have been deleted"] += 1
            return
        message = f"the payment is {_named(self._state)}, but there is no result of it"
        self._find(Kind.ROW_DIFFERS, self._topics.payments_journal, row[0], message)

    def _find_row(self, row: tuple[int, int] | None, word: int, message: str) -> None:
        if row is None:
            self._find(Kind.ROW_DIFFERS, self._topics.results, word, message)
        else:
            self._find(Kind.ROW_DIFFERS, self._topics.payments_journal, row[0], message)


def _moved(word: int, its_terms: int, time_ms: int, held: HeldByEntry | None) -> Moved:
    change, part = (0, NO_PART) if held is None else (held.change, held.part)
    return Moved(code_of(word) & ~RESULT_EXPIRED, its_terms, change, part, word, time_ms)


def is_too_early(move: Move, entry: Moved) -> bool:
    """Whether an entry is older than its movement may be."""
    return entry.time_ms + CLOCKS_DIFFER_MS < move.not_before_ms


class Matching:
    """Finds for each movement that results imply its entry in the ledger."""

    def __init__(self, moved: Sequence[Moved]) -> None:
        self.left = list(moved)
        """Entries that no movement was found for yet."""

        self.taken: set[tuple[int, int]] = set()
        """What was found: direction and part."""

    def take(self, move: Move) -> Moved | None:
        """Return the first entry that is what a movement must be, of its own time if there is."""
        return self._take([entry for entry in self._alike(move) if self.fits(move, entry)], move)

    def take_alike(self, move: Move) -> Moved | None:
        """Return the first entry of a movement's kind and part, whatever it moves."""
        return self._take(self._alike(move), move)

    def _alike(self, move: Move) -> list[Moved]:
        return [e for e in self.left if (e.direction, e.part) == (move.direction, move.part)]

    def _take(self, entries: Sequence[Moved], move: Move) -> Moved | None:
        """Take an entry; those of an earlier life, whose results are deleted, come last."""
        if not entries:
            return None
        entry = min(
            entries, key=lambda e: (is_too_early(move, e), code_of(e.word) & RESULT_EXPIRED)
        )
        self.left.remove(entry)
        self.taken.add((entry.direction, entry.part))
        return entry

    @staticmethod
    def fits(move: Move, entry: Moved) -> bool:
        """Whether an entry is just what a movement must be."""
        return move.terms in {0, entry.terms} and move.held == entry.held


def _named(implied: Implied) -> str:
    return implied.name.lower().replace("_", " ")
