"""The run: every system that is asked for, in turn, and what is kept of it."""

import argparse
from collections.abc import Iterator, Sequence

from tools.bench.__main__ import environment
from tools.bench.build import choose_build
from tools.bench.errors import BenchError
from tools.bench.measuring import say
from tools.bench.peers import on_faust, on_kafka_streams, on_payments, on_restate
from tools.bench.peers.install import PEERS
from tools.bench.peers.kills import KillFigures, kills_done, measure_kills, write_kills
from tools.bench.peers.measuring import measure_part
from tools.bench.peers.parts import Part, Plan, done, write_part
from tools.bench.peers.targets import PAGE_CACHE, TOPICS, System
from tools.dev.broker import kafka_version

OURS = "payments"
INSTALL = {
    "restate": on_restate.install,
    "kafka-streams": on_kafka_streams.install,
    "faust": on_faust.install,
}
MODULES = (on_payments, on_restate, on_kafka_streams, on_faust)


def chosen(given: argparse.Namespace) -> Iterator[System]:
    """Return the systems that are asked for: ours, and those of the peers."""
    keys = given.systems
    for module in MODULES:
        for system in module.systems():
            if system.peer in (OURS, *given.only) and (keys is None or system.key in keys):
                yield system


def measure(given: argparse.Namespace) -> None:
    """Measure every part that is not there; the repeats are the outer loop, so all take turns."""
    PEERS.mkdir(exist_ok=True)
    choose_build(pure=given.pure)
    for peer in given.only:
        INSTALL[peer]()
    systems = list(chosen(given))
    where = environment(f"Kafka {kafka_version()}, all processes and the load on the same cores")
    plan = Plan(given.workloads, given.concurrency, given.seconds, given.warm_up)
    for repeat in range(1, given.repeats + 1):
        for system in systems:
            asked = system.transport in given.parts
            if asked and (given.fresh or not done(given.results, system, plan, repeat)):
                part = _part(system, plan, repeat, where)
                write_part(given.results, part)
                say(f"{system.transport} {system.key}, repeat {repeat}: {part.took_seconds:.0f} s")
    if "kills" in given.parts and given.kills:
        # A process that is killed leaves what it wrote to the system: a flush changes nothing.
        killed = [s for s in systems if s.transport == TOPICS and s.durability == PAGE_CACHE]
        _measure_kills(given, killed, where)


def _part(system: System, plan: Plan, repeat: int, where: str) -> Part:
    """Measure a part; where that would mean nothing it says why, and the run goes on."""
    part = Part(
        transport=system.transport,
        system=system.key,
        name=system.name,
        peer=system.peer,
        durability=system.durability,
        repeat=repeat,
        seconds=plan.seconds,
        environment=where,
    )
    try:
        measure_part(system, plan, part)
    except BenchError as error:
        say(f"{system.transport} {system.key}, repeat {repeat}: {error}")
        part.loads.clear()
        part.refused = _first_line(error)
    return part


def _measure_kills(given: argparse.Namespace, systems: Sequence[System], where: str) -> None:
    for system in systems:
        if kills_done(given.results, system, given.kills) and not given.fresh:
            continue
        figures = KillFigures(
            system.key, system.name, system.peer, system.durability, where, given.kills
        )
        try:
            measure_kills(system, figures)
        except BenchError as error:
            say(f"kills, {system.key}: {error}")
            figures.refused = _first_line(error)
        write_kills(given.results, figures)


def _first_line(error: BenchError) -> str:
    return str(error).partition("\n")[0]
