"""What is counted document by document: rankings of codes, without any threshold.

Every value is an integer, fractions in units of 1 / `UNIT`, because floating-point sums depend on their order and so on
how patients are divided over hospitals. The unit is far below any figure shown.

Equal scores rank against the model: a model that scores every code the same earns nothing from the order in which the
vocabulary happens to be written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical.metrics.blocks import Counts, Positives, Scores

PRECISION_AT = (5, 8, 15)
RECALL_AT = (10, 15)
UNIT = 360360 << 13  # three thousand million, and a multiple of 1 to 15, so that every precision at k is exact

#: Sums over all documents, then over those with a code: without one, recall and its kin are not defined.
OVER_ALL = tuple(f"precision_at_{k}" for k in PRECISION_AT)
OVER_CODED = (*(f"recall_at_{k}" for k in RECALL_AT), "r_precision", "mean_average_precision")
COLUMNS = ("documents", "coded", *OVER_ALL, *OVER_CODED)


def rank_positives(block: Scores, truth: Positives, *, start: int) -> Counts:
    """Ranks of the true codes among all codes, best first within each document.

    Args:
        block: float32 [n, K], the scores of documents `start` to `start + n`.
        truth: The true pairs of the whole split.
        start: The first document of the block.

    Returns:
        int64 [pairs of the block], from 1.
    """
    ordered = np.sort(block, axis=1)
    codes = block.shape[1]
    ranks = [np.zeros(0, np.int64)]
    for row, scores in enumerate(ordered):
        pairs = slice(truth.offsets[start + row], truth.offsets[start + row + 1])
        own = np.sort(block[row, truth.codes[pairs]])
        not_below = codes - np.searchsorted(scores, own)
        true_not_below = len(own) - np.searchsorted(own, own)
        ranks.append((not_below - true_not_below + np.arange(len(own), 0, -1))[::-1])
    return np.concatenate(ranks)


def measure_documents(truth: Positives, ranks: Counts) -> Counts:
    """The `COLUMNS` of each document.

    Args:
        truth: The true pairs of N documents.
        ranks: int64 [pairs], from `rank_positives`.

    Returns:
        int64 [N, len(COLUMNS)]; the first two are 0 or 1, the others fractions in units of 1 / `UNIT`.
    """
    coded = truth.per_document()
    divisor = np.maximum(coded, 1)
    place = np.arange(len(ranks)) - truth.offsets[truth.documents] + 1

    def total(values: NDArray[np.float64] | NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.bincount(truth.documents, weights=values, minlength=len(coded)).astype(np.float64)

    fractions = [total(ranks <= k) / k for k in PRECISION_AT]
    fractions += [total(ranks <= k) / divisor for k in RECALL_AT]
    fractions += [total(ranks <= coded[truth.documents]) / divisor, total(place / ranks) / divisor]
    quanta = [np.rint(fraction * UNIT).astype(np.int64) for fraction in fractions]
    return np.stack([np.ones_like(coded), (coded > 0).astype(np.int64), *quanta], axis=1)
