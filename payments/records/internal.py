"""What only the stages read: their messages to each other, and their rows in the journals."""

from functools import lru_cache
from json.encoder import encode_basestring as quoted

from pydantic import TypeAdapter

from payments.domain.account import Account, CounterAccount, Settled, Transfer
from payments.domain.payment import Payment
from payments.records.written import nullable

_TIME = b'"time_ms":'


def encode_payment(payment: Payment) -> bytes:
    """Return the row of a payment; what it does not have is left out."""
    row = f'{{"state":"{payment.state}","time_ms":{payment.time_ms}'
    if (request := payment.request) is not None:
        row += (
            f',"request":{{"type":"{request.type}","account":{quoted(request.account)},'
            f'"amount":{request.amount},"currency":"{request.currency}"}}'
        )
    if payment.reason is not None:
        row += f',"reason":"{payment.reason}"'
    if payment.waiters:
        waiting = [
            f'[{nullable(own)},"{type_}",{"true" if replayed else "false"}]'
            for own, type_, replayed in payment.waiters
        ]
        row += f',"waiters":[{",".join(waiting)}]'
    return f"{row}}}".encode()


def payment_time_ms(row: bytes) -> int:
    """Return the ``time_ms`` of a payment's row, without reading the rest of it.

    It follows the state, which is a word of ours: so the first such field is the row's own.
    """
    start = row.index(_TIME) + len(_TIME)
    return int(row[start : row.find(b",", start)])  # Not found is -1, which is the brace.


def encode_transfer(transfer: Transfer, payment: str) -> bytes:
    """Return the message that asks the accounts stage for a payment's transfer."""
    return (
        f'{{"kind":"{transfer.kind}","account":{quoted(transfer.account)},'
        f'"amount":{transfer.amount},"currency":"{transfer.currency}",'
        f'"counter":"{transfer.counter}","payment":{quoted(payment)}}}'
    ).encode()


def encode_account(account: Account) -> bytes:
    """Return the row of an account."""
    return (
        f'{{"balance":{account.balance},"sequence":{account.sequence},'
        f'"currency":"{account.currency}"}}'
    ).encode()


def encode_counter(row: CounterAccount) -> bytes:
    """Return the row of a counter-account."""
    balances = ",".join([f'"{currency}":{amount}' for currency, amount in row.balances.items()])
    return f'{{"balances":{{{balances}}}}}'.encode()


def encode_settled(settled: Settled) -> bytes:
    """Return the message that tells a payment how its transfer ended."""
    return (
        f'{{"ok":{"true" if settled.ok else "false"},"reason":{nullable(settled.reason)}}}'.encode()
    )


# The validators themselves: the adapters' methods only wrap them.
decode_payment = TypeAdapter(Payment).validator.validate_json
decode_transfer = TypeAdapter(Transfer).validator.validate_json
decode_account = TypeAdapter(Account).validator.validate_json
decode_counter = TypeAdapter(CounterAccount).validator.validate_json
# There are few different settlements, and each is a value.
decode_settled = lru_cache(maxsize=64)(TypeAdapter(Settled).validator.validate_json)
