from __future__ import annotations

import pytest

from privacy.accounting import PoissonGaussian
from privacy.ledger import Ledger, LedgerCorrupt

# typer still imports a name that click has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:'click.utils:DeprecationWarning")
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


def test_show_names_every_run_its_steps_and_the_composed_total(hospital):
    shown = run("show", hospital).output
    for words in ("run-1", "coding heads", "open", "20 of 40", "Charged: epsilon", "per patient"):
        assert words in shown


def test_verify_accepts_an_intact_chain_and_refuses_an_unknown_head(hospital):
    assert "2 rows, chain intact" in run("verify", hospital / "ledger.db").output
    assert isinstance(run("verify", hospital, "--head", "f" * 64).exception, LedgerCorrupt)


def test_settle_closes_a_run(hospital):
    assert "run run-1 is settled" in run("settle", hospital, "run-1").output
    assert "settled" in run("show", hospital).output


def test_a_folder_without_a_ledger_is_named_and_none_is_created(tmp_path):
    result = run("show", tmp_path)
    assert isinstance(result.exception, FileNotFoundError)
    assert str(tmp_path) in str(result.exception)
    assert list(tmp_path.iterdir()) == []
