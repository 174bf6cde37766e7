"""Pictures, by matplotlib: ours in colour, peers in grey, a panel for each durability."""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tools.bench.loading import MEASURES, UNIQUE
from tools.bench.ours import OURS
from tools.bench.peers.kills import SLICE_SECONDS
from tools.bench.peers.peer_results import Cell, Result, cells
from tools.bench.peers.peers_report import TRANSPORTS

OUR_COLOURS = ("#0b5cad", "#e0641c", "#1a8a4a", "#7b3fb5")
GREYS, GREY_STYLES = ("#2b2b2b", "#6f6f6f", "#a3a3a3"), ("-", "--", ":", "-.")
MARKERS = "os^Dvx"
LEGEND_COLUMNS = 2
STEPS_PER_POINT = 5
"""Of a timeline: half a second, so that the lines of several systems can be distinguished."""

STYLE: dict[Any, Any] = {
    "font.size": 9,
    "svg.fonttype": "path",  # The same letters and widths wherever it is looked at.
    "svg.hashsalt": "payments",  # The same figures make the same file.
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "axes.axisbelow": True,
}


@dataclass(slots=True)
class Chart:
    """A picture: lines by system and panel, and on the x axis the seconds of kills by panel."""

    title: str
    x_label: str
    y_label: str
    logarithmic: bool
    lines: dict[tuple[str, str], Sequence[tuple[float, float]]] = field(default_factory=dict)
    kills: dict[str, Sequence[float]] = field(default_factory=dict)

    def render(self) -> str:
        """Return the whole SVG document."""
        with mpl.rc_context(STYLE):
            written = io.StringIO()
            self._figure().savefig(written, format="svg", metadata={"Date": None})
            return written.getvalue()

    def _figure(self) -> Figure:
        looks = _looks({system: None for system, _ in self.lines})
        panels = list(dict.fromkeys(panel for _, panel in self.lines))
        rows = -(-len(looks) // LEGEND_COLUMNS)
        figure = Figure(figsize=(9.0, 3.6 + 0.24 * (rows + 2)), layout="constrained")
        figure.suptitle(self.title, fontsize=12)
        drawn = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for panel, axes in zip(panels, drawn, strict=True):
            self._draw(axes, panel, looks)
        drawn[0].set_ylabel(self.y_label)
        handles = [Line2D([], [], label=system, **look) for system, look in looks.items()]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=LEGEND_COLUMNS, frameon=False
        )
        return figure

    def _draw(self, axes: Axes, panel: str, looks: Mapping[str, dict[str, Any]]) -> None:
        axes.set_title(panel, fontsize=10)
        axes.set_xlabel(self.x_label)
        for system in reversed(list(looks)):  # Ours last, so that they lie above the others.
            if points := self.lines.get((system, panel)):
                marker = {} if self.logarithmic else {"marker": ""}
                axes.plot(*zip(*points, strict=True), **{**looks[system], **marker})
        for at in self.kills.get(panel, ()):
            axes.axvline(at, color="#c0392b", linestyle=(0, (4, 4)), linewidth=1)
        if not self.logarithmic:
            axes.set_ylim(bottom=0)
            return
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0), numticks=20))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axis.set_tick_params(labelsize=7)


def _looks(systems: Mapping[str, None]) -> dict[str, dict[str, Any]]:
    """Return how each system is drawn, ours first, the same in every panel."""
    found: dict[str, dict[str, Any]] = {}
    ours = sorted(system for system in systems if system.startswith(OURS))
    for n, system in enumerate(ours):
        look = {"color": OUR_COLOURS[n % len(OUR_COLOURS)], "linewidth": 2.6, "markersize": 5}
        found[system] = {**look, "marker": MARKERS[n % len(MARKERS)]}
    for n, system in enumerate(sorted(set(systems) - set(ours))):
        look = {"color": GREYS[n % len(GREYS)], "linewidth": 1.2, "markersize": 4}
        style = GREY_STYLES[n % len(GREY_STYLES)]
        found[system] = {**look, "linestyle": style, "marker": MARKERS[n % len(MARKERS)]}
    return found


def charts(results: Sequence[Result]) -> Iterator[tuple[str, Chart]]:
    """Yield file name and picture, of all for which there are figures."""
    found = [cell for cell in cells(results) if cell.workload == UNIQUE]
    for part, title in TRANSPORTS.items():
        if chosen := [cell for cell in found if cell.part == part]:
            yield f"{part}-latency.svg", _latency(title, chosen)
    if any(result.kills for result in results):
        yield "kills-timeline.svg", _kills(results)


def write_pictures(results: Sequence[Result], folder: Path) -> list[str]:
    """Write all pictures into a folder; return the Markdown that shows them."""
    folder.mkdir(parents=True, exist_ok=True)
    shown = []
    for name, chart in charts(results):
        (folder / name).write_text(chart.render())
        shown.append(f"![{chart.title}]({folder.name}/{name})")
    return shown


def _latency(title: str, chosen: Sequence[Cell]) -> Chart:
    title = f"Over {title}: latency against rate, at each concurrency"
    chart = Chart(title, "payments/s", "p50, ms", logarithmic=True)
    for system in dict.fromkeys(cell.system for cell in chosen):
        own = sorted((c for c in chosen if c.system == system), key=lambda cell: cell.concurrency)
        chart.lines[own[0].name, own[0].durability] = [
            (cell.median(MEASURES["payments/s"]) or 0.0, cell.median(MEASURES["p50"]) or 0.0)
            for cell in own
        ]
    return chart


def _kills(results: Sequence[Result]) -> Chart:
    title = "Answers while the handler is killed (broken lines)"
    chart = Chart(title, "seconds", "results/s", logarithmic=False)
    width = SLICE_SECONDS * STEPS_PER_POINT
    for result in results:
        if result.kills is not None:
            steps = result.kills.timeline
            whole = len(steps) // STEPS_PER_POINT
            chart.lines[result.name, result.durability] = [
                (width * (n + 0.5), sum(steps[n * STEPS_PER_POINT :][:STEPS_PER_POINT]) / width)
                for n in range(whole)
            ]
            chart.kills.setdefault(result.durability, result.kills.kill_seconds)
    return chart
