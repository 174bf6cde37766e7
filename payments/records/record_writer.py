"""Writes results and ledger entries; this is on the hot path of every payment.

``record_models`` has the fields, in the order in which they are written.
"""

from datetime import UTC, datetime
from functools import lru_cache

from msgspec.json import Encoder

from payments.domain.account import Entry, Status, counter_name
from payments.domain.account_table import AccountAnswer
from payments.domain.currencies import EXPONENTS
from payments.domain.results import Answer
from payments.records.record_models import (
    OF_A_HOLD,
    OF_A_LIFE,
    AccountResult,
    LedgerEntry,
    Result,
)
from payments.records.record_parts import struct_of

_encode = Encoder().encode


_result = struct_of(Result, without=OF_A_LIFE)
_result_of_a_life = struct_of(Result, omitted=dict.fromkeys(OF_A_LIFE))
_ledger_entry = struct_of(LedgerEntry, without=OF_A_HOLD)
_entry_of_a_hold = struct_of(LedgerEntry, omitted=OF_A_HOLD)
"""Makes have structs of their own: those with the further fields take longer to make and write."""

_account_result = struct_of(AccountResult)
_OPEN = Status.OPEN


@lru_cache(maxsize=4096)
def iso_time(time_ms: int) -> str:
    """Return epoch milliseconds as public records write them: ``2026-01-01T00:00:00.000Z``."""
    return f"{datetime.fromtimestamp(time_ms // 1000, UTC).isoformat()[:-6]}.{time_ms % 1000:03d}Z"


def encode_result(payment: str, answer: Answer, time_ms: int) -> bytes:
    """Return the bytes of a ``Result``."""
    request, message = answer.request, answer.message
    if message is not None:  # It may quote a client's text that can't be written as UTF-8.
        message = message.encode(errors="replace").decode()
    fields = (
        payment,
        answer.command,
        answer.type,
        answer.outcome,
        answer.reason,
        message,
        answer.replayed,
        answer.state,
        None if request is None else request.account,
        None if request is None else request.amount,
        None if request is None else request.currency,
        None if request is None else EXPONENTS.get(request.currency),
        iso_time(time_ms),
    )
    amounts, part, metadata = answer.amounts, answer.part, answer.metadata
    if amounts is None and part is None and metadata is None:
        return _encode(_result(*fields))
    further: dict[str, object] = {
        "part": part,
        "part_amount": answer.part_amount,
        "metadata": metadata,
    }
    if amounts is not None:
        expires_ms = amounts.hold_expires_ms
        further |= {
            "authorized": amounts.authorized,
            "captured": amounts.captured,
            "refunded": amounts.refunded,
            "held": amounts.held,
            "hold_expires": None if expires_ms is None else iso_time(expires_ms),
        }
    return _encode(_result_of_a_life(*fields, **further))


def encode_ledger_entry(entry: Entry, *, partition: int, time_ms: int) -> bytes:
    """Return the bytes of a ``LedgerEntry``."""
    step, account = entry.transfer, entry.account
    fields = (
        step.account,
        account.sequence,
        step.payment,
        step.kind,
        step.amount,
        account.balance,
        step.currency,
        EXPONENTS.get(step.currency),
        counter_name(step.counter, partition),
        iso_time(time_ms),
    )
    held, part, metadata = account.held, step.part, step.metadata
    status, limit = account.status, account.credit_limit
    # A command for the account moves and holds nothing.
    has_rules = status is not _OPEN or limit or not (step.amount or step.held)
    if not (has_rules or held or step.held) and part is None and metadata is None:
        return _encode(_ledger_entry(*fields))
    available = account.available
    return _encode(
        _entry_of_a_hold(
            *fields,
            held_change=step.held,
            held=held,
            available=None if available == account.balance else available,
            part=part,
            metadata=metadata,
            status=status if has_rules else None,
            credit_limit=limit if has_rules else None,
        )
    )


def encode_account_result(name: str, answer: AccountAnswer, time_ms: int) -> bytes:
    """Return the bytes of an ``AccountResult``."""
    account, message = answer.account, answer.message
    if message is not None:  # It may quote a client's text that can't be written as UTF-8.
        message = message.encode(errors="replace").decode()
    return _encode(
        _account_result(
            name,
            answer.command,
            answer.type,
            answer.outcome,
            answer.reason,
            message,
            answer.replayed,
            None if account is None else account.status,
            None if account is None else account.balance,
            None if account is None else account.held,
            None if account is None else account.credit_limit,
            None if account is None else account.available,
            None if account is None else account.currency,
            None if account is None else EXPONENTS.get(account.currency),
            None if account is None else account.sequence,
            iso_time(time_ms),
        )
    )
