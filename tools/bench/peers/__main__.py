"""``make bench-peers``: installs the peers, measures all in turn, prints and writes the report."""

import json
import signal
import subprocess
import sys

from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException

from payments.topics.cluster import TopicsError
from tools.bench.__main__ import INTERRUPTED
from tools.bench.errors import BenchError
from tools.bench.peers.kills import read_kills
from tools.bench.peers.options import parse_options
from tools.bench.peers.parts import read_parts
from tools.bench.peers.pictures import pictures, write_pictures
from tools.bench.peers.report import as_json, refusals, report
from tools.bench.peers.run import OURS, chosen, measure
from tools.bench.tables import with_figures
from tools.dev.errors import BrokerError


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
    return 1 if OURS in {peer for peer, _ in refusals(parts, kills)} else 0


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
