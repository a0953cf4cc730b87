"""Labels out of real records, beside those YAIB made of the same patients."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clinical.cohorts.derivation import derive_labels, find_obstacles
from clinical.events import read_events
from clinical.features.hourly import read_stays
from clinical.labels import list_labels, read_labels
from clinical.tasks.prediction import PREDICTION_TASKS

DATA = Path(__file__).parents[4] / "shared" / "data"
COHORTS = DATA / "yaib_demo_cohorts"
present = pytest.mark.skipif(not COHORTS.is_dir(), reason="the open data sets are not beside the project")


@pytest.fixture(scope="module")
def mimic_iii(tmp_path_factory):
    from clinical.sources.intake import TableOptions
    from clinical.sources.mimic_iii import ingest_mimic_iii

    hospital = tmp_path_factory.mktemp("real") / "mimic-iii"
    ingest_mimic_iii(DATA / "mimic_iii_demo", hospital, options=TableOptions())
    derive_labels(hospital, [task for task, obstacle in find_obstacles(hospital).items() if not obstacle])
    return hospital


def theirs(folder, source="mimic_demo"):
    return pd.read_parquet(COHORTS / folder / source / "outc.parquet")


@present
def test_mimic_iii_has_all_it_takes_for_every_task(mimic_iii):
    assert not any(find_obstacles(mimic_iii).values())
    for name, task in PREDICTION_TASKS.items():
        assert name in list_labels(mimic_iii)
        if "grid" in task.forms:
            assert len(read_stays(mimic_iii, task)) > 40


@present
def test_cohorts_of_mimic_iii_are_those_of_yaib(mimic_iii):
    """The same stays, but for onsets that the departures named in docs/prediction.md move."""
    least = {"mortality-24h": ("mortality24", 1.0), "remaining-stay": ("los", 1.0), "aki": ("aki", 0.95),
             "kidney-function": ("kidney_function", 0.97), "sepsis": ("sepsis", 0.88)}  # fmt: skip
    for task, (folder, overlap) in least.items():
        own, other = set(read_labels(mimic_iii, task)["stay_id"].to_pylist()), set(theirs(folder)["stay_id"])
        assert len(own & other) / len(own | other) >= overlap


@present
def test_deaths_we_count_and_yaib_does_not_came_after_intensive_care(mimic_iii):
    own = read_labels(mimic_iii, "mortality-24h").to_pandas().set_index("stay_id")
    labels = theirs("mortality24").set_index("stay_id")["label"].reindex(own.index).astype(bool)
    assert not (labels & ~own["boolean_value"]).any()
    more = own.index[own["boolean_value"] & ~labels]
    ends = read_events(mimic_iii, prefixes=["ICU//OUT"]).to_pandas().set_index("stay_id").loc[more]
    deaths = read_events(mimic_iii, prefixes=["DEATH"]).to_pandas().set_index("subject_id")["time"]
    assert (deaths.loc[ends["subject_id"]].to_numpy() > ends["time"].to_numpy()).all()


@present
def test_answers_in_numbers_are_those_of_yaib(mimic_iii):
    own = read_labels(mimic_iii, "kidney-function").to_pandas().set_index("stay_id")["float_value"]
    apart = (own - theirs("kidney_function").set_index("stay_id")["label"]).abs().dropna()
    assert np.mean(apart < 0.01) > 0.9
    own = read_labels(mimic_iii, "remaining-stay").to_pandas().groupby("stay_id")["float_value"].agg(["max", "size"])
    other = theirs("los").groupby("stay_id")["label"].agg(["max", "size"]).loc[own.index]
    assert (own["size"] == other["size"]).all()
    assert (own["max"] - other["max"]).between(0, 1).all()  # YAIB takes whole hours


@present
@pytest.mark.parametrize(
    ("source", "folder", "tasks"),
    [
        ("meds", "mimic_iv_demo_meds", ["long-stay", "next-diagnosis", "readmission-30d"]),
        ("omop", "omop_synthea27nj_5.4", ["long-stay", "readmission-30d"]),
        ("fhir", "synthea_fhir_10patients", ["long-stay", "readmission-30d"]),
    ],
)
def test_other_sources_give_what_their_events_allow(tmp_path, source, folder, tasks):
    from typer.testing import CliRunner

    from clinical.commands import app

    hospital = tmp_path / source
    for command in (["ingest", source, str(DATA / folder), str(hospital)], ["label", str(hospital)]):
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    assert list_labels(hospital) == tasks


@present
def test_eicu_says_what_it_lacks_and_that_its_times_between_visits_are_assumed(tmp_path):
    from clinical.sources.eicu import ingest_eicu
    from clinical.sources.intake import TableOptions

    (tmp_path / "src").mkdir()
    for name in ("patient", "hospital"):
        (tmp_path / "src" / f"{name}.csv.gz").symlink_to(DATA / "eicu_demo" / f"{name}.csv.gz")
    ingest_eicu(tmp_path / "src", tmp_path / "h", options=TableOptions())
    obstacles = find_obstacles(tmp_path / "h")
    assert {task for task, why in obstacles.items() if not why} == {"long-stay"}
    assert obstacles["mortality-24h"] == "its events have no measurements"
    assert "times between its visits are assumed" in obstacles["readmission-30d"]
    derive_labels(tmp_path / "h", ["long-stay"])
    assert len(read_labels(tmp_path / "h", "long-stay")) == 1414
