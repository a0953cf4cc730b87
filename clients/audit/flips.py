"""Counting changed decisions by patient, with intervals that know that a patient's notes belong together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    Rate = dict[str, float | int]

CONFIDENCE = 0.95
REPLICATES = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Flips:
    """What an edit did to the decisions on N notes.

    Attributes:
        changed: int64 [N], codes given before or after, but not both.
        either: int64 [N], codes given before or after.
        latent: bool [N], whether any code changed among the projected notes.
    """

    changed: np.ndarray
    either: np.ndarray
    latent: np.ndarray

    @classmethod
    def between(cls, before: np.ndarray, after: np.ndarray, flat: np.ndarray, flat_after: np.ndarray) -> Flips:
        """Compare decisions, each bool [N, K], and those on projected notes."""
        return cls((before ^ after).sum(axis=1), (before | after).sum(axis=1), (flat ^ flat_after).any(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class Patients:
    """Whose notes they are.

    Attributes:
        index: int64 [N] in 0..count-1, the patient of each note.
        count: P.
    """

    index: np.ndarray
    count: int

    @classmethod
    def of(cls, subjects: np.ndarray) -> Patients:
        """Number the patients behind notes by their identifiers."""
        known, index = np.unique(subjects, return_inverse=True)
        return cls(index, len(known))

    def rates(self, flips: Flips, *, seed: int) -> dict[str, Rate]:
        """Give the share of patients whose codes changed, the same among projections, and of decisions changed."""
        changed, either = (self._sum(counts) for counts in (flips.changed, flips.either))
        return {
            "flips": self._share(self._sum(flips.changed > 0) > 0),
            "latent_flips": self._share(self._sum(flips.latent) > 0),
            "decisions": self._bootstrap(changed, either, seed=seed),
        }

    def difference(self, one: Flips, other: Flips, *, seed: int) -> Rate:
        """Give by how much more patients flip under one edit than under another, with a paired bootstrap interval."""
        gap = (self._sum(one.changed > 0) > 0).astype(np.float64) - (self._sum(other.changed > 0) > 0)
        return self._bootstrap(gap, np.ones(self.count), seed=seed)

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """Add what a patient's notes hold: float64 [P]."""
        return np.bincount(self.index, weights=values, minlength=self.count)

    def _share(self, hit: np.ndarray) -> Rate:
        from scipy.stats import binomtest

        found = binomtest(int(hit.sum()), self.count).proportion_ci(CONFIDENCE, method="exact")
        return self._rate(float(hit.mean()), float(found.low), float(found.high))

    def _bootstrap(self, above: np.ndarray, below: np.ndarray, *, seed: int) -> Rate:
        """Give a ratio of sums over patients with the percentiles of its replicates; 0 where nothing is below."""
        draws = np.random.default_rng([seed, 100]).integers(self.count, size=(REPLICATES, self.count))
        ratios = _ratio(above[draws].sum(axis=1), below[draws].sum(axis=1))
        low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
        return self._rate(float(_ratio(above.sum(), below.sum())), float(low), float(high))

    def _rate(self, value: float, low: float, high: float) -> Rate:
        return {"value": value, "low": low, "high": high, "n": self.count, "confidence": CONFIDENCE}


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    ratios: np.ndarray = np.divide(above, below, out=np.zeros_like(above, dtype=np.float64), where=below > 0)
    return ratios
