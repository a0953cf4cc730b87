"""Metrics pooled from counts: worlds known by hand, a second implementation, and the guarantees as properties."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_matrix, csr_array

from clinical.metrics import (
    BINS,
    EDGES,
    RULES,
    ScoreHistogram,
    Tally,
    collapse,
    count_withheld,
    per_code,
    pool,
    scores,
    withhold,
)
from clinical.metrics.histogram import area_under_curve
from clinical.metrics.ranking import COLUMNS
from clinical.metrics.thresholds import Thresholds, choose_thresholds, fixed_thresholds

SEEDS = st.integers(0, 2**32 - 1)
QUICK = settings(max_examples=25, deadline=None)


def world(seed, *, documents=60, codes=12, patients=25, skill=2.0, prevalence=0.25):
    """Random logits, labels and patients; a document has two codes or none of the rare ones."""
    generator = np.random.default_rng(seed)
    chance = prevalence * np.linspace(1.6, 0.05, codes)
    labels = generator.random((documents, codes)) < chance
    logits = (generator.normal(-1, 1.5, (documents, codes)) + skill * labels).astype(np.float32)
    return logits, labels, generator.integers(0, patients, documents)


def all_rules(codes, seed=0):
    """Four rules whose thresholds differ by code."""
    generator = np.random.default_rng(seed)
    return Thresholds({rule: generator.choice(EDGES[80:170], codes).astype(np.float32) for rule in RULES})


def value(tally, name, histogram=None, rule="fixed"):
    return scores(tally, histogram, rule=rule)[name].value


def fixed_tally(logits, labels, patients=None, **options):
    labels = np.asarray(labels)
    patients = np.arange(len(labels)) if patients is None else patients
    return Tally.of(np.asarray(logits, np.float32), labels, patients, fixed_thresholds(labels.shape[1]), **options)


def same(one, other):
    return all(np.array_equal(array, other.to_arrays()[name]) for name, array in one.to_arrays().items())


# --- worlds known by hand ---------------------------------------------------------------------------------------------

# Three documents, four codes; code 3 is never true and predicted once.
HAND_LOGITS = [[2, 1, -1, -2], [1, -1, -2, 2], [-3, -1, -2, -4]]
HAND_LABELS = np.array([[1, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0]], bool)


def test_micro_counts_are_those_counted_by_hand():
    tally = fixed_tally(HAND_LOGITS, HAND_LABELS)
    assert tally.micro.tolist() == [[[2, 2, 2]]]
    assert tally.code_counts("fixed")[0].tolist() == [[2, 0, 0], [0, 1, 1], [0, 0, 1], [0, 1, 0]]
    assert value(tally, "micro_precision") == value(tally, "micro_recall") == value(tally, "micro_f1") == 0.5


def test_macro_f1_is_the_mean_over_codes_with_a_positive():
    score = scores(fixed_tally(HAND_LOGITS, HAND_LABELS), rule="fixed")["macro_f1"]
    assert score.value == pytest.approx(1 / 3)  # codes 0, 1, 2 have F1 of 1, 0, 0; code 3 is absent
    assert score.codes == 3


def test_a_code_absent_from_the_split_does_not_move_macro_f1_but_its_false_alarms_move_micro_f1():
    present = fixed_tally([row[:3] for row in HAND_LOGITS], HAND_LABELS[:, :3])
    everything = fixed_tally(HAND_LOGITS, HAND_LABELS)
    assert value(present, "macro_f1") == value(everything, "macro_f1")
    assert value(present, "micro_f1") > value(everything, "micro_f1")


def test_document_metrics_are_those_counted_by_hand():
    tally = fixed_tally(HAND_LOGITS, HAND_LABELS)
    # Ranks of the true codes: document 0 → 1 and 3, document 1 → 2, document 2 → 1.
    assert value(tally, "mean_average_precision") == pytest.approx(((1 + 2 / 3) / 2 + 1 / 2 + 1) / 3)
    assert value(tally, "r_precision") == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert value(tally, "precision_at_5") == (2 + 1 + 1) / 5 / 3
    assert value(tally, "recall_at_10") == 1.0
    assert value(tally, "exact_match") == 0.0


def test_documents_without_a_code_count_for_precision_and_not_for_recall():
    labels = np.array([[True, False], [False, False]])
    tally = fixed_tally([[3, -1], [-3, -1]], labels)
    assert value(tally, "precision_at_5") == 0.1
    assert value(tally, "recall_at_10") == value(tally, "mean_average_precision") == 1.0
    assert value(tally, "exact_match") == 1.0


def test_a_score_at_the_threshold_is_a_prediction():
    assert fixed_tally([[0.0]], [[True]]).micro.tolist() == [[[1, 0, 0]]]
    below = np.nextafter(np.float32(0), np.float32(-1))
    assert fixed_tally([[below]], [[True]]).micro.tolist() == [[[0, 0, 1]]]


def test_equal_scores_rank_against_the_model():
    tally = fixed_tally(np.zeros((1, 8)), np.eye(8, dtype=bool)[:1])
    assert value(tally, "precision_at_5") == 0.0
    assert value(tally, "mean_average_precision") == pytest.approx(1 / 8)


def test_replicates_resample_patients_and_not_their_notes():
    labels = np.ones((6, 1), bool)
    tally = fixed_tally(
        np.ones((6, 1)), labels, np.array([7, 7, 7, 9, 9, 9]), replicates=50, generator=np.random.default_rng(0)
    )
    assert set(tally.positives[:, 0].tolist()) == {6}  # two draws of patients with three notes each
    assert tally.patients == 2
    assert tally.carriers.tolist() == [2]


def test_undefined_metrics_are_none():
    empty = scores(fixed_tally(np.zeros((0, 3)), np.zeros((0, 3), bool)), rule="fixed")
    assert {score.value for score in empty.values()} == {None}
    nothing_predicted = fixed_tally([[-1.0, -1.0]], [[True, False]])
    assert value(nothing_predicted, "micro_precision") is None
    assert value(nothing_predicted, "micro_f1") == 0.0


def test_what_leaves_is_strict_json():
    logits, labels, patients = world(3)
    histogram = ScoreHistogram.of(logits, labels)
    tally = fixed_tally(logits, labels, patients, replicates=50, generator=np.random.default_rng(0))
    rows = per_code(tally, histogram, [f"C{k}" for k in range(12)], rule="fixed")
    page = {name: asdict(score) for name, score in scores(tally, histogram, rule="fixed").items()}
    json.dumps([page, [asdict(row) for row in rows]], allow_nan=False)


def test_the_per_code_table_shows_each_code_by_hand():
    tally, histogram = fixed_tally(HAND_LOGITS, HAND_LABELS), ScoreHistogram.of(np.array(HAND_LOGITS), HAND_LABELS)
    rows = per_code(tally, histogram, ["a", "b", "c", "d"], rule="fixed")
    first, second, _, last = rows
    assert (first.code, first.positives, first.predicted, first.f1, first.auc) == ("a", 2, 2, 1.0, 1.0)
    assert (second.precision, second.recall, second.f1) == (0.0, 0.0, 0.0)
    assert second.auc == 0.25  # one rival above, one equal
    assert (last.positives, last.predicted, last.recall, last.auc) == (0, 1, None, None)


# --- a second implementation ------------------------------------------------------------------------------------------


@QUICK
@given(SEEDS)
def test_micro_and_macro_metrics_agree_with_scikit_learn(seed):
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    logits, labels, patients = world(seed)
    thresholds = all_rules(12, seed)
    tally = Tally.of(logits, csr_array(labels), patients, thresholds)
    present = labels.any(axis=0)
    for rule in RULES:
        predicted = logits >= thresholds.logits[rule]
        ours = {name: score.value for name, score in scores(tally, rule=rule).items()}
        micro = precision_recall_fscore_support(labels, predicted, average="micro", zero_division=0)
        macro = precision_recall_fscore_support(
            labels[:, present], predicted[:, present], average="macro", zero_division=0
        )
        for name, micro_theirs, macro_theirs in zip(("precision", "recall", "f1"), micro, macro, strict=False):
            assert (ours[f"micro_{name}"] or 0.0) == pytest.approx(micro_theirs)
            assert ours[f"macro_{name}"] == pytest.approx(macro_theirs)
        assert ours["exact_match"] == accuracy_score(labels, predicted)


@QUICK
@given(SEEDS)
def test_rankings_agree_with_scikit_learn_and_a_plain_sort(seed):
    from sklearn.metrics import label_ranking_average_precision_score

    logits, labels, patients = world(seed, codes=20)
    labels[:, 0] |= ~labels.any(axis=1)
    tally = fixed_tally(logits, labels, patients)
    ordered = np.take_along_axis(labels, np.argsort(-logits, axis=1), axis=1)
    count = labels.sum(axis=1)
    at_own = np.array([row[:n].mean() for row, n in zip(ordered, count, strict=True)])
    expected = {f"precision_at_{k}": ordered[:, :k].mean() for k in (5, 8, 15)}
    expected |= {f"recall_at_{k}": (ordered[:, :k].sum(axis=1) / count).mean() for k in (10, 15)}
    expected |= {"r_precision": at_own.mean()}
    expected |= {"mean_average_precision": label_ranking_average_precision_score(labels, logits)}
    for name, wanted in expected.items():
        assert value(tally, name) == pytest.approx(wanted, abs=1e-9)


@QUICK
@given(SEEDS)
def test_tied_scores_give_the_worst_order_whatever_the_order_of_codes(seed):
    logits, labels, _ = world(seed, documents=8)
    coarse = np.round(logits)
    worst = np.take_along_axis(labels, np.lexsort((labels, -coarse), axis=1), axis=1)
    tally = fixed_tally(coarse, labels)
    assert value(tally, "precision_at_5") == pytest.approx(worst[:, :5].mean())
    shuffled = np.random.default_rng(seed).permutation(12)
    assert np.array_equal(tally.documents, fixed_tally(coarse[:, shuffled], labels[:, shuffled]).documents)


@QUICK
@given(SEEDS, st.floats(0.5, 6))
def test_areas_under_the_curve_are_within_five_thousandths_of_scikit_learn(seed, spread):
    from sklearn.metrics import roc_auc_score

    logits, labels, _ = world(seed, documents=400, codes=6)
    logits *= np.float32(spread)
    labels[:2] = [[True] * 6, [False] * 6]
    histogram = ScoreHistogram.of(logits, labels)
    ours = scores(fixed_tally(logits, labels), histogram, rule="fixed")
    assert ours["micro_auc"].value == pytest.approx(roc_auc_score(labels.ravel(), logits.ravel()), abs=0.005)
    assert ours["macro_auc"].value == pytest.approx(roc_auc_score(labels, logits, average="macro"), abs=0.005)
    assert ours["macro_auc"].codes == 6


@QUICK
@given(SEEDS)
def test_an_area_errs_by_at_most_half_the_pairs_that_share_a_bin(seed):
    from sklearn.metrics import roc_auc_score

    logits, labels, _ = world(seed, documents=30, codes=1)
    labels[:2] = [[True], [False]]
    logits *= np.float32(0.1)  # crowd the bins
    histogram = ScoreHistogram.of(logits, labels)
    shared = (histogram.positives * histogram.negatives).sum() / (labels.sum() * (~labels).sum())
    error = area_under_curve(histogram.positives, histogram.negatives)[0] - roc_auc_score(labels[:, 0], logits[:, 0])
    assert abs(error) <= shared / 2 + 1e-12


def test_a_ranking_survives_logits_far_outside_the_core_bins():
    logits = np.array([[-90.0], [-40.0], [40.0], [90.0]])
    histogram = ScoreHistogram.of(logits, np.array([[False], [True], [False], [True]]))
    assert area_under_curve(histogram.positives, histogram.negatives).tolist() == [0.75]


def test_a_constant_score_has_an_area_of_one_half():
    histogram = ScoreHistogram.of(np.zeros((4, 1)), np.array([[True], [False], [True], [False]]))
    assert area_under_curve(histogram.positives, histogram.negatives).tolist() == [0.5]


@QUICK
@given(SEEDS)
def test_counts_above_every_edge_are_exact(seed):
    logits, labels, _ = world(seed, documents=30, codes=3)
    logits[0] = EDGES[np.random.default_rng(seed).integers(0, BINS - 1, 3)]  # some scores lie on an edge
    histogram = ScoreHistogram.of(logits, labels)
    above = histogram.positives[:, :0:-1].cumsum(axis=1)[:, ::-1]
    assert np.array_equal(above, ((logits >= EDGES[:, None, None]) & labels).sum(axis=1).T)
    assert histogram.totals.sum() == labels.size


# --- pooling ----------------------------------------------------------------------------------------------------------


@QUICK
@given(SEEDS, st.integers(1, 5))
def test_any_division_of_patients_over_hospitals_pools_to_the_undivided_counts(seed, hospitals):
    logits, labels, patients = world(seed)
    home = np.random.default_rng(seed + 1).integers(0, hospitals, 25)[patients]
    thresholds = all_rules(12)
    parts = [(logits[home == h], labels[home == h], patients[home == h]) for h in range(hospitals)]
    tally = pool([Tally.of(*part, thresholds) for part in parts])
    histogram = pool([ScoreHistogram.of(*part) for part in parts])
    whole, all_scores = Tally.of(logits, labels, patients, thresholds), ScoreHistogram.of(logits, labels, patients)
    for name, array in whole.to_arrays().items():
        assert name == "sizes" or np.array_equal(array, tally.to_arrays()[name])
    assert (tally.patients, tally.hospitals) == (whole.patients, hospitals)
    assert scores(tally, histogram) == scores(whole, all_scores)


def test_replicates_pool_row_by_row():
    parts = [fixed_tally(*world(seed), replicates=3, generator=np.random.default_rng(seed)) for seed in range(3)]
    pooled = pool(parts)
    assert np.array_equal(pooled.predicted, sum(part.predicted for part in parts))
    assert np.array_equal(pooled.documents, sum(part.documents for part in parts))


@QUICK
@given(SEEDS)
def test_replicates_of_codes_documents_and_totals_come_from_the_same_resampling(seed):
    logits, labels, patients = world(seed)
    tally = Tally.of(logits, labels, patients, all_rules(12), replicates=5, generator=np.random.default_rng(seed))
    for at, rule in enumerate(tally.rules):
        assert np.array_equal(tally.code_counts(rule).sum(axis=1), tally.micro[at])
    one_code = np.ones((60, 1), bool)
    tally = fixed_tally(one_code * 1.0, one_code, patients, replicates=5, generator=np.random.default_rng(seed))
    assert np.array_equal(tally.documents[:, COLUMNS.index("documents")], tally.positives[:, 0])
    assert np.array_equal(tally.exact[0], tally.positives[:, 0])


def test_counts_survive_transport():
    logits, labels, patients = world(1)
    histogram = ScoreHistogram.of(logits, labels, patients)
    tally = Tally.of(
        logits,
        labels,
        patients,
        all_rules(12).only("micro", "frequency"),
        replicates=2,
        generator=np.random.default_rng(0),
    )
    again = Tally.from_arrays(tally.to_arrays())
    assert same(again, tally)
    assert again.rules == ("micro", "frequency")
    assert same(ScoreHistogram.from_arrays(histogram.to_arrays()), histogram)
    assert all(array.dtype.kind == "i" for array in (tally.to_arrays() | histogram.to_arrays()).values())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("micro"), "lack the array 'micro'"),
        (lambda a: a.update(exact=a["exact"][:, :0]), r"'exact' must be int64 \(1, 1\)"),
        (lambda a: a.update(positives=a["positives"].astype(float)), "'positives' must be int32"),
        (lambda a: a.update(carriers=a["carriers"] - 99), "negative"),
        (lambda a: a.update(rules=np.array([9], np.int32)), "must number different rules"),
    ],
)
def test_counts_that_do_not_fit_are_refused(change, message):
    arrays = fixed_tally(HAND_LOGITS, HAND_LABELS).to_arrays()
    change(arrays)
    with pytest.raises(ValueError, match=message):
        Tally.from_arrays(arrays)


def test_hospitals_that_counted_different_things_do_not_pool():
    with pytest.raises(ValueError, match="cannot pool tallies of 4 codes, 0 replicates"):
        pool([fixed_tally(HAND_LOGITS, HAND_LABELS), fixed_tally([[1.0]], [[True]])])
    with pytest.raises(ValueError, match="cannot pool histograms"):
        pool([ScoreHistogram.of(np.zeros((1, k)), np.zeros((1, k), bool)) for k in (1, 2)])
    with pytest.raises(ValueError, match="nothing to pool"):
        pool([])


def test_the_overall_histogram_pools_and_gives_the_micro_area_alone():
    logits, labels, _ = world(5)
    histogram = ScoreHistogram.of(logits, labels)
    overall = pool([histogram.overall(), histogram.overall()])
    areas = scores(fixed_tally(logits, labels), overall, rule="fixed")
    assert areas["micro_auc"].value == value(fixed_tally(logits, labels), "micro_auc", histogram)
    assert areas["macro_auc"].value is None


# --- input ------------------------------------------------------------------------------------------------------------


@QUICK
@given(SEEDS, st.integers(1, 60))
def test_row_blocks_sparse_labels_and_dense_labels_count_the_same(seed, rows):
    logits, labels, patients = world(seed)
    blocks = [logits[start : start + rows].astype(np.float64) for start in range(0, 60, rows)]
    dense = Tally.of(logits, labels, patients, all_rules(12))
    assert same(dense, Tally.of(iter(blocks), csr_array(labels), patients, all_rules(12)))
    assert same(dense, Tally.of(logits, csc_matrix(labels.astype(np.int8)), patients.astype(str), all_rules(12)))
    assert same(ScoreHistogram.of(logits, labels), ScoreHistogram.of(iter(blocks), csr_array(labels)))


def test_blocks_smaller_than_the_split_count_the_same(monkeypatch):
    logits, labels, patients = world(2)
    whole = Tally.of(logits, labels, patients, all_rules(12), replicates=3, generator=np.random.default_rng(0))
    monkeypatch.setattr("clinical.metrics.blocks.BLOCK_CELLS", 50)
    pieces = Tally.of(logits, labels, patients, all_rules(12), replicates=3, generator=np.random.default_rng(0))
    assert same(whole, pieces)


def test_labels_are_left_as_they_were_given():
    labels = csr_array((np.array([1, 0, 1]), np.array([1, 0, 1]), np.array([0, 3])), shape=(1, 2))
    ScoreHistogram.of(np.zeros((1, 2)), labels)
    assert labels.nnz == 3


@pytest.mark.parametrize(
    ("logits", "patients", "message"),
    [
        (np.full((3, 4), np.nan), np.arange(3), "diverged"),
        (np.full((3, 4), 1e300), np.arange(3), "diverged"),
        (np.zeros((3, 5)), np.arange(3), "do not fit 3 documents by 4 codes"),
        (np.zeros((4, 4)), np.arange(3), "do not fit 3 documents by 4 codes"),
        ([np.zeros((2, 4))], np.arange(3), "end after 2 of 3 documents"),
        (np.zeros((3, 4)), np.arange(2), r"patients of shape \(2,\)"),
    ],
)
def test_input_that_does_not_fit_is_refused_in_one_line(logits, patients, message):
    with pytest.raises(ValueError, match=message):
        Tally.of(logits, HAND_LABELS, patients, fixed_thresholds(4))
    with pytest.raises(ValueError, match=message):
        ScoreHistogram.of(logits, HAND_LABELS, patients)


def test_replicates_without_a_generator_are_refused():
    with pytest.raises(ValueError, match="need a generator"):
        fixed_tally(HAND_LOGITS, HAND_LABELS, replicates=10)
    with pytest.raises(ValueError, match="0 or more"):
        fixed_tally(HAND_LOGITS, HAND_LABELS, replicates=-1)
    with pytest.raises(ValueError, match="no counts under the rule 'micro'"):
        scores(fixed_tally(HAND_LOGITS, HAND_LABELS))
    with pytest.raises(ValueError, match="labels must be a matrix"):
        ScoreHistogram.of(np.zeros((3, 1)), np.zeros(3))


# --- intervals --------------------------------------------------------------------------------------------------------


def test_intervals_agree_with_an_independent_bootstrap():
    from sklearn.metrics import f1_score

    logits, labels, patients = world(11, documents=300, codes=15, patients=120)
    tally = fixed_tally(logits, labels, patients, replicates=1000, generator=np.random.default_rng(1))
    ours = scores(tally, rule="fixed")
    generator, drawn = np.random.default_rng(2), []
    notes = [np.flatnonzero(patients == patient) for patient in np.unique(patients)]
    for _ in range(400):
        rows = np.concatenate([notes[i] for i in generator.integers(0, len(notes), len(notes))])
        drawn.append(f1_score(labels[rows], logits[rows] >= 0, average="micro"))
    assert ours["micro_f1"].low == pytest.approx(np.quantile(drawn, 0.025), abs=0.012)
    assert ours["micro_f1"].high == pytest.approx(np.quantile(drawn, 0.975), abs=0.012)


def test_intervals_hold_the_truth_about_as_often_as_they_say():
    names = ("micro_f1", "macro_f1", "mean_average_precision")
    many = fixed_tally(*world(0, documents=40_000, patients=40_000))
    splits = [
        scores(fixed_tally(*world(s), replicates=100, generator=np.random.default_rng(s)), rule="fixed")
        for s in range(1, 201)
    ]
    truth = {name: value(many, name) for name in names}
    # Macro-F1 is a mean over the codes a split happens to have: its truth is its mean over splits of that size.
    truth["macro_f1"] = np.mean([split["macro_f1"].value for split in splits])
    for name in names:
        held = np.mean([split[name].low <= truth[name] <= split[name].high for split in splits])
        assert 0.86 <= held <= 0.99


@QUICK
@given(SEEDS)
def test_an_interval_surrounds_its_value_even_when_most_codes_are_rare(seed):
    logits, labels, patients = world(seed, codes=80, prevalence=0.03)
    tally = fixed_tally(logits, labels, patients, replicates=60, generator=np.random.default_rng(seed))
    for score in scores(tally, rule="fixed").values():
        assert score.value is None or score.low is None or 0 <= score.low <= score.value <= score.high <= 1


def test_too_few_replicates_give_no_interval():
    tally = fixed_tally(HAND_LOGITS, HAND_LABELS, replicates=39, generator=np.random.default_rng(0))
    assert all(score.low is score.high is None for score in scores(tally, rule="fixed").values())


# --- minimum cells ----------------------------------------------------------------------------------------------------


def test_a_minimum_of_one_withholds_nothing():
    tally = fixed_tally(*world(0))
    assert withhold(tally, minimum=1) is tally
    assert withhold(tally, minimum=0) is tally


@QUICK
@given(SEEDS, st.integers(2, 12))
def test_no_small_cell_is_shown_or_left_to_subtraction(seed, minimum):
    logits, labels, patients = world(seed)
    tally = fixed_tally(logits, labels, patients, replicates=4, generator=np.random.default_rng(seed))
    histogram = ScoreHistogram.of(logits, labels, patients)
    shown, shown_scores = withhold(tally, minimum=minimum), withhold(histogram, minimum=minimum)
    hidden = shown.withheld > 0
    assert np.array_equal(hidden, shown_scores.withheld > 0)
    assert not ((shown.carriers > 0) & (shown.carriers < minimum)).any()
    assert not shown.positives[:, hidden].any()
    assert not shown.predicted[..., hidden].any()
    assert not shown_scores.positives[hidden].any()
    assert not shown_scores.negatives[hidden].any()
    assert np.array_equal(shown.positives[:, ~hidden], tally.positives[:, ~hidden])
    if hidden.any():
        with_code = tally.carriers > 0
        assert hidden.sum() >= min(2, with_code.sum())
        assert tally.carriers[hidden].sum() >= min(minimum, tally.carriers.sum())


@QUICK
@given(SEEDS)
def test_withholding_leaves_micro_and_document_metrics_exact(seed):
    logits, labels, patients = world(seed)
    tally = fixed_tally(logits, labels, patients, replicates=50, generator=np.random.default_rng(seed))
    histogram = ScoreHistogram.of(logits, labels, patients)
    before = scores(tally, histogram, rule="fixed")
    after = scores(withhold(tally, minimum=8), withhold(histogram, minimum=8), rule="fixed")
    for name in set(before) - {"macro_precision", "macro_recall", "macro_f1", "macro_auc"}:
        assert before[name] == after[name]
    assert after["macro_f1"].codes <= before["macro_f1"].codes


def test_a_cell_is_counted_in_patients_and_not_in_notes():
    labels = np.ones((12, 2), bool)
    one_patient = fixed_tally(np.ones((12, 2)), labels, np.zeros(12))
    assert withhold(one_patient, minimum=10).withheld.tolist() == [1, 1]
    twelve_patients = fixed_tally(np.ones((12, 2)), labels)
    assert withhold(twelve_patients, minimum=10).withheld.tolist() == [0, 0]


def test_the_pool_says_which_codes_are_fully_and_which_partly_withheld():
    def hospital(*carriers):
        labels = np.arange(20)[:, None] < np.array(carriers)
        return withhold(fixed_tally(np.where(labels, 1, -1), labels), minimum=5)

    pooled = pool([hospital(2, 3, 10, 0), hospital(1, 9, 4, 8)])
    assert pooled.withheld.tolist() == [2, 1, 1, 0]
    counts = count_withheld(pooled)
    assert (counts.fully, counts.partly) == (1, 2)
    assert scores(pooled, rule="fixed")["macro_f1"].codes == 3
    rows = per_code(pooled, None, list("abcd"), rule="fixed")
    assert (rows[0].positives, rows[0].f1, rows[0].withheld) == (None, None, 2)
    assert (rows[1].positives, rows[1].f1, rows[1].withheld) == (9, 1.0, 1)


def test_a_lone_small_cell_takes_the_next_smallest_with_it():
    labels = np.arange(20)[:, None] < np.array([1, 6, 12])
    assert withhold(fixed_tally(np.zeros((20, 3)), labels), minimum=5).withheld.tolist() == [1, 1, 0]


def test_tables_refuse_another_vocabulary():
    tally = fixed_tally(HAND_LOGITS, HAND_LABELS)
    with pytest.raises(ValueError, match="vocabulary of 3 codes"):
        per_code(tally, None, list("abc"), rule="fixed")
    with pytest.raises(ValueError, match="does not belong"):
        scores(tally, ScoreHistogram.of(np.zeros((1, 2)), np.zeros((1, 2))), rule="fixed")


# --- the collapse guard -----------------------------------------------------------------------------------------------


def large_world(seed, **options):
    return world(seed, documents=300, codes=100, patients=200, prevalence=0.05, **options)


def tuned(logits, labels, patients):
    return Tally.of(logits, labels, patients, choose_thresholds(ScoreHistogram.of(logits, labels, patients)))


def test_predicting_everything_is_a_collapse():
    _, labels, patients = large_world(0)
    tally = fixed_tally(np.full(labels.shape, 3.0), labels, patients)
    assert "nearly everything: 100.0 of 100 codes" in collapse(tally, rule="fixed")
    assert value(tally, "micro_recall") == 1.0


def test_predicting_nothing_is_a_collapse():
    _, labels, patients = large_world(0)
    assert "nearly nothing" in collapse(fixed_tally(np.full(labels.shape, -9.0), labels, patients), rule="fixed")


def test_the_same_codes_for_every_document_are_a_collapse():
    _, labels, patients = large_world(0)
    common = np.tile(np.linspace(1, -9, 100), (300, 1))
    assert "same set of codes for 300 of 300" in collapse(fixed_tally(common, labels, patients), rule="fixed")


@pytest.mark.parametrize("level", [-7.0, 0.0, 2.5])
def test_constant_scores_are_a_collapse_under_the_tuned_threshold_too(level):
    _, labels, patients = large_world(0)
    assert collapse(tuned(np.full(labels.shape, level), labels, patients)) is not None


def test_scores_that_ignore_the_note_are_a_collapse_under_the_tuned_threshold_too():
    _, labels, patients = large_world(0)
    prior = np.log(labels.mean(axis=0) + 1e-4)
    assert "same set" in collapse(tuned(np.tile(prior, (300, 1)), labels, patients))


@QUICK
@given(SEEDS, st.sampled_from([0.7, 1.0, 3.0, 8.0]))
def test_a_weak_or_a_perfect_model_is_not_accused(seed, skill):
    logits, labels, patients = large_world(seed, skill=skill)
    assert collapse(tuned(logits, labels, patients)) is None


def test_a_model_that_finds_one_code_in_ten_is_not_accused():
    generator = np.random.default_rng(4)
    _, labels, patients = large_world(4)
    found = (labels & (generator.random(labels.shape) < 0.1)) | (generator.random(labels.shape) < 0.01)
    assert collapse(fixed_tally(np.where(found, 1, -1), labels, patients), rule="fixed") is None


def test_the_same_codes_for_all_are_right_where_all_documents_have_the_same_codes():
    labels = np.tile([True, False, False], (50, 1))
    assert collapse(fixed_tally(np.where(labels, 1, -1), labels), rule="fixed") is None


def test_a_handful_of_documents_is_not_judged():
    assert collapse(fixed_tally(np.ones((19, 9)), np.eye(19, 9, dtype=bool)), rule="fixed") is None


def test_the_guard_sees_through_withholding_and_pooling():
    _, labels, patients = large_world(0)
    tally = fixed_tally(np.tile(np.linspace(1, -9, 100), (300, 1)), labels, patients)
    assert collapse(pool([withhold(tally, minimum=50)] * 2), rule="fixed") is not None
