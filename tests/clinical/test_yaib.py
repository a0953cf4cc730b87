"""YAIB cohorts into a hospital: each measurement once, each task's labels in its own table, nothing lost silently."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clinical.events import ProfileError, read_events, read_splits
from clinical.features.hourly import read_stays
from clinical.labels import list_labels
from clinical.merge import merge_hospitals
from clinical.networks import list_hospitals
from clinical.partition import partition_hospital
from clinical.sources.yaib import TASK_OF_FOLDER, ingest_yaib
from clinical.tasks.prediction import PREDICTION_TASKS
from tests.intensive_care import HOURS, write_cohorts

COHORTS = Path(__file__).parents[3] / "shared" / "data" / "yaib_demo_cohorts"
EICU = COHORTS.parent / "eicu_demo" / "patient.csv.gz"


def test_overlapping_cohorts_become_one_hospital_with_the_labels_of_each(tmp_path):
    report = ingest_yaib(write_cohorts(tmp_path / "src", stays=30, seed=0), tmp_path / "h")
    assert report.patients == 30
    assert list_labels(tmp_path / "h") == ["aki", "kidney-function", "mortality-24h"]
    assert report.tables["mortality-24h/dyn"].kept == 30 * HOURS
    assert report.tables["aki/dyn"].refused == {"hour already known from another cohort": 30 * HOURS}
    for counted in report.tables.values():
        assert counted.read == counted.kept + sum(counted.refused.values())
    rates = read_events(tmp_path / "h", prefixes=["VITAL//Heart rate"])
    assert len(rates) == 30 * HOURS
    assert json.loads((tmp_path / "h" / "metadata" / "ingest.json").read_text())["patients"] == 30


def test_what_was_written_is_what_the_grid_gives_back(tmp_path):
    src = write_cohorts(tmp_path / "src", stays=12, seed=1)
    ingest_yaib(src, tmp_path / "h")
    stays = read_stays(tmp_path / "h", PREDICTION_TASKS["kidney-function"])
    dyn = pd.read_parquet(src / "kidney_function" / "dyn.parquet").sort_values(["stay_id", "time"])
    names = sorted(set(dyn.columns) - {"stay_id", "time"})
    expected = dyn[names].to_numpy(np.float32).reshape(12, HOURS, -1)
    np.testing.assert_array_equal(stays.values, expected)
    truth = pd.read_parquet(src / "kidney_function" / "outc.parquet")["label"]
    np.testing.assert_allclose(stays.labels[:, -1], truth, rtol=1e-6)


def test_stays_of_one_patient_stay_together(tmp_path):
    src = write_cohorts(tmp_path / "src", stays=20, seed=2)
    members = pd.DataFrame({"stay_id": range(100, 120), "patient_id": [f"p{n // 2}" for n in range(20)]})
    members["site_id"] = np.where(members.index < 10, "north", "south")
    members.to_csv(tmp_path / "stays.csv", index=False)
    report = ingest_yaib(src, tmp_path / "h", stays=tmp_path / "stays.csv")
    assert report.patients == 10
    begins = read_events(tmp_path / "h", prefixes=["ICU//IN"]).to_pandas()
    assert begins.groupby("subject_id").time.nunique().tolist() == [2] * 10
    partition_hospital(tmp_path / "h", tmp_path / "net", method="column", column="site_id", hospitals=0, seed=0)
    assert [len(read_splits(each)) for each in list_hospitals(tmp_path / "net")] == [5, 5]


def test_labels_travel_with_their_patients_through_division_and_merging(tmp_path):
    ingest_yaib(write_cohorts(tmp_path / "src", stays=40, seed=3), tmp_path / "h")
    partition_hospital(tmp_path / "h", tmp_path / "net", method="iid", hospitals=2, seed=0)
    merge_hospitals(list_hospitals(tmp_path / "net"), tmp_path / "merged")
    for name in list_labels(tmp_path / "h"):
        task = PREDICTION_TASKS[name]
        before, after = (read_stays(tmp_path / folder, task) for folder in ("h", "merged"))
        assert _fingerprints(before) == _fingerprints(after)
        assert set(after.subject_id.tolist()) <= read_splits(tmp_path / "merged").keys()


def _fingerprints(stays):
    """Each stay's measurements and labels together, whatever its number."""
    return sorted(
        hash(values.tobytes() + own.tobytes()) for values, own in zip(stays.values, stays.labels, strict=True)
    )


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda src: [path.unlink() for path in src.rglob("outc.parquet")], "holds no YAIB cohort"),
        (
            lambda src: (
                pd.read_parquet(src / "aki" / "outc.parquet")
                .drop(columns="time")
                .to_parquet(src / "aki" / "outc.parquet")
            ),
            "the outc table of the task aki lacks the column 'time'",
        ),
    ],
)
def test_a_broken_cohort_is_named(tmp_path, spoil, said):
    src = write_cohorts(tmp_path / "src", stays=5, seed=4)
    spoil(src)
    with pytest.raises(ProfileError, match=said):
        ingest_yaib(src, tmp_path / "h")


def test_a_table_of_stays_that_misses_some_is_refused(tmp_path):
    src = write_cohorts(tmp_path / "src", stays=5, seed=5)
    (tmp_path / "stays.csv").write_text("stay_id,patient_id\n100,a\n")
    with pytest.raises(ProfileError, match="lacks 4 of the cohorts' 5 stays"):
        ingest_yaib(src, tmp_path / "h", stays=tmp_path / "stays.csv")


@pytest.mark.skipif(not COHORTS.is_dir(), reason="the open YAIB demo cohorts are not here")
def test_the_open_demo_comes_in_whole(tmp_path):
    for folder in TASK_OF_FOLDER:
        (tmp_path / "src" / folder).parent.mkdir(exist_ok=True)
        (tmp_path / "src" / folder).symlink_to(COHORTS / folder / "eicu_demo")
    report = ingest_yaib(tmp_path / "src", tmp_path / "h")
    labelled = {name.split("/")[0]: rows.kept for name, rows in report.tables.items() if name.endswith("outc")}
    assert labelled == {
        "remaining-stay": 90012,
        "mortality-24h": 991,
        "aki": 57239,
        "sepsis": 32454,
        "kidney-function": 585,
    }
    assert report.patients == 1609
    assert sum(report.events.values()) == 90012 + 991 + 57239 + 32454 + 585 + 7925 + 617633
