"""The timeline: results in each second as a picture, with the faults marked (SVG)."""

import io
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.transforms import blended_transform_factory

from tools.chaos.faults.table import FAULTS
from tools.chaos.part import Part, Strike

SECONDS = 300
"""Of each stand the beginning of its last part is drawn: more would be too small to see."""

WIDTH_INCHES, ROW_INCHES, LEGEND_INCHES = 11.0, 2.1, 0.8
LABEL_LINES = 4
LABEL_LINE = 0.09
"""Height of a line of labels, as a share of a row's."""

LETTER_SECONDS = 1.5
"""Width of a label's letter, in seconds of the axis."""

TICK_SECONDS = 30
TIMES_USUAL = 4
"""Bars end at so many times the usual rate."""

COLORS = {
    "workers": "#c2410c",
    "brokers": "#1d4ed8",
    "membership": "#7e22ce",
    "network": "#15803d",
    "clients": "#0e7490",
    "operators": "#be185d",
    "machines": "#854d0e",
    "copies": "#4d7c0f",
}
STYLE: dict[Any, Any] = {
    "font.size": 8,
    "svg.fonttype": "path",  # The same letters and widths wherever it is looked at.
    "svg.hashsalt": "payments",  # The same figures make the same file.
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(parts: Sequence[Part]) -> str:
    """Return the picture: one row for each stand."""
    last = {part.stand: part for part in parts}
    with mpl.rc_context(STYLE):
        height = LEGEND_INCHES + ROW_INCHES * len(last)
        layout = ConstrainedLayoutEngine(hspace=0.12)
        figure = Figure(figsize=(WIDTH_INCHES, height), layout=layout)
        figure.suptitle(
            f"Results per second (bars end at {TIMES_USUAL} times the median), and the faults"
        )
        rows = figure.subplots(len(last), 1, squeeze=False)[:, 0]
        for part, axes in zip(last.values(), rows, strict=True):
            _draw_row(axes, part)
        marks = [Patch(color=color, label=group) for group, color in COLORS.items()]
        figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False)
        written = io.StringIO()
        figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


def _draw_row(axes: Axes, part: Part) -> None:
    rate = part.rate[:SECONDS]
    # What was held up comes all at once: drawn in full it would flatten everything else.
    usual = statistics.median([count for count in rate if count] or [1])
    most = round(min(max([*rate, 1]), TIMES_USUAL * usual))
    shown = {second: min(count, most) for second, count in enumerate(rate) if count}
    axes.bar(list(shown), list(shown.values()), width=1, align="edge", color="#6b7280", gid="bar")
    strikes = [strike for strike in part.strikes if strike.began < SECONDS]
    for strike in strikes:
        color = COLORS[FAULTS[strike.name].group]
        axes.axvspan(
            strike.began,
            min(strike.healed, SECONDS),
            color=color,
            alpha=0.18,
            linewidth=0,
            gid="mark",
        )
        axes.axvline(strike.began, color=color, linewidth=0.8)
    for strike, start, line in _labelled(strikes):
        axes.text(
            start,
            1 + LABEL_LINE * (line + 0.3),
            strike.name,
            transform=blended_transform_factory(axes.transData, axes.transAxes),
            color=COLORS[FAULTS[strike.name].group],
            fontsize=6.5,
        )
    axes.set_xlim(0, SECONDS)
    axes.set_ylim(0, most)
    axes.set_xticks(range(0, SECONDS + 1, TICK_SECONDS))
    axes.set_ylabel(f"{part.stand}, results/s")
    axes.set_title(" ", fontsize=6 * LABEL_LINES)  # Room for the labels.


def _labelled(strikes: Sequence[Strike]) -> Iterator[tuple[Strike, float, int]]:
    """Yield the faults that get a label, with its start in seconds and its line.

    The first of each run of one kind gets one, on the lowest line that is free there.
    """
    ends = [0.0] * LABEL_LINES
    before = ""
    for strike in strikes:
        if strike.name != before:
            width = len(strike.name) * LETTER_SECONDS
            start = min(strike.began, SECONDS - width)
            line = next((n for n, end in enumerate(ends) if end <= start), None)
            if line is not None:
                ends[line] = start + width
                yield strike, start, line
        before = strike.name
