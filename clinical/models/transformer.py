"""Transformer over the hours of a stay: every hour attends to itself and to those before it.

Source: Vaswani et al. 2017 (arXiv 1706.03762), in the order of Xiong et al. 2020 (arXiv 2002.04745): normalise first,
which trains without warming up. The hour stands among the features, so no position needs to be encoded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
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
        self.norm, self.after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, dropout=dropout, batch_first=True)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Attend to the hours up to each hour."""
        T = x.shape[1]
        later = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
        y = self.norm(x)
        x = x + self.attention(y, y, y, attn_mask=later, need_weights=False)[0]
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
        """Read hours 0 to t for the answer at t."""
        y: Tensor = self.head(self.norm(self.layers(self.into(x))))
        return y


def transformer(features: int, outputs: int, dropout: float) -> nn.Module:
    """Two layers of 64 units and four heads: [B, T, F] → [B, T, K]."""
    return Transformer(features, outputs, dropout)
