"""Losses: the table of criteria a study may name, each giving one number per document.

A loss is never averaged inside: patient-level clipping needs each document's own term, and what is averaged over what
is the learner's decision.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Loss = Callable[[Tensor, Tensor], Tensor]


def build_loss(name: str) -> Loss:
    """Return a loss by its name: (logits [B, K], labels [B, K]) → float32 [B].

    Raises:
        ValueError: no loss has that name.
    """
    if name not in LOSSES:
        raise ValueError(f"training.loss = {name!r} is unknown: choose one of {', '.join(LOSSES)}")
    return LOSSES[name]


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Sum of the binary cross-entropies over the codes of each document: [B, K] → [B]."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(logits, labels, reduction="none").sum(dim=1)


LOSSES: dict[str, Loss] = {"bce": binary_cross_entropy}
