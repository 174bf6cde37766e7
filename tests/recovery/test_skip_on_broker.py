"""Commands that were deleted unread: the worker says so, and ``payments journal skip`` goes on.

Of the same kind: retention shorter than a downtime (the first offset moves alike), and a position
past the end (refused here, see ``test_skipping``).
"""

import json

from exactstage.partitioner import partition_of
from payments.settings import Settings
from tests.broker.client import Client, WorkerProcess
from tests.broker.test_metrics_on_broker import scrape, total
from tests.broker_fixture import Installations
from tools.dev.ports import HOST, free_ports

from .operator import delete_records, fails, payments, without_workers

MAKE = {"type": "make", "account": "abc", "amount": 100}
DELETED = 5


async def test_deleted_commands_are_given_up_by_name_and_the_worker_goes_on(
    installations: Installations,
) -> None:
    settings = await installations.make(opening_balance=1000, session_timeout_seconds=6)
    topic = settings.topics.commands
    partition = partition_of(b"p", settings.partitions)
    skip = ("journal", "skip", "--topic", topic, "--partition", str(partition), "--lost")
    worker = await WorkerProcess(settings).start()
    try:
        async with Client(settings) as client:
            await client.send("p", MAKE)
            refused = await payments(settings, *skip)
            assert (refused.code, refused.out) == (1, "")
            assert f"consumer group {settings.app_id} has 1 members" in refused.err
            assert await worker.stop() == 0
            nothing = await payments(settings, *skip)
            assert nothing.code == 1
            assert "nothing is lost" in nothing.err
            for _ in range(DELETED + 1):
                await client.post("p", {"type": "get"})
        await delete_records(settings, topic, {partition: 1 + DELETED})
        assert "payments journal skip" in await fails(worker)
        await without_workers(settings)
        dry = await payments(settings, *skip, "--json")
        assert (dry.code, dry.objects[0]["done"]) == (0, False)
        [found] = (
            each
            for each in (await payments(settings, "journal", "inspect", "--json")).objects
            if (each["stage"], each["partition"]) == ("payments", partition)
        )
        assert found["inputs"][0]["lost"] == DELETED
        done = await payments(settings, *skip, "--yes")
        assert done.code == 0
        assert f"skipped: offsets 1 to {DELETED} of {topic}/{partition} (all are gone)" in done.out
        await worker.start()
        async with Client(settings) as client:
            await client.until(lambda: len(client.results) == 2)
            await client.send("q", MAKE)
        assert await worker.stop() == 0
    finally:
        await worker.kill()
        worker.log.unlink()
    listed = await payments(settings, "dead-letters", "list", "--json")
    assert [(letter["reason"], letter["notice"]) for letter in listed.objects] == [
        ("skipped", True)
    ]
    assert " [notice] " in (await payments(settings, "dead-letters", "list")).out
    notice = listed.objects[0]["position"]
    command = ("--key", "p", "--value", json.dumps(MAKE), "--yes")
    again = await payments(settings, "dead-letters", "replay", notice, *command)
    assert (again.code, "it is the notice of payments journal skip" in again.out) == (3, True)
    verified = await payments(settings, "verify")
    assert verified.code == 0, verified.out
    await shared_settings_are_compared(settings)


async def shared_settings_are_compared(settings: Settings) -> None:
    """Doctor, inspect and the next worker tell a setting that is not what it was."""
    changed = settings.model_copy(update={"opening_balance": 2000})
    assert "PAYMENTS_OPENING_BALANCE" not in (await payments(settings, "doctor")).out
    warned = await payments(changed, "doctor")
    assert warned.code == 0
    assert "PAYMENTS_OPENING_BALANCE" in warned.out
    assert "workers decided with 1000 there, here it is 2000" in warned.out
    shown = await payments(settings, "journal", "inspect")
    assert "decided with PAYMENTS_OPENING_BALANCE=1000, PAYMENTS_DEFAULT_CURRENCY=EUR" in shown.out
    update = {"metrics_address": f"{HOST}:{free_ports(1)[0]}"}
    measured = changed.model_copy(update=update)
    worker = await WorkerProcess(measured).start()
    try:
        assert "decided with PAYMENTS_OPENING_BALANCE=1000, this worker" in worker.log.read_text()
        found = await scrape(measured)
        name = "PAYMENTS_OPENING_BALANCE"
        assert total(found["payments_setting_info"], setting=name, value="2000") == 1
        assert total(found["payments_settings_differ"], setting=name) > 0
        assert await worker.stop() == 0
    finally:
        await worker.kill()
        worker.log.unlink()
    assert "PAYMENTS_OPENING_BALANCE" not in (await payments(changed, "doctor")).out
