"""The hourly grid: what was known at an hour and nothing later, whatever source the events came from."""

from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical.events import ProfileError, write_hospital
from clinical.features.concepts import match_codes, read_concepts, scale
from clinical.features.groups import read_groups
from clinical.features.hourly import read_stays
from clinical.features.rows import summarise
from clinical.labels import LABEL_SCHEMA, read_labels, write_labels
from clinical.tasks.prediction import PREDICTION_TASKS, find_prediction_task

START = datetime(2150, 1, 1, 7, 30)  # noqa: DTZ001 - event times are naive by the profile
MORTALITY, AKI = find_prediction_task("mortality-24h"), find_prediction_task("aki")
PLACE = {concept.name: number for number, concept in enumerate(read_concepts())}


def hospital(folder, events, labels, task=MORTALITY):
    """Events: (patient, hours or None, code, number, stay); labels: (patient, hours, yes, stay)."""
    rows = [
        {
            "subject_id": patient,
            "time": None if hours is None else START + timedelta(hours=hours),
            "code": code,
            "numeric_value": number,
            "stay_id": stay,
        }
        for patient, hours, code, number, stay in events
    ]
    schema = pa.schema(
        [
            ("subject_id", pa.int64()),
            ("time", pa.timestamp("us")),
            ("code", pa.string()),
            ("numeric_value", pa.float32()),
            ("stay_id", pa.int64()),
        ]
    )
    write_hospital(folder, [pa.Table.from_pylist(rows, schema=schema)], site_id="h", source="test")
    asked = [
        {"subject_id": p, "prediction_time": START + timedelta(hours=h), "boolean_value": yes, "stay_id": stay}
        for p, h, yes, stay in labels
    ]
    write_labels(folder, task.name, pa.Table.from_pylist(asked, schema=LABEL_SCHEMA))
    return folder


def test_a_measurement_stands_in_the_first_hour_that_may_know_it(tmp_path):
    events = [
        (1, 0, "ICU//IN", None, 10),
        (1, 0, "VITAL//Heart rate//bpm", 80.0, 10),
        (1, 0.5, "VITAL//Heart rate//bpm", 90.0, 10),
        (1, 1, "VITAL//Heart rate//bpm", 95.0, 10),
        (1, 1.01, "VITAL//Heart rate//bpm", 99.0, 10),
        (1, 25, "VITAL//Heart rate//bpm", 140.0, 10),
    ]
    stays = read_stays(hospital(tmp_path / "h", events, [(1, 24, True, 10)]), MORTALITY)
    rate = stays.values[0, :, PLACE["hr"]]
    assert rate[:3].tolist() == [80.0, 95.0, 99.0]
    assert np.isnan(rate[3:]).all()  # what came at hour 25 is nowhere
    assert stays.labels[0, 24] == 1
    assert np.isnan(stays.labels[0, :24]).all()


def test_units_are_converted_and_a_foreign_unit_or_an_impossible_value_is_a_gap(tmp_path):
    events = [
        (1, 0, "ICU//IN", None, 10),
        (1, 1, "LAB//Creatinine//umol/L", 88.42, 10),
        (1, 2, "LAB//Creatinine//furlongs", 1.0, 10),
        (1, 3, "LAB//Creatinine//mg/dL", -4.0, 10),
        (1, 4, "LAB//CREATININE", 2.0, 10),
    ]
    values = read_stays(hospital(tmp_path / "h", events, [(1, 24, False, 10)]), MORTALITY).values[0, :, PLACE["crea"]]
    assert values[1] == pytest.approx(1.0, abs=1e-3)
    assert np.isnan(values[2:4]).all()
    assert values[4] == 2.0


def test_an_event_without_a_stay_belongs_to_the_stay_of_its_patient_that_runs_then(tmp_path):
    events = [
        (1, 0, "ICU//IN", None, 10),
        (1, 100, "ICU//IN", None, 11),
        (1, 102, "VITAL//Heart rate//bpm", 70.0, None),
        (2, 0, "ICU//IN", None, 20),
        (2, 1, "VITAL//Heart rate//bpm", 60.0, None),
        (3, 1, "VITAL//Heart rate//bpm", 50.0, None),
    ]
    labels = [(1, 24, False, 10), (1, 124, True, 11), (2, 24, False, 20)]
    stays = read_stays(hospital(tmp_path / "h", events, labels), MORTALITY)
    assert stays.stay_id.tolist() == [10, 11, 20]
    rate = stays.values[:, :, PLACE["hr"]]
    assert np.isnan(rate[0]).all()
    assert rate[1, 2] == 70.0
    assert rate[2, 1] == 60.0


measured = st.lists(
    st.tuples(
        st.integers(0, 1800).map(lambda minutes: minutes / 60),
        st.sampled_from(["hr", "crea", "k", "urine"]),
        st.floats(0.5, 20),
    ),
    max_size=25,
)


@settings(max_examples=30, deadline=None)
@given(before=measured, after=measured, hour=st.integers(0, 23))
def test_no_row_changes_when_the_future_does(tmp_path_factory, before, after, hour):
    """A planted leak: anything after the hour, of this or another patient, must leave earlier rows as they were."""
    codes = {concept.name: concept.code for concept in read_concepts()}
    start = [(1, 0, "ICU//IN", None, 10), (2, 0, "ICU//IN", None, 20)]
    past = [(1, at, codes[name], value, 10) for at, name, value in before if at <= hour]
    future = [(1, at, codes[name], value, 10) for at, name, value in after if at > hour]
    other = [(2, at, codes[name], value, 20) for at, name, value in after]
    labels = [(1, at, False, 10) for at in range(25)] + [(2, 24, True, 20)]
    folder = tmp_path_factory.mktemp("leak")
    plain = read_stays(hospital(folder / "a", start + past, labels, AKI), AKI)
    planted = read_stays(hospital(folder / "b", start + past + future + other, labels, AKI), AKI)
    np.testing.assert_array_equal(plain.sequences()[0, : hour + 1], planted.sequences()[0, : hour + 1])
    rows = [summarise(stays).features[: hour + 1] for stays in (plain, planted)]
    np.testing.assert_array_equal(*rows)


def test_rows_sum_up_the_hours_so_far(tmp_path):
    events = [(1, 0, "ICU//IN", None, 10), (1, 0, "AGE//years", 65.0, 10), (1, None, "GENDER//F", None, None)]
    events += [(1, hour, "LAB//Potassium//mmol/L", value, 10) for hour, value in ((1, 4.1), (3, 4.7), (5, 3.5))]
    stays = read_stays(hospital(tmp_path / "h", events, [(1, 4, True, 10), (1, 6, False, 10)], AKI), AKI)
    rows = summarise(stays)
    assert rows.labels.tolist() == [1.0, 0.0]
    assert rows.stay.tolist() == [0, 0]
    V, k = len(PLACE), PLACE["k"]
    last, mean, lowest, highest, count = (rows.features[:, at * V + k] for at in range(5))
    assert last.tolist() == pytest.approx([1.0, -1.0], abs=1e-5)
    assert mean.tolist() == pytest.approx([0.5, 0.0], abs=1e-5)
    assert lowest.tolist() == pytest.approx([0.0, -1.0], abs=1e-5)
    assert highest.tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert (count * 24).tolist() == pytest.approx([2, 3])
    assert rows.features[:, -5].tolist() == [0.0, 0.0]  # 65 years is the usual age
    assert rows.features[:, -4].tolist() == [1.0, 1.0]


def test_rows_say_how_old_a_value_is_how_it_moved_and_its_recent_mean(tmp_path):
    events = [(1, 0, "ICU//IN", None, 10)]
    events += [(1, hour, "LAB//Potassium//mmol/L", value, 10) for hour, value in ((1, 4.1), (8, 4.7), (30, 3.5))]
    asked = (0, 7, 8, 32)
    stays = read_stays(hospital(tmp_path / "h", events, [(1, hour, True, 10) for hour in asked], AKI), AKI)
    rows = summarise(stays)
    V, k = len(PLACE), PLACE["k"]
    scaled = {1: 0.0, 8: 1.0, 30: -1.0}  # potassium on its public scale
    soon, late, change_6, change_24, mean_6, mean_24 = (rows.features[:, at * V + k] for at in range(5, 11))
    np.testing.assert_allclose(soon, [0, np.exp(-6 / 4), 1, np.exp(-2 / 4)], atol=1e-6)
    np.testing.assert_allclose(late, [0, np.exp(-6 / 24), 1, np.exp(-2 / 24)], atol=1e-6)
    np.testing.assert_allclose(change_6, [0, 0, scaled[8] - scaled[1], scaled[30] - scaled[8]], atol=1e-5)
    np.testing.assert_allclose(change_24, [0, 0, 0, scaled[30] - scaled[8]], atol=1e-5)
    np.testing.assert_allclose(mean_6, [0, 0, scaled[8], scaled[30]], atol=1e-5)  # hour 1 is not of 8's last six
    np.testing.assert_allclose(mean_24, [0, 0, (scaled[1] + scaled[8]) / 2, scaled[30]], atol=1e-5)


def test_a_label_without_a_stay_or_outside_the_hours_is_refused_with_counts(tmp_path):
    events = [(1, 0, "ICU//IN", None, 10)]
    with pytest.raises(ProfileError, match="1 labels of mortality-24h belong to no stay"):
        read_stays(hospital(tmp_path / "a", events, [(1, 24, True, 10), (1, 24, True, 99)]), MORTALITY)
    with pytest.raises(ProfileError, match="outside the 24 hours"):
        read_stays(hospital(tmp_path / "b", events, [(1, 30, True, 10)]), MORTALITY)
    with pytest.raises(ProfileError, match="no labels for the task aki; it has labels for: mortality-24h"):
        read_stays(tmp_path / "a", AKI)


def test_labels_need_exactly_one_value(tmp_path):
    events = [(1, 0, "ICU//IN", None, 10)]
    folder = hospital(tmp_path / "h", events, [(1, 24, True, 10)])
    both = read_labels(folder, MORTALITY.name).set_column(3, "float_value", pa.array([1.0], pa.float32()))
    with pytest.raises(ProfileError, match="exactly one of boolean_value and float_value"):
        write_labels(folder, "aki", both)


def test_sub_groups_come_from_the_record_and_fixed_classes(tmp_path):
    events = [
        (1, 0, "ICU//IN", None, 10),
        (1, 0, "AGE//years", 82.0, 10),
        (1, None, "GENDER//M", None, None),
        (1, None, "RACE//BLACK/AFRICAN AMERICAN", None, None),
        (2, 0, "ICU//IN", None, 20),
        (2, None, "INSURANCE//Medicare", None, None),
        (2, None, "RACE//Caucasian", None, None),
    ]
    folder = hospital(tmp_path / "h", events, [(1, 24, True, 10), (2, 24, False, 20)])
    groups = read_groups(folder, read_stays(folder, MORTALITY))
    assert {name: own.tolist() for name, own in groups.items()} == {
        "sex: male": [True, False],
        "age: 80 and over": [True, False],
        "race: black": [True, False],
        "race: white": [False, True],
        "insurance: medicare": [False, True],
    }


def test_every_concept_reads_its_own_code_and_usual_values_are_near_zero():
    concepts = read_concepts()
    meaning = match_codes([concept.code for concept in concepts])
    assert [meaning[concept.code].concept for concept in concepts] == list(range(len(concepts)))
    usual = np.array([[concept.center for concept in concepts]], np.float32)
    assert np.abs(scale(usual)).max() < 1e-5
    assert len({name for concept in concepts for name in concept.names}) == sum(len(c.names) for c in concepts)


@pytest.mark.parametrize("task", PREDICTION_TASKS.values(), ids=lambda task: task.name)
def test_answers_survive_the_scale_of_the_model(task):
    low, high = task.limits
    answers = np.linspace(max(low, 0.1), high, 7, dtype=np.float32)
    np.testing.assert_allclose(task.from_model(task.to_model(answers)), answers, rtol=1e-4)
