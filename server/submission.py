"""Hand a study to a SuperLink, follow it, and tell the truth about how it ended.

`flwr run` exits 0 even when the run failed, so what a run became is read from the record its ServerApp writes. Whether
the hospitals are simulated on this machine or are nodes of a consortium makes no difference here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server.archive import give_up
from study.defaults import APPLICATION

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from study.protocol import Study, Value

POLL_SECONDS = 0.5


class LaunchFailed(RuntimeError):
    """Flower could not be started, or the run it carried failed; the message says which and where to look."""


class LaunchRefused(ValueError):
    """The hospitals refused the study as written; the message gives their reasons."""


def flower_environment(home: Path) -> dict[str, str]:
    """Return the environment of a Flower process: this Python's programs first, a home of its own, nothing installed.

    Args:
        home: the folder Flower keeps its configuration and applications in.
    """
    binaries = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}",
        "FLWR_HOME": str(home),
        "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_TELEMETRY_ENABLED": "0",
        "TOKENIZERS_PARALLELISM": "false",
    }


def submit(study: Study, environment: Mapping[str, str], *, where: Sequence[str]) -> int:
    """Hand the application and the study to a SuperLink; return the run's number.

    Args:
        study: what is to be run.
        environment: Flower's, as from `flower_environment`; its home receives the study's settings.
        where: arguments of `flwr run` that say where, for example the name of a connection.

    Raises:
        LaunchFailed: Flower did not take the run; the message repeats what it said.
    """
    import tomli_w

    preset = Path(environment["FLWR_HOME"]) / "study.toml"
    preset.parent.mkdir(parents=True, exist_ok=True)
    preset.write_text(tomli_w.dumps(_nested(study.settings())), encoding="utf-8")
    command = ["flwr", "run", str(APPLICATION), *where, "--format", "json", "--run-config", str(preset)]
    done = subprocess.run(  # noqa: S603  # our own command line
        command, env=environment, capture_output=True, text=True, check=False
    )
    try:
        answer = json.loads(done.stdout[done.stdout.index("{") :])
        return int(answer["run-id"])
    except (ValueError, KeyError, TypeError):
        said = " ".join((done.stderr or done.stdout).split())
        raise LaunchFailed(f"Flower did not accept the run: {said[-400:]}") from None


def follow(
    study: Study,
    folder: Path,
    *,
    alive: Callable[[], bool],
    quiet: bool,
    told: Callable[[Mapping[str, Any]], None] = lambda _: None,
) -> None:
    """Show the run's progress from its own record until it ends.

    Args:
        study: what is run.
        folder: the run's directory, which its ServerApp makes.
        alive: tells whether whoever carries the run still does.
        quiet: show nothing on the terminal.
        told: is given the record at every look.

    Raises:
        LaunchFailed: the carrier ended before the record did, which then says so.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[note]}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        bar = progress.add_task("starting Flower", total=study.charges, note="")
        while alive():
            record = _read(folder)
            if record is not None:
                told(record)
                progress.update(bar, **_state(record, total=study.charges))
                if record["status"] != "running":
                    return
            time.sleep(POLL_SECONDS)
    record = _read(folder)  # it may have ended and said so after the last look
    if record is None or record["status"] == "running":
        reason = "Flower ended the run before its record was finished"
        give_up(folder, reason=reason)
        raise LaunchFailed(reason)


def require_completed(folder: Path) -> None:
    """Insist that a run that ended was completed.

    Raises:
        LaunchRefused: too few hospitals take part in the study as written.
        LaunchFailed: the run failed; the message has the reason its record keeps.
    """
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if record["status"] == "refused":
        raise LaunchRefused(f"{record['reason']}; the record is {folder}")
    if record["status"] != "completed":
        raise LaunchFailed(f"the run failed: {record['reason'] or 'it was cut off'}; its record and log: {folder}")


def _nested(settings: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
    tables: dict[str, dict[str, Value]] = {}
    for key, value in settings.items():
        section, _, name = key.partition(".")
        tables.setdefault(section, {})[name] = value
    return tables


def _read(folder: Path) -> dict[str, Any] | None:
    try:
        record: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return record


def _state(record: Mapping[str, Any], *, total: int) -> dict[str, Any]:
    """Say in a few words where a run is."""
    rounds, curve = record.get("rounds", []), record.get("curve", [])
    known = [point["score"] for point in curve if point["score"] is not None]
    note = f"tuning {record['curve_metric']} {known[-1]:.3f}" if known else ""
    if "sites" not in record:
        return {"description": "admitting hospitals, reading records", "note": ""}
    done = len(rounds)
    description = f"round {done}/{total}" if done < total else "evaluating"
    return {"description": description, "completed": done, "note": note}
