"""The records that anyone may read: results and ledger entries.

The models are the published interface. What is written here is written by hand, because every
payment pays for it; the tests parse it back with the models.
"""

from datetime import UTC, datetime
from functools import lru_cache
from json.encoder import encode_basestring as quoted
from typing import Annotated, Literal

from pydantic import BaseModel, WithJsonSchema

from payments.domain.account import Counter, Entry, Kind
from payments.domain.payment import State
from payments.domain.results import Answer, Outcome, Reason

Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""As ``iso_time`` writes it."""

StateName = Annotated[str, WithJsonSchema({"type": "string", "enum": [s.value for s in State]})]


class _Public(
    BaseModel, frozen=True, strict=True, extra="forbid", use_attribute_docstrings=True
): ...


class Result(_Public):
    """The public record of an answer; what does not apply is null, and no field is absent."""

    payment: str
    """The payment's id, which is also the record's key."""

    command: str | None
    """The id of the command that is answered: its own, else the position of its record."""

    type: Literal["make", "deposit", "cancel", "get", "expire"] | None
    """The type of the command; null where it could not be read, `expire` in a notice."""

    outcome: Outcome
    """What became of the command."""

    reason: Reason | None
    """Why, where the outcome alone does not say it."""

    message: str | None
    """The reason in words, for a person."""

    replayed: bool
    """Whether this repeats the outcome of an earlier command."""

    state: StateName | None
    """The state of the payment after the command; null where there is no payment."""

    account: str | None
    """The account of the payment, which may be another than the command's."""

    amount: int | None
    """The amount of the payment, in minor units."""

    currency: str | None
    """The currency of the payment, by its ISO 4217 code."""

    time: Time
    """When it was decided, by the broker's clock, in UTC."""


class LedgerEntry(_Public):
    """The public record of an entry; ``payment`` is null in an opening."""

    account: str
    """The account, which is also the record's key."""

    sequence: int
    """1, 2, 3, ... for each account, without a gap."""

    payment: str | None
    """The payment that moved the money; null in an opening."""

    kind: Kind
    """Why the money moved."""

    amount: int
    """What was added to the account, in minor units; below zero where it was taken."""

    balance: int
    """The balance of the account after the entry, in minor units."""

    currency: str
    """The currency of the account, by its ISO 4217 code."""

    counter_account: str
    """Where the money came from or went to: the second leg of the entry."""

    time: Time
    """When it was booked, by the broker's clock, in UTC."""


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
