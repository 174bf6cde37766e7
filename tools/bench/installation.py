"""A fresh installation for one measurement: topics of its own, deleted afterwards."""

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from payments.settings import Settings
from payments.topics.cluster import cluster
from payments.topics.file import Topic, read_topics

OPENING_BALANCE = 10**9
TOPICS = Path(__file__).parents[2] / "topics.yaml"
FLUSH = {"flush.messages": "1"}
"""The broker calls fsync for each append before it answers."""


@contextmanager
def installation(
    brokers: str, *, partitions: int, flush: bool, keep: bool = False, **values: object
) -> Iterator[Settings]:
    """Return settings with a new topic prefix and app id, whose topics exist.

    ``values`` are further fields of Settings. ``keep`` leaves the topics: their brokers end too.
    """
    name = f"bench-{uuid.uuid4().hex[:8]}"
    given: dict[str, Any] = {
        "app_id": name,
        "topic_prefix": f"{name}.",
        "opening_balance": OPENING_BALANCE,
        **values,
    }
    settings = Settings(brokers=brokers, partitions=partitions, **given)
    extra = FLUSH if flush else {}
    wanted = tuple(
        Topic(t.name, t.partitions, t.replication, {**t.configs, **extra})
        for t in read_topics(TOPICS, settings)
    )
    asyncio.run(_apply(settings, wanted))
    try:
        yield settings
    finally:
        if not keep:
            asyncio.run(_delete(settings, wanted))


async def _apply(settings: Settings, wanted: tuple[Topic, ...]) -> None:
    async with cluster(settings) as connected:
        await connected.apply(await connected.plan(wanted), wanted)


async def _delete(settings: Settings, wanted: tuple[Topic, ...]) -> None:
    async with cluster(settings) as connected:
        await connected.delete([topic.name for topic in wanted])
