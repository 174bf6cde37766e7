"""The bytes of each kind of record: they are written as before, and those of all versions are read.

Of the same kind: ``tests/rolling`` has the topics of a whole run of the former version, and
``tests/records/test_public.py`` what is written for any content.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest

from exactstage.checkpoint import decode_checkpoint
from exactstage.inspection import unpack_dead_letter
from payments.domain.commands import (
    Authorize,
    Cancel,
    Capture,
    Deposit,
    Get,
    Make,
    Refund,
    Void,
)
from payments.records.commands import parse_command
from payments.records.internal_codec import (
    decode_account,
    decode_counter,
    decode_payment,
    decode_settled,
    decode_transfer,
)
from payments.records.record_models import AccountResult, LedgerEntry, Result
from payments.records.recovery_notes import SkippedRange, decode_note, decode_skip_notice
from payments.settings import Settings
from payments.stages.payments import payments_stage
from tests.records import golden

FIELDS_OF_PAYMENTS = {
    *("state", "+state", "-state", "time_ms", "+time_ms", "request", "waiters", "queue"),
    *("ends_ms", "notice_ms", "held", "captured", "refunded", "parts", "reason", "metadata"),
}
"""Of rows, with the marks of states and times that former versions can't read."""

RECORDED = golden.recorded()
WRITTEN = {line["record"]: line for line in golden.lines()}

COMMANDS = {
    "make": Make(account="abc", amount=1999, currency="EUR", id="p0-1"),
    "make, all fields": Make(account="abc", amount=10**15, currency="EUR", id="order-7"),
    "deposit": Deposit(account=golden.DEPOSIT.account, amount=1, currency="JPY", id="é/1"),
    "cancel": Cancel(id="p0-1"),
    "get": Get(id="p0-1"),
    "make, with metadata": Make("abc", 1999, "EUR", "p0-1", golden.NOTE_ON_IT),
    "authorize": Authorize("abc", 10_000, "EUR", "p0-1"),
    "authorize, all fields": Authorize(
        "abc", 10**15, "EUR", "order-7", golden.NOTE_ON_IT, 31_536_000
    ),
    "capture": Capture(id="p0-1"),
    "capture, all fields": Capture("c1", 60, final=False, id="order-7"),
    "void": Void("p0-1"),
    "refund": Refund("r1", id="p0-1"),
    "refund, all fields": Refund("r1", 20, "order-7"),
}


def read_command(value: bytes) -> object:
    return parse_command(value, default_currency="EUR")


def read_result(value: bytes) -> object:
    return Result.model_validate_json(value, extra="forbid").model_dump(
        mode="json", exclude_unset=True
    )


def read_account_result(value: bytes) -> object:
    return AccountResult.model_validate_json(value, extra="forbid").model_dump(mode="json")


def read_entry(value: bytes) -> object:
    return LedgerEntry.model_validate_json(value, extra="forbid").model_dump(
        mode="json", exclude_unset=True
    )


def read(reader: Callable[[bytes], object], kind: str) -> dict[str, object]:
    """Return what the recorded records of a kind are read as, by name."""
    return {
        name.partition(": ")[2]: reader(line["value"].encode())
        for name, line in RECORDED.items()
        if name.startswith(f"{kind}: ")
    }


def objects(kind: str) -> dict[str, Any]:
    """Return the recorded records of a kind as any JSON parser reads them."""
    return read(json.loads, kind)


@pytest.mark.parametrize("record", WRITTEN)
def test_each_record_is_written_with_the_recorded_bytes(record: str) -> None:
    assert WRITTEN[record] == RECORDED[record]


def test_every_kind_of_record_is_recorded() -> None:
    assert {name.partition(":")[0] for name in RECORDED} == {
        "command",
        "result",
        "ledger entry",
        "row",
        "message",
        "account result",
        "journal",
        "note",
        "notice",
        "headers",
    }


def test_recorded_commands_are_read() -> None:
    assert read(read_command, "command") == COMMANDS


def test_recorded_results_and_entries_are_read_by_the_public_models() -> None:
    assert read(read_result, "result") == objects("result")
    assert read(read_entry, "ledger entry") == objects("ledger entry")
    assert read(read_account_result, "account result") == objects("account result")


def test_recorded_rows_and_messages_are_read() -> None:
    readers: dict[str, Callable[[bytes], object]] = {
        "an account": decode_account,
        "a counter-account": decode_counter,
        "an account with holds": decode_account,
        "an account with rules": decode_account,
        "a counter-account with holds": decode_counter,
        "a transfer": decode_transfer,
        "a hold": decode_transfer,
        "a capture": decode_transfer,
        "a settlement": decode_settled,
        "a declined settlement": decode_settled,
    }
    content = {
        **golden.ROWS,
        "an account": golden.ACCOUNT,
        "a counter-account": golden.COUNTER,
        "an account with holds": golden.HOLDING,
        "an account with rules": golden.FROZEN,
        "a counter-account with holds": golden.HOLDING_COUNTER,
        "a transfer": golden.TRANSFER,
        "a hold": golden.HOLD,
        "a capture": golden.CAPTURE,
        **golden.SETTLED,
    }
    for kind in ("row", "message"):
        for name in objects(kind):
            value = RECORDED[f"{kind}: {name}"]["value"].encode()
            known = content[name.removesuffix(golden.SHORTER_NAME)]
            assert readers.get(name, decode_payment)(value) == known


def test_recorded_checkpoints_are_read() -> None:
    assert read(decode_checkpoint, "journal") == golden.CHECKPOINTS


def test_recorded_notes_are_read() -> None:
    assert read(decode_note, "note") == {"of a rebuild": golden.NOTE}
    former = decode_note(b'{"base":1,"copied":false,"former_topic":null,"commands_before":0}')
    assert not former.commands_are_gone
    skipped = read(decode_skip_notice, "notice")
    assert skipped == {"of a skip": SkippedRange(golden.SKIPPED_FROM, golden.SKIPPED_TO)}


def test_recorded_dead_letters_are_read() -> None:
    recorded = RECORDED["headers: a dead letter"]["headers"]
    headers = [(name, None if text is None else text.encode()) for name, text in recorded]
    letter = golden.REFUSED._replace(headers=headers)
    assert unpack_dead_letter(letter).headers == golden.REFUSED.headers
    assert unpack_dead_letter(letter).facts == {
        "reason": "not_json",
        "exception": "Refused",
        "message": "the value is not JSON",
        "topic": "payments.commands",
        "partition": "6",
        "offset": "41",
    }


def test_a_new_kind_of_row_comes_with_a_new_version_of_the_stage() -> None:
    """Else a former version believes local copies whose rows it can't read.

    If this fails: raise ``row_format`` or ``index_version`` of the stage, and note the new rows.
    """
    rows = [
        json.loads(line["value"])
        for name, line in WRITTEN.items()
        if name.startswith("row: ") and "account" not in name
    ]
    stage = payments_stage(Settings())
    assert (stage.row_format, stage.index_version) == (1, 2)
    assert {field for row in rows for field in row} == FIELDS_OF_PAYMENTS
