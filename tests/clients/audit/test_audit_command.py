"""`wardround audit model`: what it writes, what it withholds, how it goes on, and how it refuses."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from clients.audit.pool import gather
from clients.audit.references import Order, train_references
from clients.audit.subject import find_hospitals, read_run
from privacy.accounting import PoissonGaussian
from privacy.audits.record import Attack, AuditRecord, Claim, Cohort, Estimate, Evidence, OneRun, SelfTest, Subject
from privacy.ledger import Ledger

# typer still imports a name that click has deprecated
pytestmark = [pytest.mark.filterwarnings("ignore:'click.utils:DeprecationWarning"), pytest.mark.slow]

QUICK = {"federation__rounds": 2, "training__batch_patients": 64}
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def run(practice):
    return practice.conduct(privacy__epsilon=8.0, privacy__canaries=20, **QUICK)


def keys(kind) -> set[str]:
    return {field.name for field in fields(kind)}


def test_the_documented_example_has_the_records_shape():
    example = json.loads((ROOT / "docs" / "audit-record.json").read_text(encoding="utf-8"))
    assert set(example) == keys(AuditRecord)
    assert set(example["subject"]) == keys(Subject)
    assert set(example["claim"]) == keys(Claim)
    assert set(example["cohort"]) == keys(Cohort)
    assert set(example["self_test"]) == keys(SelfTest)
    assert all(set(each) == keys(Attack) for each in example["attacks"])
    assert all(set(each) == keys(Evidence) for each in example["evidence"])
    assert all(set(each) == keys(OneRun) for each in example["one_run"])
    assert all(set(each["auc"]) == keys(Estimate) for each in example["attacks"])


def test_an_audit_without_the_power_to_contradict_says_so_and_exits_with_3(practice, run):
    code, record = practice.audit(run)
    assert (code, record["verdict"]) == (3, "inconclusive")
    assert record["self_test"]["detectable_epsilon"] < record["claim"]["epsilon"]
    assert any("Too few patients and canaries" in reason for reason in record["reasons"])
    assert set(record) == keys(AuditRecord)
    assert [view["view"] for view in record["one_run"]] == ["final model", "all rounds"]
    ledger = record["claim"]["ledgers"]["hospital-1"]
    assert ledger["head"] == record["claim"]["hospitals"]["hospital-1"]["ledger"]["head"]
    assert [row["kind"] for row in ledger["entries"]] == ["reserve", "charge", "charge", "settle"]


def test_the_record_holds_groups_of_patients_and_never_one(practice, run):
    _, record = practice.audit(run, "--attack", "loss,rmia,lira", "--references", "4")
    groups = record["cohort"]["groups"]
    assert {"all", "outliers", "notes: 1", "sex: F", "sex: M"} <= set(groups)
    assert all(min(counts.values()) >= record["cohort"]["minimum_cell"] for counts in groups.values())
    assert {(each["name"], each["group"]) for each in record["attacks"]} == {
        (name, group) for name in ("loss", "rmia", "lira") for group in groups
    }
    assert [each["name"] for each in record["attacks"] if each["bears_verdict"]] == ["lira"]
    members = record["cohort"]["members"]

    def longest(value):
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return max([len(value) if isinstance(value, list) else 0, *map(longest, inner)])

    assert longest(record) <= 210 < members  # a thinned curve is the longest list


def test_groups_under_the_minimum_cell_are_withheld(practice, run):
    _, shown = practice.audit(run, "--attack", "loss", hospitals=1)
    policy = practice.hospitals[0] / "policy.toml"
    before = policy.read_text(encoding="utf-8")
    try:
        policy.write_text(before.replace("minimum_cell = 5", "minimum_cell = 60"), encoding="utf-8")
        _, record = practice.audit(run, "--attack", "loss", hospitals=1)
    finally:
        policy.write_text(before, encoding="utf-8")
    assert "outliers" in shown["cohort"]["groups"]
    assert "outliers" in record["cohort"]["withheld"]
    assert not any(each["group"] == "outliers" for each in record["attacks"])


def test_a_ledger_that_was_charged_for_more_than_the_run_states_contradicts_it(practice, run):
    record = json.loads((Path(run["folder"]) / "run.json").read_text(encoding="utf-8"))
    record["privacy"]["hospital-2"]["statement"]["epsilon"] = 0.5
    (Path(run["folder"]) / "run.json").write_text(json.dumps(record), encoding="utf-8")
    code, found = practice.audit(run, "--attack", "loss")
    assert (code, found["verdict"]) == (1, "fail")
    assert found["claim"]["ledgers"]["hospital-1"]["agrees"] is True
    assert found["claim"]["ledgers"]["hospital-2"]["agrees"] is False
    assert any("charged for more" in reason for reason in found["reasons"])


def test_another_runs_charges_do_not_count(practice, run):
    with Ledger.open(practice.folder / "ledgers" / "hospital-1.db") as ledger:
        event = PoissonGaussian(0.5, 1.0, 40)
        ledger.reserve("later", event, delta=1e-4, epsilon_ceiling=1000.0, study_digest="x", purpose="another")
        ledger.charge("later", event)
    _, record = practice.audit(run, "--attack", "loss")
    assert record["claim"]["ledgers"]["hospital-1"]["agrees"] is True


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--attack", "loss,guess"], "unknown attack guess"),
        (["--data", "/nowhere", "--ledger", "/nowhere.db"], "nowhere"),
    ],
)
def test_a_users_mistake_is_named(practice, run, options, said):
    with pytest.raises((ValueError, OSError), match=said):
        practice.audit(run, *options, hospitals=1)


def test_what_is_no_run_or_no_hospital_of_it_is_named(practice, run, tmp_path):
    with pytest.raises(ValueError, match=r"holds no run\.json"):
        read_run(tmp_path)
    known = read_run(Path(run["folder"]))
    with pytest.raises(ValueError, match="named twice"):
        find_hospitals(known, practice.hospitals[:1] * 2, [])
    with pytest.raises(ValueError, match="one to each"):
        find_hospitals(known, practice.hospitals[:2], ["a"])
    with pytest.raises(ValueError, match="name at least one"):
        find_hospitals(known, [], [])
    path = Path(run["folder"]) / "run.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(record | {"sites": record["sites"][1:]}), encoding="utf-8")
    with pytest.raises(ValueError, match="took no part"):
        find_hospitals(read_run(Path(run["folder"])), practice.hospitals[:1], [])


def test_a_lost_canary_secret_is_named(practice, run):
    for secret in (practice.folder / "ledgers" / "canaries" / "hospital-2").iterdir():
        secret.unlink()
    with pytest.raises(FileNotFoundError, match="hospital-2 keeps no canary secret"):
        practice.audit(run, "--attack", "loss")


def test_losses_of_patients_are_the_mean_over_notes_of_the_cross_entropy_a_code(practice, run):
    known = read_run(Path(run["folder"]))
    pool = gather(known, find_hospitals(known, practice.hospitals, []))
    model = pool.patients.initial()
    import torch

    with torch.no_grad():
        logits = model(pool.examples.features)
        truth = torch.from_numpy(pool.examples.labels.toarray()).float()
        each = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean(dim=1).numpy()
    expected = [each[pool.examples.patient == p].mean() for p in range(len(pool.member))]
    np.testing.assert_allclose(pool.patients.losses(model, rows=97), expected, rtol=1e-4)
    train = sum(site["patients"] for site in run["sites"])
    assert 0.95 * train <= pool.member.sum() <= train  # patients without a code of the vocabulary are left out


def test_references_go_on_where_they_stopped_and_are_the_same_again(practice, run, tmp_path):
    known = read_run(Path(run["folder"]))
    pool = gather(known, find_hospitals(known, practice.hospitals[:1], []))
    steps: list[int] = []
    first = train_references(Order(known.study, pool, 2, 5), tmp_path / "kept", advance=steps.append)
    assert steps == [0, 1, 1]
    kept = sorted((tmp_path / "kept").iterdir())
    written = [path.stat().st_mtime_ns for path in kept]
    steps.clear()
    more = train_references(Order(known.study, pool, 4, 5), tmp_path / "kept", advance=steps.append)
    assert steps == [2, 1, 1]
    assert [path.stat().st_mtime_ns for path in kept] == written
    np.testing.assert_array_equal(more.losses[:2], first.losses)
    kept[0].write_bytes(b"cut off")
    again = train_references(Order(known.study, pool, 4, 5), tmp_path / "kept", advance=steps.append)
    np.testing.assert_array_equal(again.losses, more.losses)
    assert Order(known.study, pool, 2, 6).digest(0) != Order(known.study, pool, 2, 5).digest(0)


def test_references_in_processes_of_their_own_are_the_same(practice, run, tmp_path, monkeypatch):
    from clients.audit import references

    known = read_run(Path(run["folder"]))
    pool = gather(known, find_hospitals(known, practice.hospitals[2:], []))
    here = train_references(Order(known.study, pool, 3, 1), tmp_path / "here", advance=lambda _: None)
    monkeypatch.setattr(references, "_WORTH_PROCESSES", 0.0)
    apart = train_references(Order(known.study, pool, 3, 1), tmp_path / "apart", advance=lambda _: None)
    np.testing.assert_allclose(apart.losses, here.losses, rtol=1e-5)


def test_a_subset_keeps_whole_patients(practice, run):
    known = read_run(Path(run["folder"]))
    pool = gather(known, find_hospitals(known, practice.hospitals[:1], []))
    chosen = np.arange(0, len(pool.member), 3)
    part = pool.patients.subset(chosen).cases
    assert part.patients == len(chosen)
    np.testing.assert_array_equal(np.diff(part.starts), np.diff(pool.examples.starts)[chosen])


def test_captured_updates_give_single_patients_away_and_noise_or_a_crowd_hides_them(practice):
    run = practice.conduct(privacy__epsilon=3.0, **QUICK)
    _, record = practice.audit(run, "--attack", "loss", "--inversion")
    found = {(each["update"], each["method"], each["batch"] == 1): each for each in record["inversion"]}
    alone = found["plain", "linear layer", True]
    assert alone["recovered"]["value"] > 0.95
    assert alone["recovered"]["verdict"] == "fail"
    assert alone["recovered"]["baseline"] < 0.5
    for update, single in (("clipped and noised", True), ("clipped and noised", False), ("sum over hospitals", False)):
        hidden = found[update, "linear layer", single]
        assert hidden["recovered"]["low"] <= hidden["recovered"]["allowed"]
    assert ("plain", "gradient matching", False) in found


def test_the_command_orders_the_same_again_without_a_password(practice):
    from clients.audit.conduct import Order

    order = Order(Path("runs/a b"), (Path("h"),), ("postgresql://me:secret@host/db",), seed=4)
    assert order.command == (
        "wardround audit model 'runs/a b' --attack loss,rmia --references 4 --seed 4 --data h --ledger "
        "postgresql://me@host/db"
    )
