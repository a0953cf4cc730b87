"""Run a study in a consortium: submit it, follow its record, and name its report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from consortium.coordinator import CONNECTION
from consortium.processes import ConsortiumFailed
from server.archive import run_folder
from server.submission import follow, require_completed, submit
from server.terms import check_study
from study.defaults import build
from study.protocol import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from consortium.topology import Consortium
    from study.protocol import Value

__all__ = ["run_study"]

ASKED_SECONDS: Final = 10.0
"""How often Flower is asked whether it still carries the run: each time starts a program."""


def run_study(consortium: Consortium, changes: Mapping[str, Value], *, quiet: bool = False) -> Path:
    """Run a study and wait for its end.

    Args:
        consortium: brought up.
        changes: the study's, over the defaults; where it writes is the consortium's to say.
        quiet: show no progress on the terminal.

    Returns:
        The directory of the completed run.

    Raises:
        ProtocolError: the study cannot be run as written; nothing was submitted.
        ConsortiumFailed: the consortium is not up; nothing was submitted.
        LaunchRefused: too few hospitals take part in the study as written.
        LaunchFailed: the run failed; its record, where one was begun, keeps the reason.
    """
    if "data.network" in changes:
        raise ProtocolError("data.network is for simulations: the hospitals of a consortium bring their own records")
    study = build({**changes, "study.output": str(consortium.places.runs)})
    check_study(study)
    if consortium.journal.find("superlink") is None:
        raise ConsortiumFailed("the consortium is not up: bring it up with `wardround sites up`")
    run = submit(study, consortium.coordinator.environment, where=[CONNECTION])
    folder = run_folder(study, run)
    follow(study, folder, alive=_Carried(consortium, run), quiet=quiet)
    require_completed(folder)
    return folder


class _Carried:
    """Tells whether the SuperLink still carries a run; also when the run's program never came to write a record."""

    def __init__(self, consortium: Consortium, run: int) -> None:
        self._consortium = consortium
        self._run = run
        self._asked = time.monotonic()

    def __call__(self) -> bool:
        if self._consortium.journal.find("superlink") is None:
            return False
        if time.monotonic() - self._asked < ASKED_SECONDS:
            return True
        self._asked = time.monotonic()
        return not self._consortium.coordinator.run_status(self._run).startswith("finished")
