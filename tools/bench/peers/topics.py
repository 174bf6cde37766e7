"""Topics of a peer on Kafka: made before it starts, like the ones of our installations."""

import asyncio
import uuid

from payments.settings import Settings
from payments.topics.cluster import cluster
from payments.topics.file import Topic

NAMES = ("commands", "transfers", "inbox", "results", "ledger")
PARTITIONS = 8


def make_topics(brokers: str) -> str:
    """Make the topics of one run; return the prefix of their names."""
    prefix = f"peer-{uuid.uuid4().hex[:8]}."
    asyncio.run(_apply(brokers, [Topic(f"{prefix}{n}", PARTITIONS, 1, {}) for n in NAMES]))
    return prefix


async def _apply(brokers: str, wanted: list[Topic]) -> None:
    async with cluster(Settings(brokers=brokers)) as connected:
        await connected.apply(await connected.plan(wanted), wanted)
