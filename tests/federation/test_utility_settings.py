"""Settings that buy utility: each does what it says, in the application as it is shipped."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from server.terms import check_names
from study.parcels import open_parcel
from study.protocol import ProtocolError
from tests.parcels import open_application

ONE = {"evaluation__local_baseline": False, "federation__rounds": 1}


def listening(seen):
    """The hospitals' application, with an ear on the models that come to be trained."""
    honest = open_application()

    def answer(message, context):
        if message.metadata.message_type == "train" and context.node_id == 2:
            arrays = open_parcel(message).content.array_records["arrays"]
            seen.append({name: array.numpy() for name, array in arrays.items()})
        return honest(message, context)

    return answer


def test_the_first_model_is_sent_with_the_titles_of_the_codes_in_it(consortium, tmp_path):
    from clinical.notes import load_encoder
    from clinical.warm_start import title_rows

    seen = []
    record = consortium.conduct(listening(seen), **ONE | {"model__name": "linear", "model__warm_start": "titles"})
    codes = [row["code"] for row in record["vocabulary"]["codes"]]
    rows = title_rows(codes, ("ICD10CM", "ICD10PCS"), load_encoder(""), side_car=tmp_path)
    (weight,) = [array for name, array in seen[0].items() if name.endswith("weight")]
    assert weight == pytest.approx(rows, abs=1e-6)
    assert rows.any(axis=1).all()


def test_a_coordinator_with_another_encoder_ends_the_study_with_that_reason(consortium):
    honest = open_application()

    def elsewhere(message, context):
        reply = honest(message, context)
        if message.metadata.message_type == "query.admit":
            reply.content.config_records["verdict"]["encoder"] = "another@1"
        return reply

    record = consortium.conduct(elsewhere, **ONE | {"model__warm_start": "titles"})
    assert record["status"] == "failed"
    assert "needs the hospitals' encoder another@1" in record["reason"]


def test_the_study_ends_with_the_mean_of_the_second_half(consortium):
    seen = []
    settings = {"training__average": "tail", "federation__rounds": 4, "evaluation__local_baseline": False}
    record = consortium.conduct(listening(seen), **settings)
    final = load_file(f"{record['folder']}/model.safetensors")
    assert len(seen) == 4  # the models before rounds 1 to 4; the one after round 4 is not sent again
    for name, array in final.items():
        after_fourth = 2 * array - seen[3][name]
        assert np.isfinite(after_fourth).all()
        assert not np.allclose(array, seen[3][name], atol=1e-6)
    assert record["kept_round"] == 4


def test_the_mean_of_the_tail_is_nearer_to_each_model_than_they_are_to_each_other(consortium):
    record = consortium.conduct(training__average="tail", federation__rounds=2, evaluation__local_baseline=True)
    assert record["status"] == "completed"
    assert record["baselines"]["local"]["pooled"]["micro_f1"]["value"] is not None


def test_clipping_per_layer_is_another_step_under_the_same_guarantee(consortium):
    settings = ONE | {"privacy__reproducible_noise": True, "privacy__epsilon": 8.0}
    flat = consortium.conduct(**settings)
    layered = consortium.conduct(**settings | {"privacy__clip_per_layer": True})
    paid = [record["privacy"]["hospital-1"]["statement"] for record in (flat, layered)]
    assert paid[0]["epsilon"] == paid[1]["epsilon"]
    models = [load_file(f"{record['folder']}/model.safetensors") for record in (flat, layered)]
    assert any(not np.array_equal(models[0][name], models[1][name]) for name in models[0])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training__average": "tail", "federation__keep": "best"}, "choose keep = 'last'"),
        ({"model__warm_start": "titles", "model__name": "logistic"}, "one of the models linear, mlp-s"),
        ({"model__warm_start": "titles", "task__name": "mortality-24h"}, "needs task.name = 'icd-coding'"),
        ({"model__warm_start": "somewhere"}, "one of none, titles"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_before_anything_starts(consortium, changes, said):
    with pytest.raises(ProtocolError, match=said):
        check_names(consortium.study(**changes))
