"""Line charts, drawn by matplotlib: ours in colour, others in grey, a panel for each durability."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

WIDTH_INCHES, PANEL_INCHES, LEGEND_ROW_INCHES = 9.0, 3.6, 0.24
LEGEND_COLUMNS = 2
OURS = "payments"
"""A system whose name begins so is drawn in colour, thick, and before the others."""

OUR_COLOURS = ("#0b5cad", "#e0641c", "#1a8a4a", "#7b3fb5")
OTHER_GREYS = ("#2b2b2b", "#6f6f6f", "#a3a3a3")
OTHER_STYLES = ("-", "--", ":", "-.")
MARKERS = "os^Dvx"
MOST_MARKED = 20
"""A line of more points has no markers: they would hide it."""

MOST_DECADES_WITH_STEPS = 4
"""On a longer logarithmic axis only the powers of ten have room for a label."""

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

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows; ``ticks`` replaces the labels that are made from the range."""

    label: str
    logarithmic: bool = False
    ticks: Sequence[tuple[float, str]] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """One system's points."""

    system: str
    panel: str
    points: Sequence[Point]


@dataclass(slots=True)
class Chart:
    """A chart with lines; points that an axis can't show (nothing on a logarithm) are left out."""

    title: str
    x: Axis
    y: Axis
    lines: list[Line] = field(default_factory=list)
    marks: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Places on the x axis with a vertical line, by panel."""

    def add(self, system: str, panel: str, points: Sequence[Point]) -> None:
        """Add a system's line to a panel (a durability, in most charts)."""
        shown = [
            (x, y)
            for x, y in points
            if (x > 0 or not self.x.logarithmic) and (y > 0 or not self.y.logarithmic)
        ]
        if shown:
            self.lines.append(Line(system, panel, shown))

    def render(self) -> str:
        """Return the whole SVG document."""
        with mpl.rc_context(STYLE):
            written = io.StringIO()
            self._figure().savefig(written, format="svg", metadata={"Date": None})
            return written.getvalue()

    def _figure(self) -> Figure:
        systems = sorted({line.system: None for line in self.lines}, key=_ours_first)
        looks = _looks(systems)
        panels = list(dict.fromkeys(line.panel for line in self.lines)) or [""]
        rows = -(-len(systems) // LEGEND_COLUMNS)
        height = PANEL_INCHES + LEGEND_ROW_INCHES * (rows + 2)
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        figure.suptitle(self.title, fontsize=12)
        drawn = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        for panel, axes in zip(panels, drawn, strict=True):
            self._draw(axes, panel, looks)
        drawn[0].set_ylabel(self.y.label)
        handles = [Line2D([], [], label=system, **looks[system]) for system in systems]
        figure.legend(
            handles=handles, loc="outside lower center", ncols=LEGEND_COLUMNS, frameon=False
        )
        return figure

    def _draw(self, axes: Axes, panel: str, looks: Mapping[str, Mapping[str, Any]]) -> None:
        axes.set_title(panel, fontsize=10)
        axes.set_xlabel(self.x.label)
        # Ours last, so that they lie above the others.
        for line in sorted(self.lines, key=lambda line: _ours_first(line.system), reverse=True):
            if line.panel == panel:
                look = dict(looks[line.system])
                if len(line.points) > MOST_MARKED:
                    look["marker"] = ""
                xs, ys = zip(*line.points, strict=True)
                axes.plot(xs, ys, **look)
        for at in self.marks.get(panel, ()):
            axes.axvline(at, color="#c0392b", linestyle=(0, (4, 4)), linewidth=1)
        _scale(axes.xaxis, axes.set_xscale, self.x)
        _scale(axes.yaxis, axes.set_yscale, self.y)
        if not self.y.logarithmic:
            axes.set_ylim(bottom=0)


def _ours_first(system: str) -> tuple[bool, str]:
    return not system.startswith(OURS), system


def _looks(systems: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return how each system is drawn, the same in every panel."""
    found: dict[str, dict[str, Any]] = {}
    ours = [system for system in systems if system.startswith(OURS)]
    for number, system in enumerate(ours):
        found[system] = {
            "color": OUR_COLOURS[number % len(OUR_COLOURS)],
            "linewidth": 2.6,
            "marker": MARKERS[number % len(MARKERS)],
            "markersize": 5,
        }
    for number, system in enumerate(system for system in systems if system not in found):
        found[system] = {
            "color": OTHER_GREYS[number % len(OTHER_GREYS)],
            "linewidth": 1.2,
            "linestyle": OTHER_STYLES[number % len(OTHER_STYLES)],
            "marker": MARKERS[number % len(MARKERS)],
            "markersize": 4,
        }
    return found


def _scale(axis: Any, set_scale: Callable[[str], None], shown: Axis) -> None:  # noqa: ANN401 - either of matplotlib's two axis classes
    if shown.ticks:
        axis.set_ticks([at for at, _ in shown.ticks], [label for _, label in shown.ticks])
        axis.set_tick_params(labelsize=7)
        return
    if shown.logarithmic:
        set_scale("log")
        low, high = axis.get_view_interval()
        steps = (1.0, 2.0, 5.0) if math.log10(high / low) < MOST_DECADES_WITH_STEPS else (1.0,)
        axis.set_major_locator(LogLocator(base=10, subs=steps, numticks=20))
        axis.set_minor_locator(NullLocator())
        axis.set_minor_formatter(NullFormatter())
        axis.set_tick_params(labelsize=7)
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
