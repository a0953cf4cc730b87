"""Pictures of `cohorts.py`: utility against the strongest attack, and a few columns as each generator draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from synth.columns import BOUNDED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from synth.columns import Column

PARTS = 12
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f", "#17202a", "#f0e442")
MARKS = "osD^vP"
TRAINING = "copy of training"
ENDS = {"real patients": "*", TRAINING: "X"}


def shares(rows: pd.DataFrame, column: Column) -> list[float]:
    """Share of each category, or of equal parts of the public range, missing last."""
    cells = rows[column.name]
    if column.kind in BOUNDED:
        numbers = cells.dropna().to_numpy(dtype=np.float64)
        counts = np.histogram(numbers, bins=min(PARTS, column.levels), range=(column.bottom, column.top))[0]
    else:
        counts = np.array([(cells == category).sum() for category in column.categories])
    return [float(count) / len(cells) for count in (*counts, cells.isna().sum())]


def draw_plane(tables: dict[str, dict[str, tuple[list[float], list[float]]]], path: Path) -> None:
    """Draws one panel a table: label → what the strongest attack gains and what models reach, over seeds."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(tables) + 2.6, 5), layout="constrained")
    labels = list(dict.fromkeys(label for cohorts in tables.values() for label in cohorts))
    styles = _styles(labels)
    panels = figure.subplots(1, len(tables), squeeze=False)[0]
    for panel, (name, cohorts) in zip(panels, tables.items(), strict=True):
        for label, (gain, worth) in cohorts.items():
            colour, mark = styles[label]
            panel.errorbar(
                *(np.mean(gain), np.mean(worth)),
                xerr=np.std(gain, ddof=1) if len(gain) > 1 else None,
                yerr=np.std(worth, ddof=1) if len(worth) > 1 else None,
                fmt=mark,
                color=colour,
                elinewidth=0.6,
                label=label,
                markersize=13 if label in ENDS else 8,
            )
        panel.axhline(1, color="#bbbbbb", linewidth=0.8, zorder=0)
        panel.set_xscale("symlog", linthresh=0.2)
        panel.set_xticks([0, 0.1, 0.2, 0.5, 1], ["0", "0.1", "0.2", "0.5", "1"])
        panel.set_xlim(-0.02, 1.15)
        panel.set_title(name)
        panel.set_xlabel("what the strongest attack gains (left is safer)")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("TSTR / TRTR area (up is more useful)")
    known = _handles(panels)
    figure.legend([known[label] for label in labels], labels, loc="outside right center", frameon=False)
    figure.savefig(path, dpi=120)


def draw_marginals(tables: dict[str, dict[str, dict[str, list[float]]]], path: Path) -> None:
    """Draws one row a table and one panel a column: training as bars, a few cohorts of the first seed as lines."""
    from matplotlib.figure import Figure

    drawn = ("marginals, epsilon 1", "copula", "ctgan", "tvae", "gan")
    wide = max(len(cohorts[TRAINING]) for cohorts in tables.values())
    figure = Figure(figsize=(4.2 * wide, 2.7 * len(tables)), layout="constrained")
    grid = figure.subplots(len(tables), wide, squeeze=False)
    for panels, (name, cohorts) in zip(grid, tables.items(), strict=True):
        for panel, (column, real) in zip(panels, cohorts[TRAINING].items(), strict=False):
            places = np.arange(len(real))
            panel.bar(places, real, color="#cccccc", width=0.9, label="training")
            for label, colour in zip(drawn, COLOURS, strict=False):
                if label in cohorts:
                    panel.plot(places, cohorts[label][column], ".-", color=colour, linewidth=1, label=label)
            panel.set_title(f"{name}: {column}", fontsize=10)
            panel.set_xticks([places[-1]], ["missing"])
    known = _handles(grid.ravel())
    figure.legend(known.values(), known, loc="outside lower center", ncols=len(known), frameon=False)
    figure.savefig(path, dpi=100)


def _handles(panels: Iterable[Axes]) -> dict[str, Artist]:
    """What stands for each label in any panel."""
    return {label: each for p in panels for each, label in zip(*p.get_legend_handles_labels(), strict=True)}


def _styles(labels: list[str]) -> dict[str, tuple[str, str]]:
    """Colour by generator, mark by epsilon; the ends are black."""
    generators = list(dict.fromkeys(label.partition(",")[0] for label in labels if label not in ENDS))
    levels = ["", *dict.fromkeys(label.partition(", ")[2] for label in labels if ", " in label)]
    found = {}
    for label in labels:
        generator, _, level = label.partition(", ")
        plain = COLOURS[generators.index(generator) % len(COLOURS)] if label not in ENDS else "black"
        found[label] = (plain, ENDS.get(label) or MARKS[levels.index(level) % len(MARKS)])
    return found
