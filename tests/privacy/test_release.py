"""Noisy sums: nobody moves them further than the public bound, and the noise is what the event says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from privacy.accounting import PoissonGaussian, epsilon
from privacy.noise import ReproducibleNoise
from privacy.release import NoisySum


class Silence(ReproducibleNoise):
    """No noise at all, to look at the sum beneath it."""

    def normal_(self, tensor, *, std):
        del std
        return tensor.zero_()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 10), st.integers(1, 30))
def test_no_patient_moves_the_sum_further_than_the_clipping_norm(seed, clip_norm, patients):
    rows = np.random.default_rng(seed).normal(scale=5, size=(patients, 7))
    mechanism = NoisySum(clip_norm, 1.0)
    with_all = mechanism.release(rows, Silence(0))
    without_one = mechanism.release(rows[1:], Silence(0))
    assert np.linalg.norm(with_all - without_one) <= clip_norm * (1 + 1e-12)


def test_short_vectors_are_added_as_they_are_dense_or_sparse():
    rows = np.array([[1.0, 0, 0], [0, 2.0, 0], [0, 0, 0]])
    for given_rows in (rows, csr_matrix(rows)):
        assert NoisySum(5.0, 1.0).release(given_rows, Silence(0)).tolist() == [1, 2, 0]


def test_the_noise_has_the_deviation_that_the_event_is_charged_for():
    mechanism = NoisySum(3.0, 2.0)
    drawn = mechanism.release(np.zeros((1, 200_000)), ReproducibleNoise(1))
    assert drawn.std() == pytest.approx(6.0, rel=0.01)
    assert mechanism.event(releases=4) == PoissonGaussian(1.0, 2.0, 4)
    assert epsilon([mechanism.event()], delta=1e-5) < epsilon([mechanism.event(releases=2)], delta=1e-5)


def test_an_empty_cohort_still_releases_noise():
    assert NoisySum(1.0, 1.0).release(np.zeros((0, 4)), ReproducibleNoise(1)).std() > 0


@pytest.mark.parametrize(("clip_norm", "multiplier"), [(0, 1), (1, 0), (-1, 1), (float("nan"), 1), (1, float("inf"))])
def test_bounds_that_promise_nothing_are_refused(clip_norm, multiplier):
    with pytest.raises(ValueError, match="must be finite and > 0"):
        NoisySum(clip_norm, multiplier)


def test_a_contribution_that_is_not_finite_releases_nothing():
    with pytest.raises(ValueError, match="not finite"):
        NoisySum(1.0, 1.0).release(np.array([[np.nan, 1.0]]), ReproducibleNoise(1))
