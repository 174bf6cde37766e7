"""What is measured on: a broker of the run's own or PAYMENTS_BROKERS, a fresh installation."""

import asyncio
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exactstage.kafka import KafkaLog
from payments.settings import Settings
from payments.topics.cluster import cluster
from payments.topics.file import Topic, read_topics
from tools.dev.broker import kafka_version
from tools.dev.local_broker import KAFKA_FOLDER, LocalBroker

OPENING_BALANCE = 10**9
TOPICS = Path(__file__).parents[2] / "topics.yaml"
FLUSH = {"flush.messages": "1"}
"""The broker calls fsync for each append before it answers."""


@dataclass(frozen=True, slots=True)
class MeasuredBroker:
    """Where the broker is, what it is, and its process where that is known."""

    bootstrap: str
    description: str
    pid: int | None
    data: Path | None = None
    """Where its topics lie, if that is known."""

    def log_files(self) -> list[Path]:
        """Return the files that its records are in; none, where they are is not known."""
        return [] if self.data is None else list(self.data.glob("*/*.log"))

    def written_bytes(self) -> int:
        """Return the bytes of all records that it keeps."""
        return sum(file.stat().st_size for file in self.log_files())


@contextmanager
def measured_broker() -> Iterator[MeasuredBroker]:
    """Return the broker of PAYMENTS_BROKERS, whose process is not known, or start one."""
    given = os.environ.get("PAYMENTS_BROKERS")
    if given:
        description = f"the broker of PAYMENTS_BROKERS ({given}), version not known"
        yield MeasuredBroker(given, description, pid=None)
        return
    with own_broker() as broker:
        yield broker


@contextmanager
def own_broker(extra: Mapping[str, str] | None = None) -> Iterator[MeasuredBroker]:
    """Start a broker of this run alone, with further server properties; it ends with the block."""
    # Beside the jars, not in the system's temporary folder: that is often in memory, where a flush
    # would cost nothing.
    KAFKA_FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=KAFKA_FOLDER) as folder:
        broker = LocalBroker(
            version=kafka_version(), folder=Path(folder), extra=extra, optimized=True
        )
        try:
            broker.start()
            description = f"Kafka {broker.version} on the same cores"
            yield MeasuredBroker(
                broker.bootstrap, description, broker.pid, broker.folder / "topics"
            )
        finally:
            broker.stop()


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
    asyncio.run(make_topics(settings, wanted))
    try:
        yield settings
    finally:
        if not keep:
            asyncio.run(_delete(settings, wanted))


@asynccontextmanager
async def open_log(settings: Settings, topics: Sequence[str]) -> AsyncIterator[KafkaLog]:
    """Connect to these topics for as long as the block lasts."""
    log = KafkaLog(settings.connection())
    try:
        await log.start(topics)
        yield log
    finally:
        await log.close()


async def make_topics(settings: Settings, wanted: Sequence[Topic]) -> None:
    """Make these topics, which are not there yet."""
    async with cluster(settings) as connected:
        await connected.apply(await connected.plan(wanted), wanted)


async def _delete(settings: Settings, wanted: Sequence[Topic]) -> None:
    async with cluster(settings) as connected:
        await connected.delete([topic.name for topic in wanted])
