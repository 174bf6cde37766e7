"""The command line of ``python -m tools.bench.peers``."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tools.bench.options import add_pure, at_least_one, count, positive
from tools.bench.peers.http_load import WORKLOADS
from tools.bench.peers.install import PEERS

PARTS = ("http", "topics", "kills")
PEER_NAMES = ("restate", "kafka-streams", "faust")
FULL: dict[str, Any] = {
    "only": list(PEER_NAMES),
    "parts": list(PARTS),
    "workloads": list(WORKLOADS),
    "concurrency": [1, 16, 64, 256, 1000],
    "seconds": 5.0,
    "warm_up": 10.0,
    "repeats": 3,
    "kills": 3,
    "results": PEERS / "results",
}
QUICK: dict[str, Any] = {
    "concurrency": [8],
    "seconds": 1.0,
    "warm_up": 1.0,
    "repeats": 1,
    "kills": 1,
    "results": PEERS / "results-quick",
}


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; ends the program when it is not understood."""
    parser = _parser()
    parser.set_defaults(**FULL)
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**QUICK)
    given = parser.parse_args(arguments)
    if given.quick and given.write is not None:
        parser.error("--write is for the figures of a whole run, not of --quick")
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.peers",
        description="Measures ours in turn with other systems that do the same job, installing "
        "them into .peers first. Each part (one system, once through all loads) is a file in the "
        "results folder; a part that is there is not measured again. Prints Markdown tables; "
        "progress goes to standard error.",
    )
    parser.add_argument(
        "--only", type=_names(PEER_NAMES), metavar="PEER,...", help=", ".join(PEER_NAMES)
    )
    parser.add_argument("--parts", type=_names(PARTS), metavar="PART,...", help=", ".join(PARTS))
    parser.add_argument(
        "--workloads", type=_names(list(WORKLOADS)), metavar="NAME,...", help="of HTTP"
    )
    parser.add_argument(
        "--systems", type=_texts, metavar="KEY,...", help="only these; --list shows their keys"
    )
    parser.add_argument("--concurrency", type=at_least_one, nargs="+", metavar="N")
    parser.add_argument("--seconds", type=positive, help="of each load (%(default)s)")
    parser.add_argument("--warm-up", type=positive, metavar="SECONDS", help="before the loads")
    parser.add_argument("--repeats", type=count, help="of each load")
    parser.add_argument("--kills", type=count, help="of each system in the part kills")
    parser.add_argument("--quick", action="store_true", help="a few seconds each, only to try it")
    add_pure(parser)
    parser.add_argument("--list", action="store_true", help="show what there is to measure")
    parser.add_argument(
        "--report", action="store_true", help="measure nothing: report what the folder holds"
    )
    parser.add_argument("--fresh", action="store_true", help="measure again what is there")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="%(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single run too")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="put tables and pictures into a document"
    )
    return parser


def _texts(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Return a reader of names from a closed list, separated by commas."""

    def read(text: str) -> list[str]:
        names = _texts(text)
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise argparse.ArgumentTypeError(f"{text!r} is not of {', '.join(known)}")
        return names

    return read
