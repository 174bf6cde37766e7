"""Holds, captures and refunds: clean runs, and violations planted in one and found.

The rest of what the audit finds is in ``test_answers.py``, ``test_money.py``, ``test_tables.py``.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from exactstage.log import Record, TopicPartition
from payments.domain.account import Account, Posting, post
from payments.domain.commands import Get
from payments.domain.payment import Decision, HoldEnds, Received, decide
from payments.domain.payment_table import State
from payments.domain.results import Outcome, Reason
from payments.stages import accounts as accounts_stage
from payments.stages import payments as payments_stage
from payments.testing import PaymentsTestbed
from payments.verify.findings import Kind, Place

from .lifecycle_run import AUTHORIZE, CAPTURE, VOID, recorded_lifecycles, refund, some
from .recording import (
    ACCOUNTS,
    CANCEL,
    GET,
    HOURS,
    LEDGER,
    MAKE,
    PAYMENTS,
    RESULTS,
    Recording,
    at,
    read,
    settled,
)


@pytest.fixture(scope="module")
def recorded() -> Recording:
    """Return the run as it was; not to be changed."""
    return asyncio.run(recorded_lifecycles())


@pytest.fixture
def run(recorded: Recording) -> Recording:
    """Return a copy of the run, to plant something in."""
    return recorded.copy()


# --- clean runs -----------------------------------------------------------------------------------


def test_a_run_with_every_command_and_lapses_is_clean(recorded: Recording) -> None:
    report = recorded.audit()
    assert report.violations == []
    assert report.unchecked == {}
    assert (report.in_flight, report.pending) == (0, 0)
    outcomes = {read(result)["outcome"] for result in recorded.records[RESULTS]}
    assert outcomes == set(Outcome)
    kinds = {read(entry)["kind"] for entry in recorded.records[LEDGER]}
    assert kinds >= {"hold", "capture", "release", "refund", "rollback", "make", "deposit"}


def test_where_declined_payments_stay_declined_is_clean_too() -> None:
    assert asyncio.run(recorded_lifecycles(decline_policy="pin")).found() == []


async def test_a_void_that_joins_another_after_a_capture_is_clean() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p", AUTHORIZE)
        await payments.send("p", some("c1", 40))
        payments.post("p", VOID)
        payments.post("p", VOID)
        await settled(payments)
        told = [(result.outcome, result.replayed) for result in payments.results("p")[-2:]]
        assert told == [(Outcome.VOIDED, False), (Outcome.VOIDED, True)]
        assert Recording.of(payments).found() == []


async def moments(payments: PaymentsTestbed) -> Sequence[Recording]:
    """Return what the log holds at each moment until all is handled."""
    found = [Recording.of(payments)]
    working = asyncio.create_task(settled(payments))
    while not working.done():
        await asyncio.sleep(0)
        now = Recording.of(payments)
        if now.records != found[-1].records:
            found.append(now)
    await working
    return found


@pytest.mark.parametrize("again", [[AUTHORIZE], [AUTHORIZE, CAPTURE]])
async def test_an_id_that_is_used_again_is_clean_at_each_moment(
    again: Sequence[Mapping[str, Any]],
) -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p", AUTHORIZE)
        await payments.send("p", CAPTURE if CAPTURE in again else VOID)
        await payments.advance(25 * HOURS)
        for command in again:
            payments.post("p", command)
            for moment in await moments(payments):
                assert moment.found() == []


async def test_a_second_hold_is_found_before_the_first_one_is_answered() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        for command in (AUTHORIZE, VOID):
            await payments.send("p", command)
        await payments.advance(25 * HOURS)
        await settled(payments)
        payments.post("p", AUTHORIZE)
        unanswered = [m for m in await moments(payments) if m.audit().pending]
    held = [m for m in unanswered if len(m.all(LEDGER, payment="p", kind="hold")) > 1]
    second = held[-1].post(held[-1].find(LEDGER, payment="p", kind="hold"))
    assert held[-1].found() == [at(Kind.MONEY_TWICE, second)]


def unpublished(run: Recording, topic: str, journal: str, records: int) -> None:
    """Remove the last records of a payment, as after a crash between journal and outputs."""
    partition = run.find(topic, payment="p").partition
    for record in list(run.records[journal]):
        if record.partition == partition and (record.value or b"").startswith(b'{"n"'):
            n, _, rest = (record.value or b"").split(b",", 2)
            run.rewrite(record, value=b",".join((n, b'"published":0', rest)))
    for _ in range(records):
        run.remove(run.find(topic, payment="p"))


@pytest.mark.parametrize(("topic", "journal"), [(LEDGER, ACCOUNTS), (RESULTS, PAYMENTS)])
async def test_amounts_that_are_journalled_but_not_published_yet_are_clean(
    topic: str, journal: str
) -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        for command in (AUTHORIZE, some("c1", 30), some("c2", 20)):
            await payments.send("p", command)
        run = Recording.of(payments)
    unpublished(run, topic, journal, 2)
    assert run.found() == []


async def test_a_record_that_is_not_published_yet_is_shown_without_an_offset() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        for command in (AUTHORIZE, some("c1", 30), some("c2", 20)):
            await payments.send("p", command)
        run = Recording.of(payments)
    run.remove(run.all(LEDGER, payment="p", kind="capture")[0])
    unpublished(run, RESULTS, PAYMENTS, 2)
    [violation] = [v for v in run.audit().violations if v.kind is Kind.MISSING_ENTRY]
    assert str(violation.place) == f"{RESULTS}/{violation.place.partition}/unpublished"
    assert violation.as_json()["offset"] is None


async def test_a_notice_that_is_published_after_the_ends_were_read_is_not_missed() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p", {**AUTHORIZE, "hold_seconds": 60})
        await settled(payments)
        payments.clock.advance(200)
        payments.post("p", CAPTURE)  # It finds that the hold is over, and waits for the release.
        payments.post("p", {**AUTHORIZE, "hold_seconds": 60})  # It joins the release.
        *before, last = await moments(payments)
    _, answer, notice, rejected = last.all(RESULTS, payment="p")
    assert (read(answer)["type"], read(notice)["type"]) == ("authorize", "lapse")
    begun = [m for m in before if m.audit().pending][-1]
    begun.records[RESULTS] = [r for r in last.records[RESULTS] if r not in (notice, rejected)]
    assert begun.found() == []
    last.remove(notice)
    assert at(Kind.WRONG_LAPSE, answer) in last.found()


COMMANDS = st.tuples(
    st.sampled_from(["p1", "p2"]),
    st.sampled_from(
        [
            {**AUTHORIZE, "hold_seconds": 3600},
            AUTHORIZE,
            {**AUTHORIZE, "amount": 700},
            MAKE,
            {**MAKE, "type": "deposit"},
            CAPTURE,
            some("c1", 30),
            some("c1", 20, final=True),
            some("c2", 40),
            VOID,
            refund("r1", 10),
            refund("r2"),
            refund("c1"),
            CANCEL,
            GET,
        ]
    ),
    st.sampled_from(["wait", "go on", "an hour passes", "a day passes", "late"]),
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(commands=st.lists(COMMANDS, max_size=30))
async def test_any_commands_lead_to_a_clean_run(
    commands: Sequence[tuple[str, Mapping[str, Any], str]],
) -> None:
    async with PaymentsTestbed(opening_balance=1000, partitions=2, max_waiters=4) as payments:
        for payment, command, then in commands:
            payments.post(payment, command)
            if then == "wait":
                await payments.quiet()
            elif then == "late":
                payments.clock.advance(3601)
            elif then != "go on":
                await payments.advance(90_000 if then == "a day passes" else 3601)
        await payments.quiet()
        report = Recording.of(payments).audit()
    assert report.violations == []
    assert report.in_flight == 0


async def test_holds_that_are_older_than_all_results_are_no_violation(run: Recording) -> None:
    ends = {
        (RESULTS, partition): 1
        + max(r.offset for r in run.records[RESULTS] if r.partition == partition)
        for partition in {r.partition for r in run.records[RESULTS]}
    }
    gone = {
        (RESULTS, record.partition): record.offset
        for record in run.records[RESULTS]
        if read(record)["payment"] == "stays held"
    }
    begins = {TopicPartition(*place): offset for place, offset in gone.items()}
    assert all(offset < ends[place] for place, offset in gone.items())
    assert run.audit(begins).violations == []


# --- what retention has deleted -------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_days() -> Recording:
    """Return a run of some days, in which ids are used again; not to be changed."""

    async def record() -> Recording:
        async with PaymentsTestbed(opening_balance=100_000, partitions=2) as payments:
            for number in range(20):
                payment = f"p{number % 3}"
                ways = [
                    [AUTHORIZE, some("c1", 30), refund("r1", 5), CAPTURE],
                    [AUTHORIZE, VOID, AUTHORIZE],
                    [MAKE, refund("r1", 5), CANCEL],
                    [{**AUTHORIZE, "hold_seconds": 60}, some("c1", 30)],
                    [AUTHORIZE, some("c1", 30), CANCEL],
                ]
                for command in ways[number % 5]:
                    await payments.send(payment, command, partition=number % 2)
                    await payments.advance(50 if number % 2 else 500)
                await payments.advance(20_000 if number % 4 else 90_000)
            await settled(payments)
            return Recording.of(payments)

    return asyncio.run(record())


@pytest.mark.no_cover  # Measured, it would take several times as long.
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_deleted_is_no_violation(of_days: Recording, data: st.DataObject) -> None:
    ends = {
        TopicPartition(topic, record.partition): record.offset + 1
        for topic in ("payments.commands", RESULTS, LEDGER)
        for record in of_days.records[topic]
    }
    begins = {
        place: data.draw(st.integers(0, end), label=str(place)) for place, end in ends.items()
    }
    assert of_days.audit(begins).violations == []


async def partly_deleted() -> tuple[Recording, Mapping[TopicPartition, int]]:
    """Return a run, and what is left of it without the authorize and its result."""
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p", AUTHORIZE)
        await payments.advance(1000)
        await payments.send("p", GET)
        await payments.advance(1000)
        await payments.send("p", some("c1", 30))
        await settled(payments)
        run = Recording.of(payments)
    firsts = run.find(RESULTS, payment="p", type="authorize"), run.records["payments.commands"][0]
    return run, {TopicPartition(*first[:2]): first.offset + 1 for first in firsts}


async def test_money_that_moved_twice_is_found_where_the_first_results_are_deleted() -> None:
    run, begins = await partly_deleted()
    assert run.audit(begins).violations == []
    second = run.post(run.find(LEDGER, payment="p", kind="capture"))
    violation, other = run.audit(begins).violations
    assert (violation.kind, violation.place) == at(Kind.MONEY_TWICE, second)
    assert (other.kind, other.place) == held_by_no_payment(run, second)[0]


async def test_a_part_that_moved_twice_is_found_where_a_command_lost_its_result() -> None:
    run, deleted = await partly_deleted()
    begins = {place: first for place, first in deleted.items() if place.topic == RESULTS}
    assert run.audit(begins).violations == []
    second = run.post(run.find(LEDGER, payment="p", kind="capture"))
    violation, other = run.audit(begins).violations
    assert (violation.kind, violation.place) == at(Kind.MONEY_TWICE, second)
    assert (other.kind, other.place) == held_by_no_payment(run, second)[0]


async def test_a_part_that_moved_again_on_another_account_where_a_command_lost_its_result() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p", AUTHORIZE)
        await payments.send("q", {**AUTHORIZE, "account": "xyz"})
        for payment in ("p", "q"):
            await payments.send(payment, some("c1", 30))
        await settled(payments)
        run = Recording.of(payments)
    own = run.find(LEDGER, payment="p", kind="capture")
    added = run.post(run.find(LEDGER, payment="q", kind="capture"), payment="p")
    assert added.partition != own.partition
    run.remove(run.find(RESULTS, payment="p", type="authorize"))
    found = run.found()
    twice = [place for kind, place in found if kind is Kind.MONEY_TWICE]
    assert twice in ([Place(*added[:3])], [Place(*own[:3])])


# --- what is planted ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ({"payment": "parts", "part": "c2", "replayed": False}, {"captured": 130}),
        ({"payment": "parts", "part": "r1", "replayed": False}, {"refunded": 95}),
        ({"payment": "parts", "part": "c2", "replayed": False}, {"refunded": 11}),
        ({"payment": "parts", "part": "c3", "replayed": False}, {"captured": 130}),
        ({"payment": "parts", "part": "c3", "replayed": False}, {"held": 10}),
        (
            {"payment": "some left", "part": "c4"},
            {"outcome": "captured", "reason": None, "message": None, "captured": 61},
        ),
        ({"payment": "parts", "type": "get"}, {"held": 49}),
        ({"payment": "parts", "type": "get"}, {"captured": 51, "held": 49}),
        ({"payment": "parts", "type": "get"}, {"refunded": 1}),
        ({"payment": "parts", "type": "get"}, {"authorized": 101}),
        ({"payment": "parts", "type": "get"}, {"hold_expires": "2026-02-01T00:00:00.000Z"}),
        ({"payment": "back", "type": "get"}, {"captured": 99}),
        ({"payment": "taken", "type": "capture", "replayed": True}, {"held": 100}),
        ({"payment": "parts", "part": "c2", "replayed": False}, {"part_amount": 21}),
        ({"payment": "parts", "part": "r1", "replayed": False}, {"part_amount": 0}),
        ({"payment": "parts", "part": "r1", "replayed": False}, {"part_amount": 19}),
        ({"payment": "parts", "part": "c1", "replayed": True}, {"part_amount": 50}),
        ({"payment": "parts", "part": "r1", "replayed": True}, {"part_amount": 30}),
        ({"payment": "back", "part": "r1", "replayed": False}, {"part_amount": 100}),
        ({"payment": "back", "part": "r1", "replayed": True}, {"part_amount": 100}),
    ],
)
def test_amounts_that_can_not_all_be_true(
    run: Recording, where: dict[str, Any], change: dict[str, Any]
) -> None:
    result = run.find(RESULTS, **where)
    run.change(result, **change)
    assert at(Kind.WRONG_AMOUNTS, result) in run.found()


def test_the_first_result_that_is_left_is_checked_by_itself(run: Recording) -> None:
    first = run.find(RESULTS, payment="parts", part="c3", replayed=False)
    begins = {TopicPartition(*first[:2]): first.offset}
    assert run.audit(begins).violations == []
    run.change(first, captured=130)
    found = [(each.kind, each.place) for each in run.audit(begins).violations]
    assert at(Kind.WRONG_AMOUNTS, first) in found


def test_a_part_that_is_answered_again_is_compared_with_the_first_answer_that_is_left(
    run: Recording,
) -> None:
    first = run.find(RESULTS, payment="parts", part="r1", replayed=False)
    again = run.find(RESULTS, payment="parts", part="r1", replayed=True)
    asked = run.all("payments.commands", refund="r1", amount=20)[0]
    begins = {TopicPartition(*left[:2]): left.offset for left in (first, asked)}
    assert run.audit(begins).violations == []
    run.change(again, part_amount=30)
    found = [(each.kind, each.place) for each in run.audit(begins).violations]
    assert found == [at(Kind.WRONG_AMOUNTS, again)]


def test_a_part_that_does_not_say_its_amount_is_no_violation(run: Recording) -> None:
    """Its field is optional: readers must not take its absence for a lie."""
    for result in run.all(RESULTS, payment="parts"):
        run.change(result, part_amount=None)
    assert run.found() == []


def test_an_amount_of_a_part_that_moved_nothing(run: Recording) -> None:
    rejected = run.find(RESULTS, payment="parts", part="c1", outcome="rejected")
    run.change(rejected, part_amount=31)
    assert run.found() == [at(Kind.CONTRADICTING_RESULT, rejected)]


def test_a_part_that_moved_other_money_under_an_earlier_id(run: Recording) -> None:
    second = run.find(RESULTS, payment="parts", part="c2", replayed=False)
    run.change(second, part="c1")
    assert at(Kind.MONEY_TWICE, second) in run.found()


@pytest.mark.parametrize("part", ["c1", "r1"])
def test_a_part_that_moved_money_a_second_time(run: Recording, part: str) -> None:
    second = run.find(RESULTS, payment="parts", part=part, replayed=True, reason=None)
    run.change(second, replayed=False)
    assert at(Kind.MONEY_TWICE, second) in run.found()


def held_by_no_payment(run: Recording, entry: Record) -> list[tuple[Kind, Place]]:
    """Return what a planted entry violates too, where it changes what is held."""
    changes = read(entry).get("held_change", 0) != 0
    return [at(Kind.WRONG_HELD, run.row(ACCOUNTS, b"abc"))] if changes else []


@pytest.mark.parametrize(
    ("payment", "kind"),
    [("parts", "capture"), ("parts", "refund"), ("back", "refund"), ("undone part", "rollback")],
)
def test_an_entry_that_moves_money_a_second_time(run: Recording, payment: str, kind: str) -> None:
    entry = run.find(LEDGER, payment=payment, kind=kind)
    second = run.post(entry, held_change=0) if kind == "rollback" else run.post(entry)
    assert run.found() == [at(Kind.MONEY_TWICE, second), *held_by_no_payment(run, second)]


@pytest.mark.parametrize("payment", ["lapses", "voided", "undone hold", "lapses with a part"])
def test_a_hold_that_is_released_twice(run: Recording, payment: str) -> None:
    """Another hold is on the account, whose payment has more than the account now."""
    second = run.post(run.all(LEDGER, payment=payment, kind="release")[0], held_change=-1)
    assert run.found() == [at(Kind.MONEY_TWICE, second), *held_by_no_payment(run, second)]


@pytest.mark.parametrize("kind", ["hold", "capture", "refund"])
def test_an_entry_of_a_payment_without_such_a_result(run: Recording, kind: str) -> None:
    entry = run.all(LEDGER, payment="parts", kind=kind)[0]
    added = run.post(entry, payment="never held")
    assert run.found() == [at(Kind.UNEXPECTED_ENTRY, added), *held_by_no_payment(run, added)]


def test_a_capture_that_the_ledger_lacks(run: Recording) -> None:
    entry = run.find(LEDGER, account="abc")
    assert (read(entry)["payment"], read(entry)["kind"]) == ("taken", "capture")
    run.unpost(entry)
    (kind, _), *others = run.found()
    assert kind is Kind.MISSING_ENTRY
    assert others == held_by_no_payment(run, entry)


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ({"payment": "parts", "kind": "capture"}, {"part": None}),
        ({"payment": "parts", "kind": "capture"}, {"counter_account": "world/0"}),
        ({"payment": "parts", "kind": "hold"}, {"part": "c1"}),
        ({"payment": "parts", "kind": "refund"}, {"kind": "deposit"}),
        ({"payment": "voided", "kind": "release"}, {"kind": "hold"}),
    ],
)
def test_an_entry_that_is_not_what_it_says(
    run: Recording, where: dict[str, Any], change: dict[str, Any]
) -> None:
    entry = run.find(LEDGER, **where)
    run.change(entry, **change)
    assert at(Kind.WRONG_ENTRY, entry) in run.found()


@pytest.mark.parametrize(
    "time", ["", "yesterday", "2026-01-01T00:00:00", "1969-12-31T23:59:59.000Z"]
)
def test_a_time_that_can_not_be_read(run: Recording, time: str) -> None:
    entry = run.find(LEDGER, payment="parts", kind="capture")
    run.change(entry, time=time)
    assert run.found() == [at(Kind.MALFORMED_RECORD, entry)]
    result = run.find(RESULTS, payment="parts", type="get")
    run.change(result, time=time)
    assert at(Kind.MALFORMED_RECORD, result) in run.found()


@pytest.mark.parametrize("name", ["held", "available", "held_change"])
def test_what_is_held_does_not_follow_from_the_changes(run: Recording, name: str) -> None:
    entry = run.all(LEDGER, payment="parts", kind="capture")[0]
    run.change(entry, **{name: read(entry)[name] + 1})
    assert at(Kind.WRONG_HELD, entry) in run.found()


def test_a_lapse_without_its_notice(run: Recording) -> None:
    for payment in ("found lapsed", "lapses", "lapses with a part"):
        copy = run.copy()
        copy.remove(copy.all(RESULTS, payment=payment, type="lapse")[0])
        assert {kind for kind, _ in copy.found()} & {Kind.WRONG_LAPSE, Kind.WRONG_AMOUNTS}, payment


def test_a_lapse_with_two_notices(run: Recording) -> None:
    notice = run.find(RESULTS, payment="lapses with a part", type="lapse")
    records = run.records[RESULTS]
    records.insert(records.index(notice) + 1, notice)
    assert run.found() == [at(Kind.WRONG_LAPSE, notice)]


def test_a_hold_that_ends_soon_with_two_notices(run: Recording) -> None:
    notice = run.find(RESULTS, payment="stays held", type="notice")
    records = run.records[RESULTS]
    records.insert(records.index(notice) + 1, notice)
    assert run.found() == [at(Kind.WRONG_LAPSE, notice)]


def test_a_lapse_with_two_notices_of_which_the_results_before_are_deleted(run: Recording) -> None:
    notice = run.find(RESULTS, payment="lapses with a part", type="lapse")
    commands = run.records["payments.commands"]
    begins = {TopicPartition(*command[:2]): command.offset + 1 for command in commands}
    begins[TopicPartition(*notice[:2])] = notice.offset
    assert run.audit(begins).violations == []
    records = run.records[RESULTS]
    records.insert(records.index(notice) + 1, notice)
    [violation] = run.audit(begins).violations
    assert (violation.kind, violation.place) == at(Kind.WRONG_LAPSE, notice)


async def test_a_lapse_of_the_rest_without_its_notice() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        short = {**AUTHORIZE, "hold_seconds": 60}
        for command in (short, some("c1", 30)):
            await payments.send("p", command)
        payments.clock.advance(61)
        for command in (CAPTURE, short):  # It finds that the hold is over; the other one joins.
            payments.post("p", command)
        await settled(payments)
        run = Recording.of(payments)
    joined = run.all(RESULTS, type="authorize")[-1]
    assert (read(joined)["outcome"], read(joined)["state"]) == ("authorized", "completed")
    assert run.found() == []
    run.remove(run.find(RESULTS, type="lapse"))
    assert at(Kind.WRONG_LAPSE, joined) in run.found()


def test_a_lapse_before_the_end_of_the_hold(run: Recording) -> None:
    notice = run.find(RESULTS, payment="found lapsed", type="lapse")
    early = read(run.find(RESULTS, payment="found lapsed", type="authorize"))["time"]
    run.change(notice, time=early)
    assert run.found() == [at(Kind.WRONG_LAPSE, notice)]


def test_the_time_of_a_release_is_that_of_another_broker_and_proves_nothing(run: Recording) -> None:
    entry = run.find(LEDGER, payment="found lapsed", kind="release")
    run.change(entry, time="2025-12-31T00:00:00.000Z")
    assert run.found() == []


@pytest.mark.parametrize(
    "change",
    [
        {"held": 89},
        {"captured": 11},
        {"refunded": 0},
        {"ends_ms": 1},
        {"parts": [["c1", 10, "capture", False]]},
        {"state": "completed"},
    ],
)
def test_a_payment_whose_row_has_other_amounts(run: Recording, change: dict[str, Any]) -> None:
    row = run.row(PAYMENTS, b"stays held")
    assert read(row)["held"] == 90
    run.change(row, **change)
    found = [at(Kind.ROW_DIFFERS, row)]
    if "held" in change:
        found.append(at(Kind.WRONG_HELD, run.row(ACCOUNTS, b"abc")))
    assert run.found() == found


def test_an_account_whose_row_holds_something_else(run: Recording) -> None:
    row = run.row(ACCOUNTS, b"abc")
    run.change(row, held=read(row)["held"] + 1)
    kinds = [kind for kind, _ in run.found()]
    assert kinds == [Kind.NOT_ZERO, Kind.ROW_DIFFERS, Kind.WRONG_HELD]
    assert at(Kind.ROW_DIFFERS, row) in run.found()


def test_a_counter_account_whose_row_holds_something_else(run: Recording) -> None:
    partition = run.find(LEDGER, account="abc").partition
    row = run.row(ACCOUNTS, b"sales/%d" % partition)
    held = read(row)["held"]
    run.change(row, held={**held, "EUR": held["EUR"] + 1})
    assert [kind for kind, _ in run.found()] == [Kind.NOT_ZERO, Kind.ROW_DIFFERS]
    assert at(Kind.ROW_DIFFERS, row) in run.found()


# --- bugs put into the stages ---------------------------------------------------------------------


async def record() -> Recording:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        for number, commands in enumerate(
            (
                (AUTHORIZE, some("c1", 60, final=True), refund("r1", 10)),
                (AUTHORIZE, VOID),
                ({**AUTHORIZE, "hold_seconds": 60},),
                (AUTHORIZE, some("c1", 60), CANCEL),
                ({**AUTHORIZE, "amount": 900},),
                ({**AUTHORIZE, "amount": 10}, GET),
            )
        ):
            for command in commands:
                payments.post(f"p{number}", command)
                await payments.quiet()
        await payments.advance(200)
        await settled(payments)
        return Recording.of(payments)


def with_transfer(decision: Decision, kind: str, **changes: Any) -> Decision:
    transfer = decision.transfer
    if transfer is None or transfer.kind != kind:
        return decision
    return replace(decision, transfer=replace(transfer, **changes))


def captures_more(decision: Decision) -> Decision:
    return with_transfer(decision, "capture", amount=-61)


def keeps_the_rest_held(decision: Decision) -> Decision:
    return with_transfer(decision, "capture", held=-60)


def refunds_more(decision: Decision) -> Decision:
    return with_transfer(decision, "refund", amount=11)


def refunds_under_another_part(decision: Decision) -> Decision:
    return with_transfer(decision, "refund", part="r9")


def gives_no_notice(decision: Decision) -> Decision:
    told = tuple(answer for answer in decision.answers if answer.type != "lapse")
    return replace(decision, answers=told)


def gives_two_notices(decision: Decision) -> Decision:
    again = tuple(answer for answer in decision.answers if answer.type == "lapse")
    return replace(decision, answers=(*decision.answers, *again))


def forgets_a_part(decision: Decision) -> Decision:
    payment = decision.payment
    if payment is None or not payment.parts or payment.state is not State.COMPLETED:
        return decision
    return replace(decision, payment=replace(payment, parts=()))


def drops_a_release(decision: Decision) -> Decision:
    """Let a void release nothing, and say that it did."""
    payment, transfer = decision.payment, decision.transfer
    if payment is None or transfer is None or payment.reason is not Reason.VOIDED:
        return decision
    return replace(decision, transfer=replace(transfer, kind="make", amount=-1, held=0))


@pytest.mark.parametrize(
    ("bug", "kind"),
    [
        (lambda decision: decision, None),
        (captures_more, Kind.WRONG_ENTRY),
        (keeps_the_rest_held, Kind.WRONG_ENTRY),
        (refunds_more, Kind.WRONG_ENTRY),
        (refunds_under_another_part, Kind.MISSING_ENTRY),
        (gives_no_notice, Kind.UNEXPECTED_ENTRY),
        (gives_two_notices, Kind.WRONG_LAPSE),
        (forgets_a_part, Kind.ROW_DIFFERS),
        (drops_a_release, Kind.MISSING_ENTRY),
    ],
)
async def test_a_wrong_decision_is_found(
    monkeypatch: pytest.MonkeyPatch, bug: Callable[[Decision], Decision], kind: Kind | None
) -> None:
    def decide_wrongly(*arguments: Any, **options: Any) -> Decision:
        return bug(decide(*arguments, **options))

    monkeypatch.setattr(payments_stage, "decide", decide_wrongly)
    found = {found for found, _ in (await record()).found()}
    assert found == set() if kind is None else kind in found


async def test_a_hold_that_ends_too_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def decide_early(payment: Any, message: Any, **options: Any) -> Decision:
        is_get = isinstance(message, Received) and isinstance(message.command, Get)
        decision = decide(payment, message, **options)
        if not is_get:
            return decision
        ended = decide(payment, HoldEnds(), **options)
        return replace(ended, answers=decision.answers)

    monkeypatch.setattr(payments_stage, "decide", decide_early)
    assert Kind.WRONG_LAPSE in {found for found, _ in (await record()).found()}


async def test_a_hold_of_more_than_there_is_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def post_without_holds(account: Account | None, *arguments: Any, **options: Any) -> Any:
        found = post(account, *arguments, **options)
        if found is not Reason.INSUFFICIENT_FUNDS or account is None:
            return found
        free = post(replace(account, held=0), *arguments, **options)
        if isinstance(free, Reason):
            return free
        after = replace(free.account, held=free.account.held + account.held)
        return Posting(after, (replace(free.entries[-1], account=after),))

    monkeypatch.setattr(accounts_stage, "post", post_without_holds)
    assert {found for found, _ in (await record()).found()} == {Kind.OVER_HELD}


def test_results_of_other_kinds_of_commands_are_contradicting(run: Recording) -> None:
    result: Record = run.find(RESULTS, payment="voided", outcome="cancelled", type="authorize")
    run.change(result, outcome="captured")
    assert at(Kind.CONTRADICTING_RESULT, result) in run.found()
