"""Gated recurrent unit over the hours of a stay, read at every hour.

Source: Cho et al. 2014 (arXiv 1406.1078); the best of YAIB (van de Water et al. 2024) on its hourly tasks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 64


class Recurrent(nn.Module):
    """A linear map into the width of torch's own GRU, and a head: [B, T, F] → [B, T, K]."""

    def __init__(self, features: int, outputs: int, dropout: float) -> None:
        """Build it for F features and K outputs."""
        super().__init__()
        self.into = nn.Linear(features, WIDTH)
        self.gru = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(WIDTH, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Read hours 0 to t for the answer at t."""
        y: Tensor = self.head(self.drop(self.gru(self.into(x))[0]))
        return y


def recurrent(features: int, outputs: int, dropout: float) -> nn.Module:
    """64 units: [B, T, F] → [B, T, K]."""
    return Recurrent(features, outputs, dropout)
