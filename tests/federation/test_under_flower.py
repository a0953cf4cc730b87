"""The commands themselves: Flower's processes, real hospitals on disk, exit codes as a shell sees them."""

import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from server import launch
from tests.intensive_care import intensive_network

__all__ = ["intensive_network"]  # a fixture

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
TINY = ("federation.rounds=1", "federation.wait-seconds=20.0", "evaluation.replicates=20", "task.minimum-documents=8")

pytestmark = pytest.mark.slow


def wardround(*arguments: str) -> subprocess.CompletedProcess:
    command = [BIN / "wardround", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=280)


def settings(*changes: str) -> list[str]:
    return [word for change in (*TINY, *changes) for word in ("--set", change)]


def test_a_run_under_flower_names_its_report_and_exits_0(consortium):
    network, output = consortium.hospitals[0].parent, consortium.runs
    done = wardround("run", "--network", str(network), "--output", str(output), *settings())
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.strip().splitlines()
    page = Path(last.removeprefix("report: "))
    record = json.loads((page.parent / "run.json").read_text(encoding="utf-8"))
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert record["status"] == "completed"
    assert len(record["sites"]) == 3
    assert all(0 < paid["statement"]["epsilon"] <= 8 for paid in record["privacy"].values())


def test_a_study_that_every_hospital_refuses_exits_2_with_their_reason_in_one_line(consortium):
    network = consortium.hospitals[0].parent
    done = wardround(
        "run", "--network", str(network), "--output", str(consortium.runs), *settings("privacy.delta=0.05")
    )
    assert done.returncode == 2
    assert "delta 0.05" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_run_that_fails_exits_1_and_keeps_its_record_and_log(consortium):
    for hospital in consortium.hospitals:
        for shard in (hospital / "data").glob("*.parquet"):
            shard.write_bytes(b"")
    changes = settings("federation.quorum=4", "federation.wait-seconds=2.0")
    done = wardround(
        "run", "--network", str(consortium.hospitals[0].parent), "--output", str(consortium.runs), *changes
    )
    assert done.returncode == 1
    assert "3 hospitals connected" in done.stderr.strip().splitlines()[-1]
    (folder,) = consortium.runs.iterdir()
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["status"] == "failed"
    assert (folder / "flower.log").stat().st_size > 0
    assert launch._carrying(f"PYTEST_CURRENT_TEST={os.environ['PYTEST_CURRENT_TEST']}".encode()) == []


def test_what_flower_leaves_behind_is_ended(monkeypatch):
    monkeypatch.setattr(launch, "PATIENCE_SECONDS", (0.1, 0.1))
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    command, mark = [sys.executable, "-c", deaf], f"FLWR_HOME=/{uuid.uuid4()}"
    environment = dict(os.environ) | dict([mark.split("=")])
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True) as left:
        left.stdout.readline()
        launch._end_orphans(mark.encode())
        assert left.wait() == -signal.SIGKILL


@pytest.fixture
def flower_home(tmp_path):
    """A home of Flower's own, whose daemon ends with the test."""
    home = tmp_path / "flwr"
    yield home
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"FLWR_HOME={home}".encode() in environ.read_bytes().split(b"\0"):
                os.kill(int(environ.parent.name), signal.SIGTERM)


def test_bare_flwr_run_works_with_flowers_own_two_nodes(network, tmp_path, flower_home):
    # Flower bundles no checkout whose folder has an underscore, so the application is copied to a plain name
    application = tmp_path / "wardround"
    ignored = shutil.ignore_patterns(".*", "runs", "__pycache__", "*.egg-info", "tests", "benchmarks")
    shutil.copytree(ROOT, application, ignore=ignored)
    shutil.copy(ROOT / ".gitignore", application)
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(flower_home),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": "39191",
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
    }
    places = f'study.output="{tmp_path / "runs"}" data.network="{network}" '
    changes = places + "federation.rounds=1 evaluation.replicates=20 task.minimum-documents=8"
    command = [BIN / "flwr", "run", application, "--stream", "--run-config", changes]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=280)
    (folder,) = (tmp_path / "runs").iterdir()
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "completed", done.stdout[-2000:]
    assert len(record["sites"]) == 2


def test_an_outcome_is_predicted_under_flower_and_its_own_metric_is_said(intensive_network, tmp_path):
    changes = ("task.name=kidney-function", "training.loss=huber", "model.name=logistic", "privacy.epsilon=0")
    done = wardround(
        "run", "--network", str(intensive_network), "--output", str(tmp_path / "runs"), *settings(*changes)
    )
    assert done.returncode == 0, done.stderr
    first, *_ = done.stdout.strip().splitlines()
    assert first.startswith("mean absolute error ")
    assert "hospitals alone" in first


def test_a_cohort_of_several_tables_is_made_under_flower(tmp_path):
    from tests.federation.tables import SPEC, write_network

    write_network(tmp_path / "hospitals", sizes=(150, 150))
    (tmp_path / "spec.toml").write_text(SPEC, encoding="utf-8")
    study = tmp_path / "study.toml"
    study.write_text(
        '[task]\nname = "synthesis"\n[synthesis]\nspecification = "spec.toml"\nrows = 50\n'
        "[privacy]\nepsilon = 5.0\ndelta = 1e-4\n[federation]\nwait-seconds = 20.0\n",
        encoding="utf-8",
    )
    places = ("--network", str(tmp_path / "hospitals"), "--output", str(tmp_path / "runs"))
    done = wardround("run", str(study), *places)
    assert done.returncode == 0, done.stderr
    first, second, _ = done.stdout.strip().splitlines()
    assert first.startswith("50 rows of 2 hospitals: ")
    assert second.startswith("epsilon at most 5 at delta 0.0001 for every patient")
    (folder,) = (tmp_path / "runs").iterdir()
    assert sorted(path.name for path in (folder / "cohort").iterdir()) == [
        "cohort-record.json",
        "cohort.csv",
        "cohort.parquet",
    ]
