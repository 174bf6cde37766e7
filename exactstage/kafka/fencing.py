"""Proof that a broker fences: it must refuse a stale append right after a claim.

See docs/design.md 4.7. The engine fences plain idempotent batches by a control record of the same
producer id and a higher epoch. Whether a broker enforces this is seen only by trying.
"""

import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from exactstage.errors import Fenced
from exactstage.log import NO_HEADERS, Batch, Channel, TopicPartition, Writer

from .log import KafkaLog


class FencingReport(NamedTuple):
    """Numbers of stale appends that were refused, and accepted (must be 0)."""

    refused: int
    accepted: int
    ahead_seconds: float = 0.0
    """Seconds by which this machine's clock is ahead of the broker's; negative when behind."""


async def prove_fencing(
    connection: Mapping[str, Any], topic: str, rounds: int = 20, partitions: int = 1
) -> FencingReport:
    """Claim a name ``rounds`` times; after each claim, append with the former owner's epoch.

    Writes to ``topic``, which should exist only for this. Raises ``FailStop`` for any other
    refusal.
    """
    log = KafkaLog(connection)
    await log.start([topic])
    log.partition_count(topic)  # A claim would wait for a topic that does not exist.
    name = f"fencing-{uuid.uuid4().hex}"
    at = [TopicPartition(topic, partition) for partition in range(partitions)]
    refused = accepted = 0
    try:
        owner = await log.claim(name, at)
        for _ in range(rounds):
            for tp in at:
                await _append(log, tp, owner)
            stale, owner = owner, await log.claim(name, at)
            for tp in at:
                try:
                    await _append(log, tp, stale)
                except Fenced:
                    refused += 1
                else:
                    accepted += 1
    finally:
        await log.close()
    return FencingReport(refused, accepted, log.clock.difference_seconds)


async def _append(log: KafkaLog, at: TopicPartition, writer: Writer) -> None:
    record = (b"fencing", b"written to prove that stale writers are refused", NO_HEADERS)
    await log.append([Batch(at, writer, [record])], Channel.JOURNAL)
