"""Launch a study under Flower's own simulation, watch it, and tell the truth about how it ended.

`flwr run` exits 0 even when the run failed, keeps a daemon with the first run's environment, and installs the
application's dependencies anew for every run. So the SuperLink here is a child of this command with its own home and
port: it sees today's environment, uses what is installed, and ends when the command ends.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.archive import run_folder
from server.terms import check_study
from study.defaults import APPLICATION, build

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from study.protocol import Study, Value

START_SECONDS = 60.0
POLL_SECONDS = 0.5


class LaunchFailed(RuntimeError):
    """Flower could not be started, or the run it carried failed; the message says which and where to look."""


class LaunchRefused(ValueError):
    """The hospitals refused the study as written; the message gives their reasons."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What to run, and on how many simulated nodes: None means one for each hospital of the network."""

    changes: Mapping[str, Value]
    hospitals: int | None = None


def launch(order: Launch, *, quiet: bool = False) -> Path:
    """Run a study under Flower and wait for its end.

    Args:
        order: the study's changes and the number of nodes.
        quiet: show no progress on the terminal.

    Returns:
        The directory of the completed run.

    Raises:
        ProtocolError: the study cannot be run as written; nothing was started.
        ProfileError: the study's network holds no hospital; nothing was started.
        EncoderUnavailable: the study's encoder is not on this machine; nothing was started.
        LaunchRefused: too few hospitals take part in the study as written.
        LaunchFailed: the run failed; its record, where one was begun, keeps the reason.
    """
    study = build(order.changes)
    check_study(study)
    with tempfile.TemporaryDirectory(prefix="wardround-") as scratch:
        environment = _environment(Path(scratch))
        with _superlink(environment, Path(scratch)) as superlink:
            run = _submit(order, study, environment)
            folder = run_folder(study, run)
            _follow(study, folder, superlink, quiet=quiet)
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if record["status"] == "refused":
            raise LaunchRefused(f"{record['reason']}; the record is {folder}")
        if record["status"] != "completed":
            shutil.copy(_log(Path(scratch)), folder / "flower.log")  # what the hospitals of this machine have to say
            raise LaunchFailed(f"the run failed: {record['reason'] or 'it was cut off'}; its record and log: {folder}")
    return folder


def _environment(scratch: Path) -> dict[str, str]:
    binaries = str(Path(sys.executable).parent)
    port, control = _free_port(), _free_port()
    return {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}",
        "FLWR_HOME": str(scratch / "flwr"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
        "FLWR_LOCAL_CONTROL_API_PORT": str(control),
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_worker_niceness": "0",
        "RAY_DEDUP_LOGS": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }


def _log(scratch: Path) -> Path:
    return scratch / "superlink.log"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def _superlink(environment: dict[str, str], scratch: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a SuperLink in simulation mode as a child, wait until it answers, and end it afterwards."""
    port = environment["FLWR_LOCAL_SUPERLINK_HTTP_API_PORT"]
    command = [
        "flower-superlink",
        "--insecure",
        "--simulation",
        "--isolation",
        "subprocess",
        "--host",
        "127.0.0.1",
        "--port",
        port,
        "--control-api-address",
        f"127.0.0.1:{environment['FLWR_LOCAL_CONTROL_API_PORT']}",
        "--disable-runtime-dependency-installation",
    ]
    with _log(scratch).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # our own command line
            command, env=environment, stdout=log, stderr=log, cwd=scratch
        )
        try:
            _await_superlink(process, int(port), _log(scratch))
            yield process
        finally:
            process.terminate()
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await_superlink(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    import httpx

    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=1).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(POLL_SECONDS)
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    raise LaunchFailed(f"Flower's SuperLink did not start: {last[0]}")


def _submit(order: Launch, study: Study, environment: dict[str, str]) -> int:
    """Hand the application and the study to the SuperLink; return the run's number."""
    import tomli_w

    preset = Path(environment["FLWR_HOME"]).parent / "study.toml"
    preset.write_text(tomli_w.dumps(_nested(study.settings())), encoding="utf-8")
    command = ["flwr", "run", str(APPLICATION), "--format", "json", "--run-config", str(preset)]
    nodes = order.hospitals or _count_hospitals(study)
    command += ["--federation-config", f"num-supernodes={nodes} client-resources-num-cpus=1"]
    done = subprocess.run(  # noqa: S603  # our own command line
        command, env=environment, capture_output=True, text=True, check=False
    )
    try:
        answer = json.loads(done.stdout[done.stdout.index("{") :])
        return int(answer["run-id"])
    except (ValueError, KeyError, TypeError):
        said = " ".join((done.stderr or done.stdout).split())
        raise LaunchFailed(f"Flower did not accept the run: {said[-400:]}") from None


def _count_hospitals(study: Study) -> int:
    from clinical.events import list_hospitals

    return len(list_hospitals(Path(study.data.network))) if study.data.network else study.data.hospitals


def _nested(settings: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
    tables: dict[str, dict[str, Value]] = {}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        tables.setdefault(section, {})[name] = value
    return tables


def _follow(study: Study, folder: Path, superlink: subprocess.Popen[bytes], *, quiet: bool) -> None:
    """Show the run's progress from its own record until it ends."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        bar = progress.add_task("starting Flower", total=study.federation.rounds, note="")
        while superlink.poll() is None:
            record = _read(folder)
            if record is not None:
                progress.update(bar, **_state(record))
                if record["status"] != "running":
                    return
            time.sleep(POLL_SECONDS)
    raise LaunchFailed("Flower ended before the study did")


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return record


def _state(record: Mapping[str, Any]) -> dict[str, Any]:
    """Say in a few words where a run is."""
    rounds, curve = record.get("rounds", []), record.get("curve", [])
    known = [point["score"] for point in curve if point["score"] is not None]
    note = f"tuning {record['curve_metric']} {known[-1]:.3f}" if known else ""
    if "sites" not in record:
        return {"description": "admitting hospitals, reading records", "note": ""}
    done = len(rounds)
    total = record["study"]["federation"]["rounds"]
    description = f"round {done}/{total}" if done < total else "evaluating"
    return {"description": description, "completed": done, "note": note}
