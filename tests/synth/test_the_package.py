"""What leaves on a release, what keeps it in, and the commands around it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from privacy import manifest
from privacy.signatures import create_key, read_public_key, verify
from synth.columns import Column
from synth.gate import Check, Judgement
from synth.package import FILES, ArtefactFound, as_record, scan, write_package
from synth.scores.score import Score
from synth.spec import TableSpec, write_spec
from synth.tables import typed_table
from synth.thresholds import Thresholds
from wardround import app

SPEC = TableSpec(
    (
        Column("age", "integer", low=0, high=120, missing=True),
        Column("bmi", "real", low=5, high=90, decimals=1),
        Column("sex", "categorical", categories=("F", "M")),
        Column("smokes", "boolean", missing=True),
        Column("seen", "date", low=0, high=30000),
    ),
    confirmed=True,
)


OPTIONS = {"holdout": "holdout.csv", "spec": "spec.toml", "thresholds": "site.toml"}


def draw(rng, rows=60):
    days = pd.Timestamp(0) + pd.to_timedelta(rng.integers(0, 30000, rows), unit="D")
    table = pd.DataFrame({"age": rng.integers(0, 120, rows).astype(str), "bmi": rng.uniform(5, 90, rows).round(1)})
    table.loc[rng.random(rows) < 0.1, "age"] = None
    table["sex"] = rng.choice(["F", "M"], rows)
    table["smokes"] = rng.choice(["true", "false", None], rows)
    table["seen"] = days.strftime("%Y-%m-%d")
    return table


def judged(decision="release"):
    scores = {"a": Score(0.5, 0.4, float("inf"), None, "pass", "why")}
    return Judgement(decision, (Check("copies", scores, "pass"),), (), ())


def written(tmp_path, decision="release"):
    cohort = typed_table(draw(np.random.default_rng(0)), SPEC)
    folder = tmp_path / "package"
    write_package(folder, cohort, SPEC, as_record(judged(decision), Thresholds(), SPEC, rows=60, fidelity={}))
    return folder, cohort


def test_a_package_holds_the_rows_twice_their_judgement_and_checksums(tmp_path):
    folder, cohort = written(tmp_path)
    assert {path.name for path in folder.iterdir()} == {*FILES, "manifest.json"}
    _, files = manifest.read(folder)
    manifest.compare(folder, files)
    assert typed_table(pd.read_parquet(folder / "rows.parquet"), SPEC).equals(cohort)
    record = json.loads((folder / "cohort.json").read_text())
    assert record["decision"] == "release"
    assert record["checks"][0]["scores"]["a"]["high"] is None
    assert "copies: pass" in (folder / "card.md").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["package"]


@pytest.mark.parametrize("decision", ["refuse", "inconclusive"])
def test_nothing_is_written_without_a_release(tmp_path, decision):
    with pytest.raises(ValueError, match="nothing is written"):
        written(tmp_path, decision)
    assert not list(tmp_path.iterdir())


def test_a_release_never_replaces_another(tmp_path):
    written(tmp_path)
    with pytest.raises(FileExistsError, match="never replaces"):
        written(tmp_path)


def spoil_file(folder, _):
    (folder / "model.pkl").write_bytes(b"weights")


def spoil_metadata(folder, cohort):
    cohort.to_parquet(folder / "rows.parquet")


def spoil_column(folder, cohort):
    cohort.assign(patient=1).to_csv(folder / "rows.csv", index=False)


def spoil_row(folder, cohort):
    cohort.iloc[:-1].to_csv(folder / "rows.csv", index=False)


def spoil_cell(folder, cohort):
    cohort.assign(sex=["Jane Doe", *cohort["sex"][1:]]).to_csv(folder / "rows.csv", index=False)


def spoil_value(folder, cohort):
    cohort.assign(bmi=6.0).to_csv(folder / "rows.csv", index=False)


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (spoil_file, "model.pkl is not part of a package"),
        (spoil_metadata, "carries metadata"),
        (spoil_column, "other columns"),
        (spoil_row, "59 rows"),
        (spoil_cell, "does not allow"),
        (spoil_value, "different rows"),
    ],
)
def test_the_scan_finds_what_is_no_row(tmp_path, spoil, problem):
    folder, cohort = written(tmp_path)
    (folder / "manifest.json").unlink()
    scan(folder, SPEC, rows=60)
    spoil(folder, cohort)
    with pytest.raises(ArtefactFound, match=problem) as found:
        scan(folder, SPEC, rows=60)
    assert "Jane" not in str(found.value)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(5)
    for name in ("training", "holdout", "fresh"):
        draw(rng).to_csv(tmp_path / f"{name}.csv", index=False)
    write_spec(SPEC, tmp_path / "spec.toml")
    (tmp_path / "site.toml").write_text("disclosure-attacks = 50\ndisclosure-repetitions = 1\n")
    return tmp_path


def call(files, command, cohort, *more):
    arguments = [command, str(files / "training.csv"), str(files / f"{cohort}.csv")]
    options = [f"--{name}={files / file}" for name, file in OPTIONS.items()]
    return CliRunner().invoke(app, ["synth", *arguments, *options, *more])


def test_releasing_a_copy_is_refused_and_writes_nothing(files):
    result = call(files, "release", "training", "--out", str(files / "package"))
    assert result.exit_code == 1
    assert "the gate says: refuse" in result.output
    assert not (files / "package").exists()


def test_a_cohort_of_too_few_patients_is_scored_as_undecided(files):
    result = call(files, "score", "fresh", "--output", str(files / "record.json"))
    assert result.exit_code == 3
    assert json.loads((files / "record.json").read_text())["decision"] == "inconclusive"


def test_a_released_package_is_signed_and_verifies(files, monkeypatch):
    passed = replace(judged(), checks=())
    monkeypatch.setattr("synth.gate.judge", lambda *_: passed)  # what decides is tested elsewhere
    create_key(files / "key")
    result = call(
        files, "release", "fresh", "--out", str(files / "package"), "--key", str(files / "key"), "--name", "A Steward"
    )
    assert result.exit_code == 0
    assert [s.name for s in verify(files / "package", [read_public_key(files / "key.pub")])] == ["A Steward"]
