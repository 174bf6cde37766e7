"""Results and ledger entries as bytes: written by hand, because every payment pays for them.

The tests parse them back with the models in ``public``.
"""

from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring as quoted

from payments.domain.account import Counter, Entry
from payments.domain.results import Answer


@lru_cache(maxsize=4096)
def iso_time(time_ms: int) -> str:
    """Return epoch milliseconds as public records write them: ``2026-01-01T00:00:00.000Z``."""
    return f"{datetime.fromtimestamp(time_ms // 1000, UTC).isoformat()[:-6]}.{time_ms % 1000:03d}Z"


def nullable(text: str | None) -> str:
    """Return a text or None as JSON."""
    return "null" if text is None else quoted(text)


def counter_name(counter: Counter, partition: int) -> str:
    """Return the name of a partition's counter-account: ``sales/3``."""
    return f"{counter}/{partition}"


def encode_result(payment: str, answer: Answer, time_ms: int) -> bytes:
    """Return the bytes of a ``Result``: written by hand, because every command pays for it."""
    command, type_, outcome, reason, message, replayed, state, request = answer
    asked = '"account":null,"amount":null,"currency":null'
    if request is not None:
        asked = f'"account":{quoted(request.account)},"amount":{request.amount}'
        asked += f',"currency":"{request.currency}"'
    return (
        f'{{"payment":{quoted(payment)},"command":{nullable(command)},"type":{nullable(type_)},'
        f'"outcome":{quoted(outcome)},"reason":{nullable(reason)},"message":{nullable(message)},'
        f'"replayed":{"true" if replayed else "false"},"state":{nullable(state)},{asked},'
        f'"time":"{iso_time(time_ms)}"}}'
    ).encode(errors="replace")


def encode_ledger_entry(entry: Entry, *, partition: int, time_ms: int) -> bytes:
    """Return the bytes of the ``LedgerEntry``: written by hand, because every payment has one."""
    step, account = entry
    return (
        f'{{"account":{quoted(step.account)},"sequence":{account.sequence},'
        f'"payment":{nullable(step.payment)},"kind":"{step.kind}","amount":{step.amount},'
        f'"balance":{account.balance},"currency":"{step.currency}","counter_account":'
        f'"{counter_name(step.counter, partition)}","time":"{iso_time(time_ms)}"}}'
    ).encode()
