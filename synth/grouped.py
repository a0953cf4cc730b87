"""Noisy one-way counts with codes merged where they hold little, and what follows from them: all after the noise.

A tree of pairs is counted over these groups, compared with what independence of the noisy one-way counts expects, and
made consistent with them. Whether one table was counted or several hospitals' counts were added makes no difference
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synth.measurement import Measurement
from synth.tree import Edge, fitted_to, grouping, shrunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from synth.counts import Pair, Release
    from synth.spec import TableSpec


@dataclass(frozen=True, slots=True)
class Grouped:
    """One-way counts and groups of codes.

    Attributes:
        ones: counts of each column's codes, not negative, all with the same total.
        groups: group of each code, from 0 without gaps.
    """

    ones: tuple[NDArray[np.float64], ...]
    groups: tuple[NDArray[np.int64], ...]

    @classmethod
    def of(cls, ones: Sequence[NDArray[np.float64]], spec: TableSpec, *, least: float) -> Grouped:
        """Merges codes until each group of a column holds at least so much, neighbours where codes have an order."""
        groups = [
            grouping(counts, least=least, ordered=column.kind != "categorical", alone=int(column.missing))
            for counts, column in zip(ones, spec.columns, strict=True)
        ]
        return cls(tuple(ones), tuple(groups))

    @property
    def total(self) -> float:
        """What all codes of a column hold together."""
        return float(self.ones[0].sum())

    def sums(self, column: int) -> NDArray[np.float64]:
        """Counts of a column's groups."""
        return np.bincount(self.groups[column], weights=self.ones[column]).astype(np.float64)

    def expected(self, pair: Pair) -> NDArray[np.float64]:
        """What independence of two columns expects in their table."""
        first, second = self.sums(pair[0]), self.sums(pair[1])
        return np.asarray(np.outer(first, second) / first.sum(), dtype=np.float64)

    def pairs(self, pairs: Sequence[Pair]) -> Measurement:
        """Asks for the counts of pairs of columns under these groups."""
        return Measurement(self.groups, tuple(pairs))

    def tree(self, pairs: Sequence[Pair], release: Release) -> tuple[Edge, ...]:
        """Makes a tree of counted pairs, ordered down from column 0."""
        tables = {}
        for pair, noisy in zip(pairs, release.tables, strict=True):
            expected = self.expected(pair)
            near = shrunk(noisy.reshape(expected.shape), expected, release.deviation)
            tables[pair] = fitted_to(near, self.sums(pair[0]), self.sums(pair[1]))
        return _downwards(tables)


class Branches:
    """A forest that grows into a tree over all columns."""

    def __init__(self, columns: int) -> None:
        self._branch = list(range(columns))

    def parts(self, pair: Pair) -> bool:
        """Tell whether a pair's columns are not yet connected."""
        return self._branch[pair[0]] != self._branch[pair[1]]

    def join(self, pair: Pair) -> None:
        """Connect a pair's columns."""
        kept, joined = self._branch[pair[0]], self._branch[pair[1]]
        self._branch = [kept if mark == joined else mark for mark in self._branch]


def _downwards(tables: dict[Pair, NDArray[np.float64]]) -> tuple[Edge, ...]:
    """Orders edges so that every parent is drawn before its child, column 0 first."""
    edges: list[Edge] = []
    reached, waiting = {0}, dict(tables)
    while waiting:
        pair = next(pair for pair in waiting if reached & set(pair))
        table = waiting.pop(pair)
        first, second = pair
        edges.append(Edge(first, second, table) if first in reached else Edge(second, first, table.T))
        reached |= {first, second}
    return tuple(edges)
