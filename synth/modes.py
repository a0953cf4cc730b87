"""The modes of a column of numbers: a mixture of few normal distributions, fitted to counts instead of rows.

A generator learns a number as one of a few modes and the distance from its middle. The mixture is the variational one
with a Dirichlet process over its weights, which empties the modes it does not need. Its updates ask of the rows only
how many there are near a value, their mean and their spread, so they run over at most `_MOST_CELLS` cells, cut by
count and by width, however long the table is; where no cell holds two different values, that is the fit to the rows.

Source: Xu et al. 2019 (arXiv 1907.00503), section 4.2, for what modes are good for; Blei & Jordan 2006, "Variational
inference for Dirichlet process mixtures", for the mixture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_MOST_CELLS = 512
_MOST_ROUNDS = 200
_SETTLED = 1e-6  # change of the bound per row at which the fit ends
_CONCENTRATION = 1e-3  # of the Dirichlet process: few modes
_LEAST_VARIANCE = 1e-6  # of a mode, in variances of the column
_LEAST_WEIGHT = 0.005  # of a mode that is kept


@dataclass(frozen=True, slots=True)
class Modes:
    """A mixture of normal distributions.

    Attributes:
        weights: float64 [K], of sum 1.
        means: float64 [K], ascending.
        deviations: float64 [K], > 0.
    """

    weights: Array
    means: Array
    deviations: Array

    def joint(self, values: Array) -> Array:
        """Log density of each value together with each mode, float64 [N, K]."""
        distance = (values[:, None] - self.means) / self.deviations
        density: Array = np.log(self.weights / self.deviations) - 0.5 * (distance**2 + np.log(2 * np.pi))
        return density

    def choose(self, values: Array, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draws for each value the mode it came from, int64 [N]."""
        places, inverse = np.unique(values, return_inverse=True)
        joint = self.joint(places)
        bounds = np.exp(joint - joint.max(axis=1, keepdims=True)).cumsum(axis=1)
        bounds /= bounds[:, -1:]
        drawn = rng.random(len(values))[:, None] > bounds[inverse, :-1]
        chosen: NDArray[np.int64] = drawn.sum(axis=1)
        return chosen


def fit_modes(values: Array, most: int) -> Modes:
    """Fits a mixture to numbers.

    Args:
        values: float64 [N], finite, N >= 1.
        most: modes at the most, >= 1.
    """
    middle, scale = float(values.mean()), float(values.std())
    if scale == 0:
        return Modes(np.ones(1), np.array([middle]), np.ones(1))
    cells = _Cells.of((values - middle) / scale)
    fitted = _fit(cells, min(most, len(cells.counts)))
    return Modes(fitted.weights, middle + scale * fitted.means, scale * fitted.deviations)


@dataclass(frozen=True, slots=True)
class _Cells:
    """What a mixture has to know of the rows near a value: how many, their mean, and their squares about it."""

    counts: Array
    means: Array
    squares: Array

    @classmethod
    def of(cls, values: Array) -> _Cells:
        ordered = np.sort(values)
        starts = np.flatnonzero(np.r_[True, np.diff(ordered) > 0])
        if len(starts) > _MOST_CELLS:
            by_count = np.linspace(0, len(ordered), _MOST_CELLS // 2, endpoint=False).astype(np.int64)
            by_width = np.linspace(ordered[0], ordered[-1], _MOST_CELLS // 2 + 1)[:-1]
            starts = np.union1d(by_count, np.searchsorted(ordered, by_width))
        counts = np.diff(np.r_[starts, len(ordered)]).astype(np.float64)
        means = np.add.reduceat(ordered, starts) / counts
        squares = np.add.reduceat((ordered - np.repeat(means, counts.astype(np.int64))) ** 2, starts)
        return cls(counts, means, squares)


def _fit(cells: _Cells, most: int) -> Modes:
    """Variational updates from a start by nearest centres; the column has mean 0 and variance 1."""
    from scipy.special import digamma

    share = _first_share(cells, most)
    rows, before = cells.counts.sum(), -np.inf
    for _ in range(_MOST_ROUNDS):
        weighed = share * cells.counts[:, None]
        n = weighed.sum(axis=0) + 1e-10
        middle = cells.means @ weighed / n
        scatter = ((cells.means[:, None] - middle) ** 2 * weighed).sum(axis=0) + cells.squares @ share
        after = n[::-1].cumsum()[::-1] - n  # rows of all later modes
        means = n * middle / (1 + n)
        freedom = 1 + n
        variance = (1 + scatter + _LEAST_VARIANCE * n + n / (1 + n) * middle**2) / freedom
        log_taken = digamma(1 + n) - digamma(1 + _CONCENTRATION + n + after)
        log_left = digamma(_CONCENTRATION + after) - digamma(1 + _CONCENTRATION + n + after)
        log_weights = log_taken + np.r_[0, log_left[:-1].cumsum()]
        log_precision = digamma(freedom / 2) + np.log(2 / freedom) - np.log(variance)
        nearness = ((cells.means[:, None] - means) ** 2 + (cells.squares / cells.counts)[:, None]) / variance
        joint = log_weights + 0.5 * (log_precision - 1 / (1 + n) - nearness - np.log(2 * np.pi))
        top = joint.max(axis=1, keepdims=True)
        share = np.exp(joint - top)
        total = share.sum(axis=1, keepdims=True)
        share /= total
        bound = float(cells.counts @ (np.log(total) + top)[:, 0]) / rows
        if abs(bound - before) < _SETTLED:
            break
        before = bound
    weights = cells.counts @ share / rows
    kept = np.flatnonzero(weights > min(_LEAST_WEIGHT, weights.max() / 2))
    kept = kept[np.argsort(means[kept])]
    return Modes(weights[kept] / weights[kept].sum(), means[kept], np.sqrt(variance[kept]))


def _first_share(cells: _Cells, most: int) -> Array:
    """Cells dealt to the nearest of centres moved by Lloyd's rounds; the start is what most rows are far from."""
    chosen = [int(cells.counts.argmax())]
    distance = np.full(len(cells.means), np.inf)
    while len(chosen) < most:
        distance = np.minimum(distance, (cells.means - cells.means[chosen[-1]]) ** 2)
        chosen.append(int((cells.counts * distance).argmax()))
    centres = np.sort(cells.means[chosen])
    for _ in range(30):
        nearest = np.searchsorted((centres[1:] + centres[:-1]) / 2, cells.means)
        n = np.bincount(nearest, cells.counts, most)
        moved = np.where(n > 0, np.bincount(nearest, cells.counts * cells.means, most) / np.maximum(n, 1e-9), centres)
        if np.allclose(moved, centres):
            break
        centres = np.sort(moved)
    return np.eye(most)[np.searchsorted((centres[1:] + centres[:-1]) / 2, cells.means)]
