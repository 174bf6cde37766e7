"""``make chaos``: runs the parts, keeps each as a file, and reports all of them together."""

import argparse
import math
import random
import shlex
import signal
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tools.chaos import report
from tools.chaos.errors import ChaosError
from tools.chaos.faults.table import Fault, Stand
from tools.chaos.options import DISK, MARKER, parse_options
from tools.chaos.part import Part
from tools.chaos.run import Plan, run_part, say
from tools.chaos.schedule import MANY_ROUNDS, by_stand, made, missing, rounds
from tools.chaos.timeline import draw
from tools.closing import closing_lines
from tools.dev.errors import BrokerError, ToolError
from tools.dev.markdown import with_figures

INTERRUPTED = 130
PARTS = "part-*.json"
PICTURE = "chaos.svg"


def main() -> int:
    """Run what the command line asks for; return the exit code."""
    # SIGTERM ends it like Ctrl-C: workers and brokers are stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = parse_options(sys.argv[1:])
    if given.write is not None:
        with_figures(given.write.read_text(), "", given.marker)
    given.into.mkdir(parents=True, exist_ok=True)
    new = [] if given.report_only else list(_run(given))
    parts = _parts(given.into)
    if not parts:
        raise ChaosError(f"there is no part in {given.into}")
    command = f"python -m tools.chaos {shlex.join(sys.argv[1:])}".strip()
    text = report.as_text(parts, command)
    print(text)
    _say_what_is_missing(given, parts)
    report.write_json(parts, given.into / "report.json")
    (given.into / PICTURE).write_text(draw(parts))
    if given.write is not None:
        if given.marker == MARKER:
            text += f"\n\n![Results per second, with the faults marked]({PICTURE})"
            (given.write.parent / PICTURE).write_text(draw(parts))
        given.write.write_text(with_figures(given.write.read_text(), text, given.marker))
    found = report.found(new or parts) + report.too_few(parts)
    sys.stdout.flush()  # The report is there before what failed, also where both are one file.
    for line in closing_lines(found):
        say(line)
    return 1 if found else 0


def _say_what_is_missing(given: argparse.Namespace, parts: list[Part]) -> None:
    if given.count_each is None:
        return
    done = made(parts)
    left = {f.name: given.count_each - done[f.name] for f in given.chosen}
    missed = ", ".join(f"{name} {n}" for name, n in left.items() if n > 0)
    say(f"still to be made: {missed}" if missed else "every fault was made often enough")


def _parts(folder: Path) -> list[Part]:
    return [Part.read(file) for file in sorted(folder.glob(PARTS))]


def _run(given: argparse.Namespace) -> Iterator[Part]:
    """Run the parts that are due; each is on disk before the next one begins.

    A stand has its share of the time by the number of its faults; only time under load counts.
    """
    chosen = list(_possible(given.chosen))
    for stand, faults in by_stand(chosen).items():
        share = len(faults) / len(chosen)
        left, commands = given.duration * share, given.commands * share
        while left > 0 and commands > 0:
            before = _parts(given.into)
            seed = given.seed + len(before)
            due = _due(given, faults, before, seed)
            if not due:
                break
            part = _run_one(given, stand, due, (left, commands), seed)
            left -= part.seconds
            commands -= part.sent
            yield part
            if given.count_each is None:
                break


def _possible(faults: list[Fault]) -> Iterator[Fault]:
    """Yield the faults that this machine can make; say which it can't."""
    for fault in faults:
        if (lacking := fault.lacks()) is None:
            yield fault
        else:
            say(f"left out: {fault.name}, since this machine lacks {lacking}")


def _due(
    given: argparse.Namespace, faults: list[Fault], before: list[Part], seed: int
) -> list[Fault]:
    chance = random.Random(seed)
    if given.count_each is not None:
        return missing(faults, given.count_each, made(before), chance)
    return list(islice(rounds(faults, chance), MANY_ROUNDS))


def _run_one(
    given: argparse.Namespace,
    stand: Stand,
    due: list[Fault],
    limits: tuple[float, float],
    seed: int,
) -> Part:
    name = f"part-{len(_parts(given.into)) + 1:03}-{stand}"
    seconds, commands = limits
    most = [f"{seconds:.0f} s"] * (seconds < math.inf)
    most += [f"{commands:,.0f} commands"] * (commands < math.inf)
    say(f"{name}: seed {seed}, {' and '.join(most)} at most")
    plan = Plan(
        stand=stand,
        faults=due,
        seconds=seconds,
        seed=seed,
        rate=given.rate,
        membership=given.membership,
        folder=given.into / name,
        commands=commands,
        disk=given.rows == DISK,
    )
    part = run_part(plan)
    part.write(given.into / f"{name}.json")
    for complaint in part.faults_found:
        say(f"NOT HELD: {complaint}")
    return part


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ChaosError, ToolError, BrokerError, OSError) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
