"""How well one outcome is predicted, counted so that hospitals add up: ranking, calibration and error of predictions.

A prediction task asks one number of a stay, once or every hour. As with codes, a hospital sends sums and never a score,
row 0 for its split and the others for bootstrap replicates that resample *patients*, as the hours of a patient are not
independent. A yes-or-no answer leaves a histogram of logits by answer (areas under curves), squared errors (Brier) and
sums by tenths of probability (calibration); a number leaves sums of errors.

Sources: Brier 1950; expected calibration error, Naeini et al. 2015 (AAAI), ten equal bins; average precision as the
step-wise area under the precision-recall curve (Davis & Goadrich 2006).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
from scipy.special import expit

from clinical.metrics.blocks import index_patients
from clinical.metrics.histogram import BINS, EDGES, area_under_curve
from clinical.metrics.pooling import check_alike, take
from clinical.metrics.scores import Score, interval
from clinical.metrics.tally import resample

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = ["TENTHS", "Errors", "Outcomes", "Risks", "read_outcomes"]

TENTHS: Final = 10
_SUMS: Final = ("questions", "absolute", "squared", "truth", "truth squared")


@dataclass(frozen=True, slots=True, eq=False)
class Risks:
    """Predicted probabilities of a yes, beside what was true, with R bootstrap replicates.

    Guarantee:
        Row 0 of any disjoint sets of patients adds up to row 0 of their union. No guarantee of privacy: see `Tally`.

    Attributes:
        counts: int32 [R+1, 2, BINS], questions by answer (yes first) and bin of the logit.
        squared: float64 [R+1], sum of squared differences between probability and answer.
        reliability: float64 [R+1, TENTHS, 3], by tenth of probability: questions, yeses, sum of probabilities.
        patients: int64 [2], patients with a yes, and patients without any.
        hospitals: hospitals pooled.
    """

    counts: NDArray[np.int32]
    squared: NDArray[np.float64]
    reliability: NDArray[np.float64]
    patients: NDArray[np.int64]
    hospitals: int

    @classmethod
    def of(
        cls,
        logits: NDArray[Any],
        answers: NDArray[Any],
        patients: NDArray[Any],
        *,
        replicates: int = 0,
        generator: np.random.Generator | None = None,
    ) -> Self:
        """Count one hospital's split.

        Args:
            logits: [M], one for each question.
            answers: [M], 0 or 1.
            patients: [M], whom each question is about.
            replicates: R; intervals need at least 40.
            generator: the hospital's own source of randomness; needed when `replicates` > 0.

        Raises:
            ValueError: shapes do not fit, logits are not finite, or replicates are asked without a generator.
        """
        truth, weights, patient = _weigh(logits, answers, patients, replicates=replicates, generator=generator)
        yes = truth > 0.5
        chance = expit(logits.astype(np.float64))
        bins = np.searchsorted(EDGES, logits.astype(np.float32), side="right")
        tenth = np.minimum((chance * TENTHS).astype(np.int64), TENTHS - 1)
        whole = weights[:, patient].astype(np.float64)
        affected = len(np.unique(patient[yes]))
        return cls(
            counts=_spread(whole, np.where(yes, 0, BINS) + bins, 2 * BINS).astype(np.int32).reshape(-1, 2, BINS),
            squared=whole @ (chance - truth) ** 2,
            reliability=np.stack([_spread(whole * each, tenth, TENTHS) for each in (1.0, truth, chance)], axis=2),
            patients=np.array([affected, weights.shape[1] - affected], np.int64),
            hospitals=1,
        )

    def scores(self) -> dict[str, Score]:
        """AUROC, average precision, Brier score, calibration error and the share of yeses."""
        yes, no = self.counts[:, 0], self.counts[:, 1]
        questions = self.counts.sum(axis=(1, 2), dtype=np.float64)
        return {
            "auroc": interval(area_under_curve(yes, no)),
            "average_precision": interval(average_precision(yes, no)),
            "brier": interval(_per(self.squared, questions)),
            "calibration_error": interval(_per(_misses(self.reliability), questions)),
            "prevalence": interval(_per(yes.sum(axis=1, dtype=np.float64), questions)),
        }

    def calibration(self) -> list[dict[str, float]]:
        """Mean probability and share of yeses by tenth of probability, for the picture; empty tenths are left out."""
        rows = [(n, yes, chance) for n, yes, chance in self.reliability[0] if n > 0]
        return [{"questions": float(n), "predicted": float(c / n), "observed": float(yes / n)} for n, yes, c in rows]

    def too_small(self, *, minimum: int) -> bool:
        """Tell whether some, but fewer than ``minimum``, patients stand on either side."""
        return bool(((self.patients > 0) & (self.patients < minimum)).any())

    def __add__(self, other: Risks) -> Risks:
        check_alike("risks", f"{len(self.squared) - 1} replicates", f"{len(other.squared) - 1} replicates")
        return Risks(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The counts as named arrays."""
        return {
            "counts": self.counts,
            "squared": self.squared,
            "reliability": self.reliability,
            "patients": self.patients,
            "hospitals": np.array([self.hospitals], np.int64),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Read what `to_arrays` wrote; a ValueError says which array is missing, misshapen or negative."""
        squared = take(arrays, "squared", dtype=np.float64, shape=(-1,))
        rows = len(squared)
        return cls(
            counts=take(arrays, "counts", dtype=np.int32, shape=(rows, 2, BINS)),
            squared=squared,
            reliability=take(arrays, "reliability", dtype=np.float64, shape=(rows, TENTHS, 3)),
            patients=take(arrays, "patients", dtype=np.int64, shape=(2,)),
            hospitals=int(take(arrays, "hospitals", dtype=np.int64, shape=(1,))[0]),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """Predicted numbers beside true ones, with R bootstrap replicates.

    Guarantee: as of `Risks`, up to floating-point rounding.

    Attributes:
        sums: float64 [R+1, 5]: questions, absolute errors, squared errors, truths, squared truths.
        patients: patients asked about.
        hospitals: hospitals pooled.
    """

    sums: NDArray[np.float64]
    patients: int
    hospitals: int

    @classmethod
    def of(
        cls,
        predictions: NDArray[Any],
        answers: NDArray[Any],
        patients: NDArray[Any],
        *,
        replicates: int = 0,
        generator: np.random.Generator | None = None,
    ) -> Self:
        """Count one hospital's split; arguments as `Risks.of`, numbers in the task's own unit."""
        truth, weights, patient = _weigh(predictions, answers, patients, replicates=replicates, generator=generator)
        error = predictions.astype(np.float64) - truth
        columns = np.stack([np.ones_like(truth), np.abs(error), error**2, truth, truth**2], axis=1)
        return cls(weights[:, patient].astype(np.float64) @ columns, weights.shape[1], 1)

    def scores(self) -> dict[str, Score]:
        """Mean absolute error, root mean squared error and the share of variance explained."""
        n, absolute, squared, truth, truth_squared = self.sums.T
        variance = _per(truth_squared, n) - _per(truth, n) ** 2
        explained: NDArray[np.float64] = 1 - _per(_per(squared, n), np.where(variance > 1e-12, variance, 0.0))
        return {
            "mae": interval(_per(absolute, n), high=np.inf),
            "rmse": interval(np.sqrt(_per(squared, n)), high=np.inf),
            "r2": interval(explained, low=-np.inf),
        }

    def too_small(self, *, minimum: int) -> bool:
        """Tell whether some, but fewer than ``minimum``, patients were asked about."""
        return 0 < self.patients < minimum

    def __add__(self, other: Errors) -> Errors:
        check_alike("errors", f"{len(self.sums) - 1} replicates", f"{len(other.sums) - 1} replicates")
        return Errors(self.sums + other.sums, self.patients + other.patients, self.hospitals + other.hospitals)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """The sums as named arrays."""
        return {"sums": self.sums, "sizes": np.array([self.patients, self.hospitals], np.int64)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Read what `to_arrays` wrote; a ValueError says which array is missing or misshapen."""
        sums = arrays.get("sums")
        if sums is None or sums.ndim != 2 or sums.shape[1] != len(_SUMS) or sums.dtype != np.float64:
            raise ValueError(f"errors must be the array 'sums' of float64 [R+1, {len(_SUMS)}]")
        if not np.isfinite(sums).all():
            raise ValueError("errors hold sums that are not finite: a model has diverged")
        patients, hospitals = take(arrays, "sizes", dtype=np.int64, shape=(2,)).tolist()
        return cls(sums, patients, hospitals)


Outcomes = Risks | Errors


def read_outcomes(arrays: Mapping[str, NDArray[Any]]) -> Outcomes:
    """Read either kind; a ValueError as their own `from_arrays`."""
    return Errors.from_arrays(arrays) if "sums" in arrays else Risks.from_arrays(arrays)


def average_precision(yes: NDArray[Any], no: NDArray[Any]) -> NDArray[np.float64]:
    """Area under the step-wise precision-recall curve of binned scores.

    Args:
        yes: integer [..., BINS], bins in ascending order of the score.
        no: integer [..., BINS].

    Returns:
        float64 [...]; NaN without a positive. Scores within one bin are taken as equal.
    """
    hits = np.cumsum(yes[..., ::-1], axis=-1, dtype=np.float64)
    found = hits + np.cumsum(no[..., ::-1], axis=-1, dtype=np.float64)
    precision = np.divide(hits, found, out=np.zeros_like(hits), where=found > 0)
    total = hits[..., -1]
    weighted = (precision * yes[..., ::-1]).sum(axis=-1)
    return np.divide(weighted, total, out=np.full(total.shape, np.nan), where=total > 0)


def _weigh(
    predictions: NDArray[Any],
    answers: NDArray[Any],
    patients: NDArray[Any],
    *,
    replicates: int,
    generator: np.random.Generator | None,
) -> tuple[NDArray[np.float64], NDArray[np.int32], NDArray[np.int64]]:
    """Check a split; give answers [M], how often each patient stands in each sample [R+1, P], and the patients [M]."""
    if predictions.shape != answers.shape or predictions.ndim != 1:
        raise ValueError(f"predictions of shape {predictions.shape} do not fit answers of shape {answers.shape}")
    if not np.isfinite(predictions).all():
        raise ValueError("predictions hold NaN or infinity: the model has diverged and cannot be scored")
    patient, count = index_patients(patients, documents=len(answers))
    return answers.astype(np.float64), resample(count, replicates=replicates, generator=generator), patient


def _spread(weights: NDArray[np.float64], cell: NDArray[np.int64], cells: int) -> NDArray[np.float64]:
    """Add weights [R, M] up by cell: float64 [R, cells]."""
    from scipy.sparse import csr_array

    where = csr_array((np.ones(len(cell)), (np.arange(len(cell)), cell)), shape=(len(cell), cells))
    summed: NDArray[np.float64] = (where.T @ weights.T).T
    return summed


def _misses(reliability: NDArray[np.float64]) -> NDArray[np.float64]:
    """Questions times the distance between what was promised and what came, over the tenths: [R+1]."""
    misses: NDArray[np.float64] = np.abs(reliability[..., 1] - reliability[..., 2]).sum(axis=1)
    return misses


def _per(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
