"""One event in the life of a payment: a record of a topic, read for a person and for programs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from msgspec import MsgspecError
from pydantic import ValidationError

from exactstage import Record
from exactstage.inspection import ORIGIN
from payments.dead_letters.letter import read_letter
from payments.domain.money import money_text
from payments.records.internal_codec import decode_settled, decode_transfer
from payments.records.record_address import RecordAddress
from payments.records.record_models import LedgerEntry, Result, entry_members, members

CLIENT_HEADER = "payments_client"
"""Header of a command's record: the name of the gateway's token that sent it."""

_SHOWN = 120
"""Characters that are shown of a value that is none of ours."""


class Kind(StrEnum):
    """What a record is in the life of a payment, in the order of one step."""

    COMMAND = "command"
    FORWARDED = "forwarded"
    """A command that came in on another partition than its key's."""

    TRANSFER = "transfer"
    ENTRY = "entry"
    SETTLEMENT = "settlement"
    """The answer of the accounts stage to a transfer."""

    RESULT = "result"
    NOTICE = "notice"
    DEAD_LETTER = "dead_letter"


_ORDER = {kind: number for number, kind in enumerate(Kind)}


@dataclass(frozen=True, slots=True)
class Event:
    """A record of one payment."""

    kind: Kind
    address: RecordAddress
    time_ms: int
    """By the broker's clock."""

    words: str
    """What it says, for a person."""

    fields: Mapping[str, object]
    """What it says, for a program."""

    @property
    def order(self) -> tuple[int, int, RecordAddress]:
        """Sorts by time; within one moment a cause comes before its effect."""
        return self.time_ms, _ORDER[self.kind], self.address


def command_of(record: Record) -> Event:
    """Return the event of a record on the commands' topic."""
    fields = _command_fields(record)
    return _event(Kind.COMMAND, record, _command_words(fields), fields)


def forwarded_of(record: Record, origin: str) -> Event:
    """Return the event of a command that a worker has forwarded from ``origin``."""
    fields = {"origin": origin.partition(" ")[0], **_command_fields(record)}
    words = f"{_command_words(fields)}, which came in at {fields['origin']}"
    return _event(Kind.FORWARDED, record, words, fields)


def origin_of(record: Record) -> str | None:
    """Return where a record of the inbox came in, if it is a forwarded one."""
    found = next((value for name, value in reversed(record.headers) if name == ORIGIN), None)
    return None if found is None else found.decode(errors="replace")


def transfer_of(record: Record, payment: str) -> Event | None:
    """Return the event of a record on the transfers' topic, if it is this payment's."""
    try:
        transfer = decode_transfer(record.value or b"")
    except MsgspecError:
        return None
    if transfer.payment != payment:
        return None
    moved = _moved(transfer.amount, transfer.held, transfer.currency)
    words = f"{transfer.kind} {moved} account {transfer.account}"
    fields = {
        "type": transfer.kind,
        "account": transfer.account,
        "amount": transfer.amount,
        "held_change": transfer.held,
        "currency": transfer.currency,
        "part": transfer.part,
    }
    return _event(Kind.TRANSFER, record, words, fields)


def settlement_of(record: Record) -> Event | None:
    """Return the event of an answer of the accounts stage."""
    try:
        settled = decode_settled(record.value or b"")
    except MsgspecError:
        return None
    reason = None if settled.reason is None else str(settled.reason)
    words = "posted" if settled.ok else f"refused ({reason})"
    return _event(Kind.SETTLEMENT, record, words, {"ok": settled.ok, "reason": reason})


def entry_of(record: Record, payment: str) -> Event | None:
    """Return the event of a ledger entry, if it is this payment's."""
    try:
        entry = LedgerEntry.model_validate_json(record.value or b"")
    except ValidationError:
        return None
    if entry.payment != payment:
        return None
    moved = _moved(entry.amount, entry.held_change, entry.currency)
    words = (
        f"{_text(entry.kind)} {moved} account {entry.account}, "
        f"balance {money_text(entry.balance, entry.currency)}"
    )
    if entry.held_change:
        words += f", held in all {money_text(entry.held, entry.currency)}"
    return _event(Kind.ENTRY, record, words, _without_time(entry_members(entry)))


def result_of(record: Record) -> Event | None:
    """Return the event of a result; a notice answers no command."""
    try:
        result = Result.model_validate_json(record.value or b"")
    except ValidationError:
        return None
    parts = [f"{_text(result.type)} {_text(result.outcome)}"]
    if result.reason is not None:
        parts.append(f"({_text(result.reason)})")
    if result.part is not None:
        parts.append(f"part {result.part}")
    if result.amount is not None and result.currency is not None:
        parts.append(money_text(result.amount, result.currency))
    if result.replayed:
        parts.append("replayed")
    if result.state is not None:
        parts.append(f"state {_text(result.state)}")
    kind = Kind.NOTICE if result.command is None else Kind.RESULT
    if result.command is not None:
        parts.append(f"of {result.command}")
    return _event(kind, record, " ".join(parts), _without_time(dict(members(result))))


def dead_letter_of(record: Record) -> Event:
    """Return the event of a dead letter."""
    letter = read_letter(record)
    fields = {
        "reason": letter.reason,
        "message": letter.facts.get("message"),
        "source": letter.source or None,
    }
    words = f"{letter.reason}: {fields['message']}; it came in at {letter.source or '?'}"
    return _event(Kind.DEAD_LETTER, record, words, fields)


def accounts_of(events: Iterable[Event]) -> set[str]:
    """Return the accounts that commands and results name."""
    named = (event.fields.get("account") for event in events)
    values = (event.fields.get("value") for event in events)
    inside = (each.get("account") for each in values if isinstance(each, Mapping))
    return {each for each in (*named, *inside) if isinstance(each, str) and each}


def _moved(amount: int, held: int, currency: str) -> str:
    """Return what is added to an account, and to what it holds, where that is something."""
    moved = [money_text(amount, currency)] if amount or not held else []
    if held:
        moved.append(f"held {'+' if held > 0 else ''}{money_text(held, currency)}")
    return ", ".join(moved)


def _event(kind: Kind, record: Record, words: str, fields: Mapping[str, object]) -> Event:
    return Event(kind, RecordAddress(*record[:3]), record.timestamp, words, fields)


def _without_time(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields as JSON has them; the record's time is the event's."""
    return {
        name: json.loads(json.dumps(value, default=_text))
        for name, value in fields.items()
        if name not in {"time", "payment"}
    }


def _command_fields(record: Record) -> dict[str, object]:
    fields: dict[str, object] = {"value": _json_or_text(record.value)}
    client = next((value for name, value in record.headers if name == CLIENT_HEADER), None)
    if client is not None:
        fields["client"] = client.decode(errors="replace")
    return fields


def _command_words(fields: Mapping[str, object]) -> str:
    command = fields["value"]
    if not isinstance(command, Mapping):
        return f"no JSON: {str(command)[:_SHOWN]!r}"
    words = " ".join(
        f"{'' if name == 'type' else f'{name} '}{json.dumps(value) if _is_data(value) else value}"
        for name, value in command.items()
    )
    client = f", sent by {fields['client']}" if "client" in fields else ""
    return f"{words[:_SHOWN]}{client}"


def _is_data(value: object) -> bool:
    return not isinstance(value, str | int) or isinstance(value, bool)


def _json_or_text(value: bytes | None) -> object:
    if value is None:
        return None
    text = value.decode(errors="backslashreplace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text[:_SHOWN]


def _text(value: object) -> str:
    """Return the text of a value of a list, one of a later version too."""
    return str(getattr(value, "value", value))
