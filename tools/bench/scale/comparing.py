"""Two installations on one broker, loaded in turn: what stored payments and partitions cost."""

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from tools.bench.broker import MeasuredBroker, own_broker
from tools.bench.errors import BenchError
from tools.bench.figures import Run
from tools.bench.installation import installation
from tools.bench.measuring import System, run_load, say
from tools.bench.restore import SLOWEST_RATE, store_payments
from tools.bench.scale.measuring import Effort, system_of, warm_up
from tools.bench.worker import READY_LIMIT_SECONDS, running_worker

MANY_AGAINST_FEW = 0.6
"""What 64 partitions should at least do of what 8 do."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One of two installations."""

    partitions: int
    stored: int = 0
    """Completed payments that its worker restores before the load."""

    workers: int = 1
    at_once: int | None = None
    """Payments in flight at a time, where it is not the same for all comparisons."""

    @property
    def name(self) -> str:
        """What tells it from the other one."""
        return f"{self.partitions} partitions, {self.stored:,} stored, {self.workers} workers"


@dataclass(slots=True)
class Comparison:
    """Both under the same load, one after the other."""

    what: str
    base: Variant
    other: Variant
    target: float | None = None
    """Least ratio of the other's rate to the base's, where there is one."""

    pairs: list[tuple[Run, Run]] = field(default_factory=list)
    """Runs of base and other that followed one another."""

    @property
    def ratio(self) -> float:
        """The median over the pairs."""
        return statistics.median(other.load.rate / base.load.rate for base, other in self.pairs)


def comparisons(stored: int, at_once: int) -> list[Comparison]:
    """Return what is compared, with so many payments in flight at a time."""
    few, as_full = Variant(8), Variant(64, at_once=8 * at_once)
    return [
        Comparison(f"{stored:,} stored payments against none", few, Variant(8, stored), 0.95),
        Comparison("64 partitions against 8", few, Variant(64), MANY_AGAINST_FEW),
        Comparison(
            f"64 partitions with {as_full.at_once:,} payments at once against 8 with {at_once:,}",
            few,
            as_full,
        ),
        Comparison("two workers on the same cores against one", few, Variant(8, workers=2)),
    ]


def compare(comparison: Comparison, effort: Effort, repeats: int) -> None:
    """Fill a comparison, on a broker of its own."""
    say(f"{comparison.what}: starting")
    with (
        own_broker() as broker,
        running(broker, comparison.base, effort) as base,
        running(broker, comparison.other, effort) as other,
    ):
        for system, variant in ((base, comparison.base), (other, comparison.other)):
            warm_up(broker, system, variant.at_once or effort.concurrency, variant.partitions)
        for repeat in range(1, repeats + 1):
            pair = (
                _load(broker, base, comparison.base, effort),
                _load(broker, other, comparison.other, effort),
            )
            comparison.pairs.append(pair)
            rates = " and ".join(f"{run.load.rate:,.0f}/s" for run in pair)
            say(f"{comparison.what}, {repeat} of {repeats}: {rates}")


@contextmanager
def running(broker: MeasuredBroker, variant: Variant, effort: Effort) -> Iterator[System]:
    """Make an installation and start its workers; they end with the block."""
    limit = READY_LIMIT_SECONDS + variant.stored / SLOWEST_RATE
    with (
        installation(broker.bootstrap, partitions=variant.partitions, flush=False) as settings,
        ExitStack() as stack,
    ):
        if variant.stored:
            asyncio.run(store_payments(settings, variant.stored))
        workers = []
        for number in range(variant.workers):
            log = effort.folder / f"{settings.app_id}-{number}.log"
            worker = stack.enter_context(running_worker(settings, log))
            worker.wait_until_ready(limit)
            workers.append(worker)
        yield system_of(settings, workers[0], variant.name)
        for worker in workers:
            worker.must_run()


def _load(broker: MeasuredBroker, system: System, variant: Variant, effort: Effort) -> Run:
    run = run_load(broker, system, effort.seconds, variant.at_once or effort.concurrency)
    if run.load.missing or run.load.not_completed:
        found = f"{run.load.missing} missing, {run.load.not_completed} not completed"
        raise BenchError(f"{system.name}: {found}")
    return run
