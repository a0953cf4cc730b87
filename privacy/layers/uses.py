"""What one backward pass leaves behind for a layer, and which patient each of its examples belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


class UnsupportedLayer(ValueError):
    """A layer whose contribution cannot be clipped exactly; the message names its path and type."""


@dataclass(frozen=True, slots=True)
class Use:
    """One call of a layer.

    Attributes:
        inputs: what went in, [B, ...], detached.
        gradients: gradient of the summed loss at what came out, [B, ...].
        part: which of the layer's own products this was, for layers that compute several; "" where there is one.
    """

    inputs: Tensor
    gradients: Tensor
    part: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Patients who own the same number of examples.

    Attributes:
        members: the patients, [m].
        examples: how many examples each of them owns, n.
        index: their examples, [m * n], patient by patient; a slice where they already lie side by side.
    """

    members: Tensor
    examples: int
    index: Tensor | slice

    def take(self, rows: Tensor) -> Tensor:
        """Gathers per-example rows [B, ...] as [m, n, ...]; a view where the block is a slice."""
        return rows[self.index].reshape(len(self.members), self.examples, *rows.shape[1:])


class Patients:
    """Who owns which example of a batch, grouped so that a group is one batched matrix product.

    Args:
        patient: owner of each example, int64 [B], values 0..count-1; a patient without examples is allowed.

    Attributes:
        count: number of patients, the largest index plus one.
        owner: the argument.
        blocks: groups of patients with equally many examples, by that number.
    """

    __slots__ = ("_one_each", "blocks", "count", "owner")

    def __init__(self, patient: Tensor) -> None:
        self.owner = patient
        sizes = torch.bincount(patient)
        self.count = len(sizes)
        order = torch.argsort(sizes[patient] * self.count + patient, stable=True)
        self.blocks: list[Block] = []
        start = 0
        for n, m in zip(*(x.tolist() for x in torch.unique(sizes[sizes > 0], return_counts=True)), strict=True):
            index = order[start : start + n * m]
            first = int(index[0])
            side_by_side = torch.equal(index, torch.arange(first, first + n * m, device=index.device))
            self.blocks.append(
                Block(patient[index[::n]], n, slice(first, first + n * m) if side_by_side else index),
            )
            start += n * m
        self._one_each = torch.equal(patient, torch.arange(self.count, device=patient.device))

    def total(self, rows: Tensor) -> Tensor:
        """Sums per-example rows [B, ...] over each patient, [count, ...]; the rows themselves where each owns one."""
        return rows if self._one_each else rows.new_zeros(self.count, *rows.shape[1:]).index_add_(0, self.owner, rows)
