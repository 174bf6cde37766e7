"""Payments: keeps the facts of all payments, and judges one payment after another."""

from collections import defaultdict
from collections.abc import Sequence

from .facts import BUCKETS, Facts, pack, signed, word_of
from .findings import Findings
from .implied import Implied
from .judgement import HeldByPayments, Judgement, PaymentFacts, RetentionGaps
from .lifecycle import HeldByEntry, RowAmounts, Shown


class Payments:
    """Keeps the facts of all payments, and judges them at the end."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._commands, self._results = Facts(3), Facts(4)
        self._entries, self._rows = Facts(4), Facts(3)
        self._shown = Facts(2 + len(Shown._fields))
        self._holds = Facts(2 + len(HeldByEntry._fields))
        self._row_amounts = Facts(2 + len(RowAmounts._fields))
        self._captures = Facts(4)
        self._waiting: dict[int, tuple[int, ...]] = {}
        self._moving: set[int] = set()
        self._of_later_version: set[int] = set()
        self.count = self.in_flight = self.pending = 0

    # --- what is read -----------------------------------------------------------------------------

    def command(self, payment: int, own: int, at: tuple[int, int], asked: int) -> None:
        """Note a command; ``at`` is partition and offset, ``asked`` are ``CommandFlags``."""
        self._commands.add(payment, own, pack(asked, *at))

    def capture(self, payment: int, own: int, partition: int, time_ms: int) -> None:
        """Note when a capture was appended, and to which partition."""
        self._captures.add(payment, own, partition, time_ms)

    def result(
        self, payment: int, own: int, at: tuple[int, int], implied: int, its_terms: int
    ) -> None:
        """Note a result; ``implied`` is an ``Implied``, with ``LATER`` where that applies."""
        self._results.add(payment, own, pack(implied, *at), its_terms)

    def shown(self, payment: int, at: tuple[int, int], implied: int, shown: Shown) -> None:
        """Note the amounts that a result shows; the arguments are those of ``result``."""
        self._shown.add(payment, pack(implied, *at), *map(int, shown))

    def hold(self, payment: int, at: tuple[int, int], moved: int, held: HeldByEntry) -> None:
        """Note what an entry changes of what is held; others are arguments of ``entry``."""
        change, *others = held
        self._holds.add(payment, pack(moved, *at), word_of(change), *map(int, others))

    def row_amounts(self, payment: int, amounts: RowAmounts, place: int) -> None:
        """Note the amounts of a row, which replace earlier ones, and where its money is."""
        self._row_amounts.add(payment, place, *amounts)

    def entry(
        self, payment: int, at: tuple[int, int], moved: int, its_terms: int, time_ms: int
    ) -> None:
        """Note an entry; ``moved`` is its direction, with ``RESULT_EXPIRED`` where that applies."""
        self._entries.add(payment, pack(moved, *at), its_terms, time_ms)

    def row(
        self,
        payment: int,
        at: tuple[int, int],
        state: Implied,
        its_terms: int,
        waiting: Sequence[int] = (),
    ) -> None:
        """Note a row, which replaces an earlier one; ``waiting`` are its unanswered commands."""
        self._rows.add(payment, pack(state, *at), its_terms)
        if waiting:
            self._waiting[payment] = tuple(waiting)
        else:
            self._waiting.pop(payment, None)

    def moving(self, payment: int) -> None:
        """Note that a message for a payment is on its way."""
        self._moving.add(payment)

    def skip(self, payment: int) -> None:
        """Note that a later version wrote about a payment: it can't be judged."""
        self._of_later_version.add(payment)

    # --- what follows -----------------------------------------------------------------------------

    def judge(self, known: RetentionGaps) -> HeldByPayments:
        """Judge each payment; return what they hold, to be compared with the accounts."""
        found = HeldByPayments()
        for bucket in range(BUCKETS):
            for key, payment in self._bucket(bucket).items():
                self.count += 1
                if key in self._of_later_version:
                    self._findings.unchecked["payments with records of a later version"] += 1
                    found.unclear.update(payment.places)
                    continue
                waiting = self._waiting.get(key, ())
                judgement = Judgement(payment, known, self._findings)
                self.in_flight += judgement.judge(waiting, moving=key in self._moving)
                self.pending += judgement.is_pending
                if payment.row_amounts is not None or payment.holds:
                    judgement.add_held(found)
        return found

    def _bucket(self, bucket: int) -> dict[int, PaymentFacts]:
        """Put the facts of a bucket together, payment by payment."""
        found: defaultdict[int, PaymentFacts] = defaultdict(PaymentFacts)
        for key, own, word in self._commands.take(bucket):
            found[key].commands.append((own, word))
        for key, own, word, its_terms in self._results.take(bucket):
            found[key].results.append((own, word, its_terms))
        for key, word, its_terms, time_ms in self._entries.take(bucket):
            found[key].entries.append((word, its_terms, time_ms))
        for key, word, its_terms in self._rows.take(bucket):
            found[key].row = word, its_terms
        for key, word, *shown in self._shown.take(bucket):
            found[key].shown[word] = Shown(*shown)
        for key, word, held, *others in self._holds.take(bucket):
            found[key].holds[word] = HeldByEntry(signed(held), *others)
        for key, place, *amounts in self._row_amounts.take(bucket):
            found[key].row_place, found[key].row_amounts = place, RowAmounts(*amounts)
        for key, own, partition, time_ms in self._captures.take(bucket):
            found[key].captures.append((own, partition, time_ms))
        return found
