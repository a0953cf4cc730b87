from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy import accounting, composition
from privacy.accounting import (
    AccountantsDisagree,
    Gaussian,
    PoissonGaussian,
    certify,
    epsilon,
    noise_multiplier_for,
)
from privacy.composition import renyi_epsilon

GRID = [
    (rate, noise, steps, delta)
    for rate in (1e-4, 0.01, 0.2, 1.0)
    for noise in (0.7, 2.0, 20.0)
    for steps in (1, 40, 3000)
    for delta in (1e-4, 1e-8)
]


def pld(events, delta, *, width=1e-3):
    """Epsilon by the privacy loss distributions of dp-accounting, worst of adding and removing, rounded up."""
    return accounting._pld_epsilon(accounting._merged(events, delta), delta, width=width)


def opacus(events, delta, *, eps_error=0.01):
    """The interval of Opacus' PRV accountant, on a grid of its own and with another discretisation than ours."""
    from opacus.accountants import PRVAccountant

    accountant = PRVAccountant()
    accountant.history = [(e.noise_multiplier, e.sampling_rate, e.steps) for e in events]
    with warnings.catch_warnings(), np.errstate(divide="ignore"):
        warnings.filterwarnings("ignore", message="Optimal order is the", category=UserWarning)
        composed = accountant._get_dprv(eps_error=eps_error, delta_error=delta / 1000)
        low, _, high = composed.compute_epsilon(delta, delta / 1000, eps_error)
    return low, high


@pytest.mark.parametrize(("rate", "noise", "steps", "delta"), GRID)
def test_a_second_accountant_confirms_the_bound(rate, noise, steps, delta):
    events = [PoissonGaussian(rate, noise, steps)]
    bound = certify(events, delta=delta)  # raises where they differ by more than one percent
    assert bound == epsilon(events, delta=delta)


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta"),
    [
        (0.05, 1.0, 20, 1e-5),
        (0.01, 0.8, 2000, 1e-6),
        (0.3, 2.0, 200, 1e-5),
        (1.0, 5.0, 10, 1e-5),
        (0.001, 0.6, 300, 1e-5),
        (0.2, 15.0, 300, 1e-4),
    ],
)
def test_the_bound_is_as_tight_as_dp_accounting_on_a_fine_grid(rate, noise, steps, delta):
    events = [PoissonGaussian(rate, noise, steps)]
    assert epsilon(events, delta=delta) == pytest.approx(pld(events, delta, width=5e-5), rel=1e-3)


@pytest.mark.parametrize(
    ("rate", "noise", "steps", "delta"),
    [(0.05, 1.0, 20, 1e-5), (0.1, 0.6, 20, 1e-5), (0.3, 2.0, 200, 1e-6), (1.0, 8.0, 40, 1e-5), (0.001, 0.8, 200, 1e-4)],
)
def test_the_bound_lies_within_opacus_interval(rate, noise, steps, delta):
    events = [PoissonGaussian(rate, noise, steps)]
    low, high = opacus(events, delta)
    assert low <= epsilon(events, delta=delta) <= high


def test_different_runs_compose_to_what_both_peers_say():
    events = [PoissonGaussian(0.05, 1.2, 100), PoissonGaussian(0.2, 3.0, 60), PoissonGaussian(1.0, 20.0, 3)]
    bound = epsilon(events, delta=1e-5)
    assert bound == pytest.approx(pld(events, 1e-5, width=1e-4), rel=1e-3)
    low, high = opacus(events, 1e-5)
    assert low <= bound <= high


def test_rare_steps_that_reveal_much_are_bounded_tightly_where_renyi_is_an_order_of_magnitude_off():
    events = [PoissonGaussian(1e-5, 0.5, 10_000)]
    bound = epsilon(events, delta=1e-6)
    assert bound == pytest.approx(pld(events, 1e-6, width=1e-4), rel=1e-2)
    assert renyi_epsilon(((1e-5, 0.5, 10_000),), 1e-6) > 10 * bound


def test_the_split_keeps_the_likelihood_ratio_whether_a_patient_is_removed_or_added():
    plan = composition._plan(((0.5, 2.0, 5),), 1e-5, 1e-3)
    removed, added = composition._split(0.5, 2.0, plan)
    for loss in (removed, added):
        t = plan.width * (loss.start + np.arange(len(loss.mass)))
        assert loss.mass.sum() == pytest.approx(1.0, abs=1e-8)
        assert loss.mass @ np.exp(-t) == pytest.approx(1.0, abs=1e-8)


@pytest.mark.parametrize("width", [0.3, 0.03, 0.003])
def test_a_coarser_grid_only_lifts_the_bound(width):
    groups = ((0.05, 1.0, 20),)
    fine = composition._on_grid(groups, 1e-5, composition._plan(groups, 1e-5, 1e-4))
    assert composition._on_grid(groups, 1e-5, composition._plan(groups, 1e-5, width)) >= fine - 1e-9


@pytest.mark.parametrize("delta", [1e-3, 1e-9, 1e-15, 1e-40, 1e-200])
def test_rounding_stays_below_any_delta(delta):
    bound = epsilon([PoissonGaussian(1.0, 10.0, 200)], delta=delta)
    mu = math.sqrt(200) / 10.0
    assert log_gaussian_delta(bound, mu) <= math.log(delta)
    assert log_gaussian_delta(bound * 0.999, mu) > math.log(delta)


def log_gaussian_delta(epsilon_, mu):
    """Log of delta of one Gaussian mechanism of sensitivity mu (Balle & Wang 2018), also where it is tiny."""
    from scipy.stats import norm

    first, second = norm.logcdf(mu / 2 - epsilon_ / mu), epsilon_ + norm.logcdf(-mu / 2 - epsilon_ / mu)
    return float(first + np.log1p(-np.exp(second - first)))


def test_accountants_that_disagree_stop_everything(monkeypatch):
    events = [PoissonGaussian(0.043, 1.1, 77)]
    monkeypatch.setattr(accounting, "_pld_epsilon", lambda *_, **__: 1.02 * epsilon(events, delta=1e-5))
    with pytest.raises(AccountantsDisagree, match="none is stated"):
        certify(events, delta=1e-5)
    monkeypatch.setattr(accounting, "_pld_epsilon", lambda *_, **__: math.nan)
    with pytest.raises(AccountantsDisagree):
        certify(events, delta=1e-5)


def test_an_epsilon_beyond_meaning_is_named_as_not_cross_checked(monkeypatch):
    monkeypatch.setattr(accounting, "_pld_epsilon", lambda *_, **__: pytest.fail("the second accountant was asked"))
    hopeless = certify([PoissonGaussian(1.0, 0.07, 1)], delta=1e-5)
    assert hopeless > 100
    assert "not cross-checked" in accounting.accountant_of(hopeless)
    assert accounting.accountant_of(8.0) == accounting.ACCOUNTANT


def test_a_coarse_second_grid_is_refined_before_it_is_believed(monkeypatch):
    events, widths = [PoissonGaussian(0.043, 1.2, 77)], []

    def coarse(groups, delta, *, width):
        widths.append(width)
        return (1.5 if len(widths) == 1 else 1.0) * epsilon(events, delta=delta)

    monkeypatch.setattr(accounting, "_pld_epsilon", coarse)
    certify(events, delta=1e-5)
    assert widths[1] < widths[0] / 5


def test_events_are_an_algebra():
    step = Gaussian(1.5).sampled(0.05)
    whole = 30 * (20 * step) + 3 * Gaussian(20.0)
    assert epsilon(whole, delta=1e-5) == epsilon(
        [PoissonGaussian(0.05, 1.5, 600), PoissonGaussian(1.0, 20.0, 3)], delta=1e-5
    )
    assert epsilon(0 * step, delta=1e-5) == 0.0
    with pytest.raises(ValueError, match="times"):
        -1 * step
    with pytest.raises(ValueError, match="noise_multiplier"):
        Gaussian(-1.0)


EVENTS = st.lists(
    st.builds(PoissonGaussian, st.floats(0.005, 0.5), st.floats(0.8, 4.0), st.integers(1, 100)), min_size=1, max_size=4
)


@settings(max_examples=25, deadline=None)
@given(EVENTS, st.randoms(use_true_random=False))
def test_the_order_of_events_and_their_grouping_change_nothing(events, random):
    shuffled = random.sample(events, len(events))
    halves = [PoissonGaussian(e.sampling_rate, e.noise_multiplier, n) for e in events for n in (1, e.steps - 1)]
    cost = epsilon(events, delta=1e-5)
    assert epsilon(shuffled, delta=1e-5) == cost
    assert epsilon(halves, delta=1e-5) == cost


@settings(max_examples=25, deadline=None)
@given(EVENTS, st.builds(PoissonGaussian, st.floats(0.005, 0.5), st.floats(0.8, 4.0), st.integers(1, 100)))
def test_one_more_event_never_costs_less(events, another):
    assert epsilon([*events, another], delta=1e-5) * 1.001 >= epsilon(events, delta=1e-5)


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
    assert exact_gaussian_delta(bound * 0.999, mu) > 1e-5


def test_thirty_rounds_cost_what_one_run_of_thirty_rounds_costs():
    rounds = [PoissonGaussian(0.05, 1.5, 20)] * 30
    together = epsilon(rounds, delta=1e-5)
    assert together == epsilon([PoissonGaussian(0.05, 1.5, 600)], delta=1e-5)
    assert together < 30 * epsilon(rounds[:1], delta=1e-5) / 3


@settings(max_examples=25, deadline=None)
@given(st.floats(0.02, 0.9), st.floats(0.7, 5.0), st.integers(1, 200))
def test_more_steps_more_sampling_and_less_noise_never_cost_less(rate, noise, steps):
    cost = epsilon([PoissonGaussian(rate, noise, steps)], delta=1e-5)
    slack = 1.001
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
    assert cost >= 0.9995 * target


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
