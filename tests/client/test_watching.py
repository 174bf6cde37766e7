"""Watches: what they show, when they end, and that nothing of them stays behind."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from payments.client import Overloaded, PaymentsClient, WatchBroken
from payments.client.watching import MAX_UNREAD_RESULTS
from payments.domain.results import Outcome
from payments.testing import PaymentsTestbed

RETENTION_SECONDS, WINDOW_SECONDS = 100.0, 10.0
GET = {"type": "get"}


@pytest.fixture
async def testbed() -> AsyncIterator[PaymentsTestbed]:
    async with PaymentsTestbed(
        opening_balance=1000,
        client_max_calls=2,
        retention_seconds=RETENTION_SECONDS,
        window_seconds=WINDOW_SECONDS,
    ) as running:
        yield running


@pytest.fixture
async def client(testbed: PaymentsTestbed) -> AsyncIterator[PaymentsClient]:
    async with testbed.client() as opened:
        yield opened


async def test_a_watch_shows_the_results_of_its_payment_and_its_expiry(
    client: PaymentsClient, testbed: PaymentsTestbed
) -> None:
    watch = client.watch("pay-1")
    await client.make("pay-1", account="abc", amount=1)
    await client.get("pay-2")
    await testbed.send("pay-1", GET)
    await testbed.advance(RETENTION_SECONDS + WINDOW_SECONDS)
    seen = [await anext(watch) for _ in range(3)]
    assert [result.outcome for result in seen] == [
        Outcome.COMPLETED,
        Outcome.FOUND,
        Outcome.EXPIRED,
    ]
    assert {result.payment for result in seen} == {"pay-1"}
    assert seen[-1].command is None
    assert all(earlier.time <= later.time for earlier, later in pairwise(seen))


async def test_a_watch_that_is_closed_or_dropped_makes_room_for_another(
    client: PaymentsClient,
) -> None:
    first, second = client.watch("pay-1"), client.watch("pay-1")
    with pytest.raises(Overloaded):
        client.watch("pay-2")
    await first.aclose()
    assert [result async for result in first] == []
    del second
    assert not client._watches.by_payment
    third, fourth = client.watch("pay-1"), client.watch("pay-2")
    assert third is not fourth


async def test_a_watcher_that_is_too_slow_is_told_so_after_what_it_was_given(
    client: PaymentsClient, testbed: PaymentsTestbed
) -> None:
    watch = client.watch("pay-1")
    for _ in range(MAX_UNREAD_RESULTS + 1):
        testbed.post("pay-1", GET)
    await testbed.quiet()
    await client.get("pay-1")
    for _ in range(MAX_UNREAD_RESULTS):
        await anext(watch)
    with pytest.raises(WatchBroken, match="too slow"):
        await anext(watch)
    assert not client._watches.by_payment


async def test_a_waiting_watcher_may_be_cancelled_and_go_on(client: PaymentsClient) -> None:
    watch = client.watch("pay-1")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(watch), 0.01)
    await client.get("pay-1")
    assert (await anext(watch)).outcome is Outcome.NOT_FOUND
