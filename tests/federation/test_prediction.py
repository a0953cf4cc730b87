"""Outcomes of stays predicted by a consortium: every model, with and without privacy, judged from pooled sums."""

import json

import pytest

from clinical.models import MODELS
from server.compare import Comparison, compare_arms
from server.terms import check_names
from study.defaults import build
from study.protocol import ProtocolError
from tests.conftest import Consortium
from tests.intensive_care import intensive_network

__all__ = ["intensive_network"]  # a fixture

PLAIN = {
    "task__name": "mortality-24h",
    "model__name": "logistic",
    "privacy__epsilon": 0.0,
    "training__optimizer": "adam",
    "training__learning_rate": 0.02,
    "training__batch_patients": 16,
    "federation__rounds": 4,
}


@pytest.fixture
def wards(intensive_network, tmp_path):
    """Hospitals whose policies and ledgers a test may change."""
    import shutil

    shutil.copytree(intensive_network, tmp_path / "hospitals")
    return Consortium(tmp_path / "hospitals", tmp_path / "runs")


def test_a_plain_federation_learns_who_is_sick_and_says_so_with_intervals_and_sub_groups(wards):
    record = wards.conduct(**PLAIN)
    assert record["status"] == "completed", record["reason"]
    auroc = record["final"]["pooled"]["auroc"]
    assert auroc["value"] > 0.9
    assert auroc["low"] <= auroc["value"] <= auroc["high"]
    assert record["curve_metric"] == "auroc"
    assert record["curve"][-1]["score"] > record["curve"][0]["score"]
    assert {"sex: female", "sex: male"} <= record["final"]["groups"].keys()
    assert record["final"]["calibration"]
    assert record["baselines"]["local"]["sites"].keys() == record["final"]["sites"].keys()


@pytest.mark.parametrize("name", MODELS)
def test_every_model_trains_with_privacy_and_pays_no_more_than_asked(wards, name):
    record = wards.conduct(
        **PLAIN
        | {
            "model__name": name,
            "privacy__epsilon": 6.0,
            "privacy__delta": 0.001,
            "training__optimizer": "sgd",
            "federation__rounds": 1,
            "evaluation__local_baseline": False,
        }
    )
    assert record["status"] == "completed", record["reason"]
    assert all(0 < paid["statement"]["epsilon"] <= 6 for paid in record["privacy"].values())
    assert record["final"]["pooled"]["auroc"]["value"] is not None


def test_a_number_is_predicted_on_its_own_scale(wards):
    record = wards.conduct(**PLAIN | {"task__name": "kidney-function", "training__loss": "huber"})
    assert record["final"]["pooled"]["mae"]["value"] < 0.4  # two kidneys apart are 1.0
    assert record["final"]["pooled"]["r2"]["value"] > 0.4


def test_an_hourly_task_counts_every_hour_and_resamples_patients(wards):
    record = wards.conduct(**PLAIN | {"task__name": "aki", "model__name": "gru", "federation__rounds": 2})
    assert record["final"]["pooled"]["auroc"]["value"] > 0.8


def test_covered_releases_are_noised_and_charged(wards):
    record = wards.conduct(
        **PLAIN | {"privacy__epsilon": 8.0, "privacy__releases_epsilon": 4.0, "privacy__delta": 0.001}
    )
    assert record["status"] == "completed", record["reason"]
    for paid in record["privacy"].values():
        assert paid["statement"]["releases"] == 2  # judged, and judged alone
        assert paid["statement"]["epsilon"] <= 8
        assert not any("metrics" in what for what in paid["statement"]["not_covered"])
    assert record["final"]["noised"]
    assert record["final"]["groups"] == {}
    assert all(point["score"] is None for point in record["curve"])


def test_a_hospital_with_few_on_one_side_withholds_and_is_named(wards):
    for number in range(3):
        wards.edit_policy(number, "minimum_cell = 1", f"minimum_cell = {(1, 1, 9)[number]}")
    record = wards.conduct(**PLAIN | {"federation__rounds": 1})
    assert record["final"]["withheld"] == ["hospital-3"]
    assert set(record["final"]["sites"]) == {"hospital-1", "hospital-2"}


def test_hospitals_without_labels_refuse_with_the_tasks_they_have(wards):
    record = wards.conduct(**PLAIN | {"task__name": "sepsis"})
    assert record["status"] == "refused"
    assert (
        "has no labels for the task sepsis; it has labels for: aki, kidney-function, mortality-24h" in record["reason"]
    )


def test_a_comparison_shows_the_scores_of_outcomes(wards, tmp_path):
    changes = {key.replace("__", ".").replace("_", "-"): value for key, value in PLAIN.items()}
    comparison = Comparison(
        changes | {"federation.wait-seconds": 1.0, "evaluation.replicates": 0},
        wards.hospitals[0].parent,
        ("central", "federated", "local"),
        1,
        tmp_path / "comparison",
    )
    table = compare_arms(comparison)
    assert table.startswith("| arm | auroc | average precision |")
    kept = json.loads((tmp_path / "comparison" / "comparison.json").read_text(encoding="utf-8"))
    assert kept["variants"][0]["seeds"][0]["federated"]["auroc"] > 0.8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task.name": "kidney-function"}, "choose huber, mae, mse"),
        ({"task.name": "aki", "training.loss": "mse"}, "choose bce"),
        ({"model.name": "gru"}, "reads sequences"),
        ({"task.name": "mortality"}, "task.name = 'mortality' is unknown"),
        ({"task.name": "long-stay"}, "asks about admissions: the hourly grid holds none; choose events or text"),
        ({"task.name": "sepsis-vitals", "features.form": "events"}, "does not fit the task sepsis-vitals; choose grid"),
        ({"task.name": "aki", "task.beside": "sepsis-vitals"}, "see different variables of the grid"),
    ],
)
def test_a_model_or_loss_that_does_not_fit_the_task_is_refused_before_anything_starts(changes, said):
    with pytest.raises(ProtocolError, match=said):
        check_names(build(changes))


def test_a_guest_judges_what_the_others_made_and_never_trains(wards):
    record = wards.conduct(**PLAIN | {"federation__guest": "hospital-2"})
    assert all(set(entry["sites"]) == {"hospital-1", "hospital-3"} for entry in record["rounds"])
    assert set(record["final"]["sites"]) == {"hospital-2"}
    assert record["final"]["pooled"]["auroc"]["value"] > 0.9
    refused = wards.conduct(**PLAIN | {"federation__guest": "hospital-9"})
    assert refused["status"] == "refused"
    assert "there are hospital-1, hospital-2, hospital-3" in refused["reason"]


def test_a_guest_is_not_charged_for_training(wards):
    settings = {"privacy__epsilon": 6.0, "privacy__delta": 0.001, "training__optimizer": "sgd", "federation__rounds": 1}
    record = wards.conduct(**PLAIN | settings | {"federation__guest": "hospital-2"})
    paid = {name: cost["statement"]["steps"] for name, cost in record["privacy"].items()}
    assert paid["hospital-2"] == 0 < paid["hospital-1"]


def test_a_small_class_is_not_given_back_by_subtraction():
    import numpy as np

    from clients.prediction import shown_groups
    from clinical.asking.split import Split
    from clinical.learning import Questions
    from clinical.tasks.prediction import find_prediction_task

    def split(female, male, of_unknown_sex):
        """Patients, a third of whom died, by sex."""
        total = female + male + of_unknown_sex
        patient = np.arange(total)
        sex = np.repeat([0, 1, 2], [female, male, of_unknown_sex])
        answers = (patient % 3 == 0).astype(np.float32)
        groups = {"sex: female": sex == 0, "sex: male": sex == 1, "age: under 45": patient >= 0}
        return Split(Questions(np.zeros((total, 1)), answers, patient), None, answers, patient, groups)

    task = find_prediction_task("mortality-24h")
    everybody = {"sex: female", "sex: male", "age: under 45"}
    assert shown_groups(task, split(30, 30, 0), minimum=5).keys() == everybody
    assert shown_groups(task, split(30, 6, 0), minimum=5).keys() == {"age: under 45"}
    assert shown_groups(task, split(30, 30, 3), minimum=5).keys() == {"age: under 45"}
    assert shown_groups(task, split(30, 6, 30), minimum=5).keys() == {"sex: female", "age: under 45"}


EVENTS = {"features__form": "events", "features__events": 64, "evaluation__local_baseline": False}


@pytest.mark.parametrize("name", ["gru", "transformer", "ssm", "mlp-s"])
def test_a_model_trains_on_event_streams_with_privacy_and_pays_no_more_than_asked(wards, name):
    record = wards.conduct(
        **PLAIN
        | EVENTS
        | {
            "model__name": name,
            "privacy__epsilon": 6.0,
            "privacy__delta": 0.001,
            "training__optimizer": "sgd",
            "federation__rounds": 1,
        }
    )
    assert record["status"] == "completed", record["reason"]
    assert all(0 < paid["statement"]["epsilon"] <= 6 for paid in record["privacy"].values())
    assert record["final"]["pooled"]["auroc"]["value"] is not None


@pytest.mark.parametrize(("task", "name"), [("mortality-24h", "gru"), ("mortality-24h", "logistic"), ("aki", "gru")])
def test_event_streams_tell_who_is_sick(wards, task, name):
    record = wards.conduct(**PLAIN | EVENTS | {"task__name": task, "model__name": name, "federation__rounds": 3})
    assert record["final"]["pooled"]["auroc"]["value"] > 0.85
    assert {"sex: female", "sex: male"} <= record["final"]["groups"].keys()
    assert {site["encoder"] for site in record["sites"]} == {
        "the last 64 events by code, with time, with value, version 1"
    }


def test_a_state_in_words_tells_who_is_sick(wards):
    from clinical.notes import EncoderUnavailable, load_encoder

    try:
        load_encoder("")
    except EncoderUnavailable as missing:
        pytest.skip(str(missing))
    record = wards.conduct(**PLAIN | EVENTS | {"features__form": "text", "federation__rounds": 3})
    assert record["status"] == "completed", record["reason"]
    assert record["final"]["pooled"]["auroc"]["value"] > 0.85


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"task.name": "icd-coding", "features.form": "events"}, "reads notes: leave it 'grid'"),
        ({"task.name": "aki", "model.name": "gru", "features.form": "text"}, "has one row a moment"),
        ({"task.name": "aki", "features.form": "hours"}, "must be one of grid, events, text"),
        ({"task.name": "aki", "features.events": 8}, "must be at least 16"),
        ({"task.name": "aki", "features.variables": "crea potassium"}, "unknown variable 'potassium'; there are: alb"),
        ({"task.name": "aki", "features.form": "events", "features.variables": "crea"}, "variables of the hourly grid"),
        ({"features.variables": "crea"}, "leave it empty for icd-coding"),
        ({"task.beside": "aki"}, "leave it empty for icd-coding"),
        ({"task.name": "aki", "task.beside": "mortality"}, "task.beside = 'mortality' is unknown"),
        ({"task.name": "aki", "task.beside": "sepsis aki"}, "names a task twice"),
        ({"task.name": "aki", "task.beside": "kidney-function"}, "of another kind than those of task.name = 'aki'"),
        (
            {"task.name": "aki", "task.beside": "sepsis", "privacy.releases-epsilon": 1.0},
            "which privacy.releases-epsilon does not cover",
        ),
    ],
)
def test_features_that_do_not_fit_are_refused_before_anything_starts(changes, said):
    with pytest.raises(ProtocolError, match=said):
        check_names(build(changes))


@pytest.mark.parametrize("name", ["mlp-s", "gru"])
def test_one_model_learns_several_tasks_by_their_prompts(wards, name):
    settings = {"task__beside": "aki", "model__name": name, "federation__rounds": 6}
    record = wards.conduct(**PLAIN | settings)
    assert record["status"] == "completed", record["reason"]
    assert record["final"]["pooled"]["auroc"]["value"] > 0.85
    assert record["final"]["beside"].keys() == {"aki"}
    assert record["final"]["beside"]["aki"]["auroc"]["value"] > 0.8
    private = {"privacy__epsilon": 6.0, "privacy__delta": 0.001, "training__optimizer": "sgd", "federation__rounds": 1}
    record = wards.conduct(**PLAIN | settings | private)
    assert record["status"] == "completed", record["reason"]
    assert all(0 < paid["statement"]["epsilon"] <= 6 for paid in record["privacy"].values())


def test_a_policy_that_forbids_a_task_forbids_it_beside_another(wards):
    for number in range(3):
        wards.edit_policy(number, 'tasks = ["*"]', 'tasks = ["mortality-24h"]')
    record = wards.conduct(**PLAIN | {"task__beside": "aki"})
    assert record["status"] == "refused"
    assert "does not allow the task aki" in record["reason"]


def test_a_study_may_choose_the_variables_a_model_sees(wards):
    record = wards.conduct(**PLAIN | {"features__variables": "lact hr", "evaluation__local_baseline": False})
    assert record["final"]["pooled"]["auroc"]["value"] > 0.9
    assert {site["encoder"] for site in record["sites"]} == {"hr lact hourly variables on public scales, version 2"}
    blind = wards.conduct(**PLAIN | {"features__variables": "alb", "evaluation__local_baseline": False})
    assert blind["final"]["pooled"]["auroc"]["value"] < 0.7


def test_boosting_in_one_place_is_an_arm_of_a_comparison(wards, tmp_path):
    for task, loss in (("mortality-24h", "bce"), ("kidney-function", "huber")):
        changes = {"task.name": task, "training.loss": loss, "privacy.epsilon": 0.0}
        network, place = wards.hospitals[0].parent, tmp_path / task
        compare_arms(Comparison(changes, network, ("boosting",), 1, place))
        kept = json.loads((place / "comparison.json").read_text(encoding="utf-8"))
        scores = kept["variants"][0]["seeds"][0]["boosting"]
        assert scores["auroc"] > 0.9 if task == "mortality-24h" else scores["mae"] < 0.4
    with pytest.raises(ValueError, match="leave it out for icd-coding"):
        compare_arms(Comparison({}, wards.hospitals[0].parent, ("boosting",), 1, tmp_path / "coding"))
