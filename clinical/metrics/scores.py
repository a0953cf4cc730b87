"""Scores: the metrics of the protocol, read from pooled counts, each with the interval its replicates give.

Source: Edin et al., SIGIR 2023: macro metrics are means over the codes that have a positive in the evaluated split
(averaging absent codes in halves them); a code never predicted has precision 0 there.

Intervals are bootstrap percentiles moved by the bootstrap's own bias. A resampled split repeats some patients and loses
others, and so flatters codes with few positives: the bare percentiles of macro-F1 can lie wholly above the macro-F1
they are meant to surround. For micro and document-level metrics the move is next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clinical.metrics.histogram import area_under_curve
from clinical.metrics.ranking import COLUMNS, OVER_ALL, OVER_CODED, UNIT
from clinical.metrics.thresholds import DEFAULT_RULE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clinical.metrics.histogram import ScoreHistogram
    from clinical.metrics.tally import Tally

#: Below this, the 2.5th percentile would lie outside the replicates.
FEWEST_REPLICATES = 40

Ratios = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """A metric; None where it is not defined (no document, nothing predicted, no interval asked).

    Attributes:
        value: On the evaluated split.
        low: Lower end of the 95 % interval of the patient bootstrap.
        high: Upper end.
        codes: For macro metrics, the number of codes averaged.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    codes: int | None = None


@dataclass(frozen=True, slots=True)
class CodeScore:
    """One row of the per-code table; counts are None where every hospital that has the code withheld it.

    Attributes:
        code: Name in the vocabulary.
        withheld: Hospitals that withheld the code; the row is that of the others.
        positives: Documents with the code.
        predicted: Documents for which it is predicted.
        precision: None when never predicted.
        recall: None without a positive.
        f1: None when neither true nor predicted.
        auc: None without a positive and a negative.
    """

    code: str
    withheld: int
    positives: int | None
    predicted: int | None
    precision: float | None
    recall: float | None
    f1: float | None
    auc: float | None


def scores(tally: Tally, histogram: ScoreHistogram | None = None, *, rule: str = DEFAULT_RULE) -> dict[str, Score]:
    """All metrics under one decision rule.

    Args:
        tally: Pooled counts of the evaluated split.
        histogram: Pooled histogram of the same split; without it the areas under the curve are None.
        rule: A rule of the tally.

    Returns:
        micro_ and macro_ precision, recall, f1 and auc; exact_match; precision_at_5, _8, _15; recall_at_10, _15;
        r_precision; mean_average_precision. Areas under the curve have no interval.

    Raises:
        ValueError: The tally has no such rule, or the histogram has other codes.
    """
    if histogram is not None and histogram.codes not in {0, tally.codes}:
        raise ValueError(f"a histogram of {histogram.codes} codes does not belong to a tally of {tally.codes}")
    return {
        **_micro(tally.micro[tally.at(rule)]),
        **_macro(tally, rule),
        **_per_document(tally, rule),
        **_areas(histogram),
    }


def _micro(counts: NDArray[Any]) -> dict[str, Score]:
    hits, false, missed = np.moveaxis(counts, -1, 0)
    return {
        "micro_precision": interval(_ratio(hits, hits + false)),
        "micro_recall": interval(_ratio(hits, hits + missed)),
        "micro_f1": interval(_ratio(2 * hits, 2 * hits + false + missed)),
    }


def _macro(tally: Tally, rule: str) -> dict[str, Score]:
    at, positives = tally.at(rule), tally.positives
    hits, predicted = tally.true_positives[at], tally.predicted[at]
    present = positives > 0
    codes = int(present[0].sum())

    def mean(ratios: Ratios) -> Score:
        return interval(_ratio(np.nan_to_num(ratios).sum(axis=1, where=present), present.sum(axis=1)), codes=codes)

    return {
        "macro_precision": mean(_ratio(hits, predicted)),
        "macro_recall": mean(_ratio(hits, positives)),
        "macro_f1": mean(_ratio(2 * hits, predicted + positives)),
    }


def _per_document(tally: Tally, rule: str) -> dict[str, Score]:
    column = dict(zip(COLUMNS, tally.documents.T, strict=True))
    return {
        "exact_match": interval(_ratio(tally.exact[tally.at(rule)], column["documents"])),
        **{name: interval(_ratio(column[name] / UNIT, column["documents"])) for name in OVER_ALL},
        **{name: interval(_ratio(column[name] / UNIT, column["coded"])) for name in OVER_CODED},
    }


def _areas(histogram: ScoreHistogram | None) -> dict[str, Score]:
    if histogram is None:
        return {"micro_auc": Score(None), "macro_auc": Score(None, codes=0)}
    by_code = area_under_curve(histogram.positives, histogram.negatives)
    defined = by_code[~np.isnan(by_code)]
    return {
        "micro_auc": Score(_number(area_under_curve(*histogram.totals))),
        "macro_auc": Score(float(defined.mean()) if len(defined) else None, codes=len(defined)),
    }


def per_code(
    tally: Tally, histogram: ScoreHistogram | None, vocabulary: Sequence[str], *, rule: str = DEFAULT_RULE
) -> list[CodeScore]:
    """The per-code table under one decision rule.

    Args:
        tally: Pooled counts of the evaluated split.
        histogram: Pooled histogram of the same split, or None for no areas under the curve.
        vocabulary: K code names in the order of the counts.
        rule: A rule of the tally.

    Raises:
        ValueError: The vocabulary or the histogram has another number of codes, or the tally has no such rule.
    """
    sizes = {len(vocabulary), tally.codes, tally.codes if histogram is None else histogram.codes}
    if len(sizes) > 1:
        raise ValueError(f"vocabulary of {len(vocabulary)} codes does not fit counts of {tally.codes} codes")
    at, positives = tally.at(rule), tally.positives[0]
    hits, predicted = tally.true_positives[at, 0], tally.predicted[at, 0]
    no_area = np.full(tally.codes, np.nan)
    columns = (
        _ratio(hits, predicted),
        _ratio(hits, positives),
        _ratio(2 * hits, positives + predicted),
        no_area if histogram is None else area_under_curve(histogram.positives, histogram.negatives),
    )
    return [
        CodeScore(code, int(w), None, None, None, None, None, None)
        if w and not p
        else CodeScore(code, int(w), int(p), int(q), *map(_number, row))
        for code, p, q, w, *row in zip(vocabulary, positives, predicted, tally.withheld, *columns, strict=True)
    ]


def _ratio(part: NDArray[Any], whole: NDArray[Any]) -> Ratios:
    """Elementwise part / whole, NaN where whole is 0."""
    out = np.full(np.broadcast(part, whole).shape, np.nan)
    return np.divide(part, whole, out=out, where=whole > 0)


def interval(values: Ratios, *, low: float = 0.0, high: float = 1.0, codes: int | None = None) -> Score:
    """Make a score of row 0 and, of the other rows, its interval centred on it.

    Args:
        values: float64 [R+1]; NaN where a replicate does not define the metric.
        low: the least the metric can be; the interval is cut there.
        high: the most.
        codes: for macro metrics, the number of codes averaged.
    """
    value, replicates = _number(values[0]), values[1:][~np.isnan(values[1:])]
    if value is None or len(replicates) < FEWEST_REPLICATES:
        return Score(value, codes=codes)
    bias = replicates.mean() - value
    lower, upper = np.clip(np.quantile(replicates, [0.025, 0.975]) - bias, low, high)
    return Score(value, float(lower), float(upper), codes)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)
