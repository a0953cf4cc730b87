"""A run's model as its directory keeps it, ready to judge notes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from clients.audit.subject import read_run
from clinical.tasks import reads_notes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn

    from study.protocol import Study


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A run's model, ready to judge notes.

    Attributes:
        study: under which it was trained.
        codes: K, its vocabulary.
        model: from float32 [N, D] to logits [N, K].
        cuts: float32 [K], thresholds of the study's rule.
        encoders: identities of the encoders its hospitals used.
        names: what the record says of it: run, folder, model_sha256.
    """

    study: Study
    codes: tuple[str, ...]
    model: nn.Module
    cuts: np.ndarray
    encoders: frozenset[str]
    names: Mapping[str, str]

    def decide(self, features: np.ndarray) -> np.ndarray:
        """Give the codes of notes: bool [N, K]."""
        import torch

        from clinical.learning import predict

        decisions: np.ndarray = predict(self.model, torch.from_numpy(features)) >= self.cuts
        return decisions


def load_trained(folder: Path) -> Trained:
    """Read a run's model, vocabulary and thresholds.

    Raises:
        ValueError: the folder is no run that chose its thresholds, or its task reads no notes.
    """
    from clients.training import load_model

    run = read_run(folder)
    if not reads_notes(run.study.task.name):
        raise ValueError(f"notes are edited for models that read notes, and the task {run.study.task.name} has none")
    if not (folder / "thresholds.json").is_file():
        raise ValueError(f"{folder} holds no thresholds.json: give the directory of a completed run")
    width = next(array for name, array in run.arrays.items() if name.endswith("weight")).shape[1]
    logits = json.loads((folder / "thresholds.json").read_text(encoding="utf-8"))["logits"]
    return Trained(
        study=run.study,
        codes=run.codes,
        model=load_model(run.study, dict(run.arrays), features=width, codes=len(run.codes)),
        cuts=np.array(logits[run.study.evaluation.threshold], dtype=np.float32),
        encoders=frozenset(site["encoder"] for site in run.record["sites"]),
        names={"run": run.number, "folder": folder.resolve().name, "model_sha256": run.model_sha256},
    )
