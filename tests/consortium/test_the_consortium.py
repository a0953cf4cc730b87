"""Three hospitals as processes: TLS, registered keys, a PostgreSQL each, one proxy; what works and what is refused."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from consortium.certificates import Authority, make_node_key
from tests.sites import HOSPITALS, PLAN, ROOT, Sites, require_programs, wardround

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("consortium")]

STUDY = (
    "federation.rounds=2",
    "federation.wait-seconds=60.0",
    "evaluation.replicates=20",
    "evaluation.local-baseline=false",
    "task.minimum-documents=8",
    "privacy.reproducible-noise=true",
)
# all that may differ between two runs of one study: which, when, where, how long, and the ledgers they were written on
PLACE_AND_TIME = ("run", "started", "seconds", "output", "ledger")


def settings() -> list[str]:
    return [word for change in STUDY for word in ("--set", change)]


def test_three_hospitals_train_from_their_databases_and_the_metrics_equal_the_simulation(sites, tmp_path):
    done = wardround("sites", "run", "--sites", sites.plan, *settings())
    assert done.returncode == 0, done.stderr
    page = Path(done.stdout.strip().splitlines()[-1].removeprefix("report: "))
    deployed = json.loads((page.parent / "run.json").read_text(encoding="utf-8"))
    simulated, folder = simulate(sites, tmp_path)
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert [site["name"] for site in deployed["sites"]] == list(HOSPITALS)
    assert all(0 < paid["statement"]["epsilon"] <= 8 for paid in deployed["privacy"].values())
    assert deployed["final"] == simulated["final"]
    assert timeless(deployed) == timeless(simulated)
    assert (page.parent / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    told = wardround("sites", "log", sites.plan, "--verify")
    assert told.returncode == 0, told.stderr
    assert "entries verify; head" in told.stdout


def simulate(sites: Sites, output: Path) -> tuple[dict, Path]:
    """Run the same study over the same records in one process."""
    command = [sys.executable, "-m", "tests.consortium.simulation", sites.plan, output, *STUDY]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    (folder,) = (path for path in output.iterdir() if path.is_dir())
    return json.loads((folder / "run.json").read_text(encoding="utf-8")), folder


def timeless(record):
    """Leave out of a run's record what two runs of one study cannot share."""
    if isinstance(record, dict):
        return {key: timeless(value) for key, value in record.items() if key not in PLACE_AND_TIME}
    return [timeless(value) for value in record] if isinstance(record, list) else record


def test_a_study_that_every_hospital_refuses_exits_2_with_their_reason_in_one_line(sites):
    done = wardround("sites", "run", "--sites", sites.plan, *settings(), "--set", "privacy.delta=0.05")
    assert done.returncode == 2
    assert "delta 0.05" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_status_names_every_part_and_bringing_it_up_again_starts_nothing(sites):
    before = sites.consortium.places.journal.read_text(encoding="utf-8")
    again = wardround("sites", "up", sites.plan)
    assert again.returncode == 0, again.stderr
    assert sites.consortium.places.journal.read_text(encoding="utf-8") == before
    told = wardround("sites", "status", sites.plan).stdout
    assert all(f"node of {name}: online" in told for name in HOSPITALS)
    assert "not running" not in told


def node(sites: Sites, *, root_certificate: Path, key: Path) -> subprocess.CompletedProcess:
    """Start a node from the first hospital's place, and give up at the first refusal."""
    consortium = sites.consortium
    superlink = f"{consortium.coordinator.address}:{consortium.coordinator.port}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    trust = ["--root-certificates", root_certificate, "--auth-supernode-private-key", key]
    return sites.inside(0, "flower-supernode", "--superlink", superlink, *trust, "--max-retries", "1", "--port", port)


def test_a_hospital_does_not_talk_to_a_coordinator_of_another_authority(sites, tmp_path):
    other = Authority(tmp_path, name="another")
    refused = node(sites, root_certificate=other.certificate_path, key=sites.consortium.places.hospital("north").key)
    assert refused.returncode != 0
    assert "CERTIFICATE_VERIFY_FAILED" in refused.stdout


def test_a_node_whose_key_is_not_registered_is_not_let_in(sites, tmp_path):
    make_node_key(tmp_path / "node.key")
    trusted = sites.consortium.places.hospital("north").root_certificate
    refused = node(sites, root_certificate=trusted, key=tmp_path / "node.key")
    assert refused.returncode != 0
    assert "Failed to activate SuperNode" in refused.stdout


ASK = """
import socket, ssl, sys
certificate, address, port, *paths = sys.argv[1:]
trusted = ssl.create_default_context(cafile=certificate)
for path in paths:
    with socket.create_connection((address, int(port)), timeout=20) as plain:
        with trusted.wrap_socket(plain, server_hostname=address) as connection:
            head = [f"POST {path} HTTP/1.1", f"Host: {address}", "Content-Length: 0", "Connection: close", "", ""]
            connection.sendall("\\r\\n".join(head).encode())
            print(connection.recv(4096).split()[1].decode(), path)
"""
FORBIDDEN = (
    "/v1/control/list-runs",
    "/v1/control/start-run",
    "/v1/runtime/acquire-task",
    "/v1/fleet/../control/list-runs",
    "/v1/fleet/%2e%2e/control/list-runs",
    "/v1/fleet/..%2fcontrol/list-runs",
    "//v1/control/list-runs",
    "/v1/fleet",
    "/",
    "/docs",
    "/openapi.json",
)


def test_from_a_hospital_the_control_api_does_not_exist(sites):
    consortium = sites.consortium
    trusted, where = consortium.places.hospital("south").root_certificate, consortium.coordinator
    done = sites.inside(1, sys.executable, "-c", ASK, trusted, where.address, where.port, *FORBIDDEN)
    assert done.stdout.splitlines() == [f"403 {path}" for path in FORBIDDEN]


CONNECT = """
import socket, sys
for address, port in zip(sys.argv[1::2], sys.argv[2::2]):
    try:
        socket.create_connection((address, int(port)), timeout=5).close()
        print("reached", address, port)
    except OSError:
        print("not reached", address, port)
"""


def test_in_its_namespace_a_hospital_reaches_the_proxy_and_nobody_else(sites):
    consortium = sites.consortium
    if consortium.network.kind != "namespaces":
        pytest.skip("this machine allows no network namespaces: only root may make them")
    where = consortium.coordinator
    others = [
        ("127.0.0.1", where.control_port),  # the SuperLink is on the coordinator's loopback, not on this one
        (where.address, where.control_port),
        ("127.0.0.1", consortium.ports["south"]["database"]),
        (where.address, consortium.ports["south"]["database"]),
        (consortium.network.address(1), consortium.ports["south"]["database"]),
        (consortium.network.address(1), consortium.ports["south"]["node"]),
    ]
    words = [word for address, port in [(where.address, where.port), *others] for word in (address, str(port))]
    done = sites.inside(0, sys.executable, "-c", CONNECT, *words)
    proxy, *rest = done.stdout.splitlines()
    assert proxy.startswith("reached")
    assert [line for line in rest if not line.startswith("not reached")] == []
    assert len(rest) == len(others)


def test_a_database_lets_nobody_in_without_the_hospitals_password(sites):
    places, port = sites.consortium.places.hospital("north"), sites.consortium.ports["north"]["database"]
    ask = [
        "psql",
        "--no-password",
        "-h",
        sites.consortium.network.home(0),
        "-p",
        port,
        "-U",
        "hospital",
        "-d",
        "omop",
        "-Atc",
    ]
    alone = sites.inside(0, *ask, "SELECT count(*) FROM person")
    assert alone.returncode != 0
    allowed = sites.inside(0, "env", f"PGPASSFILE={places.password}", *ask, "SELECT count(*) FROM person")
    assert int(allowed.stdout) > 10


def test_secrets_are_readable_by_their_owner_alone_and_stand_in_no_log_and_no_command_line(sites):
    places = sites.consortium.places
    secrets = [places.authority / "ca.key", places.coordinator / "superlink.key", places.proxy / "proxy.key"]
    for name in HOSPITALS:
        secrets += [places.hospital(name).key, places.hospital(name).password]
    assert {path: path.stat().st_mode & 0o077 for path in secrets} == dict.fromkeys(secrets, 0)
    passwords = [places.hospital(name).password.read_text().strip().rpartition(":")[2] for name in HOSPITALS]
    told = "".join(path.read_text(errors="replace") for path in places.logs.iterdir())
    for pid in [one.pid for one in sites.journal.running()]:
        told += Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    assert not [word for word in passwords if word in told]
    assert "PRIVATE KEY" not in told


def test_a_bringing_up_that_is_interrupted_leaves_no_process_and_no_network():
    require_programs()
    with tempfile.TemporaryDirectory(prefix="wardround-sites-") as folder:
        Path(folder).chmod(0o711)
        plan = Path(folder) / "sites.toml"
        plan.write_text(PLAN, encoding="utf-8")
        command = [sys.executable, ROOT / "wardround.py", "sites", "up", plan]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.startswith("coordinator"):
                    break
            assert len(Sites(plan).journal.strays()) >= 2
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=600)
        assert process.returncode != 0
        assert Sites(plan).journal.strays() == []
        assert not Path("/sys/class/net", Sites(plan).consortium.network.bridge).exists()


def test_what_a_killed_command_left_behind_is_ended_by_the_next_one():
    require_programs()
    with tempfile.TemporaryDirectory(prefix="wardround-sites-") as folder:
        Path(folder).chmod(0o711)
        plan = Path(folder) / "sites.toml"
        plan.write_text(PLAN, encoding="utf-8")
        command = [sys.executable, ROOT / "wardround.py", "sites", "up", plan]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                if line.startswith("coordinator"):
                    break
            process.kill()
            process.wait()
        assert len(Sites(plan).journal.strays()) >= 2
        assert wardround("sites", "down", plan).returncode == 0
        assert Sites(plan).journal.strays() == []
