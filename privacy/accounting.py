"""What a sequence of noisy steps costs: an epsilon certified from above, and the noise that meets a target.

Steps are events of a small algebra: a Gaussian sum over a Poisson sample of the patients, repeated. Events compose by
being listed; thirty rounds of twenty steps are one event of 600 steps and cost what one 600-step round costs, which is
far less than thirty times a round. The bound is the upper end of the PRV accountant's interval (privacy loss
random variables composed by FFT), on Opacus' implementation; its discretisation error is inside the bound.

Never certified with GDP's central limit: it reads low (1.1 where the truth is 2.0).

Source: Gopi, Lee & Wutschitz, "Numerical Composition of Differential Privacy", NeurIPS 2021 (arXiv 2106.02848);
Mironov, Talwar & Zhang 2019 (arXiv 1908.10530) for the Rényi bound; Balle et al. 2020 for its conversion.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    _Cost = Callable[[float], float]

ACCOUNTANT = "PRV (Opacus)"
RELATION = "add/remove one"

_ORDERS = (*range(2, 33), 40, 48, 64, 96, 128, 192, 256, 512)
_WIDEST = 1000.0  # half-width of the widest grid worth building; beyond it epsilon means nothing anyway
_DELTA_SHARE = 1000  # the accountant's truncation may use a thousandth of delta
_Group = tuple[float, float, int]  # sampling rate, noise multiplier, steps


@dataclass(frozen=True, slots=True)
class PoissonGaussian:
    """A step repeated: the clipped sum over a Poisson sample of the patients, plus Gaussian noise.

    Attributes:
        sampling_rate: probability in (0, 1] that a patient is drawn for one step; 1 is the plain Gaussian mechanism.
        noise_multiplier: standard deviation of the noise over the clipping norm, >= 0.
        steps: how often the step is taken, >= 0.
    """

    sampling_rate: float
    noise_multiplier: float
    steps: int

    def __post_init__(self) -> None:
        if not 0 < self.sampling_rate <= 1:
            raise ValueError(f"sampling_rate must lie in (0, 1], got {self.sampling_rate}")
        if not (self.noise_multiplier >= 0 and math.isfinite(self.noise_multiplier)):
            raise ValueError(f"noise_multiplier must be finite and >= 0, got {self.noise_multiplier}")
        if self.steps < 0:
            raise ValueError(f"steps must be >= 0, got {self.steps}")


def epsilon(events: Sequence[PoissonGaussian], *, delta: float) -> float:
    """Bounds the epsilon of all `events` together.

    Args:
        events: what has been or will be released, in any order; equal (rate, noise) pairs are merged.
        delta: probability in (0, 1) with which the bound may fail; below 1 / patients to mean anything.

    Returns:
        Epsilon >= 0; 0.0 for no steps, infinity for a step without noise.

    Raises:
        ValueError: `delta` is outside (0, 1).

    Guarantee:
        The composition of `events` is (epsilon, delta)-differentially private for a patient added or removed. Steps may
        depend on earlier noisy results (a trained model does), their rates, noise and number may not. The value is
        an upper bound, within about 0.2 % of the tight one.

    >>> epsilon([PoissonGaussian(0.05, 1.0, 600)], delta=1e-5) < 8.31
    True
    """
    _check_delta(delta)
    merged: defaultdict[tuple[float, float], int] = defaultdict(int)
    for event in events:
        merged[event.sampling_rate, event.noise_multiplier] += event.steps
    groups = tuple(sorted((q, sigma, steps) for (q, sigma), steps in merged.items() if steps))
    if not groups:
        return 0.0
    if any(sigma == 0 for _, sigma, _ in groups):
        return math.inf
    return _certified(groups, delta)


@functools.lru_cache(maxsize=256)
def noise_multiplier_for(target_epsilon: float, *, delta: float, sampling_rate: float, steps: int) -> float:
    """Finds the least noise whose certified cost stays within a target.

    Args:
        target_epsilon: what the whole study may cost, > 0.
        delta: as in `epsilon`.
        sampling_rate: probability in (0, 1] that a patient is drawn for one step.
        steps: steps of the whole study, >= 1.

    Returns:
        A noise multiplier; its cost lies within 0.2 % below the target.

    Raises:
        ValueError: an argument is outside its range, or no noise up to 10,000 meets the target.

    Guarantee:
        `epsilon([PoissonGaussian(sampling_rate, result, steps)], delta=delta) <= target_epsilon`, always.
    """
    _check_delta(delta)
    if not (target_epsilon > 0 and math.isfinite(target_epsilon)):
        raise ValueError(f"target_epsilon must be finite and > 0, got {target_epsilon}")
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")

    def cost(sigma: float) -> float:
        return epsilon([PoissonGaussian(sampling_rate, sigma, steps)], delta=delta)

    def rough(sigma: float) -> float:
        return _renyi_epsilon(((sampling_rate, sigma, steps),), delta)

    quiet = _enough(rough, target_epsilon)
    return _least(cost, target_epsilon, quiet)


def _enough(cost: _Cost, target: float) -> float:
    """The least noise by a cheap bound, found by doubling and bisection."""
    high = 0.25
    while cost(high) > target:
        high *= 2
        if high > 1e4:
            raise ValueError(
                f"no noise multiplier up to 10,000 reaches epsilon {target:g}: ask for fewer steps or more"
            )
    low = high / 2
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if cost(middle) > target else (low, middle)
    return high


def _least(cost: _Cost, target: float, high: float) -> float:
    """Shrinks noise that is enough, by secants on log cost over log noise; every answer has been checked."""
    while (high_cost := cost(high)) > target:  # cannot happen while `cost` takes the smaller of both bounds
        high *= 1.05
    low, low_cost = high, high_cost
    while low_cost <= target:  # cost grows at least as 1/noise, so this step aims just past the target
        high, high_cost = low, low_cost
        low = high * min(0.98 * high_cost / target, 0.98)
        low_cost = cost(low)
    while high_cost < target * 0.998 and high / low > 1.0005:
        share = math.log(low_cost / (0.9995 * target)) / math.log(low_cost / high_cost)
        middle = low * (high / low) ** min(max(share, 0.02), 0.98)
        middle_cost = cost(middle)
        if middle_cost <= target:
            high, high_cost = middle, middle_cost
        else:
            low, low_cost = middle, middle_cost
    return high


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ValueError(f"delta must lie in (0, 1), got {delta}")


@functools.lru_cache(maxsize=4096)
def _certified(groups: tuple[_Group, ...], delta: float) -> float:
    """The smaller of the PRV and the Rényi bound; the latter alone where the PRV's grid would not fit."""
    renyi = _renyi_epsilon(groups, delta)
    span = _span(groups, delta / _DELTA_SHARE)
    if span > _WIDEST:
        return renyi
    return min(renyi, _prv_epsilon(groups, delta, span))


def _prv_epsilon(groups: tuple[_Group, ...], delta: float, span: float) -> float:
    from opacus.accountants import PRVAccountant
    from opacus.accountants.analysis.prv import Domain

    class QuickPRV(PRVAccountant):  # type: ignore[misc]
        """Opacus' accountant on a grid of our width: its own spends nine tenths of the time on finding one."""

        def _get_domain(self, *, eps_error: float, delta_error: float, **_: object) -> Domain:
            steps = sum(group[2] for group in groups)
            mesh = eps_error / math.sqrt(steps * math.log(12 / delta_error) / 2)
            return Domain.create_aligned(-span, span, mesh)

    accountant = QuickPRV()
    accountant.history = [(sigma, q, steps) for q, sigma, steps in groups]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):  # rate 1 puts log(0) at the edge it masks out
        bound = accountant.get_epsilon(delta, eps_error=_eps_error(span), delta_error=delta / _DELTA_SHARE)
    return max(float(bound), 0.0)


def _eps_error(span: float) -> float:
    """Width of one discretisation error: a thousandth of the scale of epsilon."""
    return min(max((span - 3.0) / 1000, 1e-3), 1.0)


def _span(groups: tuple[_Group, ...], delta_error: float) -> float:
    """Half-width of a grid outside of which at most `delta_error` of privacy loss lies (Gopi et al., remark 5.6)."""
    steps = sum(group[2] for group in groups)
    total = _renyi_epsilon(groups, delta_error / 4)
    single = max(_renyi_epsilon(((q, sigma, 1),), delta_error / (8 * steps)) for q, sigma, _ in groups)
    return max(total, single) + 3.0


def _renyi_epsilon(groups: tuple[_Group, ...], delta: float) -> float:
    """Epsilon by integer Rényi orders: loose, cheap, and always an upper bound."""
    orders = np.array(_ORDERS, dtype=float)
    total = sum((steps * _renyi_divergence(q, sigma) for q, sigma, steps in groups), start=np.zeros(len(orders)))
    bounds = total + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(float(bounds.min()), 0.0)


@functools.lru_cache(maxsize=1024)
def _renyi_divergence(q: float, sigma: float) -> NDArray[np.float64]:
    """Rényi divergence of one step at every order of `_ORDERS`."""
    from scipy.special import gammaln, logsumexp

    if q == 1.0:
        return np.array(_ORDERS) / (2 * sigma**2)
    result = np.empty(len(_ORDERS))
    for i, order in enumerate(_ORDERS):
        k = np.arange(order + 1)
        binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        terms = binomial + k * math.log(q) + (order - k) * math.log1p(-q) + (k * k - k) / (2 * sigma**2)
        result[i] = logsumexp(terms) / (order - 1)
    return result
