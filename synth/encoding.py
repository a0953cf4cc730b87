"""Tables as arrays and back, by the specification alone: nothing in an encoder has seen a patient.

Two encodings, both exact inverses for every value a specification allows. `Encoder` makes real vectors for neural
generators: one hot for categories, a number in [-1, 1] for a bounded column, and a flag where cells may be missing.
`Bins` makes one small integer for each cell, for generators that count.

Values outside the public bounds are moved to the nearest bound. How many is for the hospital's eyes: it is
a statistic of patients that no noise covers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from synth.columns import BOUNDED, LISTED
from synth.tables import as_days, as_numbers, out_of_range

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from synth.columns import Column
    from synth.spec import TableSpec

Head = Literal["number", "flag", "choice"]


def clip_table(typed: pd.DataFrame, spec: TableSpec) -> tuple[pd.DataFrame, dict[str, int]]:
    """Moves values into the public bounds and onto the declared decimals.

    Returns:
        The table anew, and by column how many cells lay outside; columns without any are left out.
    """
    clipped, moved = typed.copy(), {}
    for column in spec.columns:
        if column.kind not in BOUNDED:
            continue
        outside = int(out_of_range(typed[column.name], column).sum())
        if outside:
            moved[column.name] = outside
        places, missing = column_places(typed[column.name], column)
        clipped[column.name] = column_at(places, missing, column, typed.index)
    return clipped, moved


@dataclass(frozen=True, slots=True)
class Encoder:
    """Typed tables as float64 vectors of a public width.

    Attributes:
        spec: the table's specification.
    """

    spec: TableSpec

    @property
    def widths(self) -> tuple[int, ...]:
        """Components of each column, in order: one for a bounded column, one for each category, one to say missing."""
        return tuple((1 if c.kind in BOUNDED else c.levels) + c.missing for c in self.spec.columns)

    @property
    def heads(self) -> tuple[tuple[Head, int], ...]:
        """What the components are, in order, with their widths: a number in [-1, 1], a flag, or a choice of one."""
        found: list[tuple[Head, int]] = []
        for column, width in zip(self.spec.columns, self.widths, strict=True):
            if column.kind in BOUNDED:
                found += [("number", 1), ("flag", 1)] if column.missing else [("number", 1)]
            else:
                found.append(("choice", width))
        return tuple(found)

    def encode(self, typed: pd.DataFrame) -> NDArray[np.float64]:
        """Returns [N, W] in [-1, 1]; values out of the public bounds become the bounds."""
        blocks = []
        for column, width in zip(self.spec.columns, self.widths, strict=True):
            places, missing = column_places(typed[column.name], column)
            block = np.zeros((len(places), width))
            if column.kind in BOUNDED:
                block[:, 0] = np.where(missing, 0.0, 2 * places / max(column.levels - 1, 1) - 1)
            else:
                block[np.flatnonzero(~missing), places[~missing]] = 1.0
            if column.missing:
                block[missing, -1] = 1.0
            blocks.append(block)
        return np.hstack(blocks)

    def decode(self, vectors: NDArray[np.floating]) -> pd.DataFrame:
        """Returns the typed table nearest to [N, W] vectors; any finite vector gives values the spec allows."""
        import pandas as pd

        columns, start = {}, 0
        index = pd.RangeIndex(len(vectors))
        for column, width in zip(self.spec.columns, self.widths, strict=True):
            block = np.asarray(vectors[:, start : start + width], dtype=np.float64)
            start += width
            if column.kind in BOUNDED:
                share = (np.clip(block[:, 0], -1, 1) + 1) / 2
                places = np.rint(share * (column.levels - 1)).astype(np.int64)
                missing = block[:, 1] > 0.5 if column.missing else np.zeros(len(block), dtype=bool)
            else:
                places = block.argmax(axis=1)
                missing = places == column.levels  # only where the last component says so
                places = np.where(missing, 0, places)
            columns[column.name] = column_at(places, missing, column, index)
        return pd.DataFrame(columns)


@dataclass(frozen=True, slots=True)
class Bins:
    """Typed tables as small integers: each column cut into at most so many public intervals of equal width.

    Attributes:
        spec: the table's specification.
        most: intervals of a bounded column with more values than that, >= 2; categories are never merged.
    """

    spec: TableSpec
    most: int

    def __post_init__(self) -> None:
        if self.most < 2:
            raise ValueError(f"bins must be >= 2, got {self.most}")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Codes of each column; where cells may be missing the last one says so."""
        return tuple(self._intervals(column) + column.missing for column in self.spec.columns)

    def encode(self, typed: pd.DataFrame) -> NDArray[np.int64]:
        """Returns codes [N, columns]; values out of the public bounds fall into the first or last interval."""
        codes = []
        for column in self.spec.columns:
            places, missing = column_places(typed[column.name], column)
            intervals = self._intervals(column)
            codes.append(np.where(missing, intervals, places * intervals // column.levels))
        return np.stack(codes, axis=1)

    def decode(self, codes: NDArray[np.int64], rng: np.random.Generator) -> pd.DataFrame:
        """Returns a typed table; within an interval every value that the specification allows is equally likely."""
        import pandas as pd

        columns = {}
        index = pd.RangeIndex(len(codes))
        for column, code in zip(self.spec.columns, codes.T, strict=True):
            intervals = self._intervals(column)
            missing = code == intervals
            first = -(-code * column.levels // intervals)  # rounded up
            after = -(-(code + 1) * column.levels // intervals)
            places = np.where(missing, 0, rng.integers(first, after))
            columns[column.name] = column_at(places, missing, column, index)
        return pd.DataFrame(columns)

    def _intervals(self, column: Column) -> int:
        return min(column.levels, self.most) if column.kind in BOUNDED else column.levels


def column_places(cells: pd.Series, column: Column) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where each cell stands among the values its column allows, from 0 (also where missing), and what is missing."""
    missing: NDArray[np.bool_] = cells.isna().to_numpy(dtype=bool)
    if column.kind in BOUNDED:
        numbers = np.where(missing, column.bottom, as_numbers(cells).to_numpy(dtype=np.float64))
        inside = np.clip(numbers, column.bottom, column.top)
        steps = np.rint((inside - column.bottom) * 10.0**column.digits)
        return np.clip(steps, 0, column.levels - 1).astype(np.int64), missing
    order = {value: place for place, value in enumerate(_values(column))}
    places = cells.map(order).fillna(0).to_numpy(dtype=np.int64)
    return places.astype(np.int64), missing


def column_at(places: NDArray[np.int64], missing: NDArray[np.bool_], column: Column, index: pd.Index) -> pd.Series:
    """The typed cells at places among the values a column allows."""
    import pandas as pd

    if column.kind in BOUNDED:
        numbers = np.round(column.bottom + places / 10.0**column.digits, column.digits)
        cells = pd.Series(np.where(missing, np.nan, numbers), index=index)
        if column.kind == "date":
            return as_days(cells)
        return cells.astype("Int64") if column.kind == "integer" else cells
    values = np.array(_values(column), dtype=object)[places]
    values[missing] = None
    return pd.Series(values, index=index, dtype="boolean" if column.kind == "boolean" else object)


def _values(column: Column) -> tuple[str, ...] | tuple[bool, ...]:
    return column.categories if column.kind in LISTED else (False, True)
