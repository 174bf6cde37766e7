"""Journals made anew have the status and the credit limit of each account, by the ledger."""

import json
from typing import Any

import pytest

from exactstage import TopicPartition, partition_of
from payments.domain.account import Account, Status
from payments.records.internal_codec import decode_account
from payments.recovery.errors import RecoveryRefused

from .rig import CrashMode, Installation

OPEN = {"type": "open", "credit_limit": 500}
FREEZE, UNFREEZE, CLOSE = {"type": "freeze"}, {"type": "unfreeze"}, {"type": "close"}
GET = {"type": "get"}


def ask(log: Installation, account: str, command: dict[str, Any], *, wrong: bool = False) -> None:
    """Let a command for an account come in, on its right partition or on a wrong one."""
    count, key = log.settings.partitions, account.encode()
    partition = (partition_of(key, count) + wrong) % count
    topic = log.settings.topics.account_commands
    log.produce(TopicPartition(topic, partition), key, json.dumps(command).encode())


def send_some(log: Installation) -> None:
    """Send commands for accounts of every status, and payments between them."""
    for number, account in enumerate(("credit", "frozen", "closed", "paid")):
        ask(log, account, OPEN, wrong=number % 2 == 0)
        log.command(f"p-{account}", {"type": "make", "account": account, "amount": 40})
    for account in ("frozen", "paid"):
        ask(log, account, FREEZE, wrong=True)
    log.command("p-closed", {"type": "cancel"})
    for account in ("closed", "credit", "nobody"):
        ask(log, account, CLOSE)
    ask(log, "paid", {**UNFREEZE, "id": "u1"}, wrong=True)
    ask(log, "credit", {"type": "limit", "credit_limit": 30})
    ask(log, "credit", {"type": "nonsense"}, wrong=True)
    ask(log, "sales/1", {**FREEZE, "id": "s1"}, wrong=True)
    ask(log, "frozen", GET)


def accounts(log: Installation) -> dict[str, Account]:
    """Return the rows of these accounts as the journals have them."""
    names = ("credit", "frozen", "closed", "paid")
    return {
        (record.key or b"").decode(): decode_account(record.value or b"")
        for record in log.records(log.settings.changelog("accounts"))
        if record.key in {name.encode() for name in names}
    }


async def test_a_rebuild_restores_the_rules() -> None:
    log = Installation()
    send_some(log)
    assert await log.work() is None
    before = accounts(log)
    assert {row.status for row in before.values()} > {Status.FROZEN}
    log.lose_journals()
    await log.rebuild()
    assert accounts(log) == before
    ask(log, "frozen", {**GET, "id": "after"})
    assert await log.work() is None
    results = [r.value or b"" for r in log.records(log.settings.topics.account_results)]
    [last] = [value for value in results if b'"after"' in value]
    assert json.loads(last)["status"] == "frozen"
    await log.require_clean()


@pytest.mark.parametrize("mode", ["before", "half", "after"])
@pytest.mark.parametrize("crash_at", range(2, 14, 2))
async def test_a_worker_killed_at_any_append_is_rebuilt(crash_at: int, mode: CrashMode) -> None:
    log = Installation()
    send_some(log)
    log.crash_at, log.crash_mode = crash_at, mode
    await log.work(local_delivery=crash_at % 4 == 0)
    log.lose_journals()
    await log.rebuild()
    assert await log.work() is None
    await log.require_clean()


async def test_an_entry_that_only_a_result_shows_is_written_again() -> None:
    log = Installation()
    ask(log, "abc", OPEN)
    assert await log.work() is None
    log.forget(log.settings.topics.ledger)
    log.lose_journals()
    await log.rebuild(accept_lost_entries=True)
    assert await log.work() is None
    assert [(e["kind"], e["credit_limit"]) for e in log.entries()] == [("open", 500)]
    await log.require_clean()


async def test_a_change_whose_predecessors_are_lost_is_refused() -> None:
    log = Installation()
    log.command("p1", {"type": "deposit", "account": "abc", "amount": 40})
    assert await log.work() is None
    ask(log, "abc", FREEZE)
    ask(log, "abc", UNFREEZE)
    assert await log.work() is None
    topics = log.settings.topics
    for topic in (topics.ledger, topics.results, topics.commands):
        log.forget(topic)
    log.lose_journals()
    with pytest.raises(RecoveryRefused, match="of account 'abc' is its entry"):
        await log.rebuild(accept_lost_entries=True)


async def test_a_copy_is_rebuilt_too() -> None:
    log = Installation()
    send_some(log)
    assert await log.work() is None
    copy = log.copied()
    await copy.rebuild(copied=True)
    assert {n: row.status for n, row in accounts(copy).items()} == {
        n: row.status for n, row in accounts(log).items()
    }
    ask(copy, "frozen", UNFREEZE)
    assert await copy.work() is None
    report = await copy.audit()
    assert report.ok, report.violations
