"""Faults of operators: records deleted, journals written to, the group reset or deleted."""

import asyncio
import signal
from collections.abc import Mapping
from pathlib import Path

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition

from exactstage.partitioner import partition_of
from payments.cli.exit_codes import NOT_DONE
from tools.chaos.commands import ACCOUNTS
from tools.chaos.errors import ChaosError
from tools.chaos.faults.workers import any_seat
from tools.chaos.operator import payments, stop_all
from tools.chaos.scene import Scene
from tools.chaos.verdict import INPUTS, until

ASK_SECONDS = 30.0
LIMIT_SECONDS = 60.0
REFUSAL = "payments journal repair"
DELETIONS = 2


async def delete_handled(scene: Scene) -> None:
    """DeleteRecords of the commands that the journals have handled, while workers are killed."""
    seat = any_seat(scene)
    for _ in range(DELETIONS):
        positions = await _handled(scene)
        await asyncio.gather(
            seat.end(signal.SIGKILL, "killed"), asyncio.to_thread(_delete, scene, positions)
        )
        seat = any_seat(scene)


async def _handled(scene: Scene) -> Mapping[int, int]:
    """Return the positions of the journals in the commands, as an operator reads them."""
    done = await payments(scene.settings, "journal", "inspect", "--stage", "payments", "--json")
    commands = scene.settings.topics.commands
    return {
        journal["partition"]: given["position"]
        for journal in done.objects
        for given in journal["inputs"]
        if given["topic"] == commands and given["position"] is not None
    }


def _delete(scene: Scene, positions: Mapping[int, int]) -> None:
    topic = scene.settings.topics.commands
    before = [TopicPartition(topic, partition, at) for partition, at in positions.items()]
    # The client must live until it has answered.
    admin = scene.admin()
    for future in admin.delete_records(before, request_timeout=ASK_SECONDS).values():
        future.result(2 * ASK_SECONDS)


async def write_to_journal(scene: Scene) -> None:
    """Foreign record on a journal, all workers killed: repaired as the runbook says."""
    at, key, value = _foreign(scene)
    await asyncio.to_thread(_write, scene, at, key, value)
    known = len(scene.fleet.endings())
    await asyncio.gather(
        *(seat.end(signal.SIGKILL, "killed") for seat in scene.fleet.seats if seat.occupied)
    )

    def refused() -> bool:
        return any(
            REFUSAL in Path(ending.log).read_text(errors="replace")
            for ending in scene.fleet.endings()[known:]
        )

    if not await until(refused, LIMIT_SECONDS):
        raise ChaosError(f"no worker refuses {at} with the foreign key {key!r}")
    await stop_all(scene)
    dry = await payments(scene.settings, "journal", "repair", codes=_REPAIRED)
    if dry.code == 0:
        await payments(scene.settings, "journal", "repair", "--yes")
    else:  # A good row was overwritten, and compaction has removed it.
        await payments(scene.settings, "rebuild", "--replace")
        await payments(scene.settings, "rebuild", "--replace", "--yes")
    scene.fleet.start()


_REPAIRED = frozenset({0, NOT_DONE})


def _foreign(scene: Scene) -> tuple[TopicPartition, bytes, bytes | None]:
    """Choose a journal and a record for it: a key that is nobody's, a row's, or a checkpoint's."""
    partition = scene.chance.randrange(scene.settings.partitions)
    stage = scene.chance.choice(["payments", "accounts"])
    account = b"acct-%d" % scene.chance.randrange(ACCOUNTS)
    key, value = scene.chance.choice(
        [
            (b"foo", b"bar"),
            (b"foo", None),
            (b"\0foo", b"bar"),
            (b"\0%d" % scene.chance.randrange(64), b"{}"),
            (account, None),
        ]
    )
    if key == account:
        stage, partition = "accounts", partition_of(account, scene.settings.partitions)
    return TopicPartition(scene.settings.changelog(stage), partition), key, value


def _write(scene: Scene, at: TopicPartition, key: bytes, value: bytes | None) -> None:
    producer = Producer({"bootstrap.servers": scene.settings.brokers, "log_level": 0})
    producer.produce(at.topic, partition=at.partition, key=key, value=value)
    if producer.flush(LIMIT_SECONDS):
        raise ChaosError(f"a foreign record could not be written to {at.topic}/{at.partition}")


async def reset_group(scene: Scene) -> None:
    """All workers stopped, the group's offsets set to 0 or to the end, and workers again."""
    await stop_all(scene)
    await asyncio.to_thread(_reset, scene, to_end=scene.chance.choice([False, True]))
    scene.fleet.start()


def _reset(scene: Scene, *, to_end: bool) -> None:
    topics = [scene.settings.topic(name) for name in INPUTS]
    places = [TopicPartition(t, p, 0) for t in topics for p in range(scene.settings.partitions)]
    if to_end:
        consumer = Consumer({"bootstrap.servers": scene.settings.brokers, "group.id": "ends"})
        for place in places:
            _, place.offset = consumer.get_watermark_offsets(place, ASK_SECONDS)
        consumer.close()
    admin, group = scene.admin(), ConsumerGroupTopicPartitions(scene.settings.app_id, places)
    asked = admin.alter_consumer_group_offsets([group], request_timeout=ASK_SECONDS)
    for future in asked.values():
        future.result(2 * ASK_SECONDS)


async def delete_group(scene: Scene) -> None:
    """All workers stopped, the consumer group deleted, and workers again."""
    await stop_all(scene)
    await asyncio.to_thread(_delete_group, scene)
    scene.fleet.start()


def _delete_group(scene: Scene) -> None:
    admin = scene.admin()
    asked = admin.delete_consumer_groups([scene.settings.app_id], request_timeout=ASK_SECONDS)
    for future in asked.values():
        future.result(2 * ASK_SECONDS)
