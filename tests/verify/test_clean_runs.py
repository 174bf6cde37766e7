"""Runs without a violation: whatever is sent, and while workers are at it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exactstage.log import Bounds, TopicPartition
from exactstage.memory import MemoryLog
from payments.settings import Settings
from payments.testing import PaymentsTestbed
from payments.verify.auditor import Auditor
from payments.verify.reading import audit

from .recording import CANCEL, GET, MAKE, OPENING, Recording, every_kind_of_command, settled


def ignore(_: str) -> None:
    """Show no progress."""


def test_a_run_with_every_kind_of_command_is_clean(recorded: Recording) -> None:
    report = recorded.audit()
    assert report.violations == []
    assert report.unchecked == {}
    assert (report.ok, report.in_flight, report.pending) == (True, 0, 0)
    assert report.counts["commands"] == len(recorded.records["payments.commands"])
    assert report.counts["results"] == len(recorded.records["payments.results"])
    assert report.counts["entries"] == len(recorded.records["accounts.ledger"])
    assert set(report.dead_letters) == {
        "null_key",
        "empty_key",
        "key_not_utf8",
        "key_too_long",
        "null_value",
        "not_json",
        "missing_field",
        "too_large",
    }


def test_a_compacted_journal_is_as_good(run: Recording) -> None:
    for topic in run.topics.journals:
        last = {(record.partition, record.key): record for record in run.records[topic]}
        kept = [r for r in run.records[topic] if last[r.partition, r.key] is r]
        assert len(kept) < len(run.records[topic])
        run.records[topic] = kept
    report = run.audit()
    assert report.violations == []
    assert report.unchecked == {}


def test_an_installation_that_was_never_used_is_clean() -> None:
    report = Auditor(Settings()).finish()
    assert report.ok
    assert set(report.counts.values()) == {0}


async def test_where_declined_payments_stay_declined_is_clean_too() -> None:
    async with PaymentsTestbed(
        opening_balance=OPENING, max_waiters=3, decline_policy="pin"
    ) as payments:
        await payments.send("pinned", {**MAKE, "amount": OPENING + 1})
        await payments.send("pinned", {**MAKE, "amount": OPENING + 1})
        await payments.send("pinned", CANCEL)
        await every_kind_of_command(payments)
        report = Recording.of(payments).audit()
    assert report.violations == []


COMMANDS = st.tuples(
    st.sampled_from(["p1", "p2", "p3"]),
    st.sampled_from([MAKE, {**MAKE, "amount": 700}, {**MAKE, "type": "deposit"}, CANCEL, GET]),
    st.integers(0, 1),
    st.sampled_from(["wait", "go on", "a day passes"]),
)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(commands=st.lists(COMMANDS, max_size=25))
async def test_any_commands_lead_to_a_clean_run(
    commands: Sequence[tuple[str, Mapping[str, Any], int, str]],
) -> None:
    async with PaymentsTestbed(opening_balance=OPENING, partitions=2, max_waiters=3) as payments:
        for payment, command, partition, then in commands:
            payments.post(payment, command, partition=partition)
            if then == "wait":
                await payments.quiet()
            elif then == "a day passes":
                await payments.advance(90_000)
        await payments.quiet()
        report = Recording.of(payments).audit()
    assert report.violations == []
    assert report.in_flight == 0


class BusyLog(MemoryLog):
    """Lets workers go on for a while between two questions for the ends of topics."""

    async def bounds(self, at: Sequence[TopicPartition]) -> Mapping[TopicPartition, Bounds]:
        """Answer as always, but late."""
        for _ in range(self.pause):
            await asyncio.sleep(0)
        return await super().bounds(at)

    pause = 0


async def send_many(payments: PaymentsTestbed) -> None:
    """Send overlapping commands while others work."""
    for number in range(300):
        command = [MAKE, CANCEL, GET, {**MAKE, "type": "deposit"}, MAKE][number % 5]
        payments.post(f"p{number % 97}", command, partition=number % 4)
        await asyncio.sleep(0)


@pytest.mark.parametrize("pause", [2, 5, 20])
async def test_an_audit_beside_working_workers_is_clean(pause: int) -> None:
    reports = []
    async with PaymentsTestbed(opening_balance=100_000, max_waiters=3) as payments:
        payments.log.__class__ = BusyLog
        BusyLog.pause = pause
        sending = asyncio.create_task(send_many(payments))
        while not sending.done():
            reports.append(await audit(payments.log, Auditor(payments.settings), show=ignore))
            await payments.log.grown(0.001)
        await settled(payments)
        reports.append(await audit(payments.log, Auditor(payments.settings), show=ignore))
    assert [violation for report in reports for violation in report.violations] == []
    assert any(report.in_flight for report in reports)
    assert any(report.pending for report in reports)
    assert reports[-1].in_flight == reports[-1].pending == 0
    assert len({report.counts["results"] for report in reports}) > 2


def test_what_is_journalled_but_not_published_yet_is_no_violation() -> None:
    async def record() -> Recording:
        async with PaymentsTestbed(opening_balance=OPENING) as payments:
            for number in range(8):
                await payments.send(f"p{number}", MAKE)
            payments.produce("payments.commands", b"p1", b"{oops")
            await payments.quiet()
            return Recording.of(payments)

    run = asyncio.run(record())
    assert run.audit().violations == []
    for topic in ("payments.results", "accounts.ledger", "payments.dead-letters"):
        last = {record.partition: record for record in run.records[topic]}
        for lost in last.values():
            run.remove(lost)  # As after a crash between the journal and the outputs.
    report = run.audit()
    assert report.violations == []
    assert report.in_flight == 0
