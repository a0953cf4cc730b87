"""A release that is no gradient: a sum over patients, each of bounded length, with noise.

Counts of codes, metrics and the size of a cohort are sums over patients too. Each patient's vector is shortened to a
public length, the vectors are added and Gaussian noise hides any one of them: the mechanism of a training step with
every patient in the draw, so it stands on the same ledger as the same kind of event.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from privacy.accounting import PoissonGaussian

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from privacy.noise import NoiseSource


@dataclass(frozen=True, slots=True)
class NoisySum:
    """The Gaussian mechanism on a sum of patients' vectors.

    Attributes:
        clip_norm: the longest vector a patient may add, in the L2 norm, > 0; public, never learned from the data.
        noise_multiplier: standard deviation of the noise over `clip_norm`, > 0.
    """

    clip_norm: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        for name in ("clip_norm", "noise_multiplier"):
            if not (getattr(self, name) > 0 and math.isfinite(getattr(self, name))):
                raise ValueError(f"{name} must be finite and > 0, got {getattr(self, name)}")

    @property
    def deviation(self) -> float:
        """Standard deviation of the noise in each component."""
        return self.clip_norm * self.noise_multiplier

    def event(self, *, releases: int = 1) -> PoissonGaussian:
        """What that many releases cost."""
        return PoissonGaussian(1.0, self.noise_multiplier, releases)

    def release(self, contributions: NDArray[np.floating[Any]] | csr_matrix, noise: NoiseSource) -> NDArray[np.float64]:
        """Adds up patients' vectors and hides each of them.

        Args:
            contributions: [P, D], one row for each patient, dense or sparse; no row depends on another patient.
            noise: source of the Gaussian noise.

        Returns:
            float64 [D]; may be negative.

        Raises:
            ValueError: a contribution is not finite.

        Guarantee:
            Adding or removing one patient moves the sum by at most `clip_norm`, so a call is one `event()`. D, the
            meaning of the columns and `clip_norm` must be public.

        Source: Dwork & Roth 2014, appendix A; in floating point, see `privacy.noise`.
        """
        rows: Any = contributions
        squares = np.asarray(
            rows.multiply(rows).sum(axis=1) if hasattr(rows, "multiply") else np.square(rows).sum(axis=1)
        )
        lengths = np.sqrt(squares.astype(np.float64).ravel())
        if not np.isfinite(lengths).all():
            raise ValueError("a patient's contribution is not finite: nothing is released")
        weights = self.clip_norm / np.maximum(lengths, self.clip_norm)
        total = np.asarray(rows.T @ weights, dtype=np.float64).ravel()
        return total + noise.normals(len(total), std=self.deviation)
