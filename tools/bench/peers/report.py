"""The report of all parts that are there: tables in Markdown, and one object for JSON."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial

from tools.bench.peers.audit import Audit
from tools.bench.peers.goals import Reached, reached
from tools.bench.peers.http_load import ACCOUNTS, STORM_PAYMENTS
from tools.bench.peers.kills import RATE, KillFigures
from tools.bench.peers.parts import Load, Part
from tools.bench.peers.summary import MEASURES, Cell, cells, total_cpu_us
from tools.bench.peers.targets import HTTP, TOPICS
from tools.bench.tables import MEGABYTE, UNKNOWN, markdown_table

WORKLOADS = {
    "unique": f"unique makes on {ACCOUNTS:,} accounts",
    "storm": f"storm: 70 % makes and 30 % cancels of {STORM_PAYMENTS} payments",
    "hot": "unique makes on one account",
}
TRANSPORTS = {HTTP: "HTTP", TOPICS: "topics"}


def report(parts: Sequence[Part], kills: Sequence[KillFigures]) -> str:
    """Return the whole text."""
    found = cells(parts)
    sections = [*_environments(parts, kills)]
    goals = _goals(found)
    if goals:
        sections += ["### Ratios", goals]
    for transport, title in TRANSPORTS.items():
        for workload, what in WORKLOADS.items():
            chosen = [c for c in found if (c.transport, c.workload) == (transport, workload)]
            if chosen:
                sections += [f"### Over {title}: {what}", _load_table(chosen)]
    sections += _lost_in_warm_ups(parts)
    sections += [f"Not measured: {why}" for _, why in refusals(parts, kills)]
    kills = [run for run in kills if run.audit is not None]
    if kills:
        sections += ["### Kills under load", _kills_text(kills), _kills_table(kills)]
    return "\n\n".join(sections)


def refusals(parts: Sequence[Part], kills: Sequence[KillFigures]) -> list[tuple[str, str]]:
    """Return the peer and one sentence for each part or run with kills that was not measured."""
    runs: list[Part | KillFigures] = [*parts, *kills]
    return [
        (run.peer, f"{run.name}, {run.durability}. {run.refused}")
        for run in runs
        if run.refused is not None
    ]


def as_json(parts: Sequence[Part], kills: Sequence[KillFigures]) -> dict[str, object]:
    """Return every single run."""
    return {"parts": [asdict(part) for part in parts], "kills": [asdict(run) for run in kills]}


def _environments(parts: Sequence[Part], kills: Sequence[KillFigures]) -> Iterator[str]:
    """Say on what was measured; parts of several days may differ."""
    runs: list[Part | KillFigures] = [*parts, *kills]
    for environment in dict.fromkeys(run.environment for run in runs):
        yield f"{environment}."
    repeats = len({part.repeat for part in parts})
    seconds = sorted({f"{part.seconds:g}" for part in parts})
    if parts:
        count = "one run" if repeats == 1 else f"up to {repeats} runs"
        yield f"Figures are medians of {count} of {' or '.join(seconds)} s; in brackets the range."


def _lost_in_warm_ups(parts: Sequence[Part]) -> list[str]:
    lost: Counter[str] = Counter()
    for part in parts:
        lost[f"{part.name}, {part.durability}"] += part.missing_in_warm_up
    told = [f"{name}: {count:,}" for name, count in lost.items() if count]
    return [f"Payments never answered in the warm-ups: {'; '.join(told)}."] if told else []


def _load_table(chosen: Sequence[Cell]) -> str:
    headings = [
        "concurrency", "system", "durability", "payments/s", "p50 ms", "p95 ms", "p99 ms",
        "CPU µs per payment", "peak memory MB", "wrong or missing",
    ]  # fmt: skip
    ordered = sorted(chosen, key=lambda cell: cell.concurrency)
    return markdown_table(headings, [_load_row(cell) for cell in ordered])


def _load_row(cell: Cell) -> list[str]:
    rates = cell.rates()
    rate = _number(cell.median(MEASURES["payments/s"]))
    spread = f" ({min(rates):,.0f}-{max(rates):,.0f})" if len(rates) > 1 else ""
    latencies = [
        cell.median(lambda load: load.figures.p50_ms),
        cell.median(lambda load: load.figures.p95_ms),
        cell.median(lambda load: load.figures.p99_ms),
    ]
    wrong = sum(load.figures.not_completed + load.figures.missing for load in cell.loads.values())
    return [
        f"{cell.concurrency:,}",
        cell.name,
        cell.durability,
        rate + spread,
        *(UNKNOWN if value is None else f"{value:,.1f}" for value in latencies),
        _cpu(cell),
        _memory(cell),
        str(wrong),
    ]


def _cpu(cell: Cell) -> str:
    each = [
        f"{name} {_number(cell.median(partial(_cpu_of, process=name)))}"
        for name in cell.processes()
    ]
    return f"{_number(cell.median(total_cpu_us))} ({', '.join(each)})"


def _cpu_of(load: Load, process: str) -> float | None:
    return load.cpu_us.get(process)


def _memory(cell: Cell) -> str:
    return ", ".join(f"{name} {_number(_peak_mb(cell, name))}" for name in cell.processes())


def _peak_mb(cell: Cell, process: str) -> float | None:
    peaks = [load.peak_bytes.get(process) for load in cell.loads.values()]
    known = [peak for peak in peaks if peak is not None]
    return max(known) / MEGABYTE if known else None


def _goals(found: Sequence[Cell]) -> str:
    rows = [_goal_row(one) for one in reached(found)]
    headings = ["what", "ours", "theirs", "target", "ours through theirs"]
    return markdown_table(headings, rows) if rows else ""


def _goal_row(one: Reached) -> list[str]:
    goal, ours, theirs = one.goal, one.ours, one.theirs
    sign = "≥" if goal.measure == "payments/s" else "≤"
    what = goal.measure, TRANSPORTS[goal.transport], goal.workload
    return [
        f"{', '.join(what)}, concurrency {goal.concurrency}",
        f"{ours.name}, {ours.durability}",
        f"{theirs.name}, {theirs.durability}",
        f"{sign} {goal.target:g} x",
        f"{one.ratio:.2f} x" if one.met else f"{one.ratio:.2f} x, **missed**",
    ]


def _kills_text(kills: Sequence[KillFigures]) -> str:
    return (
        f"{RATE} payments/s, each sent once; the process that handles them is killed (SIGKILL) "
        f"{kills[0].kills} times and started again at once. Counted are payments, at the end."
    )


def _kills_table(kills: Sequence[KillFigures]) -> str:
    headings = [
        "system", "durability", "sent", "without a result", "with more than one",
        "money not moved", "money moved more than once", "accounts that don't add up",
        "back after, s",
    ]  # fmt: skip
    return markdown_table(headings, [_kills_row(run, run.audit) for run in kills if run.audit])


def _kills_row(run: KillFigures, counts: Audit) -> list[str]:
    numbers = (
        counts.sent, counts.unanswered, counts.answered_twice,
        counts.not_taken, counts.taken_twice, counts.wrong_accounts,
    )  # fmt: skip
    back = ", ".join("never" if s is None else f"{s:.1f}" for s in run.back_seconds)
    return [run.name, run.durability, *(f"{number:,}" for number in numbers), back]


def _number(value: float | None) -> str:
    return UNKNOWN if value is None else f"{value:,.0f}"
