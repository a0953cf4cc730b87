"""What one patient contributes to the count of an outcome's predictions, so that the count can carry noise.

A patient of whom something is asked every hour would move the sums by a hundred questions; so here every patient
counts once, the mean over what is asked of him or her. Scores read from such sums weigh patients and not hours, and a
record that holds them says that they are noised.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.special import expit

from clinical.metrics.blocks import index_patients
from clinical.metrics.histogram import BINS, EDGES
from clinical.metrics.outcomes import TENTHS, Errors, Risks

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical.metrics.outcomes import Outcomes
    from clinical.tasks.prediction import PredictionTask

__all__ = ["NORM", "contributions", "read_sums"]

#: The length to which a patient's contribution is shortened; one whose every column is at most 1 hardly ever is.
NORM: Final = 1.5
_CAP_SPREADS: Final = 3.0  # errors of a regression are cut at so many public deviations of the answer
_ONE_PATIENT: Final = 1_000  # counts are integers; a patient is so many
#: Lower edges of the bins after the first, in logits: few, for each bin costs one patient's noise.
_CUTS: Final = EDGES[np.isin(EDGES, np.array([-6, -5, -4, -3.5, -3, -2.5, -2, -1.5, -1, 0, 1.5], np.float32))]
_BINS: Final = len(_CUTS) + 1


def contributions(
    task: PredictionTask, predictions: NDArray[np.float32], answers: NDArray[np.float32], patients: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Count each patient once.

    Args:
        task: says what is asked and on which public scale.
        predictions: [M], logits or numbers in the task's unit.
        answers: [M].
        patients: [M].

    Returns:
        float64 [P, 2 * 12 + 1]: share of the patient's questions by answer and wide bin of the logit, and mean squared
        error of the probability; or [P, 5]: 1, absolute and squared error over their caps, and the answer and
        its square on the model's scale over theirs.
    """
    patient, count = index_patients(patients, documents=len(patients))
    each = _risk_rows(predictions, answers) if task.kind == "binary" else _error_rows(task, predictions, answers)
    sums = np.zeros((count, each.shape[1]))
    np.add.at(sums, patient, each)
    shares: NDArray[np.float64] = sums / np.bincount(patient, minlength=count)[:, None]
    return shares


def read_sums(task: PredictionTask, sums: NDArray[np.float64], *, hospitals: int) -> Outcomes:
    """Read pooled sums of `contributions` as counts in which every patient stands once."""
    if task.kind == "regression":
        n, absolute, squared, truth, truth_squared = np.maximum(sums, 0.0)
        cap = _cap(task)
        low, high = _reach(task)
        span = high - low
        mean = low + span * truth / max(n, 1e-9)
        second = (low**2 + 2 * low * span * truth / max(n, 1e-9) + span**2 * truth_squared / max(n, 1e-9)) * n
        row = np.array([[n, absolute * cap, squared * cap**2, mean * n, second]])
        return Errors(row, 0, hospitals)
    first = np.concatenate([[0], np.searchsorted(EDGES, _CUTS, side="right")])
    counts = np.zeros((1, 2, BINS), np.int32)
    for answer, own in enumerate(np.split(sums[:-1], 2)):
        counts[0, answer, first] = np.rint(_not_negative(own) * _ONE_PATIENT)
    middle = np.concatenate([_CUTS[:1] - 0.5, (_CUTS[:-1] + _CUTS[1:]) / 2, _CUTS[-1:] + 0.5])
    chance = 1 / (1 + np.exp(-middle))
    yes, both = counts[0, 0, first], counts[0, :, first].sum(axis=1)
    reliability = np.zeros((1, TENTHS, 3))
    np.add.at(
        reliability[0], np.minimum((chance * TENTHS).astype(int), TENTHS - 1), np.stack([both, yes, both * chance], 1)
    )
    return Risks(
        counts,
        np.asarray(np.maximum(sums[-1:], 0.0) * _ONE_PATIENT, np.float64),
        reliability,
        np.zeros(2, np.int64),
        hospitals,
    )


def _not_negative(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take negative sums for none and keep the total, which noise moves least."""
    total, shown = max(float(sums.sum()), 0.0), np.maximum(sums, 0.0)
    scaled: NDArray[np.float64] = shown * (total / max(float(shown.sum()), 1e-9))
    return scaled


def _risk_rows(logits: NDArray[np.float32], answers: NDArray[np.float32]) -> NDArray[np.float64]:
    rows = np.zeros((len(logits), 2 * _BINS + 1))
    bins = np.searchsorted(_CUTS, logits.astype(np.float32), side="right")
    rows[np.arange(len(logits)), np.where(answers > 0.5, 0, _BINS) + bins] = 1.0
    rows[:, -1] = (expit(logits.astype(np.float64)) - answers) ** 2
    return rows


def _error_rows(
    task: PredictionTask, predictions: NDArray[np.float32], answers: NDArray[np.float32]
) -> NDArray[np.float64]:
    cap = _cap(task)
    low, high = _reach(task)
    error = np.minimum(np.abs(predictions.astype(np.float64) - answers), cap) / cap
    truth = np.clip((answers - low) / (high - low), 0, 1)
    return np.stack([np.ones(len(error)), error, error**2, truth, truth**2], axis=1)


def _cap(task: PredictionTask) -> float:
    """The largest error that is counted, in the task's unit."""
    low, high = _reach(task)
    return (high - low) / 2


def _reach(task: PredictionTask) -> tuple[float, float]:
    """The usual range of the answer: three public deviations about its center, within the limits."""
    ends = task.from_model(np.array([-_CAP_SPREADS, _CAP_SPREADS], np.float32))
    return float(ends[0]), float(ends[1])
