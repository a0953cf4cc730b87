"""How far two mixed rows lie apart, written so that a machine can measure it fast.

Two rows differ in a column by 0 to 1, in the spirit of Gower:

* numbers and dates by their difference over the column's *public* range, at most 1;
* ordered categories by the difference of their ranks over the highest rank;
* categories and truth values by 0 where they agree and 1 where not;
* missing is equal to missing and 1 away from everything else.

A distance is the sum over columns. Written as numbers, each of these is ``min(|a - b|, 1)``: categories are whole
numbers, and missing a number far from all others.

Source: Gower 1971, "A general coefficient of similarity and some of its properties".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from synth.columns import LISTED
from synth.tables import as_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from synth.columns import Column

    Rows = NDArray[np.float32]

MISSING = 1e6  # farther from every code and every scaled value than the most a column counts


def encode(table: pd.DataFrame, columns: Sequence[Column]) -> Rows:
    """Writes rows as numbers whose differences are the distances of this module.

    Args:
        table: typed rows (`synth.tables.typed_table`); columns that are not asked for are ignored.
        columns: what they mean, with public ranges and categories.

    Returns:
        float32 [N, F], one column for each of `columns`.

    """
    written = [_encode_column(table[column.name], column) for column in columns]
    return np.column_stack(written).astype(np.float32) if written else np.zeros((len(table), 0), np.float32)


def _encode_column(cells: pd.Series, column: Column) -> NDArray[np.float64]:
    """One typed column as numbers: scaled by the public range, or codes."""
    missing = cells.isna().to_numpy(dtype=bool)
    if column.kind in LISTED:
        codes = cells.map({category: code for code, category in enumerate(column.categories)})
        steps = max(column.levels - 1, 1) if column.kind == "ordinal" else 1
        values = codes.astype("float64").to_numpy() / steps
    else:
        low, width = (0.0, 1.0) if column.kind == "boolean" else (column.bottom, column.top - column.bottom)
        values = (as_numbers(cells).to_numpy() - low) / (width or 1.0)
    return np.where(missing, MISSING, values)
