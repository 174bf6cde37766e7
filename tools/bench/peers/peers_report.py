"""The report of all results that are there: tables in Markdown, and a picture of each transport."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.figure import Figure

from tools.bench.load_client import ACCOUNTS, HOT, STORM, STORM_PAYMENTS, UNIQUE
from tools.bench.loading import MEASURES, median_cpu_us
from tools.bench.peers.kills import RATE, KillFigures
from tools.bench.peers.peer_results import Cell, Result, cells, ratio
from tools.bench.peers.peer_system import HTTP, TOPICS
from tools.dev.markdown import MEGABYTE, figure, markdown_table

WORKLOADS = {
    UNIQUE: f"unique makes on {ACCOUNTS:,} accounts",
    STORM: f"storm: 70 % makes and 30 % cancels of {STORM_PAYMENTS} payments",
    HOT: "unique makes on one account",
}
GOALS = ("what", "ours", "theirs", "target", "ours through theirs")
LOADS = (
    "concurrency", "system", "durability", "payments/s", "p50 ms", "p95 ms", "p99 ms",
    "CPU µs per payment", "peak memory MB", "wrong or missing",
)  # fmt: skip
KILLS = (
    "system", "durability", "sent", "without a result", "with more than one", "money not moved",
    "money moved more than once", "accounts that don't add up", "back after, s",
)  # fmt: skip
PER_SECOND, P50, _, P99, CPU = MEASURES


class Goal(NamedTuple):
    """Ours through theirs; a rate must be at least, all else at most the target."""

    part: str
    workload: str
    concurrency: int
    measure: str
    ours: str
    theirs: str
    target: float


WANTED: Sequence[Goal] = (
    Goal(HTTP, "unique", 64, PER_SECOND, "payments-8-flush", "restate", 3),
    Goal(HTTP, "unique", 64, P99, "payments-8-flush", "restate", 0.5),
    Goal(HTTP, "unique", 256, PER_SECOND, "payments-8-flush", "restate", 4),
    Goal(HTTP, "unique", 256, P99, "payments-8-flush", "restate", 0.5),
    Goal(HTTP, "unique", 64, PER_SECOND, "payments-8", "restate", 7),
    Goal(HTTP, "unique", 256, PER_SECOND, "payments-8", "restate", 8),
    Goal(HTTP, "unique", 64, PER_SECOND, "payments-2-flush", "restate-2", 2.5),
    Goal(HTTP, "unique", 256, PER_SECOND, "payments-2-flush", "restate-2", 5),
    Goal(HTTP, "unique", 1, P50, "payments-8-flush", "restate", 0.75),
    Goal(HTTP, "hot", 64, PER_SECOND, "payments-8-flush", "restate", 8),
    Goal(HTTP, "storm", 64, PER_SECOND, "payments-2-flush", "restate-1", 2),
    Goal(HTTP, "unique", 64, CPU, "payments-8-flush", "restate", 0.3),
    Goal(TOPICS, "unique", 1, PER_SECOND, "payments-8", "streams-best", 8),
    Goal(TOPICS, "unique", 16, PER_SECOND, "payments-8", "streams-best", 3),
    Goal(TOPICS, "unique", 64, PER_SECOND, "payments-8", "streams-best", 2.5),
    Goal(TOPICS, "unique", 256, PER_SECOND, "payments-8", "streams-best", 1.6),
    Goal(TOPICS, "unique", 1000, PER_SECOND, "payments-8", "streams-best", 1.2),
    Goal(TOPICS, "unique", 64, P50, "payments-8", "streams", 0.1),
)


def goal_rows(found: Sequence[Cell]) -> Iterator[list[str]]:
    """Yield a row for every goal whose two sides were measured."""
    by_key = {(cell.part, cell.workload, cell.concurrency, cell.system): cell for cell in found}
    for goal in WANTED:
        ours, theirs = (by_key.get((*goal[:3], system)) for system in (goal.ours, goal.theirs))
        if ours is None or theirs is None or (value := ratio(ours, theirs, goal.measure)) is None:
            continue
        is_rate = goal.measure == PER_SECOND
        met = value >= goal.target if is_rate else value <= goal.target
        yield [
            f"{goal.measure}, {goal.part}, {goal.workload}, concurrency {goal.concurrency}",
            f"{ours.name}, {ours.durability}",
            f"{theirs.name}, {theirs.durability}",
            f"{'≥' if is_rate else '≤'} {goal.target:g} x",
            f"{value:.2f} x" if met else f"{value:.2f} x, **missed**",
        ]


def report(results: Sequence[Result]) -> str:
    """Return the whole text."""
    found = cells(results)
    sections = [f"{each}." for each in dict.fromkeys(result.environment for result in results)]
    if found:
        sections += ["Figures are medians of all runs; in brackets the range."]
    if goals := list(goal_rows(found)):
        sections += ["### Ratios", markdown_table(GOALS, goals)]
    for part in (HTTP, TOPICS):
        for workload, what in WORKLOADS.items():
            chosen = [c for c in found if (c.part, c.workload) == (part, workload)]
            if chosen:
                ordered = sorted(chosen, key=lambda cell: cell.concurrency)
                table = markdown_table(LOADS, list(map(_load_row, ordered)))
                sections += [f"### Over {part}: {what}", table]
    sections += [
        f"Not measured: {r.name}, {r.durability}. {r.refused}" for r in results if r.refused
    ]
    killed = [(result, result.kills) for result in results if result.kills is not None]
    if killed:
        text = (
            f"{RATE} payments/s, each sent once; the process that handles them is killed (SIGKILL) "
            f"{len(killed[0][1].back_seconds)} times and started again at once. Counted are "
            "payments, at the end."
        )
        rows = [_kills_row(*each) for each in killed]
        sections += ["### Kills under load", text, markdown_table(KILLS, rows)]
    return "\n\n".join(sections)


def _load_row(cell: Cell) -> list[str]:
    loads = list(cell.loads.values())
    rates = [load.figures.rate for load in loads]
    spread = f" ({min(rates):,.0f}-{max(rates):,.0f})" if len(rates) > 1 else ""
    wrong = sum(load.figures.not_completed + load.figures.missing for load in loads)
    processes = list(loads[0].cpu_us)
    cpu = [f"{name} {figure(median_cpu_us(loads, name))}" for name in processes]
    return [
        f"{cell.concurrency:,}",
        cell.name,
        cell.durability,
        figure(cell.median(MEASURES["payments/s"])) + spread,
        *(figure(cell.median(MEASURES[name]), 1) for name in ("p50", "p95", "p99")),
        f"{figure(cell.median(MEASURES['CPU per payment']))} ({', '.join(cpu)})",
        ", ".join(f"{name} {figure(_peak_mb(cell, name))}" for name in processes),
        str(wrong),
    ]


def _peak_mb(cell: Cell, process: str) -> float | None:
    peaks = [load.peak_bytes.get(process) for load in cell.loads.values()]
    known = [peak for peak in peaks if peak is not None]
    return max(known) / MEGABYTE if known else None


def _kills_row(result: Result, kills: KillFigures) -> list[str]:
    back = ", ".join("never" if s is None else f"{s:.1f}" for s in kills.back_seconds)
    return [result.name, result.durability, *(f"{count:,}" for count in kills.audit), back]


def draw(results: Sequence[Result], part: str, file: Path) -> bool:
    """Draw latency against rate, a line for each system; return whether there was any."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for cell in sorted(cells(results), key=lambda cell: cell.concurrency):
        if (cell.part, cell.workload) == (part, UNIQUE):
            rate, p50 = (cell.median(MEASURES[name]) or 0.0 for name in ("payments/s", "p50"))
            lines.setdefault(f"{cell.name}, {cell.durability}", []).append((rate, p50))
    if not lines:
        return False
    drawn = Figure(figsize=(9.0, 6.5), layout="constrained")
    axes = drawn.subplots()
    axes.set(xscale="log", yscale="log", xlabel="payments/s", ylabel="p50, ms")
    axes.grid(color="#e3e3e3")
    for name, points in sorted(lines.items()):
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    drawn.legend(loc="outside lower center", ncols=2, frameon=False)
    file.parent.mkdir(exist_ok=True)
    drawn.savefig(file, format="svg", metadata={"Date": None})
    return True
