"""Conv1d: each tap of the kernel is a linear map of a shifted input, summed over time.

With stride s and dilation d, tap j has the gradient sum_t g_t a_{ts+jd}^T. Where time is short for the channels, the
norm comes from inner products, and those of all taps stand in one Gram matrix of the padded input:

    |gradient|^2 = sum_{t,u} (g_t . g_u) sum_j (a_{ts+jd} . a_{us+jd});

else, and always where groups make the kernel small, a patient's gradient is one batched product for each tap over
views of the input. Nothing is unfolded. Groups are further examples, as far as the products are concerned.

Source: Rochette, Manoel & Tramel, "Efficient Per-Example Gradient Computations in Convolutional Neural Networks", 2019
(arXiv 1912.06015), for the products; Bu, Mao & Xu, "Scalable and Efficient Training of Large Convolutional Neural
Networks with Differential Privacy", 2022 (arXiv 2205.10683), for the choice between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from privacy.layers.gradients import FLOATS, KEPT, Materialised, Place, gram_norms
from privacy.layers.rule import LayerRule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from privacy.layers.gradients import PatientGradients
    from privacy.layers.uses import Block, Patients, Use


class Convolutions:
    """Gradients of a convolution's weight, from all its calls.

    Args:
        layer: the convolution.
        uses: its calls, inputs [B, C, L] and gradients [B, K, T].
    """

    __slots__ = ("_calls", "_kept", "_layer", "_size", "_width")

    def __init__(self, layer: nn.Conv1d, uses: Sequence[Use]) -> None:
        self._layer = layer
        self._size, self._width = layer.weight.numel(), layer.weight.shape[1]
        self._calls = [(_padded(layer, use.inputs), use.gradients) for use in uses]
        self._kept: dict[int, Tensor] = {}  # by number of examples: [taps, m, weights of a tap]

    def squared_norms(self, patients: Patients) -> Tensor:
        """Returns each patient's squared norm, [patients.count]."""
        norms = self._calls[0][1].new_zeros(patients.count)
        for block in patients.blocks:
            norms[block.members] = self._block_norms(block)
        if len(self._kept) == len(patients.blocks):
            self._calls.clear()  # everything is in what was kept
        return norms

    def add_weighted(self, patients: Patients, weights: Tensor) -> None:
        """Adds the weighted sum: of kept gradients directly, of the others by the convolution's own backward pass."""
        layer, grad = self._layer, Place(self._layer.weight).grad
        rest = weights.clone()
        for block in patients.blocks:
            if block.examples in self._kept:
                taps = weights[block.members] @ self._kept[block.examples]  # [taps, K C]
                grad += taps.T.reshape(grad.shape)
                rest[block.members] = 0.0
        for x, g in self._calls:
            weighted = g * rest[patients.owner, None, None]
            grad += torch.ops.aten.convolution_backward(
                weighted, x, layer.weight, None, layer.stride, [0], layer.dilation, False, [0], layer.groups,
                [False, True, False],
            )[1]  # fmt: skip

    def _block_norms(self, block: Block) -> Tensor:
        layer = self._layer
        L, T = block.examples * self._calls[0][0].shape[2], block.examples * self._calls[0][1].shape[2]
        factors = sum(block.examples * (x[0].numel() + g[0].numel()) for x, g in self._calls)
        keep = KEPT * factors >= self._size
        gram_cost = L * L * layer.in_channels + T * T * layer.out_channels
        if layer.groups == len(self._calls) == 1 and gram_cost <= T * self._size * (0.5 if keep else 1.0):
            parts = max(FLOATS // L**2, 1)
            return torch.cat([self._gram_norms(x, g) for x, g in self._split(block, parts)])
        (taps,), m, parts = layer.kernel_size, len(block.members), max(FLOATS // self._size, 1)
        products = layer.weight.new_empty(taps, m if keep else min(m, parts), self._size // taps)
        norms = products.new_empty(m)
        for start in range(0, m, parts):  # what was just made is still in the cache when its norm is taken
            members = slice(start, min(start + parts, m))
            made = products[:, members] if keep else products[:, : members.stop - start]
            self._multiply(block, members, made)
            norms[members] = torch.linalg.vector_norm(made, dim=2).square_().sum(0)
        if keep:
            self._kept[block.examples] = products
        return norms

    def _split(self, block: Block, parts: int) -> Iterator[tuple[Tensor, Tensor]]:
        (x, g) = self._calls[0]
        return zip(block.take(x).split(parts), block.take(g).split(parts), strict=True)

    def _gram_norms(self, x: Tensor, g: Tensor) -> Tensor:
        """Squared norms from inner products: inputs [m, n, C, L] and gradients [m, n, K, T] to [m]."""
        n, T = g.shape[1], g.shape[3]
        x, g = x.transpose(1, 2).flatten(2), g.transpose(1, 2).flatten(2)  # [m, C, n L], [m, K, n T]
        pairs = torch.bmm(x.mT, x).unflatten(2, (n, -1)).unflatten(1, (n, -1))  # [m, n, L, n, L]
        taps = [pairs[:, :, tap, :, tap] for tap in _taps(self._layer, T)]
        inputs = taps[0].contiguous() if len(taps) == 1 else taps[0] + taps[1]
        for tap in taps[2:]:
            inputs += tap
        inputs = inputs.reshape(-1, n * T, n * T)
        return gram_norms(inputs, torch.bmm(g.mT, g), width=self._layer.in_channels * len(taps))

    def _multiply(self, block: Block, members: slice, out: Tensor) -> None:
        """Writes the gradients of some of a block's patients, [taps, m, weights of a tap]."""
        groups = self._layer.groups
        shape = (-1, self._layer.out_channels // groups, self._width)
        first = True
        for x, g in self._calls:
            xs, gs = block.take(x)[members], block.take(g)[members]  # [m, n, C, L], [m, n, K, T]
            for example in range(block.examples):
                a = xs[:, example].unflatten(1, (groups, -1)).flatten(0, 1)  # [m groups, C / groups, L]
                b = gs[:, example].unflatten(1, (groups, -1)).flatten(0, 1)  # [m groups, K / groups, T]
                for tap, product in zip(_taps(self._layer, g.shape[2]), out, strict=True):
                    _add_product(b, a[:, :, tap], product.view(shape), first=first)
                first = False


def _add_product(g: Tensor, a: Tensor, product: Tensor, *, first: bool) -> None:
    """Adds one tap's gradient for each group, [m, K, T] and [m, C, T], to [m, K, C]; the first one is written."""
    if g.shape[1] == a.shape[1] == 1:
        sums = torch.linalg.vecdot(g, a)[:, :, None]
        product.copy_(sums) if first else product.add_(sums)
    elif first:
        torch.bmm(g, a.mT, out=product)
    else:
        product.baddbmm_(g, a.mT)


def _taps(layer: nn.Conv1d, T: int) -> list[slice]:
    """The padded input's positions that each tap of the kernel sees."""
    (stride,), (dilation,), (taps,) = layer.stride, layer.dilation, layer.kernel_size
    return [slice(j * dilation, j * dilation + stride * (T - 1) + 1, stride) for j in range(taps)]


def _padded(layer: nn.Conv1d, x: Tensor) -> Tensor:
    """The input as the kernel walks over it; torch keeps the widths of both sides, last dimension first."""
    widths = layer._reversed_padding_repeated_twice  # noqa: SLF001 - what "same" means is decided there
    if not any(widths):
        return x
    return functional.pad(x, widths, mode="constant" if layer.padding_mode == "zeros" else layer.padding_mode)


def _gradients(layer: nn.Conv1d, uses: Sequence[Use], patients: Patients) -> list[PatientGradients]:
    found: list[PatientGradients] = []
    if layer.weight.requires_grad:
        found.append(Convolutions(layer, uses))
    bias = Place(layer.bias)
    if bias.trainable:
        sums = torch.stack([use.gradients.sum(2) for use in uses]).sum(0)
        found.append(Materialised(bias, patients.total(sums)))
    return found


RULE = LayerRule(gradients=_gradients, dimensions=lambda _: 3)
