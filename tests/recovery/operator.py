"""An operator: runs the command line as a process, and does damage with Kafka's own tools."""

import asyncio
import sys
from collections.abc import Mapping

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.records_to_delete import RecordsToDelete

from payments.recovery.offline import members
from payments.settings import Settings
from tests.broker.client import WorkerProcess
from tests.broker_fixture import process_environment
from tools.chaos.operator import Done

FAIL_STOP = 70
LIMIT_SECONDS = 120.0


async def payments(settings: Settings, *arguments: str) -> Done:
    """Run ``payments`` with these settings."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "payments.cli", *arguments),
        env=process_environment(settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def without_workers(settings: Settings) -> None:
    """Wait until the group is empty: who ended by itself stays for its session timeout."""
    async with asyncio.timeout(LIMIT_SECONDS):
        while await members(settings):
            continue


async def delete_records(settings: Settings, topic: str, before: Mapping[int, int]) -> None:
    """Delete what is before these offsets, by partition: as kafka-delete-records does."""
    admin = AIOKafkaAdminClient(**settings.connection())
    await admin.start()
    try:
        await admin.delete_records(
            {TopicPartition(topic, p): RecordsToDelete(offset) for p, offset in before.items()}
        )
    finally:
        await admin.close()


async def add_partition(settings: Settings, topic: str) -> None:
    """Add one to a topic in place, as ``kafka-topics.sh --alter`` does."""
    admin = AIOKafkaAdminClient(**settings.connection())
    await admin.start()
    try:
        await admin.create_partitions({topic: NewPartitions(settings.partitions + 1)})
    finally:
        await admin.close()


async def produce(
    settings: Settings,
    topic: str,
    partition: int,
    key: bytes | None,
    value: bytes | None,
    *,
    idempotent: bool = False,
) -> None:
    """Write a record that no stage wrote, as kcat does, or as Java's client does by default."""
    producer = AIOKafkaProducer(**settings.connection(), enable_idempotence=idempotent)
    await producer.start()
    try:
        await producer.send_and_wait(topic, key=key, value=value, partition=partition)
    finally:
        await producer.stop()


async def fails(worker: WorkerProcess) -> str:
    """Start a worker that ends with exit code 70; return its last line."""
    worker.spawn()
    assert await worker.ended() == FAIL_STOP, worker.log.read_text()[-2000:]
    return [line for line in worker.log.read_text().splitlines() if "fail-stop" in line][-1]
