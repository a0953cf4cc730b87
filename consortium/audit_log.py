"""The coordinator's audit log: who asked what of the hospitals, what they decided, and what came of it, over all runs.

A run's own record is rewritten while the run goes on and can be deleted with its folder. This log is one file beside
the runs, chained as the sites' logs are, so that coordinator and hospitals can hold theirs side by side: by the run's
number, the study's digest and the application's hash.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from clinical.chain import ChainWriter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from study.protocol import Study

__all__ = ["LOG_FILE", "AuditLog", "RunWitness", "describe_entry"]

LOG_FILE: Final = "journal.jsonl"
"""The log's name in the folder of runs."""

Decision = Literal["asked", "declined", "submitted", "admitted", "round", "ended", "unfollowed"]


class AuditLog:
    """Writes the log; every entry is on the disk when its call returns."""

    def __init__(self, runs: Path) -> None:
        """Name the folder of runs; it is made with the first entry."""
        self._runs = runs
        self._writer = ChainWriter(runs / LOG_FILE)

    def note(self, decision: Decision, **facts: Any) -> None:
        """Write one more entry.

        Args:
            decision: what was decided or happened.
            **facts: JSON values, in the order in which they are to be read.

        Raises:
            clinical.chain.ChainBroken: the log does not verify, and nothing was added to it.
            OSError: the entry could not be written.
        """
        self._runs.mkdir(parents=True, exist_ok=True)
        self._writer.append({"decision": decision, **facts}, at=datetime.now(UTC))

    def ask(self, study: Study, *, application: str, superlink: str) -> None:
        """Write who is about to ask for what, before anything is sent.

        Args:
            study: what is to be run.
            application: SHA-256 of the bundle that goes with it.
            superlink: host:port of the Control API.
        """
        facts = {"study": study.study.name, "study_digest": study.digest(), "application": application}
        self.note("asked", by=_person(), superlink=superlink, **facts)


class RunWitness:
    """Writes one run into the log, as its record grows; each fact once."""

    def __init__(self, log: AuditLog, run: int) -> None:
        """Take the log and Flower's number of the run."""
        self._log, self._run = log, str(run)
        self._admitted = False
        self._rounds = 0

    def see(self, record: Mapping[str, Any]) -> None:
        """Write what the run's record says and did not say before."""
        if "sites" in record and not self._admitted:
            hospitals = [site["name"] for site in record["sites"]]
            self._log.note("admitted", run=self._run, hospitals=hospitals, absences=record["absences"])
            self._admitted = True
        for entry in record.get("rounds", [])[self._rounds :]:
            facts = {"round": entry["round"], "aggregated": entry["aggregated"]}
            self._log.note(
                "round", run=self._run, **facts, hospitals=sorted(entry["sites"]), absences=entry["absences"]
            )
            self._rounds += 1

    def end(self, folder: Path) -> None:
        """Write how the run ended, and the SHA-256 of every file it left."""
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        self.see(record)
        files = {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.is_file()}
        reason = {"reason": record["reason"]} if record["reason"] else {}
        self._log.note("ended", run=self._run, status=record["status"], **reason, folder=folder.name, files=files)

    def lose(self, reason: str) -> None:
        """Write that nobody follows the run any more; it may go on or not."""
        self._log.note("unfollowed", run=self._run, reason=reason)


def describe_entry(entry: Mapping[str, Any]) -> str:
    """One entry on one line."""
    words = [f"{entry['number']:>5}  {entry['at']}  {entry['decision']:<10}"]
    if "run" in entry:
        words.append(f"run {entry['run']}")
    if "by" in entry:
        words.append(f"{entry['by']} asks for {entry['study']} ({entry['study_digest'][:12]})")
        words.append(f"application {entry['application'][:12]}")
    if "round" in entry:
        words.append(f"{entry['round']} {'aggregated' if entry['aggregated'] else 'not aggregated'}")
    if "hospitals" in entry:
        words.append(", ".join(entry["hospitals"]) or "no hospital")
    words += [f"without {gone['site']} ({gone['kind']}: {gone['reason']})" for gone in entry.get("absences", ())]
    if "status" in entry:
        words.append(entry["status"])
    if "reason" in entry:
        words.append(entry["reason"])
    if "files" in entry:
        words.append(f"left in {entry['folder']}: {', '.join(entry['files'])}")
    return "  ".join(words)


def _person() -> str:
    """Return who runs this process, and where."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        user = f"user {os.getuid()}"
    return f"{user}@{platform.node()}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
