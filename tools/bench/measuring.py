"""Measuring the load: the installations, settings and repeats of one run, one after the other."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tools.bench.broker import MeasuredBroker
from tools.bench.errors import BenchError
from tools.bench.figures import OURS, Cell, Run
from tools.bench.installation import installation
from tools.bench.latencies import Figures
from tools.bench.load import COMPLETED
from tools.bench.process import cpu_seconds
from tools.bench.worker import READY_LIMIT_SECONDS, running_worker

WARM_UP_SECONDS = 2.0
LOAD_LIMIT_SECONDS = 120.0
"""What a load may take beyond its own time: start, the payments still in flight, a stall."""

_System = TypeVar("_System")


@dataclass(frozen=True, slots=True)
class System:
    """A running system that takes commands on one topic and answers on another."""

    name: str
    commands: str
    results: str
    completed: str
    """Bytes that only a result of a completed payment holds."""

    pid: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured; every combination of partitions, flush and concurrency is one cell."""

    partitions: Sequence[int]
    flush: Sequence[bool]
    concurrency: Sequence[int]
    seconds: float
    repeats: int
    beside: System | None = None


def parse_system(text: str) -> System:
    """Read ``NAME=COMMANDS_TOPIC,RESULTS_TOPIC,COMPLETED_BYTES,PID``; raises ``ValueError``."""
    name, equals, rest = text.partition("=")
    topics, _, pid = rest.rpartition(",")
    commands, results, completed = topics.split(",", 2)
    if not (name and equals and commands and results and completed) or name == OURS:
        raise ValueError(text)
    return System(name, commands, results, completed, int(pid))


def measure_load(broker: MeasuredBroker, plan: Plan, log: Path) -> Iterator[Cell]:
    """Measure each installation in turn; its cells come when it is done."""
    for partitions in plan.partitions:
        for flush in plan.flush:
            cells = [Cell(partitions, flush, concurrency) for concurrency in plan.concurrency]
            where = f"{partitions} partitions, flush {'on' if flush else 'off'}"
            say(f"{where}: starting a fresh installation")
            with (
                installation(broker.bootstrap, partitions=partitions, flush=flush) as settings,
                running_worker(settings, log) as worker,
            ):
                worker.wait_until_ready(READY_LIMIT_SECONDS)
                ours = System(
                    OURS,
                    settings.topic("payments.commands"),
                    settings.topic("payments.results"),
                    COMPLETED.decode(),
                    worker.pid,
                )
                systems = [ours] if plan.beside is None else [ours, plan.beside]
                try:
                    _measure_cells(broker, plan, cells, systems, where)
                finally:
                    worker.must_run()  # If it has ended, its own last words say more.
            yield from cells


def _measure_cells(
    broker: MeasuredBroker, plan: Plan, cells: list[Cell], systems: list[System], where: str
) -> None:
    """Fill the cells of one installation.

    The repeats are the outer loop and the systems the inner one: what else the machine does then
    falls on all of them alike. Each comes first in turn: the same build twice differed by a sixth
    where one always came first.
    """
    for system in systems:
        warm_up = run_load(broker, system, WARM_UP_SECONDS, max(plan.concurrency))
        if warm_up.load.missing:
            missing = warm_up.load.missing
            raise BenchError(f"{system.name} left {missing} payments unanswered in the warm-up")
    for repeat in range(1, plan.repeats + 1):
        for cell in cells:
            for system in in_turn(systems, repeat):
                run = run_load(broker, system, plan.seconds, cell.concurrency)
                cell.add(system.name, run)
                say(
                    f"{where}, concurrency {cell.concurrency}, {repeat} of {plan.repeats}, "
                    f"{system.name}: {run.load.rate:,.0f}/s, p50 {run.load.p50_ms} ms, "
                    f"p99 {run.load.p99_ms} ms, {run.load.missing} missing"
                )


def in_turn(systems: Sequence[_System], repeat: int) -> Sequence[_System]:
    """Return who is measured after whom: the other way round in every second repeat."""
    return systems if repeat % 2 else systems[::-1]


def run_load(broker: MeasuredBroker, system: System, seconds: float, concurrency: int) -> Run:
    """Load a system once; raises ``BenchError`` when nothing can be measured."""
    pids = (system.pid, broker.pid)
    before = [cpu_seconds(pid) for pid in pids]
    figures = _load(broker.bootstrap, system, seconds, concurrency)
    if figures.payments == 0:
        raise BenchError(f"{system.name} answered none of {figures.missing} payments")
    used = [_us_each(b, cpu_seconds(pid), figures) for b, pid in zip(before, pids, strict=True)]
    return Run(figures, *used)


def _us_each(before: float | None, after: float | None, figures: Figures) -> float | None:
    if before is None or after is None:
        return None
    return 1e6 * (after - before) / figures.payments


def _load(brokers: str, system: System, seconds: float, concurrency: int) -> Figures:
    given = {
        "brokers": brokers,
        "commands": system.commands,
        "results": system.results,
        "completed": system.completed,
        "seconds": seconds,
        "concurrency": concurrency,
    }
    options = [f"--{name}={value}" for name, value in given.items()]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tools.bench.load", *options],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=seconds + LOAD_LIMIT_SECONDS,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"the load on {system.name} failed: {error}") from error
    return Figures(**json.loads(done.stdout))


def say(text: str) -> None:
    """Show progress: on standard error, since the tables go to standard output."""
    print(text, file=sys.stderr, flush=True)
