"""The formats that only the stages read: messages between them, and rows in the journals."""

from collections.abc import Callable
from functools import lru_cache

from msgspec.json import Decoder, Encoder

from payments.domain.account import Account, CounterAccount, Settled, Transfer
from payments.domain.payment import Payment

_TIME = b'"time_ms":'
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


def encode_transfer(transfer: Transfer, payment: str) -> bytes:
    """Return the message that asks the accounts stage for a payment's transfer."""
    kind, account, amount = transfer.kind, transfer.account, transfer.amount
    return _encode(Transfer(kind, account, amount, transfer.currency, transfer.counter, payment))


encode_payment: Callable[[Payment], bytes] = _encode
"""Returns the row of a payment; fields with their default value are left out."""

encode_account: Callable[[Account], bytes] = _encode
encode_counter: Callable[[CounterAccount], bytes] = _encode
"""Return the row of an account, and of a counter-account."""

encode_settled: Callable[[Settled], bytes] = _encode
"""Returns the message that reports the end of a transfer to its payment."""

decode_payment = Decoder(Payment).decode
decode_transfer = Decoder(Transfer).decode
decode_account = Decoder(Account).decode
decode_counter = Decoder(CounterAccount).decode
# There are few different settlements, and each is immutable.
decode_settled = lru_cache(maxsize=64)(Decoder(Settled).decode)
