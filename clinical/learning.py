"""Local learning: a hospital's examples, the batches drawn from them and the loop that takes the steps.

The unit is the patient. A batch is a set of patients with *all* their documents, because that is the unit whose
contribution is bounded and accounted; without differential privacy the same batches are simply shuffled. How a
gradient is made is an argument, so the private step and the plain step share one loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from clinical.metrics.blocks import read_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from scipy.sparse import csr_matrix
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from clinical.losses import Loss
    from clinical.metrics.blocks import Positives

DENSE_CELLS = 200_000_000  # labels up to this many cells are kept dense: one byte each, and batches are then a gather


@dataclass(frozen=True, slots=True)
class Batch:
    """All examples of some patients.

    Attributes:
        features: float32 [B, D], or sequences [B, T, F].
        labels: float32 [B, K], or [B, T, 1]; NaN where nothing is asked.
        patient: int64 [B] in 0..P-1.
        weight: float32 [B], what each example counts; None where each counts 1.
    """

    features: Tensor
    labels: Tensor
    patient: Tensor
    weight: Tensor | None = None

    def losses(self, loss: Loss, outputs: Tensor) -> Tensor:
        """Return each example's loss, weighed: float32 [B]."""
        each = loss(outputs, self.labels)
        return each if self.weight is None else each * self.weight


@dataclass(frozen=True, slots=True)
class LearningReport:
    """What one call of `learn` did; it stays at the hospital unless its policy lets a key leave."""

    steps: int
    documents: int
    loss: float | None  # mean per document over all steps; None when every batch was empty


class Features(Protocol):
    """What a model reads, block by block: a tensor, or what makes its blocks when they are asked for."""

    @property
    def shape(self) -> Sequence[int]:
        """[N, D] or [N, T, F]."""

    @property
    def ndim(self) -> int:
        """2 or 3."""

    def split(self, rows: int) -> Iterable[Tensor]:
        """Give blocks of at most ``rows`` examples, alike in shape."""


class Cases(Protocol):
    """One split of a hospital as the learner sees it, whatever its examples are."""

    @property
    def patients(self) -> int:
        """P, the number of patients."""

    @property
    def features(self) -> Features:
        """What a model reads: float32 [N, D] or [N, T, F], patient after patient."""

    def batch(self, patients: np.ndarray) -> Batch:
        """Gather all examples of ``patients`` (int64 [P'], each at most once)."""


class Examples:
    """One split of a hospital's documents, patient-contiguous so that a batch of patients is a gather of ranges."""

    def __init__(self, features: np.ndarray, labels: csr_matrix, patient: np.ndarray) -> None:
        """Sort the documents by patient.

        Args:
            features: float32 [N, D].
            labels: 0/1 [N, K], sparse rows.
            patient: int64 [N], any integers; equal numbers are one patient.
        """
        import torch

        order, self.starts = by_patient(patient)
        counts = np.diff(self.starts)
        self.features = torch.from_numpy(np.ascontiguousarray(features[order], dtype=np.float32))
        self._sparse = labels[order].tocsr().astype(np.uint8)
        dense = self._sparse.shape[0] * self._sparse.shape[1] <= DENSE_CELLS
        self._dense = torch.from_numpy(self._sparse.toarray()) if dense else None
        self.patient = np.repeat(np.arange(len(counts)), counts)  # [N], in the sorted order

    @property
    def patients(self) -> int:
        """P, the number of patients."""
        return len(self.starts) - 1

    @property
    def documents(self) -> int:
        """N, the number of documents."""
        return int(self.starts[-1])

    @property
    def labels(self) -> csr_matrix:
        """Labels 0/1 [N, K] in the sorted order, sparse."""
        return self._sparse

    @cached_property
    def truth(self) -> Positives:
        """The same labels as metrics read them, once."""
        return read_labels(self._sparse)

    def batch(self, patients: np.ndarray) -> Batch:
        """Gather all documents of ``patients`` (int64 [P'], each at most once)."""
        import torch

        rows, patient = rows_of(self.starts, patients)
        index = torch.from_numpy(rows)
        if self._dense is None:
            labels = torch.from_numpy(self._sparse[rows].toarray())
        else:
            labels = self._dense.index_select(0, index)
        return Batch(self.features.index_select(0, index), labels.float(), torch.from_numpy(patient))


class Questions:
    """One split of a hospital's stays: what is asked of each, patient-contiguous as `Examples` are.

    Attributes:
        features: float32 [N, T, F], a stay each, or [M, F], a question each.
        labels: float32 [N, T, 1] or [M, 1] on the model's scale, NaN where nothing is asked.
        patient: int64, the patient of each example in 0..P-1.
        weight: float32 [N] or [M], what each example counts; None where each counts 1.
    """

    def __init__(
        self, features: np.ndarray, labels: np.ndarray, patient: np.ndarray, weight: np.ndarray | None = None
    ) -> None:
        """Sort the examples by patient.

        Args:
            features: float32 [N, T, F] or [M, F].
            labels: float32 [N, T] or [M], NaN where nothing is asked.
            patient: int64, any integers; equal numbers are one patient.
            weight: float32 [N] or [M], what each example counts; None where each counts 1.
        """
        import torch

        order, self.starts = by_patient(patient)
        self.patient = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        self.features = torch.from_numpy(np.ascontiguousarray(features[order], dtype=np.float32))
        self.labels = torch.from_numpy(np.ascontiguousarray(labels[order], dtype=np.float32)[..., None])
        self.weight = None if weight is None else torch.from_numpy(np.asarray(weight[order], dtype=np.float32))
        asked = ~np.isnan(labels[order])
        self._steps = asked.shape[1] - np.argmax(asked[:, ::-1], axis=1) if asked.ndim == 2 else None

    @property
    def patients(self) -> int:
        """P, the number of patients."""
        return len(self.starts) - 1

    def batch(self, patients: np.ndarray) -> Batch:
        """Gather all examples of ``patients``; sequences end with the last thing asked of any of them."""
        import torch

        rows, patient = rows_of(self.starts, patients)
        index = torch.from_numpy(rows)
        features, labels = self.features.index_select(0, index), self.labels.index_select(0, index)
        if self._steps is not None:
            steps = int(self._steps[rows].max(initial=1))
            features, labels = features[:, :steps], labels[:, :steps]
        weight = None if self.weight is None else self.weight.index_select(0, index)
        return Batch(features, labels, torch.from_numpy(patient), weight)


def by_patient(patient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order examples patient after patient: the order int64 [N], and where each patient starts, int64 [P + 1]."""
    _, counts = np.unique(patient, return_counts=True)
    return np.argsort(patient, kind="stable"), np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def rows_of(starts: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the rows of some patients and each row's patient in 0..P'-1: int64 [B] each."""
    first, counts = starts[patients], np.diff(starts)[patients]
    patient = np.repeat(np.arange(len(patients)), counts)
    before = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(patients) else np.zeros(0, np.int64)
    rows = np.arange(len(patient)) - before[patient] + first[patient] if len(patient) else patient
    return rows.astype(np.int64), patient.astype(np.int64)


def shuffled_patients(
    patients: int, *, batch_patients: int, steps: int, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield ``steps`` batches of patient indices, every patient once before any twice.

    This is the batch order of ordinary training. It carries *no* privacy amplification: private training draws
    Poisson batches instead (`privacy.noise`).
    """
    waiting = np.zeros(0, np.int64)
    for _ in range(steps):
        if len(waiting) < batch_patients:
            waiting = np.concatenate([waiting, rng.permutation(patients)])
        batch, waiting = waiting[:batch_patients], waiting[batch_patients:]
        yield np.unique(batch)  # a patient drawn at the seam of two permutations counts once


def plain_gradient(model: nn.Module, loss: Loss) -> Callable[[Batch], float]:
    """Return the ordinary gradient step: the mean over the batch's examples, without any guarantee."""

    def gradient(batch: Batch) -> float:
        model.zero_grad(set_to_none=True)
        each = batch.losses(loss, model(batch.features))
        total = each.sum()
        (total / (len(each) if batch.weight is None else batch.weight.sum())).backward()
        return float(total.detach())

    return gradient


def learn(
    model: nn.Module,
    examples: Cases,
    batches: Iterable[np.ndarray],
    *,
    optimizer: Optimizer,
    gradient: Callable[[Batch], float],
    proximal_mu: float = 0.0,
) -> LearningReport:
    """Take one optimizer step per batch of patients.

    Args:
        model: trained in place.
        examples: the hospital's training split.
        batches: patient indices of each step; may be empty (a Poisson draw of nobody still steps).
        optimizer: over the model's parameters.
        gradient: sets every parameter's ``grad`` from a batch and returns the summed loss.
        proximal_mu: weight of FedProx' term mu/2 |w - w_received|^2. Its gradient depends on no patient, so adding
            it after a private gradient costs nothing.

    Source:
        FedProx: Li et al., Federated Optimization in Heterogeneous Networks, 2020, eq. 2.
    """
    model.train()
    received = [parameter.detach().clone() for parameter in model.parameters()] if proximal_mu else []
    steps = documents = 0
    total = 0.0
    for patients in batches:
        batch = examples.batch(patients)
        total += gradient(batch)
        for parameter, origin in zip(model.parameters(), received, strict=False):
            if parameter.grad is not None:
                parameter.grad.add_(parameter.detach() - origin, alpha=proximal_mu)
        optimizer.step()
        steps += 1
        documents += len(batch.features)
    return LearningReport(steps, documents, total / documents if documents else None)


def build_optimizer(name: str, model: nn.Module, *, learning_rate: float, weight_decay: float) -> Optimizer:
    """Return the optimizer a study names.

    Raises:
        ValueError: no optimizer has that name.
    """
    from torch import optim

    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if name == "adam":
        return optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
    if name == "sgd":
        return optim.SGD(parameters, lr=learning_rate, weight_decay=weight_decay)
    raise ValueError(f"training.optimizer = {name!r} is unknown: choose adam or sgd")


def predict(model: nn.Module, features: Features, *, rows: int = 4096) -> np.ndarray:
    """Return logits float32 [N, K] or [N, T, K] without gradients, a block of examples at a time."""
    import torch

    model.eval()
    with torch.inference_mode():
        blocks = [model(block) for block in features.split(rows)]
    return torch.cat(blocks).numpy()
