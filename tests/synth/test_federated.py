"""Counts of several tables, added: the same tree as of one table, and questions that are none."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from privacy.statement import PrivacyStatement
from synth.admission import admit
from synth.counts import Patients
from synth.encoding import Bins
from synth.federated import Together, fit_together, measurements, most_tables
from synth.generators.marginals import Marginals
from synth.measurement import Measurement, columns_alone
from tests.synth.tiny import CLINIC, WARD, clinic, ward

RNG = np.random.default_rng(0)
WORLDS = {"ward": (ward, WARD), "clinic": (clinic, CLINIC)}


def parts(make, spec, bins, number=3):
    """The patients of some hospitals."""
    table = make(240)
    pieces = [table.iloc[i::number] for i in range(number)]
    return [Patients.of(admit(piece, spec), bins, rng=RNG, privacy=None) for piece in pieces]


def exact(patients):
    def ask(measurement):
        return {str(i): np.concatenate(measurement.count(p, None).tables) for i, p in enumerate(patients)}

    return ask


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("tree", ["measured", "target"])
def test_without_noise_the_sums_are_those_of_one_table(world, tree):
    make, spec = WORLDS[world]
    if tree == "target" and not spec.target:
        pytest.skip("the specification names no target")
    bins = Bins(spec, 16)
    agreed = Together(spec, bins, tree, merge_below=3.0)
    statement = PrivacyStatement.none(steps=0)
    fitted = fit_together(agreed, exact(parts(make, spec, bins)), noise=0.0, statement=statement)
    central = Marginals(bins=16).fit(make(240), spec, rng=np.random.default_rng(0), privacy=None)
    for ours, theirs in zip(fitted.ones, central.ones, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    drawn = fitted.sample(50, np.random.default_rng(1))
    assert list(drawn.columns) == list(spec.names)
    assert len(fitted.edges) == len(spec.columns) - 1
    if tree == "target":
        assert all(spec.names.index(spec.target) in (edge.parent, edge.child) for edge in fitted.edges)
    whole = fit_together(agreed, exact(parts(make, spec, bins, number=1)), noise=0.0, statement=statement)
    for edge, other in zip(fitted.edges, whole.edges, strict=True):
        assert (edge.parent, edge.child) == (other.parent, other.child)
        np.testing.assert_allclose(edge.table, other.table, atol=1e-6)


def test_a_tree_of_measured_pairs_finds_what_depends(tmp_path):
    rng = np.random.default_rng(3)
    bins = Bins(CLINIC, 16)
    table = clinic(3000)
    table["score"] = (table["stage"].map({"I": 0, "II": 1, "III": 2, "IV": 3}) / 2 - 0.75).round(2)
    patients = [Patients.of(admit(table, CLINIC), bins, rng=RNG, privacy=None)]

    def ask(measurement):
        return {name: sums + rng.normal(0, 10, len(sums)) for name, sums in exact(patients)(measurement).items()}

    agreed = Together(CLINIC, bins, "measured", merge_below=3.0)
    noise = 10 / np.sqrt(6)  # about what the widest measurement has
    fitted = fit_together(agreed, ask, noise=noise, statement=PrivacyStatement.none(steps=0))
    pairs = {frozenset((CLINIC.names[e.parent], CLINIC.names[e.child])) for e in fitted.edges}
    assert frozenset(("stage", "score")) in pairs


def test_the_association_of_independent_columns_is_zero_in_expectation():
    from synth.federated import _association

    rng = np.random.default_rng(4)
    expected = np.outer([300.0, 700.0], [200.0, 300.0, 500.0]) / 1000
    draws = [_association(expected + rng.normal(0, 20, expected.shape), expected, 20.0) for _ in range(4000)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / np.sqrt(len(draws))


def test_a_measurement_travels_and_comes_back_the_same():
    bins = Bins(WARD, 8)
    asked = columns_alone(bins)
    again = Measurement.from_arrays(asked.to_arrays(), bins)
    assert again.tables == asked.tables
    assert again.sizes == bins.sizes
    assert asked.sensitivity == pytest.approx(np.sqrt(len(WARD.columns)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tables": np.zeros((0, 2), np.int64)}, "at least one table"),
        ({"tables": np.array([[0, 1], [0, 1]])}, "each table once"),
        ({"tables": np.array([[0, 99]])}, "names a column outside"),
        ({"tables": np.array([[-1, 0]])}, "names a column outside"),
        ({"tables": np.array([0, 1])}, "two columns for each table"),
        ({"groups": np.zeros(3, np.int64)}, "one group for each code"),
        ({"groups": np.zeros(0)}, "both int64"),
    ],
)
def test_a_question_that_is_none_is_refused(change, said):
    bins = Bins(WARD, 8)
    with pytest.raises(ValueError, match=said):
        Measurement.from_arrays(columns_alone(bins).to_arrays() | change, bins)


def test_groups_with_a_gap_are_refused():
    bins = Bins(WARD, 8)
    arrays = columns_alone(bins).to_arrays()
    arrays["groups"] = arrays["groups"] + 1
    with pytest.raises(ValueError, match="from 0 without gaps"):
        Measurement.from_arrays(arrays, bins)


def test_what_a_cohort_takes_is_known_beforehand():
    assert measurements(WARD, "measured") == 3
    assert measurements(WARD, "target") == 2
    assert most_tables(WARD, "measured") == 28
    assert most_tables(WARD, "target") == 8
    with pytest.raises(ValueError, match="names a target"):
        measurements(CLINIC, "target")


def test_which_rows_of_a_patient_count_is_not_told_by_the_seed(tmp_path):
    """With a public choice one patient more would change which rows of the others count."""
    from privacy.ledger import Ledger
    from privacy.noise import SecureNoise
    from synth.account import Account, Allowance

    allowance = Allowance(epsilon=1.0, delta=1e-5, ceiling=5.0, patient_rows=1)
    table = pd.concat([ward(120)] * 2, ignore_index=True)
    bins = Bins(WARD, 8)
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        account = Account(allowance, ledger, "run", "agreed", SecureNoise())
        chosen = [
            Patients.of(admit(table, WARD), bins, rng=np.random.default_rng(1), privacy=account) for _ in range(2)
        ]
    assert len(chosen[0].codes) == len(chosen[1].codes) == 60
    assert (chosen[0].codes != chosen[1].codes).any()
