"""Runs seed after seed: ``python -m tools.simulator --seed 1 --commands 200000 --jobs 2``.

The exit code is 1 when a run went wrong; its seed is printed, and a short story of it.
"""

import argparse
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice

from tools.closing import closing_lines

from .faults import LOSING_RUNS, Kind
from .run import RUN_COMMANDS, SUBJECTS, Outcome, Story, draw_story, play
from .shrink import shrink, told

_PROGRESS_SECONDS = 5.0
_STORY_LINES = 150


@dataclass
class Totals:
    """What was done so far."""

    runs: int = 0
    commands: int = 0
    simulated_seconds: float = 0.0
    takeovers: int = 0
    copies_thrown_away: int = 0
    faults: Counter[Kind] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    hashes: dict[int, str] = field(default_factory=dict)
    """Of the traces, by seed."""

    failed: dict[int, list[str]] = field(default_factory=dict)
    """Findings by seed."""

    def add(self, seed: int, outcome: Outcome) -> None:
        """Add one run."""
        self.runs += 1
        self.commands += outcome.commands
        self.simulated_seconds += outcome.seconds
        self.takeovers += outcome.takeovers
        self.copies_thrown_away += outcome.copies_thrown_away
        self.faults.update(fault.kind for fault in outcome.injected)
        self.ends += outcome.failures
        self.hashes[seed] = outcome.hash
        if outcome.findings:
            self.failed[seed] = outcome.findings

    def lines(self) -> Iterator[str]:
        """Yield a summary."""
        yield (
            f"{self.runs:,} runs, {self.commands:,} commands, {self.takeovers:,} partitions taken "
            f"over, {self.simulated_seconds / 3600:,.1f} simulated hours"
        )
        if self.copies_thrown_away:
            yield f"{self.copies_thrown_away:,} local copies thrown away"
        yield f"faults: {sum(self.faults.values()):,}"
        yield from (f"  {kind:22} {self.faults[kind]:9,}" for kind in Kind)
        together = "".join(found for _, found in sorted(self.hashes.items()))
        yield f"trace: {sha256(together.encode()).hexdigest()[:16]}"
        yield "workers that ended themselves: " + ", ".join(
            f"{name} {count:,}" for name, count in sorted(self.ends.items())
        )


def story_of(options: argparse.Namespace, seed: int) -> Story:
    """Return the story of one seed."""
    size = min(options.commands, RUN_COMMANDS)
    return draw_story(
        seed, size, options.hours, options.losing, options.subject, has_disks=options.disk
    )


def simulate(options: argparse.Namespace, seed: int) -> tuple[int, Outcome]:
    """Run one seed."""
    return seed, play(story_of(options, seed))


def run_all(options: argparse.Namespace) -> Totals:
    """Run seeds from ``seed`` on until so many commands were simulated, or runs have failed."""
    jobs, size = options.jobs, min(options.commands, RUN_COMMANDS)
    seeds = iter(range(options.seed, options.seed + -(-options.commands // size)))
    totals, shown = Totals(), time.monotonic()
    with ProcessPoolExecutor(jobs, initializer=_silence) as pool:
        under_way: set[Future[tuple[int, Outcome]]] = set()
        while True:
            if not totals.failed:
                more = islice(seeds, 2 * jobs - len(under_way))
                under_way |= {pool.submit(simulate, options, next_) for next_ in more}
            if not under_way:
                return totals
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                totals.add(*future.result())
            if time.monotonic() - shown > _PROGRESS_SECONDS:
                shown = time.monotonic()
                print(f"{totals.runs:,} runs, {totals.commands:,} commands", file=sys.stderr)


def _silence() -> None:
    # A killed worker's coroutines never run to their end: that is the point of killing it.
    warnings.filterwarnings("ignore", message="coroutine .* was never awaited")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m tools.simulator", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="first seed (default: 1)")
    parser.add_argument(
        "--commands", type=int, default=20_000, help="commands over all runs (default: 20,000)"
    )
    parser.add_argument(
        "--hours", type=float, default=0.25, help="longest simulated time of a run (default: 0.25)"
    )
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)"
    )
    parser.add_argument(
        "--losing",
        type=float,
        default=LOSING_RUNS,
        help="share of runs that lose acknowledged records, 0 to 1 (default: 0.125)",
    )
    parser.add_argument(
        "--subject", choices=SUBJECTS, default="payments", help="application (default: payments)"
    )
    parser.add_argument(
        "--disk", action="store_true", help="workers have local copies, which crashes damage"
    )
    options = parser.parse_args()
    if options.commands < 1 or options.hours <= 0 or options.jobs < 1:
        parser.error("--commands, --hours and --jobs must be positive")
    started = time.monotonic()
    totals = run_all(options)
    print(*totals.lines(), sep="\n")
    print(f"in {time.monotonic() - started:.0f} s")
    if not totals.failed:
        print("every run became quiet, and every invariant held")
        return 0
    seed, findings = min(totals.failed.items())
    size = min(options.commands, RUN_COMMANDS)
    print(f"FAILED: seeds {sorted(totals.failed)}", *findings, sep="\n  ")
    print(
        f"again: python -m tools.simulator --seed {seed} --commands {size} "
        f"--hours {options.hours:g} --losing {options.losing:g} --subject {options.subject}"
        f"{' --disk' if options.disk else ''}\n"
        f"a shorter story of seed {seed}:",
        flush=True,
    )
    _silence()
    story = story_of(options, seed)
    print(*told(shrink(story, play(story)), _STORY_LINES), sep="\n")
    print(*closing_lines([f"seed {seed}: {finding}" for finding in findings]), sep="\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
