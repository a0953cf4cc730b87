"""One cohort of several tables that never meet: noisy counts are added, and a tree is made of their sums.

Each hospital counts its own patients and adds its own noise; whoever adds the counts sees nothing else. A patient lies
in one hospital, so each pays for the measurements at that hospital alone. The price is noise: the sum of H hospitals
carries sqrt(H) times the noise that one table of all patients would have carried.

An exponential mechanism would need scores of all patients together, which nobody has. So the pairs of the tree are
chosen from counts as well: of all pairs of columns, coarsely grouped, or by public knowledge, every column beside the
target.

Source: McKenna, Miklau & Sheldon 2021 (arXiv 2108.04978), select-measure-generate; Chow & Liu 1968.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from synth.counts import Release, consistent
from synth.grouped import Branches, Grouped
from synth.measurement import columns_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from privacy.statement import PrivacyStatement
    from synth.counts import Pair
    from synth.encoding import Bins
    from synth.generators.marginals import FittedMarginals
    from synth.measurement import Measurement
    from synth.spec import TableSpec

    Sums = Mapping[str, NDArray[np.float64]]  # noisy cells by hospital
    Ask = Callable[[Measurement], Sums]

Tree = Literal["measured", "target"]

_PARTS = 5  # groups of a column, at most, where all pairs are measured
_RARE = 0.05  # share of the patients below which a group weighs no more
_CLEAR = 2.0  # and so coarse that a cell holds about so many deviations of their noise


@dataclass(frozen=True, slots=True)
class Together:
    """What is agreed on before anything is counted; public.

    Attributes:
        spec: of every hospital's table, confirmed.
        bins: how cells become codes.
        tree: "measured" counts all pairs of columns to choose among them; "target" pairs every column with the target.
        merge_below: codes that hold less than so many standard deviations of noise are merged before pairs are counted.
    """

    spec: TableSpec
    bins: Bins
    tree: Tree
    merge_below: float

    @property
    def measurements(self) -> int:
        """How many times each hospital is asked, each of them one release."""
        return measurements(self.spec, self.tree)


def measurements(spec: TableSpec, tree: Tree) -> int:
    """Returns how many noisy releases a cohort takes of each hospital.

    Raises:
        ValueError: the tree is to hang on the target and the specification names none.
    """
    if tree == "target" and not spec.target:
        raise ValueError("a tree on the target needs a specification that names a target")
    return 1 if len(spec.columns) == 1 else 2 if tree == "target" else 3


def most_tables(spec: TableSpec, tree: str) -> int:
    """Returns the most tables one measurement has; its square root is what a patient moves all of them by."""
    columns = len(spec.columns)
    return max(columns, columns * (columns - 1) // 2) if tree == "measured" else columns


def fit_together(agreed: Together, ask: Ask, *, noise: float, statement: PrivacyStatement) -> FittedMarginals:
    """Measures and fits a tree of marginals to all hospitals together.

    Args:
        agreed: the public terms.
        ask: puts a measurement to every hospital that has answered all before; gives the noisy cells of each that
            answers.
        noise: multiplier of every hospital's noise, deviation over sensitivity, >= 0.
        statement: what the patients pay, for the record.

    Returns:
        The fitted tree; hospitals that did not answer everything are in none of its counts.

    Guarantee:
        Only what `ask` gives is looked at, so whatever holds for the hospitals' answers holds for the result.
    """
    from synth.generators.marginals import FittedMarginals

    spec, bins = agreed.spec, agreed.bins
    asked = columns_alone(bins)
    alone = ask(asked)
    added = _add(asked, alone, noise=noise)
    edges = len(spec.columns) - 1
    if not edges:
        ones = tuple(consistent(added))
        return FittedMarginals(bins, ones, Grouped.of(ones, spec, least=0.0).groups, (), statement)
    deviation = noise * math.sqrt(edges * len(alone))
    grouped = Grouped.of(consistent(added), spec, least=agreed.merge_below * deviation)
    pairs = _on_target(spec) if agreed.tree == "target" else _measured(grouped.ones, agreed, ask, alone, noise=noise)
    final = ask(grouped.pairs(pairs))
    kept = {name: cells for name, cells in alone.items() if name in final}
    grouped = Grouped(tuple(consistent(_add(asked, kept, noise=noise))), grouped.groups)
    tree = grouped.tree(pairs, _add(grouped.pairs(pairs), final, noise=noise))
    return FittedMarginals(bins, grouped.ones, grouped.groups, tree, statement)


def _on_target(spec: TableSpec) -> list[Pair]:
    """Every other column beside the target."""
    target = spec.names.index(spec.target)
    return [(min(i, target), max(i, target)) for i in range(len(spec.columns)) if i != target]


def _measured(
    ones: Sequence[NDArray[np.float64]], agreed: Together, ask: Ask, before: Sums, *, noise: float
) -> list[Pair]:
    """Counts all pairs under coarse groups and returns the tree of those that stand out most from independence."""
    columns = len(ones)
    pairs = list(itertools.combinations(range(columns), 2))
    deviation = noise * math.sqrt(len(pairs) * len(before))
    total = float(ones[0].sum())
    least = max(total / _PARTS, min(math.sqrt(_CLEAR * deviation * total), total / 2))
    coarse = Grouped.of(ones, agreed.spec, least=least)
    question = coarse.pairs(pairs)
    release = _add(question, ask(question), noise=noise)
    scores = {
        pair: _association(table.reshape(coarse.expected(pair).shape), coarse.expected(pair), release.deviation)
        for pair, table in zip(pairs, release.tables, strict=True)
    }
    chosen: list[Pair] = []
    branches = Branches(columns)
    for pair in sorted(scores, key=lambda pair: (-scores[pair], pair)):
        if branches.parts(pair):
            branches.join(pair)
            chosen.append(pair)
    return chosen


def _association(noisy: NDArray[np.float64], expected: NDArray[np.float64], deviation: float) -> float:
    """Chi-squared of a noisy table against independence, in expectation free of the noise; may be negative.

    Only the interaction is looked at: what lies in the table's margins is noise, for the margins are known better.
    Cells of rare groups weigh no more than those of a twentieth of the patients, since their noise would as well.
    """
    total = float(expected.sum())
    scales, weights, noise = [], [], deviation**2 / total
    for axis in (1, 0):
        share = expected.sum(axis=axis) / total
        scale = np.eye(len(share)) - share[:, None]
        weight = 1 / np.maximum(share, _RARE)
        scales.append(scale)
        weights.append(weight)
        noise *= float((weight * np.square(scale).sum(axis=1)).sum())
    apart = scales[0] @ (noisy - expected) @ scales[1].T
    return float((np.square(apart) * np.outer(*weights)).sum() / total - noise)


def _add(measurement: Measurement, sums: Sums, *, noise: float) -> Release:
    """Adds the hospitals' cells; their noises are independent."""
    total = np.sum(list(sums.values()), axis=0)
    return Release(measurement.split(total), noise * measurement.sensitivity * math.sqrt(len(sums)))
