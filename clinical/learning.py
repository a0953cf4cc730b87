"""Local learning: a hospital's examples, the batches drawn from them and the loop that takes the steps.

The unit is the patient. A batch is a set of patients with *all* their documents, because that is the unit whose
contribution is bounded and accounted; without differential privacy the same batches are simply shuffled. How a
gradient is made is an argument, so the private step and the plain step share one loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from clinical.metrics.blocks import read_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scipy.sparse import csr_matrix
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from clinical.losses import Loss
    from clinical.metrics.blocks import Positives

DENSE_CELLS = 200_000_000  # labels up to this many cells are kept dense: one byte each, and batches are then a gather


@dataclass(frozen=True, slots=True)
class Batch:
    """All documents of some patients: features [B, D], labels [B, K] as float32, patient int64 [B] in 0..P-1."""

    features: Tensor
    labels: Tensor
    patient: Tensor


@dataclass(frozen=True, slots=True)
class LearningReport:
    """What one call of `learn` did; it stays at the hospital unless its policy lets a key leave."""

    steps: int
    documents: int
    loss: float | None  # mean per document over all steps; None when every batch was empty


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

        order = np.argsort(patient, kind="stable")
        _, counts = np.unique(patient, return_counts=True)
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)  # [P + 1]
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

        starts, counts = self.starts[patients], np.diff(self.starts)[patients]
        patient = np.repeat(np.arange(len(patients)), counts)
        first = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(patients) else np.zeros(0, np.int64)
        rows = np.arange(len(patient)) - first[patient] + starts[patient] if len(patient) else patient
        index = torch.from_numpy(rows.astype(np.int64))
        if self._dense is None:
            labels = torch.from_numpy(self._sparse[rows].toarray())
        else:
            labels = self._dense.index_select(0, index)
        return Batch(self.features.index_select(0, index), labels.float(), torch.from_numpy(patient.astype(np.int64)))


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
    """Return the ordinary gradient step: the mean over the batch's documents, without any guarantee."""

    def gradient(batch: Batch) -> float:
        model.zero_grad(set_to_none=True)
        each = loss(model(batch.features), batch.labels)
        each.mean().backward()
        return float(each.detach().sum())

    return gradient


def learn(
    model: nn.Module,
    examples: Examples,
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


def predict(model: nn.Module, features: Tensor, *, rows: int = 4096) -> np.ndarray:
    """Return logits float32 [N, K] without gradients, a block of rows at a time."""
    import torch

    model.eval()
    with torch.inference_mode():
        blocks = [model(block) for block in features.split(rows)]
    return torch.cat(blocks).numpy()
