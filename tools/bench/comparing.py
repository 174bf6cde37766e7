"""Two installations on one broker, loaded in turn: what stored payments and partitions cost."""

import statistics
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field

from tools.bench.bench_command import say
from tools.bench.failures import BenchError
from tools.bench.installations import MeasuredBroker, own_broker
from tools.bench.loading import Load, Target, run_load
from tools.bench.markdown import UNKNOWN, figure, markdown_table
from tools.bench.ours import running_ours
from tools.bench.partitions_cost import Effort, warm_up

MANY_AGAINST_FEW = 0.6
"""What 64 partitions should at least do of what 8 do."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One of two installations; ``stored`` payments are restored by its workers before."""

    partitions: int
    at_once: int
    """Payments in flight at a time."""

    stored: int = 0
    workers: int = 1


@dataclass(slots=True)
class Comparison:
    """Both under the same load, one after the other."""

    what: str
    base: Variant
    other: Variant
    target: float | None = None
    """Least ratio of the other's rate to the base's, where there is one."""

    pairs: list[tuple[Load, Load]] = field(default_factory=list)
    """Loads of base and other that followed one another."""

    @property
    def ratio(self) -> float:
        """The median over the pairs."""
        return statistics.median(
            other.figures.rate / base.figures.rate for base, other in self.pairs
        )


def comparisons(stored: int, at_once: int) -> list[Comparison]:
    """Return what is compared, with ``at_once`` payments in flight."""
    few, full = Variant(8, at_once), 8 * at_once
    return [
        Comparison(
            f"{stored:,} stored payments against none", few, Variant(8, at_once, stored), 0.95
        ),
        Comparison("64 partitions against 8", few, Variant(64, at_once), MANY_AGAINST_FEW),
        Comparison(
            f"64 partitions with {full:,} payments at once against 8 with {at_once:,}",
            few,
            Variant(64, full),
        ),
        Comparison(
            "two workers on the same cores against one", few, Variant(8, at_once, workers=2)
        ),
    ]


def compare(comparison: Comparison, effort: Effort, repeats: int) -> None:
    """Fill a comparison, on a broker of its own."""
    say(f"{comparison.what}: starting")
    with own_broker() as broker, ExitStack() as stack:
        running = [
            (variant, stack.enter_context(_running(broker, variant, effort)))
            for variant in (comparison.base, comparison.other)
        ]
        for variant, system in running:
            warm_up(system, variant.at_once, variant.partitions)
        for repeat in range(1, repeats + 1):
            base, other = (_load(system, variant, effort) for variant, system in running)
            comparison.pairs.append((base, other))
            rates = f"{base.figures.rate:,.0f}/s and {other.figures.rate:,.0f}/s"
            say(f"{comparison.what}, {repeat} of {repeats}: {rates}")


def _running(
    broker: MeasuredBroker, variant: Variant, effort: Effort
) -> AbstractContextManager[Target]:
    return running_ours(
        broker,
        effort.folder,
        partitions=variant.partitions,
        workers=variant.workers,
        stored=variant.stored,
    )


def _load(target: Target, variant: Variant, effort: Effort) -> Load:
    load = run_load(target, effort.seconds, variant.at_once)
    found = load.figures
    if found.missing or found.not_completed:
        raise BenchError(f"{variant}: {found.missing} missing, {found.not_completed} not completed")
    return load


def comparisons_table(compared: Sequence[Comparison]) -> str:
    """Return one row for each comparison: rates, ratio, and what it should be."""
    return markdown_table(
        ["compared", "payments/s", "against", "ratio", "should be"],
        [
            [
                each.what,
                _rate([other for _, other in each.pairs]),
                _rate([base for base, _ in each.pairs]),
                f"{each.ratio:.2f}",
                UNKNOWN if each.target is None else f"at least {each.target:g}",
            ]
            for each in compared
        ],
    )


def _rate(loads: Sequence[Load]) -> str:
    return figure(statistics.median(load.figures.rate for load in loads))
