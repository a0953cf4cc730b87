"""MEDS data sets of other writers become hospitals of the profile; what is certain is translated, all is counted."""
# ruff: noqa: DTZ001 - event times are naive by the profile

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from clinical.events import read_events, read_splits
from clinical.profile import ProfileError
from clinical.sources import load_source
from clinical.sources.meds import ingest_meds
from clinical.sources.meds_codes import Item, translate

if TYPE_CHECKING:
    from clinical.sources.receipt import TablesReport

DATA = Path(__file__).parents[3] / "shared/data"
NOON = datetime(2020, 1, 2, 12)


def write_shard(folder: Path, name: str, **columns) -> Path:
    """Write one shard; columns left out are those of two plain events of patients 1 and 2."""
    table = {"subject_id": [1, 2], "time": [NOON, NOON], "code": ["HR", "HR"]} | columns
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({name: values for name, values in table.items() if values is not None}), path)
    return folder


def test_the_codes_of_published_data_sets_are_translated_where_they_are_certain():
    items = {"51221": Item("Hematocrit"), "220045": Item("Heart Rate", "chartevents")}
    certain = {
        "MEDS_DEATH": ("DEATH", None),
        "HOSPITAL_ADMISSION//EW EMER.//EMERGENCY ROOM": ("ADMISSION", "EW EMER.//EMERGENCY ROOM"),
        "ADMISSION//CARDIAC": ("ADMISSION", "CARDIAC"),
        "ICU_DISCHARGE//Coronary Care Unit (CCU)": ("ICU//OUT", "Coronary Care Unit (CCU)"),
        "ED_REGISTRATION": ("ED//IN", None),
        "DIAGNOSIS//ICD//9//4019": ("DIAG//ICD9CM//401.9", None),
        "DIAGNOSIS//ICD//10//E785": ("DIAG//ICD10CM//E78.5", None),
        "PROCEDURE//ICD//10//02HV33Z": ("PROC//ICD10PCS//02HV33Z", None),
        "PROCEDURE//ICD//9//3893": ("PROC//ICD9PROC//38.93", None),
        "ICD10CM/I50.9": ("DIAG//ICD10CM//I50.9", None),
        "SEX//female": ("GENDER//F", None),
        "Gender/M": ("GENDER//M", None),
        "MEDICATION//START//Insulin": ("MED//Insulin", None),
        "MEDICATION//Insulin//Administered": ("GIVEN//Insulin", None),
        "LAB//51221//%": ("LAB//Hematocrit//%", None),
        "LAB//220045//bpm": ("VITAL//Heart Rate//bpm", None),
        "LAB//51221//UNK": ("LAB//Hematocrit//", None),
    }
    assert {code: (translate(code, items).code, translate(code, items).text) for code in certain} == certain
    kept = (
        "MEDS_BIRTH", "LAB//51222//g/dL", "MEDICATION//STOP//Insulin", "MEDICATION//START//UNK",
        "DRG//APR//720//SEPTICEMIA",
        "MEDICATION//Insulin//Not Given", "DIAG//ICD10CM//I50.9", "GENDER//F", "SEX//unknown", "HR", "LAB//creatinine",
    )  # fmt: skip
    assert [translate(code, items).code for code in kept] == list(kept)


def test_an_icd_code_that_cannot_be_one_stays_as_it_is_and_is_counted(tmp_path):
    write_shard(tmp_path / "src", "data/0.parquet", code=["DIAGNOSIS//ICD//10//NOPE??", "DIAGNOSIS//ICD//10//I509"])
    report = ingest_meds(tmp_path / "src", tmp_path / "h")
    assert read_events(tmp_path / "h")["code"].to_pylist() == ["DIAGNOSIS//ICD//10//NOPE??", "DIAG//ICD10CM//I50.9"]
    assert report.unknown_codes == 1


@pytest.mark.parametrize(
    ("columns", "reason", "row"),
    [
        ({"subject_id": pa.array([1, None], pa.int64())}, "no subject_id", 2),
        ({"code": ["", "HR"]}, "no code", 1),
        ({"code": [None, "HR"]}, "no code", 1),
        ({"numeric_value": [1.0, np.inf]}, "a number beyond what float32 holds", 2),
        ({"numeric_value": [-1e39, 1.0]}, "a number beyond what float32 holds", 1),
        ({"time": [datetime(1066, 10, 14), NOON]}, "a time that is not between 1678 and 2261", 1),
        (
            {"time": pa.array([None, NOON], pa.timestamp("us")), "code": ["MEDS_DEATH", "HR"]},
            "no time, which this code needs",
            1,
        ),
        (
            {"time": pa.array([NOON, None], pa.timestamp("us")), "code": ["HR", "DIAG//X"]},
            "no time, which this code needs",
            2,
        ),
    ],
)
def test_rows_the_profile_cannot_hold_are_refused_by_reason(tmp_path, columns, reason, row):
    write_shard(tmp_path / "src", "data/0.parquet", **columns)
    report = ingest_meds(tmp_path / "src", tmp_path / "h")
    assert report.tables["data/0.parquet"].refused == {reason: 1}
    assert report.refused_rows == {"data/0.parquet": {reason: (row,)}}
    assert len(read_events(tmp_path / "h")) == 1


def test_static_events_stay_static_and_nan_means_nothing(tmp_path):
    write_shard(
        tmp_path / "src", "data/0.parquet",
        time=pa.array([None, NOON], pa.timestamp("us")), code=["SEX//male", "HR"], numeric_value=[np.nan, 2.5],
    )  # fmt: skip
    ingest_meds(tmp_path / "src", tmp_path / "h")
    rows = read_events(tmp_path / "h", columns=["time", "code", "numeric_value"]).to_pylist()
    assert rows == [
        {"time": None, "code": "GENDER//M", "numeric_value": None},
        {"time": NOON, "code": "HR", "numeric_value": 2.5},
    ]


def test_wherever_shards_lie_they_are_found_and_labels_are_not_taken_for_events(tmp_path):
    write_shard(tmp_path / "src", "train/deep/0.parquet")
    write_shard(tmp_path / "src", "1.parquet", subject_id=[3, 4])
    pq.write_table(
        pa.table({"subject_id": [1], "prediction_time": [NOON], "boolean_value": [True]}),
        tmp_path / "src/labels.parquet",
    )
    report = ingest_meds(tmp_path / "src", tmp_path / "h")
    assert set(report.tables) == {"train/deep/0.parquet", "1.parquet"}
    assert report.unused == ("labels.parquet",)
    write_shard(tmp_path / "other", "data/0.parquet")
    pq.write_table(pa.table({"subject_id": [1]}), tmp_path / "other/data/labels.parquet")
    with pytest.raises(ProfileError, match=r"data/labels\.parquet is no event table"):
        ingest_meds(tmp_path / "other", tmp_path / "h2")


def test_extra_columns_are_dropped_and_named(tmp_path):
    write_shard(tmp_path / "src", "data/0.parquet", ward=["a", "b"], hadm_id=[10.0, np.nan], text_value=["x", None])
    report = ingest_meds(tmp_path / "src", tmp_path / "h")
    assert report.unused == ("column ward",)
    rows = read_events(tmp_path / "h", columns=["hadm_id", "text_value"]).to_pylist()
    assert rows == [{"hadm_id": 10, "text_value": "x"}, {"hadm_id": None, "text_value": None}]


def test_text_identifiers_are_numbered_in_order_of_arrival_and_can_be_traced(tmp_path):
    write_shard(tmp_path / "src", "data/0.parquet", subject_id=["b", "a"])
    write_shard(tmp_path / "src", "data/1.parquet", subject_id=["a", ""])
    pq.write_table(pa.table({"subject_id": ["a", "b"], "split": ["held_out", "train"]}), _metadata(tmp_path / "src"))
    report = ingest_meds(tmp_path / "src", tmp_path / "h")
    assert read_splits(tmp_path / "h") == {1: "train", 2: "held_out"}
    assert report.tables["data/1.parquet"].refused == {"no subject_id": 1}
    assert pq.read_table(tmp_path / "h/metadata/subjects.parquet").to_pylist() == [
        {"subject_id": 1, "identifier": "b"},
        {"subject_id": 2, "identifier": "a"},
    ]


def test_text_that_is_all_whole_numbers_keeps_its_numbers(tmp_path):
    write_shard(tmp_path / "src", "data/0.parquet", subject_id=["10", "7"])
    ingest_meds(tmp_path / "src", tmp_path / "h")
    assert sorted(read_splits(tmp_path / "h")) == [7, 10]
    write_shard(tmp_path / "zeros", "data/0.parquet", subject_id=["007", "7"])
    ingest_meds(tmp_path / "zeros", tmp_path / "h2")
    assert sorted(read_splits(tmp_path / "h2")) == [1, 2]  # 007 and 7 are two patients


def _metadata(folder: Path) -> Path:
    (folder / "metadata").mkdir(parents=True, exist_ok=True)
    return folder / "metadata/subject_splits.parquet"


def test_splits_of_the_data_set_are_kept_and_others_drawn_only_without_them(tmp_path):
    for number, split in enumerate(("train", "tuning", "held_out")):
        write_shard(tmp_path / "folders", f"data/{split}/0.parquet", subject_id=[number, number])
    write_shard(tmp_path / "folders", "data/extra/0.parquet", subject_id=[8, 9])
    report = ingest_meds(tmp_path / "folders", tmp_path / "h")
    assert read_splits(tmp_path / "h") == {0: "train", 1: "tuning", 2: "held_out", 8: "train", 9: "train"}
    assert report.inputs["splits"] == "of the data set's folders; 2 patients without one are in train"
    pq.write_table(pa.table({"subject_id": [0, 1, 77], "split": ["held_out"] * 3}), _metadata(tmp_path / "folders"))
    ingest_meds(tmp_path / "folders", tmp_path / "h2")
    assert read_splits(tmp_path / "h2")[0] == "held_out"
    write_shard(tmp_path / "plain", "data/0.parquet")
    assert ingest_meds(tmp_path / "plain", tmp_path / "h3").inputs["splits"] == "drawn"


def test_a_patient_in_two_splits_is_refused_and_nothing_written(tmp_path):
    write_shard(tmp_path / "src", "train/0.parquet")
    write_shard(tmp_path / "src", "held_out/0.parquet")
    with pytest.raises(ProfileError, match="a patient is in one split"):
        ingest_meds(tmp_path / "src", tmp_path / "h")
    assert not (tmp_path / "h").exists()


def test_times_with_a_zone_need_the_users_word(tmp_path):
    aware = [datetime(2020, 7, 1, 12, tzinfo=UTC), datetime(2020, 1, 1, 12, tzinfo=UTC)]
    write_shard(tmp_path / "src", "data/0.parquet", time=pa.array(aware, pa.timestamp("us", tz="UTC")))
    with pytest.raises(ProfileError, match="column 'time' has the time zone UTC"):
        ingest_meds(tmp_path / "src", tmp_path / "h")
    report = ingest_meds(tmp_path / "src", tmp_path / "h", time_zone="Europe/Berlin")
    times = read_events(tmp_path / "h")["time"].to_pylist()
    assert times == [datetime(2020, 7, 1, 14), datetime(2020, 1, 1, 13)]
    assert report.times == "converted to Europe/Berlin"


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_every_unit_of_time_is_taken(tmp_path, unit):
    write_shard(tmp_path / "src", "data/0.parquet", time=pa.array([NOON, NOON], pa.timestamp(unit)))
    ingest_meds(tmp_path / "src", tmp_path / "h")
    assert read_events(tmp_path / "h")["time"].to_pylist() == [NOON, NOON]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"time": [date(2020, 1, 1)] * 2}, "column 'time' is date32"),
        ({"code": [1, 2]}, "column 'code' is int64"),
        ({"numeric_value": ["1", "2"]}, "column 'numeric_value' is string"),
        ({"subject_id": [1.5, 2.0]}, "column 'subject_id' is double"),
        ({"subject_id": pa.array([2**64 - 1, 1], pa.uint64())}, "column 'subject_id' is uint64"),
        ({"hadm_id": ["a", "b"]}, "column 'hadm_id' is string"),
        ({"code": pa.array([b"\xff", b"HR"], pa.binary()).cast(pa.string(), safe=False)}, "text that is not UTF-8"),
        ({"code": None}, "holds no parquet file with subject_id, time and code|is no event table"),
    ],
)
def test_columns_of_another_type_are_one_clear_line(tmp_path, columns, message):
    write_shard(tmp_path / "src", "data/0.parquet", **columns)
    with pytest.raises(ProfileError, match=message):
        ingest_meds(tmp_path / "src", tmp_path / "h")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]


def test_older_and_narrower_spellings_of_columns_are_taken(tmp_path):
    shard = pa.table(
        {
            "patient_id": pa.array([1, 2], pa.int32()),
            "time": [NOON, NOON],
            "code": pa.array(["HR", "HR"]).dictionary_encode(),
            "numeric_value": pa.array([1, 2], pa.int16()),
        }
    )
    (tmp_path / "src").mkdir()
    pq.write_table(shard, tmp_path / "src/0.parquet")
    ingest_meds(tmp_path / "src", tmp_path / "h")
    rows = read_events(tmp_path / "h", columns=["subject_id", "numeric_value"]).to_pylist()
    assert rows == [{"subject_id": 1, "numeric_value": 1.0}, {"subject_id": 2, "numeric_value": 2.0}]


def test_descriptions_and_item_names_come_along(tmp_path):
    write_shard(tmp_path / "src", "data/0.parquet", code=["LAB//51221//%", "LAB//9//UNK"])
    (tmp_path / "src/metadata").mkdir()
    codes = pa.table({"code": ["LAB//51221//%", "LAB//9//UNK"], "description": ["of blood", None]})
    pq.write_table(codes, tmp_path / "src/metadata/codes.parquet")
    (tmp_path / "d.csv").write_text("itemid,label,fluid,category\n51221,Hematocrit,Blood,Hematology\n")
    ingest_meds(tmp_path / "src", tmp_path / "h", items=[tmp_path / "d.csv"])
    described = pq.read_table(tmp_path / "h/metadata/codes.parquet")
    assert dict(zip(described["code"].to_pylist(), described["description"].to_pylist(), strict=True)) == {
        "LAB//Hematocrit//%": "of blood",
        "LAB//9//UNK": None,
    }


def test_a_damaged_shard_is_named(tmp_path):
    write_shard(tmp_path / "src", "data/0.parquet", code=["HR" * 50_000, "x"])
    whole = (tmp_path / "src/data/0.parquet").read_bytes()
    (tmp_path / "src/data/0.parquet").write_bytes(whole[:-20])
    with pytest.raises(ProfileError, match=r"data/0\.parquet cannot be read as parquet"):
        ingest_meds(tmp_path / "src", tmp_path / "h")
    (tmp_path / "src/data/0.parquet").write_bytes(whole[:4] + b"\xff" * 40 + whole[44:])
    with pytest.raises(ValueError, match=r"data/0\.parquet is damaged parquet"):
        ingest_meds(tmp_path / "src", tmp_path / "h")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        ingest_meds(tmp_path / "nowhere", tmp_path / "h")


def attempt(src: Path, hospital: Path, zone: str) -> tuple[TablesReport | None, str]:
    """Ingest, or give the one line that says why not."""
    try:
        return ingest_meds(src, hospital, time_zone=zone), ""
    except ValueError as error:
        return None, str(error)


ARRAYS = st.one_of(
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), min_size=4, max_size=4).map(
        lambda v: pa.array(v, pa.int64())
    ),
    st.lists(st.none() | st.integers(0, 255), min_size=4, max_size=4).map(lambda v: pa.array(v, pa.uint8())),
    st.lists(st.none() | st.floats(), min_size=4, max_size=4).map(lambda v: pa.array(v, pa.float64())),
    st.lists(st.none() | st.text(max_size=6), min_size=4, max_size=4).map(lambda v: pa.array(v, pa.string())),
    st.lists(st.none() | st.booleans(), min_size=4, max_size=4).map(lambda v: pa.array(v, pa.bool_())),
    st.builds(
        lambda values, unit, zone: pa.array(values, pa.int64()).cast(pa.timestamp(unit, tz=zone)),
        st.lists(st.none() | st.integers(-(2**63) + 1, 2**63 - 1), min_size=4, max_size=4),
        st.sampled_from(["s", "ms", "us", "ns"]),
        st.sampled_from([None, "UTC", "America/New_York"]),
    ),
    st.just(pa.nulls(4)),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    column=st.sampled_from(["subject_id", "time", "code", "numeric_value", "text_value", "hadm_id", "site_id"]),
    values=ARRAYS,
    zone=st.sampled_from(["", "Europe/Berlin"]),
)
def test_whatever_a_column_holds_every_row_is_kept_or_refused(tmp_path_factory, column, values, zone):
    folder = tmp_path_factory.mktemp("fuzz")
    plain = {"subject_id": [1, 1, 2, 3], "time": [NOON] * 4, "code": ["HR", "DISCHARGE", "SEX//male", "MED//x"]}
    write_shard(folder / "src", "data/0.parquet", **(plain | {column: values}))
    report, line = attempt(folder / "src", folder / "h", zone)
    assert "\n" not in line
    assert (folder / "h").exists() == (report is not None)
    if report is None:
        return
    rows = report.tables["data/0.parquet"]
    assert rows.read == 4
    assert rows.kept == len(read_events(folder / "h")) == report.events["data/0.parquet"]


def test_the_source_is_in_the_table():
    assert load_source("meds") is ingest_meds


@pytest.mark.skipif(not (DATA / "mimic_iv_demo_meds").is_dir(), reason="needs MIMIC-IV demo in MEDS in ../shared/data")
def test_the_published_mimic_data_set_is_taken_whole(tmp_path):
    report = ingest_meds(DATA / "mimic_iv_demo_meds", tmp_path / "h")
    rows = report.tables["data/0.parquet"]
    assert (rows.read, rows.kept, report.patients) == (628_303, 628_303, 75)
    counts = {
        prefix: len(read_events(tmp_path / "h", prefixes=[prefix]))
        for prefix in (
            "ADMISSION",
            "DISCHARGE",
            "ICU//IN",
            "DEATH",
            "GENDER//",
            "MEDS_BIRTH",
            "DIAG//ICD",
            "DIAGNOSIS//",
        )
    }
    assert counts == {
        "ADMISSION": 206, "DISCHARGE": 206, "ICU//IN": 102, "DEATH": 22, "GENDER//": 75, "MEDS_BIRTH": 75,
        "DIAG//ICD": 3399, "DIAGNOSIS//": 0,
    }  # fmt: skip


@pytest.mark.skipif(not (DATA / "meds_aces_sample").is_dir(), reason="needs the MEDS sample in ../shared/data")
def test_a_sample_without_data_folder_keeps_its_splits(tmp_path):
    report = ingest_meds(DATA / "meds_aces_sample", tmp_path / "h")
    assert sum(rows.kept for rows in report.tables.values()) == 10_836 + 26_563 + 26_643 + 13_500
    splits = read_splits(tmp_path / "h")
    assert (len(splits), sum(split == "train" for split in splits.values())) == (100, 70)
