"""Epsilon lower bounds from canaries: never above the truth more often than promised, and not empty."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.accounting import Gaussian, epsilon
from privacy.audits.one_run import (
    Guesses,
    _gaussian_inverse,
    _refuted,
    audit_canaries,
    choose_thresholds,
    epsilon_bound,
    gaussian_bound,
    gaussian_epsilon,
    guess,
    p_value,
)

AUDITS, CANARIES, DELTA = 200, 400, 1e-5

counts = st.integers(1, 120).flatmap(
    lambda m: st.integers(1, m).flatmap(lambda r: st.tuples(st.just(m), st.just(r), st.integers(0, r)))
)


@settings(deadline=None)
@given(counts, st.floats(0, 6), st.sampled_from([0.0, 1e-5, 1e-3]))
def test_the_p_value_is_the_theorems_by_summing_it_up(counts, eps, delta):
    from scipy.stats import binom

    m, r, v = counts
    q = math.exp(eps) / (1 + math.exp(eps))
    tail = sum(binom.pmf(k, r, q) for k in range(v, r + 1))
    alpha, running = 0.0, 0.0
    for i in range(1, v + 1):
        running += binom.pmf(v - i, r, q)
        alpha = max(alpha, running / i)
    assert p_value(Guesses(m, r, v), epsilon=eps, delta=delta) == pytest.approx(
        min(1.0, tail + 2 * m * delta * alpha), abs=1e-9
    )


@settings(deadline=None)
@given(counts, st.floats(0.05, 6))
def test_the_gaussian_recursion_is_the_papers_with_its_arrays_written_out(counts, mu):
    from scipy.stats import norm

    m, r, v = counts
    right, wrong = [0.0] * (v + 1), [0.0] * (v + 1)
    right[v], wrong[v] = 0.05 * v / m, 0.05 * (r - v) / m
    for i in reversed(range(v)):
        wrong[i] = max(wrong[i + 1], norm.cdf(norm.ppf(right[i + 1]) - mu))
        right[i] = min(1.0, right[i + 1] + i / (r - i) * (wrong[i] - wrong[i + 1]))
    total = right[0] + wrong[0]
    if abs(total - r / m) > 1e-9:
        assert _refuted(Guesses(m, r, v), _gaussian_inverse(mu), 0.05) == (v > 0 and total > r / m)


def test_without_delta_the_bound_is_the_logit_of_clopper_and_pearsons_lower_end():
    from scipy.stats import binomtest

    low = binomtest(90, 100).proportion_ci(confidence_level=0.95, method="exact").low
    found = epsilon_bound(Guesses(100, 100, 90), delta=0.0, error=0.025)
    assert found == pytest.approx(math.log(low / (1 - low)), abs=1e-4)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 3.0])
def test_a_gaussian_trade_off_reads_as_the_accountants_epsilon(sigma):
    assert gaussian_epsilon(1 / sigma, delta=DELTA) == pytest.approx(epsilon(Gaussian(sigma), delta=DELTA), rel=1e-3)


@given(st.integers(2, 60), st.sampled_from([0.0, 1e-4]))
@settings(deadline=None, max_examples=25)
def test_more_right_guesses_never_lower_the_bound_and_delta_never_raises_it(made, delta):
    bounds = [epsilon_bound(Guesses(100, made, v), delta=delta, error=0.05) for v in range(made + 1)]
    assert bounds == sorted(bounds)
    assert bounds[-1] <= epsilon_bound(Guesses(100, made, made), delta=0.0, error=0.05)


def test_the_bound_is_above_a_known_epsilon_in_at_most_one_audit_of_twenty():
    """Each canary moves its own coordinate of a Gaussian mechanism by one: (epsilon, delta) is known exactly."""
    rng = np.random.default_rng(11)
    truth = epsilon(Gaussian(0.5), delta=DELTA)
    plain, gaussian = [], []
    for _ in range(AUDITS):
        coins = rng.random(CANARIES) < 0.5
        found = audit_canaries(coins + rng.normal(0, 0.5, CANARIES), coins, delta=DELTA, rng=rng)
        plain.append(found.epsilon.low)
        gaussian.append(found.epsilon_gaussian.low)
    for bounds in (plain, gaussian):
        assert sum(bound > truth for bound in bounds) <= 0.05 * AUDITS
        assert np.mean(bounds) > 0.2 * truth  # a bound of zero would cover as well
    assert np.mean(gaussian) > np.mean(plain)


@pytest.mark.parametrize("truth", [1.0, 3.0])
def test_where_the_bound_is_tight_it_is_still_above_the_truth_in_at_most_one_audit_of_twenty(truth):
    """Randomised response is what the theorem compares with, so nothing but the interval protects the truth here."""
    rng = np.random.default_rng(12)
    bounds = []
    for _ in range(AUDITS):
        coins = rng.random(CANARIES) < 0.5
        honest = rng.random(CANARIES) < 1 / (1 + math.exp(-truth))
        bounds.append(audit_canaries(np.where(honest, coins, ~coins), coins, delta=1e-9, rng=rng).epsilon.low)
    assert sum(bound > truth for bound in bounds) <= 0.05 * AUDITS
    assert np.mean(bounds) > 0.6 * truth


def test_thresholds_chosen_on_the_scored_canaries_accuse_a_mechanism_that_leaks_nothing():
    rng = np.random.default_rng(13)
    trapped = honest = 0
    for _ in range(AUDITS):
        coins, scores = rng.random(200) < 0.5, rng.normal(size=200)
        own = guess(scores, coins, choose_thresholds(scores, coins, error=0.025))
        trapped += epsilon_bound(own, delta=0.0, error=0.025) > 0
        honest += audit_canaries(scores, coins, delta=1e-9, rng=rng).epsilon.low > 0
    assert trapped > 0.2 * AUDITS
    assert honest <= 0.05 * AUDITS


def test_a_mechanism_that_publishes_every_canary_is_refuted_as_far_as_their_number_allows():
    rng = np.random.default_rng(14)
    coins = rng.random(300) < 0.5
    found = audit_canaries(coins.astype(float), coins, delta=DELTA, rng=rng)
    assert (found.guesses.made, found.guesses.correct, len(found.scored)) == (200, 200, 200)
    assert 3.5 < found.epsilon.low == found.epsilon.reach
    assert found.epsilon.value == found.epsilon.high == math.inf
    assert gaussian_bound(found.guesses, delta=DELTA, error=0.025) > found.epsilon.low


def test_canaries_that_cannot_be_guessed_upon_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="too few"):
        audit_canaries([0.0] * 5, [True] * 5, delta=DELTA, rng=rng)
    with pytest.raises(ValueError, match="no number"):
        audit_canaries([math.nan] * 9, [True] * 9, delta=DELTA, rng=rng)
    with pytest.raises(ValueError, match="one coin to each"):
        audit_canaries([0.0] * 9, [True] * 8, delta=DELTA, rng=rng)
    with pytest.raises(ValueError, match="correct <= made"):
        Guesses(10, 5, 6)
    with pytest.raises(ValueError, match="epsilon must be"):
        p_value(Guesses(10, 5, 5), epsilon=-1.0, delta=0.0)
