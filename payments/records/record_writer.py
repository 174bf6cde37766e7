"""Writes results and ledger entries; this is on the hot path of every payment.

``record_models`` has the fields, in the order in which they are written.
"""

from datetime import UTC, datetime
from functools import lru_cache

from msgspec.json import Encoder

from payments.domain.account import Entry, counter_name
from payments.domain.currencies import EXPONENTS
from payments.domain.results import Answer
from payments.records.record_models import LedgerEntry, Result
from payments.records.record_parts import struct_of

_encode = Encoder().encode


_result = struct_of(Result)
_ledger_entry = struct_of(LedgerEntry)


@lru_cache(maxsize=4096)
def iso_time(time_ms: int) -> str:
    """Return epoch milliseconds as public records write them: ``2026-01-01T00:00:00.000Z``."""
    return f"{datetime.fromtimestamp(time_ms // 1000, UTC).isoformat()[:-6]}.{time_ms % 1000:03d}Z"


def encode_result(payment: str, answer: Answer, time_ms: int) -> bytes:
    """Return the bytes of a ``Result``."""
    request, message = answer.request, answer.message
    if message is not None:  # It may quote a client's text that can't be written as UTF-8.
        message = message.encode(errors="replace").decode()
    return _encode(
        _result(
            payment=payment,
            command=answer.command,
            type=answer.type,
            outcome=answer.outcome,
            reason=answer.reason,
            message=message,
            replayed=answer.replayed,
            state=answer.state,
            account=None if request is None else request.account,
            amount=None if request is None else request.amount,
            currency=None if request is None else request.currency,
            exponent=None if request is None else EXPONENTS.get(request.currency),
            time=iso_time(time_ms),
        )
    )


def encode_ledger_entry(entry: Entry, *, partition: int, time_ms: int) -> bytes:
    """Return the bytes of a ``LedgerEntry``."""
    step, account = entry.transfer, entry.account
    return _encode(
        _ledger_entry(
            account=step.account,
            sequence=account.sequence,
            payment=step.payment,
            kind=step.kind,
            amount=step.amount,
            balance=account.balance,
            currency=step.currency,
            exponent=EXPONENTS.get(step.currency),
            counter_account=counter_name(step.counter, partition),
            time=iso_time(time_ms),
        )
    )
