"""A dead letter as an operator sees it, and the command that a replay of it sends.

The id of that command is the dead letter's record address, so a second replay is recognised,
whichever client sends it. The payment's id keeps the money exact even then.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from exactstage import Headers, Record
from exactstage.inspection import unpack_dead_letter
from payments.records.account_commands import (
    parse_account_command,
    parse_account_id,
    require_account_name,
)
from payments.records.commands import Malformed, parse_command, parse_payment_id
from payments.records.record_address import RecordAddress, address_text
from payments.records.recovery_notes import SKIPPED
from payments.settings import Settings

UNKNOWN = "unknown"
"""Reason of a record that no stage wrote."""


class NotReplayable(Exception):
    """A dead letter can't be sent again as it is; the message says why."""


class NoDeadLetter(LookupError):
    """There is no dead letter at an address (any more)."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that was dead-lettered, as it was received, and why."""

    position: RecordAddress
    time_ms: int
    """When it was dead-lettered."""

    received_ms: int
    """When its record came in, by the broker's clock; never later than a replay of it."""

    source: str
    """Address of the record as it was received; empty where no stage wrote the letter."""

    reason: str
    facts: Mapping[str, str]
    """The engine's headers, stack trace included."""

    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def command_id(self) -> str:
        """The id of the command that a replay sends."""
        return command_id_of(self.position)

    @property
    def last_offset(self) -> int | None:
        """The last offset of a batch that was dead-lettered whole; None for a record."""
        text = self.facts.get("last.offset")
        return None if text is None else int(text)

    @property
    def unanswered(self) -> int | None:
        """How many records of such a batch, the last ones, have no answer; None if not recorded."""
        text = self.facts.get("unanswered")
        return None if text is None else int(text)

    @property
    def is_notice(self) -> bool:
        """Whether it names a range of offsets instead of one record: it can't be replayed."""
        return self.reason == SKIPPED or self.last_offset is not None

    @property
    def is_truncated(self) -> bool:
        """Whether the value was too large to be kept whole."""
        return "value.bytes" in self.facts


def command_id_of(position: RecordAddress) -> str:
    """Return the id of the command that a replay of the letter at this address sends."""
    return f"replay/{position}"


def read_letter(record: Record) -> DeadLetter:
    """Return the dead letter in a record of a dead-letter topic, also of another program's."""
    position = RecordAddress(*record[:3])
    try:
        headers, facts = unpack_dead_letter(record)
        received_ms = _time_ms(record)
    except ValueError as error:
        facts = {"message": str(error)}
        headers, received_ms = list(record.headers), record.timestamp
    return DeadLetter(
        position=position,
        time_ms=record.timestamp,
        received_ms=received_ms,
        source=address_text(facts["topic"], facts["partition"], facts["offset"])
        if "topic" in facts
        else "",
        reason=facts.get("reason", UNKNOWN),
        facts=facts,
        key=record.key,
        value=record.value,
        headers=headers,
    )


def _time_ms(record: Record) -> int:
    # The first one is the engine's; the client's own headers come after it.
    text = next((value for name, value in record.headers if name == "ce_time"), None) or b""
    return int(datetime.fromisoformat(text.decode()).timestamp() * 1000)


class Replay(NamedTuple):
    """The command that a replay sends."""

    name: str
    """The record's key: the id of the payment, or of the account."""

    command: dict[str, object]
    of_account: bool
    """Whether it is a command for an account."""


def replay_of(
    letter: DeadLetter, settings: Settings, *, key: bytes | None = None, value: bytes | None = None
) -> Replay:
    """Return the replay of a letter; ``key`` and ``value`` replace the letter's own.

    It is parsed as the engine parses it, so only a well-formed command is sent. The replay's id
    replaces the command's own id, which has been answered. Raises ``NotReplayable``.
    """
    of_account = letter.source.startswith(settings.topics.account_commands + "/")
    if not of_account and not letter.source.startswith(settings.topics.commands + "/"):
        message = (
            f"it is no command but came in at {letter.source or 'an unknown topic'}; messages "
            f"between the stages can't be sent again: send the payment's command again"
        )
        raise NotReplayable(message)
    if letter.last_offset is not None:
        message = (
            f"it is a whole batch that can't be read, {letter.source} up to offset "
            f"{letter.last_offset}: nothing of it was carried out, so its producer may send the "
            f"commands again"
        )
        raise NotReplayable(message)
    if letter.reason == SKIPPED:
        message = (
            f"it is the notice of payments journal skip: {letter.facts.get('message', '')}; "
            f"the clients that sent the commands of that range may send them again"
        )
        raise NotReplayable(message)
    if letter.is_truncated and (value is None or (key is None and letter.key is not None)):
        message = f"it was too large to be kept whole ({letter.facts['value.bytes']} bytes): "
        raise NotReplayable(message + "give its key and value")
    key, value = letter.key if key is None else key, letter.value if value is None else value
    try:
        name = _account_id(key) if of_account else parse_payment_id(key)
    except Malformed as fault:
        raise _refused_again(fault, "--key") from fault
    parse = parse_account_command if of_account else parse_command
    try:
        parse(value, default_currency=settings.default_currency)
    except Malformed as fault:
        raise _refused_again(fault, "--value or --value-file") from fault
    assert value is not None, "a command has a value"
    return Replay(name, {**json.loads(value), "id": letter.command_id}, of_account)


def _account_id(key: bytes | None) -> str:
    name = parse_account_id(key)
    require_account_name(name)
    return name


def _refused_again(fault: Malformed, option: str) -> NotReplayable:
    message = (
        f"it would be refused again, {fault.reason}: {fault.message}; correct it with {option}"
    )
    return NotReplayable(message)
