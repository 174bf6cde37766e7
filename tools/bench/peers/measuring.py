"""Measuring one part: start the system, check that it does the job, warm it up, load it."""

import tempfile
import time
from pathlib import Path

from tools.bench.measuring import say
from tools.bench.peers.conformance import check
from tools.bench.peers.install import PEERS
from tools.bench.peers.loading import light_load, run_load
from tools.bench.peers.parts import UNIQUE, Load, Part, Plan
from tools.bench.peers.targets import System, Target


def measure_part(system: System, plan: Plan, part: Part) -> None:
    """Measure one system once; raises ``BenchError`` when that would not mean anything."""
    began = time.monotonic()
    # On the disk of the project: the system's temporary folder is often in memory.
    with (
        tempfile.TemporaryDirectory(prefix="run-", dir=PEERS) as folder,
        system.start(Path(folder)) as target,
    ):
        loads = plan.loads(system)
        most = max((concurrency for _, concurrency in loads), default=1)
        part.missing_in_warm_up = warm_up(system, target, plan.warm_up_seconds, most)
        for workload, concurrency in loads:
            load = run_load(system, target, workload, plan.seconds, concurrency)
            target.must_run()
            part.loads.append(load)
            _say(system, load, part.repeat)
    part.took_seconds = round(time.monotonic() - began, 1)


def warm_up(system: System, target: Target, seconds: float, concurrency: int) -> int:
    """Load a system, then check that it does the job; return what it has left unanswered.

    In this order, since a system may lose the first records of partitions never used before; and
    over topics under a light load, since one may answer only when the next command comes.
    """
    load = run_load(system, target, UNIQUE, seconds, concurrency)
    with light_load(target):
        check(system.name, target)
    return load.figures.missing


def _say(system: System, load: Load, repeat: int) -> None:
    figures = load.figures
    say(
        f"{system.transport}, {system.name} ({system.durability}), {load.workload}, concurrency "
        f"{load.concurrency}, repeat {repeat}: {figures.rate:,.0f}/s, p50 {figures.p50_ms} ms, "
        f"p99 {figures.p99_ms} ms, {figures.missing} missing, {figures.not_completed} refused"
    )
