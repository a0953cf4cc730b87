"""`wardround data label`: what is written and counted, what cannot be derived and why, and labels that must stay."""

import json

import pyarrow as pa
import pytest

from clinical.cohorts import LABELLERS
from clinical.cohorts.derivation import derive_labels, find_obstacles, label_shards
from clinical.events import HospitalWriter, ProfileError
from clinical.labels import list_labels, read_code_labels, read_labels, select_patients, write_labels
from clinical.merge import merge_hospitals
from clinical.networks import list_hospitals
from clinical.partition import partition_hospital, split_hospital
from clinical.sources.receipt import TIMES_ASSUMED
from clinical.tasks import NEXT_DIAGNOSIS, TASKS, asks_about_admissions
from tests.clinical.cohorts.test_leakage import complete
from tests.clinical.cohorts.worlds import CREATININE, admission, answers, event, hospital_of, stay, table_of

pytestmark = pytest.mark.filterwarnings("ignore:'click.utils:DeprecationWarning")


def run(*arguments):
    from typer.testing import CliRunner

    from clinical.commands import app

    return CliRunner().invoke(app, ["label", *(str(argument) for argument in arguments)], catch_exceptions=True)


def test_every_task_with_an_outcome_but_coding_can_be_derived_and_no_other():
    assert set(LABELLERS) == set(TASKS) - {"icd-coding", "synthesis"}


def test_everything_the_events_allow_is_derived_with_a_receipt_that_adds_up(tmp_path):
    hospital = hospital_of(tmp_path / "h", complete(1), complete(2), stay(3, 3, 5))
    result = run(hospital)
    assert result.exit_code == 0, result.output
    assert list_labels(hospital) == sorted(LABELLERS)
    assert "mortality-24h: 3 stays, 1 left out (1 shorter than 6 hours), 2 asked" in result.stdout
    for task in LABELLERS:
        receipt = json.loads((hospital / "labels" / f"{task}.json").read_text())
        assert receipt["found"] == receipt["asked"] + sum(receipt["excluded"].values())
        assert receipt["moments"] == len(read_labels(hospital, task))
    assert json.loads((hospital / "labels" / "readmission-30d.json").read_text())["yes"] == 2


def test_what_is_missing_is_said_for_each_task_and_the_rest_is_derived(tmp_path):
    hospital = hospital_of(tmp_path / "h", stay(1, 10, 50))
    result = run(hospital)
    assert list_labels(hospital) == ["long-stay", "mortality-24h", "readmission-30d", "remaining-stay"]
    assert "aki: cannot be derived: its events have no Creatinine" in result.stdout
    assert "sepsis: cannot be derived: its events have no antibiotics" in result.stdout
    refused = run(hospital, "--task", "aki")
    assert isinstance(refused.exception, ProfileError)
    assert "its events have no Creatinine" in str(refused.exception)


def test_a_definition_that_has_to_do_without_something_says_so(tmp_path):
    hospital = hospital_of(tmp_path / "h", stay(1, 10, 50), [event(1, 3, CREATININE, 1.0, stay=10)])
    assert "aki: derived without urine, which this hospital does not record" in run(hospital, "--task", "aki").stdout


def test_stays_without_numbers_are_named_as_the_obstacle(tmp_path):
    hospital = hospital_of(tmp_path / "h", [row | {"stay_id": None} for row in stay(1, 10, 50)])
    assert find_obstacles(hospital)["mortality-24h"] == "its intensive-care stays have no stay_id"


def test_assumed_times_refuse_what_lies_between_visits(tmp_path):
    hospital = hospital_of(tmp_path / "h", complete(1), source=f"somewhere, {TIMES_ASSUMED}")
    obstacles = find_obstacles(hospital)
    assert {task for task, why in obstacles.items() if why} == {"readmission-30d", NEXT_DIAGNOSIS}
    assert "the times between its visits are assumed" in obstacles["readmission-30d"]


def test_labels_that_are_there_stay_unless_they_are_to_be_replaced(tmp_path):
    hospital = hospital_of(tmp_path / "h", stay(1, 10, 50))
    derive_labels(hospital, ["mortality-24h"])
    brought = read_labels(hospital, "mortality-24h").set_column(2, "boolean_value", pa.array([True]))
    write_labels(hospital, "mortality-24h", brought)
    (hospital / "labels" / "mortality-24h.json").unlink()
    assert "mortality-24h: has labels already" in run(hospital).stdout
    refused = run(hospital, "--task", "mortality-24h")
    assert "derive them again with --replace" in str(refused.exception)
    assert answers(read_labels(hospital, "mortality-24h")) == {(10, 24.0): True}
    assert "mortality-24h: has labels, brought along; can be derived" in run(hospital, "--list").stdout
    assert run(hospital, "--task", "mortality-24h", "--replace").exit_code == 0
    assert answers(read_labels(hospital, "mortality-24h")) == {(10, 24.0): False}
    assert "mortality-24h: has labels, derived here" in run(hospital, "--list").stdout


def test_an_unknown_task_is_answered_with_those_there_are(tmp_path):
    hospital = hospital_of(tmp_path / "h", stay(1, 10, 50))
    refused = run(hospital, "--task", "mortality")
    assert "there are: mortality-24h, aki" in str(refused.exception)


def test_nobody_to_ask_is_said_and_writes_nothing(tmp_path):
    hospital = hospital_of(tmp_path / "h", admission(1, 10, 20))
    assert "long-stay: nobody is left to ask, so no labels were written" in run(hospital, "--task", "long-stay").stdout
    assert list_labels(hospital) == []


def test_labels_do_not_depend_on_how_patients_lie_in_shards(tmp_path):
    everybody = [complete(number) for number in range(1, 5)]
    everybody[3] = stay(4, 4, 60)  # a patient without cultures or drugs may stand alone in a shard
    whole = hospital_of(tmp_path / "a", *everybody)
    with HospitalWriter(tmp_path / "b", site_id="h", source="test", limit_bytes=1) as writer:
        for events in everybody:
            writer.append(table_of(events))
    assert len(list((tmp_path / "b" / "data").glob("*.parquet"))) > 1
    order = [("subject_id", "ascending"), ("prediction_time", "ascending")]
    together, apart = (label_shards(hospital, list(LABELLERS)) for hospital in (whole, tmp_path / "b"))
    for task, labels in together.items():
        assert labels.sort_by(order).equals(apart[task].sort_by(order))


def test_labels_of_admissions_move_with_admission_numbers(tmp_path):
    hospitals = [hospital_of(tmp_path / name, complete(1), complete(2)) for name in ("a", "b")]
    for hospital in hospitals:
        split_hospital(hospital, seed=0)
        derive_labels(hospital, ["long-stay", "mortality-24h", NEXT_DIAGNOSIS])
    merge_hospitals(hospitals, tmp_path / "all")
    again = label_shards(tmp_path / "all", ["long-stay", "mortality-24h", NEXT_DIAGNOSIS])
    for task, labels in again.items():
        moved = read_labels(tmp_path / "all", task).to_pylist()
        assert sorted(map(str, moved)) == sorted(map(str, labels.to_pylist()))
        assert asks_about_admissions(task) is (task != "mortality-24h")


def test_code_labels_travel_with_their_patients(tmp_path):
    hospital = hospital_of(tmp_path / "h", *(complete(number) for number in range(1, 9)))
    derive_labels(hospital, [NEXT_DIAGNOSIS, "mortality-24h"])
    partition_hospital(hospital, tmp_path / "net", method="iid", hospitals=2, seed=0, minimum_patients=1)
    parts = [read_code_labels(part, NEXT_DIAGNOSIS) for part in list_hospitals(tmp_path / "net")]
    assert sum(map(len, parts)) == 8
    assert {tuple(row["codes"]) for part in parts for row in part.to_pylist()} == {("CCSR//CIR019",)}
    (tmp_path / "some").mkdir()
    select_patients(hospital, [1, 2], into=tmp_path / "some")
    assert read_code_labels(tmp_path / "some", NEXT_DIAGNOSIS)["subject_id"].to_pylist() == [1, 2]
    with pytest.raises(ProfileError, match="the labels of mortality-24h are single values"):
        read_code_labels(hospital, "mortality-24h")
