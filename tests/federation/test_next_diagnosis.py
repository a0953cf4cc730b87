"""The groups of diagnoses of the next admission, learnt by a consortium from the events before the discharge."""

import shutil
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinical.asking.discharges import read_discharges, read_rows
from clinical.code_groups import group_title, list_groups
from clinical.cohorts.derivation import derive_labels
from clinical.events import ProfileError, write_splits
from clinical.features.form import Form
from clinical.labels import CODE_LABEL_SCHEMA, read_labels, write_labels
from clinical.networks import list_hospitals
from clinical.site_policy import SIMULATED_POLICY
from clinical.tasks import NEXT_DIAGNOSIS
from privacy.ledger import Ledger
from reports.card import render_markdown
from reports.run import render
from server.compare import Comparison, compare_arms
from server.terms import check_names
from study.defaults import build
from study.protocol import ProtocolError
from tests.clinical.cohorts.worlds import START, admission, event, hospital_of
from tests.conftest import Consortium

EVENTS = Form("events", events=64)
PLAIN = {
    "task__name": NEXT_DIAGNOSIS,
    "task__minimum_documents": 6,
    "features__form": "events",
    "features__events": 64,
    "privacy__epsilon": 0.0,
    "training__optimizer": "adam",
    "training__learning_rate": 0.005,
    "training__batch_patients": 16,
    "training__local_epochs": 4.0,
    "evaluation__local_baseline": False,
}
PRIVATE = {"privacy__epsilon": 6.0, "privacy__delta": 0.001, "training__optimizer": "sgd", "federation__rounds": 1}


@pytest.fixture(scope="module")
def followed(tmp_path_factory):
    """A simulated network whose hospitals derived their labels; the last one codes in ICD-9-CM."""
    from clinical.simulation import simulate_network

    folder = tmp_path_factory.mktemp("followed") / "hospitals"
    simulate_network(folder, hospitals=3, patients=480, seed=5)
    for hospital in list_hospitals(folder):
        derive_labels(hospital, [NEXT_DIAGNOSIS])
        policy = SIMULATED_POLICY.replace("minimum_patients = 20", "minimum_patients = 10")
        (hospital / "policy.toml").write_text(policy.replace("minimum_cell = 5", "minimum_cell = 3"), encoding="utf-8")
    return folder


@pytest.fixture
def wards(followed, tmp_path):
    shutil.copytree(followed, tmp_path / "hospitals")
    return Consortium(tmp_path / "hospitals", tmp_path / "runs")


def test_a_federation_learns_the_groups_of_the_next_admission_and_names_who_counts_in_others(wards):
    record = wards.conduct(**PLAIN)
    assert record["status"] == "completed", record["reason"]
    assert record["curve"][-1]["score"] > record["curve"][0]["score"]
    assert record["vocabulary"]["system"] == "CCSR"
    codes = [entry["code"] for entry in record["vocabulary"]["codes"]]
    assert codes
    assert set(codes) <= set(list_groups("icd10"))
    assert all(entry["title"].startswith("such as: ") for entry in record["vocabulary"]["codes"])
    (absent,) = record["absences"]
    assert "no label of next-diagnosis has a group of CCSR" in absent["reason"]
    assert "they have CCS (task.codes = 'icd9')" in absent["reason"]
    assert {site["documents"] for site in record["sites"]} == {
        len(read_labels(hospital, NEXT_DIAGNOSIS)) for hospital in wards.hospitals[:2]
    }
    page, card = render(record), render_markdown(record)
    assert "discharges of another system" in page
    assert f"{len(codes)} groups of CCSR" in card
    assert "words" not in card.split("## Intended use")[0]
    _audit(wards, Path(record["folder"]))


def _audit(wards, folder):
    """What an audit reads of such a run: its discharges by patient, and no notes."""
    from clients.audit.pool import gather
    from clients.audit.subject import find_hospitals, read_run
    from clients.audit.trained import load_trained

    run = read_run(folder)
    pool = gather(run, find_hospitals(run, wards.hospitals[:1], []))
    assert pool.member.any()
    assert not any(name.startswith("notes") for name in pool.groups)
    with pytest.raises(ValueError, match="the task next-diagnosis has none"):
        load_trained(folder)


def test_with_privacy_no_hospital_pays_more_than_was_asked(wards):
    record = wards.conduct(**PLAIN | PRIVATE)
    assert record["status"] == "completed", record["reason"]
    assert all(0 < paid["statement"]["epsilon"] <= 6 for paid in record["privacy"].values())


def test_covered_counts_are_noised_over_every_group_there_is_and_charged(wards, tmp_path):
    frozen = tmp_path / "vocabulary.txt"
    frozen.write_text("CCSR//CIR007\nCCSR//CIR019\n", encoding="utf-8")
    covered = {"privacy__releases_epsilon": 4.0, "task__vocabulary": str(frozen)}
    record = wards.conduct(**PLAIN | PRIVATE | covered)
    assert record["status"] == "completed", record["reason"]
    assert record["final"]["noised"]
    assert [site["documents"] for site in record["sites"]] == [None, None]
    assert "not said: the study covers its releases" in render(record)
    for hospital in wards.hospitals[:2]:
        with Ledger.open(hospital / "ledger.db") as ledger:
            charged = [entry.event for entry in ledger.entries() if entry.kind == "charge"]
        assert sum(each.sampling_rate == 1.0 for each in charged) == 3


def test_hospitals_of_the_other_version_are_a_study_of_their_own(wards):
    last = Consortium(wards.hospitals[0].parent, wards.runs)
    last.hospitals = wards.hospitals[2:]
    record = last.conduct(**PLAIN | {"task__codes": "icd9", "task__minimum_documents": 3, "federation__quorum": 1})
    assert record["status"] == "completed", record["reason"]
    assert record["vocabulary"]["system"] == "CCS"
    assert all(entry["title"] == group_title(entry["code"]) for entry in record["vocabulary"]["codes"])


def test_a_hospital_without_labels_says_how_it_gets_them(wards):
    for hospital in wards.hospitals:
        shutil.rmtree(hospital / "labels")
    record = wards.conduct(**PLAIN)
    assert record["status"] == "refused"
    assert "has no labels for the task next-diagnosis" in record["reason"]
    assert "wardround data label" in record["reason"]


def test_a_vocabulary_nobody_can_fill_is_a_failure_with_a_reason(wards):
    record = wards.conduct(**PLAIN | {"task__minimum_documents": 100_000})
    assert record["status"] == "failed"
    assert "no code of CCSR has 100000 documents" in record["reason"]


def test_central_and_federated_are_compared_over_one_vocabulary(wards, tmp_path):
    changes = {key.replace("__", ".").replace("_", "-"): value for key, value in PLAIN.items()}
    small = {"federation.wait-seconds": 1.0, "federation.rounds": 1, "evaluation.replicates": 0}
    arms = ("central", "federated")
    comparison = Comparison(changes | small, wards.hospitals[0].parent, arms, 1, tmp_path / "comparison")
    table = compare_arms(comparison)
    assert table.startswith("| arm | micro f1 |")
    assert "not known" not in table


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features.form": "grid"}, "the hourly grid does not hold admissions: choose events or text"),
        ({"model.name": "gru"}, "has one row a discharge: choose logistic"),
        ({"model.warm-start": "titles"}, "needs task.name = 'icd-coding'"),
        ({"training.loss": "mse"}, "choose bce"),
        ({"task.beside": "aki"}, "leave it empty for next-diagnosis"),
        ({"features.variables": "crea"}, "variables of the hourly grid"),
        ({"privacy.canaries": 10}, "needs task.name = 'icd-coding'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_starts(changes, said):
    with pytest.raises(ProtocolError, match=said):
        check_names(build({"task.name": NEXT_DIAGNOSIS, "features.form": "events"}, changes))


def test_boosting_is_no_arm_of_it(tmp_path):
    changes = {"task.name": NEXT_DIAGNOSIS, "features.form": "events"}
    with pytest.raises(ValueError, match="leave it out for next-diagnosis"):
        compare_arms(Comparison(changes, None, ("boosting",), 1, tmp_path))


def returning(*, at=100, hadm=12):
    """An admission of 50 hours, and another with a diagnosis."""
    first = [*admission(1, 11, 50), event(1, 3, "LAB//Sodium//mmol/L", 140.0, hadm=11)]
    again = [*admission(1, hadm, 40, at=at), event(1, at + 40, "DIAG//ICD10CM//I50.22", hadm=hadm)]
    return first, again


def rows_of(folder, *groups, labels=None):
    hospital = hospital_of(folder, *groups)
    write_splits(hospital, {1: "train"})
    if labels is None:
        derive_labels(hospital, [NEXT_DIAGNOSIS])
    else:
        write_labels(hospital, NEXT_DIAGNOSIS, labels)
    discharges, _ = read_discharges(hospital, system="icd10")
    return discharges, read_rows(hospital, discharges, EVENTS)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hour=st.floats(0, 200), code=st.sampled_from(["DIAG//ICD10CM//E11.9", "LAB//Sodium//mmol/L", "ICU//IN"]))
def test_nothing_of_the_next_admission_is_seen_whatever_time_it_says(tmp_path_factory, hour, code):
    folder = tmp_path_factory.mktemp("next")
    plain, seen = rows_of(folder / "a", *returning())
    planted = [event(1, hour, code, 1.0, hadm=12)]
    _, changed = rows_of(folder / "b", *returning(), planted, labels=read_labels(folder / "a", NEXT_DIAGNOSIS))
    assert plain.codes == [("CCSR//CIR019",)]
    np.testing.assert_array_equal(seen, changed)


def test_an_admission_that_begins_the_moment_another_ends_is_not_seen_at_its_end(tmp_path):
    discharges, later = rows_of(tmp_path / "a", *returning(at=100))
    same, at_once = rows_of(tmp_path / "b", *returning(at=50))
    assert same.time.tolist() == discharges.time.tolist()
    np.testing.assert_array_equal(later, at_once)


def test_what_was_known_at_the_discharge_is_seen(tmp_path):
    _, plain = rows_of(tmp_path / "a", *returning())
    known = [event(1, 20, "DIAG//ICD10CM//N17.9", hadm=11)]
    _, more = rows_of(tmp_path / "b", *returning(), known)
    assert (plain != more).any()


def test_rows_stand_by_their_codes_and_groups_of_another_system_are_counted(tmp_path):
    first, again = returning()
    hospital = hospital_of(tmp_path / "h", first, again, admission(1, 13, 5, at=300))
    write_splits(hospital, {1: "tuning"})
    asked = [(305, ["CCS//108"], 13), (140, ["CCSR//END002", "CCS//50"], 12), (50, ["CCSR//CIR019"], None)]
    rows = [(1, START + timedelta(hours=hour), codes, number) for hour, codes, number in asked]
    told = [dict(zip(CODE_LABEL_SCHEMA.names, row, strict=True)) for row in rows]
    write_labels(hospital, NEXT_DIAGNOSIS, pa.Table.from_pylist(told, schema=CODE_LABEL_SCHEMA))
    discharges, report = read_discharges(hospital, system="icd10")
    assert discharges.codes == [("CCSR//CIR019",), ("CCSR//END002",)]
    assert discharges.hadm_id.tolist() == [-1, 12]
    assert discharges.split == ["tuning", "tuning"]
    assert (report.documents, report.patients) == (2, 1)
    assert (report.discharges_in_other_system, report.groups_in_other_system) == (1, 2)
    assert len(read_rows(hospital, discharges, EVENTS)) == 2


def test_labels_of_nobody_and_splits_without_a_patient_are_refused(tmp_path):
    hospital = hospital_of(tmp_path / "h", *returning())
    derive_labels(hospital, [NEXT_DIAGNOSIS])
    write_splits(hospital, {2: "train"})
    with pytest.raises(ProfileError, match="the splits lack 1 patients"):
        read_discharges(hospital, system="icd10")
    write_labels(hospital, NEXT_DIAGNOSIS, CODE_LABEL_SCHEMA.empty_table())
    with pytest.raises(ProfileError, match="nobody was admitted again"):
        read_discharges(hospital, system="icd10")
