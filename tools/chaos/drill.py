"""The disaster drill: ``make drill``. Two brokers, two disasters, and the documented ways back.

1. The cluster is lost while a worker is killed under load. Its public topics are copied record by
   record to a second cluster, where offsets differ; ``payments rebuild --copied``, a worker goes
   on.
2. Ledger and results are restored from an older backup, behind the journals: the worker refuses,
   and so does ``payments rebuild --replace``, since the ledger has lost entries. The commands are
   whole, so they are carried out again: ``--accept-lost-entries``, a worker goes on.

After each, ``payments verify`` must find nothing.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

from aiokafka import AIOKafkaProducer

from exactstage.kafka import KafkaLog
from exactstage.log import Bounds, Record, TopicPartition
from exactstage.outputs import Rounds, publish, size_of
from exactstage.ranges import Ranges, partitions_of, read_ranges
from payments.recovery.copying import COPIED
from payments.settings import Settings
from payments.topics.cluster import cluster
from payments.topics.file import PACKAGED, read_topics
from tools.closing import closing_lines
from tools.dev.broker import kafka_version
from tools.dev.errors import BrokerError
from tools.dev.local_broker import LocalBroker

from .errors import ChaosError

PARTITIONS, COMMANDS, ACCOUNTS = 4, 300, 20
BATCH_BYTES = 256 * 1024
LIMIT_SECONDS = 180.0
FAIL_STOP = 70


def main() -> int:
    """Run the drill; return the exit code."""
    began = time.monotonic()
    version = kafka_version()
    with tempfile.TemporaryDirectory(prefix="payments-drill-") as folder:
        lost = LocalBroker(version=version, folder=Path(folder, "lost"), heap="384m")
        spare = LocalBroker(version=version, folder=Path(folder, "spare"), heap="384m")
        try:
            lost.start()
            spare.start()
            asyncio.run(_drill(_settings(lost), _settings(spare), Path(folder, "worker.log")))
        finally:
            lost.stop()
            spare.stop()
    _say(f"all held, in {time.monotonic() - began:.0f} s")
    return 0


def _settings(broker: LocalBroker) -> Settings:
    return Settings(
        brokers=broker.bootstrap,
        partitions=PARTITIONS,
        opening_balance=10**6,
        session_timeout_seconds=6,
    )


async def _drill(lost: Settings, spare: Settings, log: Path) -> None:
    _say("commands on the first cluster; the worker is killed while it handles them")
    for settings in (lost, spare):
        wanted = read_topics(PACKAGED, settings)
        async with cluster(settings) as connected:
            await connected.apply(await connected.plan(wanted), wanted)
    with _worker(lost, log) as worker:
        await _send(lost, 0)
        await _results(lost, COMMANDS // 4)
        await _send(lost, COMMANDS)
        worker.kill()
    _say("the public topics are copied to the second cluster, where offsets differ")
    await _copy(lost, spare)
    _payments(spare, "rebuild", "--copied", "--yes")
    await _go_on(spare, log, 2 * COMMANDS)
    _say("ledger and results are restored from an older backup, behind the journals")
    await _restore_older(spare)
    with _worker(spare, log, ready=False) as worker:
        if worker.wait(LIMIT_SECONDS) != FAIL_STOP:
            raise ChaosError("a worker went on although acknowledged records were lost")
    _say(_last_words(log))
    await _until_offline(spare)
    # Results of the first cluster are still there, and name its positions.
    again = ("rebuild", "--replace", "--copied", "--yes")
    try:
        _payments(spare, *again)
    except ChaosError as refusal:
        if "--accept-lost-entries" not in str(refusal):
            raise
        _say("refused, since entries would be forgotten; the commands are whole, so it may go on")
    else:
        raise ChaosError("a rebuild went on although the ledger has lost entries")
    _payments(spare, *again, "--accept-lost-entries")
    await _go_on(spare, log, 3 * COMMANDS)


async def _go_on(settings: Settings, log: Path, first: int) -> None:
    """Run a worker on what is there and on new commands; then everything must hold."""
    with _worker(settings, log) as worker:
        await _send(settings, first)
        await _results(settings, first + COMMANDS)
        worker.terminate()
        if worker.wait(LIMIT_SECONDS):
            raise ChaosError(f"the worker did not end in order: {_end(log)}")
    _say(_payments(settings, "verify").strip().splitlines()[-1])


# --- commands and results ------------------------------------------------------------------------


async def _send(settings: Settings, first: int) -> None:
    """Send commands, every other one without an id of its own."""
    producer = AIOKafkaProducer(**settings.connection())
    await producer.start()
    try:
        for number in range(first, first + COMMANDS):
            make: dict[str, object] = {"type": "make", "account": f"a{number % ACCOUNTS}"}
            make["amount"] = 1 + number % 7
            if number % 2:
                make["id"] = f"command-{number}"
            await producer.send(
                settings.topics.commands,
                key=f"p{number}".encode(),
                value=json.dumps(make).encode(),
            )
        await producer.flush()
    finally:
        await producer.stop()


async def _results(settings: Settings, count: int) -> None:
    """Wait until there are so many results at least."""
    log = KafkaLog(settings.connection())
    topic = settings.topics.results
    try:
        await log.start([topic])
        async with asyncio.timeout(LIMIT_SECONDS):
            while len(await _read(log, topic)) < count:
                continue
    finally:
        await log.close()


async def _all(log: KafkaLog, ranges: Ranges) -> list[Record]:
    async with aclosing(read_ranges(log, ranges, committed_only=True)) as fetched:
        return [record async for _, records in fetched for record in records]


async def _read(log: KafkaLog, topic: str) -> list[Record]:
    bounds = await log.bounds(partitions_of(topic, PARTITIONS))
    return await _all(log, bounds)


# --- disasters -----------------------------------------------------------------------------------


async def _copy(lost: Settings, spare: Settings) -> None:
    """Copy record by record; two control records come first in each partition."""
    source, target = KafkaLog(lost.connection()), KafkaLog(spare.connection())
    topics = [lost.topic(topic) for topic in COPIED]
    try:
        await source.start(topics)
        await target.start(topics)
        shifted = [tp for topic in topics for tp in partitions_of(topic, PARTITIONS)]
        await target.claim("drill", shifted)
        for topic in topics:
            await _append(target, await _read(source, topic))
    finally:
        await source.close()
        await target.close()


async def _append(log: KafkaLog, records: list[Record]) -> None:
    writer = await log.new_writer()
    rounds = Rounds(BATCH_BYTES)
    for record in records:
        content = record.key, record.value, list(record.headers)
        rounds.add(record.topic, record.partition, writer, content, size_of(*content))
    await publish(log, rounds)


async def _restore_older(settings: Settings) -> None:
    """Make ledger and results anew, each with only the older part of its records."""
    log = KafkaLog(settings.connection())
    topics = [settings.topics.ledger, settings.topics.results]
    try:
        await log.start(topics)
        kept: list[Record] = []
        for topic, share in zip(topics, (0.9, 0.8), strict=True):
            for at in partitions_of(topic, PARTITIONS):
                held = (await log.bounds([at]))[at]
                end = held.first + int((held.end - held.first) * share)
                kept += await _older(log, at, Bounds(held.first, end))
        async with cluster(settings) as connected:
            await connected.recreate(topics)
    finally:
        await log.close()
    log = KafkaLog(settings.connection())
    try:
        await log.start(topics)
        await _append(log, kept)
    finally:
        await log.close()


async def _older(log: KafkaLog, at: TopicPartition, held: Bounds) -> list[Record]:
    return await _all(log, {at: held})


# --- processes -----------------------------------------------------------------------------------


def _environment(settings: Settings) -> dict[str, str]:
    others = {k: v for k, v in os.environ.items() if not k.startswith("PAYMENTS_")}
    given = {name: str(getattr(settings, name)) for name in settings.model_fields_set}
    return others | {f"PAYMENTS_{name.upper()}": value for name, value in given.items()}


def _payments(settings: Settings, *arguments: str) -> str:
    """Run a command; return what it printed. Raises ``ChaosError`` when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "payments.cli", *arguments],
        env=_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ChaosError(f"payments {' '.join(arguments)}: {done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def _worker(
    settings: Settings, log: Path, *, ready: bool = True
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker; it has ended after the block."""
    seen = log.read_text().count("worker ready") if log.exists() else 0
    with log.open("ab") as opened:
        process = subprocess.Popen(
            [sys.executable, "-m", "payments.cli", "worker"],
            env=_environment(settings),
            stdout=opened,
            stderr=opened,
        )
    try:
        limit = time.monotonic() + LIMIT_SECONDS
        while ready and log.read_text().count("worker ready") == seen:
            if process.poll() is not None or time.monotonic() > limit:
                raise ChaosError(f"the worker is not ready:\n{log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield process
    finally:
        process.kill()
        process.wait()


async def _until_offline(settings: Settings) -> None:
    from payments.recovery.offline import members  # noqa: PLC0415 - the admin client is slow

    async with asyncio.timeout(LIMIT_SECONDS):
        while await members(settings):
            continue


def _end(log: Path) -> str:
    return log.read_text()[-2000:]


def _last_words(log: Path) -> str:
    return [line for line in log.read_text().splitlines() if "fail-stop" in line][-1]


def _say(text: str) -> None:
    print(f"drill: {text}", flush=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ChaosError, BrokerError, OSError, TimeoutError) as error:
        said = f"drill: {str(error) or repr(error)}"
        sys.exit("\n".join([said, *closing_lines([said])]))
    except KeyboardInterrupt:
        sys.exit(130)
