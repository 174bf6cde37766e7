"""Records what the workers of another build write: every topic, offset by offset, as JSON lines.

    git worktree add --detach /tmp/former <commit>
    python -m tests.rolling.record /tmp/former BROKERS tests/rolling/former.jsonl

That build's own ``payments topics apply`` makes the topics. Two of its workers, with a partition
each, answer commands of every kind; then one of them is frozen, the other one goes on with further
commands, and both are killed: so commands and messages are in the log that nobody has taken.
"""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from payments.settings import Settings
from payments.topics.file import read_topics
from tests.broker.client import Client
from tests.broker_fixture import TOPICS, process_environment

APP = "former"
PARTITIONS = 2
PAYMENTS = 6
IN_FLIGHT = 16
READY = "worker ready: 1 partitions"
COMMAND = (sys.executable, "-m", "payments.cli")
LIMIT_SECONDS = 90.0


def settings_at(brokers: str) -> Settings:
    """Return the settings of the recorded installation."""
    return Settings(
        brokers=brokers,
        app_id=APP,
        topic_prefix=f"{APP}.",
        partitions=PARTITIONS,
        opening_balance=1000,
        session_timeout_seconds=6,
    )


def make(number: int) -> dict[str, Any]:
    """Return a request: of three accounts, some beyond the balance."""
    kind = "deposit" if number % 4 == 3 else "make"
    return {"type": kind, "account": f"acct-{number % 3}", "amount": 90 * (number + 1)}


def _start(checkout: Path, settings: Settings, log: Path) -> subprocess.Popen[bytes]:
    environment = process_environment(settings)
    with log.open("wb") as output:
        return subprocess.Popen(
            [*COMMAND, "worker"], env=environment, cwd=checkout, stdout=output, stderr=output
        )


def _wait(logs: Sequence[Path]) -> None:
    """Wait until each worker owns one partition."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not all(READY in log.read_text() for log in logs):
        if time.monotonic() > deadline:
            sys.exit("the workers are not ready")
        time.sleep(0.05)


async def _use(settings: Settings, workers: Sequence[subprocess.Popen[bytes]]) -> None:
    async with Client(settings) as client:
        for number in range(PAYMENTS):
            for command in (make(number), make(number), {"type": "get"}):
                await client.post(f"pay-{number}", command, wrong_partition=number % 2 == 1)
        await client.post("pay-0", {"type": "cancel"})
        await client.post("pay-1", make(1) | {"amount": 1})
        await client.post("pay-2", {"type": "nonsense"})
        await client.answered()
        workers[-1].send_signal(signal.SIGSTOP)
        for number in range(IN_FLIGHT):
            await client.post(f"late-{number}", make(number % 3))
        seen = len(client.results)
        await client.until(lambda: len(client.results) > seen)
        for worker in workers:
            worker.kill()


def _dump(settings: Settings) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for topic in read_topics(TOPICS, settings):
        if topic.name != settings.topics.fencing_check:
            for partition in range(settings.partitions):
                lines += _read(settings, TopicPartition(topic.name, partition, 0))
    return lines


def _read(settings: Settings, at: TopicPartition) -> Iterator[dict[str, Any]]:
    consumer = Consumer(
        {
            "bootstrap.servers": settings.brokers,
            "commit.id": "record",
            "isolation.level": "read_uncommitted",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
        }
    )
    consumer.assign([at])
    _, end = consumer.get_watermark_offsets(at, LIMIT_SECONDS)
    yield {"topic": at.topic, "partition": at.partition, "end": end}
    while (message := consumer.poll(LIMIT_SECONDS)) is not None and message.error() is None:
        headers: Any = message.headers() or []
        yield {
            "topic": at.topic,
            "partition": at.partition,
            "offset": message.offset(),
            "time": message.timestamp()[1],
            "key": _text(message.key()),
            "value": _text(message.value()),
            "headers": [[name, _text(value)] for name, value in headers],
        }
    consumer.close()


def _text(data: str | bytes | None) -> str | None:
    """Return bytes as text, one letter for each."""
    return data.decode("latin-1") if isinstance(data, bytes) else data


def main() -> None:
    """Run as a program."""
    checkout, brokers, out = sys.argv[1:]
    settings = settings_at(brokers)
    apply = [*COMMAND, "topics", "apply"]
    subprocess.run(apply, env=process_environment(settings), cwd=checkout, check=True)
    logs = [Path(out).with_suffix(f".{number}.log") for number in range(PARTITIONS)]
    workers = [_start(Path(checkout), settings, log) for log in logs]
    try:
        _wait(logs)
        asyncio.run(_use(settings, workers))
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    lines = _dump(settings)
    Path(out).write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for log in logs:
        log.unlink()


if __name__ == "__main__":
    main()
