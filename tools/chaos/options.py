"""The command line of ``python -m tools.chaos``."""

import argparse
import math
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

from tools.bench.bench_command import positive, whole
from tools.chaos.errors import ChaosError
from tools.chaos.faults.table import FAULTS, choose
from tools.chaos.run import MEMBERSHIPS

MARKER = "chaos"
FOLDER = Path(".chaos")
DURATION_SECONDS = 180.0
MEMORY, DISK = "memory", "disk"
"""Where the rows of workers are."""


def parse_options(arguments: list[str]) -> argparse.Namespace:
    """Read the command line; ends the program when it is not understood."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.chaos",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="A storm of commands on brokers of its own, with 3 workers, while workers,\n"
        "brokers and the network fail; then payments verify. Exit code 1 if anything\n"
        "did not hold. The report goes to standard output and into the folder.",
        epilog="faults:\n" + "\n".join(f"  {f.name:22}{f.text}" for f in FAULTS.values()),
    )
    parser.add_argument(
        "--duration",
        type=positive,
        metavar="SECONDS",
        help="of all storms together; a fault that has begun is ended (180, or any number of "
        "seconds with --commands)",
    )
    parser.add_argument(
        "--commands",
        type=whole(1),
        default=math.inf,
        metavar="N",
        help="end when so many were sent; a fault that has begun is ended",
    )
    parser.add_argument("--seed", type=int, default=1, help="of commands and faults (%(default)s)")
    parser.add_argument(
        "--faults",
        default="all",
        metavar="A,B,...",
        help="names as below, or workers, brokers, membership, network, clients, operators, "
        "machines, copies; or a stand: single, windows, three; or quick (%(default)s)",
    )
    parser.add_argument(
        "--rows",
        choices=(MEMORY, DISK),
        default=MEMORY,
        help="disk: each worker has local copies in a directory of its own, kept when it starts "
        "again; only then there are the faults of copies (%(default)s)",
    )
    parser.add_argument(
        "--count-each",
        type=whole(1),
        metavar="N",
        help="go on until each fault was made so often, those of --into counted, or time is over",
    )
    parser.add_argument(
        "--rate", type=positive, default=100.0, help="commands per second (%(default)s)"
    )
    parser.add_argument("--membership", choices=MEMBERSHIPS, default="mixed")
    parser.add_argument(
        "--into",
        type=Path,
        metavar="FOLDER",
        help="for parts, logs and the report; parts that are there belong to the report "
        f"(a new folder in {FOLDER})",
    )
    parser.add_argument(
        "--report-only", action="store_true", help="run nothing: report the parts of --into"
    )
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="put the report into a document, between its markers, and the picture beside it",
    )
    parser.add_argument(
        "--marker",
        default=MARKER,
        help="which markers of the document; others than %(default)s have no picture",
    )
    given = parser.parse_args(arguments)
    if given.report_only and given.into is None:
        parser.error("--report-only needs --into")
    if given.rows == DISK and find_spec("rocksdict") is None:
        parser.error("--rows disk needs rocksdict, which is not here: install the extra disk")
    if given.duration is None:
        given.duration = DURATION_SECONDS if given.commands == math.inf else math.inf
    if given.into is None:
        given.into = FOLDER / datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    try:
        given.chosen = choose(given.faults.split(","), disk=given.rows == DISK)
    except ChaosError as error:
        parser.error(str(error))
    return given
