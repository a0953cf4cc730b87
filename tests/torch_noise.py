"""Noise in the order in which Opacus draws it, so that two private steps can be compared number by number."""

import torch

from privacy.noise import NoiseSource


class TorchNoise(NoiseSource):
    """Draws from a seeded torch generator."""

    reproducible = True

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def normal_(self, tensor, *, std):
        return tensor.copy_(torch.normal(0.0, 1.0, tensor.shape, generator=self.generator) * std)
