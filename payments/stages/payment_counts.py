"""What the payments stage counts for metrics: results, and the payments that wait or hold money.

Results are counted when they are published, so a worker that is fenced counts none that another one
publishes. Open holds follow the rows.
"""

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple, cast

from exactstage import Context
from exactstage.hosting import Histogram
from payments.domain.commands import COMMAND_TYPES
from payments.domain.payment import Payment
from payments.domain.results import Answer

RESULT_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Upper bounds of the buckets of ``PaymentCounts.seconds``."""

UNREADABLE = "unreadable"
"""Stands for the type of a command that names none that there is."""

_TYPES = frozenset({*COMMAND_TYPES, "expire", "lapse", "notice"})

NO_COMMAND = -1
"""Of a notice: no command came."""

Answered = list[Answer | int]
"""Each answer of one commit, and after it the time that its seconds count from."""


class Waiting(NamedTuple):
    """Payments whose transfer is in flight."""

    payments: int
    oldest_ms: int | None
    """When the state of the oldest of them last changed: it waits since then."""


class Held(NamedTuple):
    """Open holds in one currency."""

    payments: int
    amount: int
    """Minor units."""


class PaymentCounts:
    """Counts of one worker's payments stage. Any thread may read them."""

    def __init__(self) -> None:
        self.results: dict[tuple[str, str, str], int] = {}
        """By type, outcome and reason ("" for none)."""
        self.seconds = Histogram(RESULT_SECONDS)
        """To the acknowledgement of a result, from the command's time in the log.

        Where a settlement is what is answered to, from the last change of the payment's state
        before it: mostly the beginning of that transfer. A command that joined or was queued after
        the transfer began counts from there too, one that was queued for an earlier transfer from
        the end of that one: the row has no time of joined commands.
        """
        self.answered: dict[int, Answered] = {}
        """Answers in the open commit of each partition."""
        self._held: dict[int, dict[str, tuple[int, int]]] = {}
        """Number and sum of open holds, by partition and currency."""

    def begin(self, context: Context) -> Answered:
        """Return the list for answers that are published with the open commit."""
        answered = self.answered[context.partition] = []
        context.before_seal(partial(self._sealed, context.partition))
        context.when_published(partial(self._published, answered))
        return answered

    def _sealed(self, partition: int) -> None:
        self.answered.pop(partition, None)

    def _published(self, answered: Answered, now_ms: int) -> None:
        if not answered:
            return  # The first answer could not be written, and was discarded.
        # Most are like the one before, in what they say and in their time: that is cheaper than
        # a dict.
        parts = iter(answered)
        last, last_ms = cast("Answer", answered[0]), cast("int", answered[1])
        count = count_ms = 0
        for each, since in zip(parts, parts, strict=True):
            answer, since_ms = cast("Answer", each), cast("int", since)
            if (
                answer.outcome is not last.outcome
                or answer.reason is not last.reason
                or answer.type is not last.type
            ):
                self._count(last, count)
                last, count = answer, 0
            count += 1
            if since_ms != last_ms:
                self._note(last_ms, now_ms, count_ms)
                last_ms, count_ms = since_ms, 0
            count_ms += 1
        self._count(last, count)
        self._note(last_ms, now_ms, count_ms)

    def _note(self, since_ms: int, now_ms: int, number: int) -> None:
        if since_ms != NO_COMMAND:
            self.seconds.note(max(0, now_ms - since_ms) / 1000, number)

    def _count(self, answer: Answer, number: int) -> None:
        # What is no type that there is would be a client's text.
        type_ = answer.type if answer.type in _TYPES else UNREADABLE
        key = str(type_), str(answer.outcome), "" if answer.reason is None else str(answer.reason)
        self.results[key] = self.results.get(key, 0) + number

    def hold_changed(self, before: Payment | None, after: Payment, partition: int) -> None:
        """Note that what a payment holds may have changed."""
        held_before = 0 if before is None else before.held
        if held_before == after.held:
            return
        assert after.request is not None, "an authorize was its request"
        holds, currency = self._held[partition], after.request.currency
        count, amount = holds.get(currency, (0, 0))
        count += (after.held > 0) - (held_before > 0)
        holds[currency] = count, amount + after.held - held_before

    def restored(self, partition: int) -> None:
        """Begin with a partition; ``hold_changed`` follows for what is held there."""
        self.released(partition)
        self._held[partition] = {}

    def released(self, partition: int) -> None:
        """Forget a partition."""
        self.answered.pop(partition, None)
        self._held.pop(partition, None)

    # --- for metrics -----------------------------------------------------------------------------

    def held(self) -> Mapping[str, Held]:
        """Return the open holds by currency; one that has been used stays, with 0."""
        found: dict[str, Held] = {}
        for holds in list(self._held.values()):
            for currency, (count, amount) in list(holds.items()):
                so_far = found.get(currency, Held(0, 0))
                found[currency] = Held(so_far.payments + count, so_far.amount + amount)
        return found
