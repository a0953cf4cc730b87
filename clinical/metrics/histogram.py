"""Histograms of logits: what a hospital sends so that thresholds and areas under the curve can be found for all.

Bins lie on the logit and not on the probability, because rare codes live between 1e-5 and 1e-2, where a probability
scale has no resolution. They are 0.1 wide where trained models live and widen geometrically outside, so that a model
whose logits are large (noise does that) still keeps its ranking.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from clinical.metrics.blocks import (
    Counts,
    Counts32,
    Logits,
    Positives,
    count_carriers,
    index_patients,
    read_labels,
    row_blocks,
)
from clinical.metrics.pooling import check_alike, take

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from clinical.metrics.blocks import Labels

_TAIL = 10 * 1.1 ** np.arange(1, 25)
#: float32 [BINS-1], ascending, symmetric about 0. Bin i holds EDGES[i-1] <= logit < EDGES[i]; the outer two are open.
EDGES = np.concatenate([-_TAIL[::-1], np.arange(-100, 101) / 10, _TAIL]).astype(np.float32)
BINS = len(EDGES) + 1


@dataclass(frozen=True, slots=True, eq=False)
class ScoreHistogram:
    """Scores of true and of false (document, code) pairs, by code and logit bin.

    Guarantee:
        Histograms of any two disjoint sets of patients add up to the histogram of their union. Counts above an edge of
        `EDGES` are exact. An area under the curve errs by at most half the share of (true, false) pairs that fall
        into one bin together.

    Attributes:
        positives: int32 [K, BINS], documents with the code.
        negatives: int32 [K, BINS], documents without it.
        totals: int64 [2, BINS], true and false pairs over all codes; stays exact when codes are withheld.
        carriers: int32 [K], distinct patients with the code.
        withheld: int32 [K], hospitals that withheld the code's rows.
        documents: Documents counted.
        hospitals: Hospitals pooled.
    """

    positives: Counts32
    negatives: Counts32
    totals: Counts
    carriers: Counts32
    withheld: Counts32
    documents: int
    hospitals: int

    @classmethod
    def of(cls, logits: Logits, labels: Labels, patients: NDArray[Any] | None = None) -> Self:
        """Count one hospital's split.

        Args:
            logits: [N, K], or its row blocks in order.
            labels: bool [N, K], dense or sparse.
            patients: [N], the patient of each document; without it each document is a patient of its own.

        Raises:
            ValueError: Shapes do not fit or logits are not finite.
        """
        truth = read_labels(labels)
        documents, codes = truth.shape
        given = np.arange(documents) if patients is None else patients
        patient, _ = index_patients(given, documents=documents)
        everything, hits = _count_bins(logits, truth)
        return cls(
            positives=hits.astype(np.int32),
            negatives=(everything - hits).astype(np.int32),
            totals=np.stack([hits.sum(axis=0), (everything - hits).sum(axis=0)]),
            carriers=count_carriers(truth, patient),
            withheld=np.zeros(codes, np.int32),
            documents=documents,
            hospitals=1,
        )

    @classmethod
    def overall_of(cls, logits: Logits, labels: Labels) -> Self:
        """Count one hospital's split over all codes only: what `of(...).overall()` gives, without counting by code."""
        truth = read_labels(labels)
        everything, hits = np.zeros((2, BINS), np.int64)
        for start, block in row_blocks(logits, shape=truth.shape):
            bins = np.searchsorted(EDGES, block, side="right")
            everything += np.bincount(bins.ravel(), minlength=BINS)
            hits += np.bincount(bins[truth.within(start, len(block))], minlength=BINS)
        rows, none = np.zeros((0, BINS), np.int32), np.zeros(0, np.int32)
        return cls(rows, rows, np.stack([hits, everything - hits]), none, none, truth.shape[0], 1)

    @property
    def codes(self) -> int:
        """K."""
        return len(self.carriers)

    def overall(self) -> ScoreHistogram:
        """The `totals` alone, a histogram of no single code: 4 kB, what a training round sends."""
        return ScoreHistogram(
            positives=self.positives[:0],
            negatives=self.negatives[:0],
            totals=self.totals,
            carriers=self.carriers[:0],
            withheld=self.withheld[:0],
            documents=self.documents,
            hospitals=self.hospitals,
        )

    def without(self, codes: NDArray[np.bool_]) -> ScoreHistogram:
        """Zero and flag the rows of some codes (bool [K]); `totals` stay."""
        shown = ~codes
        return ScoreHistogram(
            positives=self.positives * shown[:, None],
            negatives=self.negatives * shown[:, None],
            totals=self.totals,
            carriers=self.carriers * shown,
            withheld=self.withheld + codes.astype(np.int32),
            documents=self.documents,
            hospitals=self.hospitals,
        )

    def __add__(self, other: ScoreHistogram) -> ScoreHistogram:
        check_alike("histograms", f"{self.codes} codes", f"{other.codes} codes")
        return ScoreHistogram(
            positives=self.positives + other.positives,
            negatives=self.negatives + other.negatives,
            totals=self.totals + other.totals,
            carriers=self.carriers + other.carriers,
            withheld=self.withheld + other.withheld,
            documents=self.documents + other.documents,
            hospitals=self.hospitals + other.hospitals,
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The histogram as named integer arrays."""
        return {
            "positives": self.positives,
            "negatives": self.negatives,
            "totals": self.totals,
            "carriers": self.carriers,
            "withheld": self.withheld,
            "sizes": np.array([self.documents, self.hospitals], np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Read what `to_arrays` wrote.

        Raises:
            ValueError: An array is missing, misshapen, of another type or negative.
        """
        carriers = take(arrays, "carriers", dtype=np.int32, shape=(-1,))
        codes = len(carriers)
        documents, hospitals = take(arrays, "sizes", dtype=np.int64, shape=(2,)).tolist()
        return cls(
            positives=take(arrays, "positives", dtype=np.int32, shape=(codes, BINS)),
            negatives=take(arrays, "negatives", dtype=np.int32, shape=(codes, BINS)),
            totals=take(arrays, "totals", dtype=np.int64, shape=(2, BINS)),
            carriers=carriers,
            withheld=take(arrays, "withheld", dtype=np.int32, shape=(codes,)),
            documents=documents,
            hospitals=hospitals,
        )


def _count_bins(logits: Logits, truth: Positives) -> tuple[Counts, Counts]:
    """All pairs and true pairs by code and bin, int64 [K, BINS] each."""
    codes = truth.shape[1]
    everything, hits = np.zeros((2, codes * BINS), np.int64)
    for start, block in row_blocks(logits, shape=truth.shape):
        cells = np.searchsorted(EDGES, block, side="right") + np.arange(codes) * BINS
        everything += np.bincount(cells.ravel(), minlength=codes * BINS)
        hits += np.bincount(cells[truth.within(start, len(block))], minlength=codes * BINS)
    return everything.reshape(codes, BINS), hits.reshape(codes, BINS)


def area_under_curve(positives: NDArray[Any], negatives: NDArray[Any]) -> NDArray[np.float64]:
    """Area under the ROC curve, pairs within a bin counted as half won (the trapezoid).

    Args:
        positives: Integer [..., BINS].
        negatives: Integer [..., BINS].

    Returns:
        float64 [...]; NaN where there is no positive or no negative.
    """
    below = np.cumsum(negatives, axis=-1, dtype=np.float64) - negatives / 2
    pairs = positives.sum(axis=-1, dtype=np.float64) * negatives.sum(axis=-1, dtype=np.float64)
    return np.divide((positives * below).sum(axis=-1), pairs, out=np.full(pairs.shape, np.nan), where=pairs > 0)
