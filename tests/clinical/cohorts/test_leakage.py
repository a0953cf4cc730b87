"""What a model sees of a question does not depend on anything later, nor on an event that tells its answer."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinical.cohorts import LABELLERS
from clinical.cohorts.derivation import derive_labels
from clinical.events import read_events
from clinical.features.hourly import read_stays
from clinical.labels import read_labels, write_labels
from clinical.tasks import NEXT_DIAGNOSIS
from clinical.tasks.prediction import PREDICTION_TASKS
from clinical.tasks.sight import DISCHARGE_SIGHT
from tests.clinical.cohorts.worlds import START, admission, answers, event, hospital_of, record_of, stay

GRID = [name for name, task in PREDICTION_TASKS.items() if "grid" in task.forms]
ADMISSIONS = [name for name in LABELLERS if name not in GRID]
SIGHT = {name: task.sight for name, task in PREDICTION_TASKS.items()} | {NEXT_DIAGNOSIS: DISCHARGE_SIGHT}
MEASURED = (
    "LAB//Creatinine//mg/dL", "LAB//Platelets//10^9/L", "LAB//Bilirubin//mg/dL", "LAB//pO2//mmHg",
    "VITAL//Mean arterial pressure//mmHg", "VITAL//Fraction of inspired oxygen//%", "VITAL//GCS Total//points",
    "VITAL//Temperature//C", "VITAL//Respiratory rate//1/min", "VITAL//Systolic blood pressure//mmHg",
    "VITAL//Oxygen saturation//%", "INFUSION//Norepinephrine//mcg/kg/min", "VITAL//Ventilator Mode//",
    "GIVEN//Vancomycin", "MICRO//TAKEN//BLOOD CULTURE", "OUTPUT//Foley//mL",
)  # fmt: skip
# what tells the answer of each task, should a source give it too early a time
TELLING = {
    "mortality-24h": ("DEATH", "VISIT//TO//DEAD/EXPIRED", "DISCHARGE"),
    "aki": ("DIAG//ICD10CM//N17.9", "PROC//ICD10PCS//5A1D70Z"),
    "sepsis": ("DIAG//ICD10CM//A41.9", "MICRO//FOUND//BLOOD CULTURE//STAPH AUREUS"),
    "sepsis-vitals": ("DIAG//ICD10CM//A41.9", "GIVEN//Vancomycin", "LAB//Lactate//mmol/L"),
    "kidney-function": ("DIAG//ICD10CM//N18.6", "DRG//HCFA//683"),
    "remaining-stay": ("ICU//OUT", "DISCHARGE", "DEATH"),
    "long-stay": ("DISCHARGE", "VISIT//TO//REHAB", "DEATH", "DIAG//ICD10CM//I50.22", "DRG//HCFA//291"),
    "readmission-30d": ("DEATH", "OBSERVATION_PERIOD//END"),
    "next-diagnosis": ("DEATH", "OBSERVATION_PERIOD//END"),
}
later = st.lists(st.tuples(st.floats(0.01, 40), st.sampled_from(MEASURED), st.floats(0.1, 300)), max_size=8)


def complete(number):
    """A stay of 60 hours with every measurement a label needs, and a return with a diagnosis."""
    events = stay(number, number, 60)
    events += [event(number, 2.5 + n / 10, code, 30.0, stay=number) for n, code in enumerate(MEASURED) if n]
    events += [event(number, hour, MEASURED[0], 1.0, stay=number) for hour in (2, 12, 30, 40)]
    events += admission(number, number * 10 + 1, 50, at=300)
    return [*events, event(number, 350, "DIAG//ICD10CM//I50.22", hadm=number * 10 + 1)]


@pytest.mark.parametrize("name", GRID)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=later, hour=st.integers(24, 40))
def test_no_row_of_the_grid_changes_when_the_future_does(tmp_path_factory, name, changes, hour):
    task = PREDICTION_TASKS[name]
    folder = tmp_path_factory.mktemp("leak")
    future = [event(1, hour + after, code, value, stay=1) for after, code, value in changes]
    worlds = [
        hospital_of(folder / "a", complete(1), complete(2)),
        hospital_of(folder / "b", complete(1), complete(2), future),
    ]
    for world in worlds:
        derive_labels(world, [name])
    plain, planted = (read_stays(world, task) for world in worlds)
    asked = [{key: (~np.isnan(row)).nonzero()[0] for key, row in zip(each.stay_id, each.labels, strict=True)}
             for each in (plain, planted)]  # fmt: skip
    for number in set(asked[0]) & set(asked[1]):
        both = np.intersect1d(asked[0][number], asked[1][number])
        until = min(hour, both.max(initial=0)) + 1
        seen = [each.sequences()[each.stay_id == number][0, :until] for each in (plain, planted)]
        np.testing.assert_array_equal(*seen)


@pytest.mark.parametrize("name", GRID)
def test_an_event_that_tells_the_answer_too_early_is_not_on_the_grid(tmp_path, name):
    task = PREDICTION_TASKS[name]
    plain = hospital_of(tmp_path / "a", complete(1))
    leak = [event(1, 3, code, 1.0, stay=1, hadm=10) for code in TELLING[name]]
    planted = hospital_of(tmp_path / "b", complete(1), leak)
    derive_labels(plain, [name])
    write_labels(planted, name, read_labels(plain, name))  # the same questions of both
    np.testing.assert_array_equal(read_stays(plain, task).sequences(), read_stays(planted, task).sequences())
    if name != "sepsis-vitals":  # whose grid is narrower than what its sight lets through
        assert not task.sees(TELLING[name]).any()


def visible(hospital, name):
    """What may be seen of each question: code, time and value of the events up to it that the task shows."""
    seen = {}
    events = read_events(hospital).to_pylist()
    for asked in read_labels(hospital, name).to_pylist():
        key = (asked["subject_id"], asked["stay_id"], asked["prediction_time"])
        own = [row for row in events if row["subject_id"] == key[0] and row["time"] and row["time"] <= key[2]]
        now = np.array([row["hadm_id"] == key[1] for row in own])
        shown = SIGHT[name].sees([row["code"] for row in own], now)
        told = [(row["time"], row["code"], row["numeric_value"]) for row, yes in zip(own, shown, strict=True) if yes]
        seen[key] = sorted(told, key=str)
    return seen


@pytest.mark.parametrize("name", ADMISSIONS)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=later, back=st.floats(1, 2000))
def test_what_an_admission_shows_does_not_change_when_the_future_does(tmp_path_factory, name, changes, back):
    asked_at = 22 if name == "long-stay" else 84  # 24 hours after the admission at -2; the discharge
    folder = tmp_path_factory.mktemp("leak")
    future = [event(1, asked_at + after, code, value) for after, code, value in changes]
    again = admission(1, 12, 40, at=asked_at + back)
    moved = [event(1, asked_at + back + 40, "DIAG//ICD10CM//E11.9", hadm=12), event(1, 5000, "DEATH")]
    worlds = [hospital_of(folder / "a", complete(1)), hospital_of(folder / "b", complete(1), future, again, moved)]
    for world in worlds:
        derive_labels(world, [name])
    plain, planted = (visible(world, name) for world in worlds)
    first = [key for key in plain if key[1] == 10]
    assert first
    assert [planted[key] for key in first] == [plain[key] for key in first]


@pytest.mark.parametrize("name", ADMISSIONS)
def test_an_event_that_tells_an_admissions_answer_too_early_is_not_shown(tmp_path, name):
    plain = hospital_of(tmp_path / "a", complete(1))
    derive_labels(plain, [name])
    leak = [event(1, 3, code, 1.0, hadm=10) for code in TELLING[name]]
    planted = hospital_of(tmp_path / "b", complete(1), leak)
    write_labels(planted, name, read_labels(plain, name))
    key = (1, 10, START + timedelta(hours=22 if name == "long-stay" else 84))
    assert visible(planted, name)[key] == visible(plain, name)[key]


def test_what_ended_earlier_admissions_is_history_and_may_be_seen():
    codes = ["DIAG//ICD10CM//I50.22", "DISCHARGE", "DEATH"]
    assert SIGHT["long-stay"].sees(codes, np.array([False, False, False])).tolist() == [True, True, False]
    assert SIGHT["readmission-30d"].sees(codes).tolist() == [True, True, False]


@pytest.mark.parametrize(("name", "hour"), [("mortality-24h", 24), ("readmission-30d", 84)])
def test_the_answer_comes_from_after_the_question(name, hour):
    """A record that ends with the question holds no yes."""
    yes = [*complete(1), event(1, 70, "DEATH")] if name == "mortality-24h" else complete(1)
    assert any(answers(LABELLERS[name].label(record_of(yes)).labels).values())
    cut = [row for row in yes if row["time"] <= START + timedelta(hours=hour)]
    assert not any(answers(LABELLERS[name].label(record_of(cut)).labels).values())
