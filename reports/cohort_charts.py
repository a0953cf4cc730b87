"""The pictures of a cohort: a small one of each column's distribution, and one of how every two columns hang together.

The cohort is drawn as bars and patients, where any of their cells may leave, as open circles, so that the two differ
without colour; what is missing of them is not drawn.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports.charts import COLOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

BAR, REAL, GRID = COLOURS[1], COLOURS[2], "#dde3e6"
WIDTH, HEIGHT, TOP, BOTTOM, SIDE = 300, 150, 18, 34, 44
CELL, NAMES = 22, 150
_WEAKEST = 0.02  # an association below this is drawn as none
_LONGEST = 9  # characters of a cell's label


def distribution_chart(
    labels: Sequence[str], cohort: Sequence[float], training: Sequence[float | None] | None
) -> Markup:
    """Draw shares of cells as bars from 0 to the largest one.

    Args:
        labels: of the cells, in order.
        cohort: share of synthetic rows in each.
        training: share of patients in each, None where too few; None where nothing of them may be shown.
    """
    known = [*cohort, *(share for share in training or () if share is not None)]
    top = _round_up(max(known, default=0.0))
    wide = (WIDTH - SIDE - 14) / len(labels)
    floor = HEIGHT - BOTTOM

    def y(share: float) -> float:
        return floor - share / top * (floor - TOP)

    parts = []
    for tick in (0.0, top / 2, top):
        parts.append(_line(SIDE, y(tick), WIDTH - 14, y(tick)))
        parts.append(_text(SIDE - 5, y(tick) + 4, f"{100 * tick:.3g} %", anchor="end", size=10))
    for number, share in enumerate(cohort):
        left = SIDE + number * wide
        bar = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" fill="{}"/>')
        parts.append(bar.format(left + 0.1 * wide, y(share), 0.8 * wide, max(floor - y(share), 0.0), BAR))
        real = training[number] if training is not None else None
        if real is not None:
            circle = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="3.5" fill="white" stroke="{}" stroke-width="1.8"/>')
            parts.append(circle.format(left + wide / 2, y(real), REAL))
    every = max(1, math.ceil(len(labels) * 46 / (WIDTH - SIDE)))  # a label takes some 46 units
    last = len(labels) - 1
    parts += [
        _text(SIDE + (number + 0.5) * wide, floor + 15, _short(labels[number], _LONGEST), size=10)
        for number in sorted({*range(0, last - every + 1, every), last})
    ]
    return _svg(WIDTH, HEIGHT, f"shares of {', '.join(labels[:12])}", parts)


def pairs_chart(names: Sequence[str], cohort: Sequence[float], training: Sequence[float] | None) -> Markup:
    """Draw Cramér's V of every two columns as squares, dark for 1: the cohort's below the diagonal, patients' above it.

    Args:
        names: of the F columns.
        cohort: V of the pairs (0, 1), (0, 2), ... (1, 2), ..., F (F - 1) / 2 of them.
        training: the same of patients; None where nothing of them may be shown.
    """
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    size = NAMES + CELL * len(names)
    parts = []
    for number, name in enumerate(names):
        at = NAMES + CELL * number
        parts.append(_text(NAMES - 8, at + 15, _short(name, 22), anchor="end", size=11))
        turned = Markup(
            '<text x="{0:.0f}" y="{1:.0f}" font-size="11" transform="rotate(-90 {0:.0f} {1:.0f})">{2}</text>'
        )
        parts.append(turned.format(at + 15, NAMES - 8, _short(name, 22)))
        parts.append(_square(at, at, GRID, name, None))
    for (i, j), strength in zip(pairs, cohort, strict=True):
        parts.append(_square(NAMES + CELL * i, NAMES + CELL * j, _shade(strength), f"{names[i]}, {names[j]}", strength))
    for (i, j), strength in zip(pairs, training or (), strict=training is not None):
        title = f"patients: {names[i]}, {names[j]}"
        parts.append(_square(NAMES + CELL * j, NAMES + CELL * i, _shade(strength), title, strength))
    return _svg(size, size, f"associations of {len(names)} columns", parts)


def _square(x: float, y: float, colour: str, title: str, strength: float | None) -> Markup:
    words = title if strength is None else f"{title}: {strength:.2f}"
    square = Markup('<rect x="{:.0f}" y="{:.0f}" width="{}" height="{}" fill="{}"><title>{}</title></rect>')
    return square.format(x + 1, y + 1, CELL - 2, CELL - 2, colour, words)


def _shade(strength: float) -> str:
    """From nearly white to the accent's blue, darker faster at first, where most associations are."""
    share = 0.0 if strength < _WEAKEST else math.sqrt(min(strength, 1.0))
    ends = ((244, 246, 247), (0, 70, 120))
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(*ends, strict=True))


def _round_up(share: float) -> float:
    return next((step for step in (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8) if step >= share), 1.0)


def _short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _line(x: float, y: float, to_x: float, to_y: float) -> Markup:
    line = Markup('<line x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}" stroke="{}"/>')
    return line.format(x, y, to_x, to_y, GRID)


def _text(x: float, y: float, content: str, *, anchor: str = "middle", size: int) -> Markup:
    text = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}" font-size="{}">{}</text>')
    return text.format(x, y, anchor, size, content)


def _svg(width: float, height: float, alternative: str, parts: Sequence[Markup]) -> Markup:
    head = Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}" style="max-width:{:.0f}px">')
    return head.format(width, height, alternative, width) + Markup("").join(parts) + Markup("</svg>")
