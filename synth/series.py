"""A series as an array over patients, hours and columns, and back.

Numbers stand as they are, categories as their place among the public ones, truth values as 0 and 1; what is missing or
after a stay's end is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synth.columns import LISTED
from synth.encoding import column_at, column_places
from synth.tables import as_numbers

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from synth.columns import Column
    from synth.related_tables import AdmittedTables
    from synth.relations import NamedTable

    Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Grid:
    """Patients' series on their public grid.

    Attributes:
        table: which series.
        cells: float64 [N, T, F], F the columns beside time; NaN where missing or after the end.
        lengths: int64 [N], rows of each patient, 1..T.
    """

    table: NamedTable
    cells: Array
    lengths: NDArray[np.int64]

    @property
    def alive(self) -> NDArray[np.bool_]:
        """Which hours lie before a patient's end, bool [N, T]."""
        return np.arange(self.cells.shape[1]) < self.lengths[:, None]

    def chosen(self, patients: NDArray[np.integer] | NDArray[np.bool_]) -> Grid:
        """The same of some patients."""
        return Grid(self.table, self.cells[patients], self.lengths[patients])


def grid_of(admitted: AdmittedTables, table: NamedTable) -> Grid:
    """Returns the grid of one series of admitted tables."""
    rows, owner = admitted.tables[table.name], admitted.owners[table.name]
    time = table.spec.by_name[table.order]
    step = np.rint((as_numbers(rows[table.order]).to_numpy() - time.bottom) / table.every).astype(np.int64)
    N = len(admitted.patients)
    values = np.full((N, table.most_rows, len(table.measured)), np.nan)
    for f, column in enumerate(table.measured):
        values[owner, step, f] = as_values(rows[column.name], column)
    lengths = np.zeros(N, dtype=np.int64)
    np.maximum.at(lengths, owner, step + 1)
    return Grid(table, values, lengths)


def table_of(grid: Grid, keys: NDArray[np.integer]) -> pd.DataFrame:
    """Returns the long table of a grid: key, then the specification's columns, one row for each patient and hour.

    Args:
        grid: values are moved onto the columns' decimals and into their bounds.
        keys: [N], of the patients.
    """
    import pandas as pd

    table = grid.table
    patient, step = np.nonzero(grid.alive)
    index = pd.RangeIndex(len(patient))
    cells = {table.spec.key: pd.Series(keys[patient], index=index)}
    place = {column.name: f for f, column in enumerate(table.measured)}
    for column in table.spec.columns:
        if column.name == table.order:
            values = column.bottom + table.every * step
        else:
            values = grid.cells[patient, step, place[column.name]]
        cells[column.name] = from_values(values, column, index)
    return pd.DataFrame(cells)


def as_values(cells: pd.Series, column: Column) -> Array:
    """Returns typed cells as float64: numbers, places of categories, 0 and 1; NaN where missing."""
    if column.kind in LISTED:
        places, missing = column_places(cells, column)
        return np.where(missing, np.nan, places)
    return as_numbers(cells).to_numpy(dtype=np.float64, na_value=np.nan)


def from_values(values: Array, column: Column, index: pd.Index) -> pd.Series:
    """Returns typed cells: the inverse of `as_values`, moved into what the column allows."""
    missing = np.isnan(values)
    scaled = values if column.kind in {*LISTED, "boolean"} else (values - column.bottom) * 10**column.digits
    places = np.clip(np.rint(np.where(missing, 0.0, scaled)), 0, column.levels - 1).astype(np.int64)
    return column_at(places, missing, column, index)
