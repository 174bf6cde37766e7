"""More partitions by a copy, and topics that were made anew.

Of the same kind: fewer partitions, and another prefix with the same number; partitions that were
added to one topic in place, where commands wait that no worker reads; transfers made anew.
New results or a new ledger can't be adopted (``payments rebuild`` is for these). What answered
commands that were deleted with their topic is no violation; new ones may have the same ids.
"""

import json

from payments.settings import Settings
from payments.topics.cluster import cluster
from tests.broker.client import Client, WorkerProcess
from tests.broker_fixture import Installations

from .operator import add_partition, fails, payments, produce, without_workers

MAKE = {"type": "make", "account": "abc", "amount": 1}
PARTITIONS = 6


async def test_an_installation_goes_on_with_more_partitions_and_adopts_a_new_topic(
    installations: Installations,
) -> None:
    settings = await installations.make(opening_balance=1000, session_timeout_seconds=6)
    prefix, app = f"{settings.topic_prefix}more.", f"{settings.app_id}-more"
    new = settings.model_copy(
        update={"partitions": PARTITIONS, "topic_prefix": prefix, "app_id": app}
    )
    move = ("repartition", "--partitions", str(PARTITIONS), "--to-prefix", prefix, "--to-app", app)
    worker = await WorkerProcess(settings).start()
    try:
        async with Client(settings) as client:
            for number in range(40):
                await client.post(f"p{number}", {**MAKE, "account": f"a{number % 7}"})
            await client.answered()
        assert await worker.stop() == 0
        assert (await payments(settings, *move)).code == 0
        installations.adopt(new)
        done = await payments(settings, *move, "--yes")
        assert done.code == 0, done
        assert f"moved by payments repartition; start workers with PAYMENTS_APP_ID {app}" in (
            await fails(worker)
        )
    finally:
        await worker.kill()
        worker.log.unlink()
    await goes_on(new)
    await leaves_added_partitions(installations, new)


async def goes_on(settings: Settings) -> None:
    worker = await WorkerProcess(settings).start()
    try:
        async with Client(settings) as client:
            assert (await client.send("p3", {**MAKE, "account": "a3"}))["replayed"]
            assert not (await client.send("new", {**MAKE, "id": "c-new"}))["replayed"]
            assert await worker.stop() == 0
            topics = [settings.topics.inbox, settings.topics.commands]
            async with cluster(settings) as connected:
                await connected.recreate(topics)
            assert "payments journal adopt" in await fails(worker)
            await without_workers(settings)
            done = await payments(settings, "journal", "adopt", "--yes")
            assert done.code == 0, done
            await worker.start()
            await client.send("newer", {**MAKE, "account": "a1"})
            for number in range(8):
                again = await client.send(f"p{number}", {**MAKE, "account": f"a{number % 7}"})
                assert again["replayed"]
            assert (await client.send("new", {**MAKE, "id": "c-new"}))["replayed"]
            assert await worker.stop() == 0
    finally:
        await worker.kill()
        worker.log.unlink()
    verified = await payments(settings, "verify")
    assert verified.code == 0, verified.out
    assert "whose commands may have been deleted" in verified.out


async def leaves_added_partitions(installations: Installations, settings: Settings) -> None:
    commands, waiting = settings.topics.commands, b"in-an-added-partition"
    await add_partition(settings, commands)
    make = json.dumps({**MAKE, "account": "a2"}).encode()
    await produce(settings, commands, PARTITIONS, waiting, make)
    worker = WorkerProcess(settings)
    assert "all topics need the same number of partitions" in await fails(worker)
    worker.log.unlink()
    verified = await payments(settings, "verify")
    assert (verified.code, "1 offsets of" in verified.out) == (0, True), verified
    prefix, app = f"{settings.topic_prefix}next.", f"{settings.app_id}-next"
    move = ("repartition", "--partitions", "3", "--to-prefix", prefix, "--to-app", app, "--yes")
    new = settings.model_copy(update={"partitions": 3, "topic_prefix": prefix, "app_id": app})
    done = await payments(settings, *move)
    installations.adopt(new)
    assert done.code == 0, done
    worker = await WorkerProcess(new).start()
    try:
        async with Client(new) as client:
            assert (await client.send(waiting.decode(), {"type": "get"}))["state"] == "completed"
        assert await worker.stop() == 0
    finally:
        await worker.kill()
        worker.log.unlink()
    assert (await payments(new, "verify")).code == 0
