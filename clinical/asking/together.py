"""Several tasks asked of one model: each question carries a prompt that says which task it belongs to.

A prompt is one channel a task, 1 where the task is asked and 0 elsewhere, beside what the model sees of the record. So
the tasks share everything a model learns about records, and one set of weights answers all of them. A patient's
questions of all tasks are one contribution, clipped together, so a further task costs no more privacy.

Source: a task prompt before the record as in EHRMamba (Fallahpour et al., 2024, arXiv 2405.14567, section 3.4), here as
a channel, which models without attention read as well.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from clinical.learning import Batch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from clinical.asking.split import Split
    from clinical.learning import Cases

__all__ = ["Prompted", "Together", "prompt", "train_together"]


class Prompted:
    """The examples of one task with its prompt behind every row or step: [N, F + A] or [N, T, F + A] for A tasks."""

    def __init__(self, cases: Cases, *, place: int, tasks: int) -> None:
        """Take the examples of the task at ``place`` among ``tasks``."""
        self.cases, self._place, self._tasks = cases, place, tasks

    @property
    def patients(self) -> int:
        """P, the number of patients."""
        return self.cases.patients

    @property
    def features(self) -> Prompted:
        """What a model reads; itself, as prompts are added block by block."""
        return self

    @property
    def ndim(self) -> int:
        """2 for rows, 3 for sequences."""
        return int(self.cases.features.ndim)

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, F + A] or [N, T, F + A]."""
        *front, width = self.cases.features.shape
        return (*front, width + self._tasks)

    def split(self, rows: int) -> Iterator[Tensor]:
        """Give blocks of examples with their prompt."""
        for block in self.cases.features.split(rows):
            yield self._prompted(block)

    def batch(self, patients: np.ndarray) -> Batch:
        """Gather all examples of ``patients`` (int64 [P'], each at most once), with their prompt."""
        batch = self.cases.batch(patients)
        return replace(batch, features=self._prompted(batch.features))

    def _prompted(self, block: Tensor) -> Tensor:
        import torch

        channels = torch.zeros(*block.shape[:-1], self._tasks)
        channels[..., self._place] = 1.0
        return torch.cat([block, channels], dim=-1)


class Together:
    """The training splits of several tasks as one: a patient of any of them is one patient with all questions."""

    def __init__(self, parts: Sequence[Prompted], patients: Sequence[np.ndarray]) -> None:
        """Join the splits.

        Args:
            parts: the examples of each task.
            patients: for each task, int64 [P] subject ids in increasing order, as its examples number their patients.
        """
        self._parts, self._own = parts, patients
        self._all = np.unique(np.concatenate(patients))

    @property
    def patients(self) -> int:
        """P, the number of patients of any task."""
        return len(self._all)

    @property
    def features(self) -> Prompted:
        """What a model reads, as the first task's examples show it."""
        return self._parts[0]

    def batch(self, patients: np.ndarray) -> Batch:
        """Gather all questions of ``patients`` (int64 [P'], each at most once); shorter sequences are filled up.

        What fills a sequence stands behind its last question, where nothing is asked.
        """
        import torch

        wanted = self._all[patients]
        found = [self._of(part, own, wanted) for part, own in zip(self._parts, self._own, strict=True)]
        longest = max(batch.features.shape[1] for batch in found) if self.features.ndim == 3 else 0
        features = torch.cat([_filled(batch.features, longest, 0.0) for batch in found])
        labels = torch.cat([_filled(batch.labels, longest, float("nan")) for batch in found])
        weight = torch.cat([_weight(batch) for batch in found])
        patient = torch.cat([batch.patient for batch in found])
        order = torch.argsort(patient, stable=True)
        return Batch(features[order], labels[order], patient[order], weight[order])

    @staticmethod
    def _of(part: Prompted, own: np.ndarray, wanted: np.ndarray) -> Batch:
        """Gather one task's examples of the wanted subjects, numbered by their place among these."""
        import torch

        place = np.searchsorted(own, wanted)
        there = np.flatnonzero(place < len(own))
        there = there[own[place[there]] == wanted[there]]
        batch = part.batch(place[there])
        return replace(batch, patient=torch.from_numpy(there)[batch.patient])


def prompt(splits: dict[str, Split], *, place: int, tasks: int) -> dict[str, Split]:
    """Put a task's prompt to the examples of all its splits."""
    return {
        name: replace(split, questions=Prompted(cast("Cases", split.questions), place=place, tasks=tasks))
        for name, split in splits.items()
    }


def train_together(splits: Sequence[Split]) -> Together:
    """Join the training splits of tasks that have their prompts."""
    parts = [split.questions for split in splits if isinstance(split.questions, Prompted)]
    return Together(parts, [np.unique(split.patient) for split in splits])


def _filled(block: Tensor, longest: int, filling: float) -> Tensor:
    """Fill sequences [B, T, F] up to ``longest`` steps; rows stay as they are."""
    from torch.nn.functional import pad

    return block if block.ndim == 2 else pad(block, (0, 0, 0, longest - block.shape[1]), value=filling)


def _weight(batch: Batch) -> Tensor:
    import torch

    return torch.ones(len(batch.features)) if batch.weight is None else batch.weight
