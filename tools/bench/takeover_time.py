"""``python -m tools.bench.takeover_time``: how long a worker takes to take over all partitions.

A variant is an installation with a number of partitions and of stored payments. Its first takeover
meets topics that no worker has used; then the worker is started again and again. ``--beside`` names
a checkout of another version, which has an installation of its own on the same broker and takes
over in turn with this one. The checkouts are measured, not the compiled build.
"""

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from exactstage.log import TopicPartition
from payments.settings import Settings
from tools.bench.bench_command import Command, Option, Report, say
from tools.bench.counted_worker import CountedWorker
from tools.bench.failures import BenchError
from tools.bench.installations import MeasuredBroker, installation, open_log, own_broker
from tools.bench.markdown import figure, markdown_table
from tools.bench.measured_process import READY_LIMIT_SECONDS, cpu_seconds
from tools.bench.restore import SLOWEST_RATE, store_payments
from tools.bench.takeover_log import Takeover, takeovers

HERE = Path(__file__).parents[2]
FIRST, AGAIN = "first", "again"
COMMAND = Command(
    "tools.bench.takeover_time",
    __doc__,
    {
        "partitions": Option([8, 64], quick=[2]),
        "stored": Option(0, "payments stored in the journals", least=0),
        "firsts": Option(1, "installations of each version"),
        "repeats": Option(5, "starts again in the last one", quick=1, least=0),
        "beside": Option(None, "a checkout of another version, in turn"),
    },
)


@dataclass(frozen=True, slots=True)
class Taken:
    """One takeover, and what the process had used until it was ready."""

    takeover: Takeover
    ready_seconds: float
    """Since the start of the process."""

    requests: int
    cpu_seconds: float | None


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


def measure(given: argparse.Namespace) -> Report:
    """Measure each number of partitions on a broker of its own."""
    trees = {"this": HERE}
    if given.beside is not None:
        if not (given.beside / "payments").is_dir():
            raise BenchError(f"{given.beside} is no checkout: it has no folder payments")
        trees["beside"] = given.beside.resolve()
    variants = [
        Variant(partitions, given.stored, [Version(name, tree) for name, tree in trees.items()])
        for partitions in given.partitions
    ]
    with tempfile.TemporaryDirectory(prefix="payments-takeover-") as folder:
        for variant in variants:
            with own_broker() as broker:
                measure_variant(
                    broker, variant, Path(folder), firsts=given.firsts, repeats=given.repeats
                )
    return Report(table(variants), broker.description)


def measure_variant(
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
    async with open_log(settings, [topic]) as log:
        await log.claim(f"{settings.app_id}-warm-up", [TopicPartition(topic, 0)])


def _take_over(version: Version, settings: Settings, variant: Variant, folder: Path) -> Taken:
    with CountedWorker(settings, folder, "takeover", version.tree) as worker:
        ready_seconds = worker.wait_until_ready(READY_LIMIT_SECONDS + variant.stored / SLOWEST_RATE)
        requests, cpu = sum(worker.counts()), cpu_seconds(worker.pid)
    takeover = only_takeover(worker.log.read_text())
    if takeover.rows != variant.stored:
        raise BenchError(f"{takeover.rows} rows were taken over, but {variant.stored} were written")
    say(f"{variant.partitions} partitions, {version.name}: {takeover.total_seconds:.2f} s")
    return Taken(takeover, ready_seconds, requests, cpu)


def only_takeover(log: str) -> Takeover:
    """Return the takeover of a worker's log. Raises ``BenchError`` unless there is one."""
    found = takeovers(log)
    if len(found) != 1:
        raise BenchError(f"the worker's log names {len(found)} takeovers:\n{log[-1000:]}")
    return found[0]


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
    found = [each.takeover for each in taken]
    totals = [each.total_seconds for each in found]
    claims = [each.seconds["claim"] for each in found]
    restores = [each.restore_seconds for each in found]
    rests = [each.total_seconds - each.seconds["claim"] - each.restore_seconds for each in found]
    cpus = [each.cpu_seconds for each in taken if each.cpu_seconds is not None]
    return [
        str(len(taken)),
        f"{statistics.median(totals):.2f} ({min(totals):.2f} to {max(totals):.2f})",
        ", ".join(f"{statistics.median(steps):.2f}" for steps in (claims, restores, rests)),
        f"{statistics.median(each.ready_seconds for each in taken):.1f}",
        f"{statistics.median(each.requests for each in taken):,.0f}",
        figure(statistics.median(cpus) if cpus else None, 2),
    ]


if __name__ == "__main__":
    COMMAND.run(measure)
