"""Columns as standard normal scores and one-hot classes, learned from patients: for generators without privacy.

A column of skewed numbers fills its public range badly, so it is ranked among patients' values and the rank read as a
normal score; equal values share an interval of ranks, within which a place is drawn. The way back goes by quantiles.
The ends of a scale are means over several patients' extremes: no patient's own extreme is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from synth.columns import Column

    Array = NDArray[np.float64]

_KNOTS = 201
_AT_AN_END = 5  # patients behind each end of a scale
_FARTHEST = 3.0  # the score of a rank at an end


@dataclass(frozen=True, slots=True)
class Scale:
    """Quantiles of one column, at evenly spaced shares of its values: float64 [K]."""

    quantiles: Array

    @staticmethod
    def of(values: Array) -> Scale:
        """Learns a column.

        Args:
            values: float64 [N, T], a row for each patient, NaN where missing.
        """
        known = values[~np.isnan(values)]
        if not len(known):
            return Scale(np.zeros(_KNOTS))
        seen = ~np.isnan(values).all(axis=1)
        most, least = np.nanmax(values[seen], axis=1), np.nanmin(values[seen], axis=1)
        top, bottom = np.sort(most)[-_AT_AN_END:].mean(), np.sort(least)[:_AT_AN_END].mean()
        return Scale(np.clip(np.quantile(known, np.linspace(0, 1, _KNOTS)), bottom, top))

    def decode(self, scores: Array) -> Array:
        """Returns the values at normal scores, of any shape."""
        from scipy.stats import norm

        return np.interp(norm.cdf(scores), np.linspace(0, 1, _KNOTS), self.quantiles)


def encode_scores(values: Array, rng: np.random.Generator) -> Array:
    """Returns the normal scores of values among themselves, NaN where they are.

    Args:
        values: float64 [N, T], a row for each patient.
        rng: places each patient within the ranks of equal values, at the same share of each.
    """
    from scipy.stats import norm

    known = np.sort(values[~np.isnan(values)])
    if not len(known):
        return values.copy()
    low, high = (np.searchsorted(known, values, side=side) / len(known) for side in ("left", "right"))
    shares = low + rng.random((len(values), 1)) * (high - low)
    scores: Array = np.clip(norm.ppf(shares), -_FARTHEST, _FARTHEST)
    return np.where(np.isnan(values), np.nan, scores)


@dataclass(frozen=True, slots=True)
class Channels:
    """What networks see of columns: a score for each ordered one, a class for each category of another.

    Attributes:
        columns: C channels of F columns.
        scales: of ordered columns; None for categories.
    """

    columns: tuple[Column, ...]
    scales: tuple[Scale | None, ...]

    @staticmethod
    def learn(columns: Sequence[Column], values: Array) -> Channels:
        """Learns scales from values, float64 [N, T, F]."""
        scales = tuple(None if c.kind == "categorical" else Scale.of(values[..., f]) for f, c in enumerate(columns))
        return Channels(tuple(columns), scales)

    @property
    def owners(self) -> NDArray[np.int64]:
        """The column of each channel, int64 [C]."""
        widths = [c.levels if c.kind == "categorical" else 1 for c in self.columns]
        return np.repeat(np.arange(len(widths)), widths)

    @property
    def classes(self) -> tuple[tuple[int, int], ...]:
        """Where the channels of each categorical column begin and end."""
        owners = self.owners
        listed = [f for f, c in enumerate(self.columns) if c.kind == "categorical"]
        return tuple((int(np.searchsorted(owners, f)), int(np.searchsorted(owners, f, "right"))) for f in listed)

    def encode(self, values: Array, rng: np.random.Generator) -> Array:
        """Returns float64 [N, T, C] of values [N, T, F]; zero where missing."""
        blocks = []
        for f, column in enumerate(self.columns):
            if column.kind == "categorical":
                blocks.append(values[..., f, None] == np.arange(column.levels))
            else:
                blocks.append(encode_scores(values[..., f], rng)[..., None])
        encoded: Array = np.nan_to_num(np.concatenate(blocks, axis=-1).astype(np.float64))
        return encoded

    def decode(self, channels: Array, present: NDArray[np.bool_]) -> Array:
        """Returns float64 [N, T, F] of channels [N, T, C]; NaN where not present, bool [N, T, F]."""
        owners, found = self.owners, []
        for f, scale in enumerate(self.scales):
            block = channels[..., owners == f]
            found.append(scale.decode(block[..., 0]) if scale else block.argmax(axis=-1).astype(np.float64))
        decoded: Array = np.where(present, np.stack(found, axis=-1), np.nan)
        return decoded
