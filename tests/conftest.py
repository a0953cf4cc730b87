"""A small consortium that the whole-system tests share: simulated once, embedded once, copied for each test."""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers share two cores: threads that wait for each other wait long

from study.defaults import build
from study.protocol import Study, Value
from tests.postgres import postgres, postgres_server

__all__ = ["postgres", "postgres_server"]  # fixtures

SMALL = {
    "federation.rounds": 2,
    "federation.wait-seconds": 1.0,
    "evaluation.replicates": 40,
    "task.minimum-documents": 8,
}


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    from clinical.networks import list_hospitals
    from clinical.simulation import simulate_network
    from clinical.site_policy import SIMULATED_POLICY

    folder = tmp_path_factory.mktemp(f"network-{worker_id}") / "hospitals"
    simulate_network(folder, hospitals=3, patients=150, seed=5)
    for hospital in list_hospitals(folder):
        policy = SIMULATED_POLICY.replace("minimum_patients = 20", "minimum_patients = 10")
        (hospital / "policy.toml").write_text(policy, encoding="utf-8")
    return folder


@pytest.fixture
def consortium(network: Path, tmp_path: Path) -> "Consortium":
    """A copy whose policies and ledgers a test may change; the embeddings are shared."""
    folder = tmp_path / "hospitals"
    shutil.copytree(network, folder, ignore=shutil.ignore_patterns("embeddings", "ledger.db"))
    for original in sorted(network.iterdir()):
        (original / "embeddings").mkdir(exist_ok=True)
        (folder / original.name / "embeddings").symlink_to(original / "embeddings", target_is_directory=True)
    return Consortium(folder, tmp_path / "runs")


class Consortium:
    """Hospitals on disk, and runs of studies over them in this process."""

    def __init__(self, folder: Path, runs: Path) -> None:
        from clinical.networks import list_hospitals

        self.hospitals = list_hospitals(folder)
        self.runs = runs

    def study(self, **changes: Value) -> Study:
        """The default study made small; keyword ``privacy__epsilon`` is the key ``privacy.epsilon``."""
        named = {key.replace("__", ".").replace("_", "-"): value for key, value in changes.items()}
        return build(SMALL, {"study.output": str(self.runs)}, named)

    def conduct(self, client_app=None, **changes: Value) -> dict:
        """Run a study and return its record, also of a run that failed."""
        from server.app import app
        from server.inprocess import conduct
        from server.laboratory import client_application
        from server.roster import StudyFailed

        nodes = [{"data": str(hospital)} for hospital in self.hospitals]
        before = set(self.runs.iterdir()) if self.runs.is_dir() else set()
        with suppress(StudyFailed):
            conduct(self.study(**changes), app, client_app or client_application(), nodes)
        (folder,) = set(self.runs.iterdir()) - before
        return json.loads((folder / "run.json").read_text(encoding="utf-8")) | {"folder": str(folder)}

    def edit_policy(self, number: int, before: str, after: str) -> None:
        """Change one line of a hospital's policy."""
        path = self.hospitals[number] / "policy.toml"
        text = path.read_text(encoding="utf-8")
        assert before in text
        path.write_text(text.replace(before, after), encoding="utf-8")


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARDROUND_HOME", str(tmp_path_factory.getbasetemp() / f"home-{os.getpid()}"))
