"""Linear: a patient's weight gradient is a sum of outer products, so its norm needs inner products only.

An example (or one time step of it) with input a and output gradient g has the weight gradient g a^T and the bias
gradient g. For a patient with rows r,

    |sum_r g_r a_r^T|^2 + |sum_r g_r|^2 = sum_{r,s} (a_r . a_s + 1) (g_r . g_s),

two small Gram matrices instead of a [K, D] gradient. For patients with so many rows that the Gram matrices outgrow the
gradient itself, the gradient is materialised, a few patients at a time.

Source: Goodfellow, "Efficient Per-Example Gradient Computations", 2015 (arXiv 1510.01799), for one row; Li et al.,
"Large Language Models Can Be Strong DP Learners", 2022 (arXiv 2110.05679, section 4), for sequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from privacy.layers.uses import Patients, Use

_FLOATS = 1 << 22  # most floats of one temporary: 16 MB
_ROUNDING = 2 * torch.finfo(torch.float32).eps  # a cancelled sum is rounded up, never under-clipped


class LinearRule:
    """The rule of `nn.Linear` on inputs [B, D] or [B, ..., D]."""

    parameters = frozenset({"weight", "bias"})

    def squared_norms(self, layer: nn.Linear, uses: Sequence[Use], patients: Patients) -> Tensor:
        """Returns each patient's squared gradient norm over the trainable weight and bias, [patients.count]."""
        inputs, gradients = _rows(uses)
        norms = gradients.new_zeros(patients.count)
        weight, bias = layer.weight.requires_grad, layer.bias is not None and layer.bias.requires_grad
        for block in patients.blocks:
            a, g = block.take(inputs).flatten(1, -2), block.take(gradients).flatten(1, -2)  # [m, n, D], [m, n, K]
            norms[block.members] = _block_norms(a, g, weight=weight, bias=bias)
        return norms

    def add_weighted(self, layer: nn.Linear, uses: Sequence[Use], patients: Patients, weights: Tensor) -> None:
        """Adds the patient-weighted sum of gradients to `weight.grad` and `bias.grad` by one matrix product."""
        inputs, gradients = _rows(uses)  # [B, T, D], [B, T, K]
        row_weights = weights[patients.owner].repeat_interleave(inputs.shape[1])
        a, g = inputs.flatten(0, 1), gradients.flatten(0, 1)
        if layer.bias is not None and layer.bias.grad is not None and layer.bias.requires_grad:
            layer.bias.grad.addmv_(g.T, row_weights)
        if layer.weight.grad is None or not layer.weight.requires_grad:
            return
        if a.shape[1] <= g.shape[1]:  # the narrower side is cheaper to scale
            a = a * row_weights[:, None]
        else:
            g = g * row_weights[:, None]
        layer.weight.grad.addmm_(g.T, a)


def _rows(uses: Sequence[Use]) -> tuple[Tensor, Tensor]:
    """All uses side by side: inputs [B, T, D] and gradients [B, T, K]."""
    inputs = [use.inputs.reshape(len(use.inputs), -1, use.inputs.shape[-1]) for use in uses]
    gradients = [use.gradients.reshape(len(use.gradients), -1, use.gradients.shape[-1]) for use in uses]
    if len(uses) == 1:
        return inputs[0], gradients[0]
    return torch.cat(inputs, dim=1), torch.cat(gradients, dim=1)


def _block_norms(a: Tensor, g: Tensor, *, weight: bool, bias: bool) -> Tensor:
    """Squared norms of one block: inputs [m, n, D] and gradients [m, n, K] to [m]."""
    (n, D), K = a.shape[1:], g.shape[2]
    if not weight:
        return g.sum(1).square().sum(1)
    if n == 1:
        size: Tensor = torch.linalg.vector_norm(a, dim=2).square() + float(bias)
        return size.mul_(torch.linalg.vector_norm(g, dim=2).square()).squeeze(1)
    gram_cost, gradient_cost = n * n * (D + K), n * D * K
    if gram_cost <= gradient_cost:
        parts = max(_FLOATS // (n * n), 1)
        return torch.cat([_gram_norms(x, y, bias=bias) for x, y in zip(a.split(parts), g.split(parts), strict=True)])
    parts = max(_FLOATS // (D * K), 1)
    norms = torch.cat(
        [torch.bmm(y.mT, x).square().sum((1, 2)) for x, y in zip(a.split(parts), g.split(parts), strict=True)]
    )
    return norms + g.sum(1).square().sum(1) if bias else norms


def _gram_norms(a: Tensor, g: Tensor, *, bias: bool) -> Tensor:
    pairs = torch.bmm(a, a.mT).add_(float(bias)).mul_(torch.bmm(g, g.mT))  # [m, n, n]
    trace = pairs.diagonal(dim1=1, dim2=2).sum(1)
    return pairs.sum((1, 2)).clamp_(min=0).add_(trace, alpha=_ROUNDING * a.shape[1])
