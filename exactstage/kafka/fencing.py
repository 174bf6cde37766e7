"""Proof that a broker fences: a stale append right after a claim must be refused (DESIGN 4.7).

The engine fences plain idempotent batches by a control record of the same producer id and a higher
epoch. Brokers do that, but nothing but a trial shows that this one does.
"""

import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from exactstage.errors import Fenced
from exactstage.log import NO_HEADERS, Batch, Channel, TopicPartition, Writer

from .log import KafkaLog


class FencingReport(NamedTuple):
    """How many stale appends were refused and how many accepted (must be none)."""

    refused: int
    accepted: int
    ahead_seconds: float = 0.0
    """How far this machine's clock is ahead of the broker's; negative when it is behind."""


async def prove_fencing(
    connection: Mapping[str, Any], topic: str, rounds: int = 20, partitions: int = 1
) -> FencingReport:
    """Claim a name ``rounds`` times; after each claim let its former owner try to append.

    Writes to ``topic``, which should be made for this. Raises ``FailStop`` when the broker refuses
    something else.
    """
    log = KafkaLog(connection)
    await log.start([topic])
    log.partition_count(topic)  # A claim would wait for a topic that is not there.
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
