"""Batches as other people's clients write them: every codec, compressing topics, bombs, damage.

The decoder by itself is in ``tests/engine/test_batches.py``, crashes at each append in
``tests/engine/test_unreadable_batches.py``.
"""

import asyncio
import json
import os
import subprocess
import sys
import zlib
from itertools import count, islice
from pathlib import Path
from typing import Any

import cramjam
import pytest

from exactstage.kafka import KafkaLog
from exactstage.kafka.wire import Fetch, Produce
from exactstage.log import TopicPartition
from exactstage.partitioner import partition_of
from payments.settings import Settings
from tests.broker_fixture import Installations, process_environment
from tests.engine.test_batches import COMPRESS, New, body, sealed, xerial
from tools.dev.broker import kafka_version
from tools.dev.jars import broker_jars, java
from tools.dev.local_broker import KAFKA_FOLDER, LocalBroker

from .client import Client, WorkerProcess, audit, read_all

MAKE = {"type": "make", "account": "abc", "amount": 100}
OPENING = 100_000
CODECS = {"gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
LIMIT_SECONDS = 120.0
MIB = 1024 * 1024


async def run(*command: str, text: str | None = None, settings: Settings | None = None) -> str:
    """Run a program to its end; return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=None if settings is None else process_environment(settings),
        stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    given = None if text is None else text.encode()
    shown, told = await asyncio.wait_for(process.communicate(given), LIMIT_SECONDS)
    assert process.returncode == 0, told.decode()
    return shown.decode()


async def payments(settings: Settings, *arguments: str) -> str:
    """Run the command line."""
    return await run(sys.executable, "-m", "payments.cli", *arguments, settings=settings)


async def verified(settings: Settings) -> dict[str, Any]:
    """Return the report of ``payments verify``, which finds nothing."""
    report: dict[str, Any] = json.loads(await payments(settings, "verify", "--json"))
    assert report["ok"], report["violations"]
    assert report["in_flight"] == 0
    return report


def lines(prefix: str, count: int) -> str:
    """Return commands as kcat and the console producer take them; padding makes them worth it."""
    command = json.dumps(MAKE) + " " * 300
    return "".join(f"{prefix}-{n}:{command}\n" for n in range(count))


async def kcat_sends(kcat: str, settings: Settings, codec: str, prefix: str) -> None:
    topic = settings.topics.commands
    arguments = ("-P", "-b", settings.brokers, "-t", topic, "-K:", "-z", codec)
    await run(kcat, *arguments, text=lines(prefix, 20))


PADDING = " " * 50_000


def padded(names: list[str]) -> str:
    """Return commands that are sound, and too large together; every other one has its own id."""
    found = ""
    for index, name in enumerate(names):
        own = {"id": name} if index % 2 else {}
        found += f"{name}:{json.dumps({**MAKE, **own})}{PADDING}\n"
    return found


async def kcat_sends_too_much(kcat: str, settings: Settings, codec: str) -> None:
    """Send 350 commands of 50 kB in one batch to one partition, whatever their keys."""
    await run(
        *(kcat, "-P", "-b", settings.brokers, "-t", settings.topics.commands, "-K:"),
        *("-p", "1", "-z", codec, "-X", "message.max.bytes=100000000"),
        *("-X", "batch.size=100000000", "-X", "linger.ms=60000", "-X", "batch.num.messages=350"),
        text=padded([f"kcat-{codec}-{n}" for n in range(350)]),
    )


async def java_sends(
    settings: Settings, codec: str, prefix: str, text: str = "", *properties: str
) -> None:
    version = kafka_version()
    libs = await asyncio.to_thread(broker_jars, version, KAFKA_FOLDER / version)
    tool = "kafka" if version.startswith("3.") else "org.apache.kafka"
    await run(
        *(java(), "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{libs}/*"),
        f"{tool}.tools.ConsoleProducer",
        *("--bootstrap-server", settings.brokers),
        *("--topic", settings.topics.commands),
        *("--compression-codec", codec),
        *("--property", "parse.key=true", "--property", "key.separator=:"),
        *(word for each in properties for word in ("--producer-property", each)),
        text=text or lines(prefix, 20),
    )


class Topic:
    """One topic of an installation, batch by batch."""

    def __init__(self, log: KafkaLog, name: str) -> None:
        self._log = log
        self.name = name

    async def codecs(self, partitions: int) -> set[int]:
        """Return the codecs of the batches that it holds."""
        found: set[int] = set()
        for partition in range(partitions):
            at = 0
            data = await self._batches(partition)
            while at + 61 <= len(data):
                found.add(data[at + 22] & 7)
                at += 12 + int.from_bytes(data[at + 8 : at + 12], "big")
        return found

    async def _batches(self, partition: int) -> bytes:
        tp = TopicPartition(self.name, partition)
        node = self._log.connection.leader(tp)
        assert node is not None
        request = Fetch(
            {self.name: [(partition, 0)]},
            wait_ms=0,
            min_bytes=0,
            max_bytes=8 * MIB,
            partition_bytes=8 * MIB,
            committed_only=False,
        )
        _, [part] = await self._log.connection.send(node, request)
        return bytes(part.batches)

    async def append(self, partition: int, batch: bytes) -> int:
        """Append a batch as it is; return the error code."""
        node = self._log.connection.leader(TopicPartition(self.name, partition))
        assert node is not None
        request = Produce({self.name: [(partition, batch)]}, 30_000)
        [produced] = await self._log.connection.send(node, request)
        return int(produced.code)


async def opened(settings: Settings, name: str) -> tuple[KafkaLog, Topic]:
    log = KafkaLog(settings.connection())
    topic = settings.topic(name)
    await log.start([topic])
    return log, Topic(log, topic)


@pytest.mark.kafka39
async def test_commands_of_every_codec_from_librdkafka_and_java_are_answered(
    installations: Installations, kcat: str
) -> None:
    settings = await installations.make(opening_balance=OPENING)
    worker = await WorkerProcess(settings).start()
    log, commands = await opened(settings, "payments.commands")
    try:
        async with Client(settings) as client:
            await asyncio.gather(
                *(kcat_sends(kcat, settings, codec, f"kcat-{codec}") for codec in CODECS)
            )
            for codec in CODECS:
                await java_sends(settings, codec, f"java-{codec}")
            await client.until(lambda: len(client.results) >= 160)
        assert await commands.codecs(settings.partitions) >= set(CODECS.values())
        assert {result["outcome"] for [result] in client.results.values()} == {"completed"}
        report = await verified(settings)
        assert (report["counts"]["commands"], report["dead_letters"]) == (160, {})
    finally:
        await log.close()
        await worker.kill()


COMPRESSING = {
    "payments.commands": "lz4",
    "payments.transfers": "gzip",
    "payments.inbox": "snappy",
    "payments.results": "zstd",
    "accounts.ledger": "lz4",
    "payments.dead-letters": "zstd",
    "{app}-payments-changelog": "zstd",
    "{app}-accounts-changelog": "snappy",
}


@pytest.mark.kafka39
async def test_topics_that_compress_are_written_restored_and_audited(
    installations: Installations,
) -> None:
    configs = {name: {"compression.type": codec} for name, codec in COMPRESSING.items()}
    settings = await installations.make(
        configs=configs, opening_balance=OPENING, session_timeout_seconds=6, instance_id="w1"
    )
    worker = await WorkerProcess(settings).start()
    log = KafkaLog(settings.connection())
    try:
        async with Client(settings) as client:
            for number in range(300):
                wrong = number % 3 == 0
                await client.post(f"p{number % 90}", MAKE, wrong_partition=wrong)
                if number == 150:
                    await client.until(lambda: len(client.results) > 50)
                    await worker.kill()
                    await worker.start()
            await client.post("bad", {"type": "unknown"})
            await client.answered()
            await audit(settings, client, opening_balance=OPENING)
            account = json.loads(await payments(settings, "account", "abc", "--json"))
            assert account["balance"] == OPENING - 90 * 100
        report = await verified(settings)
        assert report["dead_letters"] == {"unknown_type": 1}
        names = {
            name: settings.topic(name) if "{" not in name else name.format(app=settings.app_id)
            for name in COMPRESSING
        }
        await log.start(list(names.values()))
        for name, codec in COMPRESSING.items():
            stored = await Topic(log, names[name]).codecs(settings.partitions)
            assert stored <= {0, CODECS[codec]}
            # Messages between stages of one worker need not go through the log.
            assert CODECS[codec] in stored or name in {"payments.transfers", "payments.inbox"}
    finally:
        await log.close()
        await worker.kill()


def bombs() -> list[bytes]:
    """Return batches that a broker takes and that would be very large, one of each codec."""
    large = body([(b"k", bytes(60 * MIB), [])])
    packed = {
        "gzip": zlib.compress(large, wbits=31),
        "lz4": COMPRESS["lz4"][1](large),
        "zstd": bytes(cramjam.zstd.compress(large)),
        # Snappy is at best a twentieth, and a broker takes a megabyte.
        "snappy": xerial(body([(b"k", bytes(18 * MIB), [])]), block=MIB),
    }
    return [sealed(data, codec=CODECS[codec], count=1, base=0) for codec, data in packed.items()]


def astray() -> bytes:
    """Return a batch whose records say that their offsets are far away: a broker takes it."""
    return sealed(body([(b"k", b"v", [])] * 2, [0, 1_000_000]), codec=0, count=2, base=0)


async def letters_of(settings: Settings) -> list[dict[str, Any]]:
    shown = await payments(settings, "dead-letters", "list", "--json")
    return [json.loads(line) for line in shown.splitlines()]


@pytest.mark.kafka39
async def test_what_can_not_be_decoded_is_put_aside_and_the_next_command_answered(
    installations: Installations,
) -> None:
    settings = await installations.make(opening_balance=OPENING)
    worker = await WorkerProcess(settings).start()
    log, commands = await opened(settings, "payments.commands")
    try:
        async with Client(settings) as client:
            await client.send("before", MAKE)
            at = partition_of(b"before", settings.partitions)
            for batch in (*bombs(), astray()):
                assert await commands.append(at, batch) == 0
            await client.send("before", MAKE)
            await worker.kill()
            await worker.start()
            await client.send("before", MAKE)
            assert peak_mib(worker) < 300
            await audit(settings, client, opening_balance=OPENING)
        letters = await letters_of(settings)
        source = f"{settings.topics.commands}/{at}"
        assert [(one["reason"], one["source"], one["last_offset"]) for one in letters] == [
            *(("batch_too_large", f"{source}/{n}", n) for n in range(1, 5)),
            ("undecodable_batch", f"{source}/5", 6),
        ]
        await look_at(settings, letters[-1]["position"])
        report = await verified(settings)
        assert report["dead_letters"] == {"batch_too_large": 4, "undecodable_batch": 1}
        assert worker.log.read_text().count("is dead-lettered") == 5
    finally:
        await log.close()
        await worker.kill()


TOO_MUCH_AT_ONCE = ("batch.size=20000000", "max.request.size=21000000", "buffer.memory=22000000")


async def test_each_command_of_a_batch_that_is_too_large_is_refused_once(
    installations: Installations, kcat: str
) -> None:
    """Whoever wrote it, with whatever codec, and a worker that is killed within it.

    Crashes at each append are in ``tests/engine/test_unreadable_batches.py``, batches that
    break off, and bombs, in ``tests/engine/test_heads.py``.
    """
    settings = await installations.make(opening_balance=OPENING)
    topic = settings.topics.commands
    worker = await WorkerProcess(settings).start()
    try:
        async with Client(settings) as client:
            for codec in CODECS:
                await kcat_sends_too_much(kcat, settings, codec)
            await client.until(lambda: len(client.results) > 20)
            await worker.kill()
            names = (f"java-{n}" for n in count())
            there = (n for n in names if partition_of(n.encode(), settings.partitions) == 1)
            text = padded([*islice(there, 350)])
            await java_sends(settings, "zstd", "", text, *TOO_MUCH_AT_ONCE, "linger.ms=20000")
            await worker.start()
            await client.until(lambda: len(client.results) >= 5 * 350)
            assert peak_mib(worker) < 300
            told = client.results.items()
            assert {(r["outcome"], r["reason"]) for _, [r] in told} == {
                ("rejected", "batch_too_large")
            }
            with_own = {
                f"{result['payment']}" for own, [result] in told if not own.startswith(topic)
            }
            assert len(with_own) == 5 * 175
            assert all(own == r["payment"] for own, [r] in told if not own.startswith(topic))
            assert len({result["payment"] for _, [result] in told}) == 5 * 350
            assert (await client.send("kcat-gzip-7", MAKE))["outcome"] == "completed"
        results = await read_all(settings, settings.topics.results)
        for record in results:
            assert record.partition == partition_of(record.key, settings.partitions)
        letters = await letters_of(settings)
        assert {letter["reason"] for letter in letters} == {"batch_too_large"}
        report = await verified(settings)
        assert report["counts"]["commands"] == 5 * 350 + 1
        assert "0 can't be found" in worker.log.read_text()
    finally:
        await worker.kill()


def peak_mib(worker: WorkerProcess) -> int:
    """Return the most memory that a worker has had."""
    status = Path(f"/proc/{worker.process.pid}/status")
    if not status.exists():
        pytest.skip("only Linux tells a process's memory so")
    [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) // 1024


async def look_at(settings: Settings, position: str) -> None:
    """Show a batch's letter, and try to replay it."""
    shown = await payments(settings, "dead-letters", "show", position)
    assert "up to offset 6" in shown
    refusing = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "payments.cli", "dead-letters", "replay", position),
        env=process_environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    told = b"".join(await refusing.communicate()).decode()
    assert refusing.returncode == 3
    assert "it is a whole batch that can't be read" in told


async def test_damage_on_a_disk_is_put_aside_among_commands_and_the_end_among_journals(
    installations: Installations, local_broker: LocalBroker
) -> None:
    settings = await installations.make(opening_balance=OPENING)
    worker = await WorkerProcess(settings).start()
    log, commands = await opened(settings, "payments.commands")
    try:
        async with Client(settings) as client:
            await client.send("p", MAKE)
            at = partition_of(b"p", settings.partitions)
            await worker.stop()
            for command in (MAKE, {"type": "get", "id": "later"}):
                record: New = (b"p", json.dumps(command).encode(), [])
                assert (
                    await commands.append(at, sealed(body([record]), codec=0, count=1, base=0)) == 0
                )
            stored = segment(local_broker, commands.name, at)
            flip(stored, stored.read_bytes().rindex(b'"make"'))
            await worker.start()
            await client.until(lambda: "later" in client.results)
        [letter] = await letters_of(settings)
        assert (letter["reason"], letter["message"]) == (
            "undecodable_batch",
            "its checksum is wrong",
        )
        assert (await verified(settings))["dead_letters"] == {"undecodable_batch": 1}
        assert await worker.stop() == 0
        journal = segment(local_broker, settings.changelog("payments"), at)
        flip(journal, journal.read_bytes().index(b'"n":2'))
        worker.spawn()
        assert await worker.ended() == 70
        assert f"{settings.changelog('payments')}/{at}/" in worker.log.read_text()
        assert "its checksum is wrong" in worker.log.read_text()
    finally:
        await log.close()
        await worker.kill()


def segment(broker: LocalBroker, topic: str, partition: int) -> Path:
    return broker.folder / "topics" / f"{topic}-{partition}" / "00000000000000000000.log"


def flip(file: Path, place: int) -> None:
    """Change one byte of a segment where it is."""
    handle = os.open(file, os.O_RDWR)
    try:
        changed = bytes([os.pread(handle, 1, place)[0] ^ 0x20])
        os.pwrite(handle, changed, place)
    finally:
        os.close(handle)


@pytest.mark.kafka39
async def test_a_large_command_on_a_wrong_partition_is_answered_on_the_right_one(
    installations: Installations, kcat: str, tmp_path: Path
) -> None:
    settings = await installations.make(opening_balance=OPENING)
    worker = await WorkerProcess(settings).start()
    right = partition_of(b"large", settings.partitions)
    wrong = (right + 1) % settings.partitions
    value = tmp_path / "value"
    value.write_bytes(json.dumps(MAKE).encode() + b" " * 900_000)
    topic = settings.topics.commands
    try:
        async with Client(settings) as client:
            await client.send("large", {"type": "get"})
            for partition in (wrong, right):
                arguments = ("-b", settings.brokers, "-t", topic, "-p", str(partition))
                await run(kcat, "-P", *arguments, "-k", "large", str(value))
            await client.until(lambda: len(client.results) == 3)
            await client.send("large", MAKE)
        results = await read_all(settings, settings.topics.results)
        assert {record.partition for record in results} == {right}
        told = sorted(
            (result["command"], result["reason"])
            for [result] in client.results.values()
            if result["outcome"] == "rejected"
        )
        assert told == sorted(
            [(f"{topic}/{wrong}/0", "too_large"), (f"{topic}/{right}/1", "too_large")]
        )
        letters = await read_all(settings, settings.topics.payments_dead_letters)
        assert {(record.partition, len(record.value)) for record in letters} == {
            (wrong, value.stat().st_size),
            (right, value.stat().st_size),
        }
        assert (await verified(settings))["dead_letters"] == {"too_large": 2}
    finally:
        await worker.kill()
