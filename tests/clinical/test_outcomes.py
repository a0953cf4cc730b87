"""Counts of predicted outcomes: hospitals add up, scores agree with scikit-learn, noise keeps totals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.metrics.noised_outcomes import NORM, contributions, read_sums
from clinical.metrics.outcomes import Errors, Risks, read_outcomes
from clinical.metrics.pooling import pool
from clinical.tasks.prediction import find_prediction_task

MORTALITY, KIDNEY = find_prediction_task("mortality-24h"), find_prediction_task("kidney-function")


def world(seed, questions=400, patients=60):
    rng = np.random.default_rng(seed)
    patient = rng.integers(patients, size=questions)
    answers = (rng.random(questions) < 0.2).astype(np.float32)
    logits = (rng.normal(size=questions) * 1.5 + answers - 1.5).astype(np.float32)
    return logits, answers, patient


def test_scores_agree_with_scikit_learn():
    from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

    logits, answers, patient = world(0, questions=5_000)
    chance = 1 / (1 + np.exp(-logits))
    scores = Risks.of(logits, answers, patient).scores()
    assert scores["auroc"].value == pytest.approx(roc_auc_score(answers, logits), abs=0.003)
    assert scores["average_precision"].value == pytest.approx(average_precision_score(answers, logits), abs=0.006)
    assert scores["brier"].value == pytest.approx(brier_score_loss(answers, chance), abs=1e-6)
    assert scores["prevalence"].value == pytest.approx(answers.mean())


def test_calibration_error_is_that_of_ten_equal_bins():
    logits, answers, patient = world(1)
    chance = 1 / (1 + np.exp(-logits.astype(np.float64)))
    tenth = np.minimum((chance * 10).astype(int), 9)
    by_hand = sum(abs(answers[tenth == k].sum() - chance[tenth == k].sum()) for k in range(10)) / len(answers)
    assert Risks.of(logits, answers, patient).scores()["calibration_error"].value == pytest.approx(by_hand)


def test_errors_agree_with_scikit_learn():
    from sklearn.metrics import mean_absolute_error, r2_score

    rng = np.random.default_rng(2)
    truth = rng.gamma(2, 1, 300).astype(np.float32)
    guess = (truth + rng.normal(size=300) * 0.5).astype(np.float32)
    scores = Errors.of(guess, truth, np.arange(300)).scores()
    assert scores["mae"].value == pytest.approx(mean_absolute_error(truth, guess), rel=1e-6)
    assert scores["r2"].value == pytest.approx(r2_score(truth, guess), rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), hospitals=st.integers(1, 5))
def test_hospitals_add_up_to_their_union(seed, hospitals):
    logits, answers, patient = world(seed)
    home = patient % hospitals
    for kind in (Risks, Errors):
        parts = [kind.of(logits[home == h], answers[home == h], patient[home == h]) for h in range(hospitals)]
        whole = kind.of(logits, answers, patient)
        for name, score in pool(parts).scores().items():
            assert score.value == pytest.approx(whole.scores()[name].value)


def test_intervals_resample_patients_so_repeating_every_question_changes_nothing():
    logits, answers, patient = world(3)
    generator = [np.random.default_rng(5) for _ in range(2)]
    once = Risks.of(logits, answers, patient, replicates=60, generator=generator[0]).scores()["auroc"]
    twice = Risks.of(
        np.tile(logits, 2), np.tile(answers, 2), np.tile(patient, 2), replicates=60, generator=generator[1]
    ).scores()["auroc"]
    assert (once.low, once.high) == pytest.approx((twice.low, twice.high))
    assert once.low < once.value < once.high


def test_a_split_where_few_patients_stand_on_one_side_is_too_small_to_show():
    risks = Risks.of(np.zeros(6, np.float32), np.array([1, 0, 0, 0, 0, 0]), np.arange(6))
    assert risks.too_small(minimum=2)
    assert not risks.too_small(minimum=1)
    assert not Risks.of(np.zeros(6, np.float32), np.zeros(6), np.arange(6)).too_small(minimum=5)


@pytest.mark.parametrize("kind", [Risks, Errors])
def test_counts_travel_as_arrays_and_broken_ones_are_refused(kind):
    counted = kind.of(*world(4))
    arrays = counted.to_arrays()
    assert read_outcomes(arrays).scores() == counted.scores()
    broken = dict(arrays)
    broken.pop("sums" if kind is Errors else "counts")
    with pytest.raises(ValueError, match=r"lack|must be"):
        kind.from_arrays(broken)


def test_predictions_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="diverged"):
        Risks.of(np.array([np.nan]), np.array([1.0]), np.array([0]))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_one_patient_moves_noised_sums_by_little_however_often_asked(seed):
    logits, answers, patient = world(seed)
    for task in (MORTALITY, KIDNEY):
        rows = contributions(task, logits, answers + 0.5 * (task is KIDNEY), patient)
        assert rows.shape[0] == len(np.unique(patient))
        assert np.linalg.norm(rows, axis=1).max() <= np.sqrt(5)
    assert np.linalg.norm(contributions(MORTALITY, logits, answers, patient), axis=1).max() <= NORM


def test_sums_without_noise_give_back_the_scores_of_patients():
    rng = np.random.default_rng(6)
    patient = np.arange(3_000)
    answers = (rng.random(3_000) < 0.2).astype(np.float32)
    logits = (rng.normal(size=3_000) + 2 * answers - 2).astype(np.float32)
    exact, read = (
        Risks.of(logits, answers, patient),
        read_sums(MORTALITY, contributions(MORTALITY, logits, answers, patient).sum(axis=0), hospitals=1),
    )
    for name, tolerance in (("auroc", 0.02), ("brier", 1e-3), ("prevalence", 1e-3)):
        assert read.scores()[name].value == pytest.approx(exact.scores()[name].value, abs=tolerance)


def test_sums_of_errors_without_noise_give_back_the_mean_absolute_error():
    rng = np.random.default_rng(7)
    truth = np.exp(rng.normal(size=500) * 0.4).astype(np.float32)
    guess = (truth * np.exp(rng.normal(size=500) * 0.1)).astype(np.float32)
    sums = contributions(KIDNEY, guess, truth, np.arange(500)).sum(axis=0)
    exact = Errors.of(guess, truth, np.arange(500)).scores()
    read = read_sums(KIDNEY, sums, hospitals=1).scores()
    assert read["mae"].value == pytest.approx(exact["mae"].value, rel=1e-4)
    assert read["r2"].value == pytest.approx(exact["r2"].value, abs=0.01)
