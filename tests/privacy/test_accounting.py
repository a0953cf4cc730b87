from __future__ import annotations

import math
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting import PoissonGaussian, epsilon, noise_multiplier_for


def pld(events, delta):
    """Epsilon by the privacy loss distributions of dp-accounting, worst of adding and removing, rounded up."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant(value_discretization_interval=1e-3)
    for e in events:
        step = PoissonSampledDpEvent(e.sampling_rate, GaussianDpEvent(e.noise_multiplier))
        accountant.compose(SelfComposedDpEvent(step, e.steps))
    return accountant.get_epsilon(delta)


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta"),
    [
        (0.05, 1.0, 20, 1e-5),
        (0.05, 1.0, 600, 1e-5),
        (0.01, 0.8, 2000, 1e-6),
        (0.3, 2.0, 200, 1e-5),
        (0.5, 8.0, 1000, 1e-6),
        (1.0, 5.0, 10, 1e-5),
        (0.2, 15.0, 300, 1e-4),
    ],
)
def test_the_bound_agrees_with_dp_accounting_to_one_percent(rate, noise, steps, delta):
    events = [PoissonGaussian(rate, noise, steps)]
    assert epsilon(events, delta=delta) == pytest.approx(pld(events, delta), rel=0.01, abs=5e-3)


def test_different_runs_compose_to_what_dp_accounting_says():
    events = [PoissonGaussian(0.05, 1.2, 100), PoissonGaussian(0.2, 3.0, 60), PoissonGaussian(1.0, 20.0, 3)]
    assert epsilon(events, delta=1e-5) == pytest.approx(pld(events, 1e-5), rel=0.01)


@pytest.mark.parametrize(("rate", "noise", "steps"), [(0.05, 1.0, 20), (0.1, 0.6, 20), (0.3, 2.0, 200)])
def test_the_bound_agrees_with_opacus_own_grid(rate, noise, steps):
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(noise, rate, steps)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Optimal order is the", category=UserWarning)
        theirs = accountant.get_epsilon(1e-5)
    assert epsilon([PoissonGaussian(rate, noise, steps)], delta=1e-5) == pytest.approx(theirs, rel=0.01)


def test_the_published_figures_are_met():
    assert epsilon([PoissonGaussian(0.05, 1.0, 20)], delta=1e-5) == pytest.approx(1.995, rel=0.01)
    assert epsilon([PoissonGaussian(0.05, 1.0, 600)], delta=1e-5) == pytest.approx(8.30, rel=0.01)


def exact_gaussian_delta(epsilon_, mu):
    """Delta of one Gaussian mechanism of sensitivity mu (Balle & Wang 2018, theorem 8)."""
    from scipy.stats import norm

    return norm.cdf(mu / 2 - epsilon_ / mu) - math.exp(epsilon_) * norm.cdf(-mu / 2 - epsilon_ / mu)


@settings(max_examples=15, deadline=None)
@given(st.floats(1.0, 50.0), st.integers(1, 50))
def test_without_sampling_the_bound_is_above_the_exact_gaussian_and_close(noise, steps):
    bound = epsilon([PoissonGaussian(1.0, noise, steps)], delta=1e-5)
    mu = math.sqrt(steps) / noise
    assert exact_gaussian_delta(bound, mu) <= 1e-5
    assert exact_gaussian_delta(bound * 0.98 - 0.01, mu) > 1e-5


def test_thirty_rounds_cost_what_one_run_of_thirty_rounds_costs():
    rounds = [PoissonGaussian(0.05, 1.5, 20)] * 30
    together = epsilon(rounds, delta=1e-5)
    assert together == epsilon([PoissonGaussian(0.05, 1.5, 600)], delta=1e-5)
    assert together < 30 * epsilon(rounds[:1], delta=1e-5) / 3


@settings(max_examples=25, deadline=None)
@given(st.floats(0.02, 0.9), st.floats(0.7, 5.0), st.integers(1, 200))
def test_more_steps_more_sampling_and_less_noise_never_cost_less(rate, noise, steps):
    cost = epsilon([PoissonGaussian(rate, noise, steps)], delta=1e-5)
    slack = 1.005
    assert epsilon([PoissonGaussian(rate, noise, 2 * steps)], delta=1e-5) * slack >= cost
    assert epsilon([PoissonGaussian(min(1.1 * rate, 1.0), noise, steps)], delta=1e-5) * slack >= cost
    assert epsilon([PoissonGaussian(rate, 0.9 * noise, steps)], delta=1e-5) * slack >= cost


def test_nothing_costs_nothing_and_no_noise_costs_everything():
    assert epsilon([], delta=1e-5) == 0.0
    assert epsilon([PoissonGaussian(0.1, 1.0, 0)], delta=1e-5) == 0.0
    assert epsilon([PoissonGaussian(0.1, 0.0, 1)], delta=1e-5) == math.inf


def test_a_hopeless_cost_is_still_an_upper_bound_and_no_giant_grid():
    assert 1000 < epsilon([PoissonGaussian(0.5, 0.3, 2000)], delta=1e-5) < math.inf


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 20.0), st.floats(0.02, 1.0), st.integers(1, 500), st.sampled_from([1e-3, 1e-5, 1e-6]))
def test_calibrated_noise_never_costs_more_than_the_target_and_hardly_less(target, rate, steps, delta):
    noise = noise_multiplier_for(target, delta=delta, sampling_rate=rate, steps=steps)
    cost = epsilon([PoissonGaussian(rate, noise, steps)], delta=delta)
    assert cost <= target
    assert cost >= 0.98 * target


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0, math.nan])
def test_an_impossible_delta_is_refused(delta):
    with pytest.raises(ValueError, match="delta"):
        epsilon([], delta=delta)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0.0, 1.0, 1), "sampling_rate"),
        ((1.5, 1.0, 1), "sampling_rate"),
        ((math.nan, 1.0, 1), "sampling_rate"),
        ((0.5, -1.0, 1), "noise_multiplier"),
        ((0.5, math.inf, 1), "noise_multiplier"),
        ((0.5, 1.0, -1), "steps"),
    ],
)
def test_an_impossible_step_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        PoissonGaussian(*arguments)


def test_an_impossible_calibration_is_refused():
    with pytest.raises(ValueError, match="target_epsilon"):
        noise_multiplier_for(0.0, delta=1e-5, sampling_rate=0.1, steps=10)
    with pytest.raises(ValueError, match="steps"):
        noise_multiplier_for(1.0, delta=1e-5, sampling_rate=0.1, steps=0)
    with pytest.raises(ValueError, match="fewer steps"):
        noise_multiplier_for(1e-4, delta=1e-9, sampling_rate=1.0, steps=10_000)
