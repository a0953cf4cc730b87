"""The pictures of an audit: ROC curves in log-log scale, bounds against a claim, risk by group of patients.

Every picture has its numbers in a table beside it; lines differ by dashes as well as by colour, so that they survive a
printer without colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.charts import COLOURS, WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    Points = Sequence[tuple[float, float]]

DASHES = ("", "7 3", "2 3", "9 3 2 3")
INK, SOFT, GRID = COLOURS[0], "#5b6b75", "#dde3e6"
SIDE, LEFT, TOP, BOTTOM = 420, 70, 14, 46  # a ROC picture is square
ROW, NAMES = 26, 250


@dataclass(frozen=True, slots=True)
class Curve:
    """One attack's ROC curve, and the intervals at the false-positive rates that have one."""

    name: str
    points: Points
    intervals: Mapping[float, tuple[float, float]]  # false-positive rate → low, high


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of an interval picture; None is an end that nothing bounds."""

    name: str
    low: float | None
    value: float | None
    high: float | None
    marked: bool = False  # drawn as a breach


def roc_chart(curves: Sequence[Curve]) -> Markup:
    """Draw true against false positives in log-log scale, with the line of a guess and the intervals that are known.

    Args:
        curves: at least one, each with a point; rates in [0, 1]. What is 0 is drawn on the axis.
    """
    rates = [rate for curve in curves for point in curve.points for rate in point if rate > 0]
    rates += [rate for curve in curves for rate in curve.intervals]
    decades = min(5, max(2, math.ceil(-math.log10(min(rates, default=0.01)) - 1e-9)))
    scale = _Log(decades)
    parts = [scale.axes("false-positive rate", "true-positive rate")]
    parts.append(_line(scale.at(scale.floor, scale.floor), scale.at(1, 1), SOFT, dash="3 4"))
    for number, curve in reversed(list(enumerate(curves))):
        colour, dash = COLOURS[(number + 1) % len(COLOURS)], DASHES[number % len(DASHES)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (scale.at(*point) for point in curve.points))
        parts.append(
            Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2" stroke-dasharray="{}"/>').format(
                path, colour, dash
            )
        )
        for rate, (low, high) in curve.intervals.items():
            shift = 4.0 * (number - (len(curves) - 1) / 2)
            (x, bottom), (_, top) = scale.at(rate, low), scale.at(rate, high)
            parts.append(_whisker(x + shift, bottom, top, colour))
        at = TOP + 18 + 18 * number
        parts.append(_line((SIDE + 18, at - 4), (SIDE + 48, at - 4), colour, dash=dash, width=2))
        parts.append(_text(SIDE + 56, at, curve.name, anchor="start"))
    at = TOP + 18 + 18 * len(curves)
    parts.append(_line((SIDE + 18, at - 4), (SIDE + 48, at - 4), SOFT, dash="3 4"))
    parts.append(_text(SIDE + 56, at, "a guess", anchor="start"))
    alternative = f"ROC curves of {', '.join(curve.name for curve in curves)} in log-log scale"
    return _svg(SIDE + 200, SIDE, alternative, parts)


def interval_chart(bars: Sequence[Bar], *, unit: str, marks: Mapping[str, float]) -> Markup:
    """Draw values with their intervals in rows, against vertical lines such as the claim or a guess.

    Args:
        bars: from top to bottom; a low end without a value is drawn as a bound with an arrow.
        unit: what the horizontal axis shows.
        marks: name → place of a vertical line; one without a name only stretches the axis.
    """
    known = [number for bar in bars for number in (bar.low, bar.value, bar.high) if number is not None]
    known += list(marks.values())
    low, high = min(known), max(known)
    step = _step(high - low)
    low, high = math.floor(low / step) * step, math.ceil(high / step + 1e-9) * step

    def at(number: float) -> float:
        return NAMES + (number - low) / ((high - low) or 1) * (WIDTH - NAMES - 30)

    bottom = 30 + ROW * len(bars)
    parts = []
    for tick in range(round((high - low) / step) + 1):
        number = low + tick * step
        parts.append(_line((at(number), 24), (at(number), bottom), GRID))
        parts.append(_text(at(number), bottom + 16, f"{number:.10g}"))
    for number, (name, place) in enumerate((name, place) for name, place in marks.items() if name):
        parts.append(_line((at(place), 18), (at(place), bottom), INK, dash=DASHES[number % 2 + 1], width=1.5))
        parts.append(_text(at(place), 12, name))
    for number, bar in enumerate(bars):
        parts.append(_bar(bar, 40 + ROW * number, at, right=at(high)))
    parts.append(_text((NAMES + WIDTH - 30) / 2, bottom + 34, unit))
    return _svg(WIDTH, bottom + 40, f"{unit} of {', '.join(bar.name for bar in bars)}", parts)


def _bar(bar: Bar, y: float, at: object, *, right: float) -> Markup:
    """One row: its name, the interval as a line and the value as a dot; an open end runs to the edge as an arrow."""
    assert callable(at)
    colour = COLOURS[2] if bar.marked else COLOURS[1]
    parts = [_text(NAMES - 12, y + 4, bar.name if len(bar.name) <= 36 else f"{bar.name[:35]}…", anchor="end")]
    if bar.low is None:
        return Markup("").join([*parts, _text(NAMES + 4, y + 4, "no interval", anchor="start")])
    start, end = at(bar.low), right if bar.high is None else at(bar.high)
    parts.append(_line((start, y), (end, y), colour, width=2))
    parts.append(_line((start, y - 6), (start, y + 6), colour, width=2))
    if bar.high is None:
        arrow = f"{end - 8:.1f},{y - 4:.1f} {end:.1f},{y:.1f} {end - 8:.1f},{y + 4:.1f}"
        parts.append(Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="2"/>').format(arrow, colour))
    else:
        parts.append(_line((end, y - 6), (end, y + 6), colour, width=2))
    if bar.value is not None:
        parts.append(Markup('<circle cx="{:.1f}" cy="{:.1f}" r="4" fill="{}"/>').format(at(bar.value), y, colour))
    return Markup("").join(parts)


class _Log:
    """From rates to a square picture, both axes logarithmic over some decades up to 1."""

    def __init__(self, decades: int) -> None:
        self._decades = decades
        self.floor = 10.0**-decades

    def at(self, x: float, y: float) -> tuple[float, float]:
        return LEFT + self._share(x) * (SIDE - LEFT - 10), SIDE - BOTTOM - self._share(y) * (SIDE - TOP - BOTTOM)

    def _share(self, rate: float) -> float:
        return 1 + math.log10(max(rate, self.floor)) / self._decades

    def axes(self, x: str, y: str) -> Markup:
        parts = []
        for decade in range(self._decades + 1):
            rate = 10.0**-decade
            name = f"{100 * rate:.10g} %"
            across, up = self.at(rate, rate)
            parts.append(_line((LEFT, up), (SIDE - 10, up), GRID))
            parts.append(_line((across, TOP), (across, SIDE - BOTTOM), GRID))
            parts.append(_text(LEFT - 8, up + 4, name, anchor="end"))
            parts.append(_text(across, SIDE - BOTTOM + 18, name, anchor="end" if decade == 0 else "middle"))
        parts.append(_text((LEFT + SIDE) / 2, SIDE - 8, x))
        turned = Markup('<text x="{0}" y="{1}" text-anchor="middle" transform="rotate(-90 {0} {1})">{2}</text>')
        parts.append(turned.format(13, (TOP + SIDE - BOTTOM) / 2, y))
        return Markup("").join(parts)


def _svg(width: float, height: float, alternative: str, parts: Iterable[Markup]) -> Markup:
    head = Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}" style="max-width:{:.0f}px">').format(
        width, height, alternative, width
    )
    return head + Markup("").join(parts) + Markup("</svg>")


def _line(
    start: tuple[float, float], end: tuple[float, float], colour: str, *, dash: str = "", width: float = 1
) -> Markup:
    return Markup(
        '<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}" stroke-width="{}" stroke-dasharray="{}"/>'
    ).format(*start, *end, colour, width, dash)


def _whisker(x: float, bottom: float, top: float, colour: str) -> Markup:
    """An upright interval with its ends."""
    ends = [_line((x - 4, y), (x + 4, y), colour, width=1.5) for y in (bottom, top)]
    return _line((x, bottom), (x, top), colour, width=1.5) + Markup("").join(ends)


def _text(x: float, y: float, content: str, *, anchor: str = "middle") -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, content)


def _step(span: float) -> float:
    """A round distance between ticks, at most eight of them."""
    rough = max(span, 1e-6) / 8
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
