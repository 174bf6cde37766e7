"""The verdict: what must hold when all is healed, asked of the storm, the group and the auditor."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from payments.settings import Settings
from tools.dev.child_process import environment

VERIFY_LIMIT_SECONDS = 900.0
ASK_SECONDS = 10.0
LOOK_SECONDS = 0.05
SAME, UNKNOWN = "same", "unknown"
"""States of local copies, in the words of ``payments verify --json``."""

INPUTS = ("payments.commands", "accounts.commands", "payments.inbox", "payments.transfers")


async def until(condition: Callable[[], bool], limit_seconds: float) -> bool:
    """Wait for a condition; tell whether it came within the limit."""
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_seconds):
            while not condition():  # noqa: ASYNC110 - threads and processes set no event
                await asyncio.sleep(LOOK_SECONDS)
            return True
    return False


def lag(settings: Settings) -> int:
    """Return how many records of the inputs the consumer group has not handled, by its offsets."""
    admin = AdminClient({"bootstrap.servers": settings.brokers, "log_level": 0})
    at = [
        TopicPartition(settings.topic(name), partition)
        for name in INPUTS
        for partition in range(settings.partitions)
    ]
    consumer = Consumer({"bootstrap.servers": settings.brokers, "group.id": "lag", "log_level": 0})
    try:
        ends = [consumer.get_watermark_offsets(place, ASK_SECONDS)[1] for place in at]
    finally:
        consumer.close()
    group = ConsumerGroupTopicPartitions(settings.app_id, at)
    [committed] = admin.list_consumer_group_offsets([group], request_timeout=ASK_SECONDS).values()
    positions = {
        (tp.topic, tp.partition): max(tp.offset, 0) for tp in committed.result().topic_partitions
    }
    return sum(
        end - positions.get((place.topic, place.partition), 0)
        for place, end in zip(at, ends, strict=True)
    )


async def lag_zero(settings: Settings, limit_seconds: float) -> int | None:
    """Wait until nothing is left to handle; return what is, None where no broker said it."""
    left: int | None = None
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_seconds):
            while left != 0:
                with suppress(KafkaException):
                    left = await asyncio.to_thread(lag, settings)
                await asyncio.sleep(0.25)
    return left


def verify(settings: Settings, state_dir: Path | None = None) -> dict[str, Any]:
    """Run ``payments verify --json``; return what it says, or why it could not tell.

    With ``state_dir``, of the local copies there too.
    """
    more = [] if state_dir is None else [f"--state-dir={state_dir}"]
    done = subprocess.run(
        [sys.executable, "-m", "payments.cli", "verify", "--json", *more],
        env=environment(settings),
        check=False,
        capture_output=True,
        text=True,
        timeout=VERIFY_LIMIT_SECONDS,
    )
    try:
        said: dict[str, Any] = json.loads(done.stdout)
    except json.JSONDecodeError:
        return {"ok": False, "error": f"exit code {done.returncode}: {done.stderr[-2000:]}"}
    return said | {"exit_code": done.returncode}


def complaints(said: dict[str, Any]) -> list[str]:
    """Return what the auditor found, in words; commands in flight count, since all is quiet."""
    if "error" in said:
        return [f"payments verify could not tell: {said['error']}"]
    found = [
        f"{v['kind']} {v['topic']}/{v['partition']}/{v['offset']}: {v['message']}"
        for v in said["violations"]
    ]
    if said["in_flight"]:
        found.append(f"{said['in_flight']} commands are in flight although all is quiet")
    if not found and (not said["ok"] or said["exit_code"]):
        found.append(f"payments verify ended with {said['exit_code']} and named no violation")
    return found


def outdated(copies: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the journals of which no local copy is as it must be: their last owners ended well.

    ``copies`` are those of all workers, as ``payments verify --state-dir`` describes them.
    """
    found: dict[str, list[str]] = {}
    for copy in copies:
        if copy["state"] != UNKNOWN:
            found.setdefault(copy["name"], []).append(copy["state"])
    return [
        f"no worker has a local copy of {name} that it can use: {', '.join(states)}"
        for name, states in sorted(found.items())
        if SAME not in states
    ]
