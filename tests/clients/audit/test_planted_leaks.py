"""The audit that can say no: an overfitted head is caught, a private one is not accused, a broken promise fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from clients import training

# typer still imports a name that click has deprecated
pytestmark = [pytest.mark.filterwarnings("ignore:'click.utils:DeprecationWarning"), pytest.mark.slow]

OVERFITTED = {
    "privacy__epsilon": 0.0,
    "training__optimizer": "adam",
    "training__learning_rate": 0.003,
    "training__batch_patients": 64,
    "training__local_epochs": 10.0,
    "federation__rounds": 6,
}
PRIVATE = {"privacy__epsilon": 3.0, "privacy__delta": 1e-4, "federation__rounds": 6}


def bearing(record):
    return next(attack for attack in record["attacks"] if attack["bears_verdict"])


def test_a_head_that_was_overfitted_without_privacy_is_caught(practice):
    code, record = practice.audit(practice.conduct(**OVERFITTED))
    rate = bearing(record)["tpr"]["0.01"]
    assert rate["confidence"] == 0.95
    assert rate["low"] > 0.01
    assert rate["verdict"] == record["verdict"] == "fail"
    assert record["self_test"]["passed"]
    assert record["claim"]["epsilon"] is None
    assert code == 1


def test_a_private_head_at_epsilon_3_is_not_contradicted(practice):
    code, record = practice.audit(practice.conduct(privacy__canaries=150, **PRIVATE))
    assert record["claim"]["epsilon"] == pytest.approx(3.0, abs=0.01)
    assert record["self_test"]["passed"]
    assert record["verdict"] == "pass"
    assert {each["instrument"]: each["verdict"] for each in record["evidence"]} == {
        "membership": "pass",
        "canaries": "pass",
    }
    assert all(view["epsilon"]["low"] < 3.0 for view in record["one_run"])
    assert record["self_test"]["detectable_epsilon"] > 3.0
    assert all(extract["agrees"] for extract in record["claim"]["ledgers"].values())
    assert code == 0


def test_a_loop_whose_noise_is_switched_off_while_it_claims_epsilon_3_fails(practice, monkeypatch):
    honest = training._private_gradient

    def silent(study, plan, model, noise):
        return honest(study, replace(plan, noise_multiplier=0.0), model, noise)

    monkeypatch.setattr(training, "_private_gradient", silent)
    run = practice.conduct(privacy__canaries=150, **PRIVATE)
    monkeypatch.undo()
    code, record = practice.audit(run)
    assert record["claim"]["epsilon"] == pytest.approx(3.0, abs=0.01)
    rounds = next(view for view in record["one_run"] if view["view"] == "all rounds")
    assert rounds["epsilon"]["low"] > 3.0
    assert rounds["epsilon"]["verdict"] == record["verdict"] == "fail"
    assert "contradicts" in record["statement"]
    assert code == 1
