"""Faust as it ships: our topology on it as one Python process, and the broker.

Nothing is installed: it is the very release that hosts our engine, from the same lock file.
"""

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tools.bench.peers.install import ROOT
from tools.bench.peers.peer_system import PARTITIONS, System, both_durabilities
from tools.dev.child_process import Child
from tools.dev.installations import OPENING_BALANCE

PEER, READY = "faust", "Ready"
GUARANTEES = {"faust-exactly-once": "exactly_once", "faust-at-least-once": "at_least_once"}


def install() -> None:
    """Do nothing: it is part of our own environment."""


def systems() -> Iterator[System]:
    """Yield it with both guarantees."""
    for key, guarantee in GUARANTEES.items():
        yield from both_durabilities(key, f"Faust, {guarantee}", PEER, partial(_app, guarantee))


def _app(guarantee: str, brokers: str, prefix: str, folder: Path) -> Child:
    variables = {
        "PEER_BROKERS": brokers,
        "PEER_PREFIX": prefix,
        "PEER_GUARANTEE": guarantee,
        "PEER_PARTITIONS": str(PARTITIONS),
        "PEER_OPENING_BALANCE": str(OPENING_BALANCE),
        "PEER_DATA": str(folder / "faust-data"),
    }
    options = ["-A", "tools.bench.peers.payments_on_faust", "-L", "uvloop", "worker", "-l", "info"]
    return Child(
        "the worker on Faust",
        [sys.executable, "-m", "faust", *options, "--without-web"],
        folder / "faust.log",
        ready=READY,
        env=variables,
        folder=ROOT,
    )
