"""Pictures as inline SVG: they print sharply, need no script and no network."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 720, 300
LEFT, RIGHT, TOP, BOTTOM = 52, 150, 32, 44
# Okabe and Ito's palette, told apart by colour-blind readers; the first series is drawn in ink
COLOURS = ("#1b2a33", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
LABEL_HEIGHT = 15
MOST_LABELS = 12  # more names than this cannot stand beside the picture; then only the main line keeps its own


def line_chart(series: Mapping[str, Points], *, x: str, y: str) -> Markup:
    """Draw lines with their names at their ends; the first series is the main one, drawn on top.

    Args:
        series: name → points (x, y), ascending in x; every series has a point.
        x: what the horizontal axis shows.
        y: what the vertical axis shows.
    """
    shown = {name: points for name, points in series.items() if points}
    xs = [point[0] for points in shown.values() for point in points]
    ys = [point[1] for points in shown.values() for point in points]
    ticks = _ticks(min(ys), max(ys))
    scale = _Scale(min(xs), max(xs), ticks[0], ticks[-1])
    labelled = list(shown)[: len(shown) if len(shown) <= MOST_LABELS else 1]
    ends = _spread_labels({name: scale.y(shown[name][-1][1]) for name in labelled})
    parts = [scale.axes(x, y, ticks)]
    for number, (name, points) in reversed(list(enumerate(shown.items()))):
        colour, width = COLOURS[number % len(COLOURS)], 3 if number == 0 else 1.5
        path = " ".join(f"{scale.x(a):.1f},{scale.y(b):.1f}" for a, b in points)
        parts.append(
            Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="{}"/>').format(path, colour, width)
        )
        if name in ends:
            parts.append(
                Markup('<text x="{:.0f}" y="{:.1f}" style="fill:{}">{}</text>').format(
                    WIDTH - RIGHT + 8, ends[name] + 4, colour, _short(name)
                )
            )
    head = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{} by {}">').format(WIDTH, HEIGHT, y, x)
    return head + Markup("").join(parts) + Markup("</svg>")


def calibration_chart(tenths: Sequence[Mapping[str, float]]) -> Markup:
    """Draw how often a yes came against how often it was predicted, by tenths of probability.

    Args:
        tenths: mean predicted probability ("predicted") and share of yeses ("observed") of each tenth, ascending.
    """
    if not tenths:
        return Markup("")
    points = [(100 * each["predicted"], 100 * each["observed"]) for each in tenths]
    series = {"the model": points, "perfect": [(0.0, 0.0), (100.0, 100.0)]}
    return line_chart(series, x="predicted, %", y="came true, %")


class _Scale:
    """From data to picture."""

    def __init__(self, left: float, right: float, low: float, high: float) -> None:
        self._left, self._right, self._low, self._high = left, right, low, high

    def x(self, value: float) -> float:
        share = (value - self._left) / ((self._right - self._left) or 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self._low) / ((self._high - self._low) or 1)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def axes(self, x: str, y: str, ticks: Sequence[float]) -> Markup:
        """Draw a guide line at each tick and the names of the axes."""
        lines = []
        for value in ticks:
            at = self.y(value)
            lines.append(
                Markup('<line x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}" stroke="#dde3e6"/>').format(
                    LEFT, WIDTH - RIGHT, at, at
                )
                + Markup('<text x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                    LEFT - 8, at + 4, _label(value, ticks)
                )
            )
        count = int(self._right - self._left)
        for tick in range(0, count + 1, max(1, count // 10)):
            value = self._left + tick
            lines.append(
                Markup('<text x="{:.1f}" y="{}" text-anchor="middle">{:.0f}</text>').format(
                    self.x(value), HEIGHT - BOTTOM + 18, value
                )
            )
        names = Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, x
        )
        names += Markup('<text x="{}" y="14">{}</text>').format(LEFT, y)
        return Markup("").join(lines) + names


def _spread_labels(wanted: Mapping[str, float]) -> dict[str, float]:
    """Move labels apart so that none covers another or leaves the picture, keeping their order."""
    names = sorted(wanted, key=lambda name: wanted[name])
    places: list[float] = []
    for name in names:
        places.append(max(wanted[name], places[-1] + LABEL_HEIGHT if places else 0.0))
    floor = float(HEIGHT - BOTTOM)
    for number in reversed(range(len(places))):
        places[number] = floor = min(places[number], floor)
        floor -= LABEL_HEIGHT
    return dict(zip(names, places, strict=True))


def _label(value: float, ticks: Sequence[float]) -> str:
    """Write a tick: whole numbers where all are, hundredths where not."""
    return f"{value:.0f}" if all(float(tick).is_integer() for tick in ticks) else f"{value:.2f}"


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers, a whole step apart, that reach from below the lowest value to above the highest."""
    rough = max(high - low, 0.02) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first, last = math.floor(low / step), math.ceil(high / step)
    return [round(step * number, 6) for number in range(first, max(last, first + 1) + 1)]


def _short(name: str) -> Markup:
    return escape(name if len(name) <= 20 else name[:19] + "…")
