"""Where a study covers its releases, counts and metrics leave with noise, are charged first, and the report says so."""

import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord

from clients import admission
from privacy.accounting import PoissonGaussian, certify
from privacy.ledger import Ledger
from reports.run import render
from study.protocol import ProtocolError
from tests.parcels import open_application

COVERED = {
    "privacy__epsilon": 8.0,
    "privacy__releases_epsilon": 6.0,
    "evaluation__local_baseline": False,
    "task__vocabulary": "",
}


@pytest.fixture
def vocabulary(tmp_path):
    """Codes agreed beforehand: 150 patients are too few for noisy counts to find any."""
    path = tmp_path / "vocabulary.txt"
    path.write_text("I10\nE11.9\nE78.5\nJ18.9\nN17.9\n", encoding="utf-8")
    return str(path)


def test_everything_that_left_was_charged_and_is_part_of_the_stated_epsilon(consortium, vocabulary):
    record = consortium.conduct(**COVERED | {"task__vocabulary": vocabulary})
    assert record["status"] == "completed"
    for hospital in consortium.hospitals:
        statement = record["privacy"][hospital.name]["statement"]
        with Ledger.open(hospital / "ledger.db") as ledger:
            charged = [entry.event for entry in ledger.entries() if entry.kind == "charge"]
        releases = [event for event in charged if event.sampling_rate == 1.0 and event.steps == 1]
        assert len(releases) == statement["releases"] == 3
        assert statement["epsilon"] == pytest.approx(certify(charged, delta=1e-4))
        assert statement["epsilon"] <= 8.0
        assert not any("metrics" in gap or "counts" in gap for gap in statement["not_covered"])


def test_no_exact_count_leaves_a_hospital(consortium, vocabulary):
    honest, seen = open_application(), []

    def listening(message, context):
        reply = honest(message, context)
        seen.append((message.metadata.message_type, reply.content))
        return reply

    consortium.conduct(listening, **COVERED | {"task__vocabulary": vocabulary})
    kinds = {kind for kind, _ in seen}
    assert {"query.admit", "train", "evaluate.tune", "evaluate.judge"} <= kinds
    for kind, content in seen:
        assert set(content.array_records) <= {"arrays", "noised"}, kind
        assert set(content.metric_records) <= {"metrics"}, kind
        assert "coding" not in content.config_records
        for record in content.array_records.get("noised", {}).values():
            assert not np.allclose(record.numpy(), np.rint(record.numpy()))


def test_the_record_and_its_page_say_what_is_noised_and_what_is_not_known(consortium, vocabulary):
    record = consortium.conduct(**COVERED | {"task__vocabulary": vocabulary})
    assert record["final"]["noised"] is True
    assert record["final"]["pooled"]["macro_f1"]["value"] is None
    assert record["final"]["pooled"]["micro_f1"]["low"] is None
    assert all(row["positives"] is None for row in record["final"]["codes"])
    assert all(site["coding"] is None for site in record["sites"])
    page = render(record)
    assert "These scores carry noise" in page
    assert "covers counts and metrics too" in page


def test_a_release_beyond_the_reservation_is_refused_by_the_ledger(consortium, vocabulary):
    honest, judged = open_application(), []

    def asking_twice(message, context):
        if message.metadata.message_type == "evaluate.judge":
            replies = [honest(message, context) for _ in range(3)]
            judged.extend(reply.content.config_records["verdict"]["status"] for reply in replies)
        return honest(message, context)

    record = consortium.conduct(asking_twice, **COVERED | {"task__vocabulary": vocabulary})
    assert judged.count("ok") == 3  # one for each hospital; what was asked again never left
    assert record["status"] == "failed"


def test_noisy_sums_that_are_no_numbers_end_the_study_and_are_never_pooled(consortium, vocabulary):
    honest = open_application()

    def spoiling(message, context):
        reply = honest(message, context)
        if message.metadata.message_type == "evaluate.tune" and context.node_id == 2:
            sums = reply.content.array_records["noised"]["sums"].numpy()
            reply.content["noised"] = ArrayRecord({"sums": Array(np.full_like(sums, np.nan))})
        return reply

    with pytest.raises(ValueError, match="not finite"):
        consortium.conduct(spoiling, **COVERED | {"task__vocabulary": vocabulary})
    (folder,) = consortium.runs.iterdir()
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"] == "failed"


def test_a_hospital_without_room_for_the_releases_keeps_no_part_of_the_reservation(consortium, vocabulary):
    study = consortium.study(**COVERED | {"task__vocabulary": vocabulary})
    planned = admission.plan(study, 40)
    wanted = planned.reservations(study, "run")
    assert list(wanted) == ["run", "run/releases"]
    assert wanted["run/releases"] == PoissonGaussian(1.0, planned.release_noise, 3)
    consortium.edit_policy(0, "epsilon_ceiling = 1000.0", "epsilon_ceiling = 8.5")
    first = consortium.conduct(**COVERED | {"task__vocabulary": vocabulary})
    assert len(first["sites"]) == 3
    second = consortium.conduct(**COVERED | {"task__vocabulary": vocabulary})
    assert "ledger has no room" in second["absences"][0]["reason"]
    with Ledger.open(consortium.hospitals[0] / "ledger.db") as ledger:
        assert ledger.spent(delta=1e-4, include_reserved=True) <= 8.5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"privacy__releases_epsilon": 8.0}, "must be below privacy.epsilon"),
        ({"privacy__epsilon": 0.0}, "must be below privacy.epsilon"),
        ({"evaluation__threshold": "macro"}, "needs counts by code"),
        ({"federation__keep": "best"}, "score after every round"),
    ],
)
def test_what_covered_releases_cannot_give_is_refused(consortium, changes, said):
    with pytest.raises(ProtocolError, match=said):
        consortium.study(**COVERED | changes)
