"""A run's model as its directory keeps it, ready to judge notes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from study.protocol import Study, parse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import nn


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
        ValueError: the folder is no completed run of the task icd-coding.
    """
    import torch
    from safetensors.numpy import load_file

    from clinical.models import build_model

    for name in ("run.json", "model.safetensors", "vocabulary.txt", "thresholds.json"):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} holds no {name}: give the directory of a completed run")
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    study = parse(_settings(record["study"]))
    if study.task.name != "icd-coding":
        raise ValueError(f"the task {study.task.name} reads no notes: only icd-coding has this audit")
    codes = tuple((folder / "vocabulary.txt").read_text(encoding="utf-8").split())
    arrays = load_file(folder / "model.safetensors")
    width = next(array for name, array in arrays.items() if name.endswith("weight")).shape[1]
    model = build_model(study.model.name, features=width, codes=len(codes), dropout=study.model.dropout, seed=None)
    model.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()}, assign=True)
    logits = json.loads((folder / "thresholds.json").read_text(encoding="utf-8"))["logits"]
    return Trained(
        study=study,
        codes=codes,
        model=model,
        cuts=np.array(logits[study.evaluation.threshold], dtype=np.float32),
        encoders=frozenset(site["encoder"] for site in record["sites"]),
        names={
            "run": str(record["run"]),
            "folder": folder.resolve().name,
            "model_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        },
    )


def _settings(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Flatten the study of a record to the keys that `parse` reads."""
    return {
        f"{section}.{name.replace('_', '-')}": value
        for section, values in sections.items()
        for name, value in values.items()
    }
