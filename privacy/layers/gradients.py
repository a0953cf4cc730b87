"""How a parameter's patient gradients are held between the backward pass and the clipped sum: mostly not built at all.

Two questions are asked of them, one after the other: how long is each patient's gradient, and what is their weighted
sum? Outer products answer both from their factors. A gradient is built per *patient* only where it is hardly larger
than the factors it is made of; it is then kept, so that the weighted sum is a matrix-vector product and no third large
product is paid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from privacy.layers.uses import Block, Patients, Use

FLOATS = 1 << 20  # most floats of one temporary: 4 MB, about what caches hold
KEPT = 2  # a patient's gradient is kept if it has at most this many times the floats of the factors it is made of
_ROUNDING = 4 * torch.finfo(torch.float32).eps  # a cancelled sum is rounded up, not under-clipped


class PatientGradients(Protocol):
    """The gradients of all patients for one or two parameters, in whatever form is cheapest."""

    def squared_norms(self, patients: Patients) -> Tensor:
        """Returns each patient's squared norm, [patients.count]; asked once, before `add_weighted`."""

    def add_weighted(self, patients: Patients, weights: Tensor) -> None:
        """Adds sum over patients of `weights[p]` times p's gradient to the parameters' `grad`."""


@dataclass(frozen=True, slots=True)
class Place:
    """A parameter, or a run of its rows, whose gradient a form holds.

    Attributes:
        parameter: the parameter; None where the layer has none, as without a bias.
        rows: the rows meant; None for all.
    """

    parameter: Tensor | None
    rows: slice | None = None

    @property
    def trainable(self) -> bool:
        """Whether there is anything to clip here."""
        trainable: bool = self.parameter is not None and self.parameter.requires_grad
        return trainable

    @property
    def grad(self) -> Tensor:
        """A view of these rows of the parameter's gradient, which the step has filled with noise."""
        assert self.parameter is not None
        assert self.parameter.grad is not None
        grad: Tensor = self.parameter.grad[... if self.rows is None else self.rows]
        return grad


class Materialised:
    """Gradients built for every patient: right for small parameters.

    Args:
        place: where they belong.
        values: the gradients, [patients.count, ...] with the place's own shape behind.
    """

    __slots__ = ("_place", "_values")

    def __init__(self, place: Place, values: Tensor) -> None:
        self._place = place
        self._values = values.flatten(1)

    def squared_norms(self, patients: Patients) -> Tensor:
        """Returns each patient's squared norm, [patients.count]."""
        assert len(self._values) == patients.count
        squares: Tensor = torch.linalg.vector_norm(self._values, dim=1).square_()
        return squares

    def add_weighted(self, patients: Patients, weights: Tensor) -> None:
        """Adds the weighted sum by one matrix-vector product."""
        assert len(self._values) == patients.count
        grad = self._place.grad
        grad += (weights @ self._values).view_as(grad)


def outer_products(uses: Sequence[Use], patients: Patients, weight: Place, bias: Place) -> list[PatientGradients]:
    """Returns the gradients of a linear map from all its calls, its weight [K, D] and bias [K]; frozen ones left out.

    Args:
        uses: the calls, inputs [B, ..., D] and gradients [B, ..., K].
        patients: owners of the B examples.
        weight: where the weight's gradient belongs.
        bias: likewise for the bias.
    """
    if not (weight.trainable or bias.trainable):
        return []
    inputs, gradients = _rows(uses)
    if not weight.trainable:
        return [Materialised(bias, patients.total(gradients.sum(1)))]
    return [OuterProducts(inputs, gradients, weight, bias)]


class OuterProducts:
    """Sums of outer products g a^T over rows, with the sums of g as the bias where it is trainable.

    Args:
        inputs: a, [B, n, D].
        gradients: g, [B, n, K].
        weight: a place of shape [K, D].
        bias: a place of shape [K].
    """

    __slots__ = ("_bias", "_gradients", "_inputs", "_kept", "_weight")

    def __init__(self, inputs: Tensor, gradients: Tensor, weight: Place, bias: Place) -> None:
        self._inputs, self._gradients, self._weight, self._bias = inputs, gradients, weight, bias
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}  # by number of examples: [m, K D] and [m, K]

    def squared_norms(self, patients: Patients) -> Tensor:
        """Returns each patient's squared norm over weight and bias, [patients.count]."""
        norms = self._gradients.new_zeros(patients.count)
        for block in patients.blocks:
            norms[block.members] = self._block_norms(block)
        if len(self._kept) == len(patients.blocks):
            self._inputs = self._gradients = norms.new_empty(0)  # everything is in what was kept
        return norms

    def add_weighted(self, patients: Patients, weights: Tensor) -> None:
        """Adds the weighted sums by one matrix product, and by matrix-vector products where gradients were kept."""
        if not self._kept:
            row_weights = weights[patients.owner].repeat_interleave(self._inputs.shape[1])
            self._add_rows(self._inputs.flatten(0, 1), self._gradients.flatten(0, 1), row_weights)
            return
        for block in patients.blocks:
            block_weights = weights[block.members]
            if block.examples in self._kept:
                products, sums = self._kept.pop(block.examples)
                self._weight.grad.add_((block_weights @ products).view_as(self._weight.grad))
                if self._bias.trainable:
                    self._bias.grad.addmv_(sums.T, block_weights)
            else:
                a, g = _block_rows(block, self._inputs), _block_rows(block, self._gradients)
                row_weights = block_weights.repeat_interleave(a.shape[1])
                self._add_rows(a.flatten(0, 1), g.flatten(0, 1), row_weights)

    def _add_rows(self, a: Tensor, g: Tensor, row_weights: Tensor) -> None:
        if self._bias.trainable:
            self._bias.grad.addmv_(g.T, row_weights)
        if a.shape[1] <= g.shape[1]:  # the narrower side is cheaper to scale
            a = a * row_weights[:, None]
        else:
            g = g * row_weights[:, None]
        self._weight.grad.addmm_(g.T, a)

    def _block_norms(self, block: Block) -> Tensor:
        a, g = _block_rows(block, self._inputs), _block_rows(block, self._gradients)  # [m, n, D], [m, n, K]
        (m, n, D), K, bias = a.shape, g.shape[2], self._bias.trainable
        if n == 1:
            size: Tensor = torch.linalg.vector_norm(a, dim=2).square() + float(bias)
            return size.mul_(torch.linalg.vector_norm(g, dim=2).square()).squeeze(1)
        keep = KEPT * n * (D + K) >= D * K
        if n * n * (D + K) <= n * D * K * (0.5 if keep else 1.0):  # what is kept saves the sum's own product
            parts = max(FLOATS // (n * n), 1)
            pairs = zip(a.split(parts), g.split(parts), strict=True)
            grams = ((torch.bmm(x, x.mT).add_(float(bias)), torch.bmm(y, y.mT)) for x, y in pairs)
            return torch.cat([gram_norms(inputs, gradients, width=D) for inputs, gradients in grams])
        sums = g.sum(1) if bias else g.new_zeros(m, 0)
        if keep:
            products = torch.bmm(g.mT, a).flatten(1)
            self._kept[block.examples] = products, sums
            norms: Tensor = torch.linalg.vector_norm(products, dim=1).square_()
        else:
            parts = max(FLOATS // (D * K), 1)
            halves = zip(a.split(parts), g.split(parts), strict=True)
            norms = torch.cat([torch.linalg.vector_norm(torch.bmm(y.mT, x).flatten(1), dim=1) for x, y in halves])
            norms = norms.square_()
        return norms + sums.square().sum(1)


def _rows(uses: Sequence[Use]) -> tuple[Tensor, Tensor]:
    """All uses side by side: inputs [B, n, D] and gradients [B, n, K]."""
    inputs = [_flat(use.inputs) for use in uses]
    gradients = [_flat(use.gradients) for use in uses]
    if len(uses) == 1:
        return inputs[0], gradients[0]
    return torch.cat(inputs, dim=1), torch.cat(gradients, dim=1)


def _flat(x: Tensor) -> Tensor:
    return x.unsqueeze(1) if x.ndim == 2 else x.flatten(1, -2)


def _block_rows(block: Block, x: Tensor) -> Tensor:
    rows = block.take(x)  # [m, examples, n, D]
    return rows.squeeze(1) if block.examples == 1 else rows.flatten(1, 2)


def gram_norms(inputs: Tensor, gradients: Tensor, *, width: int) -> Tensor:
    """Returns the squared norms of sums of outer products from their factors' inner products, [m].

    Args:
        inputs: inner products of the inputs, [m, n, n]; overwritten.
        gradients: inner products of the output gradients, [m, n, n].
        width: summands of an inner product, for the bound on rounding.

    Guarantee:
        A sum that cancels is rounded up by what rounding of independent sign may have taken from it.
    """
    pairs = inputs.mul_(gradients)
    trace = pairs.diagonal(dim1=1, dim2=2).sum(1)
    return pairs.sum((1, 2)).clamp_(min=0).add_(trace, alpha=_ROUNDING * width**0.5)
