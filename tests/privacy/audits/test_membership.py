"""Membership scores: a second implementation straight from the formulas, and worlds whose answer is known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.audits.membership import (
    References,
    balanced_halves,
    by_patient,
    find_outliers,
    lira_scores,
    logit_confidence,
    loss_scores,
    rmia_scores,
)
from privacy.audits.rates import area_under_curve


def world(seed, *, references=8, patients=60, memory=0.5):
    """Patients of different difficulty; a model lowers the loss of those it was trained on by `memory`."""
    rng = np.random.default_rng(seed)
    difficulty = rng.gamma(2.0, 1.0, patients) + 0.2
    member = balanced_halves(references, patients, rng)
    losses = difficulty * np.exp(rng.normal(0, 0.1, (references, patients)) - memory * member)
    inside = rng.random(patients) < 0.5
    target = difficulty * np.exp(rng.normal(0, 0.1, patients) - memory * inside)
    return target, References(losses, member), inside


@pytest.mark.parametrize("online", [True, False])
def test_rmia_is_the_papers_pairwise_test_written_out(online):
    target, references, _ = world(1)
    R, P = references.losses.shape
    ratio = np.empty(P)
    for p in range(P):
        outs = [math.exp(-references.losses[r, p]) for r in range(R) if not references.member[r, p]]
        ins = [math.exp(-references.losses[r, p]) for r in range(R) if references.member[r, p]]
        typical = sum(outs) / len(outs)
        if online:
            typical = 0.5 * (typical + sum(ins) / len(ins))
        ratio[p] = math.exp(-target[p]) / typical
    for gamma in (0.8, 1.0, 1.3):
        brute = np.array([sum(ratio[p] / ratio[z] >= gamma for z in range(P) if z != p) / P for p in range(P)])
        ours = rmia_scores(target, references, online=online, gamma=gamma)
        assert np.all((ours >= brute - 1e-12) & (ours < brute + 1 / P))


@pytest.mark.parametrize("online", [True, False])
def test_lira_is_the_papers_likelihood_ratio_written_out(online):
    from scipy.stats import norm

    target, references, _ = world(2)
    R, P = references.losses.shape

    def scale(loss):
        return math.log(math.exp(-loss) / (1 - math.exp(-loss)))

    def column(p, member):
        return [scale(references.losses[r, p]) for r in range(R) if references.member[r, p] == member]

    def shared(member):
        residuals = [x - np.mean(column(p, member)) for p in range(P) for x in column(p, member)]
        return math.sqrt(sum(x * x for x in residuals) / (len(residuals) - P))

    deviation = {member: shared(member) for member in (True, False)}
    for p, found in enumerate(lira_scores(target, references, online=online)):
        own = scale(target[p])
        if online:
            expected = norm.logpdf(own, np.mean(column(p, True)), deviation[True]) - norm.logpdf(
                own, np.mean(column(p, False)), deviation[False]
            )
        else:
            expected = (own - np.mean(column(p, False))) / deviation[False]
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_references_tell_memory_from_an_easy_case():
    target, references, inside = world(3, patients=800, memory=0.3)
    attacks = {
        "loss": loss_scores(target),
        "rmia": rmia_scores(target, references, online=True),
        "rmia offline": rmia_scores(target, references, online=False),
        "lira": lira_scores(target, references, online=True),
        "lira offline": lira_scores(target, references, online=False),
    }
    area = {name: area_under_curve(each[inside], each[~inside]).value for name, each in attacks.items()}
    assert area["loss"] < 0.65
    assert all(area[name] > 0.85 for name in area if name != "loss")


@pytest.mark.parametrize("online", [True, False])
def test_a_model_that_remembers_nobody_is_not_accused(online):
    target, references, inside = world(4, patients=800, memory=0.0)
    for scores in (rmia_scores(target, references, online=online), lira_scores(target, references, online=online)):
        found = area_under_curve(scores[inside], scores[~inside])
        assert found.low < 0.5 < found.high


@settings(deadline=None)
@given(st.integers(2, 9), st.integers(2, 30), st.integers(0, 99))
def test_every_patient_is_in_and_out_of_the_references_about_equally_often(references, patients, seed):
    member = balanced_halves(references, patients, np.random.default_rng(seed))
    times = member.sum(axis=0)
    assert set(times) <= {references // 2, (references + 1) // 2}
    assert set(member.sum(axis=1)) <= {patients // 2, patients - patients // 2}


def test_a_patients_notes_are_one_score():
    assert by_patient([[1.0, 3.0, 5.0, 7.0]], [1, 0, 1, 1]).tolist() == [[3.0, 13.0 / 3]]
    with pytest.raises(ValueError, match="at least one note"):
        by_patient([1.0, 2.0], [0, 2])


def test_confidence_is_finite_at_both_ends():
    assert np.isfinite(logit_confidence([0.0, 1e-12, 800.0])).all()
    assert logit_confidence([math.log(2)])[0] == pytest.approx(0.0)


def test_the_farthest_patients_are_the_outliers():
    rng = np.random.default_rng(5)
    vectors = rng.normal(0, 1, (100, 6))
    far = [3, 50, 77]
    vectors[far] += 40 * np.eye(6)[[0, 2, 4]]
    marked = find_outliers(vectors, share=0.03)
    assert np.flatnonzero(marked).tolist() == far
    with pytest.raises(ValueError, match="more than 5"):
        find_outliers(vectors[:5])


def test_references_that_cannot_answer_are_refused():
    losses = np.ones((2, 3))
    everywhere = References(losses, np.array([[True, True, False], [True, False, True]]))
    with pytest.raises(ValueError, match="in every reference"):
        rmia_scores([1.0] * 3, everywhere, online=False)
    nowhere = References(losses, np.array([[False, True, False], [False, False, True]]))
    with pytest.raises(ValueError, match="in no reference"):
        lira_scores([1.0] * 3, nowhere, online=True)
    with pytest.raises(ValueError, match="know 3 patients"):
        lira_scores([1.0] * 2, nowhere, online=False)
    with pytest.raises(ValueError, match="same shape"):
        References(losses, np.ones((3, 2), dtype=bool))
    with pytest.raises(ValueError, match="finite"):
        loss_scores([math.inf])
