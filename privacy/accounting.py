"""What a sequence of noisy steps costs: an epsilon certified from above, and the noise that meets a target.

Events are a small algebra. A Gaussian sum, plain or over a Poisson sample of the patients, is an event; `a + b` is one
after the other and `30 * a` is thirty times over, so a step becomes a round, a round a run, and runs what a hospital's
patients have paid. Thirty rounds of twenty steps are 600 steps and cost what one 600-step round costs, which is far
less than thirty times a round. The order never matters.

`epsilon` is the upper bound by privacy loss random variables (PRV, `privacy.composition`): milliseconds, for searching
and planning. `certify` is the same number after a second accountant with another implementation (PLD, dp-accounting)
has come within one percent of it: whatever is promised, to a ledger or in a statement, is certified.

Never certified with GDP's central limit: it reads low (1.1 where the truth is 2.0).

Source: Gopi, Lee & Wutschitz, "Numerical Composition of Differential Privacy", NeurIPS 2021 (arXiv 2106.02848);
Meiser & Mohammadi 2018 and Koskela et al. 2020 (arXiv 1906.03049) for privacy loss distributions (PLD).
"""

from __future__ import annotations

import functools
import math
import operator
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from privacy.composition import grid_width, prv_epsilon, renyi_epsilon

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from privacy.composition import Group

    _Cost = Callable[[float], float]

ACCOUNTANT = "PRV, cross-checked by PLD"
RELATION = "add/remove one"

DISAGREEMENT = 0.01  # relative difference of the two accountants that is an error
_NEGLIGIBLE = 1e-3  # absolute difference that is none
_CHECKED_TO = 100.0  # an epsilon beyond it promises nothing, and the second accountant would take minutes
_GRIDS = (1e-3, 1e-5)  # closeness of the second accountant's grids: the finer one decides


class AccountantsDisagree(RuntimeError):
    """Two accountants differ by more than one percent: one of them is wrong, so no epsilon may be stated."""


class _Composable:
    """Composition of events as arithmetic."""

    __slots__ = ()

    def groups(self) -> Iterator[Group]:
        """Yields (sampling rate, noise multiplier, steps) of everything in the event."""
        raise NotImplementedError

    def __add__(self, other: Event) -> Composition:
        """One event and then another, on the same patients."""
        return Composition((self, other))  # type: ignore[arg-type]  # every subclass is an Event

    def __rmul__(self, times: int) -> Composition:
        """The event so many times over, on the same patients."""
        return Composition((self,), times)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class PoissonGaussian(_Composable):
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
        # a ledger hashes these as JSON: an integer rate or a NumPy number must read back as what was written
        for name, kind in (("sampling_rate", float), ("noise_multiplier", float), ("steps", operator.index)):
            object.__setattr__(self, name, kind(getattr(self, name)))

    def groups(self) -> Iterator[Group]:
        """Yields the event's one group."""
        yield self.sampling_rate, self.noise_multiplier, self.steps


@dataclass(frozen=True, slots=True)
class Gaussian(_Composable):
    """One clipped sum over all patients, plus Gaussian noise.

    Attributes:
        noise_multiplier: standard deviation of the noise over the clipping norm, >= 0.
    """

    noise_multiplier: float

    def __post_init__(self) -> None:
        self.sampled(1.0)  # the same limits hold

    def sampled(self, rate: float) -> PoissonGaussian:
        """Returns the same sum over a Poisson sample of the patients, at a rate in (0, 1]."""
        return PoissonGaussian(rate, self.noise_multiplier, 1)

    def groups(self) -> Iterator[Group]:
        """Yields the event's one group."""
        yield 1.0, self.noise_multiplier, 1


@dataclass(frozen=True, slots=True)
class Composition(_Composable):
    """Several events on the same patients, the whole repeated; written `a + b` and `30 * a`.

    Attributes:
        parts: the events; later ones may depend on earlier noisy results.
        times: how often all of them happen, >= 0.
    """

    parts: tuple[Event, ...]
    times: int = 1

    def __post_init__(self) -> None:
        if self.times < 0:
            raise ValueError(f"times must be >= 0, got {self.times}")

    def groups(self) -> Iterator[Group]:
        """Yields the groups of all parts."""
        for part in self.parts:
            for rate, noise, steps in part.groups():
                yield rate, noise, steps * self.times


Event = PoissonGaussian | Gaussian | Composition


def epsilon(events: Event | Iterable[Event], *, delta: float) -> float:
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
        an upper bound, for epsilons above .1 within about 0.02 % of the tight one.

    >>> step = Gaussian(1.0).sampled(0.05)
    >>> 8.28 < epsilon(30 * (20 * step), delta=1e-5) < 8.30
    True
    """
    groups = _merged(events, delta)
    return _bound(groups, delta) if groups else 0.0


def certify(events: Event | Iterable[Event], *, delta: float) -> float:
    """Bounds the epsilon of all `events` together, and has a second accountant confirm it: for what is promised.

    Args:
        events: as in `epsilon`.
        delta: as in `epsilon`.

    Returns:
        What `epsilon` returns. An epsilon above 100 promises nothing and is not confirmed.

    Raises:
        AccountantsDisagree: the privacy loss distributions of dp-accounting differ by more than one percent.
        ValueError: `delta` is outside (0, 1).

    Guarantee:
        As `epsilon`, by two implementations that share no code.
    """
    groups = _merged(events, delta)
    bound = _bound(groups, delta) if groups else 0.0
    if groups and bound <= _CHECKED_TO:
        _confirm(groups, delta, bound)
    return bound


def accountant_of(bound: float) -> str:
    """Names what stands behind an epsilon that `certify` returned."""
    return ACCOUNTANT if bound <= _CHECKED_TO else "PRV, not cross-checked above epsilon 100"


@functools.lru_cache(maxsize=256)
def noise_multiplier_for(
    target_epsilon: float, *, delta: float, sampling_rate: float, steps: int, beside: tuple[PoissonGaussian, ...] = ()
) -> float:
    """Finds the least noise whose certified cost stays within a target.

    Args:
        target_epsilon: what the whole study may cost, > 0.
        delta: as in `epsilon`.
        sampling_rate: probability in (0, 1] that a patient is drawn for one step.
        steps: steps of the whole study, >= 1.
        beside: what the target has to pay for as well, its noise already fixed.

    Returns:
        A noise multiplier; its cost lies within 0.05 % below the target.

    Raises:
        ValueError: an argument is outside its range, or no noise up to 10,000 meets the target.

    Guarantee:
        `epsilon([PoissonGaussian(sampling_rate, result, steps), *beside], delta=delta) <= target_epsilon`, always.
    """
    _check_delta(delta)
    if not (target_epsilon > 0 and math.isfinite(target_epsilon)):
        raise ValueError(f"target_epsilon must be finite and > 0, got {target_epsilon}")
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    step = PoissonGaussian(sampling_rate, 1.0, steps)
    fixed = tuple(group for event in beside for group in event.groups())

    def cost(sigma: float) -> float:
        return epsilon([replace(step, noise_multiplier=sigma), *beside], delta=delta)

    def rough(sigma: float) -> float:
        return renyi_epsilon(((sampling_rate, sigma, steps), *fixed), delta)

    return _least(cost, target_epsilon, _enough(rough, target_epsilon))


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
    while high_cost < target * 0.9995 and high / low > 1.0001:
        share = math.log(low_cost / (0.9998 * target)) / math.log(low_cost / high_cost)
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


def _merged(events: Event | Iterable[Event], delta: float) -> tuple[Group, ...]:
    """Distinct (rate, noise) pairs with their steps, sorted, so that equal compositions are equal."""
    _check_delta(delta)
    merged: defaultdict[tuple[float, float], int] = defaultdict(int)
    for event in (events,) if isinstance(events, _Composable) else events:
        for rate, noise, steps in event.groups():
            merged[rate, noise] += steps
    return tuple(sorted((rate, noise, steps) for (rate, noise), steps in merged.items() if steps))


@functools.lru_cache(maxsize=4096)
def _bound(groups: tuple[Group, ...], delta: float) -> float:
    """The smaller of the PRV and the Rényi bound; the latter alone where losses leave the floating-point range."""
    if any(noise == 0 for _, noise, _ in groups):
        return math.inf
    return min(renyi_epsilon(groups, delta), prv_epsilon(groups, delta))


@functools.lru_cache(maxsize=1024)
def _confirm(groups: tuple[Group, ...], delta: float, bound: float) -> None:
    """Returns when the second accountant agrees; its own grid is refined once before it is believed."""
    theirs = math.nan
    for closeness in _GRIDS:
        width = grid_width(groups, delta, closeness=closeness, around=bound)
        theirs = _pld_epsilon(groups, delta, width=width)
        if abs(bound - theirs) <= DISAGREEMENT * max(bound, theirs) + _NEGLIGIBLE:
            return
    raise AccountantsDisagree(
        f"PRV bounds epsilon by {bound:.6g} and PLD by {theirs:.6g} at delta {delta:g}: one of them is wrong, so none "
        f"is stated; the steps were {groups}"
    )


def _pld_epsilon(groups: tuple[Group, ...], delta: float, *, width: float) -> float:
    """Epsilon by the privacy loss distributions of dp-accounting, the worse of adding and removing."""
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant(value_discretization_interval=width)
    for rate, noise, steps in groups:
        step = PoissonSampledDpEvent(rate, GaussianDpEvent(noise)) if rate < 1 else GaussianDpEvent(noise)
        accountant.compose(SelfComposedDpEvent(step, steps))
    return float(accountant.get_epsilon(delta))
