"""Holds in the running application: they lapse by the clock, after restarts too, with a notice.

Of the same kind: ``tests/test_expiry.py`` has the timers, ``tests/domain`` the decisions.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from exactstage import Limits, Record
from exactstage.checkpoint import RESERVED
from exactstage.testing import StageTestbed, crash_at_every_append
from payments.domain.results import Outcome, Reason
from payments.records.record_models import Result
from payments.settings import Settings
from payments.stages import accounts_stage, payments_stage
from payments.testing import PaymentsTestbed
from tests.agents.test_restart import Restarted
from tests.engine.slow_reads import SlowReads

pytestmark = pytest.mark.usefixtures("rows_in_memory_and_on_disk")

HOLD: dict[str, Any] = {"type": "authorize", "account": "abc", "amount": 100, "hold_seconds": 600}
CAPTURE: dict[str, Any] = {"type": "capture"}
GET: dict[str, Any] = {"type": "get"}
WINDOW_SECONDS = 60.0


def lapses(payments: PaymentsTestbed) -> list[Result]:
    return [result for result in payments.results() if result.outcome is Outcome.LAPSED]


def held(payments: PaymentsTestbed, account: str = "abc") -> tuple[int, int]:
    """Return balance and held after the last entry of an account."""
    last = payments.ledger(account)[-1]
    return last.balance, last.held


async def test_a_hold_lapses_with_a_notice_and_gives_the_money_free() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        authorized = await payments.send("p1", {**HOLD, "metadata": {"order": "7"}})
        assert (authorized.outcome, authorized.held) == (Outcome.AUTHORIZED, 100)
        assert authorized.hold_expires == "2026-01-01T00:10:00.000Z"
        assert held(payments) == (1000, 100)
        await payments.advance(599)
        assert lapses(payments) == []
        await payments.advance(1 + WINDOW_SECONDS)
        (notice,) = lapses(payments)
        assert (notice.payment, notice.command, notice.type) == ("p1", None, "lapse")
        assert (notice.state, notice.reason) == ("lapsed", Reason.HOLD_EXPIRED)
        assert (notice.authorized, notice.held, notice.metadata) == (100, 0, {"order": "7"})
        assert held(payments) == (1000, 0)
        await payments.advance(WINDOW_SECONDS)
        assert len(lapses(payments)) == 1


async def test_a_hold_lapses_after_a_restart_as_if_there_had_been_none() -> None:
    async with PaymentsTestbed(opening_balance=1000) as first:
        await first.send("p1", HOLD)
        await first.send("p2", {**HOLD, "hold_seconds": 6000})
    first.clock.advance(600 + WINDOW_SECONDS)
    async with Restarted(first) as second:
        await second.advance(0)
        assert [notice.payment for notice in lapses(second)] == ["p1"]
        await second.advance(5400)
        assert [notice.payment for notice in lapses(second)] == ["p1", "p2"]
        assert held(second) == (1000, 0)


async def test_a_new_hold_lapses_at_its_own_end_although_its_id_held_money_before() -> None:
    async with PaymentsTestbed(opening_balance=1000, retention_seconds=120) as payments:
        await payments.send("p1", HOLD)
        await payments.send("p1", {"type": "void"})
        await payments.advance(120 + 2 * WINDOW_SECONDS)
        assert (await payments.send("p1", GET)).outcome is Outcome.NOT_FOUND
        await payments.send("p1", {**HOLD, "hold_seconds": 6000})
        await payments.advance(600)
        assert held(payments) == (1000, 100)
        await payments.advance(5400 + WINDOW_SECONDS)
        assert held(payments) == (1000, 0)
        assert len(lapses(payments)) == 1


@pytest.mark.parametrize("seconds", [599.999, 600])
async def test_the_log_time_of_a_capture_decides_and_not_the_timer(seconds: float) -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p1", HOLD)
        payments.clock.advance(seconds)
        result = await payments.send("p1", CAPTURE)
        if seconds < 600:
            assert result.outcome is Outcome.CAPTURED
            assert held(payments) == (900, 0)
            assert lapses(payments) == []
        else:
            assert (result.outcome, result.reason) == (Outcome.REJECTED, Reason.HOLD_EXPIRED)
            assert held(payments) == (1000, 0)
            assert len(lapses(payments)) == 1


@pytest.mark.parametrize("seconds", [599.999, 600])
async def test_a_capture_in_a_backlog_is_decided_before_the_timer_ends_its_hold(
    monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    async with PaymentsTestbed(opening_balance=1000, partitions=1) as first:
        await first.send("p1", HOLD)
    first.clock.advance(seconds)
    first.produce(first.settings.topics.commands, b"p1", b'{"type":"capture","id":"c1"}')
    first.clock.advance(3600)
    second = Restarted(first)
    reads = SlowReads(second.log, monkeypatch)
    async with second:
        await second.app.engine.timers.tick_all()  # While the backlog is not read yet.
        reads.opened.set()
        await second.advance(0)
        [result] = [each for each in second.results() if each.command == "c1"]
        if seconds < 600:
            assert result.outcome is Outcome.CAPTURED
            assert lapses(second) == []
            assert held(second) == (900, 0)
        else:
            assert (result.outcome, result.reason) == (Outcome.REJECTED, Reason.HOLD_EXPIRED)
            assert len(lapses(second)) == 1
            assert held(second) == (1000, 0)


async def test_a_repeat_in_a_backlog_finds_its_payment_after_a_downtime_beyond_the_retention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = {"type": "make", "account": "abc", "amount": 100}
    async with PaymentsTestbed(opening_balance=1000, partitions=1, retention_seconds=120) as first:
        await first.send("p1", make)
    first.clock.advance(60)
    first.produce(first.settings.topics.commands, b"p1", json.dumps(make).encode())
    first.clock.advance(3600)
    second = Restarted(first)
    reads = SlowReads(second.log, monkeypatch)
    async with second:
        await second.app.engine.timers.tick_all()  # While the backlog is not read yet.
        reads.opened.set()
        await second.quiet()
        assert [each.replayed for each in second.results("p1")[:2]] == [False, True]
        assert held(second) == (900, 0)
        await second.advance(0)
        assert second.results("p1")[-1].outcome is Outcome.EXPIRED


async def test_a_hold_lapses_although_a_backlog_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    async with PaymentsTestbed(opening_balance=1000, partitions=1) as first:
        await first.send("p1", HOLD)
        await first.send("p2", {**HOLD, "hold_seconds": 6000})
    first.clock.advance(600 + WINDOW_SECONDS)
    for topic in (first.settings.topics.commands, first.settings.topics.inbox):
        first.produce(topic, b"other", b'{"type":"get"}')
    first.clock.advance(36000)
    second = Restarted(first)
    reads = SlowReads(second.log, monkeypatch)
    reads.unread = 1000
    reads.opened.set()
    async with second:
        await second.quiet()
        await second.advance(0)
        assert [notice.payment for notice in lapses(second)] == ["p1"]


def reminders(payments: PaymentsTestbed) -> list[Result]:
    return [result for result in payments.results() if result.outcome is Outcome.HOLD_ENDS_SOON]


async def test_a_notice_says_once_that_a_hold_ends_soon() -> None:
    async with PaymentsTestbed(opening_balance=1000, hold_notice_seconds=120) as first:
        await first.send("p1", {**HOLD, "metadata": {"order": "7"}})
        await first.advance(479)
        assert reminders(first) == []
        await first.advance(1 + WINDOW_SECONDS)
        (notice,) = reminders(first)
        assert (notice.payment, notice.command, notice.type) == ("p1", None, "notice")
        assert (notice.state, notice.reason, notice.held) == ("authorized", None, 100)
        assert (notice.hold_expires, notice.metadata) == (
            "2026-01-01T00:10:00.000Z",
            {"order": "7"},
        )
        assert notice.hold_expires is not None
        assert notice.time < notice.hold_expires
    async with Restarted(first) as second:
        await second.advance(0)
        assert len(reminders(second)) == 1
        await second.advance(120)
        assert len(reminders(second)) == len(lapses(second)) == 1


@pytest.mark.parametrize("end", [{"type": "void"}, CAPTURE, {"type": "cancel"}])
async def test_no_notice_says_that_a_hold_ends_soon_which_has_ended(end: dict[str, Any]) -> None:
    async with PaymentsTestbed(opening_balance=1000, hold_notice_seconds=120) as payments:
        await payments.send("p1", HOLD)
        await payments.send("p1", end)
        await payments.advance(600 + 2 * WINDOW_SECONDS)
        assert reminders(payments) == []


async def test_a_hold_that_is_not_longer_than_the_notice_has_none() -> None:
    async with PaymentsTestbed(opening_balance=1000, hold_notice_seconds=600) as payments:
        await payments.send("p1", HOLD)
        await payments.send("p2", {**HOLD, "hold_seconds": 601})
        await payments.advance(1 + WINDOW_SECONDS)
        assert [notice.payment for notice in reminders(payments)] == ["p2"]


async def test_after_a_downtime_beyond_its_end_a_hold_has_its_lapse_and_no_notice_before() -> None:
    async with PaymentsTestbed(opening_balance=1000, hold_notice_seconds=120) as first:
        await first.send("p1", HOLD)
    first.clock.advance(600 + WINDOW_SECONDS)
    async with Restarted(first) as second:
        await second.advance(0)
        assert len(lapses(second)) == 1
        assert reminders(second) == []


async def test_what_is_left_after_a_capture_has_its_notice_too() -> None:
    async with PaymentsTestbed(opening_balance=1000, hold_notice_seconds=120) as payments:
        payments.post("p1", HOLD)
        payments.post("p1", {**CAPTURE, "capture": "c1", "amount": 60, "final": False})
        await payments.quiet()
        await payments.advance(480 + WINDOW_SECONDS)
        assert [(notice.held, notice.captured) for notice in reminders(payments)] == [(40, 60)]


async def test_a_notice_and_a_lapse_come_once_whichever_append_a_worker_is_killed_at() -> None:
    settings = Settings(partitions=1, opening_balance=1000, hold_notice_seconds=120)
    counted: Counter[str] = Counter()

    def new_bed() -> StageTestbed:
        stages = payments_stage(settings), accounts_stage(settings)
        return StageTestbed(*stages, partitions=1)

    async def scenario(bed: StageTestbed) -> None:
        await bed.send(settings.topics.commands, b"p1", json.dumps(HOLD).encode())
        await bed.advance(480 + WINDOW_SECONDS)
        await bed.advance(120)
        results = bed.records(settings.topics.results)
        outcomes = [json.loads(record.value or b"")["outcome"] for record in results]
        assert outcomes == ["authorized", "hold_ends_soon", "lapsed"]
        counted.update(outcomes)

    assert await crash_at_every_append(new_bed, scenario) > 3 * 10
    assert counted["lapsed"] == counted["hold_ends_soon"] > 3 * 10


async def test_what_is_left_after_a_capture_lapses_at_the_same_time() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p1", HOLD)
        await payments.send("p1", {**CAPTURE, "capture": "c1", "amount": 60, "final": False})
        assert held(payments) == (940, 40)
        await payments.advance(600 + WINDOW_SECONDS)
        (notice,) = lapses(payments)
        assert (notice.state, notice.captured, notice.held) == ("completed", 60, 0)
        assert held(payments) == (940, 0)
        assert (await payments.send("p1", {"type": "refund", "refund": "r1"})).refunded == 60


async def test_a_payment_that_holds_money_is_not_forgotten() -> None:
    async with PaymentsTestbed(opening_balance=1000, retention_seconds=120) as payments:
        await payments.send("p1", HOLD)
        await payments.advance(500)
        assert (await payments.send("p1", GET)).held == 100
        await payments.advance(100 + WINDOW_SECONDS)
        assert (await payments.send("p1", GET)).state == "lapsed"
        await payments.advance(120 + 2 * WINDOW_SECONDS)
        assert (await payments.send("p1", GET)).outcome is Outcome.NOT_FOUND


async def test_many_holds_that_end_in_one_window_are_released_once_each() -> None:
    count = 3000  # The engine takes them in pieces of ``Limits.expiry_rows``.
    async with PaymentsTestbed(opening_balance=10**9, partitions=1) as payments:
        for number in range(count):
            payments.post(f"p{number}", HOLD)
        await payments.quiet()
        assert held(payments) == (10**9, 100 * count)
        await payments.advance(600 + WINDOW_SECONDS)
        assert held(payments) == (10**9, 0)
        assert len(lapses(payments)) == count
        assert len({notice.payment for notice in lapses(payments)}) == count


async def test_makes_see_what_is_held_and_captures_never_lack_money() -> None:
    async with PaymentsTestbed(opening_balance=150) as payments:
        await payments.send("p1", HOLD)
        make = {"type": "make", "account": "abc", "amount": 51}
        declined = await payments.send("p2", make)
        assert (declined.outcome, declined.reason) == (Outcome.DECLINED, Reason.INSUFFICIENT_FUNDS)
        assert (await payments.send("p3", {**make, "amount": 50})).outcome is Outcome.COMPLETED
        assert (await payments.send("p4", {**HOLD, "amount": 1})).outcome is Outcome.DECLINED
        assert (await payments.send("p1", CAPTURE)).outcome is Outcome.CAPTURED
        assert held(payments) == (0, 0)


async def test_commands_behind_a_capture_are_decided_in_their_order() -> None:
    async with PaymentsTestbed(opening_balance=1000) as payments:
        await payments.send("p1", HOLD)
        before = len(payments.results("p1"))
        for command in (
            {**CAPTURE, "capture": "c1", "amount": 60, "final": False},
            {"type": "refund", "refund": "r1", "amount": 10},
            {**CAPTURE, "capture": "c1", "amount": 60, "final": False},
            {"type": "void"},
            {"type": "refund", "refund": "r2"},
            {"type": "cancel"},
        ):
            payments.post("p1", command)
        await payments.quiet()
        told = [(r.type, r.outcome.value, r.replayed) for r in payments.results("p1")[before:]]
        assert sorted(told) == sorted(
            [
                ("capture", "captured", False),
                ("capture", "captured", True),
                ("refund", "refunded", False),
                ("void", "voided", False),
                ("refund", "refunded", False),
                ("cancel", "cancelled", False),
            ]
        )
        assert held(payments) == (1000, 0)
        assert (await payments.send("p1", GET)).state == "cancelled"


async def test_a_payment_can_be_refunded_for_longer_than_others_are_remembered() -> None:
    times = {"retention_seconds": 120, "refund_seconds": 6000}
    make = {"type": "make", "account": "abc", "amount": 100}
    refund = {"type": "refund", "refund": "r1"}
    async with PaymentsTestbed(opening_balance=1000, **times) as first:
        await first.send("p1", make)
        await first.send("p2", {**make, "type": "deposit"})
        await first.send("p3", make)
        await first.send("p3", refund)
        await first.advance(200)
        assert (await first.send("p1", GET)).state == "completed"
        assert (await first.send("p2", GET)).outcome is Outcome.NOT_FOUND
        assert (await first.send("p3", GET)).outcome is Outcome.NOT_FOUND
    async with Restarted(first) as second:
        await second.advance(5000)
        assert (await second.send("p1", refund)).outcome is Outcome.REFUNDED
        await second.advance(200)
        assert (await second.send("p1", GET)).outcome is Outcome.NOT_FOUND


async def test_what_can_not_be_refunded_any_more_is_forgotten() -> None:
    times = {"retention_seconds": 120, "refund_seconds": 6000}
    async with PaymentsTestbed(opening_balance=1000, **times) as payments:
        await payments.send("p1", {"type": "make", "account": "abc", "amount": 100})
        await payments.advance(5900)
        assert (await payments.send("p1", GET)).state == "completed"
        await payments.advance(200)
        assert (await payments.send("p1", GET)).outcome is Outcome.NOT_FOUND


async def test_what_can_not_be_refunded_any_more_is_forgotten_after_a_restart_too() -> None:
    times = {"retention_seconds": 120, "refund_seconds": 6000}
    async with PaymentsTestbed(opening_balance=1000, **times) as first:
        await first.send("p1", {"type": "make", "account": "abc", "amount": 100})
    async with Restarted(first) as second:
        await second.advance(5900)
        assert (await second.send("p1", GET)).state == "completed"
        await second.advance(200)
        assert (await second.send("p1", GET)).outcome is Outcome.NOT_FOUND


async def test_a_hold_that_is_captured_in_part_at_once_lapses_too() -> None:
    """Its payment is never authorized in between: the capture was queued behind the authorize."""
    async with PaymentsTestbed(opening_balance=1000) as payments:
        payments.post("p1", HOLD)
        payments.post("p1", {**CAPTURE, "capture": "c1", "amount": 60, "final": False})
        await payments.quiet()
        assert held(payments) == (940, 40)
        await payments.advance(600 + WINDOW_SECONDS)
        assert [notice.payment for notice in lapses(payments)] == ["p1"]
        assert held(payments) == (940, 0)


async def test_holds_with_much_metadata_that_end_at_once_fit_into_their_commits() -> None:
    count, metadata = 300, {"note": '"' * 2000}
    async with PaymentsTestbed(opening_balance=10**9, partitions=1) as payments:
        for number in range(count):
            payments.post(f"p{number}", {**HOLD, "metadata": metadata})
        await payments.quiet()
        sealed = len(payments.records(payments.settings.changelog("payments")))
        await payments.advance(600 + WINDOW_SECONDS)
        assert len(lapses(payments)) == count
        rows = payments.records(payments.settings.changelog("payments"))[sealed:]
        assert max(size for size in commit_sizes(rows)) <= 3 * Limits().commit_bytes


async def test_an_expiry_notice_has_the_metadata() -> None:
    make = {"type": "make", "account": "abc", "amount": 100}
    async with PaymentsTestbed(opening_balance=1000, retention_seconds=60) as payments:
        await payments.send("p1", {**make, "metadata": {"order": "7"}})
        await payments.send("p2", make)
        await payments.advance(60 + WINDOW_SECONDS)
        notices = {one.payment: one for one in payments.results() if one.type == "expire"}
        assert {name: one.metadata for name, one in notices.items()} == {
            "p1": {"order": "7"},
            "p2": None,
        }


async def test_payments_with_much_metadata_that_expire_at_once_fit_into_their_commits() -> None:
    count, metadata = 600, {"note": '"' * 2000}
    make = {"type": "make", "account": "abc", "amount": 100, "metadata": metadata}
    times = {"retention_seconds": 60, "refund_seconds": 60}
    async with PaymentsTestbed(opening_balance=10**9, partitions=1, **times) as payments:
        for number in range(count):
            payments.post(f"p{number}", make)
        await payments.quiet()
        sealed = len(payments.records(payments.settings.changelog("payments")))
        await payments.advance(60 + WINDOW_SECONDS)
        assert sum(result.type == "expire" for result in payments.results()) == count
        rows = payments.records(payments.settings.changelog("payments"))[sealed:]
        assert max(size for size in commit_sizes(rows)) <= 3 * Limits().commit_bytes


def commit_sizes(records: Sequence[Record]) -> Iterator[int]:
    """Yield the bytes of each commit of a journal: the records up to a checkpoint."""
    size = 0
    for record in records:
        size += len(record.value or b"")
        if (record.key or b"").startswith(RESERVED):
            yield size
            size = 0


async def test_what_was_refundable_is_forgotten_at_its_time_although_it_changed_in_one_window() -> (
    None
):
    times = {"retention_seconds": 120, "refund_seconds": 6000}
    make = {"type": "make", "account": "abc", "amount": 100}
    async with PaymentsTestbed(opening_balance=1000, **times) as payments:
        await payments.advance(59)
        payments.post("p1", make)
        await payments.advance(2)
        await payments.send("p1", {"type": "refund", "refund": "r1"})
        await payments.advance(200)
        assert (await payments.send("p1", GET)).outcome is Outcome.NOT_FOUND
