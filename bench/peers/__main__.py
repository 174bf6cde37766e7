"""``make bench-peers``: installs the peers, measures all in turn, prints and writes the report."""

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence

from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException

from bench.__main__ import INTERRUPTED, environment
from bench.errors import BenchError
from bench.measuring import say
from bench.peers import on_faust, on_kafka_streams, on_payments, on_restate
from bench.peers.install import PEERS
from bench.peers.kills import kills_file, measure_kills, read_kills, write_kills
from bench.peers.measuring import measure_part
from bench.peers.options import parse_options
from bench.peers.parts import Plan, done, read_parts, write_part
from bench.peers.pictures import pictures, write_pictures
from bench.peers.report import as_json, report
from bench.peers.targets import TOPICS, System
from bench.tables import with_figures
from dev.broker import kafka_version
from dev.errors import BrokerError
from payments.topics import TopicsError

OURS = "payments"
INSTALL = {
    "restate": on_restate.install,
    "kafka-streams": on_kafka_streams.install,
    "faust": on_faust.install,
}
MODULES = (on_payments, on_restate, on_kafka_streams, on_faust)


def main() -> int:
    """Measure what the command line asks for; return the exit code."""
    # SIGTERM ends it like Ctrl-C: what was started is stopped on the way out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = parse_options(sys.argv[1:])
    if given.list:
        for system in chosen(given):
            print(f"{system.transport}  {system.key:28} {system.name}, {system.durability}")
        return 0
    if given.write is not None:
        with_figures(given.write.read_text(), "")
    given.results.mkdir(parents=True, exist_ok=True)
    if not given.report:
        measure(given)
    parts, kills = read_parts(given.results), read_kills(given.results)
    text = report(parts, kills)
    if given.json is not None:
        given.json.write_text(json.dumps(as_json(parts, kills), indent=1) + "\n")
    made = list(pictures(parts, kills))
    if given.write is not None:
        folder = given.write.parent / "pictures"
        write_pictures(made, folder)
        shown = [f"![{p.chart.title}]({folder.name}/{p.name})" for p in made]
        given.write.write_text(with_figures(given.write.read_text(), "\n\n".join([text, *shown])))
    print(text)
    return 0


def measure(given: argparse.Namespace) -> None:
    """Measure every part that is not there; the repeats are the outer loop, so all take turns."""
    PEERS.mkdir(exist_ok=True)
    for peer in given.only:
        INSTALL[peer]()
    systems = list(chosen(given))
    where = environment(f"Kafka {kafka_version()}, all processes and the load on the same cores")
    plan = Plan(given.workloads, given.concurrency, given.seconds, given.warm_up)
    for repeat in range(1, given.repeats + 1):
        for system in systems:
            if system.transport not in given.parts:
                continue
            if not given.fresh and done(given.results, system, plan, repeat):
                continue
            part = measure_part(system, plan, repeat, where)
            write_part(given.results, part)
            say(f"{system.transport} {system.key}, repeat {repeat}: {part.took_seconds:.0f} s")
    if "kills" in given.parts and given.kills:
        _measure_kills(given, systems, where)


def chosen(given: argparse.Namespace) -> Iterator[System]:
    """Return the systems that are asked for: ours, and those of the peers."""
    keys = given.systems
    for module in MODULES:
        for system in module.systems():
            if system.peer in (OURS, *given.only) and (keys is None or system.key in keys):
                yield system


def _measure_kills(given: argparse.Namespace, systems: Sequence[System], where: str) -> None:
    for system in systems:
        if system.transport != TOPICS or (
            kills_file(given.results, system).exists() and not given.fresh
        ):
            continue
        write_kills(given.results, system, measure_kills(system, given.kills, where))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (
        BenchError,
        BrokerError,
        KafkaError,
        KafkaException,
        OSError,
        TopicsError,
        subprocess.CalledProcessError,
    ) as error:
        sys.exit(f"Error: {error}")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
