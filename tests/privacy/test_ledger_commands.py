from __future__ import annotations

import hashlib
import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from privacy.accounting import PoissonGaussian
from privacy.export import from_lines
from privacy.ledger import Ledger, LedgerCorrupt

# typer still imports a name that click has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:'click.utils:DeprecationWarning")
ROOT = Path(__file__).parents[2]
EVENT = PoissonGaussian(0.05, 1.5, 40)


@pytest.fixture
def hospital(tmp_path):
    with Ledger.open(tmp_path / "ledger.db") as ledger:
        ledger.reserve("run-1", EVENT, delta=1e-5, epsilon_ceiling=8, study_digest="d", purpose="coding heads")
        ledger.charge("run-1", PoissonGaussian(0.05, 1.5, 20))
    return tmp_path


def run(*arguments):
    from typer.testing import CliRunner

    from privacy.commands import app

    return CliRunner(env={"COLUMNS": "160"}).invoke(app, [str(argument) for argument in arguments])


def test_show_composes_at_the_smallest_delta_that_was_promised(hospital):
    assert "delta 1e-05" in run("show", hospital).output
    with Ledger.open(hospital / "ledger.db") as ledger:
        ledger.reserve("run-2", EVENT, delta=1e-7, epsilon_ceiling=9, study_digest="e", purpose="strict")
    shown = run("show", hospital).output
    assert "delta 1e-07" in shown
    assert "Ceiling of the last reservation: 9." in shown
    assert "delta 0.001" in run("show", hospital, "--delta", 1e-3).output


def test_an_export_holds_every_row_and_verifies_without_the_ledger(hospital, tmp_path):
    lines = run("export", hospital).output.splitlines()
    header, *rows = map(json.loads, lines)
    assert (header["rows"], len(rows)) == (2, 2)
    assert rows[1]["steps"] == 20
    file = tmp_path / "export.jsonl"
    assert run("export", hospital, "--output", file).exit_code == 0
    assert file.read_text(encoding="utf-8").splitlines() == lines
    assert f"2 rows, chain intact, head {header['head']}" in run("verify", "--file", file).output
    assert "2 rows, chain intact" in run("verify", "--file", file, "--head", header["head"]).output
    with Ledger.open(hospital / "ledger.db") as ledger:
        ledger.charge("run-1", PoissonGaussian(0.05, 1.5, 1))
    both = run("verify", hospital, "--file", file).output
    assert "export.jsonl: 2 rows" in both
    assert "ledger: 3 rows" in both


def test_the_documented_hash_of_an_exported_row_can_be_recomputed_by_anyone(hospital):
    _, row, _ = map(json.loads, run("export", hospital).output.splitlines())
    event = [row["sampling_rate"], row["noise_multiplier"], row["steps"]]
    fields = [row["sequence"], row["at"], row["kind"], row["run_id"], event, row["details"], row["previous"]]
    text = json.dumps(fields, separators=(",", ":"), sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == row["hash"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_character_of_an_export_is_found(hospital, data):
    text = run("export", hospital).output
    position = data.draw(st.integers(0, len(text) - 2))
    new = data.draw(st.sampled_from('0123456789abcdef"x{}').filter(lambda character: character != text[position]))
    changed = text[:position] + new + text[position + 1 :]
    with pytest.raises(LedgerCorrupt):
        from_lines(changed.splitlines())


def test_an_export_of_a_ledger_that_was_cut_off_since_does_not_go_on_in_it(hospital, tmp_path):
    file = tmp_path / "export.jsonl"
    run("export", hospital, "--output", file)
    connection = sqlite3.connect(hospital / "ledger.db")
    connection.execute("DROP TRIGGER privacy_ledger_no_delete")
    connection.execute("DELETE FROM privacy_ledger WHERE sequence = 2")
    connection.commit()
    connection.close()
    assert isinstance(run("verify", hospital, "--file", file).exception, LedgerCorrupt)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["verify"], "nothing to verify"),
        (["verify", "--file", "absent.jsonl"], "no ledger export at absent.jsonl"),
        (["verify", "--file", "pyproject.toml"], "is not JSON"),
        (["export", "absent.db"], "no privacy ledger at"),
        (["settle", "mysql://localhost/ledger", "run-1"], "SQLite or PostgreSQL"),
        (["show", "postgres://"], "no privacy ledger|no connection|is none|can't load|SQLite or PostgreSQL"),
    ],
)
def test_a_mistake_ends_in_one_line_and_exit_code_2(arguments, words):
    ended = subprocess.run(
        [sys.executable, "wardround.py", "ledger", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
    assert re.search(words, ended.stderr)


def test_show_names_every_run_its_steps_and_the_composed_total(hospital):
    shown = run("show", hospital).output
    for words in ("run-1", "coding heads", "open", "20 of 40", "Charged: epsilon", "per patient"):
        assert words in shown


def test_verify_accepts_an_intact_chain_and_refuses_an_unknown_head(hospital):
    assert "2 rows, chain intact" in run("verify", hospital / "ledger.db").output
    assert isinstance(run("verify", hospital, "--head", "f" * 64).exception, LedgerCorrupt)


def test_settle_closes_a_run(hospital):
    assert "run run-1 is settled: 20 of 40 reserved steps were charged" in run("settle", hospital, "run-1").output
    assert "settled" in run("show", hospital).output


def test_a_folder_without_a_ledger_is_named_and_none_is_created(tmp_path):
    result = run("show", tmp_path)
    assert isinstance(result.exception, FileNotFoundError)
    assert str(tmp_path) in str(result.exception)
    assert list(tmp_path.iterdir()) == []
