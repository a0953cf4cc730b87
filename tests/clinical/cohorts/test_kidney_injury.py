"""Acute kidney injury by KDIGO: creatinine, urine, and who is left out."""

import numpy as np
import pandas as pd
import pytest

from clinical.cohorts.kidney_injury import creatinine_injuries, label_kidney_injury
from clinical.cohorts.records import HOUR_US
from clinical.cohorts.urine import urine_rates
from tests.clinical.cohorts.worlds import CREATININE, answers, event, record_of, stay


def injured(*measured):
    """Which of a patient's (hour, creatinine) show an injury."""
    hours, values = zip(*measured, strict=True)
    frame = pd.DataFrame({"subject_id": 1, "time": [int(hour * HOUR_US) for hour in hours], "value": values})
    return creatinine_injuries(frame).tolist()


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (((0, 1.0), (47, 1.3)), [False, True]),  # a rise of 0.3 within 48 hours
        (((0, 1.0), (47, 1.29)), [False, False]),
        (((0, 1.0), (48, 1.3)), [False, False]),  # the window is 48 hours, open at its beginning
        (((0, 1.0), (167, 1.5)), [False, True]),  # 1.5 times the lowest of 7 days
        (((0, 1.0), (168, 1.5)), [False, False]),
        (((0, 0.4), (100, 0.6)), [False, True]),
        (((0, 2.0), (10, 1.0), (20, 1.2), (30, 1.3)), [False, False, False, True]),  # against the lowest, not the first
    ],
)
def test_creatinine_is_compared_with_the_lowest_of_two_and_of_seven_days(measured, expected):
    assert injured(*measured) == expected


def test_patients_are_not_compared_with_each_other():
    frame = pd.DataFrame({"subject_id": [1, 2], "time": [0, HOUR_US], "value": [1.0, 3.0]})
    assert creatinine_injuries(frame).tolist() == [False, False]


def test_labels_are_yes_from_six_hours_before_to_six_after_and_then_end():
    blood = [event(1, hour, CREATININE, value, stay=10) for hour, value in ((1, 1.0), (20, 1.4), (40, 2.0))]
    found = answers(label_kidney_injury(record_of(stay(1, 10, 60) + blood)).labels)
    assert [hour for (_, hour), yes in found.items() if yes] == list(range(14, 27))
    assert max(hour for _, hour in found) == 26


def test_an_injury_before_the_sixth_hour_or_before_intensive_care_leaves_the_stay_out():
    def with_injury(patient, hour):
        return [
            *stay(patient, patient, 60),
            event(patient, -1.5, CREATININE, 1.0, hadm=patient * 10),
            event(patient, hour, CREATININE, 1.4, hadm=patient * 10),
        ]

    labelled = label_kidney_injury(record_of(with_injury(1, -1), with_injury(2, 5.9), with_injury(3, 6)))
    assert {number for number, _ in answers(labelled.labels)} == {3}
    assert labelled.excluded["injured before the sixth hour"] == 2


def test_an_injury_of_an_earlier_admission_does_not_count():
    earlier = [event(1, -100, CREATININE, 1.0), event(1, -90, CREATININE, 3.0), event(1, 10, CREATININE, 3.0, stay=10)]
    labelled = label_kidney_injury(record_of(stay(1, 10, 30) + earlier))
    # the earlier injury is no reason to leave the stay out; 3.0 against 1.0 within 7 days is an injury of this one
    assert labelled.asked == 1
    assert sum(answers(labelled.labels).values()) == 13


def test_a_baseline_above_four_leaves_the_stay_out():
    failed = [*stay(1, 10, 30), event(1, 3, CREATININE, 4.1, stay=10)]
    kept = [*stay(2, 20, 30), event(2, -1, CREATININE, 3.9), event(2, 3, CREATININE, 4.1, stay=20)]
    labelled = label_kidney_injury(record_of(failed, kept))
    assert labelled.excluded["baseline creatinine above 4 mg/dL"] == 1
    assert labelled.asked == 1


def test_urine_counts_by_weight_and_hour():
    def makes(patient, volume, weight):
        hourly = [event(patient, hour, "OUTPUT//Foley//mL", volume, stay=patient) for hour in range(1, 31)]
        return [*stay(patient, patient, 30), event(patient, 0, "VITAL//Weight//kg", weight, stay=patient), *hourly]

    labelled = label_kidney_injury(record_of(makes(1, 39.0, 80.0), makes(2, 41.0, 80.0), makes(3, 39.0, 70.0)))
    first = {1: None}
    for (number, hour), yes in answers(labelled.labels).items():
        if yes:
            first.setdefault(number, hour)
    assert set(first) == {1}  # 39 mL/h are scant for 80 kg and enough for 70 kg
    assert labelled.excluded["injured before the sixth hour"] == 0


def test_a_rate_needs_a_covered_window():
    urine = pd.DataFrame({"row": 0, "hour": [3.0, 6.0, 8.0, 40.0, 46.0], "value": [60.0, 60.0, 10.0, 900.0, 30.0]})
    rates = urine_rates(urine, hours=6)
    assert np.isnan(rates[0])  # shorter than the window
    assert rates[1] == pytest.approx(20.0)
    assert rates[2] == pytest.approx(
        (20 + 60 + 10) / 6
    )  # an hour of the first record, three of the second, two of its own
    assert np.isnan(rates[3])  # 32 hours of silence say nothing
    assert rates[4] == pytest.approx(5.0)


def test_stays_do_not_share_their_urine():
    urine = pd.DataFrame({"row": [0, 1], "hour": [6.0, 6.0], "value": [600.0, 6.0]})
    assert urine_rates(urine, hours=6).tolist() == pytest.approx([100.0, 1.0])
