"""Fidelity, utility, fairness and validity on worlds whose answer is known by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from synth.columns import Column
from synth.evidence import gather
from synth.rules import Rule
from synth.scores.fidelity import association, column_distances, describe_fidelity
from synth.scores.learners import class_area
from synth.scores.utility import measure_fairness, measure_utility
from synth.scores.validity import clinical_rules, public_ranges
from synth.spec import TableSpec

SPEC = TableSpec(
    (
        Column("low", "real", low=0, high=10, decimals=2),
        Column("high", "real", low=0, high=20, decimals=2),
        Column("sex", "categorical", categories=("F", "M")),
        Column("ill", "boolean"),
    ),
    rules=(Rule("less", "low", other="high"),),
    target="ill",
    confirmed=True,
)


def draw(rng, rows=400):
    """Illness follows `low` for both sexes alike."""
    low = rng.uniform(0, 10, rows).round(2)
    table = pd.DataFrame({"low": low, "high": (low + rng.uniform(0.01, 10, rows)).round(2)})
    table["sex"] = rng.choice(["F", "M"], rows)
    table["ill"] = pd.array(low + rng.normal(0, 1, rows) > 5, dtype="boolean")
    return table


def world(change=None, spec=SPEC):
    rng = np.random.default_rng(2)
    training, holdout, synthetic = draw(rng), draw(rng), draw(rng)
    return gather(training, holdout, change(synthetic, rng) if change else synthetic, spec)


def shuffle_label(table, rng):
    return table.assign(ill=pd.array(rng.permutation(table["ill"].to_numpy()), dtype="boolean"))


def deny_women(table, _):
    return table.assign(ill=table["ill"] & (table["sex"] == "M"))


def utility(evidence, groups=("sex",)):
    return measure_utility(evidence, np.random.default_rng(0), groups=groups, fewest=100, threshold=0.9)


def fairness(evidence, groups=("sex",)):
    return measure_fairness(evidence, np.random.default_rng(0), groups=groups, fewest=100, slack=0.02)


def test_a_fresh_draw_teaches_what_training_rows_teach_in_every_group():
    found = utility(world())
    assert set(found) == {f"{m}{g}" for m in ("logistic", "boosting") for g in ("", ", sex = F", ", sex = M")}
    assert {score.verdict for score in found.values()} == {"pass"}


def test_a_cohort_whose_label_was_shuffled_is_of_no_use():
    assert {score.verdict for score in utility(world(shuffle_label)).values()} == {"fail"}


def test_a_cohort_that_denies_a_group_its_illness_opens_the_gap():
    found = fairness(world(deny_women))
    assert {score.verdict for score in found.values()} == {"fail"}
    assert min(score.value for score in found.values()) > 0.5
    assert "fail" not in {score.verdict for score in fairness(world()).values()}


def test_without_target_or_groups_nothing_is_measured_and_nothing_passes():
    (without,) = utility(world(spec=replace(SPEC, target=""))).values()
    assert (without.value, without.verdict) == (None, "inconclusive")
    (number,) = utility(world(spec=replace(SPEC, target="low"))).values()
    assert "is no class" in number.reason
    (nobody,) = fairness(world(), groups=()).values()
    assert nobody.verdict == "inconclusive"


def test_a_group_that_is_no_column_is_named():
    with pytest.raises(ValueError, match="groups names 'race'"):
        utility(world(), groups=("race",))


def test_one_row_that_breaks_a_rule_or_a_range_fails():
    assert {score.verdict for score in clinical_rules(world()).values()} == {"pass"}
    broken = world(lambda table, _: table.assign(high=[0.0, *table["high"][1:]]))
    (score,) = clinical_rules(broken).values()
    assert (score.value, score.verdict) == (399 / 400, "fail")
    outside = world(lambda table, _: table.assign(high=[21.0, *table["high"][1:]]))
    assert public_ranges(outside).verdict == "fail"


def test_distances_of_marginals_are_those_computed_by_hand():
    a = np.array([[0, 0], [0, 0.5], [1, 1], [1, 1]], np.float32)
    b = np.array([[0, 0], [0, 0], [0, 0], [1, 1]], np.float32)
    assert column_distances(a, b, np.array([False, True])) == pytest.approx([0.25, 0.5])


def test_association_is_one_for_equal_columns_and_none_with_a_constant():
    parts = np.array([[0, 0, 0], [1, 1, 0], [2, 2, 0]])
    assert association(parts) == pytest.approx([1, 0, 0])


def test_the_area_of_classes_is_scikit_learns():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 3, 90), rng.dirichlet([1, 1, 1], 90).round(1)
    wanted = np.mean([roc_auc_score(truth == k, scores[:, k]) for k in range(3)])
    assert class_area(truth, scores) == pytest.approx(wanted)


def test_a_fresh_draw_is_as_alike_as_the_holdout_and_a_shuffled_one_is_not():
    fresh = describe_fidelity(world(), np.random.default_rng(0))
    spoiled = describe_fidelity(world(shuffle_label), np.random.default_rng(0))
    for scores in (fresh, spoiled):
        assert all(score.low <= score.value <= score.high for score in scores.values())
        assert {score.verdict for score in scores.values()} == {"inconclusive"}
    assert fresh["discriminator, boosting, area"].low < 0.55
    assert spoiled["discriminator, boosting, area"].low > 0.6
    assert spoiled["pairs, mean"].value > 2 * fresh["pairs, mean"].value
    assert spoiled["marginals, worst"].value < 0.2
