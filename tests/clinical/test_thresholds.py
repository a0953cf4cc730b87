"""Thresholds found on pooled histograms are those of the pooled records."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.metrics import EDGES, RULES, ScoreHistogram, pool, withhold
from clinical.metrics.thresholds import Thresholds, best_micro, choose_thresholds, fixed_thresholds

SEEDS = st.integers(0, 2**32 - 1)
QUICK = settings(max_examples=25, deadline=None)


def world(seed, *, documents=80, codes=9):
    generator = np.random.default_rng(seed)
    labels = generator.random((documents, codes)) < np.linspace(0.5, 0.02, codes)
    labels[0] = True
    return (generator.normal(-2, 1.5, (documents, codes)) + 2 * labels).astype(np.float32), labels


def micro_f1(labels, predicted):
    return 2 * (labels & predicted).sum() / (labels.sum() + predicted.sum())


@QUICK
@given(SEEDS)
def test_the_micro_threshold_is_the_best_of_all_edges(seed):
    logits, labels = world(seed)
    best = best_micro(ScoreHistogram.of(logits, labels))
    by_edge = [micro_f1(labels, logits >= edge) for edge in EDGES]
    assert best.f1 == max(by_edge) == micro_f1(labels, logits >= np.float32(best.logit))


@QUICK
@given(SEEDS)
def test_the_macro_threshold_is_the_best_of_all_edges_by_scikit_learn(seed):
    from sklearn.metrics import f1_score

    logits, labels = world(seed, documents=25)
    labels[:, -1] = False  # an absent code has no say
    chosen = choose_thresholds(ScoreHistogram.of(logits, labels)).logits["macro"][0]
    near = EDGES[(EDGES > -6) & (EDGES < 4)][::3]
    reached = f1_score(labels[:, :-1], logits[:, :-1] >= chosen, average="macro", zero_division=0)
    for edge in near:
        assert f1_score(labels[:, :-1], logits[:, :-1] >= edge, average="macro", zero_division=0) <= reached + 1e-12


@QUICK
@given(SEEDS)
def test_each_frequency_group_gets_its_own_best_threshold(seed):
    logits, labels = world(seed)
    frequency = np.array([500, 400, 300, 50, 40, 30, 5, 4, 3])
    chosen = choose_thresholds(ScoreHistogram.of(logits, labels), frequency=frequency, bounds=(10, 100))
    for group in (slice(0, 3), slice(3, 6), slice(6, 9)):
        cuts = chosen.logits["frequency"][group]
        assert len(set(cuts.tolist())) == 1
        reached = micro_f1(labels[:, group], logits[:, group] >= cuts)
        assert reached == max(micro_f1(labels[:, group], logits[:, group] >= edge) for edge in EDGES)
    assert [(g.above, g.up_to, g.codes) for g in chosen.groups] == [(0, 10, 3), (10, 100, 3), (100, None, 3)]


@QUICK
@given(SEEDS)
def test_hospitals_find_together_what_they_would_have_found_as_one(seed):
    logits, labels = world(seed)
    whole = choose_thresholds(ScoreHistogram.of(logits, labels))
    parts = choose_thresholds(pool([ScoreHistogram.of(logits[i::3], labels[i::3]) for i in range(3)]))
    for rule in RULES:
        assert np.array_equal(whole.logits[rule], parts.logits[rule])


def test_where_classes_part_cleanly_the_threshold_lies_half_way():
    histogram = ScoreHistogram.of(np.array([[-4.05], [-4.05], [2.05]]), np.array([[False], [False], [True]]))
    assert best_micro(histogram).logit == pytest.approx(-1.0, abs=0.11)
    assert best_micro(histogram).f1 == 1.0


def test_every_rule_is_a_vector_of_edges_in_the_agreed_order():
    logits, labels = world(0)
    chosen = choose_thresholds(ScoreHistogram.of(logits, labels))
    assert chosen.rules == RULES
    for vector in chosen.logits.values():
        assert vector.dtype == np.float32
        assert vector.shape == (9,)
        assert np.isin(vector, EDGES).all()
    assert not chosen.logits["fixed"].any()


def test_without_a_positive_every_rule_falls_back_on_one_half():
    chosen = choose_thresholds(ScoreHistogram.of(np.full((3, 2), -5.0), np.zeros((3, 2), bool)))
    assert not chosen.stack(codes=2).any()
    assert best_micro(ScoreHistogram.of(np.zeros((1, 1)), np.zeros((1, 1)))).f1 is None


def test_a_group_without_positives_takes_the_micro_threshold():
    logits, labels = world(1)
    chosen = choose_thresholds(ScoreHistogram.of(logits, labels), frequency=np.full(9, 50), bounds=(10, 100))
    assert chosen.groups[0].codes == 0
    assert chosen.groups[0].logit == chosen.logits["micro"][0] == chosen.logits["frequency"][0]


def test_withheld_codes_leave_the_micro_threshold_as_it_was():
    logits, labels = world(2)
    histogram = ScoreHistogram.of(logits, labels)
    hidden = withhold(histogram, minimum=1000)
    assert hidden.withheld.all()
    assert best_micro(hidden) == best_micro(histogram.overall()) == best_micro(histogram)
    chosen = choose_thresholds(hidden)
    assert chosen.logits["macro"][0] == chosen.logits["micro"][0] == best_micro(histogram).logit


def test_the_summary_is_strict_json_and_gives_probabilities():
    logits, labels = world(3)
    chosen = choose_thresholds(ScoreHistogram.of(logits, labels))
    summary = json.loads(json.dumps(chosen.summary(), allow_nan=False))
    assert summary["fixed"] == [{"codes": 9, "logit": 0.0, "probability": 0.5}]
    assert sum(group["codes"] for group in summary["frequency"]) == 9
    (micro,) = summary["micro"]
    assert micro["probability"] == pytest.approx(1 / (1 + np.exp(-micro["logit"])))
    assert np.float32(micro["logit"]) == chosen.logits["micro"][0]


def test_an_extreme_threshold_still_has_a_probability():
    summary = Thresholds({"micro": EDGES[[0, -1]]}).summary()["micro"]
    assert [group["probability"] for group in summary] == pytest.approx([0, 1])


def test_thresholds_survive_transport_whatever_the_order_of_keys():
    logits, labels = world(4)
    chosen = choose_thresholds(ScoreHistogram.of(logits, labels))
    again = Thresholds.from_arrays(dict(reversed(chosen.to_arrays().items())))
    assert again.rules == RULES
    assert np.array_equal(again.stack(codes=9), chosen.stack(codes=9))
    assert sum(group["codes"] for group in again.summary()["frequency"]) == 9


def test_some_rules_can_be_kept():
    logits, labels = world(4)
    chosen = choose_thresholds(ScoreHistogram.of(logits, labels))
    assert chosen.only("frequency", "fixed").rules == ("fixed", "frequency")
    with pytest.raises(ValueError, match="no threshold rule best"):
        chosen.only("best")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "named after rules"),
        ({"best": np.zeros(2, np.float32)}, "named after rules"),
        ({"micro": np.zeros(2)}, "finite float32"),
        ({"micro": np.array([np.nan], np.float32)}, "finite float32"),
        ({"micro": np.zeros(2, np.float32), "fixed": np.zeros(3, np.float32)}, "different numbers of codes"),
    ],
)
def test_thresholds_that_make_no_sense_are_refused(arrays, message):
    with pytest.raises(ValueError, match=message):
        Thresholds.from_arrays(arrays)


def test_choosing_refuses_what_does_not_fit():
    histogram = ScoreHistogram.of(*world(5))
    with pytest.raises(ValueError, match="histogram by code"):
        choose_thresholds(histogram.overall())
    with pytest.raises(ValueError, match="documents for 9 codes"):
        choose_thresholds(histogram, frequency=np.ones(3, np.int64))
    with pytest.raises(ValueError, match="bounds must ascend"):
        choose_thresholds(histogram, bounds=(100, 10))
    with pytest.raises(ValueError, match=r"cannot pool thresholds|9 codes"):
        fixed_thresholds(8).stack(codes=9)
