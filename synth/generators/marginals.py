"""Differentially private marginals on a tree: all one-way counts and the two-way counts that say most.

Three releases over the patients, each with the same noise and each charged before it exists: the one-way counts of all
columns, the choice of the pairs that form a tree (a pair at a time, the likelier the further its counts are from what
independence expects of the noisy one-way counts), and the counts of those pairs. Rows are then drawn down the tree.
What it cannot say is what three columns do only together.

Source: McKenna, Miklau & Sheldon, "Winning the NIST Contest", 2021 (arXiv 2108.04978), MST; Chow & Liu 1968.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synth.account import settled
from synth.admission import admit_paid
from synth.counts import Patients, Release, consistent
from synth.encoding import Bins
from synth.selection import choose, epsilon_of
from synth.tree import Edge, draw, fitted_to, grouping, shrunk

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from privacy.statement import PrivacyStatement
    from synth.account import Account, Spending
    from synth.counts import Pair
    from synth.spec import TableSpec

_MEAN_OF_NOISE = math.sqrt(2 / math.pi)  # mean absolute value of standard Gaussian noise


@dataclass(frozen=True, slots=True)
class Marginals:
    """Settings.

    Attributes:
        bins: intervals of a column with more values than that.
        merge_below: codes that hold less than so many standard deviations of noise are merged before pairs are counted.
    """

    bins: int = 32
    merge_below: float = 3.0

    @property
    def licence(self) -> str:
        """Wardround's own."""
        return ""

    def fit(
        self, table: pd.DataFrame, spec: TableSpec, *, rng: np.random.Generator, privacy: Account | None
    ) -> FittedMarginals:
        """Counts columns, chooses pairs and counts them: see `synth.generators.Generator`.

        Guarantee:
            With `privacy`, the state is (epsilon, delta)-differentially private per patient, as its statement says.
        """
        bins = Bins(spec, self.bins)
        edges = len(spec.columns) - 1
        steps = 3 if edges else 1
        admitted, spending = admit_paid(table, spec, privacy, steps=steps, purpose="synthetic cohort: marginals")
        patients = Patients.of(admitted, bins, rng=rng, privacy=privacy)
        ones = patients.count(list(patients.codes.T), bins.sizes, spending)
        deviation = spending.multiplier * math.sqrt(edges) if spending else 0.0
        grouped = _Grouped.of(patients, consistent(ones), spec, least=self.merge_below * deviation)
        pairs = grouped.choose_pairs(spending, deviation=deviation) if edges else []
        tree = grouped.count_pairs(pairs, spending) if edges else ()
        statement = settled(spending, clip_norm=math.sqrt(len(spec.columns)))
        return FittedMarginals(bins, tuple(grouped.ones), tuple(grouped.groups), tree, statement)


@dataclass(frozen=True, slots=True)
class _Grouped:
    """The patients' codes merged into groups, beside noisy one-way counts."""

    patients: Patients
    ones: list[NDArray[np.float64]]  # consistent counts of each column's codes
    groups: list[NDArray[np.int64]]  # group of each code
    codes: NDArray[np.int64]  # [M, columns], the group of each cell

    @classmethod
    def of(cls, patients: Patients, ones: list[NDArray[np.float64]], spec: TableSpec, *, least: float) -> _Grouped:
        groups = [
            grouping(counts, least=least, ordered=column.kind != "categorical", alone=int(column.missing))
            for counts, column in zip(ones, spec.columns, strict=True)
        ]
        merged = [group[codes] for group, codes in zip(groups, patients.codes.T, strict=True)]
        return cls(patients, ones, groups, np.stack(merged, axis=1))

    def sums(self, column: int) -> NDArray[np.float64]:
        """Noisy counts of a column's groups."""
        return np.bincount(self.groups[column], weights=self.ones[column])

    def expected(self, pair: Pair) -> NDArray[np.float64]:
        """What independence of two columns expects in their table."""
        first, second = self.sums(pair[0]), self.sums(pair[1])
        return np.outer(first, second) / first.sum()

    def cells(self, pair: Pair) -> NDArray[np.int64]:
        """The cell of each row in the flat table of a pair."""
        return self.codes[:, pair[0]] * self.size(pair[1]) + self.codes[:, pair[1]]

    def size(self, column: int) -> int:
        """Groups of a column."""
        return int(self.groups[column].max()) + 1

    def choose_pairs(self, spending: Spending | None, *, deviation: float) -> list[Pair]:
        """Chooses the edges of a tree over all columns, one step of the reservation for all of them together."""
        columns = len(self.groups)
        if spending:
            spending.charge()
        epsilon = epsilon_of(spending.multiplier * math.sqrt(columns - 1)) if spending else math.inf
        noise = spending.account.noise if spending else None
        scores = {pair: self._score(pair, deviation) for pair in itertools.combinations(range(columns), 2)}
        chosen: list[Pair] = []
        component = list(range(columns))
        while len(chosen) < columns - 1:
            open_pairs = [pair for pair in scores if component[pair[0]] != component[pair[1]]]
            ranked = np.array([scores[pair] for pair in open_pairs])
            pair = open_pairs[choose(ranked, sensitivity=1.0, epsilon=epsilon, noise=noise)]
            chosen.append(pair)
            joined, kept = component[pair[1]], component[pair[0]]
            component = [kept if mark == joined else mark for mark in component]
        return chosen

    def _score(self, pair: Pair, deviation: float) -> float:
        """How far a pair is from independence, in patients, less what the noise of measuring it would be.

        A patient moves the counts by at most one in all, hence the score by at most one; the rest is public.
        """
        expected = self.expected(pair)
        counts = np.bincount(self.cells(pair), minlength=expected.size) * self.patients.weight
        return float(np.abs(counts - expected.ravel()).sum()) - _MEAN_OF_NOISE * deviation * expected.size

    def count_pairs(self, pairs: list[Pair], spending: Spending | None) -> tuple[Edge, ...]:
        """Counts the chosen pairs and orders them down the tree from its first column."""
        sizes = [self.size(first) * self.size(second) for first, second in pairs]
        release: Release = self.patients.count([self.cells(pair) for pair in pairs], sizes, spending)
        tables = {}
        for pair, noisy in zip(pairs, release.tables, strict=True):
            expected = self.expected(pair)
            near = shrunk(noisy.reshape(expected.shape), expected, release.deviation)
            tables[pair] = fitted_to(near, self.sums(pair[0]), self.sums(pair[1]))
        return _downwards(tables)


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


@dataclass(frozen=True, slots=True)
class FittedMarginals:
    """Noisy counts and nothing else: where the fit was private, this may be kept.

    Attributes:
        bins: how cells became codes.
        ones: counts of each column's codes.
        groups: group of each code.
        edges: the tree, parents first; column 0 is its root.
        statement: what the counts cost.
    """

    bins: Bins
    ones: tuple[NDArray[np.float64], ...]
    groups: tuple[NDArray[np.int64], ...]
    edges: tuple[Edge, ...]
    statement: PrivacyStatement

    def sample(self, rows: int, rng: np.random.Generator) -> pd.DataFrame:
        """Draws rows down the tree: see `synth.generators.Fitted`."""
        root = np.bincount(self.groups[0], weights=self.ones[0])
        drawn = {0: draw(np.broadcast_to(root, (rows, len(root))), rng)}
        for edge in self.edges:
            table = edge.table
            empty = table.sum(axis=1) == 0  # a parent that is never drawn
            table = np.where(empty[:, None], 1.0, table)
            drawn[edge.child] = draw(table[drawn[edge.parent]], rng)
        codes = [self._within(column, drawn[column], rng) for column in range(len(self.ones))]
        return self.bins.decode(np.stack(codes, axis=1), rng)

    def _within(self, column: int, group: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Draws a code of each group by the one-way counts."""
        groups = self.groups[column]
        member = groups[None, :] == np.arange(groups.max() + 1)[:, None]
        weights = member * self.ones[column]
        weights = np.where(weights.sum(axis=1, keepdims=True) > 0, weights, member)
        return draw(weights[group], rng)
