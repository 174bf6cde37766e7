"""The report of all results that are there: tables in Markdown."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tools.bench.http_load import ACCOUNTS, STORM_PAYMENTS
from tools.bench.loading import MEASURES, median_cpu_us
from tools.bench.markdown import MEGABYTE, figure, markdown_table
from tools.bench.peers.kills import RATE
from tools.bench.peers.peer_results import Cell, KillFigures, Reached, Result, cells, reached
from tools.bench.peers.peer_system import HTTP, TOPICS

WORKLOADS = {
    "unique": f"unique makes on {ACCOUNTS:,} accounts",
    "storm": f"storm: 70 % makes and 30 % cancels of {STORM_PAYMENTS} payments",
    "hot": "unique makes on one account",
}
TRANSPORTS = {HTTP: "HTTP", TOPICS: "topics"}


def report(results: Sequence[Result]) -> str:
    """Return the whole text."""
    found = cells(results)
    sections = list(_environments(results))
    if goals := list(reached(found)):
        headings = ["what", "ours", "theirs", "target", "ours through theirs"]
        sections += ["### Ratios", markdown_table(headings, list(map(_goal_row, goals)))]
    for part, title in TRANSPORTS.items():
        for workload, what in WORKLOADS.items():
            chosen = [c for c in found if (c.part, c.workload) == (part, workload)]
            if chosen:
                sections += [f"### Over {title}: {what}", _load_table(chosen)]
    sections += _lost_in_warm_ups(results)
    sections += [f"Not measured: {r.name}, {r.durability}. {r.refused}" for r in refused(results)]
    killed = [(result, result.kills) for result in results if result.kills is not None]
    if killed:
        text = (
            f"{RATE} payments/s, each sent once; the process that handles them is killed (SIGKILL) "
            f"{killed[0][1].kills} times and started again at once. Counted are payments, at the "
            "end."
        )
        sections += ["### Kills under load", text, _kills_table(killed)]
    return "\n\n".join(sections)


def refused(results: Sequence[Result]) -> list[Result]:
    """Return what was not measured."""
    return [result for result in results if result.refused is not None]


def _environments(results: Sequence[Result]) -> Iterator[str]:
    """Say on what was measured; results of several days may differ."""
    for environment in dict.fromkeys(result.environment for result in results):
        yield f"{environment}."
    loaded = [result for result in results if result.loads]
    if loaded:
        repeats = len({result.repeat for result in loaded})
        seconds = sorted({f"{result.seconds:g}" for result in loaded})
        count = "one run" if repeats == 1 else f"up to {repeats} runs"
        yield f"Figures are medians of {count} of {' or '.join(seconds)} s; in brackets the range."


def _lost_in_warm_ups(results: Sequence[Result]) -> list[str]:
    lost: Counter[str] = Counter()
    for result in results:
        lost[f"{result.name}, {result.durability}"] += result.missing_in_warm_up
    named = [f"{name}: {count:,}" for name, count in lost.items() if count]
    return [f"Payments never answered in the warm-ups: {'; '.join(named)}."] if named else []


def _goal_row(one: Reached) -> list[str]:
    goal, ours, theirs = one.goal, one.ours, one.theirs
    sign = "≥" if goal.measure == "payments/s" else "≤"
    what = goal.measure, TRANSPORTS[goal.part], goal.workload
    return [
        f"{', '.join(what)}, concurrency {goal.concurrency}",
        f"{ours.name}, {ours.durability}",
        f"{theirs.name}, {theirs.durability}",
        f"{sign} {goal.target:g} x",
        f"{one.ratio:.2f} x" if one.met else f"{one.ratio:.2f} x, **missed**",
    ]


def _load_table(chosen: Sequence[Cell]) -> str:
    headings = [
        "concurrency", "system", "durability", "payments/s", "p50 ms", "p95 ms", "p99 ms",
        "CPU µs per payment", "peak memory MB", "wrong or missing",
    ]  # fmt: skip
    ordered = sorted(chosen, key=lambda cell: cell.concurrency)
    return markdown_table(headings, list(map(_load_row, ordered)))


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


def _kills_table(killed: Sequence[tuple[Result, KillFigures]]) -> str:
    headings = [
        "system", "durability", "sent", "without a result", "with more than one",
        "money not moved", "money moved more than once", "accounts that don't add up",
        "back after, s",
    ]  # fmt: skip
    return markdown_table(headings, [_kills_row(*each) for each in killed])


def _kills_row(result: Result, kills: KillFigures) -> list[str]:
    back = ", ".join("never" if s is None else f"{s:.1f}" for s in kills.back_seconds)
    return [result.name, result.durability, *(f"{count:,}" for count in kills.audit), back]
