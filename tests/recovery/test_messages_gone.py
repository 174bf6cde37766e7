"""Messages between the stages that are gone while their sender lives, and the way back.

The sender has published them, so it does not send them again; only a rebuild settles the payments
that wait for them. Of the same kind: inputs that were cut while no worker ran
(``test_lost_ends.py``), commands (``test_skip_on_broker.py``); on a broker, with the commands of
docs/runbook.md: ``test_messages_gone_on_broker.py``.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from exactstage.errors import PositionLost
from exactstage.log import TopicPartition
from exactstage.partitioner import partition_of

from .rig import LIMIT_SECONDS, Installation, Worker

SENDER, RECEIVER = 0, 1
"""Partitions: of the payments, and of the account."""


def name(kind: str, partition: int, number: int = 0) -> str:
    """Return a name in a partition."""
    names = (f"{kind}-{each}" for each in range(1000))
    return [each for each in names if partition_of(each.encode(), 2) == partition][number]


ACCOUNT = name("account", RECEIVER)
MAKE = {"type": "make", "account": ACCOUNT, "amount": 100}


async def until_written(log: Installation, at: TopicPartition, end: int) -> None:
    async with asyncio.timeout(LIMIT_SECONDS):
        while log.end(at) < end:
            await log.grown(0.01)


@asynccontextmanager
async def living(log: Installation, partition: int) -> AsyncIterator[None]:
    """Run a worker for one partition until the block ends; it must not have ended by itself."""
    done = asyncio.Event()
    worker = Worker(log, partitions=[partition], until=done.is_set)
    running = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        done.set()
        ended = await running
    assert ended is None, ended


async def installed() -> Installation:
    """Return an installation whose partitions were all owned before."""
    log = Installation(partitions=2)
    assert await log.work() is None
    return log


async def settle(log: Installation) -> None:
    """Take the way back of docs/runbook.md, and check that money moved once for each payment."""
    await log.rebuild(replace=True)
    assert await log.work() is None
    await log.require_clean()
    results = {result["payment"]: result["outcome"] for result in log.results()}
    assert len(results) == len(log.results())
    assert set(results.values()) == {"completed"}
    [last] = [each for each in log.entries() if each["account"] == ACCOUNT][-1:]
    assert last["balance"] == 1000 - 100 * len(results)


async def test_transfers_deleted_unread_end_their_receiver_and_not_their_sender() -> None:
    log = await installed()
    at = TopicPartition("payments.transfers", RECEIVER)
    async with living(log, SENDER):
        log.command(name("payment", SENDER), MAKE)
        await until_written(log, at, 1)
        log.partition(at).delete_before(1)
        failure = await Worker(log, partitions=[RECEIVER]).run()
        assert isinstance(failure, PositionLost)
        assert f"continues at {at}/0, but the broker has 1 to 1 there" in str(failure)
        log.command(name("payment", SENDER, 1), MAKE)
        await until_written(log, at, 2)
    assert isinstance(await log.work(), PositionLost), "whoever starts is refused"
    await settle(log)


async def test_answers_deleted_unread_are_settled_too() -> None:
    """The money has moved, and the payment waits for the answer on the inbox."""
    log = await installed()
    inbox = TopicPartition("payments.inbox", SENDER)
    log.command(name("payment", SENDER), MAKE)
    assert await Worker(log, partitions=[SENDER]).run() is None
    async with living(log, RECEIVER):
        await until_written(log, inbox, 1)
        log.partition(inbox).delete_before(1)
        failure = await Worker(log, partitions=[SENDER]).run()
        assert isinstance(failure, PositionLost)
        assert f"continues at {inbox}/0, but the broker has 1 to 1 there" in str(failure)
    await settle(log)


async def test_a_receiver_that_lives_ends_where_its_next_message_was_deleted() -> None:
    log = await installed()
    at = TopicPartition("payments.transfers", RECEIVER)
    worker = Worker(log, partitions=[RECEIVER], until=lambda: False)
    running = asyncio.create_task(worker.run())
    async with living(log, SENDER):
        log.command(name("payment", SENDER), MAKE)
        await until_written(log, TopicPartition("payments.inbox", SENDER), 1)
        partition = log.partition(at)
        partition.delete_before(partition.end)  # What it has handled is nothing that it needs.
        log.command(name("payment", SENDER, 1), MAKE)
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(log.results()) < 2:
                await log.grown(0.01)
        log.produce(at, b"gone", b"{}")
        partition.delete_before(partition.end)
        failure = await running
    assert isinstance(failure, PositionLost)
    await settle(log)


async def test_a_sender_that_lives_through_a_cut_of_its_transfers_ends_and_nothing_moves_twice(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The end of the log was lost by the broker: an unclean election, a disk without power."""
    log = await installed()
    at = TopicPartition("payments.transfers", RECEIVER)
    done = asyncio.Event()
    sender = asyncio.create_task(Worker(log, partitions=[SENDER], until=done.is_set).run())
    for number in range(3):
        log.command(name("payment", SENDER, number), MAKE)
        await until_written(log, at, number + 1)
    log.partition(at).truncate(1)
    log.command(name("payment", SENDER, 3), MAKE)
    failure = await sender
    assert failure is not None
    assert f"an append to {at} was refused: sequence" in str(failure)
    assert "acknowledged records are missing there" in str(failure)
    with caplog.at_level(logging.WARNING):
        assert await log.work() is None
    told = [r.message for r in caplog.records if f"for {at}, but" in r.message]
    assert not told, "the last message is republished, so the receiver lacks none at its end"
    report = await log.audit()
    assert (report.ok, report.pending) == (True, 2)
    await settle(log)
