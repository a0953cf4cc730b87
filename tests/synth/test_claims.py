"""What a cohort claims: held against its rows, the ledger, the number of patients, and what attacks find."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from privacy.ledger import Ledger
from synth.claims import audit_claim, check_claim, read_claim
from synth.evidence import gather
from synth.plan import read_plan
from synth.spec import write_spec
from synth.synthesis import synthesise
from tests.synth.worlds import SPEC, draw

PLAN = """
[table]
path = "training.csv"
[spec]
path = "spec.toml"
[generator]
name = "independent"
rows = 200
seed = 3
[privacy]
epsilon = 1.0
delta = 1e-4
ceiling = 2.0
ledger = "ledger.db"
run = "first"
"""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """A cohort with its record, its ledger's word, and the evidence."""
    place = tmp_path_factory.mktemp("claims")
    rng = np.random.default_rng(0)
    training, holdout = draw(rng), draw(rng)
    training.to_csv(place / "training.csv", index=False)
    write_spec(SPEC, place / "spec.toml")
    (place / "plan.toml").write_text(PLAN)
    synthesise(read_plan(place / "plan.toml"), place / "cohort")
    claim = read_claim([place / "cohort/cohort.parquet"])
    with Ledger.open(place / "ledger.db", create=False) as ledger:
        booked = ledger.reservation(claim.run)
    evidence = gather(training, holdout, draw(rng), SPEC)
    return place / "cohort", claim, booked, evidence


def verdicts(claim, booked, evidence, *, patients=200, most=10.0):
    found = check_claim(claim, booked, evidence, patients=patients, most=most)
    return {name: score.verdict for name, score in found.items() if score.verdict != "pass"}


def test_a_fit_whose_run_the_ledger_knows_is_believed(fitted):
    _, claim, booked, evidence = fitted
    assert verdicts(claim, booked, evidence) == {}


def test_a_cohort_that_claims_nothing_is_left_to_the_attacks(fitted):
    _, _, _, evidence = fitted
    assert [s.verdict for s in check_claim(None, None, evidence, patients=200, most=1.0).values()] == ["pass"]


@pytest.mark.parametrize(
    ("changed", "check"),
    [
        ({"of_these_rows": False}, "claim, rows"),
        ({"specification": "0" * 64}, "claim, rows"),
        ({"plan": "0" * 64}, "claim, ledger"),
        ({"epsilon": 0.5}, "claim, epsilon"),
        ({"delta": 1e-5}, "claim, ledger"),
        ({"steps": 2}, "claim, ledger"),
        ({"noise_multiplier": 9.0}, "claim, ledger"),
        ({"reproducible_noise": True}, "claim, noise"),
        ({"unit": "row"}, "claim, unit"),
    ],
)
def test_a_claim_that_says_more_than_was_paid_fails(fitted, changed, check):
    _, claim, booked, evidence = fitted
    key = next(iter(changed))
    if hasattr(claim, key):
        claim = replace(claim, **changed)
    else:
        claim = replace(claim, statement=replace(claim.statement, **changed))
    assert verdicts(claim, booked, evidence)[check] == "fail"


def test_a_run_the_ledger_does_not_know_decides_nothing(fitted):
    _, claim, _, evidence = fitted
    assert verdicts(claim, None, evidence) == {"claim, ledger": "inconclusive"}


def test_a_run_that_was_reserved_and_not_charged_fails(fitted):
    _, claim, booked, evidence = fitted
    assert verdicts(claim, replace(booked, charged_steps=0), evidence) == {"claim, ledger": "fail"}


def test_delta_has_to_lie_below_one_over_the_patients_and_epsilon_below_the_limit(fitted):
    _, claim, booked, evidence = fitted
    assert verdicts(claim, booked, evidence, patients=10_000) == {"claim, delta": "fail"}
    assert verdicts(claim, booked, evidence, most=0.5) == {"claim, epsilon": "fail"}


def test_rows_changed_after_the_fit_are_not_those_of_the_record(fitted, tmp_path):
    cohort, _, _, _ = fitted
    rows = tmp_path / "cohort.csv"
    rows.write_text((cohort / "cohort.csv").read_text().replace("F", "M", 1))
    assert not read_claim([rows], cohort / "cohort-record.json").of_these_rows
    assert read_claim([cohort / "cohort.csv"]).of_these_rows


def test_a_record_that_claims_nothing_and_one_that_is_none(fitted, tmp_path):
    cohort, _, _, _ = fitted
    rows = tmp_path / "cohort.csv"
    rows.write_text("a\n")
    assert read_claim([rows]) is None
    content = json.loads((cohort / "cohort-record.json").read_text())
    (tmp_path / "cohort-record.json").write_text(json.dumps(content | {"format": "another"}))
    with pytest.raises(ValueError, match="no record of the format"):
        read_claim([rows])


def test_copies_that_claim_privacy_are_contradicted_by_an_attack_and_a_fresh_draw_is_not(fitted):
    _, claim, _, evidence = fitted
    for cohort, verdict in ((evidence.training, "fail"), (evidence.synthetic, "pass")):
        found = audit_claim(claim, evidence.with_synthetic(cohort), np.random.default_rng(1), level=0.01)
        assert found["audited epsilon, distance"].verdict == verdict
