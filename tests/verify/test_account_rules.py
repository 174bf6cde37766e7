"""The audit of commands for accounts: a clean run has no finding, and each lie is found."""

import asyncio
import json
from dataclasses import dataclass

import pytest

from exactstage.log import TopicPartition
from payments.testing import PaymentsTestbed
from payments.verify.findings import Kind

from .recording import Recording, read

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
        await send("sales/1", {"type": "get", "id": "of a counter-account"})
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
    assert report.dead_letters == {"not_json": 1, "reserved_account": 1, "key_not_utf8": 1}


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
