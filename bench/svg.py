"""Line charts as SVG text: axes with round steps, linear or logarithmic, and a legend."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape

WIDTH, HEIGHT = 860, 460
LEFT, RIGHT, TOP, BOTTOM = 70, 290, 40, 50
LINEAR_STEPS = 6
COLOURS = (
    "#1b6ca8", "#d1495b", "#2e933c", "#edae49", "#6a4c93",
    "#00798c", "#8d5524", "#555555", "#e377c2", "#17becf",
)  # fmt: skip
DASHES = ("", "6 3", "2 3")
"""Beyond the colours' number, lines are told apart by these."""

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows; ``ticks`` replaces the labels that are made from the range."""

    label: str
    logarithmic: bool = False
    ticks: Sequence[tuple[float, str]] = ()


@dataclass(slots=True)
class Chart:
    """A chart with lines; points that an axis can't show (nothing on a logarithm) are left out."""

    title: str
    x: Axis
    y: Axis
    lines: list[tuple[str, list[Point]]] = field(default_factory=list)
    marks: list[float] = field(default_factory=list)
    """Places on the x axis with a vertical line."""

    def add(self, name: str, points: Sequence[Point]) -> None:
        """Add a line."""
        shown = [
            (x, y)
            for x, y in points
            if (x > 0 or not self.x.logarithmic) and (y > 0 or not self.y.logarithmic)
        ]
        if shown:
            self.lines.append((name, shown))

    def render(self) -> str:
        """Return the whole SVG document."""
        return "\n".join(self._parts()) + "\n"

    def _parts(self) -> Iterator[str]:
        yield (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="sans-serif" font-size="12">'
        )
        yield f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
        yield f'<text x="{LEFT}" y="22" font-size="15">{escape(self.title)}</text>'
        xs = [x for _, points in self.lines for x, _ in points] + self.marks
        ys = [y for _, points in self.lines for _, y in points]
        if xs and ys:
            place_x = _scale(self.x, xs, LEFT, WIDTH - RIGHT)
            place_y = _scale(self.y, ys, HEIGHT - BOTTOM, TOP)
            yield from self._axes(xs, ys, place_x, place_y)
            for number, (name, points) in enumerate(self.lines):
                yield from _line(number, name, [(place_x(x), place_y(y)) for x, y in points])
            for at in self.marks:
                x = place_x(at)
                yield _stroke((x, TOP), (x, HEIGHT - BOTTOM), "#d1495b", ' stroke-dasharray="4 4"')
        yield "</svg>"

    def _axes(
        self,
        xs: Sequence[float],
        ys: Sequence[float],
        place_x: Callable[[float], float],
        place_y: Callable[[float], float],
    ) -> Iterator[str]:
        bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        for value, label in self.x.ticks or _ticks(self.x, xs):
            x = place_x(value)
            yield _stroke((x, TOP), (x, bottom), "#dddddd")
            yield _text(x, bottom + 16, label, "middle")
        for value, label in self.y.ticks or _ticks(self.y, ys):
            y = place_y(value)
            yield _stroke((LEFT, y), (right, y), "#dddddd")
            yield _text(LEFT - 6, y + 4, label, "end")
        yield _text((LEFT + right) / 2, HEIGHT - 12, self.x.label, "middle")
        yield (
            f'<text transform="translate(16 {(TOP + bottom) / 2:.0f}) rotate(-90)" '
            f'text-anchor="middle">{escape(self.y.label)}</text>'
        )


def _line(number: int, name: str, points: Sequence[Point]) -> Iterator[str]:
    colour = COLOURS[number % len(COLOURS)]
    dash = DASHES[number // len(COLOURS) % len(DASHES)]
    style = f'stroke="{colour}" stroke-width="2"' + (f' stroke-dasharray="{dash}"' if dash else "")
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    yield f'<polyline points="{path}" fill="none" {style}/>'
    if len(points) <= 2 * len(COLOURS):  # Where there are more, dots would hide the line.
        for x, y in points:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
    left, y = WIDTH - RIGHT + 14, TOP + 10 + 18 * number
    yield f'<line x1="{left}" y1="{y - 4}" x2="{left + 22}" y2="{y - 4}" {style}/>'
    yield _text(left + 28, y, name, "start")


def _scale(
    axis: Axis, values: Sequence[float], low: float, high: float
) -> Callable[[float], float]:
    shown = [*values, *(value for value, _ in axis.ticks)]
    if axis.logarithmic:
        first, last = math.log10(min(shown)), math.log10(max(shown))
    else:
        first, last = min(0.0, *shown), max(shown)
    width = (last - first) or 1.0

    def place(value: float) -> float:
        at = math.log10(value) if axis.logarithmic else value
        return low + (high - low) * (at - first) / width

    return place


def _ticks(axis: Axis, values: Sequence[float]) -> list[tuple[float, str]]:
    low, high = min(values), max(values)
    if axis.logarithmic:
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [step * 10.0**power for power in powers for step in (1, 2, 5)]
        return [(value, f"{value:,g}") for value in found if low <= value <= high]
    step = _round_step(max(high, 1e-9) / LINEAR_STEPS)
    return [(step * n, f"{step * n:,g}") for n in range(int(high / step) + 1)]


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * step for step in (1, 2, 5, 10) if power * step >= rough)


def _stroke(start: Point, end: Point, colour: str, more: str = "") -> str:
    (x1, y1), (x2, y2) = start, end
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"{more}/>'
    )


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
