"""Judging a model at one hospital: integers that pool, never a score that would have to be averaged."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clinical.learning import predict
from clinical.metrics import ScoreHistogram, Tally, withhold

if TYPE_CHECKING:
    from torch import nn

    from clinical.learning import Examples
    from clinical.metrics.blocks import Positives
    from clinical.metrics.thresholds import Thresholds
    from study.protocol import Study


@dataclass(frozen=True, slots=True)
class Tuning:
    """How a model does on the tuning split: scores binned by code, and the summed cross-entropy of its documents."""

    histogram: ScoreHistogram
    loss: float
    documents: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a held-out split says of a model: counts at the thresholds, and scores binned for areas under curves."""

    tally: Tally
    histogram: ScoreHistogram

    def concealed(self, *, minimum: int) -> Judgement:
        """Return it as it may leave: rows of codes with fewer than ``minimum`` carriers here are withheld."""
        return Judgement(withhold(self.tally, minimum=minimum), withhold(self.histogram, minimum=minimum))


def tune(model: nn.Module, examples: Examples, *, by_code: bool = True) -> Tuning:
    """Bin a model's scores on the tuning split, by code or over all codes only."""
    logits = predict(model, examples.features)
    if by_code:
        histogram = ScoreHistogram.of(logits, examples.truth, examples.patient)
    else:
        histogram = ScoreHistogram.overall_of(logits, examples.truth)
    return Tuning(histogram, _cross_entropy(logits, examples.truth), examples.documents)


def judge(study: Study, model: nn.Module, examples: Examples, thresholds: Thresholds) -> Judgement:
    """Count a model's hits and misses on a split, with bootstrap replicates over its patients.

    The replicates are drawn where the coordinator cannot see: whoever knew the draw could solve the sums for single
    patients. A study that asks for reproducible noise gives that up, and its report says so.
    """
    logits = predict(model, examples.features)
    seed = study.study.seed if study.privacy.reproducible_noise else secrets.randbits(128)
    tally = Tally.of(
        logits,
        examples.truth,
        examples.patient,
        thresholds,
        replicates=study.evaluation.replicates,
        generator=np.random.default_rng(seed),
    )
    return Judgement(tally, ScoreHistogram.of(logits, examples.truth, examples.patient))


def _cross_entropy(logits: np.ndarray, truth: Positives) -> float:
    positive = logits[truth.documents, truth.codes].sum(dtype=np.float64)
    return float(np.logaddexp(0, logits).sum(dtype=np.float64) - positive)
