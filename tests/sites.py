"""One consortium of real processes for the tests that need it: brought up once, taken down when they are done."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from clinical.chain import read_chain
from consortium.plan import read_plan
from consortium.processes import Journal
from consortium.topology import Consortium, open_consortium
from gate.site import gate_process, read_site
from privacy.ledger import Ledger

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
PATIENCE = 300.0
STUDY = (
    "federation.rounds=3",
    "federation.quorum=2",
    "federation.wait-seconds=60.0",
    "federation.timeout-seconds=120.0",
    "evaluation.replicates=0",
    "evaluation.local-baseline=false",
    "task.minimum-documents=8",
)


ON_REQUEST = pytest.mark.skipif(
    "WARDROUND_FAULTS" not in os.environ,
    reason="kills and cuts off processes of a consortium, for a quarter of an hour: make faults",
)


def wardround(*arguments: object, checkout: Path = ROOT, timeout: int = 1800) -> subprocess.CompletedProcess:
    """Run a command as a shell does."""
    process = start(*arguments, checkout=checkout)
    try:
        output, complaints = process.communicate(timeout=timeout)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, complaints)


def start(*arguments: object, checkout: Path = ROOT) -> subprocess.Popen:
    """Begin a command as a shell does."""
    command = [sys.executable, checkout / "wardround.py", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    return subprocess.Popen(
        command, cwd=checkout, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait(holds, fault: str):
    """Wait until something is so, and return it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(0.05)
    raise AssertionError(fault)


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

    def run_study(self, *changes: str, checkout: Path = ROOT) -> subprocess.CompletedProcess:
        """Run the small study with changes, for example the application of another checkout."""
        return wardround(*self._study(changes), checkout=checkout)

    def start_study(self, *changes: str, checkout: Path = ROOT) -> subprocess.Popen:
        """Begin the small study."""
        return start(*self._study(changes), checkout=checkout)

    def _study(self, changes: tuple[str, ...]) -> list[object]:
        return ["sites", "run", "--sites", self.plan, *(w for each in (*STUDY, *changes) for w in ("--set", each))]

    def record(self) -> dict:
        """Read the record of the latest run."""
        latest = max(self.consortium.places.runs.glob("*/run.json"), key=lambda path: path.parent.stat().st_ctime)
        return json.loads(latest.read_text(encoding="utf-8")) | {"folder": str(latest.parent)}

    def entries(self, name: str, run: str | None = None) -> list[dict]:
        """Read a hospital's audit log, of one run or of all."""
        entries = read_chain(read_site(self.hospital(name).folder).journal).entries
        return [entry for entry in entries if run is None or entry.get("run") == run]

    def hospital(self, name: str):
        return self.consortium.places.hospital(name)

    def gate(self, name: str) -> int:
        """The process id of a hospital's gate."""
        return gate_process(read_site(self.hospital(name).folder)) or 0

    def node(self, name: str) -> int:
        """The process id of a hospital's SuperNode."""
        children = Path(f"/proc/{self.gate(name)}/task/{self.gate(name)}/children").read_text().split()
        of_flower = [pid for pid in children if b"node.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        return int(of_flower[0]) if of_flower else 0

    def is_online(self, name: str) -> bool:
        return self.consortium.coordinator.control.nodes().get(name) == "online"

    def check_accounts(self, record: dict) -> None:
        """Insist that every ledger and audit log verifies, and that no update arrived that was not charged."""
        for name in HOSPITALS:
            folder = self.hospital(name).folder
            assert wardround("site", "log", folder, "--verify").returncode == 0
            place = read_site(folder).ledger_place
            with Ledger.open(place, create=False) as ledger:
                rows = [row for row in ledger.entries() if row.run_id == record["run"] and row.kind == "charge"]
            arrived = sum(each["sites"].get(name, {}).get("steps", 0) for each in record.get("rounds", ()))
            assert sum(row.event.steps for row in rows) >= arrived


def require_programs() -> None:
    """Skip where the servers of a consortium are not installed."""
    if shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    if not (list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("initdb")):
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")


@pytest.fixture(scope="package")
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
