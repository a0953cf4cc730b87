"""Rows as what a neural generator of tables makes: numbers in [-1, 1], and choices of one part among several.

A column of categories is one choice, and so is a column of few different numbers; any other column of numbers is the
choice of a mode and the distance from its middle, four deviations being 1. Missing is one more part of the choice. Only
what a table holds becomes a part, so a long list of categories that nobody has costs nothing; a column that holds a
single value is no choice and comes back as it was.

A choice is kept as the number of its part, never as a vector of zeros: a table takes four bytes a choice.

Source: Xu et al. 2019 (arXiv 1907.00503), section 4.2, mode-specific normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synth.columns import BOUNDED
from synth.encoding import column_at, column_places
from synth.modes import Modes, fit_modes

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from synth.columns import Column
    from synth.spec import TableSpec

FEW = 20  # different values of a column of numbers up to which each is a part of its own
_MOST_MODES = 10
_REACH = 4.0  # deviations of a mode that a scalar of 1 stands for


@dataclass(frozen=True, slots=True)
class Choice:
    """How one column is written.

    Attributes:
        column: its place in the specification.
        places: int64 [K], the value of each part; of modes none.
        modes: of a column of many different numbers; None for others.
        missing: whether the last part says that the cell is missing.
    """

    column: int
    places: NDArray[np.int64]
    modes: Modes | None
    missing: bool

    @property
    def parts(self) -> int:
        """How many parts there are to choose from; 1 for a column that holds a single value."""
        return (len(self.places) if self.modes is None else len(self.modes.means)) + self.missing


@dataclass(frozen=True, slots=True)
class MixedRows:
    """A table as numbers and choices.

    Attributes:
        scalars: float32 [N, S] in [-1, 1].
        parts: int32 [N, C], the chosen part of each choice, counted from its own first.
    """

    scalars: NDArray[np.float32]
    parts: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.parts)

    def at(self, rows: NDArray[np.int64]) -> MixedRows:
        """The rows at these positions."""
        return MixedRows(self.scalars[rows], self.parts[rows])


@dataclass(frozen=True, slots=True)
class Layout:
    """How a table's columns are written; it holds values of patients, so it is never saved.

    Attributes:
        spec: of the table.
        plain: choices without modes, first in every row.
        modal: choices with modes, last in every row; the scalars are theirs, in order.
        fixed: columns that hold a single value.
    """

    spec: TableSpec
    plain: tuple[Choice, ...]
    modal: tuple[Choice, ...]
    fixed: tuple[Choice, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Parts of each choice."""
        return tuple(choice.parts for choice in (*self.plain, *self.modal))

    @property
    def width(self) -> int:
        """Components of a row with every choice spelt out."""
        return len(self.modal) + sum(self.sizes)

    def encode(self, typed: pd.DataFrame, rng: np.random.Generator) -> MixedRows:
        """Returns the rows of the table that the layout was learned from; `rng` draws the mode of each number."""
        scalars = np.zeros((len(typed), len(self.modal)), dtype=np.float32)
        parts = np.zeros((len(typed), len(self.sizes)), dtype=np.int32)
        for c, choice in enumerate((*self.plain, *self.modal)):
            column = self.spec.columns[choice.column]
            places, missing = column_places(typed[column.name], column)
            if choice.modes is None:
                parts[:, c] = np.searchsorted(choice.places, places).clip(max=len(choice.places) - 1)
            else:
                numbers = places.astype(np.float64)
                chosen = choice.modes.choose(numbers, rng)
                apart = (numbers - choice.modes.means[chosen]) / (_REACH * choice.modes.deviations[chosen])
                scalars[:, c - len(self.plain)] = np.where(missing, 0, apart.clip(-1, 1))
                parts[:, c] = chosen
            parts[missing, c] = choice.parts - 1
        return MixedRows(scalars, parts)

    def numbers(self, rows: MixedRows) -> NDArray[np.float64]:
        """Returns the places that the scalars stand for, float64 [N, S], not yet rounded; NaN where missing."""
        found = np.full((len(rows), len(self.modal)), np.nan)
        for s, choice in enumerate(self.modal):
            assert choice.modes is not None
            part = rows.parts[:, len(self.plain) + s]
            known = part < len(choice.modes.means)
            apart = _REACH * choice.modes.deviations[part[known]] * rows.scalars[known, s]
            found[known, s] = choice.modes.means[part[known]] + apart
        return found

    def decode(self, rows: MixedRows) -> pd.DataFrame:
        """Returns the typed table of rows; whatever they are, every value is one that the specification allows."""
        import pandas as pd

        columns = {}
        index = pd.RangeIndex(len(rows))
        for c, choice in enumerate(self.plain):
            part = rows.parts[:, c].astype(np.int64)
            missing = part == len(choice.places)
            columns[choice.column] = (choice.places[np.where(missing, 0, part)], missing)
        for choice, column in zip(self.modal, self.numbers(rows).T, strict=True):
            missing = np.isnan(column)
            columns[choice.column] = (np.rint(np.where(missing, 0, column)).astype(np.int64), missing)
        for choice in self.fixed:
            value = choice.places[0] if len(choice.places) else 0
            columns[choice.column] = (np.full(len(rows), value), np.full(len(rows), choice.missing))
        cells = {}
        for c, column in enumerate(self.spec.columns):
            places, missing = columns[c]
            cells[column.name] = column_at(places.clip(0, column.levels - 1), missing, column, index)
        return pd.DataFrame(cells)


def learn_layout(typed: pd.DataFrame, spec: TableSpec) -> Layout:
    """Finds how a table is written.

    Args:
        typed: inside the public bounds, one row at least.
        spec: of the table.
    """
    choices = [_learn(typed[column.name], place, column) for place, column in enumerate(spec.columns)]
    several = [choice for choice in choices if choice.parts > 1 or choice.modes is not None]
    return Layout(
        spec,
        plain=tuple(choice for choice in several if choice.modes is None),
        modal=tuple(choice for choice in several if choice.modes is not None),
        fixed=tuple(choice for choice in choices if choice.parts == 1 and choice.modes is None),
    )


def _learn(cells: pd.Series, place: int, column: Column) -> Choice:
    places, missing = column_places(cells, column)
    seen = np.unique(places[~missing])
    if column.kind in BOUNDED and len(seen) > FEW:
        modes = fit_modes(places[~missing].astype(np.float64), _MOST_MODES)
        return Choice(place, np.zeros(0, dtype=np.int64), modes, bool(missing.any()))
    return Choice(place, seen, None, bool(missing.any()))
