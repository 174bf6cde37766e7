"""Writes results and ledger entries; this is on the hot path of every payment.

``record_models`` documents the fields. The same fields are here in the order in which they are
written, and the tests parse the bytes with those models.
"""

from datetime import UTC, datetime
from functools import lru_cache

from msgspec import Struct
from msgspec.json import Encoder

from payments.domain.account import Entry, counter_name
from payments.domain.currencies import EXPONENTS
from payments.domain.results import Answer

_encode = Encoder().encode


class _Result(Struct, gc=False):
    payment: str
    command: str | None
    type: str | None
    outcome: str
    reason: str | None
    message: str | None
    replayed: bool
    state: str | None
    account: str | None
    amount: int | None
    currency: str | None
    exponent: int | None
    time: str


class _LedgerEntry(Struct, gc=False):
    account: str
    sequence: int
    payment: str | None
    kind: str
    amount: int
    balance: int
    currency: str
    exponent: int | None
    counter_account: str
    time: str


@lru_cache(maxsize=4096)
def iso_time(time_ms: int) -> str:
    """Return epoch milliseconds as public records write them: ``2026-01-01T00:00:00.000Z``."""
    return f"{datetime.fromtimestamp(time_ms // 1000, UTC).isoformat()[:-6]}.{time_ms % 1000:03d}Z"


def encode_result(payment: str, answer: Answer, time_ms: int) -> bytes:
    """Return the bytes of a ``Result``."""
    request, message = answer.request, answer.message
    result = _Result(
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
    if message is not None:  # It may quote a client's text that can't be written as UTF-8.
        result.message = message.encode(errors="replace").decode()
    return _encode(result)


def encode_ledger_entry(entry: Entry, *, partition: int, time_ms: int) -> bytes:
    """Return the bytes of a ``LedgerEntry``."""
    step, account = entry.transfer, entry.account
    return _encode(
        _LedgerEntry(
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
    )
