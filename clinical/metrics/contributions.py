"""What one patient contributes to a count, so that the count can be released with noise.

Exact integers by code say too much about patients to be noised usefully: a document touches every code's row. Where
numbers must carry noise, a hospital therefore counts fewer things, patient by patient: scores of true and false pairs
over all codes in wide bins (enough to choose one threshold), and the sums behind the micro and document-level metrics.
Rows are brought to like size by public scales, as noise is equal in every column; whoever bounds and noises the sums
(`privacy.release`) knows nothing of their meaning. Pooled sums become a `ScoreHistogram` or a `Tally` again, without
rows by code, and are read by the same `scores`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from clinical.metrics.blocks import index_patients, read_labels, row_blocks
from clinical.metrics.histogram import BINS, EDGES, ScoreHistogram
from clinical.metrics.ranking import COLUMNS, UNIT
from clinical.metrics.tally import BUCKETS, Tally, count_documents

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from clinical.metrics.blocks import Labels, Logits
    from clinical.metrics.thresholds import Thresholds

#: Bins of a noised curve begin at these edges: half a logit wide where models live, for noise adds up over bins.
WIDE = np.concatenate(
    [[-np.inf], EDGES[(EDGES >= -8) & (EDGES <= 4) & (np.abs(EDGES * 2 - np.rint(EDGES * 2)) < 1e-4)]]
)
#: What sums over codes are divided by. Small enough that the noise of micro metrics, which matter most, is small beside
#: them; a document then brings about 2.5 to hits and misses together, and 2 to everything counted by document.
CODES_SCALE = 2.0


def curve_contributions(logits: Logits, labels: Labels, patients: NDArray[Any]) -> NDArray[np.float64]:
    """Count each patient's scores in wide bins.

    Args:
        logits: [N, K], or its row blocks in order.
        labels: bool [N, K], dense or sparse.
        patients: [N], the patient of each document.

    Returns:
        float64 [P, 2 * len(WIDE) + 1]: true pairs by bin over `CODES_SCALE`, false pairs by bin over K, documents.
    """
    truth = read_labels(labels)
    documents, codes = truth.shape
    patient, count = index_patients(patients, documents=documents)
    wide = len(WIDE)
    everything, hits = np.zeros((2, documents, wide))
    for start, block in row_blocks(logits, shape=truth.shape):
        bins = np.searchsorted(WIDE[1:], block, side="right")
        for row, cells in enumerate(bins):
            everything[start + row] = np.bincount(cells, minlength=wide)
        rows, columns = truth.within(start, len(block))
        np.add.at(hits, (rows + start, bins[rows, columns]), 1.0)
    each = np.column_stack([hits / CODES_SCALE, (everything - hits) / max(codes, 1), np.ones(documents)])
    return _by_patient(each, patient, count)


def curve_histogram(sums: NDArray[np.float64], *, codes: int, hospitals: int) -> ScoreHistogram:
    """Read pooled sums of `curve_contributions` as an overall histogram; noise below zero becomes zero."""
    true, false = np.split(sums[:-1], 2)
    first = np.concatenate([[0], np.searchsorted(EDGES, WIDE[1:].astype(np.float32), side="right")])
    totals = np.zeros((2, BINS), np.int64)
    totals[0, first] = _whole(true * CODES_SCALE)
    totals[1, first] = _whole(false * codes)
    none = np.zeros(0, np.int32)
    rows = np.zeros((0, BINS), np.int32)
    return ScoreHistogram(rows, rows, totals, none, none, int(_whole(sums[-1])), hospitals)


def judgement_contributions(
    logits: Logits, labels: Labels, patients: NDArray[Any], thresholds: Thresholds
) -> NDArray[np.float64]:
    """Count each patient's hits and misses.

    Returns:
        float64 [P, 4 * L + len(COLUMNS)] for L rules: true positives, false positives and false negatives over
        `CODES_SCALE` and exact matches by rule, then the sums of `clinical.metrics.ranking`.
    """
    patient, count = index_patients(patients, documents=len(patients))
    return _by_patient(count_documents(logits, labels, thresholds) / _scales(len(thresholds.rules)), patient, count)


def judgement_tally(sums: NDArray[np.float64], *, rules: Sequence[str], codes: int, hospitals: int) -> Tally:
    """Read pooled sums of `judgement_contributions` as a tally whose rows by code are all withheld."""
    whole = _whole(sums * _scales(len(rules)))
    micro, exact = whole[: 3 * len(rules)], whole[3 * len(rules) : 4 * len(rules)]
    nothing = np.zeros((1, codes), np.int32)
    return Tally(
        rules=tuple(rules),
        micro=micro.reshape(len(rules), 1, 3),
        positives=nothing,
        predicted=np.zeros((len(rules), 1, codes), np.int32),
        true_positives=np.zeros((len(rules), 1, codes), np.int32),
        documents=whole[None, 4 * len(rules) :],
        exact=exact[:, None],
        fingerprints=np.zeros((len(rules), BUCKETS), np.int64),
        carriers=nothing[0],
        withheld=np.full(codes, hospitals, np.int32),
        patients=0,
        hospitals=hospitals,
    )


def _scales(rules: int) -> NDArray[np.float64]:
    """What each column of a judgement is divided by: about what one document brings."""
    sizes = np.full(len(COLUMNS), float(UNIT))
    sizes[:2] = 1.0  # documents, and those with a code, are counted whole
    return np.concatenate([np.full(3 * rules, CODES_SCALE), np.ones(rules), sizes])


def _by_patient(rows: NDArray[np.float64], patient: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    sums = np.zeros((count, rows.shape[1]))
    np.add.at(sums, patient, rows)
    return sums


def _whole(values: NDArray[np.float64]) -> NDArray[np.int64]:
    whole: NDArray[np.int64] = np.rint(np.maximum(values, 0.0)).astype(np.int64)
    return whole
