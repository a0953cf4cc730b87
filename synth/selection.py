"""A private choice among candidates, priced as a Gaussian so that it stands on the ledger beside noisy sums.

The exponential mechanism with parameter epsilon has losses within an interval of that length ("bounded range"), and
every such pair of outcomes is a post-processing of one coin whose two losses are the interval's ends. A coin's
trade-off curve is two straight pieces, so a Gaussian mechanism whose convex curve passes below its corner protects
nowhere better: the choice costs at most what that Gaussian does, alone and in composition.

Source: McSherry & Talwar 2007; Durfee & Rogers 2019 (arXiv 1905.04273), bounded range; Dong, Durfee & Rogers, "Optimal
Differential Privacy Composition for Exponential Mechanisms", 2020 (arXiv 1909.13830); Dong, Roth & Su 2022
(arXiv 1905.02383), domination by trade-off curves composes.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from privacy.noise import NoiseSource

_ENDS = 2001  # positions of the interval that are tried; the worst one is its middle
_SLACK = 1e-6  # relative; pays for the positions between those tried and for the bisection


def choose(scores: NDArray[np.float64], *, sensitivity: float, epsilon: float, noise: NoiseSource | None) -> int:
    """Chooses a candidate, a better one the likelier: the exponential mechanism by Gumbel noise.

    Args:
        scores: of the candidates, [C], the larger the better.
        sensitivity: the most one patient moves any score, > 0.
        epsilon: range of the privacy loss, > 0.
        noise: source of the randomness; None takes the best without any privacy.

    Returns:
        The candidate's index.

    Guarantee:
        `noise_multiplier_of(epsilon)` is the Gaussian mechanism this call costs at most.
    """
    if noise is None:
        return int(scores.argmax())
    uniform = noise.uniform(len(scores)) + 2.0**-54  # never zero
    return int((epsilon * scores / (2 * sensitivity) - np.log(-np.log(uniform))).argmax())


def noise_multiplier_of(epsilon: float) -> float:
    """Returns the noise multiplier of a Gaussian mechanism that is no more private than a choice at `epsilon` > 0.

    >>> 1.59 < noise_multiplier_of(1.0) < 1.61
    True
    """
    from scipy.special import ndtri

    # losses t and t - epsilon, each with probability p and 1 - p under one table and q and 1 - q under the other
    t = np.linspace(0, epsilon, _ENDS)[1:-1]
    q = -np.expm1(t - epsilon) / (np.exp(t) - np.exp(t - epsilon))
    p = q * np.exp(t)
    return float(1 / ((ndtri(p) - ndtri(q)).max() * (1 + _SLACK)))


@functools.lru_cache(maxsize=64)
def epsilon_of(noise_multiplier: float) -> float:
    """Returns the largest range of a choice that costs no more than a Gaussian mechanism of that multiplier, > 0."""
    low, high = 0.0, 60.0
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if noise_multiplier_of(middle) >= noise_multiplier else (low, middle)
    if not low > 0 or math.isnan(low):
        raise ValueError(f"noise_multiplier must be finite and > 0, got {noise_multiplier}")
    return low
