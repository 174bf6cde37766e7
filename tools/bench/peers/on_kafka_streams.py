"""Kafka Streams: our topology on it as one Java process, and the broker."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from tools.bench.peers.install import PEERS, SOURCES, installed, required
from tools.bench.peers.peer_system import System, both_durabilities
from tools.dev.child_process import Child, output_of
from tools.dev.installations import OPENING_BALANCE
from tools.dev.jars import java

PEER, READY = "kafka-streams", "streams state RUNNING"
FOLDER = PEERS / PEER
LIBS, CLASSES = FOLDER / "libs", FOLDER / "classes"
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
    fetch = [required("mvn"), "--batch-mode", "--quiet", f"--file={definition}"]
    fetch += ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={LIBS}"]
    compile_ = [required("javac"), "--release", "17", "-cp", f"{LIBS}/*", "-d", str(CLASSES)]
    for command in (fetch, [*compile_, *map(str, program)]):
        output_of("installing Kafka Streams", command)
    installed(FOLDER, sources, mark=True)


def systems() -> Iterator[System]:
    """Yield it at its defaults and at its best."""
    defaults = "Kafka Streams, defaults (commit 100 ms)"
    best = "Kafka Streams, commit 10 ms, poll 2 ms"
    yield from both_durabilities("streams", defaults, PEER, partial(_app, {}))
    yield from both_durabilities("streams-best", best, PEER, partial(_app, BEST))


def _app(properties: Mapping[str, str], brokers: str, prefix: str, folder: Path) -> Child:
    file = folder / "streams.properties"
    given = {
        "application.id": f"{prefix}streams",
        "bootstrap.servers": brokers,
        "state.dir": str(folder / "state"),
        "processing.guarantee": "exactly_once_v2",
        "replication.factor": "1",
        # Like our worker's, so that a killed one need not wait for its own session to end.
        "group.instance.id": "streams-1",
        "session.timeout.ms": "10000",
        **properties,
    }
    file.write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    options = ["-Xmx1g", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
    command = [java(), *options, "-cp", f"{CLASSES}:{LIBS}/*", "PaymentsOnStreams"]
    command += [prefix, str(OPENING_BALANCE), str(file)]
    name = "the application on Kafka Streams"
    return Child(name, command, folder / "streams.log", ready=READY)
