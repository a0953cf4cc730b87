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
from synth.counts import Patients, consistent
from synth.encoding import Bins
from synth.grouped import Branches, Grouped
from synth.measurement import columns_alone
from synth.selection import choose, epsilon_of
from synth.tree import draw

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    from privacy.statement import PrivacyStatement
    from synth.account import Account, Spending
    from synth.counts import Pair
    from synth.spec import TableSpec
    from synth.tree import Edge

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
        ones = consistent(columns_alone(bins).count(patients, spending))
        deviation = spending.multiplier * math.sqrt(edges) if spending else 0.0
        grouped = Grouped.of(ones, spec, least=self.merge_below * deviation)
        tree: tuple[Edge, ...] = ()
        if edges:
            pairs = _choose_pairs(patients, grouped, spending, deviation=deviation)
            tree = grouped.tree(pairs, grouped.pairs(pairs).count(patients, spending))
        statement = settled(spending, clip_norm=math.sqrt(len(spec.columns)))
        return FittedMarginals(bins, grouped.ones, grouped.groups, tree, statement)


def _choose_pairs(patients: Patients, grouped: Grouped, spending: Spending | None, *, deviation: float) -> list[Pair]:
    """Chooses the edges of a tree over all columns, one step of the reservation for all of them together."""
    columns = len(grouped.groups)
    if spending:
        spending.charge()
    epsilon = epsilon_of(spending.multiplier * math.sqrt(columns - 1)) if spending else math.inf
    noise = spending.account.noise if spending else None
    codes = [group[cells] for group, cells in zip(grouped.groups, patients.codes.T, strict=True)]
    scores = {
        (i, j): _score(codes[i], codes[j], grouped.expected((i, j)), weight=patients.weight, deviation=deviation)
        for i, j in itertools.combinations(range(columns), 2)
    }
    chosen: list[Pair] = []
    branches = Branches(columns)
    while len(chosen) < columns - 1:
        open_pairs = [pair for pair in scores if branches.parts(pair)]
        ranked = np.array([scores[pair] for pair in open_pairs])
        pair = open_pairs[choose(ranked, sensitivity=1.0, epsilon=epsilon, noise=noise)]
        chosen.append(pair)
        branches.join(pair)
    return chosen


def _score(
    first: NDArray[np.int64],
    second: NDArray[np.int64],
    expected: NDArray[np.float64],
    *,
    weight: float,
    deviation: float,
) -> float:
    """How far a pair is from independence, in patients, less what the noise of measuring it would be.

    A patient moves the counts by at most one in all, hence the score by at most one; the rest is public.
    """
    cells = first * expected.shape[1] + second
    counts = np.bincount(cells, minlength=expected.size) * weight
    return float(np.abs(counts - expected.ravel()).sum()) - _MEAN_OF_NOISE * deviation * expected.size


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
