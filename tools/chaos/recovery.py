"""Recovery, measured: from SIGKILL of a worker to the first new result and to half of the rate.

    python -m tools.chaos.recovery --payments 0 100000 --workers 1 3 --repeats 5

A supervisor starts the worker again at once. What is measured are the partitions that the killed
worker had: those that answer nothing soon after its end.
"""

import argparse
import asyncio
import json
import shlex
import signal
import statistics
import sys
import tempfile
import time
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TypeVar

from payments.settings import Settings
from tools.bench.bench_command import whole
from tools.bench.restore import SLOWEST_RATE, store_payments
from tools.chaos.errors import ChaosError
from tools.chaos.fleet import Fleet, Seat
from tools.chaos.pulse import Beat, Pulse
from tools.chaos.run import say
from tools.chaos.scene import Scene
from tools.dev.errors import BrokerError, ToolError
from tools.dev.installations import installation, measured_broker
from tools.dev.local_broker import KAFKA_FOLDER
from tools.dev.markdown import markdown_table, with_figures

RATE = 400.0
BEFORE_SECONDS = 3.0
"""The rate before the kill is that of so long."""

SILENT_SECONDS = (0.15, 0.6)
"""A partition that answers nothing in this time after the kill was the killed worker's."""

WINDOW_SECONDS = 0.25
"""The rate is back when half of it came within so long."""

LIMIT_SECONDS = 60.0
MARKER = "recovery"
_Figures = TypeVar("_Figures")
KINDS = {"static": [True], "dynamic": [False], "both": [True, False]}
"""Whether workers are static members, by the word of the option."""

ROWS = {"memory": [False], "disk": [True], "both": [False, True]}
"""Whether rows are on disk, by the word of the option."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """One kill: seconds until the first result, until half the rate, until all partitions."""

    first: float
    half: float
    all: float


@dataclass(frozen=True, slots=True)
class Stand:
    """What is measured."""

    payments: int
    """Stored before the load begins."""

    workers: int
    static: bool
    """Whether workers are static members."""

    disk: bool = False
    """Whether each worker has its rows on disk, in a folder of its own."""

    def __str__(self) -> str:
        kind = "static" if self.static else "dynamic"
        rows = "on disk" if self.disk else "in memory"
        return f"{self.payments:,} payments {rows}, {self.workers} workers, {kind}"

    @property
    def cells(self) -> list[str]:
        """The first cells of a row."""
        rows = "disk" if self.disk else "memory"
        return [
            f"{self.payments:,}",
            rows,
            str(self.workers),
            "static" if self.static else "dynamic",
        ]


HEADINGS = ["payments stored", "rows", "workers", "membership"]


@dataclass(frozen=True, slots=True)
class Case:
    """What is measured, and each of its kills."""

    stand: Stand
    kills: Sequence[Recovery]


def recovery(beats: Sequence[Beat], killed: float) -> Recovery | None:
    """Return how a kill was recovered from; None while it is not yet."""
    early, late = (killed + seconds for seconds in SILENT_SECONDS)
    known = {beat.partition for beat in beats if beat.sent < killed}
    alive = {
        beat.partition for beat in beats if beat.sent > killed and early < beat.answered < late
    }
    lost = known - alive
    former = sum(
        killed - BEFORE_SECONDS < beat.answered <= killed
        for beat in beats
        if beat.partition in lost
    )
    # A result that was on its way does not count: its command was sent before.
    new = sorted(
        (beat for beat in beats if beat.partition in lost and beat.sent > killed),
        key=lambda beat: beat.answered,
    )
    if not new or {beat.partition for beat in new} != lost:
        return None
    firsts: dict[int, float] = {}
    for beat in new:
        firsts.setdefault(beat.partition, beat.answered - killed)
    half = former / BEFORE_SECONDS * WINDOW_SECONDS / 2
    times = [beat.answered for beat in new]
    for place, answered in enumerate(times):
        if bisect_left(times, answered + WINDOW_SECONDS) - place >= half:
            return Recovery(min(firsts.values()), answered - killed, max(firsts.values()))
    return None


def measure(brokers: str, stand: Stand, repeats: int) -> Case:
    """Store payments, run workers, and kill one again and again."""
    return Case(stand, under_load(brokers, stand, _kill_once, repeats=repeats))


def under_load(
    brokers: str,
    stand: Stand,
    once: Callable[[Scene, Pulse], Awaitable[_Figures]],
    *,
    repeats: int,
) -> list[_Figures]:
    """Store payments, run workers under a load, and return what ``once`` finds, again and again."""

    async def run(settings: Settings, folder: Path) -> list[_Figures]:
        fleet = Fleet(_seats(settings, stand, folder))
        pulse, scene = Pulse(settings, rate=RATE), Scene(settings, fleet)
        try:
            fleet.start()
            await until_whole(scene, LIMIT_SECONDS + stand.payments / SLOWEST_RATE)
            pulse.start()
            found = [await once(scene, pulse) for _ in range(repeats)]
            await fleet.stop()
        finally:
            pulse.close()
            await fleet.abandon()
        return found

    with (
        tempfile.TemporaryDirectory(prefix="payments-load-", dir=KAFKA_FOLDER) as folder,
        installation(brokers, partitions=8, flush=False) as settings,
    ):
        asyncio.run(store_payments(settings, stand.payments))
        return asyncio.run(run(settings, Path(folder)))


def _seats(settings: Settings, stand: Stand, folder: Path) -> list[Seat]:
    found = []
    for name in (f"worker-{number}" for number in range(stand.workers)):
        own: dict[str, object] = {"instance_id": name} if stand.static else {}
        if stand.disk:
            own["state_dir"] = folder / f"{name}-state"
        found.append(Seat(name, settings.model_copy(update=own), folder))
    return found


async def _kill_once(scene: Scene, pulse: Pulse) -> Recovery:
    await until_whole(scene)
    await until_answering(pulse)
    killed = time.monotonic()
    await scene.fleet.seats[0].end(signal.SIGKILL, "killed")
    while time.monotonic() < killed + LIMIT_SECONDS:
        await asyncio.sleep(WINDOW_SECONDS)
        if pulse.failure is not None:
            raise ChaosError(f"the results can't be read: {pulse.failure}")
        beats = [beat for beat in list(pulse.beats) if beat.answered > killed - BEFORE_SECONDS]
        found = recovery(beats, killed)
        # The window of the rate must be over, or it would be counted short.
        if found is not None and time.monotonic() > killed + found.half + WINDOW_SECONDS:
            say(f"first {found.first:.2f} s, half {found.half:.2f} s, all {found.all:.2f} s")
            return found
    raise ChaosError(f"not recovered {LIMIT_SECONDS:.0f} s after the kill")


async def until_whole(scene: Scene, limit_seconds: float = LIMIT_SECONDS) -> None:
    """Wait until all workers are ready members."""
    deadline = time.monotonic() + limit_seconds
    while not scene.fleet.all_ready() or await scene.group() != f"stable with {scene.fleet.size}":
        if time.monotonic() > deadline:
            raise ChaosError(f"the workers are not ready after {limit_seconds:.0f} s")
        await asyncio.sleep(0.1)


async def until_answering(pulse: Pulse) -> None:
    """Wait until the answers have kept pace for as long as the former rate is taken from."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        since = time.monotonic()
        await asyncio.sleep(BEFORE_SECONDS)
        recent = [beat.answered - beat.sent for beat in list(pulse.beats) if beat.answered > since]
        if len(recent) > RATE * BEFORE_SECONDS / 2 and max(recent) < SILENT_SECONDS[1]:
            return
    raise ChaosError(f"the load of {RATE:.0f}/s is not answered in time: is the machine busy?")


def table(cases: Sequence[Case]) -> str:
    """Return the medians as Markdown."""
    headings = [*HEADINGS, "kills"]
    headings += ["first result s", "half the rate s", "all partitions s"]
    return markdown_table(headings, [_row(case) for case in cases])


def _row(case: Case) -> list[str]:
    middle = [
        statistics.median(getattr(kill, name) for kill in case.kills)
        for name in ("first", "half", "all")
    ]
    return [
        *case.stand.cells,
        str(len(case.kills)),
        *(f"{seconds:.2f}" for seconds in middle),
    ]


def main() -> int:
    """Run as a program; return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = _options()
    if given.write is not None:
        with_figures(given.write.read_text(), "", MARKER)
    cases = list(_cases(given))
    command = f"python -m tools.chaos.recovery {shlex.join(sys.argv[1:])}".strip()
    text = f"`{command}`: medians, under {RATE:.0f} payments/s.\n\n{table(cases)}"
    print(text)
    if given.json is not None:
        given.json.write_text(json.dumps([asdict(case) for case in cases], indent=1) + "\n")
    if given.write is not None:
        given.write.write_text(with_figures(given.write.read_text(), text, MARKER))
    return 0


def _cases(given: argparse.Namespace) -> Iterator[Case]:
    with measured_broker() as broker:
        for stand in stands(given):
            say(str(stand))
            yield measure(broker.bootstrap, stand, given.repeats)


def stands(given: argparse.Namespace) -> Iterator[Stand]:
    """Yield what the command line asks for."""
    kinds, rows = KINDS[given.membership], ROWS[given.rows]
    for payments, workers, static, disk in product(given.payments, given.workers, kinds, rows):
        yield Stand(payments, workers, static, disk)


def add_stands(
    parser: argparse.ArgumentParser, *, payments: Sequence[int], workers: Sequence[int]
) -> None:
    """Add the options of what is measured, with these defaults."""
    parser.add_argument("--payments", type=whole(0), nargs="+", default=payments)
    parser.add_argument("--workers", type=whole(1), nargs="+", default=workers)
    parser.add_argument("--membership", choices=list(KINDS), default="both")
    parser.add_argument("--rows", choices=list(ROWS), default="memory", help="where they are")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.chaos.recovery", description=__doc__, formatter_class=_AsWritten
    )
    add_stands(parser, payments=[0, 100_000, 1_000_000], workers=[1, 3])
    parser.add_argument("--repeats", type=whole(1), default=5, help="kills (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every single kill too")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table into a document")
    return parser.parse_args()


_AsWritten = argparse.RawDescriptionHelpFormatter

if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ChaosError, ToolError, BrokerError, OSError) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
