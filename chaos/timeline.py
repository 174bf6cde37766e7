"""The timeline: results in each second as a picture, with the faults marked (SVG)."""

import statistics
from collections.abc import Sequence
from html import escape

from chaos.faults.table import FAULTS
from chaos.part import Part, Strike

SECONDS = 300
"""Of each stand the beginning of its last part is drawn: more would be too small to see."""

PIXELS = 3.2
LEFT, TOP, HEIGHT, GAP = 52, 56, 110, 64
MARK_LINES = 3
TICK_SECONDS = 30
TIMES_USUAL = 4
"""Bars are cut at so many times the usual rate."""

COLORS = {
    "workers": "#c2410c",
    "brokers": "#1d4ed8",
    "membership": "#7e22ce",
    "network": "#15803d",
}
STYLE = (
    "text{font:10px sans-serif;fill:#374151}.bar{fill:#9ca3af}.title{font-size:12px}"
    ".axis{stroke:#d1d5db}.mark{fill-opacity:.18}"
)


def draw(parts: Sequence[Part]) -> str:
    """Return the picture: one row for each stand."""
    last = {part.stand: part for part in parts}
    width = LEFT + SECONDS * PIXELS + 10
    height = TOP + len(last) * (HEIGHT + GAP)
    rows = "".join(
        _row(part, TOP + number * (HEIGHT + GAP)) for number, part in enumerate(last.values())
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
        f'width="{width:g}" height="{height:g}"><style>{STYLE}</style>'
        f'<rect width="100%" height="100%" fill="#fff"/>{_legend()}{rows}</svg>\n'
    )


def _legend() -> str:
    marks = "".join(
        f'<rect x="{LEFT + 430 + 110 * number}" y="8" width="10" height="10" fill="{color}"/>'
        f'<text x="{LEFT + 445 + 110 * number}" y="17">{group}</text>'
        for number, (group, color) in enumerate(COLORS.items())
    )
    title = f"Results per second (bars cut at {TIMES_USUAL} times the median), and faults of"
    return f'<text class="title" x="{LEFT}" y="17">{title}</text>{marks}'


def _row(part: Part, top: float) -> str:
    rate = part.rate[:SECONDS]
    # What was held up comes all at once: drawn in full it would flatten everything else.
    usual = statistics.median([count for count in rate if count] or [1])
    most = round(min(max([*rate, 1]), TIMES_USUAL * usual))
    bottom = top + HEIGHT
    bars = "".join(
        f'<rect class="bar" x="{LEFT + second * PIXELS:.1f}" width="{PIXELS:g}" '
        f'y="{bottom - HEIGHT * count / most:.1f}" height="{HEIGHT * count / most:.1f}"/>'
        for second, count in enumerate(min(count, most) for count in rate)
        if count
    )
    ticks = "".join(
        f'<text x="{LEFT + second * PIXELS:.1f}" y="{bottom + 13}">{second} s</text>'
        for second in range(0, SECONDS, TICK_SECONDS)
    )
    strikes = [strike for strike in part.strikes if strike.began < SECONDS]
    marks = "".join(_mark(strike, number, top) for number, strike in enumerate(strikes))
    return (
        f'{bars}{marks}<line class="axis" x1="{LEFT}" x2="{LEFT + SECONDS * PIXELS:g}" '
        f'y1="{bottom}" y2="{bottom}"/>{ticks}'
        f'<text x="4" y="{top + 9}">{most:,}/s</text><text x="4" y="{bottom}">0/s</text>'
        f'<text x="4" y="{top + HEIGHT / 2}">{escape(part.stand)}</text>'
    )


def _mark(strike: Strike, number: int, top: float) -> str:
    color = COLORS[FAULTS[strike.name].group]
    x = LEFT + strike.began * PIXELS
    width = max(1.0, (min(strike.healed, SECONDS) - strike.began) * PIXELS)
    label_y = top - 4 - 10 * (number % MARK_LINES)
    return (
        f'<rect class="mark" x="{x:.1f}" y="{top}" width="{width:.1f}" height="{HEIGHT}" '
        f'fill="{color}"/>'
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{label_y}" y2="{top + HEIGHT}" stroke="{color}"/>'
        f'<text x="{x + 2:.1f}" y="{label_y + 1}">{escape(strike.name)}</text>'
    )
