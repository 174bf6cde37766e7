"""``python -m tools.bench.takeover_time``: how long a worker takes to take over all partitions.

The first takeover of an installation meets topics that no worker has used; then the worker is
started again and again. ``--beside`` names a checkout of another version, which has an installation
of its own on the same broker and takes over in turn with this one. The checkouts are measured, not
the compiled build.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from exactstage.log import TopicPartition
from payments.settings import Settings
from tools.bench.bench_command import Command, Option, Report, say
from tools.bench.failures import BenchError
from tools.bench.installations import installation, open_log, own_broker
from tools.bench.markdown import figure, markdown_table
from tools.bench.measured_process import READY_LIMIT_SECONDS, WorkerProcess, cpu_seconds
from tools.bench.restore import SLOWEST_RATE, store_payments
from tools.bench.takeover_log import Takeover, takeovers
from tools.dev.broker import kafka_version

HERE = Path(__file__).parents[2]
COMMAND = Command(
    "tools.bench.takeover_time",
    __doc__,
    {
        "partitions": Option([8, 64], quick=[2]),
        "stored": Option(0, "payments stored in the journals", least=0),
        "repeats": Option(5, "starts again", quick=1, least=0),
        "beside": Option(None, "a checkout of another version, in turn"),
    },
)
HEADINGS = (
    "partitions", "stored", "takeover", "version", "times", "takeover, s (range)",
    "of it claim, restore, the rest, s", "start to ready, s", "CPU, s",
)  # fmt: skip


class Taken(NamedTuple):
    """One takeover, and what the process had used until it was ready."""

    takeover: Takeover
    ready_seconds: float
    """Since the start of the process."""

    cpu_seconds: float | None


def measure(given: argparse.Namespace) -> Report:
    """Measure each number of partitions on a broker of its own."""
    trees = {"this": HERE}
    if given.beside is not None:
        if not (given.beside / "payments").is_dir():
            raise BenchError(f"{given.beside} is no checkout: it has no folder payments")
        trees["beside"] = given.beside.resolve()
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory(prefix="payments-takeover-") as folder:
        for partitions in given.partitions:
            taken = take_over(partitions, trees, given, Path(folder))
            rows += [[f"{partitions:,}", f"{given.stored:,}", *row] for row in table_rows(taken)]
    return Report(markdown_table(HEADINGS, rows), f"Kafka {kafka_version()} on the same cores")


def take_over(
    partitions: int, trees: dict[str, Path], given: argparse.Namespace, folder: Path
) -> dict[str, list[Taken]]:
    """Return the takeovers of each version, which take turns; the first one comes first."""
    taken: dict[str, list[Taken]] = {name: [] for name in trees}
    with own_broker() as broker, ExitStack() as stack:
        settings = {
            name: stack.enter_context(
                installation(broker.bootstrap, partitions=partitions, flush=False)
            )
            for name in trees
        }
        for each in settings.values():
            asyncio.run(_prepare(each, given.stored))
        for repeat in range(given.repeats + 1):
            # Each version begins every other time: so neither always follows the other.
            for name in list(trees)[:: -1 if repeat % 2 else 1]:
                found = _take_over(settings[name], trees[name], given.stored, folder)
                taken[name].append(found)
                say(f"{partitions} partitions, {name}: {found.takeover.total_seconds:.2f} s")
    return taken


async def _prepare(settings: Settings, stored: int) -> None:
    """Let the broker make what it makes for the first claim alone: a topic of its own."""
    topic = settings.topics.fencing_check
    async with open_log(settings, [topic]) as log:
        await log.claim(f"{settings.app_id}-warm-up", [TopicPartition(topic, 0)])
    if stored:
        await store_payments(settings, stored)


def _take_over(settings: Settings, tree: Path, stored: int, folder: Path) -> Taken:
    # ``-P``: the other checkout's package, not that of the folder where this was started.
    command = (sys.executable, "-P", "-m", "payments.cli", "worker")
    more = {"PYTHONPATH": str(tree)}
    with WorkerProcess(settings, folder / "takeover.log", command, more=more) as worker:
        ready_seconds = worker.wait_until_ready(READY_LIMIT_SECONDS + stored / SLOWEST_RATE)
        cpu = cpu_seconds(worker.pid)
    takeover = only_takeover(worker.log.read_text())
    if takeover.rows != stored:
        raise BenchError(f"{takeover.rows} rows were taken over, but {stored} were written")
    return Taken(takeover, ready_seconds, cpu)


def only_takeover(log: str) -> Takeover:
    """Return the takeover of a worker's log. Raises ``BenchError`` unless there is one."""
    found = takeovers(log)
    if len(found) != 1:
        raise BenchError(f"the worker's log names {len(found)} takeovers:\n{log[-1000:]}")
    return found[0]


def table_rows(taken: dict[str, list[Taken]]) -> Iterator[list[str]]:
    """Yield one row for each kind of takeover and version: medians, and how far they spread."""
    for kind, part in (("first", slice(1)), ("again", slice(1, None))):
        for version, all_of_it in taken.items():
            if found := all_of_it[part]:
                yield [kind, version, *_cells(found)]


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
        figure(statistics.median(cpus) if cpus else None, 2),
    ]


if __name__ == "__main__":
    COMMAND.run(measure)
