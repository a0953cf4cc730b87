"""Counts and metrics that leave with noise: what a patient may add to each, and how the sums are read from its records.

The lengths to which a patient's contribution is shortened are public and the same at every hospital, about what two
documents bring. They stand here because they belong to what is counted, not to how noise works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from clinical.learning import predict
from clinical.metrics.contributions import curve_contributions, judgement_contributions
from privacy.release import NoisySum

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from torch import nn

    from clinical.learning import Examples
    from clinical.metrics.thresholds import Thresholds
    from clinical.tasks.coding import Coded
    from clinical.tasks.prediction import PredictionTask
    from privacy.noise import NoiseSource

CODES_NORM = 4.0  # a patient with sixteen codes
CURVE_NORM = 3.0
JUDGEMENT_NORM = 5.0


def noised_codes(
    documents: Coded, universe: Sequence[str], *, minimum: int, multiplier: float, noise: NoiseSource
) -> dict[str, int]:
    """Count training patients by code, over every code of a public list, with noise.

    Returns:
        Noisy counts of the codes that stand out of the noise: less than one in the whole list would by chance.
    """
    from scipy.stats import norm

    from clinical.vocabulary import code_contributions

    mechanism = NoisySum(CODES_NORM, multiplier)
    counts = mechanism.release(code_contributions(documents, universe), noise)
    floor = max(float(minimum), mechanism.deviation * float(norm.isf(1 / len(universe))))
    return {universe[k]: round(counts[k]) for k in (counts >= floor).nonzero()[0]}


def noised_curve(model: nn.Module, examples: Examples, *, multiplier: float, noise: NoiseSource) -> np.ndarray:
    """Bin a model's scores on a split, with noise: float64, see `clinical.metrics.contributions`."""
    rows = curve_contributions(predict(model, examples.features), examples.truth, examples.patient)
    return NoisySum(CURVE_NORM, multiplier).release(rows, noise)


def noised_judgement(
    model: nn.Module, examples: Examples, thresholds: Thresholds, *, multiplier: float, noise: NoiseSource
) -> np.ndarray:
    """Count a model's hits and misses on a split, with noise: float64, see `clinical.metrics.contributions`."""
    logits = predict(model, examples.features)
    rows = judgement_contributions(logits, examples.truth, examples.patient, thresholds)
    return NoisySum(JUDGEMENT_NORM, multiplier).release(rows, noise)


def noised_outcomes(
    task: PredictionTask,
    predictions: np.ndarray,
    answers: np.ndarray,
    patient: np.ndarray,
    *,
    multiplier: float,
    noise: NoiseSource,
) -> np.ndarray:
    """Count predictions against answers with noise, every patient once: see `clinical.metrics.noised_outcomes`."""
    from clinical.metrics.noised_outcomes import NORM, contributions

    return NoisySum(NORM, multiplier).release(contributions(task, predictions, answers, patient), noise)
