"""What a cohort looks like, column by column and pair by pair: the numbers behind the pictures of its page.

A cohort is public once it is released, so its own distributions are free. Those of the real table are not: a count of
patients is a release like any other. None leaves unless the site allows cells of a certain size, and none at all
where the cohort claims differential privacy, which does not cover them. Bounds of the bins come from the cohort, never
from the patients; smaller cells are left out, empty ones too, and shares are of the cells that are left, so that what
lies in the others cannot be worked out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from synth.columns import BOUNDED, LISTED
from synth.distances import MISSING
from synth.scores.fidelity import association, part_cells, part_cuts
from synth.tables import as_days

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from synth.columns import Column
    from synth.evidence import Evidence

    Cells = NDArray[np.float32]
    Values = NDArray[np.float64]

_BINS = 12
_MOST_CATEGORIES = 12  # the cohort's most frequent; the others are one cell


def portray(evidence: Evidence, *, smallest_cell: int, shown: Collection[str] | None = None) -> dict[str, Any]:
    """Describes a cohort's columns and pairs of columns.

    Args:
        evidence: the three tables.
        smallest_cell: fewest training patients in a cell that leaves; 0 lets none leave.
        shown: names of the columns that are described; None for all.

    Returns:
        "columns": for each its name, kind, the labels of its cells, the share of synthetic rows in each, and the share
        of training rows or None; a real share is None where its cell is too small. "pairs": Cramér's V of every two
        columns of the cohort, by their positions, and of the training table where cells may leave.
    """
    T = len(evidence.training)
    chosen = [f for f, name in enumerate(evidence.spec.names) if shown is None or name in shown]
    real, made = evidence.real_rows[:T, chosen], evidence.synthetic_rows[:, chosen]
    described = [evidence.spec.columns[f] for f in chosen]
    columns = [
        _column(column, made[:, f], real[:, f] if smallest_cell else None, smallest_cell)
        for f, column in enumerate(described)
    ]
    numeric = np.array([column.kind in BOUNDED for column in described])
    cuts = part_cuts(made, numeric)
    return {
        "smallest_cell": smallest_cell,
        "columns": columns,
        "pairs": {
            "cohort": _rounded(association(part_cells(made, cuts))),
            "training": _rounded(association(part_cells(real, cuts))) if smallest_cell else None,
        },
    }


def _column(column: Column, made: Cells, real: Cells | None, least: int) -> dict[str, Any]:
    labels, place = _layout(column, made)
    counts = np.bincount(place(made), minlength=len(labels))
    shown = None if real is None else _large_cells(np.bincount(place(real), minlength=len(labels)), least)
    return {
        "name": column.name,
        "kind": column.kind,
        "labels": labels,
        "cohort": _rounded(counts / counts.sum()),
        "training": shown,
    }


def _layout(column: Column, made: Cells) -> tuple[list[str], Callable[[Cells], NDArray[np.int64]]]:
    """The labels of a column's cells, the last one for missing where cells may be, and what tells values' cells."""
    listed = column.kind in LISTED or column.kind == "boolean"
    labels, inner = _listed(column, made) if listed else _bins(column, made)

    def place(cells: Cells) -> NDArray[np.int64]:
        return np.where(cells == MISSING, len(labels), inner(np.where(cells == MISSING, 0, cells).astype(np.float64)))

    return [*labels, "missing"] if column.missing else labels, place


def _listed(column: Column, made: Cells) -> tuple[list[str], Callable[[Values], NDArray[np.int64]]]:
    names = column.categories if column.kind in LISTED else ("false", "true")
    steps = max(len(names) - 1, 1) if column.kind == "ordinal" else 1
    counts = np.bincount(np.rint(made[made != MISSING] * steps).astype(np.int64), minlength=len(names))
    kept = np.arange(len(names))
    if len(names) > _MOST_CATEGORIES:
        kept = np.sort(np.argsort(-counts, kind="stable")[:_MOST_CATEGORIES])
    cell_of = np.full(len(names), len(kept))
    cell_of[kept] = np.arange(len(kept))
    others = ["others"] if len(kept) < len(names) else []
    return [*(names[i] for i in kept), *others], lambda values: cell_of[np.rint(values * steps).astype(np.int64)]


def _bins(column: Column, made: Cells) -> tuple[list[str], Callable[[Values], NDArray[np.int64]]]:
    """Equal bins over the cohort's own range, each labelled by its lower end; what lies outside is in the end ones."""
    width = column.top - column.bottom
    present = column.bottom + made[made != MISSING].astype(np.float64) * width
    low, high = (present.min(), present.max()) if len(present) else (column.bottom, column.top)
    step = (high - low) / _BINS
    if column.kind != "real":
        low, step = np.rint(low), max(1, math.ceil((np.rint(high) - np.rint(low) + 1) / _BINS))
    edges = (
        low + step * np.arange(max(1, min(_BINS, math.ceil((high - low + 1e-9) / step)))) if step else np.array([low])
    )
    if column.kind == "date":
        labels = list(as_days(pd.Series(edges)).dt.strftime("%Y-%m-%d"))
    else:
        labels = [f"{edge:.{column.digits}f}" for edge in edges]
    slack = 1e-6 * (width or 1)  # an encoded number is rounded to a float of 32 bits

    def place(values: Values) -> NDArray[np.int64]:
        numbers = column.bottom + values * width + slack
        return np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 1)

    return labels, place


def _large_cells(counts: NDArray[np.int64], least: int) -> list[float | None]:
    """Shares of the cells that are large enough, of all patients in such; None for the others."""
    large = counts >= least
    shown = counts[large].sum() or 1
    return [round(float(c) / float(shown), 2) if fits else None for c, fits in zip(counts, large, strict=True)]


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [round(float(value), 3) for value in values]
