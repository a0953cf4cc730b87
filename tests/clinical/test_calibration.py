"""Calibration from histograms: known worlds, and a second computation from the scores themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical.metrics import ScoreHistogram
from clinical.metrics.calibration import calibrate


def _world(*, shift: float, documents: int = 4000, codes: int = 12, seed: int = 0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(-2.0, 1.5, (documents, codes)).astype(np.float32)
    truth = rng.random((documents, codes)) < 1 / (1 + np.exp(-(logits + shift)))
    return logits, truth


def test_a_model_whose_probabilities_are_the_truth_is_calibrated():
    found = calibrate(ScoreHistogram.of(*_world(shift=0.0)))
    assert found.error < 0.01
    assert found.predicted == pytest.approx(found.observed, abs=0.01)
    assert len(found.bins) == 10


def test_a_model_that_promises_too_much_is_told_by_how_much():
    logits, truth = _world(shift=-1.0)
    found = calibrate(ScoreHistogram.of(logits, truth))
    promised = float((1 / (1 + np.exp(-logits))).mean())
    assert found.predicted == pytest.approx(promised, abs=0.002)
    assert found.observed == pytest.approx(truth.mean())
    assert found.error == pytest.approx(promised - truth.mean(), abs=0.005)
    assert all(each.predicted > each.observed for each in found.bins[3:])


def test_the_bins_hold_all_pairs_once_and_ascend():
    found = calibrate(ScoreHistogram.of(*_world(shift=0.4, documents=300)))
    assert sum(each.questions for each in found.bins) == 300 * 12
    assert all(each.low <= each.predicted <= each.high for each in found.bins)
    assert all(one.high <= other.low + 1e-9 for one, other in zip(found.bins, found.bins[1:], strict=False))


def test_a_constant_model_has_one_bin():
    logits = np.full((50, 3), -1.0, np.float32)
    truth = np.zeros((50, 3), bool)
    truth[:5] = True
    found = calibrate(ScoreHistogram.of(logits, truth))
    assert len(found.bins) == 1
    assert found.bins[0].observed == pytest.approx(0.1)


@given(st.integers(0, 5))
def test_histograms_pool_before_calibration(seed):
    logits, truth = _world(shift=0.2, documents=60, seed=seed)
    halves = ScoreHistogram.of(logits[:20], truth[:20]) + ScoreHistogram.of(logits[20:], truth[20:])
    assert calibrate(halves) == calibrate(ScoreHistogram.of(logits, truth))


def test_without_a_pair_or_with_counts_below_zero_there_is_no_answer():
    empty = ScoreHistogram.of(np.zeros((0, 3), np.float32), np.zeros((0, 3), bool))
    assert calibrate(empty) is None
    noisy = ScoreHistogram.of(*_world(shift=0.0, documents=20))
    noisy.totals[0, 3] = -2
    assert calibrate(noisy) is None
