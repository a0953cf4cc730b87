"""Rates and areas with intervals: parity with scipy and scikit-learn, and coverage where the truth is known."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.audits.rates import (
    area_under_curve,
    high_enough,
    non_members_needed,
    proportion_interval,
    roc_points,
    tpr_at_fpr,
)


@settings(deadline=None)
@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.sampled_from([0.9, 0.95]))
def test_a_proportion_has_scipys_exact_interval(counts, confidence):
    from scipy.stats import binomtest

    theirs = binomtest(*counts).proportion_ci(confidence_level=confidence, method="exact")
    assert proportion_interval(*counts, confidence=confidence) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.lists(st.integers(0, 9), min_size=1, max_size=60))
def test_the_area_is_scikit_learns_with_ties(members, others):
    from sklearn.metrics import roc_auc_score

    truth = [1] * len(members) + [0] * len(others)
    found = area_under_curve(members, others)
    assert found.value == pytest.approx(roc_auc_score(truth, members + others))
    assert found.low <= found.value <= found.high


def test_the_areas_deviation_is_delongs_by_the_definition():
    rng = np.random.default_rng(1)
    members, others = rng.normal(0.4, 1, 61), rng.normal(0, 1.3, 47)
    wins = (members[:, None] > others[None, :]).astype(float)
    area = wins.mean()
    s10 = np.var(wins.mean(axis=1), ddof=1)
    s01 = np.var(wins.mean(axis=0), ddof=1)
    deviation = np.sqrt(s10 / len(members) + s01 / len(others))
    logit = np.log(area / (1 - area))
    width = 1.959964 * deviation / (area * (1 - area))
    found = area_under_curve(members, others)
    assert (found.low, found.high) == pytest.approx(1 / (1 + np.exp(-(logit + np.array([-width, width])))), abs=1e-6)


def test_the_areas_interval_covers_a_known_area_nineteen_times_in_twenty():
    from scipy.stats import norm

    rng = np.random.default_rng(2)
    truth = norm.cdf(0.8 / np.sqrt(2))
    hits = 0
    for _ in range(1000):
        found = area_under_curve(rng.normal(0.8, 1, 80), rng.normal(0, 1, 60))
        hits += found.low <= truth <= found.high
    assert 0.93 <= hits / 1000 <= 0.975


def test_a_perfect_attack_on_few_patients_is_not_taken_for_certainty():
    found = area_under_curve(np.arange(10, 20), np.arange(8))
    assert found.value == found.high == 1.0
    assert found.low == pytest.approx(0.025 ** (1 / 8))
    assert area_under_curve([0.0], [1.0]).value == 0.0


@pytest.mark.parametrize(
    ("shift", "fpr", "others"), [(0.0, 0.01, 500), (1.5, 0.01, 500), (0.0, 0.1, 80), (1.0, 0.1, 80)]
)
def test_each_end_of_the_rates_interval_is_passed_at_most_once_in_forty(shift, fpr, others):
    from scipy.stats import norm

    rng = np.random.default_rng(3)
    truth = norm.sf(norm.isf(fpr) - shift)
    found = [tpr_at_fpr(rng.normal(shift, 1, 600), rng.normal(0, 1, others), fpr=fpr) for _ in range(600)]
    # 2.5 % of 600 are 15; 25 would be passed by chance once in a hundred
    assert sum(each.low > truth for each in found) <= 25
    assert sum(each.high < truth for each in found) <= 25
    if shift:
        assert np.mean([each.low for each in found]) > 0.2 * truth  # the bound is not empty


def test_a_threshold_taken_for_known_accuses_a_model_that_leaks_nothing():
    """The trap: the threshold at 1 % of 100 non-members, the binomial interval of the members above it."""
    rng = np.random.default_rng(4)
    naive = honest = 0
    for _ in range(300):
        members, others = rng.normal(0, 1, 2000), rng.normal(0, 1, 100)
        above = int((members > np.sort(others)[-2]).sum())
        naive += proportion_interval(above, 2000, confidence=0.95)[0] > 0.01
        honest += tpr_at_fpr(members, others, fpr=0.01).low > 0.01
    assert naive > 60
    assert honest <= 15


def test_too_few_non_members_give_no_lower_end_and_the_number_needed_is_exact():
    needed = non_members_needed(fpr=0.01)
    assert needed == 390
    assert high_enough(needed, fpr=0.01, error=0.02) == 1
    assert high_enough(needed - 1, fpr=0.01, error=0.02) == 0
    perfect = tpr_at_fpr(np.full(50, 9.0), np.zeros(needed - 1), fpr=0.01)
    assert (perfect.value, perfect.low, perfect.reach, perfect.high) == (1.0, 0.0, 0.0, 1.0)
    enough = tpr_at_fpr(np.full(50, 9.0), np.zeros(needed), fpr=0.01)
    assert enough.low == enough.reach > 0.85


def test_ties_between_members_and_non_members_are_never_in_the_attacks_favour():
    same = tpr_at_fpr(np.zeros(1000), np.zeros(1000), fpr=0.01)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 1.0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=80), st.lists(st.integers(0, 30), min_size=1, max_size=80))
def test_the_curve_rises_from_nothing_to_everything(members, others):
    points = roc_points(members, others)
    assert points[-1] == (1.0, 1.0)
    assert points[0][0] == 0.0
    assert all(a[0] < b[0] and a[1] <= b[1] for a, b in pairwise(points))


def test_the_curve_is_scikit_learns_and_is_thinned():
    from sklearn.metrics import roc_curve

    rng = np.random.default_rng(5)
    members, others = rng.normal(1, 1, 300), rng.normal(0, 1, 3000)
    points = roc_points(members, others, most=100)
    assert len(points) <= 100
    false, true, _ = roc_curve([1] * 300 + [0] * 3000, np.concatenate([members, others]), drop_intermediate=False)
    known = {(round(x, 9), round(y, 9)) for x, y in zip(false, true, strict=True)}
    assert all((round(x, 9), round(y, 9)) in known for x, y in points)


@pytest.mark.parametrize(
    ("members", "others", "said"),
    [([], [1.0], "members must be"), ([1.0], [float("nan")], "no number"), ([[1.0]], [1.0], "shape")],
)
def test_scores_that_are_none_are_refused(members, others, said):
    with pytest.raises(ValueError, match=said):
        area_under_curve(members, others)
