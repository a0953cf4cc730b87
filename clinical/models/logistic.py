"""Logistic (or linear) regression: the floor every other model has to beat, and the one with fewest parameters."""

from __future__ import annotations

from torch import nn


def linear(features: int, outputs: int, dropout: float) -> nn.Module:
    """One linear map: [N, F] → [N, K]. It starts at zero, so the first round begins from the outcome's frequency."""
    layer = nn.Linear(features, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.Dropout(dropout), layer)
