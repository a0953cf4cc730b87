"""Mixtures of one column: what counts tell is what rows tell, and modes are where the numbers are."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.modes import fit_modes


def likelihood(modes, values):
    return float(np.logaddexp.reduce(modes.joint(values), axis=1).mean())


def test_two_heaps_become_two_modes():
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.normal(0, 1, 3000), rng.normal(50, 2, 1000)])
    modes = fit_modes(values, 10)
    light = modes.means < 25
    assert modes.weights[light].sum() == pytest.approx(0.75, abs=0.01)
    true = np.logaddexp(
        np.log(0.75 / np.sqrt(2 * np.pi)) - values**2 / 2,
        np.log(0.25 / 2 / np.sqrt(2 * np.pi)) - ((values - 50) / 2) ** 2 / 2,
    ).mean()
    assert likelihood(modes, values) == pytest.approx(true, abs=0.02)


@pytest.mark.parametrize("shape", ["normal", "skewed", "zeros", "steps"])
def test_held_out_numbers_are_as_likely_as_under_scikit_learns_mixture(shape):
    from sklearn.mixture import BayesianGaussianMixture

    rng = np.random.default_rng(2)
    N = 4000
    values = {
        "normal": rng.normal(7, 3, N),
        "skewed": np.exp(rng.normal(size=N)),
        "zeros": np.where(rng.random(N) < 0.5, 0, rng.normal(90, 10, N)),
        "steps": rng.poisson(4, N).astype(float),
    }[shape]
    training, held = values[N // 4 :], values[: N // 4]
    peer = BayesianGaussianMixture(
        n_components=10,
        weight_concentration_prior_type="dirichlet_process",
        weight_concentration_prior=0.001,
        random_state=0,
    )
    with warnings.catch_warnings(action="ignore"):  # its hundred rounds are too few for it, as for its users
        peer.fit(training[:, None])
    assert likelihood(fit_modes(training, 10), held) > peer.score(held[:, None]) - 0.03


def test_cells_of_many_rows_tell_what_the_rows_tell():
    rng = np.random.default_rng(3)
    values = rng.gamma(2, 3, 100_000)
    modes = fit_modes(values, 10)
    some = fit_modes(values[:500], 10)  # fewer than there are cells: every row is one
    assert likelihood(modes, values[500:]) >= likelihood(some, values[500:])


@given(st.lists(st.integers(-50, 50), min_size=1, max_size=40), st.integers(1, 10))
@settings(deadline=None, max_examples=60)
def test_any_numbers_have_modes_and_every_number_finds_one(numbers, most):
    values = np.array(numbers, dtype=np.float64)
    modes = fit_modes(values, most)
    assert 1 <= len(modes.means) <= most
    assert modes.weights.sum() == pytest.approx(1)
    assert (modes.deviations > 0).all()
    assert (np.diff(modes.means) >= 0).all()
    chosen = modes.choose(values, np.random.default_rng(0))
    assert ((chosen >= 0) & (chosen < len(modes.means))).all()


def test_a_mode_is_drawn_as_often_as_it_is_likely():
    modes = fit_modes(np.concatenate([np.random.default_rng(4).normal(c, 1.0, 2000) for c in (0, 3)]), 2)
    middle = np.full(20_000, 1.5)
    shares = np.exp(modes.joint(middle[:1])[0])
    chosen = modes.choose(middle, np.random.default_rng(5))
    assert np.bincount(chosen, minlength=2) / len(middle) == pytest.approx(shares / shares.sum(), abs=0.02)
