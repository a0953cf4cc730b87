"""`wardround audit model` on runs that predict an outcome of a stay: who is in the pool, and what is said of a run."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from clients.audit.pool import gather
from clients.audit.references import Order, train_references
from clients.audit.subject import find_hospitals, read_run
from clinical.events import read_splits, write_splits
from clinical.labels import read_labels, write_labels
from clinical.networks import list_hospitals
from privacy.audits.threads import one_thread
from tests.conftest import Consortium
from tests.intensive_care import intensive_network

__all__ = ["intensive_network"]  # a fixture

# typer still imports a name that click has deprecated
pytestmark = [pytest.mark.filterwarnings("ignore:'click.utils:DeprecationWarning"), pytest.mark.slow]

QUICK = {
    "task__name": "mortality-24h",
    "model__name": "mlp-s",
    "privacy__epsilon": 0.0,
    "training__optimizer": "adam",
    "training__learning_rate": 0.01,
    "training__batch_patients": 16,
    "federation__rounds": 1,
    "evaluation__local_baseline": False,
}
OVERFITTED = QUICK | {"federation__rounds": 15, "training__local_epochs": 10, "model__dropout": 0.0}
PRIVATE = QUICK | {
    "privacy__epsilon": 0.3,
    "privacy__delta": 0.001,
    "training__optimizer": "sgd",
    "federation__rounds": 2,
}


@pytest.fixture(scope="module")
def coin_wards(intensive_network, tmp_path_factory):
    """Hospitals half of whose patients trained nothing, and whose deaths are a coin's: known only by heart."""
    folder = tmp_path_factory.mktemp("coins") / "hospitals"
    shutil.copytree(intensive_network, folder)
    rng = np.random.default_rng(4)
    for hospital in list_hospitals(folder):
        patients = rng.permutation(sorted(read_splits(hospital))).tolist()
        half = len(patients) // 2
        parts = dict.fromkeys(patients[:half], "train") | dict.fromkeys(patients[half:], "held_out")
        write_splits(hospital, parts | dict.fromkeys(patients[-4:], "tuning"))
        labels = read_labels(hospital, "mortality-24h")
        place = labels.schema.get_field_index("boolean_value")
        coins = pa.array(rng.random(len(labels)) < 0.5)
        write_labels(hospital, "mortality-24h", labels.set_column(place, "boolean_value", coins))
    return folder


@pytest.fixture
def wards(coin_wards, tmp_path):
    shutil.copytree(coin_wards, tmp_path / "hospitals")
    with one_thread():  # other workers' threads would be waited for at every small step
        yield Consortium(tmp_path / "hospitals", tmp_path / "runs")


def audit(wards: Consortium, run: dict, *options: str) -> tuple[int, dict]:
    """Audit a run through the command line; return the exit code and ``audit.json``."""
    from typer.testing import CliRunner

    from wardround import app

    data = [word for hospital in wards.hospitals for word in ("--data", str(hospital))]
    done = CliRunner().invoke(app, ["audit", "model", run["folder"], *data, *options])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, json.loads((Path(run["folder"]) / "audit" / "audit.json").read_text(encoding="utf-8"))


def read_pool(wards: Consortium, run: dict):
    known = read_run(Path(run["folder"]))
    return known, gather(known, find_hospitals(known, wards.hospitals, []))


def test_an_overfitted_model_without_privacy_is_caught_by_an_audit_that_passed_its_self_test(wards):
    code, record = audit(wards, wards.conduct(**OVERFITTED))
    assert record["self_test"]["passed"], record["self_test"]
    assert (code, record["verdict"]) == (1, "fail")
    (bearing,) = [each for each in record["attacks"] if each["bears_verdict"]]
    assert bearing["auc"]["low"] > 0.5
    assert record["cohort"]["members"] + record["cohort"]["non_members"] == 150
    assert {"all", "outliers", "sex: female", "sex: male"} <= set(record["cohort"]["groups"])
    assert "stays make one score" in record["cohort"]["rule"]
    assert any("this task has stays" in limit for limit in record["limits"])
    assert "0 codes" not in (Path(record["command"].split()[3]) / "audit" / "audit.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["mlp-s", "gru"])
def test_a_run_on_event_streams_is_audited_over_the_same_patients(wards, name):
    grid = read_pool(wards, wards.conduct(**QUICK | {"model__name": name}))[1]
    run, streams = read_pool(
        wards, wards.conduct(**QUICK | {"model__name": name, "features__form": "events", "features__events": 32})
    )
    assert len(streams.member) == 150
    np.testing.assert_array_equal(streams.member, grid.member)
    np.testing.assert_array_equal(streams.patients.visits(), grid.patients.visits())
    losses = streams.patients.losses(streams.patients.initial())
    assert losses.shape == (150,)
    assert np.isfinite(losses).all()
    assert run.study.features.events == 32


def test_a_run_with_privacy_is_not_accused_by_an_audit_that_would_have_caught_a_memory(wards):
    code, record = audit(wards, wards.conduct(**PRIVATE))
    assert record["self_test"]["passed"], record["self_test"]
    assert (code, record["verdict"]) == (0, "pass")
    assert 0 < record["claim"]["epsilon"] <= 0.3
    assert all(extract["agrees"] for extract in record["claim"]["ledgers"].values())


@pytest.mark.parametrize(
    ("task", "model", "loss"),
    [("kidney-function", "logistic", "huber"), ("aki", "mlp-s", "bce"), ("aki", "gru", "bce")],
)
def test_a_patients_loss_is_the_studys_over_what_is_asked_of_a_stay_and_then_over_stays(wards, task, model, loss):
    import torch

    from clients.training import load_model, study_loss

    changes = {"task__name": task, "model__name": model, "training__loss": loss, "training__local_epochs": 1}
    known, pool = read_pool(wards, wards.conduct(**QUICK | changes))
    patients = pool.patients
    width = patients.cases.features.shape[-1]
    trained = load_model(known.study, dict(known.arrays), features=width, codes=1).eval()
    with torch.no_grad():
        each = study_loss(known.study)(trained(patients.cases.features), patients.cases.labels).numpy()
    expected = [each[patients.cases.patient == p].mean() for p in range(len(pool.member))]  # everyone has one stay
    np.testing.assert_allclose(patients.losses(trained), expected, rtol=1e-4, atol=1e-6)
    assert (patients.visits() == 1).all()
    chosen = np.arange(0, len(pool.member), 3)
    np.testing.assert_allclose(
        patients.subset(chosen).losses(trained), np.array(expected)[chosen], rtol=1e-4, atol=1e-6
    )


def test_an_hourly_task_read_by_a_sequence_model_is_audited(wards):
    changes = {"task__name": "aki", "model__name": "gru", "training__local_epochs": 1}
    code, record = audit(wards, wards.conduct(**QUICK | changes), "--attack", "rmia", "--references", "2")
    assert code in (0, 1, 3)
    assert record["subject"]["model"] == "gru"
    assert next(check for check in record["self_test"]["checks"] if check["expected"] == "pass")["passed"]


def test_references_in_processes_of_their_own_are_the_same(wards, tmp_path, monkeypatch):
    from clients.audit import references

    known, pool = read_pool(wards, wards.conduct(**QUICK | {"training__local_epochs": 1}))
    here = train_references(Order(known.study, pool, 2, 1), tmp_path / "here", advance=lambda _: None)
    monkeypatch.setattr(references, "_WORTH_PROCESSES", 0.0)
    apart = train_references(Order(known.study, pool, 2, 1), tmp_path / "apart", advance=lambda _: None)
    np.testing.assert_allclose(apart.losses, here.losses, rtol=1e-5)


def test_what_cannot_be_audited_ends_in_one_line_and_exit_code_2(wards, tmp_path):
    run = wards.conduct(**QUICK | {"training__local_epochs": 1})
    stranger = tmp_path / "stranger"
    shutil.copytree(run["folder"], stranger)
    (stranger / "run.json").write_text(json.dumps(run | {"sites": run["sites"][1:]}), encoding="utf-8")
    shutil.copytree(wards.hospitals[1], tmp_path / "unlabelled")
    (tmp_path / "unlabelled" / "labels" / "mortality-24h.parquet").unlink()
    first = str(wards.hospitals[0])
    for words, said in (
        ([str(stranger), "--data", first], f"{run['sites'][0]['name']} took no part in this run"),
        ([run["folder"], "--data", str(tmp_path / "unlabelled")], "has no labels for the task mortality-24h"),
        ([run["folder"], "--data", first, "--inversion"], "--inversion rebuilds vectors of notes"),
    ):
        command = [sys.executable, "-m", "wardround", "audit", "model", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert said in done.stderr


def test_a_guest_trained_nothing_and_has_no_members(wards):
    run = wards.conduct(**QUICK | {"training__local_epochs": 1, "federation__guest": "hospital-2"})
    known = read_run(Path(run["folder"]))
    with pytest.raises(ValueError, match="hospital-2 was the guest of this run and trained nothing"):
        find_hospitals(known, wards.hospitals, [])
