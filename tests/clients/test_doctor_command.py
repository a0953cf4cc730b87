"""`wardround data doctor` from the command line: exit codes, the record, and the hospital's own policy."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from clinical.doctor import CHECKS
from clinical.site_policy import SIMULATED_POLICY
from tests.clinical.ward import Ward, healthy

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore:'click.utils:DeprecationWarning")


def run(*arguments: object):
    import typer
    from typer.testing import CliRunner

    from clients.commands import doctor

    app = typer.Typer()
    app.command()(doctor)
    return CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "120"})


def written(ward: Ward, folder: Path) -> Path:
    ward.write(folder)
    (folder / "policy.toml").write_text(SIMULATED_POLICY, encoding="utf-8")
    return folder


def test_a_hospital_without_faults_exits_with_zero_and_says_what_was_asked(tmp_path):
    result = run(written(healthy(), tmp_path / "ward"), "--json", tmp_path / "record.json")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert record["asked"] == sum(map(len, CHECKS.values()))
    assert not record["wrong"]
    assert {finding["id"] for finding in record["findings"]} == {
        "train-below-batch", "outcome-below-minimum-cell", "subgroup-below-minimum-cell",
    }  # fmt: skip
    assert f"{record['asked']} checks, {record['in_order']} in order" in result.stdout


def test_a_doubt_exits_with_zero_and_a_fault_with_one(tmp_path):
    ward = healthy()
    ward.drop(ward.at("DISCHARGE", 1))
    assert run(written(ward, tmp_path / "doubtful")).exit_code == 0
    ward.move(ward.at("NOTE//DISCHARGE", 2), -timedelta(hours=1))
    assert run(written(ward, tmp_path / "wrong")).exit_code == 1


@pytest.mark.parametrize("policy", [None, "[cohort]\nminimum_cell = 'five'\n", "nonsense ["])
def test_a_policy_that_the_hospital_would_not_read_is_found(tmp_path, policy):
    folder = healthy().write(tmp_path / "ward")
    if policy is not None:
        (folder / "policy.toml").write_text(policy, encoding="utf-8")
    result = run(folder)
    assert result.exit_code == 0
    assert "policy-unreadable" in result.stdout


def test_a_mistake_is_one_line_and_exit_code_two(tmp_path):
    for arguments in ([str(tmp_path / "nowhere")], [str(tmp_path)]):
        done = subprocess.run(
            [sys.executable, str(ROOT / "wardround.py"), "data", "doctor", *arguments],
            capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.startswith("wardround: ")
        assert done.stderr.count("\n") == 1
