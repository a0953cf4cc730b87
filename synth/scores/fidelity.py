"""Fidelity: how alike a cohort and its training table are, beside a holdout that is as alike as it gets.

Fidelity is described and never judged by the gate: a copy has the highest, a useful private cohort a lower one. Each
number stands beside the same number of the holdout, which is what another draw of the same patients reaches.

* marginals: total variation of categories, Kolmogorov-Smirnov distance of numbers, mean and worst over columns;
* pairs: mean difference of Cramér's V over all pairs of columns, numbers cut at training quintiles;
* columns from the others: difference of the area that models of training and cohort reach on the holdout;
* propensity: mean squared distance of a cross-fitted probability of being synthetic from the cohort's share (pMSE), and
  the area it reaches: .5 where cohort and training cannot be told apart.

Source: Woo et al. 2009 and Snoke et al. 2018 (arXiv 1604.06651) for pMSE; Choi et al. 2017 (arXiv 1703.06490) for
dimension-wise prediction.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from privacy.audits.rates import area_under_curve
from synth.columns import BOUNDED
from synth.distances import MISSING
from synth.scores.learners import LEARNERS, class_area, is_class, plain_features, predict_column
from synth.scores.score import Score, described

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from synth.distances import Rows
    from synth.evidence import Evidence

    Array = NDArray[np.float64]

_REPLICATES = 100
_PARTS = 5
_FOLDS = 5


def describe_fidelity(evidence: Evidence, rng: np.random.Generator) -> dict[str, Score]:
    """Measures every number of this module.

    Args:
        evidence: the three tables.
        rng: draws replicates, folds and seeds.

    Returns:
        Name → score, verdict inconclusive by nature; intervals by resampling rows of both tables (DeLong's for areas).
    """
    T = len(evidence.training)
    training, holdout, made = evidence.real_rows[:T], evidence.real_rows[T:], evidence.synthetic_rows
    numeric = np.array([column.kind in BOUNDED for column in evidence.spec.columns])
    cuts = part_cuts(training, numeric)

    def distances(a: Rows, b: Rows) -> Array:
        apart = column_distances(a, b, numeric)
        pairs = np.abs(association(part_cells(a, cuts)) - association(part_cells(b, cuts)))
        return np.array([apart.mean(), apart.max(), pairs.mean() if pairs.size else 0.0])

    names = ("marginals, mean", "marginals, worst", "pairs, mean")
    found = dict(zip(names, _resampled(distances, training, made, holdout, rng), strict=True))
    found["columns from the others"] = _dimension_wise(evidence, rng)
    return found | _propensity(evidence, rng)


def column_distances(a: Rows, b: Rows, numeric: NDArray[np.bool_]) -> Array:
    """Distance of each column's distributions in [0, 1]: Kolmogorov-Smirnov, or total variation; float64 [F].

    Missing counts as a value above all others.
    """
    found = []
    for f, is_number in enumerate(numeric):
        values = np.unique(np.concatenate([a[:, f], b[:, f]]))
        sides = [np.searchsorted(np.sort(rows[:, f]), values, side="right") / len(rows) for rows in (a, b)]
        gap = sides[0] - sides[1]
        found.append(np.abs(gap).max() if is_number else np.abs(np.diff(gap, prepend=0)).sum() / 2)
    return np.array(found)


def association(parts: NDArray[np.int64]) -> Array:
    """Cramér's V of every pair of columns, float64 [F (F - 1) / 2]; a constant column has none with any."""
    N, F = parts.shape
    found = []
    for i in range(F):
        for j in range(i + 1, F):
            rows, columns = parts[:, i].max() + 1, parts[:, j].max() + 1
            table = np.bincount(parts[:, i] * columns + parts[:, j], minlength=rows * columns).reshape(rows, columns)
            expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / N
            chi = np.divide((table - expected) ** 2, expected, out=np.zeros_like(expected), where=expected > 0).sum()
            least = min((table.sum(axis=1) > 0).sum(), (table.sum(axis=0) > 0).sum()) - 1
            found.append(np.sqrt(chi / (N * least)) if least else 0.0)
    return np.array(found)


def _resampled(
    measure: Callable[[Rows, Rows], Array], training: Rows, made: Rows, holdout: Rows, rng: np.random.Generator
) -> list[Score]:
    """Each number with a basic bootstrap interval, which turns the replicates' upward bias around."""
    values, baselines = measure(training, made), measure(training, holdout)
    draws = np.array([measure(_redrawn(training, rng), _redrawn(made, rng)) for _ in range(_REPLICATES)])
    high, low = np.quantile(draws, [0.025, 0.975], axis=0)
    return [
        described(
            float(v),
            float(min(v, max(0.0, 2 * v - most))),
            float(max(v, min(1.0, 2 * v - least))),
            baseline=float(b),
        )
        for v, b, most, least in zip(values, baselines, low, high, strict=True)
    ]


def _redrawn(rows: Rows, rng: np.random.Generator) -> Rows:
    drawn: Rows = rows[rng.integers(len(rows), size=len(rows))]
    return drawn


def part_cuts(rows: Rows, numeric: NDArray[np.bool_]) -> list[Array | None]:
    """Inner quintiles of numbers among rows; None for columns that are parts already."""
    found: list[Array | None] = []
    for f, is_number in enumerate(numeric):
        present = rows[rows[:, f] != MISSING, f]
        quantiles = np.linspace(0, 1, _PARTS + 1)[1:-1]
        found.append(np.unique(np.quantile(present, quantiles)) if is_number and len(present) else None)
    return found


def part_cells(rows: Rows, cuts: list[Array | None]) -> NDArray[np.int64]:
    """Every cell as the number of its part; missing is a part of its own."""
    columns = []
    for f, cut in enumerate(cuts):
        values = rows[:, f]
        codes = np.unique(values, return_inverse=True)[1] if cut is None else np.searchsorted(cut, values, side="right")
        columns.append(np.where(values == MISSING, codes.max() + 1, codes) if cut is not None else codes)
    return np.column_stack(columns).astype(np.int64)


def _dimension_wise(evidence: Evidence, rng: np.random.Generator) -> Score:
    """Mean absolute difference of areas over the columns that are classes; the baseline is training's mean area."""
    T = len(evidence.training)
    tables = (evidence.real_rows[:T], evidence.synthetic_rows)
    reached = []
    for target, column in enumerate(evidence.spec.columns):
        asked = evidence.real_rows[T:][evidence.real_rows[T:, target] != MISSING]
        usable = [rows[rows[:, target] != MISSING] for rows in tables]
        classes = np.unique(asked[:, target]).astype(np.float64)
        if not is_class(column) or len(classes) < 2 or min(map(len, usable)) < _FOLDS:
            continue
        truth = np.searchsorted(classes, asked[:, target].astype(np.float64))
        seed = int(rng.integers(2**31))
        reached.append(
            [
                class_area(
                    truth,
                    predict_column(
                        "logistic", evidence.spec.columns, target, rows, asked=asked, classes=classes, seed=seed
                    ),
                )
                for rows in usable
            ]
        )
    if not reached:
        return Score(None, None, None, None, "inconclusive", "no column is a class")
    areas = np.array(reached)
    gaps = np.abs(areas[:, 0] - areas[:, 1])
    draws = rng.choice(gaps, (_REPLICATES, len(gaps))).mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    value = float(gaps.mean())
    return described(value, float(min(low, value)), float(max(high, value)), baseline=float(areas[:, 0].mean()))


def _propensity(evidence: Evidence, rng: np.random.Generator) -> dict[str, Score]:
    """PMSE and area of a cross-fitted discriminator; the baseline is that of holdout against training."""
    T = len(evidence.training)
    training, holdout, made = evidence.real_rows[:T], evidence.real_rows[T:], evidence.synthetic_rows
    found: dict[str, Score] = {}
    for name in LEARNERS:
        seed = int(rng.integers(2**31))
        inside, outside = _told_apart(evidence, training, made, name, seed)
        alike = _told_apart(evidence, training, holdout, name, seed)
        area, chance = area_under_curve(inside, outside), area_under_curve(*alike)
        found[f"discriminator, {name}, area"] = described(area.value, area.low, area.high, baseline=chance.value)
        squares = np.concatenate([(inside - 0.5) ** 2, (outside - 0.5) ** 2])
        error = 1.96 * float(squares.std(ddof=1)) / np.sqrt(len(squares))
        mean = float(squares.mean())
        baseline = float(((np.concatenate(alike) - 0.5) ** 2).mean())
        found[f"propensity, {name}, pMSE"] = described(mean, max(0.0, mean - error), mean + error, baseline=baseline)
    return found


def _told_apart(evidence: Evidence, real: Rows, made: Rows, name: str, seed: int) -> tuple[Array, Array]:
    """Probabilities of being synthetic, for synthetic and for real rows, each by a model that did not see the row."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    count = min(len(real), len(made))  # equal sides, so that one half is the share
    draw = np.random.default_rng(seed)
    rows = np.concatenate([draw.permutation(real)[:count], draw.permutation(made)[:count]])
    label = np.arange(2 * count) >= count
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed)
    model = LEARNERS[name](evidence.spec.columns, seed)
    told = cross_val_predict(model, plain_features(rows), label, cv=folds, method="predict_proba")[:, 1]
    return told[count:], told[:count]
