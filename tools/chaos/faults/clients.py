"""Faults of clients: batches of every codec, transactions left open, foreign messages."""

import asyncio
import json
import shutil
import signal
import sys
from collections.abc import Sequence

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from tools.chaos.commands import Sent
from tools.chaos.errors import ChaosError
from tools.chaos.scene import Scene

CODECS = ("gzip", "snappy", "lz4", "zstd")
KCAT = "kcat"
BATCH = 40
"""Commands of each codec."""

IN_TRANSACTION = 32
OPEN_SECONDS = (1.0, 5.0)
TRANSACTION_SECONDS = 6.0
"""When its producer is gone, the broker aborts a transaction after so long."""

LIMIT_SECONDS = 60.0
FORGED = b'{"kind":"deposit","account":"acct-1","amount":5,"currency":"EUR","counter":"world"}'
FORGED_SOURCES = (None, b"payments/0/999999/0", b"payments/77/1/0", b"accounts/1/999999/0")


async def codecs(scene: Scene) -> None:
    """Batches of commands with gzip, snappy, lz4 and zstd at once: librdkafka's, and kcat's."""
    sends = [_send_batch(scene, codec) for codec in CODECS]
    if shutil.which(KCAT) is not None:
        sends += [_send_with_kcat(scene, codec) for codec in CODECS]
    await asyncio.gather(*sends)


async def _send_batch(scene: Scene, codec: str) -> None:
    commands = scene.storm.take(BATCH, f"batches of {codec}")
    producer = Producer(
        {
            "bootstrap.servers": scene.settings.brokers,
            "compression.type": codec,
            "enable.idempotence": True,
            "linger.ms": 100,
            "log_level": 0,
        }
    )
    for command in commands:
        topic = scene.settings.topics.commands
        producer.produce(topic, key=command.payment, value=command.value)
    if await asyncio.to_thread(producer.flush, LIMIT_SECONDS):
        raise ChaosError(f"a batch of {codec} could not be sent")
    scene.storm.delivered(commands)


async def _send_with_kcat(scene: Scene, codec: str) -> None:
    commands = scene.storm.take(BATCH, f"kcat, {codec}")
    topic = scene.settings.topics.commands
    process = await asyncio.create_subprocess_exec(
        *(KCAT, "-P", "-b", scene.settings.brokers, "-t", topic, "-K:", "-z", codec),
        *("-X", "enable.idempotence=true"),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    lines = b"".join(b"%b:%b\n" % (each.payment.encode(), each.value) for each in commands)
    _, said = await process.communicate(lines)
    if process.returncode:
        raise ChaosError(f"kcat could not send a batch of {codec}: {said.decode()}")
    scene.storm.delivered(commands)


async def commit_late(scene: Scene) -> None:
    """Commands in a transaction that is committed some seconds later."""
    await _transaction(scene, "commit")


async def abort_late(scene: Scene) -> None:
    """Commands in a transaction that is aborted some seconds later: none may have a result."""
    await _transaction(scene, "abort")


async def abandon_transaction(scene: Scene) -> None:
    """Commands in a transaction whose producer is killed: the broker aborts it in the end."""
    await _transaction(scene, None)


async def _transaction(scene: Scene, end: str | None) -> None:
    commands = scene.storm.take(IN_TRANSACTION, "transaction")
    topic = scene.settings.topics.commands
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tools.chaos.transaction"),
        *(scene.settings.brokers, topic, str(TRANSACTION_SECONDS)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    if process.stdin is None or process.stdout is None:
        raise ChaosError("a transaction's process has no pipes")
    try:
        process.stdin.write(_as_line(commands))
        async with asyncio.timeout(LIMIT_SECONDS):
            if await process.stdout.readline() != b"open\n":
                raise ChaosError("a client's transaction could not be opened")
        await asyncio.sleep(scene.chance.uniform(*OPEN_SECONDS))
        if end is not None:
            process.stdin.write(f"{end}\n".encode())
            async with asyncio.timeout(LIMIT_SECONDS):
                if await process.wait():
                    raise ChaosError(f"a client's transaction could not {end}")
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
            await process.wait()
    if end == "commit":
        scene.storm.delivered(commands)
    else:
        scene.storm.undo(commands)


def _as_line(commands: Sequence[Sent]) -> bytes:
    pairs = [(command.payment, command.value.decode()) for command in commands]
    return json.dumps(pairs).encode() + b"\n"


async def foreign_message(scene: Scene) -> None:
    """Foreign record on an internal topic, with or without a forged source: a dead letter."""
    topic, letters = scene.chance.choice(
        [
            ("payments.transfers", "accounts.dead-letters"),
            ("payments.inbox", "payments.dead-letters"),
        ]
    )
    at = TopicPartition(
        scene.settings.topic(topic), scene.chance.randrange(scene.settings.partitions)
    )
    source = scene.chance.choice(FORGED_SOURCES)
    headers = [] if source is None else [("src", source)]
    is_idempotent = scene.chance.choice([False, True])
    await asyncio.to_thread(
        _dead_letter_batch, scene, at, scene.settings.topic(letters), headers, is_idempotent
    )


def _dead_letter_batch(
    scene: Scene,
    at: TopicPartition,
    letters: str,
    headers: list[tuple[str, bytes]],
    is_idempotent: bool,  # noqa: FBT001 - by to_thread
) -> None:
    """Send it, and wait for its dead letter."""
    consumer = Consumer(
        {
            "bootstrap.servers": scene.settings.brokers,
            "group.id": "chaos-letters",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    try:
        place = TopicPartition(letters, at.partition)
        _, place.offset = consumer.get_watermark_offsets(place, LIMIT_SECONDS)
        consumer.assign([place])
        sent = _send_foreign(scene, at, headers, is_idempotent=is_idempotent)
        while (message := consumer.poll(LIMIT_SECONDS)) is not None:
            told = dict(message.headers() or [])
            where = (told.get("__streams.errors.topic"), told.get("__streams.errors.offset"))
            if where == (at.topic.encode(), b"%d" % (sent.offset() or 0)):
                return
        raise ChaosError(f"a foreign record at {at.topic}/{at.partition} is no dead letter")
    finally:
        consumer.close()


def _send_foreign(
    scene: Scene, at: TopicPartition, headers: list[tuple[str, bytes]], *, is_idempotent: bool
) -> Message:
    acknowledged: list[Message] = []
    producer = Producer(
        {
            "bootstrap.servers": scene.settings.brokers,
            "enable.idempotence": is_idempotent,
            "log_level": 0,
        }
    )
    producer.produce(
        at.topic,
        partition=at.partition,
        key=b"acct-1",
        value=FORGED,
        headers=list(headers),
        on_delivery=lambda error, message: None if error else acknowledged.append(message),
    )
    producer.flush(LIMIT_SECONDS)
    if not acknowledged:
        raise ChaosError("a foreign record could not be sent")
    return acknowledged[0]
