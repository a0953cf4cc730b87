"""Losses: the table of criteria a study may name, each giving one number per example.

A loss is never averaged inside over examples: patient-level clipping needs each example's own term, and what is
averaged over what is the learner's decision. Within an example, codes are summed (each is a question of its own) and
the hours of a stay are averaged (a long stay is one stay).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Loss = Callable[[Tensor, Tensor], Tensor]

HUBER = 0.25  # where the Huber loss turns from square to absolute, in deviations of the answer


def build_loss(name: str) -> Loss:
    """Return a loss over codes by its name: (logits [B, K], labels [B, K]) → float32 [B], summed over codes.

    Raises:
        ValueError: no loss has that name.
    """
    each = _find(name)

    def summed(outputs: Tensor, labels: Tensor) -> Tensor:
        return each(outputs, labels).sum(dim=1)

    return summed


def build_outcome_loss(name: str) -> Loss:
    """Return a loss over one outcome by its name.

    Returns:
        (outputs [B, ..., 1], labels [B, ..., 1]) → float32 [B], the mean over what is asked of an example; NaN labels
        are not asked, and an example that is asked nothing has loss 0.

    Raises:
        ValueError: no loss has that name.
    """
    each = _find(name)

    def averaged(outputs: Tensor, labels: Tensor) -> Tensor:
        asked = ~labels.isnan()
        losses = each(outputs, labels.nan_to_num()) * asked
        return losses.flatten(1).sum(dim=1) / asked.flatten(1).sum(dim=1).clamp(min=1)

    return averaged


def _find(name: str) -> Loss:
    if name not in LOSSES:
        raise ValueError(f"training.loss = {name!r} is unknown: choose one of {', '.join(LOSSES)}")
    return LOSSES[name]


def binary_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy, elementwise."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    return binary_cross_entropy_with_logits(logits, labels, reduction="none")


def absolute_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """Absolute difference, elementwise."""
    return (outputs - labels).abs()


def squared_error(outputs: Tensor, labels: Tensor) -> Tensor:
    """Squared difference, elementwise."""
    return (outputs - labels) ** 2


def huber(outputs: Tensor, labels: Tensor) -> Tensor:
    """Huber 1964: squared up to `HUBER`, then absolute; elementwise."""
    from torch.nn.functional import huber_loss

    return huber_loss(outputs, labels, reduction="none", delta=HUBER)


LOSSES: dict[str, Loss] = {
    "bce": binary_cross_entropy,
    "huber": huber,
    "mae": absolute_error,
    "mse": squared_error,
}
#: What each is for: "binary" answers or "regression".
PURPOSE = {"bce": "binary", "huber": "regression", "mae": "regression", "mse": "regression"}
