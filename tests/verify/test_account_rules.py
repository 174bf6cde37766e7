"""The audit of commands for accounts: a clean run has no finding, and each lie is found."""

import asyncio
import json
from dataclasses import dataclass

import pytest

from exactstage.log import TopicPartition
from payments.testing import PaymentsTestbed
from payments.verify.findings import Kind

from .recording import Recording, at, read

COMMANDS, RESULTS, LETTERS = "accounts.commands", "accounts.results", "accounts.dead-letters"
LEDGER = "accounts.ledger"


async def play() -> Recording:
    """Play accounts of all statuses, with credit, holds and repeats, and malformed commands."""
    async with PaymentsTestbed(opening_balance=1000) as payments:
        send, pay = payments.send_account, payments.send
        await send("credit", {"type": "open", "credit_limit": 500, "id": "o1"})
        await send("credit", {"type": "open", "credit_limit": 500}, partition=2)
        await pay("p1", {"type": "make", "account": "credit", "amount": 400})
        await pay("p2", {"type": "authorize", "account": "credit", "amount": 100})
        await send("credit", {"type": "limit", "credit_limit": 50})
        await pay("p3", {"type": "make", "account": "credit", "amount": 1})
        await send("credit", {"type": "freeze"})
        await pay("p2", {"type": "capture"})
        await pay("p4", {"type": "deposit", "account": "credit", "amount": 500})
        await send("credit", {"type": "get"})
        await send("credit", {"type": "close"})
        await pay("p1", {"type": "refund", "refund": "r1", "amount": 40})
        await send("credit", {"type": "unfreeze"})
        await send("credit", {"type": "open", "credit_limit": 7})
        await pay("p5", {"type": "make", "account": "old", "amount": 10})
        await pay("p6", {"type": "make", "account": "old", "amount": 10})
        await send("old", {"type": "freeze"})
        await send("old", {"type": "unfreeze"})
        await pay("p7", {"type": "make", "account": "old", "amount": 1})
        await send("new", {"type": "freeze"})
        await send("new", b"no json", partition=1)
        await send("nobody", {"type": "get", "limit": 1, "id": "bad get"})
        await send("sales/1", {"type": "get", "id": "of a counter-account"})
        await send("credit", {"type": "open", "credit_limit": 8, "id": "o4"})
        await send("old", {"type": "close", "id": "not empty"})
        await send("dollars", {"type": "open", "currency": "USD", "id": "o2"})
        await send("dollars", {"type": "open", "currency": "JPY", "id": "o3"})
        await send("dollars", {"type": "freeze", "id": "twice"})
        await send("dollars", {"type": "unfreeze", "id": "twice"})
        await send("dollars", {"type": "close"})
        await send("dollars", {"type": "freeze", "id": "too late"})
        await send("dollars", {"type": "freeze", "limit": 1, "id": "bad"})
        await send("dollars", b'{"type": "freeze"}' + b" " * 70_000, partition=1)
        payments.produce(payments.settings.topics.account_commands, b"\xff", b"{}")
        await payments.quiet()
        for number in range(9):  # So that what is before is published by what the journals say.
            await pay(f"q{number}", {"type": "make", "account": f"b{number}", "amount": 1})
        return Recording.of(payments)


@pytest.fixture(scope="module")
def played() -> Recording:
    return asyncio.run(play())


@pytest.fixture
def run(played: Recording) -> Recording:
    return played.copy()


def test_a_run_with_all_commands_is_clean(run: Recording) -> None:
    report = run.audit()
    assert report.ok, report.violations
    assert not report.unchecked
    assert report.in_flight == 0
    assert report.dead_letters == {
        "not_json": 1,
        "reserved_account": 1,
        "key_not_utf8": 1,
        "unknown_field": 2,
        "too_large": 1,
    }


@dataclass
class Lie:
    """What is changed, and what is found."""

    kind: Kind
    topic: str
    where: dict[str, object]
    fields: dict[str, object] | None
    """None: the record is removed."""


LIES = {
    "no result": Lie(Kind.MISSING_RESULT, RESULTS, {"type": "freeze", "account": "new"}, None),
    "no entry": Lie(Kind.MISSING_ENTRY, LEDGER, {"kind": "freeze", "account": "credit"}, None),
    "no dead letter": Lie(Kind.MISSING_DEAD_LETTER, LETTERS, {}, None),
    "another status in a result": Lie(
        Kind.CONTRADICTING_RESULT, RESULTS, {"type": "get", "account": "credit"}, {"status": "open"}
    ),
    "another limit in a result": Lie(
        Kind.CONTRADICTING_RESULT,
        RESULTS,
        {"type": "limit"},
        {"credit_limit": 60, "available": -440},
    ),
    "available that does not add up": Lie(
        Kind.CONTRADICTING_RESULT, RESULTS, {"type": "limit"}, {"available": 1}
    ),
    "completed without a status": Lie(
        Kind.CONTRADICTING_RESULT,
        RESULTS,
        {"type": "freeze", "account": "new"},
        {"outcome": "completed", "reason": None},
    ),
    "a freeze that leaves it open": Lie(
        Kind.WRONG_RULES, LEDGER, {"kind": "freeze", "account": "old"}, {"status": "open"}
    ),
    "a capture that changes the limit": Lie(
        Kind.WRONG_RULES, LEDGER, {"kind": "capture"}, {"credit_limit": 500}
    ),
    "a close that keeps the limit": Lie(
        Kind.WRONG_RULES, LEDGER, {"kind": "close"}, {"credit_limit": 50, "available": 50}
    ),
    "a freeze that moves money": Lie(
        Kind.WRONG_ENTRY, LEDGER, {"kind": "freeze", "account": "old"}, {"amount": 1}
    ),
    "a freeze of a payment": Lie(
        Kind.WRONG_ENTRY, LEDGER, {"kind": "freeze", "account": "old"}, {"payment": "p1"}
    ),
    "another kind": Lie(Kind.WRONG_ENTRY, LEDGER, {"kind": "limit"}, {"kind": "freeze"}),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_a_lie_is_found(run: Recording, lie: Lie) -> None:
    if lie.where:
        record = run.find(lie.topic, **lie.where)
    else:
        record = next(r for r in run.records[lie.topic] if r.value == b"no json")
    if lie.fields is None:
        run.remove(record)
    else:
        run.change(record, **lie.fields)
    assert lie.kind in run.audit().by_kind


REJECTED = {"outcome": "rejected", "replayed": False}
NO_ACCOUNT = dict.fromkeys(
    ("status", "balance", "held", "credit_limit", "available", "currency", "exponent", "sequence")
)
WRONG_ANSWERS: dict[str, tuple[dict[str, object], dict[str, object]]] = {
    "another type": ({"type": "get", "account": "credit"}, {"type": "freeze", **REJECTED}),
    "a get that is a freeze, repeated": (
        {"type": "get", "account": "credit"},
        {"type": "freeze", "outcome": "completed", "replayed": True},
    ),
    "no type": ({"type": "freeze", "account": "new"}, {"type": None}),
    "a type that none of two commands of its id has": (
        {"type": "unfreeze", "command": "twice"},
        {"type": "close", "reason": "unknown_account", **REJECTED, **NO_ACCOUNT},
    ),
    "a malformed command as another type": ({"command": "bad"}, {"type": "unfreeze"}),
    "a malformed command that is carried out": (
        {"command": "bad"},
        {"type": "get", "outcome": "not_found", "reason": None},
    ),
    "a malformed get that is answered": (
        {"command": "bad get"},
        {"outcome": "not_found", "reason": None},
    ),
    "rejected for the limit that it asked for": (
        {"type": "open", "account": "credit", "replayed": True},
        {"reason": "different_limit", **REJECTED},
    ),
    "repeated with another limit": (
        {"type": "open", "reason": "different_limit"},
        {"outcome": "completed", "reason": None, "replayed": True},
    ),
    "rejected for the currency that it asked for": (
        {"command": "o2"},
        {"reason": "wrong_currency", **REJECTED},
    ),
    "repeated with another currency": (
        {"command": "o3"},
        {"outcome": "completed", "reason": None, "replayed": True},
    ),
    "another limit for another currency": ({"command": "o3"}, {"reason": "different_limit"}),
    "rejected as unknown with an account": (
        {"command": "too late"},
        {"reason": "unknown_account"},
    ),
    "rejected as closed without an account": (
        {"type": "freeze", "account": "new"},
        {"reason": "account_closed"},
    ),
    "rejected as closed although it is frozen": (
        {"type": "close", "reason": "not_zero"},
        {"reason": "account_closed"},
    ),
    "rejected as not at zero although it is": (
        {"type": "close", "account": "dollars"},
        {"reason": "not_zero", **REJECTED},
    ),
    "rejected for a reason of another type": (
        {"command": "too late"},
        {"reason": "not_zero"},
    ),
    "rejected without a reason": ({"type": "freeze", "account": "new"}, {"reason": None}),
    "rejected for a defect and with an account": (
        {"command": "too late"},
        {"reason": "internal_error"},
    ),
}


@pytest.mark.parametrize("name", WRONG_ANSWERS)
def test_an_answer_that_does_not_fit_its_command_or_its_account_is_found(
    run: Recording, name: str
) -> None:
    where, fields = WRONG_ANSWERS[name]
    changed = run.change(run.find(RESULTS, **where), **fields)
    assert at(Kind.CONTRADICTING_RESULT, changed) in run.found()


@pytest.mark.parametrize(
    ("where", "fields", "message"),
    [
        (
            {"type": "freeze", "account": "new"},
            {"type": "unfreeze"},
            "it answers a command of type unfreeze, its command has type freeze",
        ),
        (
            {"command": "bad"},
            {"type": None, "outcome": "not_found"},
            "not_found for unknown_field with type None and status None",
        ),
        (
            {"type": "open", "reason": "different_limit"},
            {"outcome": "completed", "reason": None, "replayed": True},
            "the account has a credit limit of 7 minor units, its command asks for 8",
        ),
        (
            {"command": "o3"},
            {"outcome": "completed", "reason": None, "replayed": True},
            "the account has another currency than its command asks for",
        ),
        (
            {"type": "close", "account": "dollars"},
            {"reason": "not_zero", "status": "open", **REJECTED},
            "rejected for not_zero with type close and status open of 0.00 USD, 0.00 USD held",
        ),
    ],
)
def test_a_wrong_answer_is_described_in_words(
    run: Recording, where: dict[str, object], fields: dict[str, object], message: str
) -> None:
    run.change(run.find(RESULTS, **where), **fields)
    assert message in {violation.message for violation in run.audit().violations}


def test_an_answer_whose_command_may_be_deleted_is_not_compared(run: Recording) -> None:
    """A later command of the same id may be the only one that is left."""
    [first, _] = run.all(COMMANDS, id="twice")
    run.remove(first)
    begins = {TopicPartition(COMMANDS, first.partition): first.offset + 1}
    report = run.audit(begins)
    assert report.ok, report.violations
    assert report.unchecked["results whose commands may have been deleted by retention"]


def test_an_open_without_a_currency_fits_any(run: Recording) -> None:
    """The default of when it was decided may have been another one."""
    run.settings = run.settings.model_copy(update={"default_currency": "JPY"})
    assert run.audit().ok


def test_a_result_of_a_type_that_a_later_version_knows_is_reported_as_that(run: Recording) -> None:
    run.change(run.find(RESULTS, type="get", account="credit"), type="thaw")
    assert {kind for kind, _ in run.found()} == {Kind.LATER_VERSION}


def test_a_second_result_is_found(run: Recording) -> None:
    run.append(run.find(RESULTS, type="freeze", account="new"))
    assert [kind for kind, _ in run.found()] == [Kind.SURPLUS_RESULT]


def test_a_second_dead_letter_is_found(run: Recording) -> None:
    run.append(next(r for r in run.records[LETTERS] if r.value == b"no json"))
    assert [kind for kind, _ in run.found()] == [Kind.SURPLUS_DEAD_LETTER]


def test_a_change_that_no_result_says_is_found(run: Recording) -> None:
    """Also where the command has a result, that it was repeated."""
    run.change(run.find(RESULTS, type="freeze", account="old"), replayed=True)
    assert [kind for kind, _ in run.found()] == [Kind.UNEXPECTED_ENTRY]


@pytest.mark.parametrize("kind", ["make", "hold"])
def test_what_a_frozen_account_had_to_decline_is_found(run: Recording, kind: str) -> None:
    """As if the account had stayed frozen when the last make came."""
    run.change(run.find(LEDGER, kind="unfreeze", account="old"), status="frozen", credit_limit=0)
    run.change(run.find(LEDGER, payment="p7"), kind=kind, status="frozen", credit_limit=0)
    assert Kind.AGAINST_RULES in run.audit().by_kind


def test_a_row_that_lost_a_freeze_is_found(run: Recording) -> None:
    row = run.row("payments-accounts-changelog", b"credit")
    assert row.value is not None
    values = json.loads(row.value)
    del values["credit_limit"]
    run.rewrite(row, value=json.dumps(values).encode())
    assert [kind for kind, _ in run.found()] == [Kind.ROW_DIFFERS]


def test_more_than_the_credit_limit_allows_is_found(run: Recording) -> None:
    """As if the limit of the first entries had been 300, which the make of 400 exceeds."""
    for entry in run.all(LEDGER, account="credit", credit_limit=500):
        values = read(entry)
        available = values.get("available", values["balance"])
        run.change(entry, credit_limit=300, available=available - 200)
    assert Kind.NEGATIVE_BALANCE in run.audit().by_kind


def test_results_that_retention_deleted_are_not_missed(run: Recording) -> None:
    begins = {
        TopicPartition(RESULTS, record.partition): record.offset + 1
        for record in run.records[RESULTS]
    }
    report = run.audit(begins)
    assert report.ok, report.violations
    assert report.unchecked
