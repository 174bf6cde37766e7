"""Old records that the brokers have deleted: what can't be checked is said, and is no violation."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exactstage.log import TopicPartition
from payments.testing import PaymentsTestbed
from payments.verify.findings import Kind

from .recording import CANCEL, MAKE, Recording, settled

PUBLIC = (
    "payments.commands",
    "payments.results",
    "accounts.ledger",
    "payments.dead-letters",
    "accounts.dead-letters",
    "payments.inbox",
)
PARTITIONS = 2


@pytest.fixture(scope="module")
def recorded() -> Recording:
    """Return a run of some days, in which ids are used again; not to be changed."""

    async def run() -> Recording:
        async with PaymentsTestbed(opening_balance=10_000, partitions=PARTITIONS) as payments:
            for number in range(60):
                payment = f"p{number % 7}"
                await payments.send(payment, MAKE, partition=number % 2)
                await payments.advance(1000)
                if number % 3 == 0:
                    await payments.send(payment, CANCEL)
                if number % 5 == 0:
                    await payments.send(payment, b"{oops")
                if number % 8 == 0:
                    payments.produce("payments.commands", None, b"")
                await payments.advance(10_000)
            await payments.send("new", MAKE)
            await settled(payments)
            return Recording.of(payments)

    return asyncio.run(run())


def ends(run: Recording) -> dict[TopicPartition, int]:
    found = {TopicPartition(t, p): 0 for t in PUBLIC for p in range(PARTITIONS)}
    for topic in PUBLIC:
        for record in run.records[topic]:
            found[TopicPartition(*record[:2])] = record.offset + 1
    return found


@pytest.mark.no_cover  # Measured, it would take several times as long.
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_deleted_is_no_violation(recorded: Recording, data: st.DataObject) -> None:
    begins = {
        at: data.draw(st.integers(0, end), label=str(at)) for at, end in ends(recorded).items()
    }
    assert recorded.audit(begins).violations == []


@pytest.mark.parametrize(
    ("topic", "told"),
    [
        ("payments.commands", "results whose commands may have been deleted by retention"),
        ("payments.results", "commands whose results may have been deleted by retention"),
        ("accounts.ledger", "payments whose entries may have been deleted"),
        ("payments.dead-letters", "malformed commands whose dead letters may be deleted"),
    ],
)
def test_what_is_deleted_is_said(recorded: Recording, topic: str, told: str) -> None:
    begins = {at: end // 2 for at, end in ends(recorded).items() if at.topic == topic}
    report = recorded.audit(begins)
    assert report.ok
    assert report.unchecked[told] > 0
    assert told not in recorded.audit().unchecked


def test_entries_are_kept_longer_than_the_results_that_tell_of_them(recorded: Recording) -> None:
    begins = {
        at: end // 2
        for at, end in ends(recorded).items()
        if at.topic in ("payments.commands", "payments.results")
    }
    report = recorded.audit(begins)
    assert report.ok
    assert report.unchecked["entries whose results may have been deleted"] > 0


def test_what_is_left_is_checked_all_the_same(recorded: Recording) -> None:
    begins = {
        at: end // 2
        for at, end in ends(recorded).items()
        if at.topic in ("payments.commands", "payments.results")
    }
    removed = recorded.copy()
    removed.remove(removed.find("payments.results", type="cancel"))
    assert Kind.MISSING_RESULT in removed.audit(begins).by_kind
    twice = recorded.copy()
    twice.post(twice.find("accounts.ledger", payment="new"))
    assert list(twice.audit(begins).by_kind) == [Kind.MONEY_TWICE]
