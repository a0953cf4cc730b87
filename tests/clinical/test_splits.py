"""Splits are by patient, exact in size, and fair to rare codes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from clinical.profile import SPLITS
from clinical.splits import stratified_split


def long_tailed(patients: int, codes: int, *, per_patient: float, seed: int) -> csr_matrix:
    """Draw labels whose frequencies fall as one over rank, as ICD codes do."""
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, codes + 1)
    carried = rng.poisson(per_patient, patients)
    rows = np.repeat(np.arange(patients), carried)
    columns = rng.choice(codes, carried.sum(), p=weights / weights.sum())
    labels = csr_matrix((np.ones(len(rows), dtype=np.int64), (rows, columns)), shape=(patients, codes))
    labels.data[:] = 1
    return labels


def parts_of(split: dict[int, str]) -> np.ndarray:
    return np.array([SPLITS.index(split[patient]) for patient in sorted(split)])


def test_a_patient_with_many_notes_is_in_exactly_one_part():
    labels = long_tailed(120, 30, per_patient=4, seed=0)
    subject_id = np.random.default_rng(1).integers(0, 40, 120)
    split = stratified_split(labels, subject_id, seed=3)
    assert list(split) == sorted(set(subject_id.tolist()))
    assert set(split.values()) == set(SPLITS)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 60),
    st.integers(0, 12),
    st.sampled_from([(0.1, 0.15), (0.0, 0.2), (0.2, 0.0), (0.0, 0.0), (0.4, 0.5)]),
    st.integers(0, 2**32 - 1),
)
def test_every_part_has_its_fraction_to_the_nearest_patient(patients, codes, fractions, seed):
    labels = np.random.default_rng(seed).random((patients, codes)) < 0.2
    tuning, held_out = fractions
    split = stratified_split(labels, np.arange(patients), tuning=tuning, held_out=held_out, seed=seed)
    counts = np.bincount(parts_of(split), minlength=3) if patients else np.zeros(3)
    assert counts.sum() == patients
    if patients >= 10:
        assert abs(counts[1] - tuning * patients) <= 1
        assert abs(counts[2] - held_out * patients) <= 1


@pytest.mark.parametrize(("patients", "expected"), [(0, [0, 0, 0]), (1, [1, 0, 0]), (2, [2, 0, 0]), (3, [1, 1, 1])])
def test_a_tiny_cohort_keeps_someone_to_train_on(patients, expected):
    split = stratified_split(np.ones((patients, 2), dtype=bool), np.arange(patients), seed=0)
    assert [list(split.values()).count(part) for part in SPLITS] == expected


def test_patients_without_any_code_are_placed_too():
    split = stratified_split(np.zeros((20, 5), dtype=bool), np.arange(20), seed=0)
    assert np.bincount(parts_of(split)).tolist() == [15, 2, 3]


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_the_rows():
    labels = long_tailed(200, 50, per_patient=5, seed=2)
    subject_id = np.random.default_rng(5).integers(0, 90, 200)
    order = np.random.default_rng(6).permutation(200)
    split = stratified_split(labels, subject_id, seed=7)
    assert split == stratified_split(labels[order], subject_id[order], seed=7)
    assert split == stratified_split(labels.toarray(), subject_id, seed=7)
    assert split != stratified_split(labels, subject_id, seed=8)


@pytest.mark.parametrize("seed", range(3))
def test_rare_codes_reach_the_evaluated_parts_more_often_than_by_chance(seed):
    labels = long_tailed(2000, 400, per_patient=10, seed=seed)
    totals = np.asarray(labels.sum(axis=0)).ravel()
    rare = (totals >= 5) & (totals < 60)
    stratified = parts_of(stratified_split(labels, np.arange(2000), seed=seed))
    chance = np.random.default_rng(seed).permutation(stratified)
    shares = np.array([0.75, 0.10, 0.15])

    def deviation(parts):
        counts = np.stack([np.asarray(labels[parts == part].sum(axis=0)).ravel() for part in range(3)])
        return np.abs(counts - np.outer(shares, totals))[:, rare].mean()

    assert deviation(stratified) < 0.7 * deviation(chance)


def test_codes_that_one_patient_has_are_not_all_sent_to_training():
    split = parts_of(stratified_split(np.eye(400, dtype=bool), np.arange(400), seed=0))
    assert np.bincount(split).tolist() == [300, 40, 60]


def test_a_code_with_ten_patients_is_found_in_every_part():
    labels = np.zeros((400, 20), dtype=bool)
    for code in range(20):
        labels[code * 10 : code * 10 + 10, code] = True
    parts = parts_of(stratified_split(labels, np.arange(400), seed=1))
    for part in range(3):
        assert labels[parts == part].any(axis=0).all()


@pytest.mark.parametrize(("tuning", "held_out"), [(-0.1, 0.1), (0.5, 0.5), (0.0, 1.0)])
def test_fractions_that_leave_nobody_to_train_on_are_refused(tuning, held_out):
    with pytest.raises(ValueError, match="together below 1"):
        stratified_split(np.eye(3), np.arange(3), tuning=tuning, held_out=held_out, seed=0)


def test_labels_and_patients_of_different_length_are_refused():
    with pytest.raises(ValueError, match="labels have 3 rows but subject_id names 2"):
        stratified_split(np.eye(3), np.arange(2), seed=0)
