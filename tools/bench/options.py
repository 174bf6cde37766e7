"""The command line of ``python -m tools.bench``."""

import argparse
from pathlib import Path
from typing import Any

from tools.bench.measuring import parse_system

FULL: dict[str, Any] = {
    "partitions": [8, 2],
    "concurrency": [1, 16, 64, 256, 1000],
    "seconds": 5.0,
    "repeats": 3,
    "flush": "both",
    "restore": 1_000_000,
}
QUICK: dict[str, Any] = {
    "partitions": [2],
    "concurrency": [4],
    "seconds": 1.0,
    "repeats": 1,
    "flush": "off",
    "restore": 0,
}
FLUSH = {"off": [False], "on": [True], "both": [False, True]}


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; ends the program when it is not understood."""
    parser = _parser()
    parser.set_defaults(**FULL)
    if parser.parse_args(arguments).quick:
        parser.set_defaults(**QUICK)
    given = parser.parse_args(arguments)
    if not (given.repeats or given.restore):
        parser.error("with --repeats 0 and --restore 0 there is nothing to measure")
    if given.write is not None and not (given.repeats and given.restore):
        parser.error("--write replaces all figures, so it needs the load and the restore")
    if given.write is not None and given.beside is not None:
        parser.error("--write is for our own figures, without --beside")
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench",
        description="Measures speed, CPU and memory of a worker on a broker of its own, or on the "
        "one of PAYMENTS_BROKERS. Prints Markdown tables; progress goes to standard error.",
    )
    parser.add_argument("--partitions", type=at_least_one, nargs="+", metavar="N")
    parser.add_argument("--concurrency", type=at_least_one, nargs="+", metavar="N")
    parser.add_argument("--seconds", type=positive, help="of each load (%(default)s)")
    parser.add_argument("--repeats", type=count, help="of each load; 0: the restore alone")
    parser.add_argument("--flush", choices=FLUSH, help="flush.messages=1 on all topics")
    parser.add_argument("--restore", type=count, metavar="N", help="stored payments; 0: none")
    add_pure(parser)
    parser.add_argument("--quick", action="store_true", help="a few seconds, only to try it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single run too")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into a document")
    parser.add_argument(
        "--beside",
        type=parse_system,
        metavar="NAME=COMMANDS_TOPIC,RESULTS_TOPIC,COMPLETED_BYTES,PID",
        help="a second system on the same broker, measured in turn with ours",
    )
    parser.add_argument(
        "--broker-pid", type=int, help="process of the broker of PAYMENTS_BROKERS, if it is local"
    )
    return parser


def add_pure(parser: argparse.ArgumentParser) -> None:
    """Add the choice between the two builds."""
    parser.add_argument(
        "--pure", action="store_true", help="the checkout, also when .compiled is there"
    )


def count(text: str) -> int:
    """Read a number that may be zero; raises ``argparse.ArgumentTypeError``."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return number


def at_least_one(text: str) -> int:
    """Read a number from 1 on; raises ``argparse.ArgumentTypeError``."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def positive(text: str) -> float:
    """Read a number over 0; raises ``argparse.ArgumentTypeError``."""
    number = float(text)
    if not number > 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return number
