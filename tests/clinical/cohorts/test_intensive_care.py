"""Cohorts of intensive care: the borders of each definition, on patients whose label is known by hand."""

import numpy as np
import pytest

from clinical.cohorts.intensive_care import base_cohort, onset_answers
from clinical.cohorts.kidney_function import label_kidney_function
from clinical.cohorts.mortality import label_mortality
from clinical.cohorts.remaining_stay import label_remaining_stay
from tests.clinical.cohorts.worlds import CREATININE, RATE, answers, event, record_of, stay


def test_every_stay_that_is_left_out_counts_under_one_reason():
    sparse = [row for row in stay(3, 30, 20, every=13)]  # noqa: C416
    endless = [row for row in stay(5, 50, 20) if row["code"] != "ICU//OUT"]
    few = [row for row in stay(6, 60, 9, every=4) if row["code"] != RATE or row["time"].hour != 11]
    cohort = base_cohort(record_of(stay(1, 10, 20), stay(2, 20, 5.9), sparse, stay(4, 40, 20, age=17.9), endless, few))
    assert cohort.kept["stay_id"].tolist() == [10]
    assert cohort.excluded == {
        "no end, or an end before the beginning": 1,
        "shorter than 6 hours": 1,
        "measurements in fewer than 4 hours": 2,
        "more than 12 hours without a measurement": 0,
        "younger than 18": 1,
    }


def test_twelve_hours_without_a_measurement_are_allowed_and_thirteen_are_not():
    def gap(patient, hours):
        silent = range(6, 6 + hours)
        whole = stay(patient, patient, 40)
        start = next(row["time"] for row in whole if row["code"] == "ICU//IN")
        return [
            row for row in whole if row["code"] != RATE or (row["time"] - start).total_seconds() / 3600 not in silent
        ]

    assert base_cohort(record_of(gap(1, 12), gap(2, 13))).kept["stay_id"].tolist() == [1]


def test_a_death_in_hospital_counts_wherever_in_hospital_it_happened():
    dies_later = [*stay(1, 10, 31), event(1, 50, "DEATH")]
    dies_at_home = [*stay(2, 20, 31), event(2, 900, "DEATH")]
    only_status = stay(3, 30, 31, to="DEAD/EXPIRED")
    lives = stay(4, 40, 31)
    labels = label_mortality(record_of(dies_later, dies_at_home, only_status, lives)).labels
    assert answers(labels) == {(10, 24.0): True, (20, 24.0): False, (30, 24.0): True, (40, 24.0): False}


@pytest.mark.parametrize(("hour", "asked"), [(29.99, 0), (30.0, 1)])
def test_thirty_hours_alive_in_intensive_care_are_needed(hour, asked):
    died = label_mortality(record_of([*stay(1, 10, 40), event(1, hour, "DEATH")]))
    assert (died.asked, died.excluded["died within 30 hours"]) == (asked, 1 - asked)
    left = label_mortality(record_of(stay(1, 10, hour)))
    assert (left.asked, left.excluded["shorter than 30 hours"]) == (asked, 1 - asked)


def test_who_is_still_in_hospital_and_alive_has_no_answer():
    events = [row for row in stay(1, 10, 40) if not row["code"].startswith(("DISCHARGE", "VISIT"))]
    assert label_mortality(record_of(events)).excluded["how the hospital stay ended is not known"] == 1
    died = label_mortality(record_of([*events, event(1, 40, "DEATH")]))
    assert answers(died.labels) == {(10, 24.0): True}


def test_a_death_on_the_day_of_a_discharge_without_a_destination_was_in_hospital():
    def ends(patient, *, to):
        return [*stay(patient, patient, 31, to=to), event(patient, 64, "DEATH")]  # discharged 8 hours before

    labels = label_mortality(record_of(ends(1, to=""), ends(2, to="HOME"))).labels
    assert answers(labels) == {(1, 24.0): True, (2, 24.0): False}


def test_kidney_function_is_the_median_after_24_and_up_to_48_hours():
    measured = [(24.0, 9.0), (24.5, 1.0), (36, 2.0), (48.0, 4.0), (48.1, 9.0)]
    events = stay(1, 10, 48) + [event(1, hour, CREATININE, value, stay=10) for hour, value in measured]
    nothing = [*stay(2, 20, 60), event(2, 20, CREATININE, 1.0, stay=20)]
    labelled = label_kidney_function(record_of(events, nothing, stay(3, 30, 47.9)))
    assert answers(labelled.labels) == {(10, 24.0): 2.0}
    assert labelled.excluded["no creatinine on the second day"] == 1
    assert labelled.excluded["shorter than 48 hours"] == 1


def test_creatinine_without_a_stay_counts_for_the_stay_that_runs():
    events = [*stay(1, 10, 50), event(1, 30, CREATININE, 1.5)]
    assert answers(label_kidney_function(record_of(events)).labels) == {(10, 24.0): 1.5}


def test_the_remaining_stay_falls_by_an_hour_and_is_at_most_a_week():
    found = answers(label_remaining_stay(record_of(stay(1, 10, 6.5))).labels)
    assert found == {(10, float(hour)): 6.5 - hour for hour in range(7)}
    long = answers(label_remaining_stay(record_of(stay(1, 10, 400))).labels)
    assert len(long) == 169
    assert long[10, 0.0] == long[10, 168.0] == 168.0


def test_an_onset_is_asked_about_before_and_only_as_long_after_as_the_task_says():
    stays = record_of(stay(1, 10, 30)).stays
    around = answers(onset_answers(stays, np.array([10.5]), ahead=6, after=6))
    assert [hour for (_, hour), yes in around.items() if yes] == list(range(5, 17))
    assert max(hour for _, hour in around) == 16
    before = answers(onset_answers(stays, np.array([10.0]), ahead=4, after=0))
    assert [hour for (_, hour), yes in before.items() if yes] == [6, 7, 8, 9]
    assert max(hour for _, hour in before) == 9
    never = answers(onset_answers(stays, np.array([np.nan]), ahead=6, after=6))
    assert len(never) == 31
    assert not any(never.values())
