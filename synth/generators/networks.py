"""The two networks of a table GAN: a generator whose layers all see the noise, and a critic of several rows at once.

Both are those of CTGAN, written so that they cost less. What the noise and the condition add to every layer of the
generator is one product and one look-up, instead of a part of each layer's input that is copied on; a category is an
index and never a vector of zeros.

Source: Xu, Skoularidou, Cuesta-Infante & Veeramachaneni 2019 (arXiv 1907.00503), section 4.4; Lin et al. 2018
(arXiv 1712.04086) for a critic of packed rows.
"""

from __future__ import annotations

import math
from itertools import accumulate

import torch
from torch import nn

_SLOPE = 0.2  # of a critic's unit below zero


class Generator(nn.Module):
    """Noise, and a condition where there is one, to the raw outputs of one row each.

    Every layer sees the noise, the condition and all layers before it.

    Args:
        noise: width of the noise.
        categories: how many conditions there are; 0 for a generator without.
        hidden: widths of the hidden layers.
        width: of the output.
        randomness: draws the first weights.
    """

    def __init__(
        self, *, noise: int, categories: int, hidden: tuple[int, ...], width: int, randomness: torch.Generator
    ) -> None:
        super().__init__()
        self.layers = (*hidden, width)
        before = [0, *accumulate(hidden)]  # units that each layer sees of those before it
        self.noise = nn.Linear(noise, sum(self.layers))
        self.condition = nn.Embedding(categories, sum(self.layers)) if categories else None
        self.links = nn.ModuleList(
            nn.Linear(seen, units, bias=False) for seen, units in zip(before[1:], self.layers[1:], strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(units) for units in hidden)
        ends = [1 / math.sqrt(noise + categories + seen) for seen in before]
        with torch.no_grad():
            spread = torch.tensor(ends).repeat_interleave(torch.tensor(self.layers))
            self.noise.weight.uniform_(-1, 1, generator=randomness).mul_(spread.unsqueeze(1))
            self.noise.bias.uniform_(-1, 1, generator=randomness).mul_(spread)
            if self.condition is not None:
                self.condition.weight.uniform_(-1, 1, generator=randomness).mul_(spread)
            for link, end in zip(self.links.parameters(), ends[1:], strict=True):
                link.uniform_(-end, end, generator=randomness)

    def forward(self, noise: torch.Tensor, condition: torch.Tensor | None = None) -> torch.Tensor:
        """Returns raw outputs, float32 [B, width], of noise [B, noise] and conditions int64 [B]."""
        given = self.noise(noise)
        if self.condition is not None:
            given = given + self.condition(condition)
        parts = given.split(self.layers, dim=1)
        seen = torch.relu(self.norms[0](parts[0]))
        for part, link, norm in zip(parts[1:-1], self.links[:-1], self.norms[1:], strict=True):
            seen = torch.cat([seen, torch.relu(norm(part + link(seen)))], dim=1)
        raw: torch.Tensor = parts[-1] + self.links[-1](seen)
        return raw

    def forget_norms(self) -> None:
        """Makes the batches that follow in training mode, all with the same weight, the norms of evaluation."""
        for norm in self.modules():
            if isinstance(norm, nn.BatchNorm1d):
                norm.reset_running_stats()
                norm.momentum = None


class Critic(nn.Module):
    """A perceptron that scores several rows together, so that rows all alike are seen for what they are.

    Args:
        width: of a row.
        pack: rows of one judgement.
        hidden: widths of the hidden layers.
        dropout: share of units left out of a judgement in training.
        randomness: draws the first weights.
    """

    def __init__(
        self, *, width: int, pack: int, hidden: tuple[int, ...], dropout: float, randomness: torch.Generator
    ) -> None:
        super().__init__()
        self.pack, self.width, self.dropout = pack, width, dropout
        sizes = (width * pack, *hidden)
        layers: list[nn.Module] = []
        for wide, units in zip(sizes, hidden, strict=False):
            layers += [nn.Linear(wide, units), nn.LeakyReLU(_SLOPE), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))
        with torch.no_grad():
            for layer in self.linear:
                end = 1 / math.sqrt(layer.in_features)
                layer.weight.uniform_(-end, end, generator=randomness)
                layer.bias.uniform_(-end, end, generator=randomness)

    @property
    def linear(self) -> list[nn.Linear]:
        """The linear layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    @property
    def slope(self) -> float:
        """Of a hidden unit below zero; above it is 1."""
        return _SLOPE

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Returns scores [B / pack] of rows [B, width], B a multiple of the pack."""
        scores: torch.Tensor = self.layers(rows.reshape(-1, self.pack * self.width)).squeeze(1)
        return scores
