"""A system in one setting: what it is, how it is started, and what all of them have in common."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from payments.settings import Settings
from payments.topics.file import Topic
from tools.bench.loading import Target, TopicsEndpoint
from tools.dev.child_process import Child
from tools.dev.installations import make_topics, own_broker

HTTP, TOPICS = "http", "topics"
FSYNC, PAGE_CACHE = "fsync of every append", "page cache"
FLUSH_EVERY_APPEND = {"log.flush.interval.messages": "1"}
"""Of the broker, so it holds for every topic: ``flush.messages=1`` on each, Kafka's own too."""

PARTITIONS = 8
START_LIMIT_SECONDS = 120.0
BROKERS_TIME = {"message.timestamp.type": "LogAppendTime"}
_TOPICS = ("commands", "transfers", "inbox", "results", "ledger")


@dataclass(frozen=True, slots=True)
class System:
    """A system in one setting; ``key`` names it in files and on the command line."""

    key: str
    name: str
    peer: str
    """Whose installation it needs; "payments" needs none."""

    transport: str
    durability: str
    start: Callable[[Path], AbstractContextManager[Target]]
    """Starts it in an empty folder; it ends, and its data with it, with the block."""

    most_at_once: int = 1_000_000
    """It is not asked for more at once."""


StartApp = Callable[[str, str, Path], Child]
"""Starts an application: brokers, prefix of its topics' names, folder."""


def both_durabilities(key: str, name: str, peer: str, start: StartApp) -> Iterator[System]:
    """Yield an application on topics without and with a flush of every append."""
    for flush in (True, False):

        def running(folder: Path, *, flush: bool = flush) -> AbstractContextManager[Target]:
            return _running(name, start, folder, flush=flush)

        suffix, durability = ("-flush", FSYNC) if flush else ("", PAGE_CACHE)
        yield System(f"{key}{suffix}", name, peer, TOPICS, durability, running)


@contextmanager
def _running(name: str, start: StartApp, folder: Path, *, flush: bool) -> Iterator[Target]:
    with own_broker(FLUSH_EVERY_APPEND if flush else None) as broker:
        prefix = f"peer-{uuid.uuid4().hex[:8]}."
        wanted = [Topic(f"{prefix}{each}", PARTITIONS, 1, BROKERS_TIME) for each in _TOPICS]
        asyncio.run(make_topics(Settings(brokers=broker.bootstrap), wanted))
        names = (f"{prefix}{each}" for each in ("commands", "results", "ledger"))
        endpoint = TopicsEndpoint(broker.bootstrap, *names)
        with start(broker.bootstrap, prefix, folder) as app:
            app.wait_until_ready(START_LIMIT_SECONDS)
            yield Target(name, endpoint, {"app": app}, broker, app)
