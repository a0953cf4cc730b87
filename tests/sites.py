"""One consortium of real processes for the tests that need it: brought up once, taken down when they are done."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from consortium.plan import read_plan
from consortium.processes import Journal
from consortium.topology import Consortium, open_consortium

ROOT = Path(__file__).resolve().parents[1]
HOSPITALS = ("north", "south", "west")
PLAN = f"""
state = "state"
network = "auto"
hospitals = {json.dumps(HOSPITALS)}
patients = 150
seed = 5
minimum-patients = 10
"""


def wardround(*arguments: object, timeout: int = 1800) -> subprocess.CompletedProcess:
    """Run a command as a shell does."""
    command = [sys.executable, ROOT / "wardround.py", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=timeout
    )


@dataclass(frozen=True)
class Sites:
    """A running consortium and its description."""

    plan: Path

    @property
    def consortium(self) -> Consortium:
        return open_consortium(read_plan(self.plan))

    @property
    def journal(self) -> Journal:
        return self.consortium.journal

    def inside(self, number: int, *command: object, timeout: int = 600) -> subprocess.CompletedProcess:
        """Run a program where the n-th hospital's own programs run; what it says comes back as `stdout`.

        It writes to a file and not to a pipe: helpers that Flower detaches keep a pipe open, and end only when their
        parent has been collected.
        """
        words = list(map(str, self.consortium.network.inside(number, command)))
        environment = {**os.environ, "FLWR_HOME": str(self.plan.parent / "flwr"), "FLWR_TELEMETRY_ENABLED": "0"}
        environment |= {"FLWR_DISABLE_UPDATE_CHECK": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
            done = subprocess.run(words, env=environment, stdout=said, stderr=said, check=False, timeout=timeout)
            said.seek(0)
            return subprocess.CompletedProcess(words, done.returncode, said.read())


def require_programs() -> None:
    """Skip where the servers of a consortium are not installed."""
    if shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    if not (list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("initdb")):
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")


@pytest.fixture(scope="session")
def sites():
    require_programs()
    folder = Path(tempfile.mkdtemp(prefix="wardround-sites-"))  # pytest's own folder is closed to PostgreSQL's user
    folder.chmod(0o711)
    plan = folder / "sites.toml"
    plan.write_text(PLAN, encoding="utf-8")
    try:
        done = wardround("sites", "up", plan)
        assert done.returncode == 0, done.stderr
        yield Sites(plan)
    finally:
        try:
            down = wardround("sites", "down", plan)
            assert down.returncode == 0, down.stderr
            assert not Sites(plan).journal.strays()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
