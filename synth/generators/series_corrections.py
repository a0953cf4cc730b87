"""A last correction of a trained generator: each column gets the real distribution, and is measured as often as real.

What a network draws is put in order, and read as if its order were the real one's. Between the two, levels of patients
and what is left of their hours are stretched to the real spreads, each by one factor a column: who lies above whom
stays, and so do correlations between patients and within them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from synth.generators.series_networks import Raw
from synth.generators.series_training import finished

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from synth.generators.series_moments import Sequences
    from synth.generators.series_networks import Shape

    Lengths = Callable[[Tensor], Tensor]

_KNOTS = 201
_FARTHEST = 3.0
_LEAST = 1e-3  # spread below which nothing is stretched


@dataclass(frozen=True, slots=True)
class Corrections:
    """What is put in place of what the network drew.

    Attributes:
        knowledge: of each static column, the score above which it is known.
        presence: of each series column, the score above which it is measured.
        static: of each static channel, drawn values at evenly spaced shares; None for classes.
        hourly: of each series channel, likewise.
        stretch: of each series channel, factors of patients' levels and of what is left, float32 [2, C].
        again: as `hourly`, after the stretch.
    """

    knowledge: Tensor
    presence: Tensor
    static: tuple[NDArray[np.float64] | None, ...]
    hourly: tuple[NDArray[np.float64] | None, ...]
    stretch: Tensor
    again: tuple[NDArray[np.float64] | None, ...]

    @staticmethod
    def learn(raw: Raw, real: Sequences, shape: Shape, lengths: Lengths) -> Corrections:
        """Compares a large raw draw with the real cohort."""
        knowledge = _thresholds(raw.knowledge, torch.ones(len(raw.knowledge), dtype=torch.bool), real.known.mean(0))
        known = raw.knowledge > knowledge
        static = _knots(raw.static, known[:, torch.tensor(shape.static_owners)], shape.static_classes)
        scored = _scored(raw.static, static)
        alive = torch.arange(raw.values.shape[1]) < lengths(scored).unsqueeze(1)
        rates = real.present.sum((0, 1)) / real.alive.sum()
        presence = _thresholds(raw.presence, alive, rates)
        present = (raw.presence > presence) & alive.unsqueeze(2)
        owners = torch.tensor(shape.owners)
        here = present[..., owners].float()
        hourly = _knots(raw.values, here > 0, shape.classes)
        values = _scored(raw.values, hourly)
        spreads = [_spreads(*each) for each in ((real.values, real.present[..., owners]), (values, here))]
        stretch = torch.where(torch.minimum(*spreads) > _LEAST, spreads[0] / spreads[1].clamp(min=_LEAST), 1.0)
        for begin, end in shape.classes:
            stretch[:, begin:end] = 1.0
        again = _knots(_stretched(values, here, stretch), here > 0, shape.classes)
        return Corrections(knowledge, presence, static, hourly, stretch, again)

    def finished(self, raw: Raw, shape: Shape, lengths: Lengths) -> Sequences:
        """The corrected series of a raw draw."""
        shifted = Raw(
            raw.values, raw.presence - self.presence, _scored(raw.static, self.static), raw.knowledge - self.knowledge
        )
        made = finished(shifted, lengths, shape)
        here = made.present[..., torch.tensor(shape.owners)]
        values = _stretched(_scored(raw.values, self.hourly), here, self.stretch)
        return replace(made, values=_scored(values, self.again) * here)


def _levels(values: Tensor, here: Tensor) -> Tensor:
    """Means over what is here of each patient, [N, 1, C]; zero of nothing."""
    return (values * here).sum(1, keepdim=True) / here.sum(1, keepdim=True).clamp(min=1)


def _spreads(values: Tensor, here: Tensor) -> Tensor:
    """Standard deviations of patients' levels and of what is left, [2, C]."""
    level = _levels(values, here)
    seen = (here.sum(1, keepdim=True) > 0).float()
    mean = (level * seen).sum(0) / seen.sum(0).clamp(min=1)
    between = (((level - mean) ** 2) * seen).sum((0, 1)) / seen.sum((0, 1)).clamp(min=1)
    within = (((values - level) ** 2) * here).sum((0, 1)) / here.sum((0, 1)).clamp(min=1)
    return torch.stack([between, within]).sqrt()


def _stretched(values: Tensor, here: Tensor, stretch: Tensor) -> Tensor:
    level = _levels(values, here)
    return stretch[0] * level + stretch[1] * (values - level)


def _thresholds(scores: Tensor, counted: Tensor, rates: Tensor) -> Tensor:
    """The score of each column that as large a share of the counted lies above as is measured of real ones."""
    found = []
    for f, rate in enumerate(rates.tolist()):
        column = np.sort(scores[..., f][counted].numpy())
        place = round((1 - rate) * len(column))
        found.append(-np.inf if place <= 0 else np.inf if place >= len(column) else float(column[place - 1]))
    return torch.tensor(np.nan_to_num(np.array(found), posinf=1e6, neginf=-1e6)).float()


def _knots(
    values: Tensor, counted: Tensor, classes: tuple[tuple[int, int], ...]
) -> tuple[NDArray[np.float64] | None, ...]:
    """Quantiles of each channel over what counts; None for classes and for what is never there."""
    listed = {channel for begin, end in classes for channel in range(begin, end)}
    found: list[NDArray[np.float64] | None] = []
    for channel in range(values.shape[-1]):
        column = values[..., channel][counted[..., channel]].numpy().astype(np.float64)
        usable = channel not in listed and len(column) > 1
        found.append(np.quantile(column, np.linspace(0, 1, _KNOTS)) if usable else None)
    return tuple(found)


def _scored(values: Tensor, knots: tuple[NDArray[np.float64] | None, ...]) -> Tensor:
    """Normal scores of drawn values by their place among the drawn."""
    from scipy.stats import norm

    found = values.numpy().astype(np.float64, copy=True)
    for channel, quantiles in enumerate(knots):
        if quantiles is not None:
            shares = np.interp(found[..., channel], quantiles, np.linspace(0, 1, _KNOTS))
            found[..., channel] = np.clip(norm.ppf(shares), -_FARTHEST, _FARTHEST)
    return torch.from_numpy(found).float()
