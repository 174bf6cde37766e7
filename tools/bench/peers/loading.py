"""Loading a system that runs: one load client per transport, and what the processes used for it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tools.bench.errors import BenchError
from tools.bench.latencies import Figures
from tools.bench.measuring import LOAD_LIMIT_SECONDS
from tools.bench.peers.parts import UNIQUE, Load
from tools.bench.peers.targets import HttpEndpoint, System, Target
from tools.bench.process import cpu_seconds, peak_bytes

LIGHT = 8
LIGHT_SECONDS = 600
"""Longer than what it runs beside."""


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
    try:
        done = subprocess.run(
            _command(target, workload, seconds=seconds, concurrency=concurrency),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=seconds + LOAD_LIMIT_SECONDS,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"the load on {system.name} failed: {error}") from error
    return Figures(**json.loads(done.stdout))


@contextmanager
def light_load(target: Target) -> Iterator[None]:
    """Keep a few payments in flight over topics while the block runs; over HTTP none."""
    if isinstance(target.endpoint, HttpEndpoint):
        yield
        return
    options = {"seconds": LIGHT_SECONDS, "concurrency": LIGHT, "stalled-seconds": LIGHT_SECONDS}
    command = _command(target, UNIQUE, **options)
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as load:
        try:
            yield
        finally:
            load.terminate()


def _command(target: Target, workload: str, **options: float) -> list[str]:
    endpoint = target.endpoint
    given: dict[str, object] = dict(options)
    if isinstance(endpoint, HttpEndpoint):
        program = "tools.bench.peers.http_load"
        given |= {"port": endpoint.port, "dialect": endpoint.dialect, "workload": workload}
    else:
        program = "tools.bench.load"
        given |= {
            "brokers": endpoint.brokers,
            "commands": endpoint.commands,
            "results": endpoint.results,
        }
    arguments = [f"--{name}={value}" for name, value in given.items()]
    return [sys.executable, "-m", program, *arguments]
