"""The hospital's canaries: a secret beside its ledger, invented patients among the real ones, a mark for each round.

A study with ``privacy.canaries = n`` plants n invented patients, each included by a fair coin that only this hospital
knows. What the coins were stands in a file that only the hospital's own account may read and that never leaves; with
it `wardround audit model` later asks whether the models gave the coins away. After each round the hospital notes how
strongly the model it received and the one it sent show each canary: that is what an attacker who sees every round has.
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clinical.learning import Examples, predict
from privacy.audits.canaries import Canaries, draw_canaries, margins

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from clients.hospital import Hospital
    from study.protocol import Study

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Planted:
    """The canaries of one run at one hospital, and the file that keeps its rounds' marks."""

    canaries: Canaries
    marks: Path

    def join(self, examples: Examples) -> Examples:
        """Return the examples with the included canaries as patients after the real ones."""
        from scipy.sparse import csr_matrix, vstack

        chosen = self.canaries.included
        numbers = examples.patients + np.arange(int(chosen.sum()))
        return Examples(
            np.concatenate([examples.features.numpy(), self.canaries.vectors[chosen]]),
            vstack([examples.labels, csr_matrix(self.canaries.labels[chosen])]).tocsr(),
            np.concatenate([examples.patient, numbers]),
        )

    def margins(self, model: nn.Module) -> np.ndarray:
        """Return how strongly a model shows each canary: float64 [n]."""
        import torch

        return margins(predict(model, torch.from_numpy(self.canaries.vectors)), self.canaries.labels)


def plant(study: Study, hospital: Hospital, *, run: str, features: int, codes: int) -> Planted | None:
    """Return the run's canaries here, drawing their secret the first time; None where the study has none."""
    if not study.privacy.canaries:
        return None
    secret = _secret_file(hospital, run)
    if not secret.is_file():
        _write_once(secret, {"format": FORMAT, "run": run, "seed": secrets.token_hex(32)})
    return _planted(secret, study.privacy.canaries, features=features, codes=codes)


def find(study: Study, hospital: Hospital, *, run: str, features: int, codes: int) -> Planted | None:
    """Return the canaries that a finished run had here, or None where it had none.

    Raises:
        FileNotFoundError: the study planted canaries and this hospital no longer has their secret.
    """
    if not study.privacy.canaries:
        return None
    secret = _secret_file(hospital, run)
    if not secret.is_file():
        raise FileNotFoundError(f"{hospital.name} keeps no canary secret of run {run} at {secret}: name its --ledger")
    return _planted(secret, study.privacy.canaries, features=features, codes=codes)


@contextmanager
def watch(planted: Planted | None, model: nn.Module, *, number: int) -> Iterator[None]:
    """Note how the model shows the canaries before and after what happens inside, as round ``number``."""
    if planted is None:
        yield
        return
    received = planted.margins(model)
    yield
    row = {"round": number, "received": received.tolist(), "sent": planted.margins(model).tolist()}
    descriptor = os.open(planted.marks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def read_rounds(planted: Planted) -> np.ndarray:
    """Return what each round's training added to each canary's margin: float64 [rounds, n]; no rounds give [0, n].

    A round that was answered twice counts once, as it was answered last.
    """
    rows: dict[int, Any] = {}
    with suppress(FileNotFoundError):
        for line in planted.marks.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows[row["round"]] = np.subtract(row["sent"], row["received"])
    return np.stack([rows[number] for number in sorted(rows)]) if rows else np.zeros((0, len(planted.canaries)))


def _planted(secret: Path, count: int, *, features: int, codes: int) -> Planted:
    from privacy.noise import ReproducibleNoise

    seed = json.loads(secret.read_text(encoding="utf-8"))["seed"]
    stream = ReproducibleNoise(f"canaries {seed}")
    return Planted(
        draw_canaries(count, features=features, codes=codes, noise=stream), secret.with_suffix(".rounds.jsonl")
    )


def _secret_file(hospital: Hospital, run: str) -> Path:
    """Name the run's secret: beside the ledger where that is a file, else beside the data."""
    beside = hospital.path if "://" in hospital.ledger else Path(hospital.ledger).parent
    return beside / "canaries" / hospital.name / f"{run}.json"


def _write_once(path: Path, content: dict[str, Any]) -> None:
    """Write a file that only its owner may read, whole; whoever comes second leaves the first one's."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            os.link(scratch, path)
    finally:
        scratch.unlink()
