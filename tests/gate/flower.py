"""A coordinator and sites as real processes on the loopback address, and the end of all of them by their ids."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PATIENCE = 400.0


class Stand:
    """One SuperLink with a home of its own, and the processes started beside it."""

    def __init__(self, folder: Path, *, secrets: Path | None = None) -> None:
        """With a folder of `wardround sites certify`, TLS is spoken and nodes need registered keys."""
        self.folder = folder
        self.trust = ["--insecure"]
        if secrets is not None:
            self.trust = ["--ssl-ca-certfile", secrets / "ca.crt", "--ssl-certfile", secrets / "superlink.crt"]
            self.trust += ["--ssl-keyfile", secrets / "superlink.key", "--enable-supernode-auth"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.processes: list[subprocess.Popen] = []
        self.environment = {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "FLWR_HOME": str(folder / "flwr"),
            "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
            "FLWR_DISABLE_UPDATE_CHECK": "1",
            "FLWR_TELEMETRY_ENABLED": "0",
        }

    def __enter__(self) -> Self:
        (self.folder / "flwr").mkdir()
        settings = f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "{self.address}"\ninsecure = true\n'
        (self.folder / "flwr" / "config.toml").write_text(settings)
        host, _, port = self.address.partition(":")
        command = ["flower-superlink", *self.trust, "--host", host, "--port", port, "--isolation", "subprocess"]
        self.start([*command, "--disable-runtime-dependency-installation"], "superlink", PYTHONPATH="")
        self.wait(lambda: self._answers(host, int(port)), "the SuperLink did not start")
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, command: list, name: str, **environment: str) -> subprocess.Popen:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, env={**self.environment, **environment}, stdout=log, stderr=log, cwd=self.folder
            )
        self.processes.append(process)
        return process

    def run_site(self, site: Path) -> subprocess.Popen:
        return self.start([sys.executable, ROOT / "wardround.py", "site", "run", site], site.name)

    def site(self, *words: object) -> subprocess.CompletedProcess:
        command = [sys.executable, ROOT / "wardround.py", "site", *map(str, words)]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False, timeout=120)

    def wait(self, holds, fault: str):
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if found := holds():
                return found
            time.sleep(0.2)
        raise AssertionError(fault)

    def study(self, application: Path, **changes: object) -> dict:
        """Submit a study and return its record once it has ended."""
        runs = self.folder / "runs" / str(time.monotonic_ns())
        settings = {"study.output": str(runs), "federation.rounds": 1, "federation.wait-seconds": 300.0}
        settings |= {"task.name": "mortality-24h", "model.name": "logistic"}  # no note has to be embedded first
        settings |= {"evaluation.replicates": 20, "evaluation.local-baseline": False}
        settings |= {name.replace("__", "."): value for name, value in changes.items()}
        words = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
        command = ["flwr", "run", application, "here", "--format", "json", "--run-config", " ".join(words)]
        environment = {key: value for key, value in self.environment.items() if key != "PYTHONPATH"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
        assert '"run-id"' in done.stdout, done.stdout + done.stderr
        return self.wait(lambda: _ended(runs), "the study did not end")

    def _answers(self, host: str, port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((host, port)) == 0


def _ended(runs: Path) -> dict | None:
    for path in runs.glob("*/run.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["status"] != "running":
            return record
    return None


def copy_application(folder: Path, *, also: str = "") -> Path:
    """Copy this checkout as Flower would bundle it; ``also`` is added to the hospital's application."""
    ignored = shutil.ignore_patterns(".*", "runs", "__pycache__", "*.egg-info", "tests", "benchmarks", "docs")
    shutil.copytree(ROOT, folder, ignore=ignored)
    shutil.copy(ROOT / ".gitignore", folder)
    with (folder / "clients" / "app.py").open("a", encoding="utf-8") as file:
        file.write(also)
    return folder
