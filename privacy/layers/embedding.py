"""Embedding: a patient's gradient is sparse, one row for each code they have, so only those rows are summed.

An embedding of one row is how a plain parameter joins a model that treats examples apart: looked up once for each
example, its gradient for an example is what arrives at that lookup.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from privacy.layers.gradients import Materialised, Place
from privacy.layers.rule import LayerRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from privacy.layers.gradients import PatientGradients
    from privacy.layers.uses import Patients, Use


class Rows:
    """Gradients of single rows of a table.

    Args:
        place: the table.
        row: row of each entry, int64 [U].
        owner: patient of each entry, int64 [U]; a pair of row and owner occurs once.
        values: the patient's gradient for that row, [U, D].
    """

    __slots__ = ("_owner", "_place", "_row", "_values")

    def __init__(self, place: Place, row: Tensor, owner: Tensor, values: Tensor) -> None:
        self._place, self._row, self._owner, self._values = place, row, owner, values

    def squared_norms(self, patients: Patients) -> Tensor:
        """Returns each patient's squared norm, [patients.count]."""
        squares: Tensor = torch.linalg.vector_norm(self._values, dim=1).square_()
        return squares.new_zeros(patients.count).index_add_(0, self._owner, squares)

    def add_weighted(self, patients: Patients, weights: Tensor) -> None:
        """Adds the weighted rows to the table's gradient."""
        assert len(weights) == patients.count
        self._place.grad.index_add_(0, self._row, self._values * weights[self._owner, None])


def _gradients(layer: nn.Embedding, uses: Sequence[Use], patients: Patients) -> list[PatientGradients]:
    lookups = [(use.inputs.flatten(1) if use.inputs.ndim > 1 else use.inputs[:, None], use.gradients) for use in uses]
    row = torch.cat([index for index, _ in lookups], dim=1)  # [B, n]
    gradients = torch.cat([g.reshape(*index.shape, layer.embedding_dim) for index, g in lookups], dim=1)  # [B, n, D]
    return [_sum_rows(layer, row, gradients, patients)]


def _bag_gradients(layer: nn.EmbeddingBag, uses: Sequence[Use], patients: Patients) -> list[PatientGradients]:
    row = torch.cat([use.inputs for use in uses], dim=1)
    gradients = torch.cat([_spread(layer, use) for use in uses], dim=1)
    return [_sum_rows(layer, row, gradients, patients)]


def _spread(layer: nn.EmbeddingBag, use: Use) -> Tensor:
    """The gradient at each position of a bag, [B, n, D]."""
    learned = torch.ones_like(use.inputs) if layer.padding_idx is None else (use.inputs != layer.padding_idx).long()
    gradients = use.gradients
    if layer.mode == "mean":
        gradients = gradients / learned.sum(1, keepdim=True).clamp(min=1)
    return gradients[:, None, :].expand(-1, use.inputs.shape[1], -1)


def _sum_rows(
    layer: nn.Embedding | nn.EmbeddingBag, row: Tensor, gradients: Tensor, patients: Patients
) -> PatientGradients:
    """Sums the gradients [B, n, D] at rows [B, n] over each pair of patient and row."""
    place = Place(layer.weight)
    if layer.num_embeddings == 1 and layer.padding_idx is None:
        return Materialised(place, patients.total(gradients.sum(1)))
    key = (patients.owner[:, None] * layer.num_embeddings + row).flatten()
    values = gradients.flatten(0, 1)
    if layer.padding_idx is not None:
        learned = (row != layer.padding_idx).flatten()
        key, values = key[learned], values[learned]
    found, entry = torch.unique(key, return_inverse=True)
    sums = values.new_zeros(len(found), layer.embedding_dim).index_add_(0, entry, values)
    owner = found.div(layer.num_embeddings, rounding_mode="floor")
    return Rows(place, found - owner * layer.num_embeddings, owner, sums)


def _refusal(layer: nn.Embedding | nn.EmbeddingBag) -> str:
    if layer.max_norm is not None:
        return "rewrites its rows during the forward pass: leave max_norm unset"
    if layer.scale_grad_by_freq:
        return "scales a gradient by how often others use the row: leave scale_grad_by_freq unset"
    return "asks for sparse gradients, which noise makes dense: leave sparse unset" if layer.sparse else ""


def _bag_refusal(layer: nn.EmbeddingBag) -> str:
    return (
        "takes a maximum, for which there is no rule: use a sum or a mean" if layer.mode == "max" else _refusal(layer)
    )


RULE = LayerRule(gradients=_gradients, dimensions=lambda _: 1, refusal=_refusal)
BAG = LayerRule(gradients=_bag_gradients, dimensions=lambda _: 2, refusal=_bag_refusal)
