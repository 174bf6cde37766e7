"""Measuring one part: start the system, check that it does the job, warm it up, load it."""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.errors import BenchError
from bench.latencies import Figures
from bench.measuring import LOAD_LIMIT_SECONDS, say
from bench.peers.conformance import check
from bench.peers.install import PEERS
from bench.peers.parts import UNIQUE, Load, Part, Plan
from bench.peers.targets import HttpEndpoint, System, Target
from bench.process import cpu_seconds, peak_bytes


def measure_part(system: System, plan: Plan, repeat: int, environment: str) -> Part:
    """Measure one system once; raises ``BenchError`` when that would not mean anything."""
    part = Part(
        transport=system.transport,
        system=system.key,
        name=system.name,
        peer=system.peer,
        durability=system.durability,
        repeat=repeat,
        seconds=plan.seconds,
        environment=environment,
    )
    began = time.monotonic()
    # On the disk of the project: the system's temporary folder is often in memory.
    with (
        tempfile.TemporaryDirectory(prefix="run-", dir=PEERS) as folder,
        system.start(Path(folder)) as target,
    ):
        # Before the check: a system may lose the first records of partitions never used before.
        warm_up = run_load(system, target, UNIQUE, plan.warm_up_seconds, max(plan.concurrency))
        part.missing_in_warm_up = warm_up.figures.missing
        check(system.name, target)
        for workload, concurrency in plan.loads(system):
            load = run_load(system, target, workload, plan.seconds, concurrency)
            target.must_run()
            part.loads.append(load)
            _say(system, load, repeat)
    part.took_seconds = round(time.monotonic() - began, 1)
    return part


def run_load(
    system: System, target: Target, workload: str, seconds: float, concurrency: int
) -> Load:
    """Load a system once."""
    processes = target.processes()
    before = {name: cpu_seconds(pid) for name, pid in processes.items()}
    figures = _client(system, target, workload, seconds, concurrency)
    if figures.payments == 0:
        raise BenchError(f"{system.name} answered none of {figures.missing} payments")
    used = {name: _us_each(before[name], pid, figures) for name, pid in processes.items()}
    peaks = {name: peak_bytes(pid) for name, pid in processes.items()}
    return Load(workload, concurrency, figures, used, peaks)


def _us_each(before: float | None, pid: int | None, figures: Figures) -> float | None:
    after = cpu_seconds(pid)
    if before is None or after is None:
        return None
    return round(1e6 * (after - before) / figures.payments, 1)


def _client(
    system: System, target: Target, workload: str, seconds: float, concurrency: int
) -> Figures:
    given: dict[str, object] = {"seconds": seconds, "concurrency": concurrency}
    endpoint = target.endpoint
    if isinstance(endpoint, HttpEndpoint):
        program = "bench.peers.http_load"
        given |= {"port": endpoint.port, "dialect": endpoint.dialect, "workload": workload}
    else:
        program = "bench.load"
        given |= {
            "brokers": endpoint.brokers,
            "commands": endpoint.commands,
            "results": endpoint.results,
        }
    try:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                program,
                *(f"--{name}={value}" for name, value in given.items()),
            ],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=seconds + LOAD_LIMIT_SECONDS,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"the load on {system.name} failed: {error}") from error
    return Figures(**json.loads(done.stdout))


def _say(system: System, load: Load, repeat: int) -> None:
    figures = load.figures
    say(
        f"{system.transport}, {system.name} ({system.durability}), {load.workload}, concurrency "
        f"{load.concurrency}, repeat {repeat}: {figures.rate:,.0f}/s, p50 {figures.p50_ms} ms, "
        f"p99 {figures.p99_ms} ms, {figures.missing} missing, {figures.not_completed} refused"
    )
