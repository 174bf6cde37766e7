"""The client on a real broker, with a worker process: load, faults, accounts, and a clean end."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from payments.client import (
    BrokersUnavailable,
    DeadlineExceeded,
    InvalidCommand,
    PaymentsClient,
    PaymentsClientError,
)
from payments.client.commands import MAX_MESSAGE_BYTES
from payments.domain.results import Outcome
from payments.settings import Settings
from tests.broker.client import WorkerProcess, read_all
from tests.broker_fixture import Installations
from tools.dev.local_broker import LocalBroker

OPENING = 100_000
LIMIT_SECONDS = 120.0
"""A busy machine may need more than the default deadline to start a broker."""


@pytest.fixture
async def settings(installations: Installations) -> Settings:
    return await installations.make(
        opening_balance=OPENING, session_timeout_seconds=6, request_timeout_seconds=6
    )


@pytest.fixture
async def worker(settings: Settings) -> AsyncIterator[WorkerProcess]:
    started = WorkerProcess(settings)
    yield await started.start()
    await started.kill()
    # Shown by pytest when the test has failed.
    sys.stdout.write(f"{started.log}:\n{started.log.read_text()[-5000:]}\n")
    started.log.unlink()


class Sockets:
    """The sockets that a test has made; other tests' loops may still close their own meanwhile."""

    def __init__(self) -> None:
        self._made = list[socket.socket]()

    def note(self, made: socket.socket) -> None:
        """Note a socket when it is made."""
        self._made.append(made)

    def open(self) -> int:
        """Return how many of them are open."""
        return sum(made.fileno() != -1 for made in self._made)


@pytest.fixture
def sockets(monkeypatch: pytest.MonkeyPatch) -> Sockets:
    noted = Sockets()

    class Noted(socket.socket):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            noted.note(self)

    monkeypatch.setattr(socket, "socket", Noted)
    return noted


@pytest.mark.kafka39
@pytest.mark.usefixtures("worker")
async def test_make_cancel_and_get_return_their_results_and_nothing_stays_open(
    settings: Settings, sockets: Sockets
) -> None:
    tasks = asyncio.all_tasks()
    async with PaymentsClient(settings.brokers, settings=settings) as client:
        assert (await client.make("pay-1", account="abc", amount=9)).outcome is Outcome.COMPLETED
        assert (await client.cancel("pay-1")).outcome is Outcome.CANCELLED
        assert (await client.get("pay-1")).state == "cancelled"
        assert client.healthy()
        assert await client.account("nobody") is None
        assert sockets.open() > 0
    assert asyncio.all_tasks() == tasks
    assert sockets.open() == 0


@pytest.mark.usefixtures("worker")
async def test_the_largest_headers_arrive_and_larger_ones_fail_alone(settings: Settings) -> None:
    make = {"type": "make", "account": "abc", "amount": 1}
    sizes = (10, MAX_MESSAGE_BYTES - 500, 2_000_000, 9_000_000)
    async with PaymentsClient(settings=settings) as client:
        calls = [client.send(f"with {size}", make, headers=[("h", b"x" * size)]) for size in sizes]
        ended = await asyncio.gather(*calls, return_exceptions=True)
    assert [getattr(it, "outcome", type(it)) for it in ended] == [
        Outcome.COMPLETED,
        Outcome.COMPLETED,
        InvalidCommand,
        InvalidCommand,
    ]


@pytest.mark.usefixtures("worker")
async def test_thousands_of_calls_wait_at_once_and_their_ledger_can_be_read(
    settings: Settings,
) -> None:
    count = 3000
    async with PaymentsClient(settings=settings) as client:
        makes = (client.make(f"pay-{n}", account=f"a{n % 3}", amount=1) for n in range(count))
        results = await asyncio.gather(*makes)
        assert [result.payment for result in results] == [f"pay-{n}" for n in range(count)]
        assert {result.outcome for result in results} == {Outcome.COMPLETED}
        for account in ("a0", "a1", "a2"):
            held = await client.account(account)
            assert held is not None
            assert (held.balance, held.sequence) == (OPENING - count // 3, count // 3 + 1)
            seen: list[int] = []
            while page := await client.entries(account, after=len(seen), limit=400):
                seen += [entry.sequence for entry in page]
            assert seen == list(range(1, count // 3 + 2))
    assert len(await read_all(settings, settings.topics.commands)) == count


@pytest.mark.usefixtures("worker")
async def test_whoever_reads_an_account_after_an_answer_sees_it(settings: Settings) -> None:
    async with (
        PaymentsClient(settings=settings) as payer,
        PaymentsClient(settings=settings) as reader,
    ):
        for number in range(1, 21):
            await payer.make(f"pay-{number}", account="abc", amount=1)
            held = await reader.account("abc")
            assert held is not None
            assert held.balance == OPENING - number
            (last,) = await reader.entries("abc", after=number) or ()
            assert last.payment == f"pay-{number}"


@pytest.mark.usefixtures("worker")
async def test_a_broker_that_restarts_costs_time_and_no_call(
    settings: Settings, local_broker: LocalBroker
) -> None:
    done = 0
    restarted = asyncio.Event()

    async def keep_paying(client: PaymentsClient, name: int) -> None:
        nonlocal done
        number = 0
        while not restarted.is_set() or number < 5:
            result = await client.make(
                f"pay-{name}-{number}", account="abc", amount=1, deadline_seconds=LIMIT_SECONDS
            )
            assert (result.outcome, result.replayed) == (Outcome.COMPLETED, False)
            number += 1
            done += 1

    async with PaymentsClient(settings=settings) as client, asyncio.TaskGroup() as group:
        for name in range(20):
            group.create_task(keep_paying(client, name))
        await client.make("first", account="abc", amount=1, deadline_seconds=LIMIT_SECONDS)
        for fault in (local_broker.kill, local_broker.stop):
            await asyncio.to_thread(fault)
            await asyncio.to_thread(local_broker.start)
            before = done
            await client.make(
                f"after-{fault.__name__}", account="abc", amount=1, deadline_seconds=LIMIT_SECONDS
            )
            assert done >= before
        restarted.set()
    commands = await read_all(settings, settings.topics.commands)
    assert len(commands) == done + 3, "every command is on the topic once"


@pytest.mark.usefixtures("worker")
async def test_a_call_without_brokers_ends_at_its_deadline_and_the_client_recovers(
    settings: Settings, local_broker: LocalBroker
) -> None:
    async with PaymentsClient(settings=settings) as client:
        await client.make("pay-1", account="abc", amount=1, deadline_seconds=LIMIT_SECONDS)
        await asyncio.to_thread(local_broker.kill)
        with pytest.raises(PaymentsClientError):
            await client.make("pay-2", account="abc", amount=1, deadline_seconds=1)
        with pytest.raises(BrokersUnavailable):
            await client.make("pay-3", account="abc", amount=1, deadline_seconds=1)
        with pytest.raises(PaymentsClientError):
            await client.account("abc", deadline_seconds=1)
        assert not client.healthy()
        await asyncio.to_thread(local_broker.start)
        assert (
            await client.make("pay-3", account="abc", amount=1, deadline_seconds=LIMIT_SECONDS)
        ).replayed is False
        assert (
            await client.make("pay-2", account="abc", amount=1, deadline_seconds=LIMIT_SECONDS)
        ).outcome is Outcome.COMPLETED
        held = await client.account("abc", deadline_seconds=LIMIT_SECONDS)
        assert held is not None
        assert held.balance == OPENING - 3
        assert client.healthy()


async def test_without_brokers_entering_fails_and_says_where(
    settings: Settings, sockets: Sockets
) -> None:
    away = PaymentsClient("127.0.0.1:1", settings=settings, connect_seconds=1)
    with pytest.raises(BrokersUnavailable, match=r"127\.0\.0\.1:1 within 1 s"):
        await away.__aenter__()
    async with asyncio.timeout(60):  # A connection that was being made ends a moment later.
        while sockets.open():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def test_missing_topics_are_named_at_once(settings: Settings) -> None:
    elsewhere = settings.model_copy(update={"topic_prefix": "nowhere."})
    with pytest.raises(BrokersUnavailable, match=r"no topic nowhere\.payments\.commands"):
        await PaymentsClient(settings=elsewhere, connect_seconds=60).__aenter__()


@pytest.mark.usefixtures("worker")
async def test_a_broker_that_hangs_leaves_a_command_in_doubt_and_it_is_done_once(
    settings: Settings, local_broker: LocalBroker
) -> None:
    async with PaymentsClient(settings=settings) as client:
        await client.make("pay-1", account="abc", amount=1)
        local_broker.pause()
        try:
            with pytest.raises(DeadlineExceeded, match="may still be carried out"):
                await client.make("pay-2", account="abc", amount=1, deadline_seconds=1)
        finally:
            local_broker.resume()
        assert (await client.make("pay-2", account="abc", amount=1)).outcome is Outcome.COMPLETED
        held = await client.account("abc")
        assert held is not None
        assert held.balance == OPENING - 2
