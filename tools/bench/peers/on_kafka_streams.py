"""Kafka Streams: our topology on it as one Java process, and the broker."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tools.bench.child import Child
from tools.bench.peers.install import PEERS, SOURCES, installed, required
from tools.bench.peers.on_payments import broker_with
from tools.bench.peers.targets import (
    FSYNC,
    OPENING_BALANCE,
    PAGE_CACHE,
    TOPICS,
    Restartable,
    System,
    Target,
    TopicsEndpoint,
)
from tools.bench.peers.topics import make_topics
from tools.dev.jars import java

FOLDER = PEERS / "kafka-streams"
LIBS, CLASSES = FOLDER / "libs", FOLDER / "classes"
RUNNING = "streams state RUNNING"
START_LIMIT_SECONDS = 60.0
BEST = {"commit.interval.ms": "10", "poll.ms": "2"}
"""The fastest setting that was found; shorter intervals are no faster."""


def install() -> None:
    """Fetch the libraries that the definition names, and compile the application."""
    definition = SOURCES / "kafka_streams" / "pom.xml"
    program = sorted((SOURCES / "kafka_streams").glob("*.java"))
    sources = [definition, *program]
    if installed(FOLDER, sources):
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    fetch = [
        required("mvn"),
        "--batch-mode",
        "--quiet",
        f"--file={definition}",
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        f"-DoutputDirectory={LIBS}",
    ]
    compile_ = [required("javac"), "--release", "17", "-cp", f"{LIBS}/*", "-d", str(CLASSES)]
    for command in (fetch, [*compile_, *map(str, program)]):
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    installed(FOLDER, sources, mark=True)


def systems() -> list[System]:
    """Return it at its defaults and at its best, without and with a flush of every append."""
    settings: dict[str, tuple[str, dict[str, str]]] = {
        "streams": ("Kafka Streams, defaults (commit 100 ms)", {}),
        "streams-best": ("Kafka Streams, commit 10 ms, poll 2 ms", BEST),
    }
    return [
        System(
            f"{key}-flush" if flush else key,
            name,
            "kafka-streams",
            TOPICS,
            FSYNC if flush else PAGE_CACHE,
            partial(_running, properties, flush),
        )
        for key, (name, properties) in settings.items()
        for flush in (True, False)
    ]


@contextmanager
def _running(properties: Mapping[str, str], flush: bool, folder: Path) -> Iterator[Target]:  # noqa: FBT001 - bound by partial
    with broker_with(flush=flush) as broker:
        prefix = make_topics(broker.bootstrap)
        file = folder / "streams.properties"
        given = {
            "application.id": f"{prefix}streams",
            "bootstrap.servers": broker.bootstrap,
            "state.dir": str(folder / "state"),
            "processing.guarantee": "exactly_once_v2",
            "replication.factor": "1",
            # Like our worker's, so that a killed one need not wait for its own session to end.
            "group.instance.id": "streams-1",
            "session.timeout.ms": "10000",
            **properties,
        }
        file.write_text("".join(f"{name}={value}\n" for name, value in given.items()))
        app = Restartable(partial(_app, prefix, file), folder, "streams")
        try:
            app.wait_for(RUNNING, START_LIMIT_SECONDS)
            yield Target(
                TopicsEndpoint(
                    broker.bootstrap, f"{prefix}commands", f"{prefix}results", f"{prefix}ledger"
                ),
                {"app": app},
                broker.pid,
                app,
            )
        finally:
            app.stop()


def _app(prefix: str, properties: Path, log: Path) -> Child:
    options = ["-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    command = [java(), *options, "-cp", f"{CLASSES}:{LIBS}/*", "PaymentsOnStreams"]
    command += [prefix, str(OPENING_BALANCE), str(properties)]
    return Child("the application on Kafka Streams", command, log)
