"""Transformer over the steps of a stay: every step attends to itself and to those before it.

Source: Vaswani et al. 2017 (arXiv 1706.03762), in the order of Xiong et al. 2020 (arXiv 2002.04745): normalise first,
which trains without warming up. The time stands among the features, so no position needs to be encoded. Attention is
told to be causal and not given a mask, and its dropout acts on what it gives: so torch's fused attention runs, whose
memory grows with the length of a record and not with its square.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

WIDTH, HEADS, LAYERS = 64, 4, 2


class Attending(nn.Module):
    """Causal self-attention and a two-layer perceptron, each beside a shortcut: [B, T, W] → [B, T, W]."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        """Build one layer."""
        super().__init__()
        self.heads = heads
        self.norm, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.project, self.mix = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.project.weight)  # as torch's own attention starts

    def forward(self, x: Tensor) -> Tensor:
        """Attend to the steps up to each step."""
        query, key, value = (
            each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in self.project(self.norm(x)).chunk(3, dim=2)
        )
        seen = functional.scaled_dot_product_attention(query, key, value, is_causal=True)  # [B, heads, T, W / heads]
        x = x + self.drop(self.mix(seen.transpose(1, 2).flatten(2)))
        y = self.narrow(self.drop(functional.gelu(self.wide(self.after(x)))))
        return x + cast("Tensor", self.drop(y))


class Transformer(nn.Module):
    """Two attending layers between linear maps: [B, T, F] → [B, T, K]."""

    def __init__(self, features: int, outputs: int, dropout: float) -> None:
        """Build it for F features and K outputs."""
        super().__init__()
        self.into = nn.Linear(features, WIDTH)
        self.layers = nn.Sequential(*(Attending(WIDTH, HEADS, dropout) for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Read steps 0 to t for the answer at t."""
        y: Tensor = self.head(self.norm(self.layers(self.into(x))))
        return y


def transformer(features: int, outputs: int, dropout: float) -> nn.Module:
    """Two layers of 64 units and four heads: [B, T, F] → [B, T, K]."""
    return Transformer(features, outputs, dropout)
