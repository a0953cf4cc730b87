"""A plan at a hospital with a policy: ceiling and ledger are the policy's, and the plan may only ask for less."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from clinical.site_policy import DEFAULT_POLICY
from privacy.ledger import BudgetExhausted, Ledger
from privacy.policy import PolicyRefusal
from synth.plan import read_plan, spec_digest
from synth.spec import write_spec
from synth.synthesis import synthesise
from tests.synth.tiny import WARD, ward

if TYPE_CHECKING:
    from pathlib import Path

POLICY = DEFAULT_POLICY.replace('tasks = ["icd-coding"]', 'tasks = ["synthesis"]')
PRIVACY = 'epsilon = 2.0\ndelta = 1e-4\nrun = "first"\n'


def plan(tmp_path: Path, *, policy: str = POLICY, privacy: str = PRIVACY, generator: str = "independent") -> Path:
    """A plan, a table and a site's folder."""
    site = tmp_path / "site"
    site.mkdir(exist_ok=True)
    (site / "policy.toml").write_text(policy, encoding="utf-8")
    ward(120).to_csv(tmp_path / "table.csv", index=False)
    write_spec(WARD, tmp_path / "spec.toml")
    path = tmp_path / "plan.toml"
    path.write_text(
        '[table]\npath = "table.csv"\n[spec]\npath = "spec.toml"\n[site]\npath = "site"\n'
        f'[generator]\nname = "{generator}"\nrows = 20\nseed = 1\n[privacy]\n{privacy}',
        encoding="utf-8",
    )
    return path


def test_a_fit_is_charged_to_the_sites_own_ledger_under_the_policys_ceiling(tmp_path):
    read = read_plan(plan(tmp_path))
    assert read.allowance.ceiling == 10.0
    statement = synthesise(read, tmp_path / "out")
    with Ledger.open(tmp_path / "site" / "ledger.db", create=False) as ledger:
        assert ledger.spent(delta=1e-4) == statement.epsilon <= 2.0


def test_what_others_have_charged_counts(tmp_path):
    policy = POLICY.replace("epsilon_ceiling = 10.0", "epsilon_ceiling = 2.5")
    synthesise(read_plan(plan(tmp_path, policy=policy)), tmp_path / "out")
    again = plan(tmp_path, policy=policy, privacy=PRIVACY.replace("first", "second"))
    with pytest.raises(BudgetExhausted):
        synthesise(read_plan(again), tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_plan_may_ask_for_a_lower_ceiling(tmp_path):
    assert read_plan(plan(tmp_path, privacy=PRIVACY + "ceiling = 3.0\n")).allowance.ceiling == 3.0


@pytest.mark.parametrize(
    ("privacy", "said"),
    [
        (PRIVACY + "ceiling = 11.0\n", "above that of site policy, 10"),
        (PRIVACY + 'ledger = "mine.db"\n', "is the site's"),
        (PRIVACY.replace("2.0", "12.0"), "site policy ends at 10"),
        (PRIVACY.replace("1e-4", "0.01"), "site policy ends at 0.001"),
    ],
)
def test_a_plan_that_asks_for_more_is_refused_before_the_table_is_read(tmp_path, privacy, said):
    path = plan(tmp_path, privacy=privacy)
    (tmp_path / "table.csv").unlink()
    with pytest.raises(ValueError, match=said):
        read_plan(path)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (DEFAULT_POLICY, "does not allow the task synthesis"),
        (DEFAULT_POLICY.replace('tasks = ["icd-coding"]', 'tasks = ["*"]'), "name it there"),
        (POLICY.replace("specifications = []", 'specifications = ["00"]'), "none of those that site policy names"),
        ("", "lacks"),
    ],
)
def test_a_policy_that_does_not_allow_it_is_obeyed(tmp_path, policy, said):
    with pytest.raises(PolicyRefusal, match=said):
        read_plan(plan(tmp_path, policy=policy))


def test_a_specification_that_the_policy_names_is_allowed(tmp_path):
    policy = POLICY.replace("specifications = []", f'specifications = ["{spec_digest(WARD)}"]')
    assert read_plan(plan(tmp_path, policy=policy)).site is not None


def test_a_policy_that_requires_privacy_refuses_a_fit_without(tmp_path):
    policy = POLICY.replace("require_dp = false", "require_dp = true")
    assert read_plan(plan(tmp_path, privacy="epsilon = inf\n")).allowance is None
    with pytest.raises(PolicyRefusal, match="requires differential privacy"):
        read_plan(plan(tmp_path, policy=policy, privacy="epsilon = inf\n"))


def test_a_table_of_too_few_patients_is_refused_and_costs_nothing(tmp_path):
    policy = POLICY.replace("minimum_patients = 20", "minimum_patients = 61")
    with pytest.raises(PolicyRefusal, match="fewer than the 61 patients"):
        synthesise(read_plan(plan(tmp_path, policy=policy)), tmp_path / "out")
    assert not (tmp_path / "site" / "ledger.db").exists()


def test_a_gates_folder_says_where_policy_and_ledger_lie(tmp_path):
    path = plan(tmp_path)
    site = tmp_path / "site"
    (site / "policy.toml").rename(site / "ours.toml")
    (site / "site.toml").write_text('policy = "ours.toml"\nledger = "books/paid.db"\nname = "x"\n', encoding="utf-8")
    synthesise(read_plan(path), tmp_path / "out")
    assert (site / "books" / "paid.db").is_file()
    (site / "site.toml").write_text('policy = "ours.toml"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="does not say where policy and ledger lie"):
        read_plan(path)


def test_a_declared_size_fixes_the_sampling_rate(tmp_path):
    policy = POLICY.replace("declared_patients = 0", "declared_patients = 500")
    path = plan(tmp_path, policy=policy, generator='dp-gan"\nsteps = 5\nbatch = 50\n#"')
    statement = synthesise(read_plan(path), tmp_path / "out")
    assert statement.sampling_rate == 0.1  # 50 of the 500 declared, though there are 60
