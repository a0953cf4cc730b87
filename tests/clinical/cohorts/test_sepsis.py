"""Sepsis-3: a suspicion, organs that fail, and the rise around it."""

import numpy as np
import pandas as pd
import pytest

from clinical.cohorts.infection import continuous_doses, first_suspicions
from clinical.cohorts.organ_failure import sofa_scores
from clinical.cohorts.records import HOUR_US
from clinical.cohorts.sepsis import label_sepsis, label_sepsis_by_vitals, sepsis_onsets
from tests.clinical.cohorts.worlds import CREATININE, answers, event, record_of, stay

NAN = float("nan")


def doses(*hours, death=None):
    frame = pd.DataFrame({"subject_id": 1, "time": [int(hour * HOUR_US) for hour in hours]})
    dead = pd.Series({} if death is None else {1: death * HOUR_US}, dtype=np.float64)
    return continuous_doses(frame, dead).tolist()


def test_a_course_goes_on_for_three_days_without_a_day_between_doses():
    assert doses(0, 24, 48) == [True, False, False]
    assert doses(0, 24, 47) == [False, False, False]  # its last day ends before 72 hours
    assert doses(0, 25, 48) == [False, False, False]
    assert doses(0, 10, death=30) == [True, True]  # a death ends the watch
    assert doses(0, 10, death=40) == [False, False]


def test_a_culture_a_day_after_or_three_days_before_makes_a_suspicion():
    def treated(patient, culture):
        given = [event(patient, hour, "GIVEN//Vancomycin", stay=patient) for hour in range(10, 90, 12)]
        return [*stay(patient, patient, 120), *given, event(patient, culture, "MICRO//TAKEN//BLOOD CULTURE")]

    record = record_of(treated(1, 5), treated(2, 30), treated(3, 95), [*stay(4, 4, 120), *treated(4, 5)[-1:]])
    found = first_suspicions(record)
    assert found[:2].tolist() == [5.0, 10.0]
    assert np.isnan(found[2:]).all()


def test_without_any_culture_in_the_hospital_the_course_alone_counts():
    given = [event(1, hour, "GIVEN//Meropenem", stay=10) for hour in range(10, 90, 8)]
    assert first_suspicions(record_of(stay(1, 10, 120) + given)).tolist() == [10.0]


def test_orders_stand_for_doses_only_where_no_dose_is_known():
    ordered = [event(1, hour, "MED//Meropenem", stay=10) for hour in range(10, 90, 8)]
    given = [event(2, 50, "GIVEN//Vancomycin", stay=20), *({**row, "subject_id": 2, "stay_id": 20} for row in ordered)]
    found = first_suspicions(record_of(stay(1, 10, 120) + ordered, stay(2, 20, 120) + given))
    assert found[0] == 10.0
    assert np.isnan(found[1])


@pytest.mark.parametrize(
    ("measured", "points"),
    [
        ([("LAB//Platelets//10^9/L", 150.0)], 0),
        ([("LAB//Platelets//10^9/L", 149.0)], 1),
        ([("LAB//Platelets//10^9/L", 19.0)], 4),
        ([("LAB//Bilirubin//mg/dL", 1.2)], 1),
        ([("LAB//Bilirubin//mg/dL", 12.0)], 4),
        ([(CREATININE, 1.19)], 0),
        ([(CREATININE, 3.5)], 3),
        ([("VITAL//Mean arterial pressure//mmHg", 69.0)], 1),
        ([("INFUSION//Norepinephrine//mcg/kg/min", 0.1)], 3),
        ([("INFUSION//Norepinephrine//mcg/kg/min", 0.11)], 4),
        ([("INFUSION//Norepinephrine//mcg/kg/min", 0.0)], 0),
        ([("INFUSION//Dopamine//mcgkgmin", 5.0)], 2),
        ([("INFUSION//Dopamine//mcgkgmin", 16.0)], 4),
        ([("VITAL//GCS Total//points", 14.0)], 1),
        ([("VITAL//GCS - Eye Opening//", 1.0), ("VITAL//GCS - Verbal Response//", 1.0),
          ("VITAL//GCS - Motor Response//", 3.0)], 4),
        ([("LAB//pO2//mmHg", 90.0), ("VITAL//Fraction of inspired oxygen//%", 100.0)], 2),
        ([("LAB//pO2//mmHg", 90.0), ("VITAL//Fraction of inspired oxygen//%", 100.0),
          ("VITAL//Ventilator Mode//", 1.0)], 4),
    ],
)  # fmt: skip
def test_each_organ_scores_as_published(measured, points):
    events = stay(1, 10, 60) + [event(1, 4.5, code, value, stay=10) for code, value in measured]
    scores = sofa_scores(record_of(events))[0]
    assert scores[4] == 0  # not known yet
    assert scores[5] == scores[28] == points  # the worst of the last 24 hours
    assert scores[29] == 0


def test_scant_urine_scores_for_the_kidneys():
    scant = [event(1, hour, "OUTPUT//Foley//mL", 7.0, stay=10) for hour in range(1, 41)]
    scores = sofa_scores(record_of(stay(1, 10, 60) + scant))[0]
    assert scores[23] == 0
    assert scores[24] == 4  # 168 mL in 24 hours


def test_sepsis_sets_in_when_the_score_has_risen_by_two_in_the_window():
    scores = np.zeros((4, 169), np.int64)
    scores[:, 20:] = 2
    scores[1, 10:] = 2
    assert sepsis_onsets(scores, np.array([0.0, 40.0, 80.0, NAN]))[[0, 3]].tolist() == pytest.approx(
        [20.0, NAN], nan_ok=True
    )
    found = sepsis_onsets(scores, np.array([0.0, 40.0, 80.0, -5.0]))
    assert found[1] == 10.0
    assert np.isnan(found[2])  # the window begins at hour 32, where the score stands at 2 already
    assert np.isnan(found[3])  # the window ends at hour 19


def septic():
    """A course from hour 20, a culture, and a creatinine of 2.5 at hour 30."""
    given = [event(1, hour, "GIVEN//Vancomycin", stay=10) for hour in range(20, 100, 12)]
    culture = event(1, 21, "MICRO//TAKEN//BLOOD CULTURE")
    blood = [event(1, 2, CREATININE, 1.0, stay=10), event(1, 30, CREATININE, 2.5, stay=10)]
    return [*stay(1, 10, 120), *given, culture, *blood]


def test_sepsis_is_asked_six_hours_around_and_by_vitals_four_hours_ahead():
    around = answers(label_sepsis(record_of(septic())).labels)
    assert [hour for (_, hour), yes in around.items() if yes] == list(range(24, 37))
    ahead = answers(label_sepsis_by_vitals(record_of(septic())).labels)
    assert [hour for (_, hour), yes in ahead.items() if yes] == [26, 27, 28, 29]
    assert max(hour for _, hour in ahead) == 29


def test_sepsis_before_the_first_hour_asked_leaves_the_stay_out():
    early = [dict(row) for row in septic() if row["code"] != CREATININE]
    early += [event(1, 0, CREATININE, 1.0, stay=10), event(1, 3, CREATININE, 2.5, stay=10)]
    labelled = label_sepsis(record_of(early))
    assert labelled.asked == 0
    assert labelled.excluded["sepsis before hour 6"] == 1
