"""Rows: the live tables as the journals restore them, converted to the auditor's facts."""

from collections.abc import Sequence

from msgspec import DecodeError

from exactstage import Record, partition_of
from payments.domain.account import is_counter_name, partition_of_counter
from payments.domain.payment import Payment
from payments.domain.payment_table import State
from payments.records.internal_codec import decode_account, decode_counter, decode_payment

from .accounts import AccountsPartition
from .facts import digest
from .findings import Findings, Kind, Place
from .implied import CANCELLED_FOR, Implied, terms
from .lifecycle import Did, RowAmounts, part_of, parts_of, place_of_money
from .numbering import Numbering
from .payments import Payments

_STATES = {
    State.PENDING: Implied.IN_FLIGHT,
    State.CANCELLING: Implied.IN_FLIGHT,
    State.REVERSING: Implied.IN_FLIGHT,
    State.COMPLETED: Implied.MOVED,
    State.DECLINED: Implied.DECLINED,
    State.AUTHORIZING: Implied.IN_FLIGHT,
    State.AUTHORIZED: Implied.AUTHORIZED,
    State.CAPTURING: Implied.IN_FLIGHT,
    State.RELEASING: Implied.IN_FLIGHT,
    State.REFUNDING: Implied.IN_FLIGHT,
    State.LAPSED: Implied.LAPSED,
}


class Rows:
    """Adds each row to the facts; a later row of a key replaces an earlier one."""

    def __init__(
        self,
        payments: Payments,
        accounts: Sequence[AccountsPartition],
        findings: Findings,
        numbering: Numbering,
    ) -> None:
        self._payments, self._accounts, self._findings = payments, accounts, findings
        self._numbering = numbering
        self._malformed: dict[tuple[str, int, bytes | None], tuple[Place, str]] = {}
        """Last record of a journal, partition and key, where that is no row."""

        self._with_amounts: set[int] = set()
        """Payments with a row that has amounts, so that later rows without replace them."""

    def payment(self, record: Record) -> None:
        """Take a row of the payments table, or its tombstone."""
        self._undo(record)
        if self._is_misplaced(record, partition_of(record.key or b"", len(self._accounts))):
            return
        key, at = digest(record.key), record[1:3]
        if record.value is None:
            self._payments.row(key, at, Implied.NO_PAYMENT, 0)
            return
        try:
            payment: Payment = decode_payment(record.value)
        except (DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._note_malformed(record, error)
            return
        state = _STATES.get(payment.state)
        if state is None:
            reason = payment.reason
            state = (
                Implied.CANCELLED
                if reason is None
                else CANCELLED_FOR.get(reason, Implied.CANCELLED)
            )
        known_as = self._numbering.answered
        waits = [own for own, _, _ in payment.waiters] + [queued.id for queued in payment.queue]
        waiting = [digest(known_as(own, record.partition, None)) for own in waits]
        self._payments.row(key, at, state, _terms(payment), waiting)
        if payment.hold_expires_ms is not None or payment.parts or key in self._with_amounts:
            self._with_amounts.add(key)
            place = 0
            if payment.request is not None:
                place = place_of_money(payment.request.account, payment.request.currency)
            self._payments.row_amounts(key, _amounts(payment), place)

    def account(self, record: Record) -> None:
        """Take a row of the accounts table: an account's or a counter-account's."""
        self._undo(record)
        name = (record.key or b"").decode(errors="replace")
        accounts, value = self._accounts[record.partition], record.value
        is_counter = is_counter_name(name)
        right = partition_of_counter(name)
        if not is_counter:
            right = partition_of(record.key or b"", len(self._accounts))
        if self._is_misplaced(record, right):
            return
        try:
            if is_counter:
                counter = None if value is None else decode_counter(value)
                accounts.counter_row(name, record.offset, counter)
            else:
                account = None if value is None else decode_account(value)
                accounts.row(name, record.offset, account)
        except (DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._note_malformed(record, error)

    def judge(self) -> None:
        """Report malformed rows that no later record replaced; all journals have been read."""
        for place, error in self._malformed.values():
            message = f"not a row: {error}; another program wrote it? see: payments journal inspect"
            self._findings.add(Kind.MALFORMED_RECORD, place, message)

    def _is_misplaced(self, record: Record, right: int | None) -> bool:
        """Whether the rows of this key are those of the partition ``right``, not of this one.

        No stage writes such a record. A tombstone, as a repair appends it, removes the finding; it
        does not mean that the payment has no row.
        """
        if right == record.partition:
            return False
        if record.value is not None:
            where = "no partition" if right is None else f"partition {right}"
            message = f"its key belongs to {where}"
            self._note_malformed(record, ValueError(message))
        return True

    def _note_malformed(self, record: Record, error: Exception) -> None:
        place = Place(*record[:3])
        self._malformed[record.topic, record.partition, record.key] = (place, str(error))

    def _undo(self, record: Record) -> None:
        """Forget a record that a later one replaces, as a repair's does."""
        if self._malformed:
            self._malformed.pop((record.topic, record.partition, record.key), None)


def _amounts(payment: Payment) -> RowAmounts:
    request = payment.request
    captured, expires_ms = payment.captured, payment.hold_expires_ms
    parts = parts_of(
        (part_of(part.id), Did.REFUNDED if part.type == "refund" else Did.CAPTURED, part.moved)
        for part in payment.parts
    )
    if expires_ms is None:
        if request is None or not payment.parts:
            return RowAmounts(0, 0, 0, 0, 0)
        captured = request.amount  # Only what was taken can be refunded.
    return RowAmounts(captured, payment.refunded, payment.held, expires_ms or 0, parts)


def _terms(payment: Payment) -> int:
    request = payment.request
    if request is None:
        return 0
    amount = request.amount if request.type == "deposit" else -request.amount
    return terms(request.account, amount, request.currency)
