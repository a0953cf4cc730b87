"""Raw outputs of a generator to rows: all choices at once, whatever their sizes, with gradients by hand.

Every choice of a row is a softmax of its own over outputs, Gumbel noise and a low temperature, near enough to a choice
that the critic cannot see the difference, and smooth. The choices lie side by side, so their maxima and sums
are reductions over stretches of one array, turned so that a stretch is a few long rows.

Source: Jang, Gu & Poole 2017 (arXiv 1611.01144); Xu et al. 2019 (arXiv 1907.00503), section 4.4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Array = NDArray[np.float32]

TEMPERATURE = 0.2


@dataclass(frozen=True, slots=True)
class Stretches:
    """Choices side by side.

    Attributes:
        starts: int64 [C], where each begins.
        choice: int64 [K], to which each output belongs.
    """

    starts: NDArray[np.int64]
    choice: NDArray[np.int64]

    @classmethod
    def of(cls, sizes: Sequence[int]) -> Stretches:
        """Stretches of the given lengths, each >= 1."""
        starts = np.r_[0, np.cumsum(sizes)[:-1]].astype(np.int64)[: len(sizes)]
        return cls(starts, np.repeat(np.arange(len(sizes)), sizes))

    def softmax(self, logits: Array) -> Array:
        """Softmax of each choice, in place; float32 [K, B], outputs first."""
        logits -= np.maximum.reduceat(logits, self.starts, axis=0)[self.choice]
        np.exp(logits, out=logits)
        logits /= self.sums(logits)[self.choice]
        return logits

    def sums(self, values: Array) -> Array:
        """Sum over each choice, [C, B]."""
        return np.add.reduceat(values, self.starts, axis=0)


def draw_gumbel(rows: int, width: int, rng: np.random.Generator) -> Array:
    """Draws Gumbel noise, float32 [width, rows]."""
    noise = rng.standard_exponential((width, rows), dtype=np.float32)
    np.maximum(noise, np.float32(1e-30), out=noise)
    np.log(noise, out=noise)
    np.negative(noise, out=noise)
    return noise


class _Activation(torch.autograd.Function):
    """tanh of the scalars, and a softened draw of every choice."""

    @staticmethod
    def forward(ctx: Any, raw: torch.Tensor, scalars: int, stretches: Stretches, noise: Array) -> torch.Tensor:
        """Returns rows [B, S + K] of raw outputs [B, S + K], the S scalars first, and noise [K, B]."""
        rows = torch.empty_like(raw)
        torch.tanh(raw[:, :scalars], out=rows[:, :scalars])
        chosen = np.add(raw[:, scalars:].numpy().T, noise, order="C")
        chosen *= np.float32(1 / TEMPERATURE)
        if len(chosen):
            stretches.softmax(chosen)
        rows[:, scalars:] = torch.from_numpy(chosen).T
        ctx.scalars, ctx.stretches, ctx.chosen = scalars, stretches, chosen
        ctx.save_for_backward(rows)
        return rows

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """Returns the gradient by the raw outputs."""
        (given,) = gradients
        (rows,) = ctx.saved_tensors
        S, stretches, chosen = ctx.scalars, ctx.stretches, ctx.chosen
        raw = torch.empty_like(given)
        raw[:, :S] = given[:, :S] * (1 - rows[:, :S].square())
        if len(chosen):
            back = np.multiply(given[:, S:].numpy().T, chosen, order="C")
            back -= chosen * stretches.sums(back)[stretches.choice]
            back *= np.float32(1 / TEMPERATURE)
            raw[:, S:] = torch.from_numpy(back).T
        return raw, None, None, None


def activate(raw: torch.Tensor, scalars: int, stretches: Stretches, noise: Array) -> torch.Tensor:
    """Returns rows, float32 [B, S + K], of raw outputs.

    Args:
        raw: float32 [B, S + K], scalars first.
        scalars: S.
        stretches: of the choices.
        noise: float32 [K, B], see `draw_gumbel`.
    """
    rows: torch.Tensor = _Activation.apply(raw, scalars, stretches, noise)  # type: ignore[no-untyped-call]
    return rows


def miss_of_condition(raw: Array, stretches: Stretches, conditions: NDArray[np.int64]) -> tuple[float, Array]:
    """How far rows are from what was asked of them: mean cross entropy, and its gradient.

    Args:
        raw: float32 [B, K], outputs of the choices that may be asked for.
        stretches: of these choices.
        conditions: int64 [B], the output that ought to win its choice.

    Returns:
        The loss, and float32 [B, K].
    """
    B = len(raw)
    shares = stretches.softmax(np.array(raw.T, order="C"))
    rows = np.arange(B)
    loss = float(-np.log(np.maximum(shares[conditions, rows], 1e-30)).mean())
    shares *= stretches.choice[:, None] == stretches.choice[conditions]
    shares[conditions, rows] -= 1
    shares /= B
    return loss, shares.T
