"""Pictures of the figures, one SVG each: latency against rate, distributions, timelines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.bench.chart import Axis, Chart
from tools.bench.latencies import SHARES, SLICE_SECONDS
from tools.bench.peers.kills import KillFigures
from tools.bench.peers.parts import Part
from tools.bench.peers.report import TRANSPORTS
from tools.bench.peers.summary import MEASURES, Cell, cells

DISTRIBUTION_CONCURRENCY = 64
STEPS_PER_POINT = 5
"""Of a timeline: half a second, so that the lines of several systems can be told apart."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One file, and what it shows."""

    name: str
    chart: Chart


def pictures(parts: Sequence[Part], kills: Sequence[KillFigures]) -> Iterator[Picture]:
    """Return the pictures for which there are figures."""
    found = [cell for cell in cells(parts) if cell.workload == "unique"]
    for transport, title in TRANSPORTS.items():
        chosen = [cell for cell in found if cell.transport == transport]
        if chosen:
            yield Picture(f"{transport}-latency.svg", _latency(title, chosen))
        some = [cell for cell in chosen if cell.concurrency == DISTRIBUTION_CONCURRENCY]
        if some:
            yield Picture(f"{transport}-distribution.svg", _distribution(title, some))
            yield Picture(f"{transport}-timeline.svg", _timeline(title, some))
    kills = [run for run in kills if run.timeline]
    if kills:
        yield Picture("kills-timeline.svg", _kills(kills))


def write_pictures(made: Sequence[Picture], folder: Path) -> None:
    """Write all of them into a folder, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    for picture in made:
        (folder / picture.name).write_text(picture.chart.render())


def _latency(title: str, chosen: Sequence[Cell]) -> Chart:
    chart = Chart(
        f"Over {title}: latency against rate, at each concurrency",
        Axis("payments/s", logarithmic=True),
        Axis("p50, ms", logarithmic=True),
    )
    for system in dict.fromkeys(cell.system for cell in chosen):
        own = sorted((c for c in chosen if c.system == system), key=lambda cell: cell.concurrency)
        points = [
            (cell.median(MEASURES["payments/s"]) or 0.0, cell.median(MEASURES["p50"]) or 0.0)
            for cell in own
        ]
        chart.add(own[0].name, own[0].durability, points)
    return chart


def _distribution(title: str, chosen: Sequence[Cell]) -> Chart:
    ticks = [(float(at), f"{100 * share:g} %") for at, share in enumerate(SHARES)]
    chart = Chart(
        f"Over {title}: distribution of latencies at concurrency {DISTRIBUTION_CONCURRENCY}",
        Axis("share of the payments that took no longer", ticks=ticks),
        Axis("ms", logarithmic=True),
    )
    for cell in chosen:
        quantiles = next(iter(cell.loads.values())).figures.quantiles_ms
        points = [(float(at), value) for at, value in enumerate(quantiles)]
        chart.add(cell.name, cell.durability, points)
    return chart


def _timeline(title: str, chosen: Sequence[Cell]) -> Chart:
    chart = Chart(
        f"Over {title}: answers as they came, concurrency {DISTRIBUTION_CONCURRENCY}, first run",
        Axis("seconds"),
        Axis("payments/s"),
    )
    for cell in chosen:
        steps = next(iter(cell.loads.values())).figures.timeline
        chart.add(cell.name, cell.durability, _rates(steps))
    return chart


def _kills(kills: Sequence[KillFigures]) -> Chart:
    chart = Chart(
        "Answers while the handler is killed (broken lines)", Axis("seconds"), Axis("results/s")
    )
    for run in kills:
        chart.add(run.name, run.durability, _rates(run.timeline))
    chart.marks = {run.durability: run.kill_seconds for run in reversed(kills)}
    return chart


def _rates(steps: Sequence[int]) -> list[tuple[float, float]]:
    width = SLICE_SECONDS * STEPS_PER_POINT
    whole = len(steps) // STEPS_PER_POINT
    return [
        (width * (n + 0.5), sum(steps[n * STEPS_PER_POINT : (n + 1) * STEPS_PER_POINT]) / width)
        for n in range(whole)
    ]
