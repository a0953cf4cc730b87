"""`wardround ledger plan`: what it says must be what then happens."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from clients.admission import admit, charge, plan
from clients.forecast import forecast
from clients.hospital import locate
from clients.policy import PolicyRefusal
from privacy.accounting import epsilon
from privacy.ledger import Ledger
from study.defaults import build

# typer still imports a name that click has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:'click.utils:DeprecationWarning")


@pytest.fixture
def hospital(consortium):
    consortium.edit_policy(0, "epsilon_ceiling = 1000.0", "epsilon_ceiling = 10.0")
    return consortium.hospitals[0]


def run(*arguments):
    from typer.testing import CliRunner

    from wardround import app

    return CliRunner(env={"COLUMNS": "100"}).invoke(app, ["ledger", "plan", *map(str, arguments)])


def site(hospital, **changes):
    study = build({key.replace("__", "."): value for key, value in changes.items()})
    return study, locate(study, {"data": str(hospital)})


def test_the_forecast_is_what_admission_then_reserves_and_nothing_is_written(hospital):
    study, located = site(hospital, privacy__epsilon=3.0)
    before = sorted(path for path in hospital.rglob("*") if path.is_file())
    answer = forecast(study, located)
    assert sorted(path for path in hospital.rglob("*") if path.is_file()) == before
    assert answer.refusal is None
    assert (answer.cost.charged, answer.cost.promised) == (0.0, 0.0)
    assert 2.99 < answer.cost.alone == answer.cost.together <= 3.0
    assert answer.left == pytest.approx(10.0 - answer.cost.together)
    planned = admit(study, located, run="real")
    assert planned == answer.plan
    charge(located, planned, run="real")
    after = forecast(study, located)
    with Ledger.open(located.ledger) as ledger:
        assert after.cost.promised == ledger.spent(delta=study.privacy.delta, include_reserved=True)
        assert after.cost.charged == ledger.spent(delta=study.privacy.delta)
    assert after.cost.together > after.cost.promised > after.cost.charged > 0


def test_the_rounds_that_fit_are_admitted_and_one_more_is_not(hospital):
    study, located = site(hospital, privacy__epsilon=8.0)
    admit(study, located, run="first")
    answer = forecast(study, located)
    assert "no room" in answer.refusal
    with Ledger.open(located.ledger) as ledger:
        held = [entry.event for entry in ledger.entries()]
    one_round = plan(study, answer.plan.patients).event(rounds=1)
    for rounds, within in ((answer.cost.rounds_that_fit, True), (answer.cost.rounds_that_fit + 1, False)):
        more = replace(one_round, steps=one_round.steps * rounds)
        assert (epsilon([*held, more], delta=study.privacy.delta) <= 10.0) is within
    with pytest.raises(PolicyRefusal, match="no room"):
        admit(study, located, run="second")


def test_a_study_past_the_policy_is_refused_with_its_reason_and_still_costed(hospital):
    answer = forecast(*site(hospital, privacy__epsilon=12.0))
    assert "site policy ends at 10" in answer.refusal
    assert answer.cost.alone > 11.9
    assert answer.left == 0.0


def test_the_command_answers_in_plain_lines_that_fit_a_terminal(hospital, tmp_path):
    preset = tmp_path / "strict.toml"
    preset.write_text("[privacy]\nepsilon = 3.0\n", encoding="utf-8")
    result = run(hospital, preset, "--set", "federation.rounds=5")
    assert result.exit_code == 0, result.output
    for words in ("no patient was read", "ceiling of site policy", "the study asks for 5", "would admit the study"):
        assert words in result.output
    assert re.search(r"epsilon of the study alone +(2\.99\d|3) at delta 0.0001", result.output)
    assert max(map(len, result.output.splitlines())) <= 100


def test_the_command_exits_1_on_a_refusal_and_says_when_nothing_is_promised(hospital):
    refused = run(hospital, "--set", "privacy.epsilon=12")
    assert refused.exit_code == 1
    assert "would refuse the study: epsilon 12 is asked for" in refused.output
    plain = run(hospital, "--set", "privacy.epsilon=0")
    assert plain.exit_code == 0
    assert "promises its patients nothing" in plain.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nowhere"], "no hospital at /nowhere"),
        (["{hospital}", "absent.toml"], "no study file absent.toml"),
        (["{hospital}", "--set", "privacy.epsilonn=3"], "did you mean privacy.epsilon"),
        (["{hospital}", "--policy", "absent.toml"], "no policy file"),
    ],
)
def test_a_mistake_is_a_value_or_file_error_with_one_line(hospital, arguments, words):
    result = run(*(argument.format(hospital=hospital) for argument in arguments))
    assert isinstance(result.exception, (ValueError, OSError))  # which `wardround.main` turns into exit code 2
    assert words in str(result.exception)
    assert "\n" not in str(result.exception)
