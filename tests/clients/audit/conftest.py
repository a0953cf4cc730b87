"""A network for audits: enough patients outside training to see 1 % of them, embedded by a short encoder."""

from __future__ import annotations

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from study.defaults import build

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENTS, HOSPITALS = 880, 3
SMALL = {
    "federation.wait-seconds": 1.0,
    "evaluation.replicates": 0,
    "evaluation.local-baseline": False,
    "task.minimum-documents": 8,
    "task.maximum-words": 100,
}


@pytest.fixture(scope="session")
def short_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM cut off after its first layer: a sixth of the cost, and vectors that still tell notes apart."""
    from safetensors.numpy import load_file, save_file

    from clinical.notes import load_encoder

    folder = tmp_path_factory.mktemp("encoder") / "short"
    shutil.copytree(load_encoder("")._folder, folder)
    settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(settings | {"num_hidden_layers": 1}), encoding="utf-8")
    weights = load_file(folder / "model.safetensors")
    kept = {name: array for name, array in weights.items() if ".layer." not in name or ".layer.0." in name}
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def clinics(tmp_path_factory: pytest.TempPathFactory, short_encoder: Path) -> list[Path]:
    """Three hospitals, half of whose patients are in the training split; embedded once."""
    from clients import cohort
    from clients.hospital import locate
    from clinical.events import read_splits, write_splits
    from clinical.networks import list_hospitals
    from clinical.simulation import simulate_network
    from clinical.site_policy import SIMULATED_POLICY

    folder = tmp_path_factory.mktemp("clinics") / "hospitals"
    simulate_network(folder, hospitals=HOSPITALS, patients=PATIENTS, seed=3)
    rng = np.random.default_rng(3)
    study = build(SMALL, {"notes.encoder": str(short_encoder)})
    for hospital in list_hospitals(folder):
        (hospital / "policy.toml").write_text(SIMULATED_POLICY, encoding="utf-8")
        patients = sorted(read_splits(hospital))
        half = rng.permutation(len(patients)) < len(patients) / 2
        parts = {p: "train" if inside else "held_out" for p, inside in zip(patients, half, strict=True)}
        outside = [p for p, inside in zip(patients, half, strict=True) if not inside]
        parts |= dict.fromkeys(outside[:5], "tuning")  # as many as may be counted
        write_splits(hospital, parts)
        cohort.embed(study, locate(study, {"data": str(hospital)}))
    return list_hospitals(folder)


class Practice:
    """Runs over the clinics with ledgers of their own, and audits of them."""

    def __init__(self, clinics: list[Path], encoder: Path, folder: Path) -> None:
        self.hospitals, self.encoder, self.folder = clinics, encoder, folder

    def conduct(self, **changes) -> dict:
        """Run a study and return its record; keyword ``privacy__epsilon`` is the key ``privacy.epsilon``."""
        from server.laboratory import perform

        named = {key.replace("__", ".").replace("_", "-"): value for key, value in changes.items()}
        fixed = {"study.output": str(self.folder / "runs"), "notes.encoder": str(self.encoder)}
        return perform(build(SMALL, fixed, named), self.hospitals, self.folder)

    def audit(self, run: dict, *options: str, hospitals: int = HOSPITALS) -> tuple[int, dict]:
        """Audit a run through the command line; return the exit code and ``audit.json``."""
        from typer.testing import CliRunner

        from wardround import app

        arguments = ["audit", "model", run["folder"], *options]
        for hospital in self.hospitals[:hospitals]:
            arguments += ["--data", str(hospital), "--ledger", str(self.folder / "ledgers" / f"{hospital.name}.db")]
        done = CliRunner().invoke(app, arguments)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        record = {}
        with suppress(FileNotFoundError):
            record = json.loads((Path(run["folder"]) / "audit" / "audit.json").read_text(encoding="utf-8"))
        return done.exit_code, record


@pytest.fixture
def practice(clinics: list[Path], short_encoder: Path, tmp_path: Path) -> Iterator[Practice]:
    from privacy.audits.threads import one_thread

    with one_thread():  # other workers' threads would be waited for at every small step
        yield Practice(clinics, short_encoder, tmp_path)
