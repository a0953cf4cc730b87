"""What a hospital checks and what its plan rests on, before a round is charged."""

import pytest
import torch
from torch import nn

from clients import training
from clients.admission import plan
from clients.hospital import locate
from clients.policy import PolicyRefusal, read_policy
from clinical.site_policy import DEFAULT_POLICY
from privacy.ledger import Ledger


class Centred(nn.Module):
    """Takes the batch's mean away: every example's output depends on all others."""

    def forward(self, x):
        return x - x.mean(0, keepdim=True)


def mixing(features: int, codes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, 16), Centred(), nn.Linear(16, codes))


def normed(features: int, codes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(features, 16), nn.BatchNorm1d(16), nn.Linear(16, codes))


@pytest.fixture
def model_of(monkeypatch):
    """Lets the name mlp-s stand for another model, in this process only."""

    def choose(builder):
        monkeypatch.setattr("clinical.models.mlp.small", builder)
        training._hollow.cache_clear()

    yield choose
    training._hollow.cache_clear()


def test_a_model_that_mixes_patients_is_refused_with_the_layers_name_and_nothing_is_charged(consortium, model_of):
    model_of(mixing)
    record = consortium.conduct(federation__rounds=1, evaluation__local_baseline=False)
    assert record["status"] == "failed"
    for absence in record["rounds"][0]["absences"]:
        assert absence["kind"] == "refused"
        assert "behind 0 (Linear)" in absence["reason"]
        assert "mixes examples" in absence["reason"]
    for hospital in consortium.hospitals:
        with Ledger.open(hospital / "ledger.db") as ledger:
            assert [entry.kind for entry in ledger.entries()] == ["reserve", "settle"]


def test_a_layer_that_cannot_be_clipped_is_a_refusal_and_no_internal_error(consortium, model_of):
    model_of(normed)
    record = consortium.conduct(federation__rounds=1, evaluation__local_baseline=False)
    assert "1 (BatchNorm1d) mixes the examples" in str(record["rounds"][0]["absences"])


def test_without_privacy_nobody_asks_whether_patients_mix(consortium, model_of):
    model_of(mixing)
    record = consortium.conduct(federation__rounds=1, privacy__epsilon=0.0, evaluation__local_baseline=False)
    assert record["status"] == "completed"


def test_the_check_changes_neither_the_model_nor_its_gradients(consortium):
    from clients.cohort import assemble
    from clients.independence import require_independence
    from clinical.models import build_model

    study = consortium.study()
    examples = assemble(study, locate(study, {"data": str(consortium.hospitals[0])}), ("I10", "E11.9")).train
    model = build_model("mlp-s", features=examples.features.shape[1], codes=2, dropout=0.0, seed=1)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    require_independence(study, model, examples)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


# --- a declared size ---


def declare(consortium, number, patients):
    consortium.edit_policy(number, "declared_patients = 0", f"declared_patients = {patients}")


def test_a_declared_size_replaces_the_true_one_wherever_it_would_show(consortium):
    for number in range(3):
        declare(consortium, number, 64)
    record = consortium.conduct(privacy__epsilon=8.0, evaluation__local_baseline=False)
    assert record["status"] == "completed"
    assert [site["patients"] for site in record["sites"]] == [64] * 3
    assert len({str(site["plan"]) for site in record["sites"]}) == 1
    for paid in record["privacy"].values():
        assert "patients per hospital" not in paid["statement"]["not_covered"]
    for entry in record["rounds"]:
        assert {site["patients"] for site in entry["sites"].values()} == {64.0}


def test_without_a_declaration_the_size_is_named_as_not_covered(consortium):
    declare(consortium, 0, 64)
    record = consortium.conduct(federation__rounds=1, evaluation__local_baseline=False)
    named = [
        "patients per hospital" in paid["statement"]["not_covered"] for _, paid in sorted(record["privacy"].items())
    ]
    assert named == [False, True, True]


def test_covered_releases_and_a_declared_size_leave_only_the_choice_of_settings_uncovered(consortium, tmp_path):
    vocabulary = tmp_path / "vocabulary.txt"
    vocabulary.write_text("I10\nE11.9\nE78.5\n", encoding="utf-8")
    declare(consortium, 0, 64)
    record = consortium.conduct(
        privacy__releases_epsilon=6.0, task__vocabulary=str(vocabulary), evaluation__local_baseline=False
    )
    assert record["privacy"]["hospital-1"]["statement"]["not_covered"] == ["the choice of settings by earlier runs"]


def test_a_forecast_plans_with_the_declared_size_and_still_says_the_true_one(consortium):
    from clients.forecast import forecast

    declare(consortium, 0, 64)
    study = consortium.study()
    answer = forecast(study, locate(study, {"data": str(consortium.hospitals[0])}))
    assert answer.plan == plan(study, 64)
    assert answer.patients not in {0, 64}


def test_minimum_and_delta_are_held_against_the_true_cohort_too(consortium):
    declare(consortium, 0, 5)
    declare(consortium, 1, 50_000)
    consortium.edit_policy(0, "minimum_patients = 10", "minimum_patients = 10000")
    record = consortium.conduct(federation__rounds=1, evaluation__local_baseline=False, federation__quorum=1)
    reasons = " ".join(absence["reason"] for absence in record["absences"])
    assert "fewer than the 10000 patients" in reasons
    assert "not below 1 / patients" in reasons
    assert len(record["sites"]) == 1


def test_a_policy_written_before_a_key_existed_means_what_it_meant(tmp_path):
    path = tmp_path / "policy.toml"
    path.write_text(DEFAULT_POLICY.replace("declared_patients = 0\n", ""), encoding="utf-8")
    old = read_policy(path)
    path.write_text(DEFAULT_POLICY, encoding="utf-8")
    assert read_policy(path) == old
    assert old.declared_patients == 0


@pytest.mark.parametrize("value", ["-1", "12.5", '"many"', "true"])
def test_a_declared_size_that_is_no_number_of_patients_allows_nothing(tmp_path, value):
    path = tmp_path / "policy.toml"
    path.write_text(DEFAULT_POLICY.replace("declared_patients = 0", f"declared_patients = {value}"), encoding="utf-8")
    with pytest.raises(PolicyRefusal, match="declared_patients has a value of the wrong kind"):
        read_policy(path)


def test_a_hospital_that_turns_out_to_have_no_labels_gives_its_reservation_back(consortium):
    record = consortium.conduct(task__name="mortality-24h", model__name="logistic", federation__rounds=1)
    assert record["status"] == "refused"
    assert "has no labels for the task mortality-24h" in record["reason"]
    for hospital in consortium.hospitals:
        with Ledger.open(hospital / "ledger.db") as ledger:
            assert [entry.kind for entry in ledger.entries()] == ["reserve", "settle"]
            assert ledger.spent(delta=1e-4, include_reserved=True) == 0
