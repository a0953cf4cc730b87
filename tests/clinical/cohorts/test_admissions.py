"""Tasks about admissions: long stays, readmissions, the next diagnoses."""

import pytest

from clinical.code_groups import group_diagnoses
from clinical.cohorts.long_stay import label_long_stay
from clinical.cohorts.next_diagnosis import label_next_diagnosis
from clinical.cohorts.readmission import label_readmission
from tests.clinical.cohorts.worlds import admission, answers, event, record_of


def test_more_than_four_days_is_long_and_exactly_four_is_not():
    found = label_long_stay(record_of(admission(1, 10, 96), admission(2, 20, 96.1), admission(3, 30, 24.1)))
    assert answers(found.labels) == {(10, 24.0): False, (20, 24.0): True, (30, 24.0): False}


def test_who_left_or_died_within_a_day_is_not_asked():
    dead = [*admission(3, 30, 90), event(3, 24, "DEATH")]
    open_end = [event(4, 0, "ADMISSION", hadm=40)]
    found = label_long_stay(record_of(admission(1, 10, 24), admission(2, 20, -1), dead, open_end))
    assert found.asked == 0
    assert found.excluded == {
        "no discharge, or one before the admission": 2,
        "died within 24 hours": 1,
        "ended within 24 hours": 1,
    }


def test_admissions_without_a_number_end_with_the_first_discharge_before_the_next():
    events = [
        event(1, 0, "ADMISSION"),
        event(1, 120, "DISCHARGE", text="HOME"),
        event(1, 130, "DISCHARGE"),
        event(1, 500, "ADMISSION"),
        event(1, 550, "DISCHARGE", text="DIED"),
    ]
    labels = label_long_stay(record_of(events)).labels.to_pylist()
    assert [(row["stay_id"], row["boolean_value"]) for row in labels] == [(None, True), (None, False)]
    assert label_readmission(record_of(events)).excluded["died in hospital"] == 1


@pytest.mark.parametrize(("days", "back"), [(0, True), (30, True), (30.1, False)])
def test_a_return_within_thirty_days_of_the_discharge_is_a_readmission(days, back):
    events = admission(1, 10, 50) + admission(1, 11, 20, at=50 + days * 24)
    found = answers(label_readmission(record_of(events)).labels)
    assert found[10, 50.0] is back
    assert len(found) == 2


def test_an_admission_inside_another_is_no_return():
    events = admission(1, 10, 50) + admission(1, 11, 60, at=20)
    assert not any(answers(label_readmission(record_of(events)).labels).values())


def test_what_is_not_known_of_the_thirty_days_is_counted():
    dies_in = admission(1, 10, 50, to="DIED")
    dies_out = [*admission(2, 20, 50), event(2, 100, "DEATH")]
    unknown = admission(3, 30, 50)
    followed = [*admission(4, 40, 50), event(4, 50 + 24 * 40, "LAB//Sodium//mmol/L", 140.0)]
    ends = [*admission(5, 50, 50), event(5, 60, "OBSERVATION_PERIOD//END")]
    returns = [*admission(6, 60, 50), *admission(6, 61, 10, at=100), event(6, 110, "OBSERVATION_PERIOD//END")]
    found = label_readmission(record_of(dies_in, dies_out, unknown, followed, ends, returns))
    assert found.excluded["died in hospital"] == 1
    assert found.excluded["the record ends within 30 days"] == 2  # the fifth patient, and the sixth's second admission
    assert found.noted == {
        "died within 30 days without a readmission": 1,
        "follow-up not known, taken as no readmission": 1,
    }
    assert [number for (number, _), yes in answers(found.labels).items() if yes] == [60]


def test_the_next_admission_gives_its_groups_in_their_own_systems():
    events = [
        *admission(1, 10, 50),
        event(1, 50, "DIAG//ICD10CM//E11.9", hadm=10),
        *admission(1, 11, 50, at=500),
        event(1, 550, "DIAG//ICD10CM//I50.22", hadm=11),
        event(1, 550, "DIAG//ICD10CM//I50.23", hadm=11),
        event(1, 550, "DIAG//ICD9CM//428.0"),
        event(1, 550, "DIAG//SNOMED//84114007", hadm=11),
        *admission(2, 20, 50),
        *admission(2, 21, 50, at=500),
        *admission(3, 30, 50, to="DIED"),
    ]
    found = label_next_diagnosis(record_of(events))
    assert [(row["stay_id"], row["codes"]) for row in found.labels.to_pylist()] == [(10, ["CCS//108", "CCSR//CIR019"])]
    assert found.excluded["no later admission"] == 2
    assert found.excluded["the next admission has no grouped diagnosis"] == 1
    assert found.excluded["died in hospital"] == 1


def test_a_code_without_a_group_is_left_out():
    assert group_diagnoses(["DIAG//ICD10CM//XXX", "DIAG//ICD9CM//99999"]) == {}
