from __future__ import annotations

import copy
import math
import os
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from privacy import noise as noise_module
from privacy.noise import ReproducibleNoise, SecureNoise, poisson_sample


@pytest.mark.parametrize("source", [SecureNoise(), ReproducibleNoise(1)])
def test_noise_is_normal_to_a_million_draws(source):
    drawn = source.normal_(torch.empty(1_000_003), std=2.0).double().numpy() / 2.0
    assert stats.kstest(drawn, "norm").pvalue > 1e-4
    assert abs(drawn.mean()) < 5e-3
    assert drawn.var() == pytest.approx(1.0, abs=8e-3)
    assert stats.kurtosis(drawn) == pytest.approx(0.0, abs=0.03)


def test_the_two_halves_of_a_box_muller_pair_are_uncorrelated_also_in_their_squares():
    drawn = ReproducibleNoise(2).normal_(torch.empty(200_000), std=1.0).numpy()
    first, second = drawn[:100_000], drawn[100_000:]
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02
    assert abs(np.corrcoef(first**2, second**2)[0, 1]) < 0.02


def test_two_secure_sources_share_nothing():
    first, second = (SecureNoise().normal_(torch.empty(100_000), std=1.0) for _ in range(2))
    assert abs(float(torch.corrcoef(torch.stack([first, second]))[0, 1])) < 0.02
    assert not torch.any(first == second).item() or int((first == second).sum()) < 5


def test_a_secure_source_never_repeats_itself():
    source = SecureNoise()
    assert len({bytes(source.words(4)) for _ in range(1000)}) == 1000


def test_a_secure_source_cannot_be_copied_or_pickled():
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="same noise"):
            duplicate(SecureNoise())


def test_a_forked_child_draws_noise_of_its_own(monkeypatch):
    source = SecureNoise()
    before = source._stream
    monkeypatch.setattr(os, "getpid", lambda: -1)
    source.words(1)
    assert source._stream is not before


def test_the_same_seed_gives_the_same_noise_and_another_seed_does_not():
    draw = [ReproducibleNoise(seed).normal_(torch.empty(64), std=1.0) for seed in (5, 5, 6)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    assert ReproducibleNoise(5).reproducible
    assert not SecureNoise().reproducible


class ChosenWords(ReproducibleNoise):
    """A keystream of one repeated word."""

    def __init__(self, word):
        super().__init__(0)
        self.word = word

    def words(self, count):
        return np.full(count, self.word, dtype="<u4")


def test_the_rarest_word_reaches_past_nine_sigma_and_no_word_gives_a_number_that_is_not_finite():
    far = ChosenWords(0).normal_(torch.empty(2), std=1.0)
    assert float(far.abs().max()) == pytest.approx(math.sqrt(2 * 64 * math.log(2)), rel=1e-3)
    for word in (1, 255, 256, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF):
        assert torch.isfinite(ChosenWords(word).normal_(torch.empty(4), std=1.0)).all()


@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0,), (7, 1, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_shape_and_type_is_filled(shape, dtype):
    tensor = torch.full(shape, math.nan, dtype=dtype)
    ReproducibleNoise(0).normal_(tensor, std=1.0)
    assert torch.isfinite(tensor).all()


def test_a_tensor_that_is_not_contiguous_is_filled_in_place():
    whole = torch.zeros(6, 4)
    ReproducibleNoise(0).normal_(whole.T[1:3], std=1.0)
    assert (whole[:, 1:3] != 0).all()
    assert (whole[:, [0, 3]] == 0).all()


def test_chunks_do_not_repeat(monkeypatch):
    monkeypatch.setattr(noise_module, "_PAIRS", 8)
    drawn = ReproducibleNoise(0).normal_(torch.empty(161), std=1.0)
    assert len(drawn.unique()) == 161


@pytest.mark.parametrize("std", [-1.0, math.nan, math.inf])
def test_an_impossible_standard_deviation_is_refused(std):
    with pytest.raises(ValueError, match="std"):
        SecureNoise().normal_(torch.empty(1), std=std)


def test_every_patient_is_drawn_at_the_rate_and_independently_of_the_others():
    source, patients, rate, draws = ReproducibleNoise(4), 20, 0.3, 4000
    taken = np.zeros((draws, patients))
    for row in taken:
        row[poisson_sample(patients, rate, source)] = 1
    assert np.abs(taken.mean(0) - rate).max() < 5 * math.sqrt(rate * (1 - rate) / draws)
    sizes = taken.sum(1)  # a fixed batch size would have no variance
    assert sizes.var() == pytest.approx(patients * rate * (1 - rate), rel=0.15)
    between = np.corrcoef(taken.T)[~np.eye(patients, dtype=bool)]
    assert np.abs(between).max() < 0.1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 200), st.floats(0.01, 1.0), st.integers())
def test_a_sample_is_a_sorted_set_of_patients(patients, rate, seed):
    drawn = poisson_sample(patients, rate, ReproducibleNoise(seed))
    assert drawn.dtype == np.int64
    assert np.all(np.diff(drawn) > 0)
    assert drawn.size == 0 or (drawn[0] >= 0 and drawn[-1] < patients)
    if rate == 1.0:
        assert len(drawn) == patients


@pytest.mark.parametrize(("patients", "rate"), [(-1, 0.5), (5, 0.0), (5, 1.1), (5, math.nan)])
def test_an_impossible_sample_is_refused(patients, rate):
    with pytest.raises(ValueError, match="must"):
        poisson_sample(patients, rate, SecureNoise())
