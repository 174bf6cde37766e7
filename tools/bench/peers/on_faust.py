"""Faust as it ships: our topology on it as one Python process, and the broker.

Nothing is installed: it is the very release that hosts our engine, from the same lock file.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tools.bench.child import Child
from tools.bench.peers.install import SOURCES
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
from tools.bench.peers.topics import PARTITIONS, make_topics

READY = "Ready"
START_LIMIT_SECONDS = 120.0
GUARANTEES = {"faust-exactly-once": "exactly_once", "faust-at-least-once": "at_least_once"}


def install() -> None:
    """Do nothing: it is part of our own environment."""


def systems() -> list[System]:
    """Return it with both guarantees, without and with a flush of every append."""
    return [
        System(
            f"{key}-flush" if flush else key,
            f"Faust, {guarantee}",
            "faust",
            TOPICS,
            FSYNC if flush else PAGE_CACHE,
            partial(_running, guarantee, flush),
        )
        for key, guarantee in GUARANTEES.items()
        for flush in (True, False)
    ]


@contextmanager
def _running(guarantee: str, flush: bool, folder: Path) -> Iterator[Target]:  # noqa: FBT001 - bound by partial
    with broker_with(flush=flush) as broker:
        prefix = make_topics(broker.bootstrap)
        variables = {
            "PEER_BROKERS": broker.bootstrap,
            "PEER_PREFIX": prefix,
            "PEER_GUARANTEE": guarantee,
            "PEER_PARTITIONS": str(PARTITIONS),
            "PEER_OPENING_BALANCE": str(OPENING_BALANCE),
            "PEER_DATA": str(folder / "faust-data"),
        }
        app = Restartable(partial(_app, variables), folder, "faust")
        try:
            app.wait_for(READY, START_LIMIT_SECONDS)
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


def _app(variables: dict[str, str], log: Path) -> Child:
    options = ["-A", "tools.bench.peers.faust.app", "-L", "uvloop", "worker", "-l", "info"]
    command = [sys.executable, "-m", "faust", *options, "--without-web"]
    return Child("the worker on Faust", command, log, env=variables, folder=SOURCES.parent.parent)
