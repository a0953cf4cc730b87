"""Run a study in a consortium: submit it, follow its record, write the audit log, and name its report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from consortium.audit_log import AuditLog, RunWitness
from consortium.control import CONNECTION
from consortium.processes import ConsortiumFailed
from gate.bundle import load_bundle
from server.archive import give_up, run_folder
from server.submission import LaunchFailed, follow, require_completed, submit
from server.terms import check_study
from study.defaults import APPLICATION, build
from study.protocol import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from consortium.control import Control
    from study.protocol import Study, Value

__all__ = ["run_study"]

ASKED_SECONDS: Final = 10.0
"""How often Flower is asked whether it still carries the run: each time starts a program."""


def run_study(control: Control, changes: Mapping[str, Value], *, runs: Path, quiet: bool = False) -> Path:
    """Run a study and wait for its end.

    Args:
        control: of the consortium's SuperLink.
        changes: the study's, over the defaults; where it writes is the coordinator's to say.
        runs: absolute folder, the same for the SuperLink and for this command, which receives the run's directory.
        quiet: show no progress on the terminal.

    Returns:
        The directory of the completed run.

    Raises:
        ProtocolError: the study cannot be run as written; nothing was submitted.
        LaunchRefused: too few hospitals take part in the study as written.
        LaunchFailed: Flower did not take the run, or it failed; its record, where one was begun, keeps the reason.
        ConsortiumFailed: the SuperLink no longer answers; the run's record, where one was begun, says so.
        clinical.chain.ChainBroken: the coordinator's audit log does not verify; nothing was submitted.
    """
    if changes.get("data.network"):
        raise ProtocolError("data.network is for simulations: the hospitals of a consortium bring their own records")
    study = build({**changes, "study.output": str(runs)})
    check_study(study)
    control.configure()
    log = AuditLog(runs)
    run = _submit(study, control, log)
    folder = run_folder(study, run)
    witness = RunWitness(log, run)
    try:
        follow(study, folder, alive=_Carried(control, run), told=witness.see, quiet=quiet)
    except ConsortiumFailed:
        reason = "the SuperLink no longer answers, and a run does not survive its end"
        give_up(folder, reason=reason)
        witness.lose(reason)
        raise ConsortiumFailed(f"{reason}; the run's record: {folder}") from None
    except BaseException as fault:
        witness.lose(" ".join(str(fault).split()) or type(fault).__name__)
        raise
    witness.end(folder)
    require_completed(folder)
    return folder


def _submit(study: Study, control: Control, log: AuditLog) -> int:
    """Hand a study to Flower; the log says before that it was asked for, and after what became of it."""
    _, bundle = load_bundle(APPLICATION)
    log.ask(study, application=bundle.digest, superlink=control.address)
    try:
        run = submit(study, control.environment, where=[CONNECTION])
    except LaunchFailed as fault:
        log.note("declined", reason=str(fault))
        raise
    log.note("submitted", run=str(run))
    return run


class _Carried:
    """Tells whether the SuperLink still carries a run; also when the run's program never came to write a record."""

    def __init__(self, control: Control, run: int) -> None:
        self._control = control
        self._run = run
        self._asked = time.monotonic()

    def __call__(self) -> bool:
        if time.monotonic() - self._asked < ASKED_SECONDS:
            return True
        self._asked = time.monotonic()
        return not self._control.run_ended(self._run)
