"""``python -m tools.bench.takeover``: how long a worker takes to take over all partitions.

Each variant is an installation with so many partitions and stored payments. Its first takeover
meets topics that no worker has used; then the worker is started again and again. ``--beside`` names
a checkout of another version, which has an installation of its own on the same broker and takes
over in turn with this one.
"""

import argparse
import asyncio
import re
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.errors import KafkaError

from exactstage.errors import FailStop
from exactstage.kafka import KafkaLog
from exactstage.log import TopicPartition
from payments.settings import Settings
from payments.topics.cluster import TopicsError
from tools.bench.broker import MeasuredBroker, own_broker
from tools.bench.errors import BenchError
from tools.bench.installation import installation
from tools.bench.measuring import say
from tools.bench.options import at_least_one, count
from tools.bench.process import cpu_seconds
from tools.bench.restore import SLOWEST_RATE, store_payments
from tools.bench.scale import counting
from tools.bench.tables import markdown_table
from tools.bench.worker import READY, READY_LIMIT_SECONDS, WorkerProcess
from tools.dev.errors import BrokerError

FAILURES = (BenchError, BrokerError, FailStop, KafkaError, OSError, TopicsError)
HERE = Path(__file__).parent.parent.parent
LINE = re.compile(
    r"took over partitions .*?: (?P<rows>\d+) rows .*\((?P<steps>[^)]*)\)$", re.MULTILINE
)
STEP = re.compile(r"(\w+) ([\d.]+) s")
FIRST, AGAIN = "first", "again"


@dataclass(frozen=True, slots=True)
class Taken:
    """One takeover as its log tells it, and what the process had used until it was ready."""

    rows: int
    seconds: Mapping[str, float]
    """Of each step."""

    ready_seconds: float
    """Since the start of the process."""

    requests: int
    cpu_seconds: float | None

    @property
    def total_seconds(self) -> float:
        """All steps together."""
        return sum(self.seconds.values())


@dataclass(slots=True)
class Version:
    """One checkout and its takeovers: the first ones of installations, and those that followed."""

    name: str
    tree: Path
    first: list[Taken] = field(default_factory=list)
    again: list[Taken] = field(default_factory=list)


@dataclass(slots=True)
class Variant:
    """What there is to take over, and what was measured of each version."""

    partitions: int
    stored: int
    versions: list[Version]


def measure(
    broker: MeasuredBroker, variant: Variant, folder: Path, *, firsts: int, repeats: int
) -> None:
    """Take over version after version in turn: ``firsts`` installations, the last one again."""
    for number in range(1, firsts + 1):
        with _installed(broker, variant) as settings:
            for version in variant.versions:
                version.first.append(_take_over(version, settings[version.name], variant, folder))
            for repeat in range(repeats if number == firsts else 0):
                # Each version begins every other time: so neither always follows the other.
                for version in variant.versions[:: 1 if repeat % 2 else -1]:
                    taken = _take_over(version, settings[version.name], variant, folder)
                    version.again.append(taken)


@contextmanager
def _installed(broker: MeasuredBroker, variant: Variant) -> Iterator[Mapping[str, Settings]]:
    """Make an installation for each version."""
    with ExitStack() as stack:
        found = {}
        for version in variant.versions:
            settings = stack.enter_context(
                installation(broker.bootstrap, partitions=variant.partitions, flush=False)
            )
            asyncio.run(_warm_up(settings))
            if variant.stored:
                asyncio.run(store_payments(settings, variant.stored))
            found[version.name] = settings
        yield found


async def _warm_up(settings: Settings) -> None:
    """Let the broker make what it makes for the first claim alone: a topic of its own."""
    topic = settings.topic("payments.fencing-check")
    log = KafkaLog(settings.connection())
    try:
        await log.start([topic])
        await log.claim(f"{settings.app_id}-warm-up", [TopicPartition(topic, 0)])
    finally:
        await log.close()


def _take_over(version: Version, settings: Settings, variant: Variant, folder: Path) -> Taken:
    counts, log = folder / "counts", folder / "worker.log"
    counting.make_file(counts)
    command = (sys.executable, counting.__file__, str(counts), "worker")
    worker = WorkerProcess(settings, log, command, READY, more={"PYTHONPATH": str(version.tree)})
    try:
        limit = READY_LIMIT_SECONDS + variant.stored / SLOWEST_RATE
        ready_seconds = worker.wait_until_ready(limit)
        requests, cpu = sum(counting.read_counts(counts)), cpu_seconds(worker.pid)
    finally:
        worker.stop()
    taken = read_log(log.read_text(), ready_seconds, requests, cpu)
    if taken.rows != variant.stored:
        raise BenchError(f"{taken.rows} rows were taken over, but {variant.stored} were written")
    say(f"{variant.partitions} partitions, {version.name}: {taken.total_seconds:.2f} s")
    return taken


def read_log(text: str, ready_seconds: float, requests: int, cpu: float | None) -> Taken:
    """Return the only takeover that a worker's log tells of. Raises ``BenchError`` without one."""
    found = list(LINE.finditer(text))
    if len(found) != 1:
        raise BenchError(f"the worker's log names {len(found)} takeovers:\n{text[-1000:]}")
    steps = {name: float(seconds) for name, seconds in STEP.findall(found[0]["steps"])}
    return Taken(int(found[0]["rows"]), steps, ready_seconds, requests, cpu)


def table(variants: Sequence[Variant]) -> str:
    """Return one line for each version and kind of takeover: medians, and how far they spread."""
    headings = ["partitions", "stored", "takeover", "version", "times", "takeover, s (range)"]
    headings += ["of it claim, restore, the rest, s", "start to ready, s", "requests", "CPU, s"]
    return markdown_table(
        headings,
        [
            [f"{variant.partitions:,}", f"{variant.stored:,}", kind, version.name, *_cells(taken)]
            for variant in variants
            for kind in (FIRST, AGAIN)
            for version in variant.versions
            if (taken := version.first if kind == FIRST else version.again)
        ],
    )


def _cells(taken: Sequence[Taken]) -> list[str]:
    totals = [each.total_seconds for each in taken]
    steps = (
        _median(taken, lambda each: each.seconds["claim"]),
        _median(taken, lambda each: each.seconds["restore"]),
        _median(
            taken,
            lambda each: each.total_seconds - each.seconds["claim"] - each.seconds["restore"],
        ),
    )
    cpus = [each.cpu_seconds for each in taken if each.cpu_seconds is not None]
    return [
        str(len(taken)),
        f"{statistics.median(totals):.2f} ({min(totals):.2f} to {max(totals):.2f})",
        ", ".join(f"{seconds:.2f}" for seconds in steps),
        f"{_median(taken, lambda each: each.ready_seconds):.1f}",
        f"{_median(taken, lambda each: each.requests):,.0f}",
        f"{statistics.median(cpus):.2f}" if cpus else "-",
    ]


def _median(taken: Sequence[Taken], of: Callable[[Taken], float]) -> float:
    return statistics.median(map(of, taken))


def main() -> int:
    """Measure, and print the table; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.takeover",
        description="Measures how long takeovers of all partitions by one worker take: the first "
        "one of an installation, and those of a worker that is started again.",
    )
    parser.add_argument("--partitions", type=at_least_one, nargs="+", default=[8, 64], metavar="N")
    parser.add_argument("--stored", type=count, default=0, help="payments stored in the journals")
    parser.add_argument(
        "--firsts", type=at_least_one, default=1, help="installations of each version (%(default)s)"
    )
    parser.add_argument(
        "--repeats", type=count, default=5, help="starts again in the last one (%(default)s)"
    )
    parser.add_argument(
        "--beside", type=Path, metavar="TREE", help="a checkout of another version, in turn"
    )
    given = parser.parse_args()
    trees = {"this": HERE}
    if given.beside is not None:
        if not (given.beside / "payments").is_dir():
            parser.error(f"{given.beside} is no checkout: it has no folder payments")
        trees["beside"] = given.beside.resolve()
    variants = [
        Variant(partitions, given.stored, [Version(name, tree) for name, tree in trees.items()])
        for partitions in given.partitions
    ]
    with tempfile.TemporaryDirectory(prefix="payments-takeover-") as folder:
        for variant in variants:
            with own_broker() as broker:
                measure(broker, variant, Path(folder), firsts=given.firsts, repeats=given.repeats)
    command = f"python -m tools.bench.takeover {' '.join(sys.argv[1:])}".strip()
    print(f"`{command}`, {broker.description}.\n\n{table(variants)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FAILURES as error:
        sys.exit(f"Error: {error}")
