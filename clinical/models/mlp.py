"""Multi-layer perceptrons over frozen note embeddings, in three sizes, and the regression they are measured against.

The comparison of small, medium and large heads follows the federated ICD-coding study this project answers for
(frozen embedding + MLP); the widths are ours. Every layer is a ``Linear`` or elementwise, so the exact patient-level
clipping of `privacy.clipping` covers all of it.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def linear(features: int, codes: int, dropout: float) -> nn.Sequential:
    """No hidden layer, the least that noise has to cover: [N, F] → [N, K]."""
    return _perceptron((features, codes), dropout)


def small(features: int, codes: int, dropout: float) -> nn.Sequential:
    """One hidden layer of 256 units: [N, F] → [N, K]."""
    return _perceptron((features, 256, codes), dropout)


def medium(features: int, codes: int, dropout: float) -> nn.Sequential:
    """Two hidden layers of 512 units: [N, F] → [N, K]."""
    return _perceptron((features, 512, 512, codes), dropout)


def large(features: int, codes: int, dropout: float) -> nn.Sequential:
    """Three hidden layers of 1,024 units: [N, F] → [N, K]."""
    return _perceptron((features, 1024, 1024, 1024, codes), dropout)


def _perceptron(widths: tuple[int, ...], dropout: float) -> nn.Sequential:
    # Embeddings have unit length, so their coordinates are tiny and a first gradient is nearly all bias. Normalising
    # each row by itself mends that without a statistic of anybody's patients.
    layers: list[nn.Module] = [nn.LayerNorm(widths[0], elementwise_affine=False)]
    for wide, narrow in pairwise(widths):
        layers += [nn.Linear(wide, narrow), nn.GELU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers[:-2])  # the last Linear gives logits
