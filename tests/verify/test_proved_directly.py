"""What no result has to show: sums over rows, log times of commands, and the ledger by itself."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from exactstage.log import Record, TopicPartition
from payments.domain.commands import Capture
from payments.domain.payment import Decision, Received, decide
from payments.stages import payments as payments_stage
from payments.testing import PaymentsTestbed
from payments.verify.facts import pack
from payments.verify.findings import Kind, Place
from payments.verify.lifecycle import EntryDirection, Moved, doubled

from .lifecycle_run import AUTHORIZE, CAPTURE, VOID, recorded_lifecycles, refund, some
from .recording import (
    ACCOUNTS,
    CANCEL,
    COMMANDS,
    GET,
    LEDGER,
    MAKE,
    PAYMENTS,
    RESULTS,
    Recording,
    at,
    read,
    settled,
)

MINUTE_MS = 60_000


@pytest.fixture(scope="module")
def recorded() -> Recording:
    """Return the run as it was; not to be changed."""
    return asyncio.run(recorded_lifecycles())


@pytest.fixture
def run(recorded: Recording) -> Recording:
    """Return a copy of the run, to plant something in."""
    return recorded.copy()


async def recorded_payment(*commands: Mapping[str, Any]) -> Recording:
    """Return a run of payment "p", next to another one that holds money on the same account."""
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("other", AUTHORIZE)
        for command in commands:
            await payments.send("p", command)
        await settled(payments)
        return Recording.of(payments)


def found_without_results(run: Recording) -> list[tuple[Kind, Place]]:
    """Audit what is left when retention has deleted all commands and results."""
    begins = {
        TopicPartition(topic, record.partition): record.offset + 1
        for topic in (COMMANDS, RESULTS)
        for record in run.records[topic]
    }
    return sorted((each.kind, each.place) for each in run.audit(begins).violations)


# --- what is held ---------------------------------------------------------------------------------


def test_an_account_holds_what_its_payments_hold_although_their_results_are_deleted(
    run: Recording,
) -> None:
    assert found_without_results(run) == []
    row = run.row(PAYMENTS, b"stays held")
    run.change(row, held=89)
    assert found_without_results(run) == [at(Kind.WRONG_HELD, run.row(ACCOUNTS, b"abc"))]


def test_an_account_that_holds_money_for_a_payment_that_is_gone(run: Recording) -> None:
    run.rewrite(run.row(PAYMENTS, b"stays held"), value=None)
    assert found_without_results(run) == [at(Kind.WRONG_HELD, run.row(ACCOUNTS, b"abc"))]


@pytest.mark.parametrize("change", [{"account": "xyz"}, {"currency": "USD"}], ids=str)
def test_a_payment_that_holds_money_on_an_account_that_there_is_not(
    run: Recording, change: dict[str, str]
) -> None:
    row = run.row(PAYMENTS, b"stays held")
    run.change(row, request=read(row)["request"] | change)
    account = run.row(ACCOUNTS, b"abc")
    found = found_without_results(run)
    assert found == sorted([at(Kind.WRONG_HELD, account), at(Kind.WRONG_HELD, row)])


def test_what_accounts_hold_is_not_compared_where_entries_of_a_payment_in_flight_are_deleted() -> (
    None
):
    async def moments() -> Sequence[Recording]:
        async with PaymentsTestbed(opening_balance=1000) as payments:
            await payments.send("other", AUTHORIZE)
            payments.post("p", AUTHORIZE)
            return await each_moment(payments)

    pending = next(moment for moment in asyncio.run(moments()) if moment.audit().pending)
    of_ledger = pending.records[LEDGER]
    begins = {TopicPartition(*entry[:2]): entry.offset + 1 for entry in of_ledger}
    report = pending.audit(begins)
    assert report.violations == []
    assert report.unchecked["accounts that hold money for payments in flight"] == 1


# --- beside workers -------------------------------------------------------------------------------


async def each_moment(payments: PaymentsTestbed, seconds: float = 0) -> Sequence[Recording]:
    """Return what the log holds at each moment until all is handled, after some seconds."""

    async def work() -> None:
        await payments.advance(seconds)
        await settled(payments)

    found = [Recording.of(payments)]
    working = asyncio.create_task(work())
    while not working.done():
        await asyncio.sleep(0)
        now = Recording.of(payments)
        if now.records != found[-1].records:
            found.append(now)
    await working
    return found


def as_audited(*moments: Recording) -> Recording:
    """Return what an audit reads: journals first, then results, then commands and ledger."""
    payments_journal, accounts_journal, results, last = moments
    records = {
        **last.records,
        PAYMENTS: payments_journal.records[PAYMENTS],
        ACCOUNTS: accounts_journal.records[ACCOUNTS],
        RESULTS: results.records[RESULTS],
    }
    return replace(last, records=records)


async def lapsing(*commands: Mapping[str, Any]) -> Sequence[Recording]:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        for command in ({**AUTHORIZE, "hold_seconds": 60}, *commands):
            await payments.send("p", command)
        await settled(payments)
        return await each_moment(payments, 200)


@pytest.mark.parametrize("commands", [[], [some("c1", 30)]], ids=["whole", "part"])
async def test_an_audit_while_a_hold_lapses_is_clean(commands: list[dict[str, Any]]) -> None:
    """No command asks for the release, so only its time says that it may be in flight."""
    moments = await lapsing(*commands)
    numbers = range(len(moments))
    for a in numbers:
        for b in numbers[a:]:
            for c in numbers[b:]:
                for d in {c, numbers[-1]}:
                    audited = as_audited(*(moments[number] for number in (a, b, c, d)))
                    assert audited.found() == [], (a, b, c, d)


async def test_a_release_of_which_the_row_does_not_know_a_minute_later_is_found() -> None:
    moments = await lapsing()
    run = as_audited(moments[0], moments[-1], moments[-1], moments[-1])
    notice = run.find(RESULTS, type="lapse")
    run.remove(notice)
    release = run.find(LEDGER, kind="release")
    for late_ms, found in ((MINUTE_MS, False), (MINUTE_MS + 1, True)):
        later = run.copy()
        for record in later.records[PAYMENTS]:
            changed = record._replace(timestamp=release.timestamp + late_ms)
            later.records[PAYMENTS][later.records[PAYMENTS].index(record)] = changed
        assert (at(Kind.UNEXPECTED_ENTRY, release) in later.found()) == found
        assert (Kind.WRONG_HELD in {kind for kind, _ in later.found()}) == found


# --- when a capture came --------------------------------------------------------------------------


async def captured(partition: int | None = None) -> tuple[Recording, Record, int]:
    """Return a run, the command of its capture, and the end of the hold."""
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p", {**AUTHORIZE, "hold_seconds": 600})
        await payments.advance(10)
        if partition is None:
            await payments.send("p", CAPTURE)
        else:
            await payments.send("p", CAPTURE, partition=partition)
        await settled(payments)
        run = Recording.of(payments)
    command = run.find(COMMANDS, type="capture")
    return run, command, run.find(COMMANDS, type="authorize").timestamp + 600_000


def appended(run: Recording, command: Record, time_ms: int) -> Recording:
    copy = run.copy()
    records = copy.records[COMMANDS]
    records[records.index(command)] = command._replace(timestamp=time_ms)
    return copy


async def test_a_capture_that_came_after_the_end_of_the_hold() -> None:
    run, command, end_ms = await captured()
    result = run.find(RESULTS, type="capture")
    assert command.partition == result.partition
    assert appended(run, command, end_ms - 1).found() == []
    assert appended(run, command, end_ms).found() == [at(Kind.WRONG_LAPSE, result)]


async def test_a_capture_that_is_forwarded_is_decided_by_the_time_of_another_record() -> None:
    run, _, _ = await captured()
    own = run.find(RESULTS, type="capture").partition
    run, command, end_ms = await captured(partition=(own + 1) % 4)
    assert command.partition != own
    assert appended(run, command, end_ms + 60 * MINUTE_MS).found() == []


async def test_of_two_captures_with_one_id_the_first_may_be_the_one_that_was_carried_out() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p", {**AUTHORIZE, "hold_seconds": 600})
        for _ in range(2):
            await payments.send("p", {**CAPTURE, "id": "own"})
        await settled(payments)
        run = Recording.of(payments)
    first, second = run.all(COMMANDS, type="capture")
    end_ms = first.timestamp + 600_000
    result = run.all(RESULTS, type="capture")[0]
    assert appended(run, second, end_ms).found() == []
    both = appended(appended(run, second, end_ms), first, end_ms)
    assert both.found() == [at(Kind.WRONG_LAPSE, result)]
    begins = {TopicPartition(*second[:2]): second.offset}
    assert Kind.WRONG_LAPSE not in appended(run, second, end_ms).audit(begins).by_kind


async def test_a_worker_that_captures_after_the_end_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def decide_as_if_in_time(payment: Any, message: Any, **options: Any) -> Decision:
        if isinstance(message, Received) and isinstance(message.command, Capture):
            options["time_ms"] = payment.time_ms
        return decide(payment, message, **options)

    monkeypatch.setattr(payments_stage, "decide", decide_as_if_in_time)
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p", {**AUTHORIZE, "hold_seconds": 60})
        payments.clock.advance(61)  # The timer has not run.
        await payments.send("p", CAPTURE)
        await settled(payments)
        run = Recording.of(payments)
    assert run.found() == [at(Kind.WRONG_LAPSE, run.find(RESULTS, outcome="captured"))]


# --- what the ledger alone shows ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("commands", "kind"),
    [
        ([MAKE], "make"),
        ([{**MAKE, "type": "deposit"}], "deposit"),
        ([MAKE, CANCEL], "rollback"),
        ([MAKE, refund("r1", 10)], "refund"),
        ([AUTHORIZE], "hold"),
        ([AUTHORIZE, some("c1", 10)], "capture"),
        ([AUTHORIZE, some("c1", 10), refund("r1", 5)], "refund"),
        ([AUTHORIZE, some("c1", 10), CANCEL], "rollback"),
        ([AUTHORIZE, VOID], "release"),
    ],
)
async def test_money_that_moved_twice_is_found_although_all_results_are_deleted(
    commands: list[dict[str, Any]], kind: str
) -> None:
    run = await recorded_payment(*commands)
    assert found_without_results(run) == []
    entry = run.find(LEDGER, payment="p", kind=kind)
    change = read(entry).get("held_change", 0)
    second = run.post(entry, held_change=max(change, -10)) if change else run.post(entry)
    assert at(Kind.MONEY_TWICE, second) in found_without_results(run)
    assert at(Kind.MONEY_TWICE, second) in run.found()


async def test_a_hold_that_ends_twice_in_two_ways() -> None:
    run = await recorded_payment(AUTHORIZE, CAPTURE)
    ends = run.post(
        run.find(LEDGER, payment="p", kind="capture"),
        kind="release",
        part=None,
        amount=0,
        held_change=-1,
    )
    assert at(Kind.MONEY_TWICE, ends) in found_without_results(run)
    assert at(Kind.MONEY_TWICE, ends) in run.found()


def moved(
    direction: EntryDirection, time_ms: int, held: int = 0, *, number: int, part: int = 0
) -> Moved:
    return Moved(direction, 0, held, part, pack(direction, number % 2, number), time_ms)


def test_an_id_is_used_again_where_nothing_is_held_and_its_time_has_passed() -> None:
    make, back, hold, ends, capture = (
        EntryDirection.FORWARD,
        EntryDirection.BACK,
        EntryDirection.HOLD,
        EntryDirection.RELEASE,
        EntryDirection.CAPTURE,
    )
    two_lives = [
        moved(make, 0, number=0),
        moved(back, 5, number=2),
        moved(make, 1000, number=4),
        moved(back, 1005, number=6),
        moved(hold, 2000, 100, number=8),
        moved(capture, 2001, -30, number=10, part=7),
        moved(ends, 2002, -70, number=12),
        moved(hold, 3000, 100, number=14),
        moved(capture, 3001, -100, number=16, part=7),
    ]
    assert list(doubled(two_lives, lives_differ_ms=1000)) == []
    too_soon = [each.word for each in doubled(two_lives, lives_differ_ms=1001)]
    assert two_lives[2].word in too_soon
    still_held = [*two_lives[4:6], two_lives[7]]
    assert list(doubled(still_held, lives_differ_ms=1000)) == [two_lives[7]]


def test_entries_of_another_partition_or_before_the_first_that_is_left_prove_less() -> None:
    capture, hold = EntryDirection.CAPTURE, EntryDirection.HOLD
    elsewhere = [moved(hold, 0, 100, number=0), moved(hold, 1, 100, number=1)]
    assert list(doubled(elsewhere, lives_differ_ms=1000)) == []
    left = [
        moved(capture, 0, -30, number=0, part=7),
        moved(capture, 1, -90, number=2, part=8),
        moved(capture, 2, -30, number=4, part=7),
        moved(hold, 3, 100, number=6),
        moved(capture, 4, -30, number=8, part=7),
    ]
    assert list(doubled(left, lives_differ_ms=1000)) == [left[2]]


async def test_with_a_short_retention_an_id_may_be_used_again_at_once() -> None:
    """A broker's clock may jump by hours."""
    run = await recorded_payment(MAKE)
    run.post(run.find(LEDGER, payment="p", kind="make"))
    second = run.find(LEDGER, payment="p", kind="make")
    run.change(second, time="2025-12-31T23:00:00.000Z")
    run.settings = run.settings.model_copy(update={"retention_seconds": 6 * 3600.0 - 1})
    assert found_without_results(run) == []
    run.settings = run.settings.model_copy(update={"retention_seconds": 6 * 3600.0})
    assert [kind for kind, _ in found_without_results(run)] == [Kind.MONEY_TWICE]


# --- answers that do not say of what --------------------------------------------------------------


@pytest.mark.parametrize("replayed", [True, False])
@pytest.mark.parametrize("part", ["c1", "r1"])
@pytest.mark.parametrize("change", [{"part": None}, {"captured": None}], ids=str)
def test_an_answer_to_a_part_has_its_id_and_the_amounts(
    run: Recording, part: str, change: dict[str, Any], *, replayed: bool
) -> None:
    result = run.find(RESULTS, payment="parts", part=part, replayed=replayed, reason=None)
    run.change(result, **change)
    assert at(Kind.CONTRADICTING_RESULT, result) in run.found()


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("c1", {"type": "refund", "outcome": "refunded"}),
        ("r1", {"type": "capture", "outcome": "captured"}),
        ("c1", {"part": "c9"}),
    ],
)
def test_a_part_that_is_answered_again_as_what_it_was_not(
    run: Recording, part: str, change: dict[str, Any]
) -> None:
    result = run.find(RESULTS, payment="parts", part=part, replayed=True, reason=None)
    run.change(result, **change)
    assert run.found() == [at(Kind.WRONG_AMOUNTS, result)]


async def test_captures_that_are_answered_again_are_clean() -> None:
    run = await recorded_payment(AUTHORIZE, some("c1", 10), some("c1", 10), GET, VOID, refund("r"))
    assert run.found() == []


# --- results that can't be true -------------------------------------------------------------------


@pytest.mark.parametrize("payment", ["undone part", "back undone"])
def test_a_cancel_that_does_not_give_all_back(run: Recording, payment: str) -> None:
    result = run.find(RESULTS, payment=payment, type="cancel", outcome="cancelled", replayed=False)
    run.change(result, refunded=read(result)["refunded"] - 1)
    assert at(Kind.WRONG_AMOUNTS, result) in run.found()


def test_a_refund_that_changes_what_is_held(run: Recording) -> None:
    result = run.find(RESULTS, payment="stays held", type="refund")
    run.change(result, held=0, state="completed")
    assert at(Kind.WRONG_AMOUNTS, result) in run.found()


async def test_a_release_of_a_payment_that_never_held_money() -> None:
    """Its row has the end that its hold would have had."""
    async with PaymentsTestbed(opening_balance=1000, decline_policy="pin") as payments:
        await payments.send("other", AUTHORIZE)
        await payments.send("p", {**AUTHORIZE, "amount": 1001, "hold_seconds": 1})
        await payments.advance(100)
        await payments.send("other", VOID)
        await settled(payments)
        run = Recording.of(payments)
    release = run.find(LEDGER, kind="release")
    added = run.post(release, payment="p", held_change=-1)
    assert at(Kind.UNEXPECTED_ENTRY, added) in run.found()


def test_an_account_that_holds_less_than_nothing(run: Recording) -> None:
    entry = run.find(LEDGER, payment="voided", kind="release")
    added = run.post(entry, held_change=-100_000)
    assert at(Kind.OVER_HELD, added) in run.found()


def test_a_payment_that_is_gone_while_it_holds_money(run: Recording) -> None:
    notice = run.find(RESULTS, payment="lapses", type="expire")
    last = run.find(RESULTS, payment="stays held")
    value = (notice.value or b"").replace(b'"lapses"', b'"stays held"')
    records = run.records[RESULTS]
    changed = last._replace(value=value, offset=last.offset + 1)
    run.records[RESULTS] = [r for r in records if r.address != changed.address] + [changed]
    assert at(Kind.CONTRADICTING_RESULT, changed) in run.found()


async def test_a_payment_that_was_undone_and_is_completed_again() -> None:
    run = await recorded_payment(MAKE, CANCEL, MAKE)
    again = run.find(RESULTS, payment="p", type="make")
    run.change(again, outcome="completed", state="completed", reason=None)
    assert at(Kind.CONTRADICTING_RESULT, again) in run.found()
