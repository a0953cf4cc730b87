"""Selective state space model in plain torch: a recurrence whose memory opens and closes by what it reads.

Time and memory grow with the length of the record and not with its square, which is what histories of thousands of
events need. The block's own parameters (decay and skip) are embeddings of one row, looked up for each patient, so that
exact clipping sees whose gradient they carry.

Source: Gu & Dao 2023 (arXiv 2312.00752, sections 3.2 and 3.4).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn import functional

from clinical.models.scan import scan

if TYPE_CHECKING:
    from torch import Tensor

WIDTH, STATES, RANK, LAYERS = 64, 8, 4, 2


class Selective(nn.Module):
    """One selective block beside a shortcut: [B, T, W] → [B, T, W]."""

    def __init__(self, width: int, states: int) -> None:
        """Build it with ``states`` memory cells for each of twice ``width`` channels."""
        super().__init__()
        inner = 2 * width
        self.states = states
        self.norm, self.into = nn.RMSNorm(width), nn.Linear(width, 2 * inner)
        self.convolution = nn.Conv1d(inner, inner, 4, groups=inner)
        self.selection, self.step = nn.Linear(inner, RANK + 2 * states), nn.Linear(RANK, inner)
        self.decay, self.skip = nn.Embedding(1, inner * states), nn.Embedding(1, inner)
        self.out = nn.Linear(inner, width)
        nn.init.constant_(self.step.bias, -3.0)  # softplus gives .05: memories of twenty steps to begin with
        nn.init.ones_(self.skip.weight)
        with torch.no_grad():
            spread = torch.arange(1, states + 1, dtype=torch.float32).log().repeat(inner)
            self.decay.weight.copy_(spread[None])

    def forward(self, x: Tensor) -> Tensor:
        """Read steps 0 to t for the answer at t."""
        one = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        u, gate = self.into(self.norm(x)).chunk(2, dim=2)
        u = functional.silu(self.convolution(functional.pad(u.transpose(1, 2), (3, 0))).transpose(1, 2))
        step, put, read = self.selection(u).split([RANK, self.states, self.states], dim=2)
        step = functional.softplus(self.step(step))
        rate = -torch.exp(self.decay(one)).view(len(x), -1, self.states)
        y = scan(step, rate, step * u, put, read) + self.skip(one)[:, None] * u
        return x + cast("Tensor", self.out(y * functional.silu(gate)))


class StateSpace(nn.Module):
    """Two selective blocks between linear maps: [B, T, F] → [B, T, K]."""

    def __init__(self, features: int, outputs: int, dropout: float) -> None:
        """Build it for F features and K outputs."""
        super().__init__()
        self.into = nn.Linear(features, WIDTH)
        self.layers = nn.Sequential(*(Selective(WIDTH, STATES) for _ in range(LAYERS)))
        self.norm = nn.RMSNorm(WIDTH)
        self.drop = nn.Dropout(dropout)
        self.head = nn.Linear(WIDTH, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Read steps 0 to t for the answer at t."""
        y: Tensor = self.head(self.drop(self.norm(self.layers(self.into(x)))))
        return y


def state_space(features: int, outputs: int, dropout: float) -> nn.Module:
    """Two blocks of 64 units, 128 channels of 8 states each: [B, T, F] → [B, T, K]."""
    return StateSpace(features, outputs, dropout)
