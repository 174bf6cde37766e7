"""Records of other programs on journals: found, undone by ``payments journal repair``, or rebuilt.

Of the same kind: a tombstone over a row, a checkpoint's slot overwritten, garbage as a row, also in
a transaction that was aborted. The journals are then deleted and rebuilt, as where a repair can't
help.
"""

import asyncio

from aiokafka import AIOKafkaProducer

from exactstage.partitioner import partition_of
from payments.settings import Settings
from tests.broker.client import Client, WorkerProcess
from tests.broker_fixture import Installations
from tools.chaos.operator import Done

from .operator import fails, payments, produce, without_workers

MAKE = {"type": "make", "account": "abc", "amount": 100}
NEEDS_REBUILD = 3


async def forgets_the_payment(settings: Settings, worker: WorkerProcess) -> None:
    """Remove the payment's row by a tombstone like a worker's, but for the batch that it is in."""
    journal = settings.changelog("payments")
    partition = partition_of(b"p", settings.partitions)
    await produce(settings, journal, partition, b"p", None, idempotent=True)
    assert "payments journal repair" in await fails(worker)
    await without_workers(settings)
    done = await payments(settings, "journal", "repair", "--yes")
    assert done.code == 0, done


async def damaged(settings: Settings) -> int:
    """Write foreign records to the payments journal of one partition; return the partition."""
    journal = settings.changelog("payments")
    partition = partition_of(b"p", settings.partitions)
    await produce(settings, journal, partition, b"foo", b"garbage")
    await produce(settings, journal, partition, b"\0foo", b"garbage")
    await produce(settings, journal, partition, b"p", None)
    await produce(settings, journal, partition, b"\x001", b"garbage")
    async with AIOKafkaProducer(
        **settings.connection(), transactional_id=f"{settings.app_id}-other"
    ) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(journal, b"garbage", key=b"aborted", partition=partition)
        await producer.abort_transaction()
    return partition


async def test_foreign_records_are_undone_and_lost_journals_are_rebuilt(
    installations: Installations, kcat: str
) -> None:
    settings = await installations.make(opening_balance=1000, session_timeout_seconds=6)
    worker = await WorkerProcess(settings).start()
    try:
        async with Client(settings) as client:
            await client.send("p", MAKE)
            assert await worker.stop() == 0
            await forgets_the_payment(settings, worker)
            partition = await damaged(settings)
            assert "payments journal repair" in await fails(worker)
            await without_workers(settings)
            dry, inspected = await asyncio.gather(
                payments(settings, "journal", "repair", "--json"),
                payments(settings, "journal", "inspect", "--json"),
            )
            assert dry.code == 0, dry
            [found] = dry.objects
            # With the one that is repaired: it is there until compaction.
            assert (found["partition"], len(found["foreign"])) == (partition, 6)
            assert sum(each["foreign_records"] for each in inspected.objects) == 6
            doctor = await payments(settings, "doctor", "--json")
            assert doctor.code == 2
            problems = [each for each in doctor.objects if each["level"] == "problem"]
            assert [each["what"] for each in problems] == ["foreign record"] * 5
            done = await payments(settings, "journal", "repair", "--yes")
            assert done.code == 0, done
            await has_no_foreign_records_left(settings)
            await worker.start()
            assert (await client.send("p", MAKE))["replayed"]
            await worker.kill()
            await without_workers(settings)
            await rebuilt(settings, kcat)
            await worker.start()
            assert (await client.send("p", MAKE))["replayed"]
            await client.send("q", MAKE)
            assert await worker.stop() == 0
    finally:
        await worker.kill()
        worker.log.unlink()
    verified = await payments(settings, "verify")
    assert verified.code == 0, verified.out


async def has_no_foreign_records_left(settings: Settings) -> None:
    """Until compaction removes what was undone, it is shown and is no problem."""
    doctor, again = await asyncio.gather(
        payments(settings, "doctor", "--json"), payments(settings, "journal", "repair", "--json")
    )
    assert not [each for each in doctor.objects if each["level"] == "problem"], doctor
    [found] = again.objects
    assert (found["tombstones"], found["restored"], found["needs_rebuild"]) == ([], [], [])


async def rebuilt(settings: Settings, kcat: str) -> Done:
    """Rebuild the journals in place; look at one with kcat."""
    refused = await payments(settings, "rebuild", "--yes")
    assert refused.code == 1
    assert "journals are not empty" in refused.err
    done = await payments(settings, "rebuild", "--replace", "--yes")
    assert done.code == 0, done
    journal = settings.changelog("accounts")
    process = await asyncio.create_subprocess_exec(
        *(kcat, "-C", "-e", "-q", "-b", settings.brokers, "-t", journal, "-f", "%k %s\\n"),
        stdout=asyncio.subprocess.PIPE,
    )
    shown, _ = await process.communicate()
    assert b'abc {"balance":900,"sequence":2,"currency":"EUR"}' in shown
    return done
