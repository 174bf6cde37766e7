"""Authorize, capture, void and refund through the client, with the application behind it.

Of the same kind: ``tests/domain`` has every order of messages, ``tests/agents/test_holds.py`` the
timer, ``tests/client/test_docs.py`` the lines of docs/client.md.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from payments.client import InvalidCommand, Outcome, PaymentsClient, Reason, Result
from payments.testing import PaymentsTestbed

NOTE = {"order": "7"}


@pytest.fixture
async def testbed() -> AsyncIterator[PaymentsTestbed]:
    async with PaymentsTestbed(opening_balance=1000) as running:
        yield running


@pytest.fixture
async def client(testbed: PaymentsTestbed) -> AsyncIterator[PaymentsClient]:
    async with testbed.client() as opened:
        yield opened


def amounts(result: Result) -> tuple[int | None, ...]:
    return result.authorized, result.captured, result.refunded, result.held


async def test_a_payment_is_authorized_captured_in_parts_and_refunded(
    client: PaymentsClient,
) -> None:
    held = await client.authorize("p1", account="abc", amount=100, hold_seconds=60, metadata=NOTE)
    assert (held.outcome, held.type, amounts(held)) == (
        Outcome.AUTHORIZED,
        "authorize",
        (100, 0, 0, 100),
    )
    assert (held.hold_expires, held.metadata) == ("2026-01-01T00:01:00.000Z", NOTE)
    first = await client.capture("p1", capture="c1", amount=60, final=False)
    assert (first.outcome, first.part, amounts(first)) == (
        Outcome.CAPTURED,
        "c1",
        (100, 60, 0, 40),
    )
    last = await client.capture("p1", amount=10)
    assert (last.part, last.state, amounts(last)) == ("final", "completed", (100, 70, 0, 0))
    back = await client.refund("p1", refund="r1", amount=20)
    assert (back.outcome, back.part, amounts(back)) == (Outcome.REFUNDED, "r1", (100, 70, 20, 0))
    rest = await client.refund("p1", refund="r2")
    assert amounts(rest) == (100, 70, 70, 0)
    assert (await client.get("p1")).metadata == NOTE


async def test_what_is_sent_again_moves_nothing_again(
    client: PaymentsClient, testbed: PaymentsTestbed
) -> None:
    for replayed in (False, True):
        made = await client.authorize("p1", account="abc", amount=100, metadata=NOTE)
        part = await client.capture("p1", capture="c1", amount=60, final=False)
        rest = await client.capture("p1")
        back = await client.refund("p1", refund="r1", amount=20)
        assert [one.replayed for one in (made, part, rest, back)] == [replayed] * 4
        assert [one.part_amount for one in (made, part, rest, back)] == [None, 60, 40, 20]
    assert testbed.ledger("abc")[-1].balance == 920
    other = await client.refund("p1", refund="r1", amount=21)
    assert (other.outcome, other.reason) == (Outcome.REJECTED, Reason.DIFFERENT_AMOUNT)
    assert (other.part, other.part_amount) == ("r1", None)


async def test_a_void_releases_what_is_held_and_keeps_what_was_captured(
    client: PaymentsClient,
) -> None:
    for payment in ("whole", "part"):
        await client.authorize(payment, account="abc", amount=100)
    await client.capture("part", capture="c1", amount=60, final=False)
    whole, part = await client.void("whole"), await client.void("part")
    assert (whole.outcome, whole.reason, whole.held) == (Outcome.CANCELLED, Reason.VOIDED, 0)
    assert (part.outcome, amounts(part)) == (Outcome.VOIDED, (100, 60, 0, 0))
    before = await client.void("early")
    assert (before.outcome, before.reason) == (Outcome.CANCELLED, Reason.PREVENTED)
    assert (await client.authorize("early", account="abc", amount=1)).outcome == "cancelled"


@pytest.mark.parametrize("type_", ["make", "deposit"])
async def test_metadata_of_a_make_or_deposit_is_on_its_results_and_entries(
    client: PaymentsClient, testbed: PaymentsTestbed, type_: str
) -> None:
    result = await getattr(client, type_)("p1", account="abc", amount=10, metadata=NOTE)
    assert (result.outcome, result.metadata) == (Outcome.COMPLETED, NOTE)
    assert testbed.ledger("abc")[-1].metadata == NOTE
    plain = await getattr(client, type_)("p2", account="abc", amount=10, metadata={})
    assert plain.outcome is Outcome.COMPLETED


async def test_the_worker_s_rules_are_checked_before_anything_is_sent(
    client: PaymentsClient, testbed: PaymentsTestbed
) -> None:
    number: Any = "5"
    for call, field in (
        (client.authorize("p", account="abc", amount=1, hold_seconds=0), "hold_seconds"),
        (client.authorize("p", account="abc", amount=0), "amount"),
        (client.make("p", account="abc", amount=1, metadata={"a": number * 5000}), "metadata"),
        (client.capture("p", final=False), "capture"),
        (client.capture("p", capture=""), "capture"),
        (client.capture("p", amount=number), "amount"),
        (client.refund("p", refund=" r"), "refund"),
        (client.refund("p", refund="r", amount=-1), "amount"),
    ):
        with pytest.raises(InvalidCommand) as caught:
            await call
        assert caught.value.field == field
    assert testbed.records("payments.commands") == []


async def test_calls_are_answered_by_their_result_and_never_by_a_notice(
    client: PaymentsClient, testbed: PaymentsTestbed
) -> None:
    """A capture finds that the hold has ended: the notice of that comes before its own answer."""
    await client.authorize("p1", account="abc", amount=100, hold_seconds=60)
    watch = client.watch("p1")
    testbed.clock.advance(60)
    late = await client.capture("p1")
    assert (late.type, late.outcome, late.reason) == (
        "capture",
        Outcome.REJECTED,
        Reason.HOLD_EXPIRED,
    )
    notice = await anext(watch)
    assert (notice.type, notice.command, notice.outcome) == ("lapse", None, Outcome.LAPSED)
    assert (await anext(watch)).command == late.command


async def test_submitted_and_resumed_commands_may_be_of_any_type(client: PaymentsClient) -> None:
    await client.authorize("p1", account="abc", amount=100)
    mark = await client.mark("p1")
    future = await client.submit("p1", {"type": "capture", "amount": 60, "id": "mine"})
    assert (await future).outcome is Outcome.CAPTURED
    found = await client.resume("p1", "mine", mark)
    assert found is not None
    assert (await found).captured == 60


async def test_captures_at_once_take_no_more_than_is_held(
    client: PaymentsClient, testbed: PaymentsTestbed
) -> None:
    await client.authorize("p1", account="abc", amount=100)
    results = await asyncio.gather(
        *(client.capture("p1", capture=f"c{n}", amount=30, final=False) for n in range(9))
    )
    outcomes = [result.outcome for result in results]
    assert outcomes.count(Outcome.CAPTURED) == 3
    assert {one.reason for one in results if one.outcome is Outcome.REJECTED} == {
        Reason.OVER_CAPTURE
    }
    last = testbed.ledger("abc")[-1]
    assert (last.balance, last.held, last.available) == (910, 10, 900)
