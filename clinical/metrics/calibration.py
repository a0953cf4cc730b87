"""Calibration: whether a probability means what it says, read from the histogram that hospitals send anyway.

Most pairs of document and code have a probability near zero, so equal steps of probability would put nearly all of
them into one bin. The bins here hold about equally many pairs of the histogram's own logit bins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical.metrics.histogram import EDGES

if TYPE_CHECKING:
    from clinical.metrics.histogram import ScoreHistogram

BINS = 10


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Pairs of document and code with like probabilities.

    Attributes:
        low: least probability of the bin.
        high: its upper end.
        questions: how many pairs.
        predicted: their mean probability, to within half a logit bin (0.05 where trained models live).
        observed: the share of pairs whose document has the code.
    """

    low: float
    high: float
    questions: int
    predicted: float
    observed: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far probabilities are from frequencies, over all codes.

    Attributes:
        error: expected calibration error: |predicted - observed|, averaged over pairs.
        predicted: mean probability of all pairs.
        observed: share of pairs whose document has the code.
        bins: from the least to the greatest probability.
    """

    error: float
    predicted: float
    observed: float
    bins: tuple[ReliabilityBin, ...]


def calibrate(histogram: ScoreHistogram) -> Calibration | None:
    """Compare probabilities with frequencies over all pairs of document and code.

    Args:
        histogram: of a held-out split; its `totals` are exact also where codes are withheld.

    Returns:
        The calibration; None where there is no pair, or the counts carry noise and have gone below zero.

    Source: Naeini et al., AAAI 2015 (expected calibration error, here with bins of equal mass).
    """
    positives, negatives = (row.astype(np.float64) for row in histogram.totals)
    pairs = positives + negatives
    if pairs.sum() <= 0 or min(positives.min(), negatives.min()) < 0:
        return None
    probability = _probabilities()
    share = (np.cumsum(pairs) - pairs / 2) / pairs.sum()  # the rank of each logit bin's middle pair, in [0, 1]
    group = np.minimum((share * BINS).astype(np.int64), BINS - 1)
    bins = []
    for number in np.unique(group[pairs > 0]):
        own = np.flatnonzero((group == number) & (pairs > 0))
        count = pairs[own].sum()
        bins.append(
            ReliabilityBin(
                low=_edge(int(own[0]) - 1),
                high=_edge(int(own[-1])),
                questions=int(count),
                predicted=float((pairs[own] * probability[own]).sum() / count),
                observed=float(positives[own].sum() / count),
            )
        )
    weights = np.array([each.questions for each in bins]) / pairs.sum()
    gaps = np.array([abs(each.predicted - each.observed) for each in bins])
    return Calibration(
        error=float(weights @ gaps),
        predicted=float((pairs * probability).sum() / pairs.sum()),
        observed=float(positives.sum() / pairs.sum()),
        bins=tuple(bins),
    )


def _probabilities() -> np.ndarray:
    """Give the probability at the middle of each logit bin; the open outer bins take their edge: float64 [BINS]."""
    edges = EDGES.astype(np.float64)
    middles = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
    probability: np.ndarray = 1 / (1 + np.exp(-middles))
    return probability


def _edge(number: int) -> float:
    """Give the probability at an edge of the histogram; 0 and 1 beyond the outer ones."""
    if number < 0:
        return 0.0
    return 1.0 if number >= len(EDGES) else float(1 / (1 + np.exp(-float(EDGES[number]))))
