"""One record of each kind, from fixed content, as bytes: what the topics hold.

``golden.jsonl`` has them, a line each. Every later version must read these lines, so none is ever
changed or removed. Where a version writes a record in another way, that is a new line, whose name
replaces the former one's here; ``python -m tests.records.golden`` prints the missing lines.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from exactstage.checkpoint import Checkpoint, encode_checkpoint
from exactstage.dead_letters import dead_letter
from exactstage.identity import Identity
from exactstage.limits import Limits
from exactstage.log import NewRecord, Record, Writer
from exactstage.outputs import INSTALLATION, Output, Publication, Rounds
from exactstage.senders import Owner, owner_header
from exactstage.stage import Refused, Stage
from payments.client.commands import encode_command, movement, part
from payments.domain.account import Account, CounterAccount, Entry, Settled, Status, Transfer
from payments.domain.account_table import AccountAnswer
from payments.domain.commands import Capture, Refund
from payments.domain.payment import Part, Payment, Queued
from payments.domain.payment_table import State
from payments.domain.results import Amounts, Answer, Outcome, Reason, Request
from payments.records.internal_codec import (
    encode_account,
    encode_counter,
    encode_payment,
    encode_settled,
    encode_transfer,
)
from payments.records.record_writer import (
    encode_account_result,
    encode_ledger_entry,
    encode_result,
)
from payments.records.recovery_notes import JournalNote, encode_note, encode_skip_notice

FILE = Path(__file__).with_name("golden.jsonl")

TIME_MS = 1_767_225_600_001
ADDRESS = "payments.commands/6/41"
MAKE = Request("make", "abc", 1999, "EUR")
DEPOSIT = Request("deposit", 'é/ü <&>"\\ 😀', 10**15, "KWD")
AUTHORIZE = Request("authorize", "abc", 10_000, "EUR")
EXPIRES_MS = TIME_MS + 604_800_000
NOTE_ON_IT = {"order": "7", "é": 'a "note"'}

COMMANDS: dict[str, dict[str, object]] = {
    "make": movement("make", "abc", 1999, None, None),
    "make, all fields": movement("make", "abc", 10**15, "EUR", "order-7"),
    "deposit": movement("deposit", DEPOSIT.account, 1, "JPY", "é/1"),
    "cancel": {"type": "cancel", "id": None},
    "get": {"type": "get"},
    "make, with metadata": movement("make", "abc", 1999, None, None, NOTE_ON_IT),
    "authorize": movement("authorize", "abc", 10_000, None, None),
    "authorize, all fields": movement(
        "authorize", "abc", 10**15, "EUR", "order-7", NOTE_ON_IT, 31_536_000
    ),
    "capture": part("capture", {}, None, None),
    "capture, all fields": part("capture", {"capture": "c1", "final": False}, 60, "order-7"),
    "void": {"type": "void"},
    "refund": part("refund", {"refund": "r1"}, None, None),
    "refund, all fields": part("refund", {"refund": "r1"}, 20, "order-7"),
}
ANSWERS = {
    "a completed make": Answer(
        command=ADDRESS, type="make", outcome=Outcome.COMPLETED, state="completed", request=MAKE
    ),
    "a make that is replayed": Answer(
        command="order-7",
        type="make",
        outcome=Outcome.COMPLETED,
        replayed=True,
        state="completed",
        request=MAKE,
    ),
    "a completed deposit": Answer(
        command="é/1",
        type="deposit",
        outcome=Outcome.COMPLETED,
        state="completed",
        request=DEPOSIT,
    ),
    "a declined make": Answer(
        command="c1",
        type="make",
        outcome=Outcome.DECLINED,
        reason=Reason.INSUFFICIENT_FUNDS,
        request=MAKE,
    ),
    "a cancel": Answer(
        command="c1",
        type="cancel",
        outcome=Outcome.CANCELLED,
        reason=Reason.ROLLED_BACK,
        state="cancelled",
        request=MAKE,
    ),
    "a get of no payment": Answer(command="c1", type="get", outcome=Outcome.NOT_FOUND),
    "a get in a withdrawn currency": Answer(
        command="c1",
        type="get",
        outcome=Outcome.FOUND,
        state="pending",
        request=Request("make", "abc", 5, "BGN"),
    ),
    "a rejected command": Answer(
        command=ADDRESS,
        type=None,
        outcome=Outcome.REJECTED,
        reason=Reason.NOT_JSON,
        message='the value is not JSON: "é" \ud800',
    ),
    "an expiry notice": Answer(command=None, type="expire", outcome=Outcome.EXPIRED, request=MAKE),
    "a make with metadata": Answer(
        command="c1",
        type="make",
        outcome=Outcome.COMPLETED,
        state="completed",
        request=MAKE,
        metadata=NOTE_ON_IT,
    ),
    "an authorize": Answer(
        command="c1",
        type="authorize",
        outcome=Outcome.AUTHORIZED,
        state="authorized",
        request=AUTHORIZE,
        amounts=Amounts(0, 0, 10_000, 10_000, EXPIRES_MS),
        metadata=NOTE_ON_IT,
    ),
    "a capture": Answer(
        command="c2",
        type="capture",
        outcome=Outcome.CAPTURED,
        state="authorized",
        request=AUTHORIZE,
        part="c1",
        amounts=Amounts(6000, 0, 10_000, 4000, EXPIRES_MS),
    ),
    "a void": Answer(
        command="c3",
        type="void",
        outcome=Outcome.VOIDED,
        reason=Reason.VOIDED,
        state="completed",
        request=AUTHORIZE,
        amounts=Amounts(6000, 0, 10_000, 0, EXPIRES_MS),
    ),
    "a refund of a make": Answer(
        command="c4",
        type="refund",
        outcome=Outcome.REFUNDED,
        state="completed",
        request=MAKE,
        part="r1",
        amounts=Amounts(1999, 20),
    ),
    "a notice that a hold ends soon": Answer(
        command=None,
        type="notice",
        outcome=Outcome.HOLD_ENDS_SOON,
        state="authorized",
        request=AUTHORIZE,
        amounts=Amounts(4000, 0, 10_000, 6000, EXPIRES_MS),
        metadata=NOTE_ON_IT,
    ),
    "a capture with the amount of its part": Answer(
        command="c2",
        type="capture",
        outcome=Outcome.CAPTURED,
        state="authorized",
        request=AUTHORIZE,
        part="c2",
        amounts=Amounts(6000, 0, 10_000, 4000, EXPIRES_MS),
        metadata=NOTE_ON_IT,
        part_amount=1000,
    ),
    "a refund with the amount of its part": Answer(
        command="c4",
        type="refund",
        outcome=Outcome.REFUNDED,
        replayed=True,
        state="completed",
        request=MAKE,
        part="r1",
        amounts=Amounts(1999, 50),
        part_amount=20,
    ),
    "an expiry notice with metadata": Answer(
        command=None,
        type="expire",
        outcome=Outcome.EXPIRED,
        request=MAKE,
        metadata=NOTE_ON_IT,
    ),
    "a notice that a hold has lapsed": Answer(
        command=None,
        type="lapse",
        outcome=Outcome.LAPSED,
        reason=Reason.HOLD_EXPIRED,
        state="lapsed",
        request=AUTHORIZE,
        amounts=Amounts(0, 0, 10_000, 0, EXPIRES_MS),
    ),
}
ENTRIES = {
    "a make": Entry(Transfer("make", "abc", -1999, "EUR", "sales", "pay-1"), Account(1, 2, "EUR")),
    "an opening": Entry(Transfer("opening", "abc", 2000, "EUR", "world"), Account(2000, 1, "EUR")),
    "a rollback beyond the limit": Entry(
        Transfer("rollback", "é", 10**15, "BGN", "sales", "é/1"),
        Account(10**18 + 10**15, 9, "BGN"),
    ),
    "a freeze": Entry(
        Transfer("freeze", "abc", 0, "EUR", "world"),
        Account(-1000, 7, "EUR", 500, Status.FROZEN, 5000),
    ),
    "an account opened by command": Entry(
        Transfer("open", "abc", 0, "EUR", "world"), Account(0, 1, "EUR")
    ),
    "a make on credit": Entry(
        Transfer("make", "abc", -1999, "EUR", "sales", "pay-1"),
        Account(-1999, 2, "EUR", 0, Status.OPEN, 5000),
    ),
    "a hold": Entry(
        Transfer("hold", "abc", 0, "EUR", "sales", "pay-1", 10_000, None, NOTE_ON_IT),
        Account(12_000, 3, "EUR", 10_000),
    ),
    "a capture that releases the rest": Entry(
        Transfer("capture", "abc", -6000, "EUR", "sales", "pay-1", -10_000, "c1"),
        Account(6000, 4, "EUR"),
    ),
    "a release": Entry(
        Transfer("release", "abc", 0, "EUR", "sales", "pay-1", -10_000),
        Account(12_000, 4, "EUR", 500),
    ),
    "a refund": Entry(
        Transfer("refund", "abc", 20, "EUR", "sales", "pay-1", 0, "r1"),
        Account(6020, 5, "EUR", 500),
    ),
}
SHORTER_NAME = ", with ends_ms"
"""Ends the names of rows in which the end of a hold is not called ``hold_expires_ms`` any more."""

ROWS = {
    "a pending payment": Payment(
        State.PENDING, TIME_MS, MAKE, None, (("c1", "make", False), (ADDRESS, "make", True))
    ),
    "a completed payment": Payment(State.COMPLETED, TIME_MS, DEPOSIT),
    "a payment cancelled before its make": Payment(
        State.CANCELLED, TIME_MS, None, Reason.PREVENTED
    ),
    "an authorized payment": Payment(
        State.AUTHORIZED,
        TIME_MS,
        AUTHORIZE,
        hold_expires_ms=EXPIRES_MS,
        held=4000,
        captured=6000,
        refunded=1000,
        parts=(Part("c1", 6000, final=False), Part("r1", 1000, "refund")),
        metadata=NOTE_ON_IT,
    ),
    "an authorized payment whose hold is to be said to end soon": Payment(
        State.AUTHORIZED,
        TIME_MS,
        AUTHORIZE,
        hold_expires_ms=EXPIRES_MS,
        held=10_000,
        notice_ms=EXPIRES_MS - 86_400_000,
    ),
    "a payment with queued commands": Payment(
        State.CAPTURING,
        TIME_MS,
        AUTHORIZE,
        None,
        (("c2", "capture", False),),
        hold_expires_ms=EXPIRES_MS,
        held=10_000,
        parts=(Part("final", 10_000, whole=True),),
        queue=(
            Queued("c3", TIME_MS, Capture("c1", 60, final=False)),
            Queued(ADDRESS, TIME_MS, Refund("r1")),
        ),
    ),
    "a refunded make": Payment(
        State.COMPLETED, TIME_MS, MAKE, refunded=20, parts=(Part("r1", 20, "refund"),)
    ),
}
TRANSFER = Transfer("make", "abc", -1999, "EUR", "sales", "pay-1")
HOLD = Transfer("hold", "abc", 0, "EUR", "sales", "pay-1", 10_000, None, NOTE_ON_IT)
CAPTURE = Transfer("capture", "abc", -6000, "EUR", "sales", "pay-1", -10_000, "c1")
SETTLED = {
    "a settlement": Settled(ok=True),
    "a declined settlement": Settled(ok=False, reason=Reason.UNKNOWN_ACCOUNT),
}
ACCOUNT = Account(10**18, 12, "EUR")
COUNTER = CounterAccount({"EUR": -(10**30), "USD": 5})
HOLDING = Account(12_000, 3, "EUR", 10_000)
FROZEN = Account(-1000, 7, "EUR", 500, Status.FROZEN, 5000)
HOLDING_COUNTER = CounterAccount({"EUR": -12_000}, {"EUR": -10_000})

ACCOUNT_ANSWERS = {
    "a freeze": AccountAnswer("c1", "freeze", Outcome.COMPLETED, account=FROZEN),
    "a repeat": AccountAnswer("c2", "freeze", Outcome.COMPLETED, replayed=True, account=FROZEN),
    "a rejected command": AccountAnswer(
        "accounts.commands/6/41", "close", Outcome.REJECTED, Reason.UNKNOWN_ACCOUNT, "there is none"
    ),
}

OUTPUTS = [
    Output("payments.results", 6, b"pay-1", b'{"a":1}', "payments.result", TIME_MS, []),
    Output("payments.transfers", 2, b"abc", None, "", TIME_MS, [("né", b"\0x"), ("none", None)]),
]
OWNER = Owner("payments/Zm9vYmFyYmF6cXV4cXV1eA", 7, 65_537)
IDENTITY = Identity(
    installation=OWNER.installation,
    app="payments",
    cluster="5L6g3nShT-eMCtK--X86sw",
    stage="payments",
    partition=6,
    partitions=12,
    topics={"payments.commands": "YmFyYmF6cXV4cXV1eGZvbw"},
    settings={"PAYMENTS_DECLINE_POLICY": "retry"},
)
CHECKPOINTS = {
    "a checkpoint": Checkpoint(8, 7, {"payments.commands": 42}, {"accounts/2": (5, 0)}, OUTPUTS),
    "a checkpoint with all fields": Checkpoint(
        2**50,
        2**50 - 1,
        {"payments.commands": 2**60, "payments.inbox": 0},
        {"accounts/2": (5, 0), "accounts/3": (6, 1)},
        [],
        IDENTITY,
        {"payments.results": (7, 3)},
        {"accounts/2": Owner("", 7, 65_537)},
        {"payments.commands": 3},
    ),
    "a checkpoint with an identity alone": Checkpoint(1, 0, {}, {}, [], IDENTITY),
}
STAGE = Stage(
    name="payments",
    logic=lambda _record, _context: None,
    changelog="payments-payments-changelog",
    dead_letters="payments.dead-letters",
    public_inputs=("payments.commands",),
    outputs=("payments.results",),
)
NOTE = JournalNote(base=65, copied=True, former_topic="old.payments.commands", commands_before=42)
SKIPPED_FROM, SKIPPED_TO = 5, 2**60
REFUSED = Record(
    "payments.commands", 6, 41, TIME_MS, b"pay-1", b"{", [("traceparent", b"00-1"), ("none", None)]
)


def values() -> Iterator[tuple[str, bytes]]:
    """Yield the name and the value of each record, as this version writes it."""
    for name, command in COMMANDS.items():
        _, value = encode_command(command, default_id="p0-1", default_currency="EUR")
        yield f"command: {name}", value
    for name, answer in ANSWERS.items():
        yield f"result: {name}", encode_result("pay-1", answer, TIME_MS)
    for name, entry in ENTRIES.items():
        yield f"ledger entry: {name}", encode_ledger_entry(entry, partition=3, time_ms=TIME_MS)
    for name, payment in ROWS.items():
        now = "" if payment.hold_expires_ms is None else SHORTER_NAME
        yield f"row: {name}{now}", encode_payment(payment)
    yield "row: an account", encode_account(ACCOUNT)
    yield "row: a counter-account", encode_counter(COUNTER)
    yield "row: an account with holds", encode_account(HOLDING)
    yield "row: an account with rules", encode_account(FROZEN)
    for name, account_answer in ACCOUNT_ANSWERS.items():
        yield f"account result: {name}", encode_account_result("abc", account_answer, TIME_MS)
    yield "row: a counter-account with holds", encode_counter(HOLDING_COUNTER)
    yield "message: a transfer", encode_transfer(TRANSFER, "pay-1")
    yield "message: a hold", encode_transfer(HOLD, "pay-1")
    yield "message: a capture", encode_transfer(CAPTURE, "pay-1")
    for name, settled in SETTLED.items():
        yield f"message: {name}", encode_settled(settled)
    for name, checkpoint in CHECKPOINTS.items():
        yield f"journal: {name}", encode_checkpoint(checkpoint)
    yield "note: of a rebuild", encode_note(NOTE)
    yield "notice: of a skip", encode_skip_notice(SKIPPED_FROM, SKIPPED_TO)


def headers() -> Iterator[tuple[str, list[tuple[str, bytes | None]]]]:
    """Yield the name and the headers of each kind of output, as this version publishes it."""
    letter = dead_letter(STAGE, 6, REFUSED, Refused("not_json", "the value is not JSON"), Limits())
    message = OUTPUTS[1]._replace(headers=[("origin", ADDRESS.encode())])
    for name, output in (("result", OUTPUTS[0]), ("dead letter", letter), ("message", message)):
        yield f"headers: a {name}", published(output)[2]


def published(output: Output) -> NewRecord:
    """Return an output as it is appended to its topic."""
    rounds, writer = Rounds(10**6), Writer(1, 0)
    Publication(
        "payments",
        6,
        8,
        [output],
        [100],
        STAGE.public,
        writer,
        [(INSTALLATION, OWNER.installation.encode())],
        [owner_header(OWNER)],
    ).add_to(rounds, writer)
    [[batch]] = rounds
    return batch.records[0]


def lines() -> Iterator[dict[str, Any]]:
    """Yield each record as a line of the file."""
    for name, value in values():
        yield {"record": name, "value": value.decode()}
    for name, found in headers():
        texts = [[header, None if text is None else text.decode()] for header, text in found]
        yield {"record": name, "headers": texts}


def recorded() -> dict[str, dict[str, Any]]:
    """Return the lines of the file by the names of the records."""
    found = map(json.loads, FILE.read_text(encoding="utf-8").splitlines())
    return {line["record"]: line for line in found}


if __name__ == "__main__":
    known = recorded() if FILE.exists() else {}
    for each in lines():
        if each["record"] not in known:
            sys.stdout.write(json.dumps(each, ensure_ascii=False) + "\n")
