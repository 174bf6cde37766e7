"""Rolling deploys, measured: how long a payment waits while workers are replaced, one by one.

    python -m tools.chaos.deploys --payments 0 1000000 --workers 3 --repeats 3

Each worker in turn gets SIGTERM, its supervisor starts it again at once, and the next one follows
when it is ready. Measured are all payments that a client sent between the first SIGTERM and the
moment when all workers were ready again.
"""

import argparse
import shlex
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.bench.bench_command import whole
from tools.chaos.errors import ChaosError
from tools.chaos.fleet import Seat
from tools.chaos.pulse import Beat, Pulse
from tools.chaos.recovery import (
    HEADINGS,
    LIMIT_SECONDS,
    RATE,
    Stand,
    add_stands,
    stands,
    under_load,
    until_answering,
    until_whole,
)
from tools.chaos.run import say
from tools.chaos.scene import Scene
from tools.dev.errors import BrokerError, ToolError
from tools.dev.installations import measured_broker
from tools.dev.markdown import markdown_table, with_figures

MARKER = "deploys"


@dataclass(frozen=True, slots=True)
class Deploy:
    """One rolling deploy, in seconds: how long it took, and how long its payments waited."""

    seconds: float
    p50: float
    p99: float
    longest: float
    payments: int


@dataclass(frozen=True, slots=True)
class Case:
    """What is deployed, and each deploy."""

    stand: Stand
    deploys: Sequence[Deploy]


def deploy_of(beats: Sequence[Beat], began: float, ended: float) -> Deploy:
    """Return the figures of a deploy, by the answers to what was sent in it."""
    waits = sorted(beat.answered - beat.sent for beat in beats if began <= beat.sent < ended)
    if not waits:
        raise ChaosError("no payment was answered that was sent in the deploy")
    p50, p99 = (waits[min(len(waits) - 1, int(share * len(waits)))] for share in (0.5, 0.99))
    return Deploy(ended - began, p50, p99, waits[-1], len(waits))


def measure(brokers: str, stand: Stand, repeats: int) -> Case:
    """Store payments, run workers, and deploy them again and again."""
    return Case(stand, under_load(brokers, stand, _deploy_once, repeats=repeats))


async def _deploy_once(scene: Scene, pulse: Pulse) -> Deploy:
    await until_whole(scene)
    await until_answering(pulse)
    began = time.monotonic()
    for seat in scene.fleet.seats:
        await seat.end(signal.SIGTERM, "deployed")
        await _ready(seat)
    await until_whole(scene)
    ended = time.monotonic()
    await pulse.until_all_answered(ended, LIMIT_SECONDS)
    found = deploy_of(list(pulse.beats), began, ended)
    say(f"p50 {found.p50:.3f} s, p99 {found.p99:.3f} s, longest {found.longest:.2f} s")
    return found


async def _ready(seat: Seat) -> None:
    await seat.until(lambda: seat.ready, "is not ready again", LIMIT_SECONDS)


def table(cases: Sequence[Case]) -> str:
    """Return the medians as Markdown."""
    headings = [*HEADINGS, "deploys", "a deploy, s"]
    headings += ["p50 ms", "p99 ms", "longest wait s"]
    return markdown_table(headings, [_row(case) for case in cases])


def _row(case: Case) -> list[str]:
    def middle(name: str) -> float:
        values: list[float] = [getattr(each, name) for each in case.deploys]
        return statistics.median(values)

    return [
        *case.stand.cells,
        str(len(case.deploys)),
        f"{middle('seconds'):.1f}",
        f"{1000 * middle('p50'):.0f}",
        f"{1000 * middle('p99'):,.0f}",
        f"{middle('longest'):.2f}",
    ]


def main() -> int:
    """Run as a program; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = _options()
    if given.write is not None:
        with_figures(given.write.read_text(), "", MARKER)
    cases = []
    with measured_broker() as broker:
        for stand in stands(given):
            say(str(stand))
            cases.append(measure(broker.bootstrap, stand, given.repeats))
    command = f"python -m tools.chaos.deploys {shlex.join(sys.argv[1:])}".strip()
    text = f"`{command}`: medians, under {RATE:.0f} payments/s.\n\n{table(cases)}"
    print(text)
    if given.write is not None:
        given.write.write_text(with_figures(given.write.read_text(), text, MARKER))
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.chaos.deploys",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_stands(parser, payments=[0, 1_000_000], workers=[3])
    parser.add_argument("--repeats", type=whole(1), default=3, help="deploys (%(default)s)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into a document")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ChaosError, ToolError, BrokerError, OSError) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
