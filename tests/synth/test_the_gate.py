"""The release gate on tiny worlds: a copy is refused, a fresh draw is not, and the gate knows when it cannot see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from synth.evidence import gather
from synth.gate import check_copies, check_membership, judge, membership_limits
from synth.planted import holdout_as_cohort, plant, try_attacks, try_checks
from synth.scores.copies import verbatim_rows
from synth.scores.membership import Limits, attack_membership
from synth.spec import TableSpec
from synth.thresholds import Thresholds, read_thresholds
from tests.synth.worlds import SPEC, draw, standing

COARSE = TableSpec((SPEC.columns[6], SPEC.columns[7]), confirmed=True)
LIMITS = Thresholds()
QUICK = {"disclosure_attacks": 50, "disclosure_repetitions": 1}


def world(seed=0, synthetic=None, spec=SPEC):
    rng = np.random.default_rng(seed)
    training, holdout, fresh = draw(rng), draw(rng), draw(rng)
    return gather(training, holdout, training if synthetic == "copy" else fresh, spec)


def verdicts(scores):
    return {name: score.verdict for name, score in scores.items()}


def test_a_cohort_that_is_the_training_table_fails_every_look_for_copies():
    found = check_copies(world(synthetic="copy"), LIMITS, np.random.default_rng(1))
    assert set(verdicts(found).values()) == {"fail"}
    assert found["verbatim rows"].value == 1
    assert found["verbatim rows"].baseline == 0


def test_a_cohort_that_is_the_training_table_is_found_by_attacks_that_look_at_distances():
    found = verdicts(check_membership(world(synthetic="copy"), LIMITS, np.random.default_rng(1)))
    for attack in ("distance", "density"):
        assert found[f"{attack}, area"] == "fail"


@pytest.mark.parametrize("seed", range(5))
def test_a_fresh_draw_of_the_same_patients_is_not_refused(seed):
    evidence = world(seed)
    rng = np.random.default_rng(seed)
    assert set(verdicts(check_copies(evidence, LIMITS, rng)).values()) <= {"pass", "inconclusive"}
    limits = Limits(tpr=0.03, auc=0.55, outlier_auc=0.6, corrected=0.995)
    assert "fail" not in verdicts(attack_membership(evidence, rng, limits, attacks=("distance", "density"))).values()


def test_the_gate_catches_every_planted_leak_and_spares_the_holdout():
    trials = try_checks(world(), lambda e, fork: check_copies(e, LIMITS, fork), np.random.default_rng(2))
    assert [trial.planted for trial in trials] == [2, 4, 2, 4, 2, 4, 0]
    assert all(trial.as_it_should for trial in trials)


def test_a_coarse_table_is_not_refused_for_patients_who_are_alike():
    evidence = world(3, spec=COARSE)
    assert "fail" not in verdicts(check_copies(evidence, LIMITS, np.random.default_rng(3))).values()


def test_a_gate_that_cannot_see_a_leak_decides_nothing():
    judgement = judge(world(4, spec=COARSE), standing(), replace(LIMITS, **QUICK), np.random.default_rng(4))
    assert judgement.decision == "inconclusive"
    assert any("was not caught" in reason for reason in judgement.reasons)


def test_attacks_on_a_whole_table_see_a_planted_fifth_or_say_nothing():
    def attacks(evidence, fork):
        return attack_membership(evidence, fork, membership_limits(LIMITS), attacks=("distance",))

    rng = np.random.default_rng(0)
    large = gather(draw(rng, 600), draw(rng, 600), draw(rng, 600), SPEC)
    trial = try_attacks(large, {"membership": attacks}, np.random.default_rng(1))["membership"]
    assert trial.planted == 120
    assert trial.as_it_should
    coarse = try_attacks(world(3, spec=COARSE), {"membership": attacks}, np.random.default_rng(1))["membership"]
    assert not coarse.as_it_should


def test_planting_changes_so_many_rows_and_no_others():
    evidence = world()
    planted = plant(evidence, np.random.default_rng(0), kind="random", share=0.05)
    assert len(planted) == 200
    together = planted.merge(evidence.training.drop_duplicates(), how="inner")
    assert len(together) == 10


def test_too_few_patients_to_bound_a_rate_are_inconclusive_and_not_a_pass():
    found = check_membership(world(), LIMITS, np.random.default_rng(0))
    assert found["distance, rate"].verdict == "inconclusive"


def test_a_patient_in_both_tables_is_an_error_that_names_nobody():
    rng = np.random.default_rng(0)
    training, holdout = draw(rng), draw(rng)
    training["id"], holdout["id"] = range(200), range(199, 399)
    with pytest.raises(ValueError, match="1 patients are in both"):
        gather(training, holdout, draw(rng), replace(SPEC, key="id"))


def test_a_specification_nobody_confirmed_judges_nothing():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="not confirmed"):
        gather(draw(rng), draw(rng), draw(rng), replace(SPEC, confirmed=False))


def test_a_site_sets_its_thresholds_in_a_file(tmp_path):
    path = tmp_path / "thresholds.toml"
    path.write_text('membership-rate = 0.02\ngroups = ["sex"]\nwaived = ["utility"]\n')
    assert read_thresholds(path) == Thresholds(membership_rate=0.02, groups=("sex",), waived=("utility",))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("membership-rat = 0.1", "unknown threshold 'membership-rat'"),
        ("membership-rate = 2.0", "must lie between 0 and 1"),
        ("total-epsilon = inf", "must be finite"),
        ("epsilon = 0", "above 0"),
        ("smallest-cell = 3", "must be 0 or at least 10"),
        ("releases = 0", "at least 1"),
        ("membership-rate = true", "must be a number"),
        ('waived = ["copies"]', "no family of checks that a site may do without"),
        ("groups = 3", "must be a list of texts"),
        ("=", "no TOML"),
    ],
)
def test_a_threshold_that_means_nothing_is_named(tmp_path, text, problem):
    path = tmp_path / "thresholds.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=problem):
        read_thresholds(path)


def test_patients_who_coincide_only_with_the_half_that_poses_do_not_accuse_it():
    """In a table of 400 distinct patients two others equal a training patient; all but them are left as the holdout."""
    rng = np.random.default_rng(5)
    training, holdout = draw(rng, 200), draw(rng, 200)
    holdout.iloc[:2] = training.iloc[:2]
    evidence = gather(training, holdout, draw(rng, 200), SPEC)
    assert evidence.alike == 4
    for seed in range(40):
        posing = holdout_as_cohort(evidence, np.random.default_rng(seed))
        score = verbatim_rows(posing, level=0.05 / 14)
        assert score.verdict != "fail"
    assert verbatim_rows(evidence.with_synthetic(training), level=0.05 / 14).verdict == "fail"
