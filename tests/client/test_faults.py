"""The client behind a bad line: what is tried again, what is given up, what the caller hears."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from exactstage.log import TopicPartition
from payments.client import (
    BrokersUnavailable,
    ClientClosed,
    DeadlineExceeded,
    Overloaded,
    PaymentsClient,
)
from payments.client.calls import PAYMENT_IN_DOUBT, Call, expire
from payments.client.sender import PartitionQueue
from payments.domain.results import Outcome
from payments.testing import PaymentsTestbed

from .faults import LOST, NOT_SENT, REFUSED, FaultyTransport

SOON = 0.1
LATER = 2.0
"""A deadline before which something must happen, on a busy machine too."""
COMMANDS = "payments.commands"


@pytest.fixture
async def testbed() -> AsyncIterator[PaymentsTestbed]:
    async with PaymentsTestbed(opening_balance=1000, client_max_calls=50) as running:
        yield running


@pytest.fixture
def transport(testbed: PaymentsTestbed) -> FaultyTransport:
    return FaultyTransport(testbed.log)


@pytest.fixture
async def client(
    testbed: PaymentsTestbed, transport: FaultyTransport
) -> AsyncIterator[PaymentsClient]:
    async with PaymentsClient(settings=testbed.settings, transport=transport) as opened:
        yield opened


async def make(client: PaymentsClient, number: int = 1, seconds: float = 10) -> str:
    result = await client.make(f"pay-{number}", account="abc", amount=1, deadline_seconds=seconds)
    return result.outcome


@pytest.mark.parametrize("stored", [True, False])
async def test_a_batch_whose_acknowledgement_was_lost_is_in_the_log_once(
    client: PaymentsClient, transport: FaultyTransport, testbed: PaymentsTestbed, stored: bool
) -> None:
    transport.stores_before_it_fails = stored
    transport.faults = [LOST, LOST]
    assert await make(client) is Outcome.COMPLETED
    assert len(testbed.records(COMMANDS)) == 1


async def test_a_result_ends_a_call_whose_append_is_still_in_doubt(
    client: PaymentsClient, transport: FaultyTransport
) -> None:
    transport.stores_before_it_fails = True
    transport.fault = LOST
    assert await make(client) is Outcome.COMPLETED


async def test_a_command_that_may_have_arrived_exceeds_its_deadline(
    client: PaymentsClient, transport: FaultyTransport
) -> None:
    transport.fault = LOST
    with pytest.raises(DeadlineExceeded, match="may still be carried out"):
        await make(client, seconds=SOON)
    transport.fault = None
    assert await make(client, 2) is Outcome.COMPLETED, "its batch is given up"
    assert await make(client, 1) is Outcome.COMPLETED, "and the same command may be sent again"


async def test_a_command_that_was_never_sent_says_so_and_is_not_sent_later(
    client: PaymentsClient, transport: FaultyTransport, testbed: PaymentsTestbed
) -> None:
    transport.fault = NOT_SENT
    with pytest.raises(BrokersUnavailable, match="was not sent"):
        await make(client, seconds=SOON)
    transport.fault = None
    assert await make(client, 2) is Outcome.COMPLETED
    assert [record.key for record in testbed.records(COMMANDS)] == [b"pay-2"]


async def test_calls_wait_for_a_leader(client: PaymentsClient, transport: FaultyTransport) -> None:
    transport.leaderless = True
    call = asyncio.create_task(make(client))
    with pytest.raises(BrokersUnavailable):
        await make(client, 2, seconds=SOON)
    assert not client.healthy()
    transport.leaderless = False
    assert await call is Outcome.COMPLETED
    assert client.healthy()


async def test_a_refused_command_fails_at_once(
    client: PaymentsClient, transport: FaultyTransport
) -> None:
    transport.faults = [REFUSED]
    with pytest.raises(BrokersUnavailable, match="PermissionError"):
        await make(client)
    assert await make(client) is Outcome.COMPLETED


async def test_a_call_that_has_ended_is_not_sent_however_soon_a_batch_is_made(
    transport: FaultyTransport,
) -> None:
    """Its caller is told that it was not sent, before he has had a turn to take it back."""
    loop = asyncio.get_running_loop()
    queue = PartitionQueue(TopicPartition(COMMANDS, 0), await transport.new_writer())
    calls = [Call(b"p", 0, f"c{n}", loop.create_future()) for n in range(3)]
    queue.waiting = dict.fromkeys(calls)
    expire(calls[1], PAYMENT_IN_DOUBT)
    sealed = queue.seal(transport)
    assert len(sealed.records) == 2
    assert not calls[1].sent
    with pytest.raises(BrokersUnavailable, match="was not sent"):
        await calls[1].answer
    queue.stored()
    last = Call(b"p", 0, "c4", loop.create_future())
    queue.waiting = {last: None}
    last.answer.cancel()
    assert queue.seal(transport) is None
    assert not queue.waiting


async def test_a_closed_client_says_of_each_call_whether_it_may_have_been_sent(
    testbed: PaymentsTestbed, transport: FaultyTransport
) -> None:
    transport.fault = LOST
    async with PaymentsClient(settings=testbed.settings, transport=transport) as client:
        sent = asyncio.ensure_future(make(client))
        await transport.trying.wait()
        transport.leaderless = True
        unsent = asyncio.ensure_future(client.make("other", account="abc", amount=1))
        await asyncio.sleep(0)
    with pytest.raises(ClientClosed, match="may still be carried out"):
        await sent
    with pytest.raises(ClientClosed, match="was not sent"):
        await unsent


async def test_more_calls_than_the_limit_are_refused_and_the_others_go_on(
    client: PaymentsClient, transport: FaultyTransport
) -> None:
    transport.held = asyncio.Event()
    calls = [asyncio.create_task(make(client, number)) for number in range(50)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await make(client, 50)
    transport.held.set()
    assert set(await asyncio.gather(*calls)) == {Outcome.COMPLETED}
    assert await make(client, 51) is Outcome.COMPLETED


async def test_what_waits_while_a_request_is_under_way_shares_the_next_one(
    client: PaymentsClient, transport: FaultyTransport
) -> None:
    transport.held = asyncio.Event()
    first = [asyncio.create_task(client.get("pay-1")) for _ in range(5)]
    await transport.trying.wait()
    others = [asyncio.create_task(client.get("pay-1")) for _ in range(20)]
    await asyncio.sleep(0)
    transport.held.set()
    await asyncio.gather(*first, *others)
    assert transport.sizes == [5, 20]


async def test_a_batch_under_way_is_not_sent_to_the_next_leader_as_well(
    client: PaymentsClient, transport: FaultyTransport, testbed: PaymentsTestbed
) -> None:
    transport.held = asyncio.Event()
    first = asyncio.create_task(client.get("pay-1"))
    await transport.trying.wait()
    transport.node = 1
    second = asyncio.create_task(client.get("pay-1"))
    for _ in range(5):
        await asyncio.sleep(0)
    assert transport.sizes == [1]
    transport.held.set()
    await asyncio.gather(first, second)
    assert transport.sizes == [1, 1]
    assert len(testbed.records(COMMANDS)) == 2


async def test_cancelled_callers_leave_nothing_behind(
    client: PaymentsClient, transport: FaultyTransport, testbed: PaymentsTestbed
) -> None:
    transport.leaderless = True
    calls = [asyncio.create_task(make(client, number)) for number in range(50)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert len(client._calls) == 0
    assert not client._calls.by_payment
    assert not client._calls._deadlines._buckets
    transport.leaderless = False
    assert await make(client, 99) is Outcome.COMPLETED
    assert [record.key for record in testbed.records(COMMANDS)] == [b"pay-99"]


async def test_closing_ends_the_calls_under_way_and_leaves_no_task(
    testbed: PaymentsTestbed, transport: FaultyTransport
) -> None:
    before = asyncio.all_tasks()
    transport.leaderless = True
    async with PaymentsClient(settings=testbed.settings, transport=transport) as client:
        call = asyncio.create_task(make(client))
        watch = client.watch("pay-1")
        await asyncio.sleep(0)
    with pytest.raises(ClientClosed):
        await call
    assert [result async for result in watch] == []
    assert asyncio.all_tasks() == before
    with pytest.raises(ClientClosed):
        await make(client)


async def test_without_brokers_a_client_that_does_not_wait_starts_and_its_calls_fail(
    testbed: PaymentsTestbed, transport: FaultyTransport
) -> None:
    transport.away = True
    with pytest.raises(BrokersUnavailable, match="no connection to Kafka"):
        await PaymentsClient(
            settings=testbed.settings, transport=transport, connect_seconds=SOON
        ).__aenter__()
    waiting = PaymentsClient(settings=testbed.settings, transport=transport, connect_seconds=0)
    async with waiting as client:
        assert not client.healthy()
        with pytest.raises(BrokersUnavailable):
            await make(client, seconds=SOON)
        transport.away = False
        assert await make(client) is Outcome.COMPLETED
        assert client.healthy()


async def test_a_read_of_accounts_tells_brokers_away_from_a_deadline(
    client: PaymentsClient, transport: FaultyTransport
) -> None:
    await make(client)
    transport.away = True
    with pytest.raises(BrokersUnavailable):
        await client.account("abc", deadline_seconds=LATER)
    transport.away = False
    held = await client.account("abc")
    assert held is not None
    assert held.balance == 999


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
async def test_a_deadline_is_a_positive_number(client: PaymentsClient, seconds: float) -> None:
    with pytest.raises(ValueError, match="deadline_seconds"):
        await make(client, seconds=seconds)


async def test_after_a_command_for_an_account_the_advice_is_to_read_the_account_first(
    client: PaymentsClient, transport: FaultyTransport
) -> None:
    """A late repeat of an unfreeze would end a freeze that someone else has set since."""
    transport.fault = LOST
    commands = client.account_commands
    with pytest.raises(DeadlineExceeded) as in_doubt:
        await commands.send("abc", {"type": "unfreeze"}, deadline_seconds=SOON)
    assert str(in_doubt.value).endswith(
        "may still be carried out: read the account first, and send it again only if no one else "
        "has changed it since"
    )
    with pytest.raises(DeadlineExceeded, match="send it again, unchanged, to get its result"):
        await make(client, seconds=SOON)
