"""``make bench-peers``: the same job on other systems, measured in turn with ours.

The peers are installed into .peers first. Each result (one system, once through all loads, or
killed) is a file in the results folder; what is there is not measured again. The repeats are the
outer loop, so all systems take turns.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tools.bench.bench_command import PURE, Command, Option, Report, environment, say
from tools.bench.load import described
from tools.bench.load_client import UNIQUE, WORKLOADS
from tools.bench.loading import Target, light_load, run_load
from tools.bench.ours import OURS
from tools.bench.peers import on_faust, on_kafka_streams, on_payments, on_restate
from tools.bench.peers.conformance import check, talk_with
from tools.bench.peers.install import PEERS
from tools.bench.peers.kills import kill_under_load
from tools.bench.peers.peer_results import Result, read_results
from tools.bench.peers.peer_system import HTTP, PAGE_CACHE, TOPICS, System
from tools.bench.peers.peers_report import draw, report
from tools.dev.broker import kafka_version
from tools.dev.errors import ToolError

MODULES = {module.PEER: module for module in (on_restate, on_kafka_streams, on_faust)}
SYSTEMS = [
    *on_payments.systems(),
    *(system for module in MODULES.values() for system in module.systems()),
]
KEYS = list(dict.fromkeys(system.key for system in SYSTEMS))
KILLS = "kills"
KILLS_WARM_UP = 2.0, 64
"""Seconds and concurrency."""

COMMAND = Command(
    "tools.bench.peers",
    __doc__,
    {
        "only": Option(list(MODULES), choices=list(MODULES)),
        "parts": Option([HTTP, TOPICS, KILLS], choices=[HTTP, TOPICS, KILLS]),
        "workloads": Option(list(WORKLOADS), choices=WORKLOADS),
        "systems": Option(KEYS, choices=KEYS),
        "concurrency": Option([1, 16, 64, 256, 1000], "requests in flight at a time", quick=[8]),
        "seconds": Option(5.0, "of each load", quick=1.0),
        "warm-up": Option(10.0, "seconds before the loads", quick=1.0),
        "repeats": Option(3, "of each load", quick=1, least=0),
        "kills": Option(3, "of each system in the part kills", quick=1),
        "pure": PURE,
        "report": Option(default=False, help="measure nothing: report what the folder holds"),
        "results": Option(PEERS / "results", "folder of the results", PEERS / "results-quick"),
    },
    marker="figures",
)


def main(given: argparse.Namespace) -> Report:
    """Measure what is not there, and report all that is."""
    given.results.mkdir(parents=True, exist_ok=True)
    if not given.report:
        measure(given)
    results = read_results(given.results)
    text = report(results)
    if given.write is not None:
        for part in (HTTP, TOPICS):
            picture = f"pictures/{part}-latency.svg"
            if draw(results, part, given.write.parent / picture):
                text += f"\n\n![Over {part}: latency against rate, at each concurrency]({picture})"
    return Report(text, ok=not any(r.refused for r in results if r.peer == OURS))


def measure(given: argparse.Namespace) -> None:
    """Install the peers and measure every result that is not there."""
    PEERS.mkdir(exist_ok=True)
    for peer in given.only:
        MODULES[peer].install()
    where = environment(f"Kafka {kafka_version()}, all processes and the load on the same cores")
    for wanted, system in plan(given, where):
        if wanted.file(given.results).exists():
            continue
        what = f"{wanted.part}, {system.name} ({system.durability}), repeat {wanted.repeat}"
        say(f"{what}: starting")
        try:
            _measure(given, wanted, system, what)
        except ToolError as error:
            # It would mean nothing: the report says why, and the run goes on.
            say(f"{what}: {error}")
            wanted.loads.clear()
            wanted.refused = str(error).partition("\n")[0]
        wanted.write(given.results)


def plan(given: argparse.Namespace, where: str) -> Iterator[tuple[Result, System]]:
    """Yield what is asked for, still empty, in the order in which it is measured."""
    systems = [s for s in SYSTEMS if s.peer in {OURS, *given.only} and s.key in given.systems]
    planned = [
        (s.transport, s, repeat)
        for repeat in range(1, given.repeats + 1)
        for s in systems
        if s.transport in given.parts
    ]
    if KILLS in given.parts:
        # A process that is killed leaves what it wrote to the system: a flush changes nothing.
        cached = [s for s in systems if (s.transport, s.durability) == (TOPICS, PAGE_CACHE)]
        planned += [(KILLS, system, 1) for system in cached]
    for part, s, repeat in planned:
        yield Result(part, s.key, s.name, s.peer, s.durability, repeat, where), s


def loads_of(system: System, given: argparse.Namespace) -> list[tuple[str, int]]:
    """Return workload and concurrency of each load of a system."""
    workloads = given.workloads if system.transport == HTTP else [UNIQUE]
    concurrency = [each for each in given.concurrency if each <= system.most_at_once]
    return [(workload, each) for workload in workloads for each in concurrency]


def _measure(given: argparse.Namespace, result: Result, system: System, what: str) -> None:
    """Start a system, check that it does the job, warm it up, then load or kill it."""
    # On the disk of the project: the system's temporary folder is often in memory.
    with (
        tempfile.TemporaryDirectory(prefix="run-", dir=PEERS) as folder,
        system.start(Path(folder)) as target,
    ):
        if result.part == KILLS:
            warm_up(system, target, *KILLS_WARM_UP)
            result.kills = kill_under_load(target, given.kills)
            say(f"{what}: {result.kills.audit}")
            return
        loads = loads_of(system, given)
        warm_up(system, target, given.warm_up, max(each for _, each in loads))
        for workload, concurrency in loads:
            load = run_load(target, given.seconds, concurrency, workload)
            target.must_run()
            result.loads.append(load)
            say(f"{what}, {workload}, concurrency {concurrency}: {described(load)}")


def warm_up(system: System, target: Target, seconds: float, concurrency: int) -> None:
    """Load a system, then check that it does the job.

    In this order, since a system may lose the first records of partitions never used before; and
    over topics under a light load, since one may answer only when the next command comes.
    """
    run_load(target, seconds, concurrency)
    with light_load(target):
        check(system.name, talk_with(target))


if __name__ == "__main__":
    COMMAND.run(main)
