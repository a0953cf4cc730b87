"""Three values, and no way from silence to proof."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.audits.rates import detectable_tpr, tpr_at_fpr
from privacy.audits.record import EXIT_CODES, Estimate
from privacy.audits.verdict import (
    Instrument,
    Promise,
    conclude,
    corrected,
    detectable_epsilon,
    implied_epsilon,
    implied_epsilon_of_area,
    judge,
)

PASS, FAIL, SILENT = (
    judge(Estimate(0.5, low, 0.6, 0.1, 99, reach=reach), allowed=0.3)
    for low, reach in ((0.2, 0.9), (0.4, 0.9), (0.2, 0.3))
)


def test_an_estimate_is_judged_by_its_interval_and_by_what_it_could_have_shown():
    assert (PASS.verdict, FAIL.verdict, SILENT.verdict) == ("pass", "fail", "inconclusive")
    assert PASS.allowed == 0.3
    assert judge(replace(PASS, reach=None), allowed=0.3).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("evidence", "catches", "spares", "verdict"),
    [
        ((PASS, SILENT), True, True, "pass"),
        ((PASS,), False, True, "inconclusive"),  # a leak would not have shown
        ((SILENT,), True, True, "inconclusive"),
        ((PASS, FAIL), True, True, "fail"),
        ((FAIL,), False, True, "fail"),
        ((FAIL,), True, False, "inconclusive"),  # it accuses a model that knows nobody as well
        ((), True, True, "inconclusive"),
    ],
)
def test_an_instrument_says_no_more_than_its_self_test_allows(evidence, catches, spares, verdict):
    assert Instrument("any", evidence, catches=catches, spares=spares).verdict == verdict


def test_one_contradiction_is_enough_and_one_silent_witness_is_not():
    passing, failing, silent = (Instrument("any", (each,), catches=True, spares=True) for each in (PASS, FAIL, SILENT))
    assert conclude([passing, failing]) == "fail"
    assert conclude([passing, silent]) == "pass"
    assert conclude([silent]) == conclude([]) == "inconclusive"
    assert EXIT_CODES == {"pass": 0, "fail": 1, "inconclusive": 3}


@settings(deadline=None)
@given(st.floats(0, 8), st.floats(0, 0.01), st.floats(0.001, 0.5))
def test_rates_on_the_edge_of_a_promise_imply_its_epsilon(epsilon, delta, fpr):
    tpr = Promise(epsilon, delta).allows_tpr(fpr)
    assert fpr - 1e-12 <= tpr <= 1
    assert implied_epsilon(tpr=tpr, fpr=fpr, delta=delta) == pytest.approx(epsilon, abs=1e-6)


@settings(deadline=None)
@given(st.floats(0, 8), st.floats(0, 0.1))
def test_the_allowed_area_is_the_area_under_the_allowed_rates(epsilon, delta):
    promise = Promise(epsilon, delta)
    grid = np.linspace(0, 1, 4001)
    heights = np.array([promise.allows_tpr(x) for x in grid])
    area = float(((heights[1:] + heights[:-1]) / 2 * np.diff(grid)).sum())
    assert promise.allows_auc() == pytest.approx(area, abs=1e-3)
    assert implied_epsilon_of_area(promise.allows_auc(), delta=delta) == pytest.approx(epsilon, abs=1e-6)


def test_who_promises_nothing_is_allowed_chance():
    nothing = Promise(None)
    assert (nothing.allows_tpr(0.01), nothing.allows_auc(), nothing.allows_epsilon()) == (0.01, 0.5, 0.0)
    with pytest.raises(ValueError, match="None where nothing"):
        Promise(math.inf)


def test_the_detectable_rate_is_just_enough_and_one_patient_less_is_not():
    rate = detectable_tpr(300, 500, fpr=0.01, allowed=0.2)
    caught = round(rate * 300)
    others = np.arange(500.0)

    def audit(count):
        return tpr_at_fpr(np.concatenate([np.full(count, 1e9), np.full(300 - count, -1e9)]), others, fpr=0.01).low

    assert audit(caught) > 0.2 >= audit(caught - 1)
    assert detectable_tpr(300, 100, fpr=0.01, allowed=0.2) is None
    assert detectable_tpr(3, 500, fpr=0.01, allowed=0.9) is None


def test_the_detectable_epsilon_is_the_best_of_all_instruments():
    assert detectable_epsilon([], delta=1e-5) == 0.0
    reaches = [("epsilon", 2.0), ("auc", 0.98), ("0.01", 0.95)]
    best = detectable_epsilon(reaches, delta=0.0)
    assert best == pytest.approx(max(2.0, math.log(0.98 / 0.02), math.log(95)))


def test_confidence_is_shared_between_tests():
    assert corrected(1) == 0.95
    assert corrected(5) == pytest.approx(0.99)
    with pytest.raises(ValueError, match="at least 1"):
        corrected(0)
