"""The formats that only the stages read: messages between them, and rows in the journals.

A row that holds money, or knows captures, refunds and queued commands, is marked: the name of its
first field begins with a plus sign, and so does that of a payment's time. Versions that know no
holds would leave out what they don't know, and so give away held money or refund it twice; they
can't read a marked row, not even its time, and end before they decide. All other rows are as they
always were. Where a payment's row has the end of a hold, the first sign is a minus: versions that
know that field by its former, longer name would not find it, and end too. The row of an account
that is frozen or closed, or has a credit limit, has an asterisk there: versions that know holds and
no rules end before they decide too.
"""

import re
from collections.abc import Callable
from functools import lru_cache

from msgspec.json import Decoder, Encoder

from payments.domain.account import Account, CounterAccount, Settled, Status, Transfer
from payments.domain.payment import Payment

_TIME = b'time_ms":'
_COMPLETED = b'{"state":"completed"'
"""Begins the row of a make or deposit that has settled: such a row is not marked."""
_encode = Encoder().encode


def payment_time_ms(row: bytes) -> int:
    """Return the ``time_ms`` of a payment's row, without decoding the rest of it.

    ``time_ms`` follows ``state``, whose value is one of our names, so the first match can't come
    from a client's text. Raises ``ValueError`` where there is no such field.
    """
    start = row.find(_TIME) + len(_TIME)
    if start < len(_TIME):
        message = f"no row of a payment: {row[:100]!r}"
        raise ValueError(message)
    return int(row[start : row.find(b",", start)])  # Not found is -1, which is the brace.


def open_payment(row: bytes) -> Payment | None:
    """Return the payment of a row that holds money or waits; None for most others.

    Only what may be open is decoded, since nearly all payments are not.
    """
    # The first field is the state, so its value can't come from a client's text.
    if row.startswith(_COMPLETED):
        return None
    if b'"held":' in row or b'"waiters":' in row or b'"releasing"' in row:
        return decode_payment(row)
    return None


def encode_transfer(transfer: Transfer, payment: str) -> bytes:
    """Return the message that asks the accounts stage for a payment's transfer."""
    return _encode(
        Transfer(
            transfer.kind,
            transfer.account,
            transfer.amount,
            transfer.currency,
            transfer.counter,
            payment,
            transfer.held,
            transfer.part,
            transfer.metadata,
        )
    )


_PLAIN, _MARKED, _RULED, _ENDING = b'{"', b'{"+', b'{"*', b'{"-'
_OPEN = Status.OPEN
_PLAIN_TIME, _MARKED_TIME = b'"time_ms":', b'"+time_ms":'


_FORMER_END, _END = re.compile(rb',"hold_expires_ms":(?=\d)'), b',"ends_ms":'
"""The field's former name, which no text of a client is: the values of metadata are texts."""


def encode_payment(payment: Payment) -> bytes:
    """Return the row of a payment; fields with their default value are left out."""
    row = _encode(payment)
    if payment.hold_expires_ms is None and not payment.parts and not payment.queue:
        return row
    mark = _MARKED if payment.hold_expires_ms is None else _ENDING
    return mark + row[len(_PLAIN) :].replace(_PLAIN_TIME, _MARKED_TIME, 1)


def encode_account(account: Account) -> bytes:
    """Return the row of an account."""
    row = _encode(account)
    if account.status is not _OPEN or account.credit_limit:
        return _RULED + row[len(_PLAIN) :]
    return _MARKED + row[len(_PLAIN) :] if account.held else row


def encode_counter(counter: CounterAccount) -> bytes:
    """Return the row of a counter-account."""
    row = _encode(counter)
    return _MARKED + row[len(_PLAIN) :] if counter.held else row


encode_settled: Callable[[Settled], bytes] = _encode
"""Returns the message that reports the end of a transfer to its payment."""

_decode_payment = Decoder(Payment).decode
_decode_account = Decoder(Account).decode
_decode_counter = Decoder(CounterAccount).decode


def decode_payment(row: bytes) -> Payment:
    """Return the payment of a row; raises ``DecodeError``."""
    if row.startswith(_ENDING):
        row = _unmarked(row).replace(_MARKED_TIME, _PLAIN_TIME, 1)
    elif row.startswith(_MARKED):
        row = _unmarked(row).replace(_MARKED_TIME, _PLAIN_TIME, 1)
        row = _FORMER_END.sub(_END, row, 1)
    return _decode_payment(row)


def decode_account(row: bytes) -> Account:
    """Return the account of a row; raises ``DecodeError``."""
    return _decode_account(_unmarked(row) if row.startswith(_MARKS) else row)


def decode_counter(row: bytes) -> CounterAccount:
    """Return the counter-account of a row; raises ``DecodeError``."""
    return _decode_counter(_unmarked(row) if row.startswith(_MARKED) else row)


_MARKS = _MARKED, _RULED


def _unmarked(row: bytes) -> bytes:
    return _PLAIN + row[len(_MARKED) :]


decode_transfer = Decoder(Transfer).decode
# There are few different settlements, and each is immutable.
decode_settled = lru_cache(maxsize=64)(Decoder(Settled).decode)
