"""Robustness: what counts as a change, with which interval, against which baseline."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from scipy.stats import beta
from typer.testing import CliRunner

import wardround
from clients.audit.flips import Flips, Patients
from clients.audit.robustness import Edits, Plane, measure
from clients.audit.trained import load_trained
from clients.hospital import locate
from reports.audit import render
from tests.reports.audit_records import audit_record


def flips(changed, either=None, latent=None):
    changed = np.array(changed)
    either = np.maximum(changed, 1) if either is None else np.array(either)
    return Flips(changed, either, (changed > 0) if latent is None else np.array(latent))


def test_a_decision_changes_when_a_code_is_given_before_or_after_but_not_both():
    before = np.array([[True, True, False], [False, False, True]])
    after = np.array([[True, False, True], [False, False, True]])
    found = Flips.between(before, after, before, before)
    assert found.changed.tolist() == [2, 0]
    assert found.either.tolist() == [3, 1]
    assert not found.latent.any()


def test_a_patient_counts_once_however_many_notes_change():
    patients = Patients.of(np.array([7, 7, 7, 9, 12]))
    rates = patients.rates(flips([1, 2, 0, 0, 0], [4, 4, 4, 4, 4]), seed=1)
    assert rates["flips"]["value"] == pytest.approx(1 / 3)
    assert rates["flips"]["n"] == 3
    assert rates["decisions"]["value"] == pytest.approx(3 / 20)


@pytest.mark.parametrize("hits", [0, 3, 40])
def test_the_interval_of_patients_is_clopper_and_pearsons(hits):
    rates = Patients.of(np.arange(40)).rates(flips([1] * hits + [0] * (40 - hits)), seed=1)["flips"]
    low = beta.ppf(0.025, hits, 41 - hits) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, 40 - hits) if hits < 40 else 1.0
    assert (rates["low"], rates["high"]) == (pytest.approx(low), pytest.approx(high))


def test_a_difference_is_paired_by_patient():
    patients = Patients.of(np.arange(30))
    one = flips([1] * 20 + [0] * 10)
    assert patients.difference(one, one, seed=1) | {"n": 0} == {
        "value": 0.0,
        "low": 0.0,
        "high": 0.0,
        "n": 0,
        "confidence": 0.95,
    }
    other = flips([1] * 5 + [0] * 25)
    found = patients.difference(one, other, seed=1)
    assert found["value"] == pytest.approx(0.5)
    assert 0.3 < found["low"] < 0.5 < found["high"] < 0.7


def test_projection_keeps_the_main_directions_and_drops_the_rest():
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.normal(size=(200, 2)) * 5, rng.normal(size=(200, 3)) * 0.1], axis=1).astype(np.float32)
    plane = Plane.of(points, explained=0.9)
    assert len(plane.axes) == 2
    flat = plane.project(points)
    assert np.allclose(flat[:, :2], points[:, :2], atol=0.1)
    assert np.abs(flat[:, 2:] - points[:, 2:].mean(axis=0)).max() < 0.2
    assert np.allclose(plane.project(flat), flat, atol=1e-5)
    with pytest.raises(ValueError, match="differ"):
        Plane.of(np.ones((5, 3), np.float32), explained=0.9)


@pytest.fixture
def run(consortium):
    record = consortium.conduct(privacy__epsilon=0.0, federation__rounds=4, evaluation__local_baseline=False)
    return record["folder"], consortium.hospitals[0]


def measured(folder, hospital, **settings):

    trained = load_trained(Path(folder))
    edits = Edits(patients=8, **settings)
    return measure(trained, locate(trained.study, {"data": str(hospital)}), edits, command="-", advance=lambda _: None)


def rewrite(folder, change):
    """Change each array of a run's model, and put every threshold at zero."""
    model = Path(folder) / "model.safetensors"
    arrays = {name: change(array).astype(np.float32) for name, array in load_file(model).items()}
    save_file(arrays, model)
    logits = {"micro": [0.0] * len((Path(folder) / "vocabulary.txt").read_text(encoding="utf-8").split())}
    (Path(folder) / "thresholds.json").write_text(json.dumps({"logits": logits}), encoding="utf-8")


def test_a_nervous_model_keeps_its_codes_on_an_unedited_note_and_changes_some_when_it_is_edited(run):
    rng = np.random.default_rng(0)
    rewrite(run[0], lambda array: rng.normal(size=array.shape))
    record = measured(*run)
    assert record["unedited"]["flips"]["value"] == 0.0
    assert record["unedited"]["latent_flips"]["value"] == 0.0
    assert [row["name"] for row in record["perturbations"]] == ["mask", "negate", "synonym", "numeric"]
    for row in record["perturbations"]:
        assert row["edited_notes"] > 0
        assert row["edited_words"] >= row["edited_notes"]
        assert 0 <= row["decisions"]["low"] <= row["decisions"]["value"] <= row["decisions"]["high"] <= 1
    for kind in (lambda row: row["flips"], lambda row: row["random"]["flips"], lambda row: row["decisions"]):
        assert max(kind(row)["value"] for row in record["perturbations"]) > 0
    assert 0.9 <= record["explained"] <= 1


def test_the_same_seed_gives_the_same_record_and_no_word_of_a_note_is_in_it(run):
    from clients.cohort import read_documents

    one, other = (measured(*run) for _ in range(2))
    assert one | {"seconds": 0} == other | {"seconds": 0}
    trained = load_trained(Path(run[0]))
    documents, _ = read_documents(trained.study, locate(trained.study, {"data": str(run[1])}))
    text = json.dumps(one)
    assert not any(line and line in text for note in documents.text for line in note.splitlines())


def test_a_constant_model_never_changes_its_mind(run):
    rewrite(run[0], lambda array: array * 0)
    record = measured(*run)
    rates = [row[key]["value"] for row in record["perturbations"] for key in ("flips", "latent_flips", "decisions")]
    assert set(rates) == {0.0}


def test_another_encoder_than_the_runs_is_refused(run):

    trained = replace(load_trained(Path(run[0])), encoders=frozenset({"other@1"}))
    with pytest.raises(ValueError, match="the run read notes with other@1"):
        measure(trained, locate(trained.study, {"data": str(run[1])}), Edits(), command="-", advance=lambda _: None)


def test_the_command_writes_a_record_that_the_audit_page_shows(run, tmp_path):
    place = tmp_path / "robustness.json"
    arguments = ["audit", "robustness", run[0], "--data", str(run[1]), "--patients", "6", "--output", str(place)]
    done = CliRunner().invoke(wardround.app, arguments)
    assert done.exit_code == 0, done.output
    record = json.loads(place.read_text(encoding="utf-8"))
    assert f"of {record['patients']} patients" in done.output
    page = render(audit_record(), robustness=record)
    assert "no edit, embedded again" in page
    assert f"{100 * record['perturbations'][0]['flips']['value']:.1f} %" in page


def test_a_folder_without_a_model_is_named(tmp_path):
    (tmp_path / "run.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"holds no model\.safetensors"):
        load_trained(tmp_path)
