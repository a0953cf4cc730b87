"""Decision thresholds, chosen once on the pooled tuning split and then applied everywhere.

One global threshold that maximises micro-F1 is the protocol's choice; a threshold for every code is unstable, as most
codes have a handful of tuning documents. Candidates are the edges of the score histogram, whose counts are exact, so
the threshold hospitals find together is the one they would have found on pooled records.

Source: Edin et al., SIGIR 2023, arXiv:2304.10909, section 4 (threshold tuning).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from clinical.metrics.histogram import EDGES, ScoreHistogram
from clinical.metrics.pooling import check_alike

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

#: The decision rules, in the order in which tallies number them.
RULES = ("fixed", "micro", "macro", "frequency")
DEFAULT_RULE = "micro"
#: Upper bounds, in documents, of the code-frequency groups; the last group is open.
FREQUENCY_BOUNDS = (10, 100, 1000)


@dataclass(frozen=True, slots=True)
class BestThreshold:
    """A threshold and what it reached on the split it was chosen on.

    Attributes:
        logit: The threshold; a code is predicted at or above it.
        f1: The F1 maximised, None where the split has no positive (the logit is then 0).
    """

    logit: float
    f1: float | None


@dataclass(frozen=True, slots=True)
class FrequencyGroup:
    """Codes of like frequency and their common threshold.

    Attributes:
        above: Codes of the group have more documents than this.
        up_to: And at most this many; None is no limit.
        codes: How many codes there are.
        logit: The group's threshold.
    """

    above: int
    up_to: int | None
    codes: int
    logit: float


@dataclass(frozen=True, slots=True, eq=False)
class Thresholds:
    """Decision rules.

    Attributes:
        logits: Rule → float32 [K], in the order of `RULES`.
        groups: The groups behind the rule `frequency`; empty after transport, as hospitals do not need them.
    """

    logits: Mapping[str, NDArray[np.float32]]
    groups: tuple[FrequencyGroup, ...] = ()

    @property
    def rules(self) -> tuple[str, ...]:
        """The names of the rules."""
        return tuple(self.logits)

    def stack(self, *, codes: int) -> NDArray[np.float32]:
        """All rules as float32 [L, K].

        Raises:
            ValueError: The thresholds are for another number of codes.
        """
        for vector in self.logits.values():
            check_alike("thresholds", f"{len(vector)} codes", f"{codes} codes")
        return np.stack(list(self.logits.values()))

    def only(self, *rules: str) -> Thresholds:
        """Keep some of the rules: fewer rules make smaller tallies.

        Raises:
            ValueError: A rule is not there.
        """
        if missing := sorted(set(rules) - set(self.logits)):
            raise ValueError(f"no threshold rule {', '.join(missing)}; there are {', '.join(self.rules)}")
        kept = {rule: vector for rule, vector in self.logits.items() if rule in rules}
        return Thresholds(kept, self.groups if "frequency" in kept else ())

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The rules as named float32 [K] arrays."""
        return dict(self.logits)

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Read what `to_arrays` wrote.

        Raises:
            ValueError: A rule is unknown, a threshold is not finite, or the vectors differ in length or type.
        """
        if not arrays or set(arrays) - set(RULES):
            raise ValueError(f"thresholds must be named after rules of {', '.join(RULES)}")
        for rule, vector in arrays.items():
            if vector.dtype != np.float32 or vector.ndim != 1 or not np.isfinite(vector).all():
                raise ValueError(f"thresholds of the rule {rule!r} must be a vector of finite float32")
        if len({len(vector) for vector in arrays.values()}) > 1:
            raise ValueError("thresholds of different rules are for different numbers of codes")
        return cls({rule: arrays[rule] for rule in RULES if rule in arrays})

    def summary(self) -> dict[str, Any]:
        """The rules for a run record: JSON types only, `{rule: [{codes, logit, probability, …}]}`."""
        return {rule: self._describe(rule) for rule in self.rules}

    def _describe(self, rule: str) -> list[dict[str, Any]]:
        if rule == "frequency" and self.groups:
            return [
                {"above": g.above, "up_to": g.up_to, "codes": g.codes, **_point(g.logit)}
                for g in self.groups
                if g.codes
            ]
        logits, codes = np.unique(self.logits[rule], return_counts=True)
        return [{"codes": int(n), **_point(float(logit))} for logit, n in zip(logits, codes, strict=True)]


def _point(logit: float) -> dict[str, float]:
    return {"logit": logit, "probability": float(1 / (1 + np.exp(-logit)))}


def fixed_thresholds(codes: int) -> Thresholds:
    """The rule `fixed` alone, probability one half: for scoring before anything is tuned."""
    return Thresholds({"fixed": np.zeros(codes, np.float32)})


def choose_thresholds(
    tuning: ScoreHistogram,
    *,
    frequency: NDArray[np.integer[Any]] | None = None,
    bounds: Sequence[int] = FREQUENCY_BOUNDS,
) -> Thresholds:
    """Choose the thresholds of every rule.

    `fixed` is probability one half; `micro` maximises micro-F1 with one threshold; `macro` maximises the mean F1 of the
    codes that have a positive with one threshold; `frequency` maximises micro-F1 within each group of codes of like
    frequency. Where positives are lacking, `micro` falls back on `fixed` and the others on `micro`.

    Args:
        tuning: Pooled histogram of the tuning split.
        frequency: Integer [K], documents by code that form the groups; without it, those of the tuning split.
        bounds: Upper bounds of the groups, ascending.

    Raises:
        ValueError: The histogram has no codes, or `frequency` or `bounds` do not fit.
    """
    codes = tuning.codes
    if codes == 0:
        raise ValueError("thresholds need a histogram by code, not the overall one")
    documents = tuning.positives.sum(axis=1, dtype=np.int64) if frequency is None else frequency
    if documents.shape != (codes,) or list(bounds) != sorted(set(bounds)):
        raise ValueError(f"frequency must count documents for {codes} codes, and bounds must ascend")
    micro = best_micro(tuning).logit
    group = np.searchsorted(bounds, documents)
    cuts = [_best_in(tuning, group == g, otherwise=micro) for g in range(len(bounds) + 1)]
    logits = {
        "fixed": np.zeros(codes, np.float32),
        "micro": np.full(codes, micro, np.float32),
        "macro": np.full(codes, _best_macro(tuning, otherwise=micro), np.float32),
        "frequency": np.array(cuts, np.float32)[group],
    }
    spans = zip((0, *bounds), (*bounds, None), np.bincount(group, minlength=len(cuts)), cuts, strict=True)
    return Thresholds(logits, tuple(FrequencyGroup(low, top, int(n), cut) for low, top, n, cut in spans))


def choose_overall(tuning: ScoreHistogram, *, codes: int) -> Thresholds:
    """Choose what can be chosen without counts by code: `fixed`, and `micro` from the overall histogram."""
    micro = best_micro(tuning).logit
    return Thresholds({"fixed": np.zeros(codes, np.float32), "micro": np.full(codes, micro, np.float32)})


def best_micro(histogram: ScoreHistogram) -> BestThreshold:
    """The one threshold that maximises micro-F1, and that micro-F1; an `overall()` histogram is enough."""
    positives, negatives = histogram.totals
    if not positives.any():
        return BestThreshold(0.0, None)
    f1 = _f1_by_edge(positives, negatives)
    return BestThreshold(_at_best(f1), float(f1.max()))


def _best_in(histogram: ScoreHistogram, codes: NDArray[np.bool_], *, otherwise: float) -> float:
    positives = histogram.positives[codes].sum(axis=0, dtype=np.int64)
    negatives = histogram.negatives[codes].sum(axis=0, dtype=np.int64)
    return _at_best(_f1_by_edge(positives, negatives)) if positives.any() else otherwise


def _best_macro(histogram: ScoreHistogram, *, otherwise: float) -> float:
    present = histogram.positives.any(axis=1)
    if not present.any():
        return otherwise
    return _at_best(_f1_by_edge(histogram.positives[present], histogram.negatives[present]).mean(axis=0))


def _f1_by_edge(positives: NDArray[Any], negatives: NDArray[Any]) -> NDArray[np.float64]:
    """F1 at each threshold of `EDGES`: [..., BINS] counts with a positive → float64 [..., BINS-1]."""

    def at_or_above(counts: NDArray[Any]) -> NDArray[np.int64]:
        return np.cumsum(counts[..., :0:-1], axis=-1, dtype=np.int64)[..., ::-1]

    hits = at_or_above(positives)
    f1: NDArray[np.float64] = (
        2 * hits / (hits + at_or_above(negatives) + positives.sum(axis=-1, dtype=np.int64)[..., None])
    )
    return f1


def _at_best(f1: NDArray[np.float64]) -> float:
    """The middle of the best edges: where classes part cleanly, half way between them."""
    best = np.flatnonzero(f1 == f1.max())
    return float(EDGES[best[len(best) // 2]])
