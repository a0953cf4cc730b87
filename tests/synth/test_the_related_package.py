"""What leaves of several tables: patients numbered anew, every table twice, and nothing of the keys they came with."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import tomli_w
from typer.testing import CliRunner

from reports.cohort import render
from synth.artefacts import WORDS, ArtefactFound, files_of, inspect, packaged_spec, scan
from synth.columns import SpecError
from synth.gate import check_releases
from synth.package import write_package
from synth.record import Description, as_record
from synth.related_evidence import gather_related, judge_related, portrayed
from synth.related_tables import admit_tables, read_tables
from synth.relations import related_to
from synth.releases import Releases
from synth.sheets import sheets_of
from synth.standing import look_up, together
from synth.tables import write_rows
from synth.thresholds import Thresholds
from tests.synth.test_the_package import NOTHING, checked, judged, nothing
from tests.synth.tiny_related import ICU, OFFICE, icu, office
from tests.synth.worlds import standing
from wardround import app

FAR = 9_000_000  # what the keys of a cohort begin at: easy to look for


def moved(tables, by):
    return {name: rows.assign(id=rows["id"] + by) for name, rows in tables.items()}


def write_tables(folder, tables):
    folder.mkdir()
    for name, rows in tables.items():
        rows.to_parquet(folder / f"{name}.parquet")


@pytest.fixture
def folders(tmp_path):
    for name, seed, by in (("training", 1, 0), ("holdout", 2, 5000), ("made", 3, FAR)):
        write_tables(tmp_path / name, moved(icu(120, seed=seed), by))
    (tmp_path / "spec.toml").write_text(tomli_w.dumps(related_to(ICU)))
    return tmp_path


@pytest.fixture
def passed(monkeypatch):
    monkeypatch.setattr("gate.cohort_judging.judge_related", lambda *_: judged())  # what decides is tested elsewhere


def released(folders, out):
    words = ["synth", "release", folders / "training", folders / "made", "--holdout", folders / "holdout"]
    words += ["--spec", folders / "spec.toml", "--out", folders / out, "--releases", folders / "releases"]
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.mark.usefixtures("passed")
def test_a_cohort_of_two_tables_leaves_whole_and_without_its_keys(folders):
    done = released(folders, "package")
    assert done.exit_code == 0, done.output
    package = folders / "package"
    tables = ("patients.parquet", "patients.csv", "hours.parquet", "hours.csv")
    assert {path.name for path in package.iterdir()} == {*tables, *WORDS, "manifest.json"}
    assert checked(package).exit_code == 0
    assert packaged_spec(package) == ICU
    came = admit_tables(read_tables(folders / "made", ICU), ICU)
    for name, rows in came.tables.items():
        left = pd.read_parquet(package / f"{name}.parquet")
        owner = np.arange(120) if name == "patients" else came.owners[name]
        assert left.columns[0] == "id"
        assert (left["id"] == owner + 1).all()
        pd.testing.assert_frame_equal(left.drop(columns="id"), rows, check_dtype=False)
    keys = {str(key).encode() for key in pd.read_parquet(folders / "made/patients.parquet")["id"]}
    assert min(keys) >= str(FAR).encode()
    for name in ("patients.csv", "hours.csv", *WORDS):
        assert not any(key in (package / name).read_bytes() for key in keys), name
    record = json.loads((package / "cohort.json").read_text())
    assert record["rows"] == {"patients": 120, "hours": len(came.tables["hours"])}
    assert f"120 patients, {len(came.tables['hours'])} rows of hours" in (package / "card.md").read_text()
    page = (package / "cohort.html").read_text()
    assert "hours: what is public of each column" in page
    assert "<figcaption>hours: pulse, mean " in page


@pytest.mark.usefixtures("passed")
def test_the_next_release_of_these_patients_knows_of_the_first(folders):
    assert released(folders, "package").exit_code == 0
    assert released(folders, "again").exit_code == 0
    assert json.loads((folders / "again/cohort.json").read_text())["privacy"]["release"] == 2
    cohorts = [read_tables(folders / name, ICU) for name in ("training", "holdout", "made")]
    evidence = gather_related(*cohorts, ICU).summaries
    with Releases.open(folders / "releases") as releases:
        known = look_up(
            cohorts[0]["patients"], cohorts[1]["patients"], evidence.spec, None, ledger=None, releases=releases
        )
    assert [each.number for each in known.earlier] == [1, 2]
    assert len(together(evidence, known).synthetic) == 3 * 120
    found = check_releases(known, evidence, Thresholds(releases=5), np.random.default_rng(0))
    assert "all releases: verbatim rows" in found


def test_what_is_refused_writes_nothing(folders):
    for path in (folders / "made").iterdir():
        path.write_bytes((folders / "training" / path.name).read_bytes())
    (folders / "site.toml").write_text("disclosure-attacks = 20\ndisclosure-repetitions = 1\n")
    words = ["synth", "release", folders / "training", folders / "made", "--holdout", folders / "holdout"]
    words += ["--spec", folders / "spec.toml", "--out", folders / "package", "--releases", folders / "releases"]
    words += ["--thresholds", folders / "site.toml"]
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 1, done.output
    assert "copies, hours by hour: fail" in done.output
    assert not (folders / "package").exists()
    assert not (folders / "releases/releases.jsonl").exists()


def written(tmp_path, spec, tables):
    sheets = sheets_of(admit_tables(tables, spec))
    rows = {sheet.layout.name: len(sheet.rows) for sheet in sheets}
    described = Description(rows=rows, fidelity={}, portrait=NOTHING)
    record = as_record(judged(), standing(), Thresholds(), spec, described)
    write_package(tmp_path / "package", sheets, spec, record, draw=render, before=nothing)
    (tmp_path / "package/manifest.json").unlink()
    return tmp_path / "package", sheets, record


def test_visits_with_dates_and_rules_are_read_back_as_they_left(tmp_path):
    package, sheets, record = written(tmp_path, OFFICE, office())
    assert packaged_spec(package) == OFFICE
    scan(package, sheets, OFFICE, record, render(record))
    assert record["rules"] == ["visits: 'diastolic' below 'systolic'"]
    assert set(files_of(OFFICE)) == {path.name for path in package.iterdir()}


def rewrite(package, name, change):
    rows = change(pd.read_parquet(package / f"{name}.parquet"))
    write_rows(rows, package / f"{name}.parquet", package / f"{name}.csv")


def spoil_number(package):
    rewrite(package, "patients", lambda rows: rows.assign(id=rows["id"] + 7))


def spoil_owner(package):
    rewrite(package, "hours", lambda rows: rows.assign(id=rows["id"].where(rows.index < len(rows) - 1, 10_000)))


def spoil_order(package):
    rewrite(package, "hours", lambda rows: rows.iloc[::-1].reset_index(drop=True))


def spoil_text(package):
    rewrite(package, "hours", lambda rows: rows.assign(id=[f"{key:03d}" for key in rows["id"]]))


def spoil_column(package):
    rewrite(package, "hours", lambda rows: rows.assign(mrn=1))


def spoil_csv(package):
    text = (package / "hours.csv").read_text().splitlines()
    (package / "hours.csv").write_text("\n".join(text[:-1]) + "\n")


def spoil_table(package):
    (package / "hours.csv").unlink()


SPOILED = [
    (spoil_number, r"patients.parquet holds a patient's number"),
    (spoil_owner, r"hours.parquet holds rows of no patient"),
    (spoil_order, r"hours.parquet holds a patient's number"),
    (spoil_text, r"hours.parquet holds a patient's number"),
    (spoil_column, r"hours.parquet has other columns"),
    (spoil_csv, r"hours.parquet and hours.csv hold different rows"),
    (spoil_table, r"hours.csv is missing in a package"),
]


@pytest.mark.parametrize(("spoil", "problem"), SPOILED)
def test_whoever_receives_the_tables_finds_what_is_no_row_of_a_patient(tmp_path, spoil, problem):
    package, _, _ = written(tmp_path, ICU, icu())
    inspect(package, ICU)
    spoil(package)
    with pytest.raises(ArtefactFound, match=problem):
        inspect(package, ICU)


def test_a_table_is_called_by_what_a_file_can_be_called():
    for name in ("../hours", "hours/1", "", ".hours", "hours table"):
        with pytest.raises(SpecError, match="a name for its file"):
            replace(ICU.tables[1], name=name)


def verdicts(made):
    training, holdout = office(150, seed=1), moved(office(150, seed=2), 5000)
    limits = Thresholds(
        waived=("membership", "disclosure", "utility", "fairness"), disclosure_attacks=20, disclosure_repetitions=1
    )
    evidence = gather_related(training, holdout, made, OFFICE)
    judgement = judge_related(evidence, standing(150), limits, np.random.default_rng(0))
    return {check.name: check.verdict for check in judgement.checks}


def test_rows_of_visits_keep_to_rules_and_public_bounds():
    sound = moved(office(150, seed=3), FAR)
    broken = sound["visits"]["diastolic"].where(sound["visits"].index > 0, sound["visits"]["systolic"] + 1)
    beyond = sound["visits"]["systolic"].where(sound["visits"].index > 0, 251)
    found = [
        verdicts(sound | {"visits": visits})
        for visits in (
            sound["visits"],
            sound["visits"].assign(diastolic=broken.clip(upper=160)),
            sound["visits"].assign(systolic=beyond),
        )
    ]
    assert [each["validity, visits"] for each in found] == ["pass", "fail", "pass"]
    assert [each["artefact, all tables"] for each in found] == ["pass", "pass", "fail"]


def test_a_portrait_shows_each_column_once():
    assert portrayed(ICU) == {
        *("sex", "age", "weight", "hours: rows", "hours: pulse, mean", "hours: pressure, mean", "hours: lactate, mean"),
        *("hours: device, last", "hours: awake, last"),
    }
