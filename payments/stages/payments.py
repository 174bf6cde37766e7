"""The payments stage: folds commands and settlements into payments, and answers each command."""

import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial

from exactstage import Context, Record, Refused, Stage, partition_of
from payments.domain.payment import (
    Decision,
    ImpossibleTransition,
    Payment,
    Policy,
    Received,
    WindowCloses,
    decide,
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
from payments.stages.expiry import Expiry
from payments.stages.payment_counts import NO_COMMAND, PaymentCounts, Waiting

logger = logging.getLogger(__name__)

RESULT_TYPE = "payments.result"

DECIDES_BY = (
    "default_currency",
    "decline_policy",
    "max_waiters",
    "hold_seconds",
    "hold_notice_seconds",
    "retention_seconds",
    "refund_seconds",
    "window_seconds",
)
"""Settings that its decisions depend on."""

RELEASE_ROWS = 5
"""How many deleted payments weigh what the end of one hold does.

A release writes a row and a transfer, both with the metadata: some fit into one commit."""

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
        settings=settings.of(*DECIDES_BY),
        # 2: rows with ``ends_ms``, which versions before it can't read. These end when they read a
        # journal with one; of a copy on disk they would only read the tail.
        index_version=2,
    )


class InFlight:
    """Payments that wait for a settlement, by key: they are read again within milliseconds.

    One is valid for as long as the journal has the identical row.
    """

    def __init__(self) -> None:
        self._held: dict[bytes, tuple[bytes, Payment | None, bytes]] = {}

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
        self._held[key] = row, payment if len(self._held) < MAX_IN_FLIGHT else None, key

    def forget(self, key: bytes) -> bytes:
        """Drop a payment; return its key, as the object that its row has, if that is known.

        So the timer of the settled payment needs no second one.
        """
        held = self._held.pop(key, None)
        return key if held is None else held[2]

    def released(self, partition: int, partitions: int) -> None:
        """Drop the payments of a partition."""
        for key in [key for key in self._held if partition_of(key, partitions) == partition]:
            del self._held[key]

    def waiting(self) -> Waiting:
        """Return how many there are, and since when the oldest waits; any thread may ask."""
        rows = [row for row, _, _ in list(self._held.values())]
        return Waiting(len(rows), min(map(payment_time_ms, rows), default=None))


class PaymentsLogic:
    """Decides payments, answers every command once, ends holds and closes windows."""

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
        self._expiry = Expiry(
            width_ms=int(settings.window_seconds * 1000),
            retention_ms=int(settings.retention_seconds * 1000),
            refundable_ms=int(settings.longest_retention_seconds * 1000),
        )
        self.timers = self._expiry.timers
        self._in_flight = InFlight()
        self.counts = PaymentCounts()
        """What was answered, and what is open, for metrics."""
        self._since_ms = 0
        """What the seconds of the answers given now count from: see ``PaymentCounts.seconds``."""

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
            # Its settlement comes soon; a settled payment may not be read again.
            if after.waiters or after.state is _RELEASING:
                context.put(key, row)
                self._in_flight.put(key, row, after)
            else:
                context.put(self._in_flight.forget(key), row)
            if after.held or (before is not None and before.held):
                self.counts.hold_changed(before, after, context.partition)
        if transfer is not None:
            account = transfer.account.encode()
            partition = _partition_of_account(account, self._partitions)
            value = encode_transfer(transfer, payment_id)
            context.emit(self._transfers, account, value, partition=partition, time_ms=time_ms)
        if answers:
            self._answer(payment_id, answers, time_ms, context)

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
        """Count the payments that are open."""
        self._in_flight.released(partition, self._partitions)
        self.counts.restored(partition)
        for key, row in rows.items():
            payment = open_payment(row)
            if payment is None:
                continue
            if payment.waiters or payment.state is _RELEASING:
                self._in_flight.put(key, row, payment)
            if payment.held:
                self.counts.hold_changed(None, payment, partition)

    @staticmethod
    def is_open(key: bytes, row: bytes) -> bool:
        """Return whether a payment is counted among those that wait or hold money."""
        del key
        return open_payment(row) is not None

    def released(self, partition: int) -> None:
        """Drop what is counted of a partition."""
        self._in_flight.released(partition, self._partitions)
        self.counts.released(partition)

    def waiting(self) -> Waiting:
        """Return the payments whose transfer is in flight; any thread may ask."""
        return self._in_flight.waiting()

    def tick(self, context: Context, now_ms: int, limit: int) -> bool:
        """Release holds that have ended, and delete payments whose window has closed.

        Each of these publishes a notice: of a lapse when its release has settled. A time is over
        when every command that was appended before it is decided: a capture in time finds its hold,
        and a repeat its payment, also after a downtime.
        """
        weight, until_ms = 0, context.read_until_ms
        for key in context.due(until_ms, limit):
            row = context.get(key)
            assert row is not None, "what is due has a row"
            payment = decode_payment(row)
            message = self._expiry.message_of(payment, until_ms)
            if message is None:
                continue
            decision = decide(payment, message, time_ms=now_ms, policy=self._policy)
            self._apply(key, key.decode(), payment, decision, now_ms, context)
            weight += 1 if isinstance(message, WindowCloses) else RELEASE_ROWS
            if weight >= limit:
                break
        return False  # The engine knows what else is due.
