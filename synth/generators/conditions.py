"""Training by sampling: which category a row has to have, and a real row that has it, drawn without a loop over rows.

A condition is one category of one column. In training every column is asked for equally often and its categories by the
logarithm of their counts, so that rare ones are learned; when rows are drawn, by the counts themselves, so that rare
ones stay rare. Rows are found in an index of all rows by category, made once.

Source: Xu et al. 2019 (arXiv 1907.00503), section 4.3; that rows are drawn by the counts themselves is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Conditions:
    """The categories that may be asked for, numbered over all columns.

    Attributes:
        rows: of the table.
        counts: int64 [K], how many rows have each category.
        first: int64 [K], where the rows of each begin in `order`.
        order: int32 [columns times rows], rows sorted by category, one column after the other.
        column: int64 [K], whose category each is.
        trained: float64 [K], how likely each is asked for in training, times any constant.
        natural: the same for drawing.
    """

    rows: int
    counts: NDArray[np.int64]
    first: NDArray[np.int64]
    order: NDArray[np.int32]
    column: NDArray[np.int64]
    trained: NDArray[np.float64]
    natural: NDArray[np.float64]

    @classmethod
    def of(cls, parts: NDArray[np.int32], sizes: Sequence[int]) -> Conditions:
        """Indexes a table.

        Args:
            parts: int32 [N, C], the category of each cell; N >= 1.
            sizes: categories of each column.
        """
        counts = [np.bincount(column, minlength=size) for column, size in zip(parts.T, sizes, strict=True)]
        order = [np.argsort(column, kind="stable").astype(np.int32) for column in parts.T]
        flat = np.concatenate(counts) if counts else np.zeros(0, dtype=np.int64)
        return cls(
            rows=len(parts),
            counts=flat,
            first=np.r_[0, flat.cumsum()[:-1]].astype(np.int64)[: len(flat)],
            order=np.concatenate(order) if order else np.zeros(0, dtype=np.int32),
            column=np.repeat(np.arange(len(counts)), [len(column) for column in counts]).astype(np.int64),
            trained=_shares([np.log1p(column) for column in counts]),
            natural=_shares(counts),
        )

    def draw(self, rows: int, rng: np.random.Generator) -> NDArray[np.int64] | None:
        """Draws the conditions of training rows, int64 [rows]; None where there is no column of categories."""
        return _fallen(self.trained, rows, rng)

    def draw_natural(self, rows: int, rng: np.random.Generator) -> NDArray[np.int64] | None:
        """Draws conditions as often as they hold in the table, int64 [rows]; None as for `draw`."""
        return _fallen(self.natural, rows, rng)

    def draw_rows(self, conditions: NDArray[np.int64] | None, rows: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draws a row that meets each condition, int64 [rows]; any row where there are none."""
        if conditions is None:
            return rng.integers(self.rows, size=rows)
        within = (rng.random(rows) * self.counts[conditions]).astype(np.int64)
        found: NDArray[np.int64] = self.order[self.first[conditions] + within].astype(np.int64)
        return found


def _fallen(likely: NDArray[np.float64], rows: int, rng: np.random.Generator) -> NDArray[np.int64] | None:
    """Draws places by how likely each is."""
    if not len(likely):
        return None
    edges = likely.cumsum()
    fallen: NDArray[np.int64] = np.searchsorted(edges, rng.random(rows) * edges[-1], side="right")
    return np.minimum(fallen, np.flatnonzero(likely)[-1])


def _shares(weights: Sequence[NDArray[np.float64] | NDArray[np.int64]]) -> NDArray[np.float64]:
    """The share of each category in its column, all columns one after the other."""
    return np.concatenate([column / column.sum() for column in weights]) if weights else np.zeros(0)
