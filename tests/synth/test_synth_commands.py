"""`wardround synth` from the outside: draft, check, fit and sample, and one line for each mistake."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from synth.commands import app
from synth.spec import check_table, read_spec, write_spec
from synth.tables import read_table
from tests.synth.tiny import CLINIC, WARD, clinic, ward

RUNNER = CliRunner()
PLAN = """
[table]
path = "ward.csv"
[spec]
path = "ward.toml"
[generator]
name = "{name}"
rows = 40
seed = 3
[privacy]
{privacy}
"""
PRIVATE = 'epsilon = 1.0\ndelta = 1e-5\nceiling = 2.0\nledger = "ledger.db"\nrun = "first"'


@pytest.fixture
def folder(tmp_path):
    ward().to_csv(tmp_path / "ward.csv", index=False)
    clinic().to_parquet(tmp_path / "clinic.parquet")
    write_spec(WARD, tmp_path / "ward.toml")
    write_spec(CLINIC, tmp_path / "clinic.toml")
    return tmp_path


def plan(folder, name="marginals", privacy=PRIVATE):
    (folder / "plan.toml").write_text(PLAN.format(name=name, privacy=privacy))
    return str(folder / "plan.toml")


def run(*words):
    return RUNNER.invoke(app, [str(word) for word in words])


def test_a_private_cohort_is_rows_and_a_record_that_states_its_cost(folder):
    done = run("fit", plan(folder), "--out", folder / "out")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "cohort-record.json",
        "cohort.csv",
        "cohort.parquet",
    ]
    record = json.loads((folder / "out/cohort-record.json").read_text())
    assert 0.99 < record["privacy"]["epsilon"] <= 1.0
    assert record["privacy"]["unit"] == "patient"
    assert record["generator"]["settings"] == {"bins": 32, "merge_below": 3.0}
    spec = read_spec(folder / "ward.toml")
    for name in ("cohort.csv", "cohort.parquet"):
        rows = read_table(folder / "out" / name)
        assert len(rows) == 40
        assert {c.column for c in check_table(rows.assign(patient=range(40)), spec) if c.fatal} == set()
    again = run("fit", plan(folder), "--out", folder / "again")
    assert isinstance(again.exception, ValueError)
    assert "stands in the ledger already" in str(again.exception)
    assert not (folder / "again").exists()


def test_a_plan_without_privacy_says_so_and_may_be_sampled_again(folder):
    file = plan(folder, "independent", "epsilon = inf")
    for out, words in (("a", ("fit",)), ("b", ("fit",)), ("c", ("sample", "--seed", 5))):
        done = run(words[0], file, "--out", folder / out, *words[1:])
        assert done.exit_code == 0, done.output
        assert "no differential privacy guarantee" in done.output
    first, same, other = (pd.read_parquet(folder / out / "cohort.parquet") for out in "abc")
    pd.testing.assert_frame_equal(first, same)
    assert not first.equals(other)


def test_a_fit_that_can_be_cut_off_leaves_nothing_but_the_cohort(folder):
    before = {path.name for path in folder.iterdir()}
    settings = '"gan"\nsteps = 2\nbatch = 20\nhidden = 8\n#'
    file = folder / "plan.toml"
    file.write_text(PLAN.format(name="gan", privacy="epsilon = inf").replace('"gan"', settings))
    (folder / "out.unfinished").write_bytes(b"something else")
    done = run("fit", file, "--out", folder / "out")
    assert "is no unfinished training: delete it" in str(done.exception)
    (folder / "out.unfinished").unlink()
    done = run("fit", file, "--out", folder / "out")
    assert done.exit_code == 0, done.output
    assert {path.name for path in folder.iterdir()} - before == {"plan.toml", "out"}
    assert len(pd.read_parquet(folder / "out/cohort.parquet")) == 40


def test_a_gan_is_never_private(folder):
    done = run("fit", plan(folder, "gan"), "--out", folder / "out")
    assert "gan has no differential privacy" in str(done.exception)


@pytest.mark.parametrize(
    ("privacy", "problem"),
    [
        ("", "needs epsilon"),
        ("epsilon = inf\ndelta = 1e-5", "unknown key 'delta'"),
        ("epsilon = 1.0", "needs delta"),
        (PRIVATE.replace("2.0", "0.5"), "no privacy budget"),
        (PRIVATE.replace("1e-5", "2.0"), "delta must lie in"),
        (PRIVATE + "\npatient-rows = 0", "patient-rows must be >= 1"),
    ],
)
def test_privacy_has_no_default_and_its_faults_are_named(folder, privacy, problem):
    done = run("fit", plan(folder, privacy=privacy), "--out", folder / "out")
    assert isinstance(done.exception, ValueError)
    assert problem in str(done.exception)
    assert not (folder / "out").exists()


def test_a_private_plan_is_not_sampled_a_second_time_for_free(folder):
    done = run("sample", plan(folder), "--out", folder / "out", "--seed", 1)
    assert "cannot be repeated for free" in str(done.exception)


def test_check_exits_with_one_for_a_contradiction_and_zero_for_none(folder):
    ward().assign(sex="X").to_csv(folder / "wrong.csv", index=False)
    wrong = run("check", folder / "ward.toml", folder / "wrong.csv")
    assert wrong.exit_code == 1
    assert wrong.output == "column 'sex': 120 cells are none of the 2 categories\n"
    assert run("check", folder / "clinic.toml", folder / "clinic.parquet").exit_code == 0


def test_a_draft_is_refused_until_it_is_confirmed(folder):
    assert run("spec", folder / "ward.csv", "--out", folder / "draft.toml").exit_code == 0
    (folder / "ward.toml").write_text((folder / "draft.toml").read_text())
    done = run("fit", plan(folder), "--out", folder / "out")
    assert "the specification is not confirmed" in str(done.exception)
    assert isinstance(run("spec", folder / "ward.csv", "--out", folder / "draft.toml").exception, FileExistsError)


@pytest.mark.parametrize("name", ["absent.csv", "plan.txt"])
def test_a_table_that_cannot_be_read_is_one_line(folder, name):
    (folder / "plan.txt").write_text("x")
    assert isinstance(run("spec", folder / name).exception, ValueError | OSError)
