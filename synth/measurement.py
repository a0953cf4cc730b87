"""What is asked of a table: counts of some columns and pairs of columns, each under a grouping of its codes.

Hospitals are asked by whoever brings their counts together, so a question travels as two small arrays and is checked
against the public specification before a patient is counted. How much noise an answer gets follows from the number of
its tables alone, so no question can be put that hides less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from synth.account import Spending
    from synth.counts import Pair, Patients, Release
    from synth.encoding import Bins

MOST_CELLS = 20_000_000


@dataclass(frozen=True, slots=True)
class Measurement:
    """Tables of counts to be measured together.

    Attributes:
        groups: group of each code of each column, from 0 without gaps, int64 [codes of the column].
        tables: the columns of each table; a column beside itself, (i, i), is counted alone.
    """

    groups: tuple[NDArray[np.int64], ...]
    tables: tuple[Pair, ...]

    def __post_init__(self) -> None:
        columns = len(self.groups)
        for group in self.groups:
            if not len(group) or not np.array_equal(np.unique(group), np.arange(int(group.max()) + 1)):
                raise ValueError("the groups of a column must be numbered from 0 without gaps")
        if not self.tables or len(set(self.tables)) < len(self.tables):
            raise ValueError("a measurement needs at least one table, and each table once")
        if not all(0 <= i < columns and 0 <= j < columns for i, j in self.tables):
            raise ValueError(f"a table names a column outside 0 to {columns - 1}")
        if sum(self.sizes) > MOST_CELLS:
            raise ValueError(f"a measurement may have {MOST_CELLS} cells at most, got {sum(self.sizes)}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Cells of each table."""
        return tuple(self.size(i) * (1 if i == j else self.size(j)) for i, j in self.tables)

    @property
    def sensitivity(self) -> float:
        """The most one patient moves all tables together, in the L2 norm."""
        return math.sqrt(len(self.tables))

    def size(self, column: int) -> int:
        """Groups of a column."""
        return int(self.groups[column].max()) + 1

    def count(self, patients: Patients, spending: Spending | None) -> Release:
        """Counts a coded table; with `spending` charged first and noised, see `Patients.count`."""
        merged = [group[codes] for group, codes in zip(self.groups, patients.codes.T, strict=True)]
        cells = [merged[i] if i == j else merged[i] * self.size(j) + merged[j] for i, j in self.tables]
        return patients.count(cells, self.sizes, spending)

    def split(self, flat: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Cuts all cells into the tables, each flat.

        Raises:
            ValueError: they are not as many cells as the tables have.
        """
        if flat.shape != (sum(self.sizes),):
            raise ValueError(f"the tables have {sum(self.sizes)} cells, got {list(flat.shape)}")
        return tuple(np.split(flat, np.cumsum(self.sizes)[:-1]))

    def to_arrays(self) -> dict[str, NDArray[np.int64]]:
        """Returns the question as it travels."""
        return {"groups": np.concatenate(self.groups), "tables": np.array(self.tables, dtype=np.int64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.int64]], bins: Bins) -> Measurement:
        """Reads a question about tables coded by `bins`.

        Raises:
            ValueError: it is none, or does not fit the columns.
        """
        groups, tables = arrays.get("groups"), arrays.get("tables")
        if groups is None or tables is None or groups.dtype != np.int64 or tables.dtype != np.int64:
            raise ValueError("a measurement holds groups and tables, both int64")
        if groups.shape != (sum(bins.sizes),) or tables.ndim != 2 or tables.shape[1] != 2:
            raise ValueError("a measurement has one group for each code and two columns for each table")
        cut = np.split(groups, np.cumsum(bins.sizes)[:-1])
        return cls(tuple(cut), tuple((int(i), int(j)) for i, j in tables))


def columns_alone(bins: Bins) -> Measurement:
    """Asks for the counts of every code of every column."""
    columns = range(len(bins.sizes))
    return Measurement(tuple(np.arange(size) for size in bins.sizes), tuple((i, i) for i in columns))
