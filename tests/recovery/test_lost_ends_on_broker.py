"""A broker without its last acknowledged commands, which grew again: refused, named, gone on from.

In memory, for all inputs and with the cases that must not be refused: ``test_lost_ends.py``.
"""

import struct

import pytest

from payments.settings import Settings
from tests.broker.client import Client, WorkerProcess
from tests.broker_fixture import Installations
from tools.dev.local_broker import LocalBroker

from .operator import fails, payments, without_workers

MAKE = {"type": "make", "account": "abc", "amount": 1}
KEPT = 6


def cut(broker: LocalBroker, topic: str, batches: int) -> None:
    """Leave so many batches of a topic's only partition, as a disk does that lost power."""
    [segment] = (broker.folder / "topics" / f"{topic}-0").glob("*.log")
    data, size = segment.read_bytes(), 0
    for _ in range(batches):
        (length,) = struct.unpack_from(">i", data, size + 8)
        size += 12 + length
    assert size < len(data)
    with segment.open("r+b") as file:
        file.truncate(size)


def lose_commands(broker: LocalBroker, settings: Settings) -> None:
    """Let the broker come back without the end of the commands, as after a power cut."""
    broker.stop()
    cut(broker, settings.topics.commands, KEPT)
    # Without it, the broker looks at the end of its logs.
    (broker.folder / "topics" / ".kafka_cleanshutdown").unlink()
    broker.start()


@pytest.mark.kafka39
async def test_commands_that_were_written_anew_are_handled_once(
    local_broker: LocalBroker, installations: Installations
) -> None:
    settings = await installations.make(
        partitions=1, opening_balance=1000, session_timeout_seconds=6
    )
    topic = settings.topics.commands
    skip = ("journal", "skip", "--topic", topic, "--partition", "0", "--lost")
    worker = await WorkerProcess(settings).start()
    try:
        async with Client(settings) as client:
            for number in range(10):
                await client.send(f"p{number}", MAKE)
        assert await worker.stop() == 0
        lose_commands(local_broker, settings)
        async with Client(settings) as client:
            anew = [await client.post(f"q{number}", MAKE) for number in range(10)]
        line = await fails(worker)
        assert f"continues at {topic}/0/10, but leader epoch" in line
        assert f"ends at {KEPT} now" in line
        await without_workers(settings)
        doctor = await payments(settings, "doctor")
        assert f"records that were handled from {KEPT} on are lost there" in doctor.out
        assert (
            f"TRUNCATED: records that were handled from {KEPT} on"
            in (await payments(settings, "journal", "inspect")).out
        )
        dry = await payments(settings, *skip)
        assert f"would skip: {topic}/0 continues at {KEPT}, not at 10" in dry.out
        done = await payments(settings, *skip, "--yes")
        assert (done.code, done.err) == (0, "")
        await worker.start()
        async with Client(settings) as client:
            await client.until(lambda: all(command in client.results for command in anew))
            assert {len(found) for found in client.results.values()} == {1}
            again = await client.send("p9", MAKE)
        assert again["replayed"], "its command is lost, its payment is not"
        assert await worker.stop() == 0
    finally:
        await worker.kill()
        worker.log.unlink()
    verified = await payments(settings, "verify")
    assert verified.code == 0, verified.out
