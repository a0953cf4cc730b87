"""Launch a study under Flower's own simulation, and end everything with it.

`flwr run` keeps a daemon with the first run's environment and installs the application's dependencies anew for every
run. So the SuperLink here is a child of this command with its own home and port: it sees today's environment, uses what
is installed, and ends when the command ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from server.archive import run_folder
from server.submission import POLL_SECONDS, LaunchFailed, flower_environment, follow, require_completed, submit
from server.terms import check_study
from study.defaults import build

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from study.protocol import Study, Value

START_SECONDS = 60.0
PATIENCE_SECONDS = (5.0, 10.0)  # for what Flower leaves behind, before it is asked to end and before it has to


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
            run = submit(study, environment, where=_nodes(order.hospitals or _count_hospitals(study)))
            folder = run_folder(study, run)
            follow(study, folder, alive=lambda: superlink.poll() is None, quiet=quiet)
        try:
            require_completed(folder)
        except LaunchFailed:
            shutil.copy(_log(Path(scratch)), folder / "flower.log")  # what the hospitals of this machine have to say
            raise
    return folder


def _nodes(number: int) -> list[str]:
    return ["--federation-config", f"num-supernodes={number} client-resources-num-cpus=1"]


def _environment(scratch: Path) -> dict[str, str]:
    port, control = _free_port(), _free_port()
    return {
        **flower_environment(scratch / "flwr"),
        "FLWR_LOCAL_SUPERLINK_HTTP_API_PORT": str(port),
        "FLWR_LOCAL_CONTROL_API_PORT": str(control),
        "RAY_worker_niceness": "0",
        "RAY_DEDUP_LOGS": "0",
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
            _end_orphans(f"FLWR_HOME={environment['FLWR_HOME']}".encode())


def _end_orphans(mark: bytes) -> None:
    """End what the SuperLink started apart and left: a simulation that lost it asks for it for ever.

    They are found by their environment, where the system shows it (Linux); most end by themselves in a moment.
    """
    for patience, farewell in zip(PATIENCE_SECONDS, (signal.SIGTERM, signal.SIGKILL), strict=True):
        deadline = time.monotonic() + patience
        while (left := _carrying(mark)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, farewell)


def _carrying(mark: bytes) -> list[int]:
    """Return the processes in whose environment a variable has this value."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # it ended meanwhile, or is another user's
            if mark in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
    return found


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


def _count_hospitals(study: Study) -> int:
    from study.network import network_hospitals

    return len(network_hospitals(study, Path(study.data.network))) if study.data.network else study.data.hospitals
