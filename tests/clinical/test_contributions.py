"""Patients' contributions add up to the counts they stand for, and noised sums read as scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.metrics import ScoreHistogram, Tally, collapse, scores
from clinical.metrics.contributions import (
    WIDE,
    curve_contributions,
    curve_histogram,
    judgement_contributions,
    judgement_tally,
)
from clinical.metrics.ranking import COLUMNS
from clinical.metrics.thresholds import Thresholds, best_micro


def split(seed, documents=60, codes=12):
    rng = np.random.default_rng(seed)
    labels = rng.random((documents, codes)) < 0.2
    logits = (rng.normal(size=labels.shape) + 3 * labels - 2).astype(np.float32)
    return logits, labels, rng.integers(0, documents // 2, documents)


def rules(codes):
    return Thresholds({"fixed": np.zeros(codes, np.float32), "micro": np.full(codes, -1.0, np.float32)})


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_unnoised_sums_give_back_the_exact_micro_and_document_scores(seed):
    logits, labels, patients = split(seed)
    exact = scores(Tally.of(logits, labels, patients, rules(12)), rule="micro")
    sums = judgement_contributions(logits, labels, patients, rules(12)).sum(axis=0)
    read = scores(judgement_tally(sums, rules=("fixed", "micro"), codes=12, hospitals=1), rule="micro")
    for name, score in exact.items():
        if not name.startswith("macro") and not name.endswith("auc"):
            assert read[name].value == pytest.approx(score.value, abs=1e-9), name
    assert read["macro_f1"].value is None


def test_the_wide_curve_finds_nearly_the_threshold_of_the_exact_histogram():
    logits, labels, patients = split(3, documents=400)
    exact = ScoreHistogram.of(logits, labels, patients)
    wide = curve_histogram(curve_contributions(logits, labels, patients).sum(axis=0), codes=12, hospitals=1)
    assert wide.documents == 400
    assert wide.totals.sum() == exact.totals.sum()
    assert abs(best_micro(wide).logit - best_micro(exact).logit) <= 0.75
    assert best_micro(wide).f1 == pytest.approx(best_micro(exact).f1, abs=0.02)


def test_every_wide_bin_begins_at_an_edge_of_the_exact_histogram():
    logits = np.array([[-100.0, -0.51, -0.5, 0.0, 3.99, 4.0, 50.0]], np.float32)
    labels = np.ones_like(logits, bool)
    wide = curve_histogram(curve_contributions(logits, labels, np.zeros(1)).sum(axis=0), codes=7, hospitals=1)
    exact = ScoreHistogram.of(logits, labels)
    above = np.cumsum(wide.totals[0][::-1])[::-1]
    exactly = np.cumsum(exact.totals[0][::-1])[::-1]
    starts = np.flatnonzero(wide.totals[0])
    assert (above[starts] == exactly[starts]).all()
    assert len(WIDE) == 26


def test_a_patient_with_more_documents_contributes_more_until_somebody_bounds_it():
    logits, labels, _ = split(1, documents=10)
    rows = curve_contributions(logits, labels, np.array([0] * 9 + [1]))
    assert rows.shape[0] == 2
    assert rows[0, -1] == 9


def test_noise_below_zero_reads_as_zero_and_a_noised_tally_is_not_called_collapsed():
    fifty = np.full(8 + len(COLUMNS), 50.0)
    tally = judgement_tally(fifty, rules=("fixed", "micro"), codes=5, hospitals=2)
    assert collapse(tally, rule="micro") is None
    negative = judgement_tally(np.full(8 + len(COLUMNS), -3.0), rules=("fixed", "micro"), codes=5, hospitals=2)
    assert scores(negative, rule="micro")["micro_f1"].value is None
