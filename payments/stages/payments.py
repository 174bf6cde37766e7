"""The payments stage: folds commands and settlements into payments, and answers each command."""

import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial

from exactstage import Context, Record, Refused, Stage, partition_of
from payments.domain.payment import (
    Decision,
    HoldEnds,
    HoldEndsSoon,
    ImpossibleTransition,
    Payment,
    Policy,
    Received,
    WindowCloses,
    decide,
    is_refundable,
)
from payments.domain.payment_table import State
from payments.domain.results import Answer, Outcome, Reason
from payments.records.commands import (
    Malformed,
    fault_of_new_payment,
    own_of,
    parse_command,
    parse_payment_id,
)
from payments.records.internal_codec import (
    decode_payment,
    decode_settled,
    encode_payment,
    encode_transfer,
    open_payment,
    payment_time_ms,
)
from payments.records.record_writer import encode_result
from payments.settings import Settings
from payments.stages.expiry import Windows
from payments.stages.payment_counts import NO_COMMAND, PaymentCounts, Waiting

logger = logging.getLogger(__name__)

RESULT_TYPE = "payments.result"

RELEASE_ROWS = 5
"""How many deleted payments weigh what the end of one hold does."""

MAX_IN_FLIGHT = 8192
"""Most payments that are kept decoded."""

_RELEASING = State.RELEASING

_partition_of_account = lru_cache(maxsize=8192)(partition_of)
"""Accounts recur, so their partitions are cached; payment ids do not recur."""


def payments_stage(settings: Settings) -> Stage:
    """Return the stage that folds commands and settlements into payments."""
    return Stage(
        name="payments",
        logic=PaymentsLogic(settings),
        changelog=settings.changelog("payments"),
        dead_letters=settings.topics.payments_dead_letters,
        public_inputs=(settings.topics.commands,),
        internal_inputs=(settings.topics.inbox,),
        outputs=(settings.topics.results,),
        internal_outputs=(settings.topics.transfers,),
        forward_to=settings.topics.inbox,
        # A command that is deleted before it is read is never answered, and a rebuild needs the
        # commands and the results of all payments.
        keeps={
            settings.topics.commands: settings.longest_life_seconds,
            settings.topics.inbox: settings.longest_retention_seconds,
            settings.topics.results: settings.longest_life_seconds,
        },
        settings=settings.of(
            "default_currency",
            "decline_policy",
            "max_waiters",
            "hold_seconds",
            "hold_notice_seconds",
            "retention_seconds",
            "refund_seconds",
            "window_seconds",
        ),
    )


class InFlight:
    """Payments that wait for a settlement, by key: they are read again within milliseconds.

    One is valid for as long as the journal has the identical row.
    """

    def __init__(self) -> None:
        self._held: dict[bytes, tuple[bytes, Payment | None]] = {}

    def get(self, key: bytes, row: bytes | None) -> Payment | None:
        """Return the payment of a row; None where there is none."""
        if row is None:
            return None
        held = self._held.get(key)
        if held is None or held[0] is not row:
            return decode_payment(row)
        return held[1] or decode_payment(row)

    def put(self, key: bytes, row: bytes, payment: Payment) -> None:
        """Keep the payment of ``row``. It is never returned if the decision is discarded."""
        self._held[key] = row, payment if len(self._held) < MAX_IN_FLIGHT else None

    def forget(self, key: bytes) -> None:
        """Drop a payment."""
        self._held.pop(key, None)

    def released(self, partition: int, partitions: int) -> None:
        """Drop the payments of a partition."""
        for key in [key for key in self._held if partition_of(key, partitions) == partition]:
            del self._held[key]

    def waiting(self) -> Waiting:
        """Return how many there are, and since when the oldest waits; any thread may ask."""
        rows = [row for row, _ in list(self._held.values())]
        return Waiting(len(rows), min(map(payment_time_ms, rows), default=None))


class PaymentsLogic:
    """Decides payments, answers every command once, and closes windows."""

    def __init__(self, settings: Settings) -> None:
        self._inbox = settings.topics.inbox
        self._results = settings.topics.results
        self._transfers = settings.topics.transfers
        self._partitions = settings.partitions
        self._currency = settings.default_currency
        self._policy = Policy(
            settings.decline_policy,
            settings.max_waiters,
            settings.hold_seconds * 1000,
            settings.hold_notice_seconds * 1000,
        )
        self._width_ms = int(settings.window_seconds * 1000)
        self._retention_ms = int(settings.retention_seconds * 1000)
        self._refundable_ms = int(settings.longest_retention_seconds * 1000)
        self._remembers_longer = self._refundable_ms != self._retention_ms
        self._windows: dict[int, Windows] = {}
        self._refundable: dict[int, Windows] = {}
        """The payments that are remembered longer: the same windows, if none is."""
        self._holds: dict[int, Windows] = {}
        """The payments of each partition that hold money, by the window of the hold's end."""
        self._notices: dict[int, Windows] = {}
        """Those of them whose clients are told before, by the window in which that is due."""
        self._in_flight = InFlight()
        self.counts = PaymentCounts()
        """What was answered, and what is open, for metrics."""
        self._since_ms = 0
        """When the command came that is answered now."""

    def handle(self, record: Record, context: Context) -> None:
        """Decide a command, or how a transfer ended."""
        if record.topic == self._inbox:
            self._settle(record, context)
        else:
            self._command(record, context)

    def _command(self, record: Record, context: Context) -> None:
        self._since_ms = record.timestamp
        try:
            payment_id = parse_payment_id(record.key)
        except Malformed as error:
            raise Refused(error.reason, error.message) from error
        try:
            command = parse_command(record.value, default_currency=self._currency)
        except Malformed as error:
            answer = Answer(
                command=error.command or record.address,
                type=error.type,
                outcome=Outcome.REJECTED,
                reason=error.reason,
                message=error.message,
            )
            self._answer(payment_id, [answer], record.timestamp, context)
            raise Refused(error.reason, error.message) from error
        key = payment_id.encode()
        payment = self._in_flight.get(key, context.get(key))
        own = command.id or record.address
        if payment is None and (fault := fault_of_new_payment(payment_id, command)) is not None:
            reason, message = fault
            answer = Answer(
                command=own,
                type=command.type,
                outcome=Outcome.REJECTED,
                reason=reason,
                message=message,
            )
            self._answer(payment_id, [answer], record.timestamp, context)
            return
        received = Received(command, own)
        decision = decide(payment, received, time_ms=record.timestamp, policy=self._policy)
        self._apply(key, payment_id, payment, decision, record.timestamp, context)

    def _settle(self, record: Record, context: Context) -> None:
        key = record.key
        assert key is not None, "the accounts stage answers under the id that it was sent"
        payment_id = key.decode()
        payment = self._in_flight.get(key, context.get(key))
        settled = decode_settled(record.value or b"")
        time_ms = record.timestamp
        self._since_ms = time_ms if payment is None else payment.time_ms
        if payment is not None and payment.state is State.RELEASING:
            # A broker's clock may be behind that of another: no hold lapses before its end.
            time_ms = max(time_ms, payment.time_ms)
        try:
            decision = decide(payment, settled, time_ms=time_ms, policy=self._policy)
        except ImpossibleTransition as error:
            # Logged only once it is journalled: a fenced worker may read its successor's records
            # and see impossible transitions, until its own append is refused.
            message = "payment %r met what can't be, %s in state %s; its record is dead-lettered"
            state, event = error.args
            facts = {"payment": payment_id, "stage": "payments", "partition": context.partition}
            context.when_journalled(
                partial(logger.error, message, payment_id, event, state, extra=facts)
            )
            raise Refused(Reason.IMPOSSIBLE, str(error)) from error
        self._apply(key, payment_id, payment, decision, time_ms, context)

    def _apply(  # noqa: PLR0917 - hot path: keyword arguments cost more
        self,
        key: bytes,
        payment_id: str,
        before: Payment | None,
        decision: Decision,
        time_ms: int,
        context: Context,
    ) -> None:
        """Write a decision as rows and outputs."""
        after, answers, transfer = decision.payment, decision.answers, decision.transfer
        if after is None:
            if before is not None:
                context.delete(key)
                self._in_flight.forget(key)
        elif after is not before:
            row = encode_payment(after)
            context.put(key, row)
            # Its settlement comes soon; a settled payment may not be read again.
            if after.waiters or after.state is _RELEASING:
                self._in_flight.put(key, row, after)
            else:
                self._in_flight.forget(key)
        if transfer is not None:
            account = transfer.account.encode()
            partition = _partition_of_account(account, self._partitions)
            value = encode_transfer(transfer, payment_id)
            context.emit(self._transfers, account, value, partition=partition, time_ms=time_ms)
        if answers:
            self._answer(payment_id, answers, time_ms, context)
        if after is not None and after is not before:
            if self._remembers_longer:
                self._note_window(key, after, before, context.partition)
            else:
                previous_ms = None if before is None else before.time_ms
                self._windows[context.partition].add(key, after.time_ms, previous_ms)
            if after.held or (before is not None and before.held):
                self._note_hold(key, after, before, context.partition)

    def _note_window(
        self, key: bytes, after: Payment, before: Payment | None, partition: int
    ) -> None:
        """Note when a payment changed, among those that are remembered as long as it is."""
        longer = is_refundable(after)
        windows = self._refundable[partition] if longer else self._windows[partition]
        is_there = before is not None and is_refundable(before) is longer
        windows.add(key, after.time_ms, before.time_ms if before and is_there else None)

    def _note_hold(
        self, key: bytes, after: Payment, before: Payment | None, partition: int
    ) -> None:
        """Note the end of a hold that begins, and again where its timer may have found it busy."""
        self.counts.hold_changed(before, after, partition)
        if not after.held:
            return
        assert after.hold_expires_ms is not None, "a hold has an end"
        begins = before is None or not before.held
        if begins or after.state is State.AUTHORIZED:
            noted_ms = None if begins else after.hold_expires_ms
            self._holds[partition].add(key, after.hold_expires_ms, noted_ms)
            if after.notice_ms is not None:
                noted_ms = None if begins else after.notice_ms
                self._notices[partition].add(key, after.notice_ms, noted_ms)

    def _answer(
        self, payment_id: str, answers: Iterable[Answer], time_ms: int, context: Context
    ) -> None:
        key = payment_id.encode()
        counts, since_ms = self.counts, self._since_ms
        answered = counts.answered.get(context.partition) or counts.begin(context)
        for answer in answers:
            value = encode_result(payment_id, answer, time_ms)
            context.emit(self._results, key, value, type=RESULT_TYPE, time_ms=time_ms)
            answered += answer, NO_COMMAND if answer.command is None else since_ms

    def on_error(self, record: Record, error: Exception, context: Context) -> None:
        """Reject a command that met a bug, or is too large for the engine.

        A settlement that met one leaves its payment waiting.
        """
        if record.topic == self._inbox:
            return
        if isinstance(error, Refused):
            self._reject_refused(record, error, context)
            return
        payment_id = parse_payment_id(record.key)
        command = parse_command(record.value, default_currency=self._currency)
        answer = Answer(
            command=command.id or record.address,
            type=command.type,
            outcome=Outcome.REJECTED,
            reason=Reason.INTERNAL_ERROR,
            message=f"{type(error).__name__}; nothing was changed, see the dead letters",
        )
        self._answer(payment_id, [answer], record.timestamp, context)

    def _reject_refused(self, record: Record, refusal: Refused, context: Context) -> None:
        try:
            payment_id = parse_payment_id(record.key)
        except Malformed:
            return  # It names no payment, so there is no key for an answer.
        own, type_ = own_of(record.value)
        answer = Answer(
            command=own or record.address,
            type=type_,
            outcome=Outcome.REJECTED,
            reason=Reason(refusal.reason),
            message=str(refusal),
        )
        self._answer(payment_id, [answer], record.timestamp, context)

    def restored(self, partition: int, rows: Mapping[bytes, bytes]) -> None:
        """Rebuild the windows: a restored payment expires like any other, and so does its hold."""
        windows = Windows(width_ms=self._width_ms, retention_ms=self._retention_ms)
        self._holds[partition] = Windows(width_ms=self._width_ms, retention_ms=0)
        self._notices[partition] = Windows(width_ms=self._width_ms, retention_ms=0)
        refundable = windows
        if self._remembers_longer:
            refundable = Windows(width_ms=self._width_ms, retention_ms=self._refundable_ms)
        self._in_flight.released(partition, self._partitions)
        self.counts.restored(partition)
        for key, row in rows.items():
            longer = refundable is not windows and is_refundable(decode_payment(row))
            (refundable if longer else windows).add(key, payment_time_ms(row))
            payment = open_payment(row)
            if payment is not None:
                self._restore_open(key, row, payment, partition)
        self._windows[partition], self._refundable[partition] = windows, refundable

    def _restore_open(self, key: bytes, row: bytes, payment: Payment, partition: int) -> None:
        """Note a payment that holds money or waits."""
        if payment.waiters or payment.state is _RELEASING:
            self._in_flight.put(key, row, payment)
        if payment.held:
            assert payment.hold_expires_ms is not None, "a hold has an end"
            self._holds[partition].add(key, payment.hold_expires_ms)
            if payment.notice_ms is not None:
                self._notices[partition].add(key, payment.notice_ms)
            self.counts.hold_changed(None, payment, partition)

    def released(self, partition: int) -> None:
        """Drop the windows of a partition."""
        self._windows.pop(partition, None)
        self._refundable.pop(partition, None)
        self._holds.pop(partition, None)
        self._notices.pop(partition, None)
        self._in_flight.released(partition, self._partitions)
        self.counts.released(partition)

    def waiting(self) -> Waiting:
        """Return the payments whose transfer is in flight; any thread may ask."""
        return self._in_flight.waiting()

    def overdue_seconds(self, now_ms: int) -> Mapping[str, float]:
        """Return for how long the oldest window is closed that has keys left, by what it is for.

        Any thread may ask.
        """
        kinds = {
            "hold": self._holds,
            "expiry": self._windows,
            "refund_expiry": self._refundable if self._remembers_longer else {},
        }
        return {
            kind: max((each.overdue_ms(now_ms) for each in list(found.values())), default=0) / 1000
            for kind, found in kinds.items()
        }

    def tick(self, context: Context, now_ms: int, limit: int) -> bool:
        """Release holds that have ended, and delete payments whose window has closed.

        Each of these publishes a notice: of a lapse when its release has settled. A time is over
        when every command that was appended before it is decided: a capture in time finds its hold,
        and a repeat its payment, also after a downtime.
        """
        # A release writes a row and a transfer, both with the metadata: some fit into one commit.
        few = max(1, limit // RELEASE_ROWS)
        until_ms = context.read_until_ms
        ended = self._holds[context.partition].take(until_ms, few)
        for key in dict.fromkeys(ended):
            self._end_hold(key, now_ms, until_ms, context)
        soon = self._notices[context.partition].take(until_ms, few)
        for key in dict.fromkeys(soon):
            self._say_soon(key, now_ms, until_ms, context)
        closed = self._windows[context.partition].take(until_ms, limit)
        if self._remembers_longer:
            closed += self._refundable[context.partition].take(until_ms, limit)
        for key in dict.fromkeys(closed):
            self._close_window(key, now_ms, until_ms, context)
        return few in {len(ended), len(soon)} or len(closed) >= limit

    def _end_hold(self, key: bytes, now_ms: int, until_ms: int, context: Context) -> None:
        row = context.get(key)
        if row is None:
            return
        payment = decode_payment(row)
        if payment.hold_expires_ms is not None and payment.hold_expires_ms <= until_ms:
            decision = decide(payment, HoldEnds(), time_ms=now_ms, policy=self._policy)
            self._apply(key, key.decode(), payment, decision, now_ms, context)

    def _say_soon(self, key: bytes, now_ms: int, until_ms: int, context: Context) -> None:
        """Publish the notice that a hold ends soon, unless it has ended: its lapse is one too."""
        row = context.get(key)
        if row is None:
            return
        payment = decode_payment(row)
        notice_ms, expires_ms = payment.notice_ms, payment.hold_expires_ms
        if notice_ms is None or expires_ms is None or not notice_ms <= until_ms < expires_ms:
            return
        decision = decide(payment, HoldEndsSoon(), time_ms=now_ms, policy=self._policy)
        self._apply(key, key.decode(), payment, decision, now_ms, context)

    def _close_window(self, key: bytes, now_ms: int, until_ms: int, context: Context) -> None:
        row = context.get(key)
        if row is None:
            return
        payment = decode_payment(row)
        window_end_ms = (payment.time_ms // self._width_ms + 1) * self._width_ms
        kept_ms = self._refundable_ms if is_refundable(payment) else self._retention_ms
        if window_end_ms + kept_ms > until_ms:
            return  # It has changed since, so it is in a later window too.
        decision = decide(payment, WindowCloses(), time_ms=now_ms, policy=self._policy)
        self._apply(key, key.decode(), payment, decision, now_ms, context)
