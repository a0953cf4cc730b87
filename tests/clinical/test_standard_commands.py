"""The commands of the standard formats: what is written, what is said, how a mistake ends, what a task then sees."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from clinical.events import read_splits
from clinical.site_policy import DEFAULT_POLICY
from clinical.tasks.coding import read_documents
from tests.clinical.test_fhir import WORLD as FHIR
from tests.clinical.test_fhir import write_lines
from tests.clinical.test_meds import write_shard
from tests.clinical.test_omop import WORLD as OMOP
from tests.clinical.test_omop import load_database, write_files

ROOT = Path(__file__).parents[2]

# Typer 0.20 touches names that Click 8.5 deprecates, at its first import: hence imported in tests and not above.
pytestmark = pytest.mark.filterwarnings("ignore:'click.utils:DeprecationWarning")


def run(*arguments: object):
    from typer.testing import CliRunner

    from clinical.commands import app

    return CliRunner().invoke(app, ["ingest", *map(str, arguments)])


def check(result, out: Path, *, patients: int) -> str:
    assert result.exit_code == 0, result.output
    assert (out / "policy.toml").read_text() == DEFAULT_POLICY
    assert len(read_splits(out)) == patients
    assert json.loads((out / "metadata/dataset.json").read_text())["site_id"] == "north"
    assert f"{patients} patients; times" in result.stdout
    return result.stdout


def test_each_command_writes_a_hospital_and_says_what_became_of_the_rows(tmp_path):
    write_files(tmp_path / "cdm", OMOP)
    write_lines(tmp_path / "fhir", FHIR)
    write_shard(tmp_path / "meds", "data/0.parquet", code=["LAB//51221//%", ""])
    (tmp_path / "items.csv").write_text("itemid,label\n51221,Hematocrit\n")
    named = ("--site-id", "north", "--seed", 3)
    said = check(run("omop", tmp_path / "cdm", tmp_path / "o", *named), tmp_path / "o", patients=2)
    assert "visit_detail: 2 rows read, 1 kept (2 events), 1 refused: 1 not intensive care" in said
    said = check(run("fhir", tmp_path / "fhir", tmp_path / "f", *named), tmp_path / "f", patients=1)
    assert "there and not used: Immunization" in said
    meds = ("meds", tmp_path / "meds", tmp_path / "m", "--items", tmp_path / "items.csv", *named)
    assert "1 refused: 1 no code" in check(run(*meds), tmp_path / "m", patients=1)
    assert pq.read_table(tmp_path / "m/metadata/codes.parquet")["code"].to_pylist() == ["LAB//Hematocrit//%"]


def test_the_coding_task_finds_the_discharge_note_with_the_codes_of_its_stay(tmp_path):
    run("omop", write_files(tmp_path / "cdm", OMOP), tmp_path / "o")
    run("fhir", write_lines(tmp_path / "fhir", FHIR), tmp_path / "f")
    for hospital in (tmp_path / "o", tmp_path / "f"):
        documents, report = read_documents(hospital, system="icd10", translate=True)
        assert documents.text == ["She went home."]
        assert documents.codes == [("5A1D70Z", "I50.22")]
        assert (report.codes_without_admission, report.unknown_codes) == (0, 0)


def test_the_command_reads_a_live_database_and_keeps_the_password_to_itself(tmp_path, postgres):
    load_database(postgres, OMOP, schema="cdm")
    url = postgres.replace("postgres@", "postgres:s3cr3t@")
    result = run("omop", url, tmp_path / "o", "--schema", "cdm", "--site-id", "north")
    assert "s3cr3t" not in check(result, tmp_path / "o", patients=2)
    assert "s3cr3t" not in (tmp_path / "o/metadata/ingest.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("omop", "postgresql+psycopg://me:s3cr3t@127.0.0.1:9/cdm"), "cannot be read (OperationalError)"),
        (("omop", "nowhere"), "no such folder: nowhere"),
        (("fhir", "nowhere"), "no such file or folder: nowhere"),
        (("meds", "nowhere"), "no such folder: nowhere"),
        (("fhir", str(ROOT), "--time-zone", "Mars"), "unknown time zone 'Mars'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(tmp_path, arguments, line):
    kind, src, *options = arguments
    command = [sys.executable, str(ROOT / "wardround.py"), "data", "ingest", kind, src, str(tmp_path / "h"), *options]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert line in done.stderr
    assert "Traceback" not in done.stderr
    assert "s3cr3t" not in done.stderr + done.stdout
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
