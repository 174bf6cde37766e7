"""Transfers that were deleted before their receiver read them, on a broker: refused, and settled.

In memory, with the answers, cut logs and receivers that live: ``test_messages_gone.py``.
"""

import asyncio
from contextlib import AsyncExitStack

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Int16, Int32, Schema, String

from exactstage.kafka import KafkaLog
from exactstage.partitioner import partition_of
from payments.settings import Settings
from tests.broker.client import LIMIT_SECONDS, Client, WorkerProcess
from tests.broker_fixture import Installations

from .operator import delete_records, fails, payments, without_workers

TEXT = String("utf-8")


def name(kind: str, partition: int) -> str:
    """Return a name in one of two partitions."""
    names = (f"{kind}-{each}" for each in range(1000))
    return next(each for each in names if partition_of(each.encode(), 2) == partition)


async def end_of(settings: Settings, topic: str, partition: int) -> int:
    """Wait until a partition holds something; return its end."""
    at = TopicPartition(topic, partition)
    async with (
        AIOKafkaConsumer(**settings.connection()) as consumer,
        asyncio.timeout(LIMIT_SECONDS),
    ):
        while not (ends := await consumer.end_offsets([at]))[at]:
            continue
    return int(ends[at])


class _Left(Response):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 13
    API_VERSION = 3
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("members", Array(("member", TEXT), ("instance", TEXT), ("error_code", Int16))),
    )


class _LeaveGroup3(RequestStruct):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 13
    API_VERSION = 3
    RESPONSE_TYPE = _Left
    SCHEMA = Schema(("group", TEXT), ("members", Array(("member", TEXT), ("instance", TEXT))))


class _LeaveGroup(Request[_LeaveGroup3]):  # type: ignore[misc] # aiokafka has no types
    API_KEY = 13

    def __init__(self, *values: object) -> None:
        self._values = values

    def build(self, request_struct_class: type[_LeaveGroup3]) -> _LeaveGroup3:
        """Return the request in the format of its version."""
        return request_struct_class(*self._values)


async def forget_members(settings: Settings, *instances: str) -> None:
    """Let static members leave: they would stay for the session timeout (KIP-345)."""
    log = KafkaLog(settings.connection())
    await log.start([])
    try:
        node = log.connection.client.get_random_node()
        members = [("", instance) for instance in instances]
        answer = await log.connection.send(node, _LeaveGroup(settings.app_id, members))
        assert answer.error_code == 0
    finally:
        await log.close()


async def test_deleted_transfers_are_refused_and_settled_by_the_runbook(
    installations: Installations,
) -> None:
    """The receiver keeps its partition while it is away: its sender sends through the log."""
    settings = await installations.make(
        partitions=2, opening_balance=1000, session_timeout_seconds=60, request_timeout_seconds=60
    )
    transfers = settings.topics.transfers
    sender, receiver = (
        WorkerProcess(settings.model_copy(update={"instance_id": f"worker-{number}"}))
        for number in range(2)
    )
    async with AsyncExitStack() as stack:
        for worker in (sender, receiver):
            stack.callback(worker.log.unlink)
            stack.push_async_callback(worker.kill)
            await worker.start()
        await sender.until(lambda: "worker ready: 1 part" in sender.log.read_text(), "keeps both")
        there = next(
            p for p in range(2) if f"took over partitions [{p}]" in receiver.log.read_text()
        )
        make = {"type": "make", "account": name("account", there), "amount": 100}
        client = await stack.enter_async_context(Client(settings))
        assert await receiver.stop() == 0
        waiting = await client.post(name("payment", 1 - there), make)
        end = await end_of(settings, transfers, there)
        await delete_records(settings, transfers, {there: end})
        line = await fails(receiver)
        lost = f"continues at {transfers}/{there}/0, but the broker has {end} to {end} there"
        assert lost in line
        assert sender.process.poll() is None, sender.log.read_text()
        assert await sender.stop() == 0
        await forget_members(settings, "worker-0", "worker-1")
        await without_workers(settings)
        dry_run = await payments(settings, "rebuild", "--replace")
        assert dry_run.code == 0, dry_run
        done = await payments(settings, "rebuild", "--replace", "--yes")
        assert done.code == 0, done
        await sender.start()
        await client.until(lambda: waiting in client.results)
        [result] = client.results[waiting]
        assert (result["outcome"], result["replayed"]) == ("completed", False)
        assert await sender.stop() == 0
    verified = await payments(settings, "verify")
    assert verified.code == 0, verified.out
