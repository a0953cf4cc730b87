"""How far drawn rows are from rows that the training never saw: what a GAN is stopped by, since its losses say nothing.

Every column is cut into few cells, a column of numbers at the held-out tenths, a column of categories into the most
frequent ones and the rest. The distance is the squared difference of the drawn and the held-out table of two columns,
averaged over all pairs, a column with itself being its marginal distribution. What two samples of one distribution
differ by is taken off, so that few held-out rows make the distance noisy and not large, and a generator without
variety does not gain by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from synth.generators.mixed_rows import Layout, MixedRows

    Array = NDArray[np.float64]

_CELLS = 8  # of a column, missing not counted
_MOST_COLUMNS = 64


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Held-out rows, cut into cells.

    Attributes:
        layout: of the rows.
        cells: int64 of each plain choice, the cell of each part.
        cuts: float64 of each modal choice, inner bounds of its cells.
        tables: float64 [cells, cells], shares of held-out rows in two cells, all columns side by side.
        starts: int64 [columns], where each column's cells begin.
        rows: how many are held out.
    """

    layout: Layout
    cells: tuple[NDArray[np.int64], ...]
    cuts: tuple[Array, ...]
    tables: Array
    starts: NDArray[np.int64]
    rows: int

    @classmethod
    def of(cls, layout: Layout, rows: MixedRows) -> HeldOut:
        """Cuts columns by the held-out rows themselves, one row at least."""
        cells = []
        for c, choice in enumerate(layout.plain):
            rank = np.argsort(np.argsort(-np.bincount(rows.parts[:, c], minlength=choice.parts), kind="stable"))
            cells.append(np.minimum(rank, _CELLS - 1).astype(np.int64))
        numbers = layout.numbers(rows)
        inner = np.linspace(0, 1, _CELLS + 1)[1:-1]
        cuts = tuple(
            np.unique(np.quantile(column[~np.isnan(column)], inner)) if not np.isnan(column).all() else np.zeros(0)
            for column in numbers.T
        )
        sizes = [int(cell.max()) + 1 for cell in cells] + [len(cut) + 2 for cut in cuts]
        sizes = sizes[:_MOST_COLUMNS]
        starts = np.r_[0, np.cumsum(sizes)].astype(np.int64)
        tables = _tables(_cut(layout, rows, tuple(cells), cuts), starts)
        return cls(layout, tuple(cells), cuts, tables, starts[:-1], len(rows))

    def distance(self, rows: MixedRows) -> float:
        """Returns the mean squared distance of rows from the held-out ones, about 0 for rows of the same distribution.

        Args:
            rows: of the same layout, two at least.
        """
        ends = np.r_[self.starts, len(self.tables)]
        drawn = _tables(_cut(self.layout, rows, self.cells, self.cuts), ends)
        squares = (drawn - self.tables) ** 2
        for tables, sample in ((drawn, len(rows)), (self.tables, self.rows)):
            squares -= tables * (1 - tables) / max(sample - 1, 1)  # the variance of each share
        return float(squares.sum() / len(self.starts) ** 2)


def _cut(
    layout: Layout, rows: MixedRows, cells: tuple[NDArray[np.int64], ...], cuts: tuple[Array, ...]
) -> NDArray[np.int64]:
    """The cell of each value, int64 [N, columns]; a missing number is in its column's last cell."""
    plain = [cell[rows.parts[:, c]] for c, cell in enumerate(cells)]
    numbers = [
        np.where(np.isnan(column), len(cut) + 1, np.searchsorted(cut, column, side="right"))
        for cut, column in zip(cuts, layout.numbers(rows).T, strict=True)
    ]
    return np.stack([*plain, *numbers][:_MOST_COLUMNS], axis=1)


def _tables(cut: NDArray[np.int64], starts: NDArray[np.int64]) -> Array:
    """Shares of rows in every two cells, all columns side by side."""
    spelt = np.zeros((len(cut), starts[-1]), dtype=np.float32)
    spelt[np.arange(len(cut))[:, None], starts[:-1] + cut] = 1
    return (spelt.T @ spelt).astype(np.float64) / len(cut)
