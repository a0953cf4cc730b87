"""Temporal convolutional network: residual blocks of causal, dilated convolutions.

Source: Bai et al. 2018 (arXiv 1803.01271), without weight normalisation, whose shared scale no clipping rule covers,
and with layer normalisation over the channels of each hour, which needs no statistic of anybody else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 64
DILATIONS = (1, 2, 4, 8, 16)  # two convolutions of three hours each: 125 hours are seen at once


class Block(nn.Module):
    """Two causal convolutions beside a shortcut: [B, T, W] → [B, T, W]."""

    def __init__(self, width: int, dilation: int, dropout: float) -> None:
        """Build it; ``dilation`` is the distance between the hours a convolution sees."""
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Conv1d(width, width, 3, dilation=dilation)
        self.second = nn.Conv1d(width, width, 3, dilation=dilation)
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Look back over 4 dilations of hours."""
        y = self.norm(x).transpose(1, 2)
        y = self.drop(functional.relu(_causal(self.first, y)))
        y = self.drop(functional.relu(_causal(self.second, y)))
        return x + cast("Tensor", y.transpose(1, 2))


class Convolutional(nn.Module):
    """Five blocks between linear maps: [B, T, F] → [B, T, K]."""

    def __init__(self, features: int, outputs: int, dropout: float) -> None:
        """Build it for F features and K outputs."""
        super().__init__()
        self.into = nn.Linear(features, WIDTH)
        self.blocks = nn.Sequential(*(Block(WIDTH, dilation, dropout) for dilation in DILATIONS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Read hours 0 to t for the answer at t."""
        y: Tensor = self.head(self.norm(self.blocks(self.into(x))))
        return y


def convolutional(features: int, outputs: int, dropout: float) -> nn.Module:
    """Five blocks of 64 channels: [B, T, F] → [B, T, K]."""
    return Convolutional(features, outputs, dropout)


def _causal(layer: nn.Conv1d, x: Tensor) -> Tensor:
    """Pad the past only, so that no hour sees a later one: [B, W, T] → [B, W, T]."""
    y: Tensor = layer(functional.pad(x, (2 * int(layer.dilation[0]), 0)))
    return y
