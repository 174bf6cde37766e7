"""Journals made anew from the ledger, the results and the commands.

Of the same kind: journals deleted, emptied, restored too old or broken beyond repair (each ends
here, whatever its cause), and a worker killed at any moment before that.
"""

import json

import pytest

from exactstage.errors import BATCH_TOO_LARGE, UNDECODABLE_BATCH, UnreadableBatch
from exactstage.log import NewRecord, TopicPartition
from payments.dead_letters.letter import read_letter
from payments.recovery.errors import RecoveryRefused

from .rig import Installation

MAKE = {"type": "make", "account": "abc", "amount": 100}
DEPOSIT = {"type": "deposit", "account": "abc", "amount": 5}
CANCEL, GET = {"type": "cancel"}, {"type": "get"}


def send_some(log: Installation, round_: str) -> None:
    """Send commands of every kind."""
    log.command(f"made-{round_}", MAKE)
    log.command(f"made-{round_}", {**MAKE, "id": f"own-{round_}"}, wrong=True)
    log.command(f"undone-{round_}", MAKE)
    log.command(f"undone-{round_}", CANCEL)
    log.command(f"prevented-{round_}", CANCEL)
    log.command(f"prevented-{round_}", MAKE)
    log.command(f"poor-{round_}", {**MAKE, "amount": 10_000})
    log.command(f"dollars-{round_}", {**DEPOSIT, "account": f"d-{round_}", "currency": "USD"})
    log.command(f"given-{round_}", DEPOSIT)
    log.command(f"given-{round_}", CANCEL)
    log.command(f"made-{round_}", {**MAKE, "amount": 7})
    log.command(f"made-{round_}", GET, wrong=True)
    log.receive(None, b"{}")
    log.receive(f"made-{round_}".encode(), b"{oops")


async def test_what_was_settled_is_settled_and_is_not_carried_out_again() -> None:
    log = Installation()
    send_some(log, "a")
    assert await log.work() is None
    entries, results = log.entries(), log.results()
    log.lose_journals()
    plan = await log.rebuild()
    assert plan.counts["unanswered commands decided now"] == 0
    assert await log.work() is None
    assert (log.entries(), log.results()) == (entries, results)
    log.command("made-a", MAKE)
    log.command("undone-a", CANCEL)
    send_some(log, "b")
    assert await log.work() is None
    replayed = [result["replayed"] for result in log.results()[len(results) :]]
    assert True in replayed
    report = await log.require_clean()
    assert report.counts["results"] == len(log.results())
    await log.require_clean()


@pytest.mark.parametrize(
    ("mode", "local_delivery"), [("before", True), ("half", True), ("after", False)]
)
async def test_a_worker_killed_at_any_append_is_rebuilt_exactly(
    mode: str, *, local_delivery: bool
) -> None:
    whole = Installation()
    send_some(whole, "a")
    assert await whole.work(local_delivery=local_delivery) is None
    for crash_at in range(1, whole.appends + 1, 2):
        log = Installation()
        log.crash_at, log.crash_mode = crash_at, mode  # type: ignore[assignment] # one of three
        send_some(log, "a")
        await log.work(local_delivery=local_delivery)
        log.lose_journals()
        await log.rebuild()
        assert await log.work() is None
        send_some(log, "b")
        assert await log.work() is None
        report = await log.require_clean()
        assert report.counts["results"] == report.counts["commands"] - 2, crash_at


@pytest.mark.parametrize("mode", ["half"])
async def test_copied_topics_are_rebuilt_exactly_although_their_offsets_differ(mode: str) -> None:
    whole = Installation()
    send_some(whole, "a")
    assert await whole.work() is None
    for crash_at in range(1, whole.appends + 1, 4):
        lost = Installation()
        lost.crash_at, lost.crash_mode = crash_at, mode  # type: ignore[assignment] # one of three
        send_some(lost, "a")
        await lost.work()
        log = lost.copied()
        log.time.advance(1)
        await log.rebuild(copied=True)
        await log.audit()
        assert await log.work() is None
        send_some(log, "b")
        assert await log.work() is None
        await log.require_clean()


async def test_a_copy_without_its_commands_is_no_violation() -> None:
    """They were deleted with their topic, or by the retention of the place it was copied from."""
    lost = Installation()
    send_some(lost, "a")
    assert await lost.work() is None
    lost.forget(lost.settings.topics.commands)
    log = lost.copied()
    log.command("made-a", {**MAKE, "id": "own-a"})
    await log.rebuild(copied=True)
    assert await log.work() is None
    send_some(log, "b")
    assert await log.work() is None
    report = await log.require_clean()
    assert report.unchecked["results whose commands may have been deleted by retention"] > 0


def send_a_batch_that_is_refused(log: Installation) -> None:
    """Let a batch come in that is too large, with commands of several partitions."""
    commands = TopicPartition(log.settings.topics.commands, 1)
    value = json.dumps(DEPOSIT).encode()
    told: list[NewRecord] = [(b"refused-%d" % (number % 5), value, []) for number in range(12)]
    log.produce_unreadable(commands, 15, BATCH_TOO_LARGE, told)


async def test_a_batch_that_is_put_aside_is_never_carried_out() -> None:
    """A client can write one any time; it must not take away the way back.

    Of the same kind: an undecodable batch (the same, but fewer records can be told apart), and a
    batch that another replica, or another version, can read.
    """
    whole = Installation()
    send_some(whole, "a")
    send_a_batch_that_is_refused(whole)
    assert await whole.work() is None
    for crash_at in range(1, whole.appends + 1, 2):
        log = Installation()
        log.crash_at, log.crash_mode = crash_at, "half"
        send_some(log, "a")
        send_a_batch_that_is_refused(log)
        await log.work()
        log.lose_journals()
        await log.rebuild()
        send_some(log, "b")
        assert await log.work() is None
        await log.require_clean()
        refused = [each for each in log.results() if each["payment"].startswith("refused-")]
        assert [each["reason"] for each in refused] == [BATCH_TOO_LARGE] * 12, crash_at
        letters = log.records(log.settings.topics.payments_dead_letters)
        [letter] = [each for each in map(read_letter, letters) if each.reason == BATCH_TOO_LARGE]
        assert letter.facts["unanswered"] == "3"


async def test_a_damaged_journal_does_not_stop_its_own_replacement() -> None:
    log = Installation()
    send_some(log, "a")
    assert await log.work() is None
    for stage in ("payments", "accounts"):
        journal = TopicPartition(log.settings.changelog(stage), 1)
        log.produce_unreadable(journal, 3, UNDECODABLE_BATCH)
    assert isinstance(await log.work(), UnreadableBatch)
    entries, results = log.entries(), log.results()
    with pytest.raises(RecoveryRefused, match="journals are not empty"):
        await log.rebuild()
    await log.rebuild(replace=True)
    assert await log.work() is None
    assert (log.entries(), log.results()) == (entries, results)
    await log.require_clean()


async def installation_with_deleted_results() -> Installation:
    """Return one whose results and commands of the first payments retention has deleted."""
    log = Installation(opening_balance=0)
    for round_ in ("old", "new"):
        for number in range(20):
            log.command(f"{round_}-{number}", {**DEPOSIT, "account": f"a{number % 4}"})
        assert await log.work() is None
        if round_ == "old":
            for topic in ("payments.results", "payments.commands"):
                for partition in range(log.settings.partitions):
                    at = TopicPartition(log.settings.topic(topic), partition)
                    log.partition(at).delete_before(log.end(at))
    return log


@pytest.mark.parametrize("journals_are_lost", [False, True])
async def test_a_lost_ledger_is_never_taken_for_all_that_was(*, journals_are_lost: bool) -> None:
    """Results tell of the last payments only: posting these would forget all balances before."""
    log = await installation_with_deleted_results()
    log.forget(log.settings.topics.ledger)
    if journals_are_lost:
        log.lose_journals()
    with pytest.raises(RecoveryRefused, match="restore the ledger"):
        await log.rebuild(replace=True, old_commands="answered")
    plan = await log.rebuild(replace=True, old_commands="answered", accept_lost_entries=True)
    assert plan.counts["missing entries posted, known from results"] == 20


async def test_a_ledger_that_lost_its_last_entries_is_compared_with_the_journals() -> None:
    """What is left looks whole: entries end somewhere, and no result tells of the others."""
    log = await installation_with_deleted_results()
    results = log.settings.topics.results
    for partition in range(log.settings.partitions):
        at = TopicPartition(results, partition)
        log.partition(at).delete_before(log.end(at))
    ledger = log.settings.topics.ledger
    kept = log.records(ledger)
    log.forget(ledger)
    for record in kept:
        if record.offset == 0:
            at = TopicPartition(ledger, record.partition)
            log.produce(at, record.key, record.value, record.headers)
    with pytest.raises(RecoveryRefused, match="entries in its journal"):
        await log.rebuild(replace=True, old_commands="answered")
