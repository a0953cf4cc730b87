"""Epsilon lower bounds from one training run: canaries that coin flips put in or left out, and guesses about them.

Each canary is a patient of its own, included by a secret fair coin. Whoever sees only the model guesses which were
included and may abstain. Differential privacy bounds how many of r guesses can be right: under (epsilon, 0) they are no
better than r coins that show the truth with probability 1 / (1 + exp(-epsilon)), however the guesses depend on one
another. Too many right guesses refute every smaller epsilon, from a single run.

Two traps are closed here. Thresholds are chosen on canaries whose coins are then spent: they are never scored (chosen
on the scored ones, a threshold raised the bound of a mechanism that leaks nothing from 0 to 1.2). And delta is paid
for: each of the m scored canaries may fail the bound with probability delta.

The second bound asks more and gets more: if the mechanism's whole trade-off between errors is a Gaussian's, fewer right
guesses refute it. Training with few steps or rates near 0 or 1 is not Gaussian, so it describes and does not convict.

An epsilon bound from below has no upper end: another attack may do better. The `high` of an estimate speaks of this
attack alone.

Source: Steinke, Nasr & Jagielski 2023 (arXiv 2305.08846), theorem 5.2; Mahloujifar, Melis & Chaudhuri 2024 (arXiv
2410.22235), algorithm 3; Dong, Roth & Su 2019 (arXiv 1905.02383) for Gaussian trade-offs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privacy.audits.rates import proportion_interval
from privacy.audits.record import Estimate

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray

CALIBRATION = 1 / 3  # share of the canaries that choose the thresholds
_LARGEST = 60.0  # an epsilon no audit of fewer than e^60 canaries can reach
_CANDIDATES = 60  # thresholds tried on each side


@dataclass(frozen=True, slots=True)
class Guesses:
    """What came of guessing: m canaries could be guessed upon, r were, v guesses were right."""

    canaries: int
    made: int
    correct: int

    def __post_init__(self) -> None:
        if not 0 <= self.correct <= self.made <= self.canaries:
            raise ValueError(
                f"correct <= made <= canaries must hold, got {self.correct}, {self.made} and {self.canaries}"
            )


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Guess "included" from `upper` on, "left out" below `lower`, and abstain between."""

    upper: float
    lower: float


def p_value(guesses: Guesses, *, epsilon: float, delta: float) -> float:
    """Bounds how probable so many right guesses are under (epsilon, delta)-differential privacy.

    Args:
        guesses: the audit's.
        epsilon: of the claim, >= 0.
        delta: of the claim, in [0, 1).

    Guarantee:
        If adding or removing a canary is (epsilon, delta)-private and the coins are fair, independent and unknown to
        the guesser, then a value of at most p comes up with probability at most p.
    """
    from scipy.stats import binom

    if epsilon < 0 or not 0 <= delta < 1:
        raise ValueError(f"epsilon must be >= 0 and delta in [0, 1), got {epsilon} and {delta}")
    r, v = guesses.made, guesses.correct
    right = 1 / (1 + math.exp(-epsilon))
    as_many = float(binom.sf(v - 1, r, right))
    if not v or not delta:
        return as_many
    fewer = np.arange(1, v + 1)
    slack = float(np.max((binom.sf(v - fewer - 1, r, right) - as_many) / fewer))
    return min(1.0, as_many + 2 * guesses.canaries * delta * slack)


def epsilon_bound(guesses: Guesses, *, delta: float, error: float) -> float:
    """Finds the largest epsilon that the guesses refute.

    Args:
        guesses: the audit's.
        delta: at which epsilon is bounded, in [0, 1).
        error: probability with which the bound may be too high, in (0, 1).

    Returns:
        A lower bound on epsilon, >= 0.

    Guarantee:
        A mechanism that is (epsilon, delta)-private for a canary added or removed gets a bound above epsilon with
        probability at most `error`.
    """
    return _largest(lambda epsilon: p_value(guesses, epsilon=epsilon, delta=delta) <= error)


def gaussian_bound(guesses: Guesses, *, delta: float, error: float) -> float:
    """Finds the largest epsilon at `delta` among Gaussian trade-offs that the guesses refute.

    Args:
        guesses: the audit's.
        delta: at which the refuted trade-off is read as an epsilon, in (0, 1).
        error: probability with which the bound may be too high, in (0, 1).

    Guarantee:
        As `epsilon_bound`, for mechanisms whose trade-off function is that of N(0, 1) against N(mu, 1) for some mu.
    """
    mu = _largest(lambda mu: _refuted(guesses, _gaussian_inverse(mu), error))
    return gaussian_epsilon(mu, delta=delta)


def gaussian_epsilon(mu: float, *, delta: float) -> float:
    """Returns the epsilon at `delta` of telling N(0, 1) from N(mu, 1)."""
    from scipy.special import log_ndtr, ndtr

    def exceeds(epsilon: float) -> bool:
        exceeded = ndtr(mu / 2 - epsilon / mu) - math.exp(epsilon + log_ndtr(-mu / 2 - epsilon / mu))
        return bool(exceeded > delta)

    return _largest(exceeds, ceiling=1e4) if mu > 0 else 0.0


def choose_thresholds(scores: ArrayLike, included: ArrayLike, *, error: float) -> Thresholds:
    """Chooses between guessing and abstaining on canaries that will not be scored.

    Args:
        scores: float [n], higher means "more likely included".
        included: bool [n], their coins.
        error: of the bound that is to be as high as possible.

    Returns:
        The thresholds, half-way between scores, whose guesses on these canaries give the highest bound.
    """
    from scipy.stats import beta

    values, coins = _checked(scores, included)
    order = np.argsort(values)
    ordered, inside = values[order], coins[order]
    n = len(ordered)
    cuts = np.concatenate([[-np.inf], (ordered[1:] + ordered[:-1]) / 2, [np.inf]])  # cut k leaves k canaries below
    below = np.concatenate([[0], np.cumsum(~inside)])  # right guesses of "left out" under each cut
    above = inside.sum() - np.concatenate([[0], np.cumsum(inside)])  # right guesses of "included" from each cut on
    apart = np.flatnonzero(np.concatenate([[True], ordered[1:] > ordered[:-1], [True]]))  # no cut divides equal scores
    tried = apart[np.unique(np.linspace(0, len(apart) - 1, _CANDIDATES).round().astype(int))]
    low, high = (grid.ravel() for grid in np.meshgrid(tried, tried))
    low, high = low[low <= high], high[low <= high]
    made, correct = low + n - high, below[low] + above[high]
    some = np.maximum(correct, 1)
    sure = np.where(correct > 0, beta.ppf(error, some, made - some + 1), 0.0)
    best = int(np.argmax(np.nan_to_num(sure) + 1e-9 * made))  # of equal bounds the one with more guesses
    return Thresholds(upper=float(cuts[high[best]]), lower=float(cuts[low[best]]))


def guess(scores: ArrayLike, included: ArrayLike, thresholds: Thresholds) -> Guesses:
    """Guesses upon every canary whose score is outside the thresholds, and counts the right ones.

    Args:
        scores: float [m]; none of them chose the thresholds.
        included: bool [m], their coins.
        thresholds: chosen elsewhere.
    """
    values, coins = _checked(scores, included)
    inside, outside = values >= thresholds.upper, values < thresholds.lower
    correct = int((inside & coins).sum() + (outside & ~coins).sum())
    return Guesses(len(values), int(inside.sum() + outside.sum()), correct)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one audit of canaries found; `scored` are the rows that were guessed upon, int64."""

    guesses: Guesses
    epsilon: Estimate
    epsilon_gaussian: Estimate
    scored: NDArray[np.int64]


def audit_canaries(
    scores: ArrayLike,
    included: ArrayLike,
    *,
    delta: float,
    rng: np.random.Generator,
    confidence: float = 0.95,
) -> Finding:
    """Bounds epsilon from the scores of canaries: thresholds on a random third, guesses on the others.

    Args:
        scores: float [n], higher means "more likely included"; computed without knowing the coins.
        included: bool [n], the coins.
        delta: at which epsilon is bounded, in (0, 1).
        rng: draws the third.
        confidence: two-sided; the lower bound alone is too high with probability at most (1 - confidence) / 2.

    Returns:
        The bounds. `reach` is what right guesses upon all scored canaries would give.

    Raises:
        ValueError: there are fewer than six canaries, a score is no number, or an argument is out of range.
    """
    values, coins = _checked(scores, included)
    if len(values) < 6:
        raise ValueError(
            f"{len(values)} canaries are too few to choose thresholds on some and score others: plant more"
        )
    error = (1 - confidence) / 2
    order = rng.permutation(len(values))
    chosen = round(len(values) * CALIBRATION)
    thresholds = choose_thresholds(values[order[:chosen]], coins[order[:chosen]], error=error)
    scored = np.sort(order[chosen:])
    guesses = guess(values[scored], coins[scored], thresholds)
    perfect = Guesses(len(scored), len(scored), len(scored))
    value, high = _of_the_attack(guesses, confidence)

    def estimate(bound: Callable[..., float]) -> Estimate:
        low = bound(guesses, delta=delta, error=error)
        reach = bound(perfect, delta=delta, error=error)
        return Estimate(max(value, low), low, max(high, low), 0.0, guesses.made, reach=reach, confidence=confidence)

    return Finding(guesses, estimate(epsilon_bound), estimate(gaussian_bound), scored)


def _of_the_attack(guesses: Guesses, confidence: float) -> tuple[float, float]:
    """The epsilon at which randomised response would be right as often, and its upper end."""
    share = guesses.correct / guesses.made if guesses.made else 0.5
    high = proportion_interval(guesses.correct, guesses.made, confidence=confidence)[1]
    return max(0.0, _logit(share)), max(0.0, _logit(high))


def _logit(share: float) -> float:
    return math.inf if share >= 1 else -math.inf if share <= 0 else math.log(share / (1 - share))


def _gaussian_inverse(mu: float) -> Callable[[float], float]:
    """The least false-positive rate at which a Gaussian trade-off allows a true-positive rate."""
    from scipy.special import ndtr, ndtri

    return lambda rate: float(ndtr(ndtri(rate) - mu))


def _refuted(guesses: Guesses, inverse: Callable[[float], float], error: float) -> bool:
    """Runs the recursion of the f-DP audit: whether so many right guesses have probability at most `error`."""
    m, r, v = guesses.canaries, guesses.made, guesses.correct
    if not v:
        return False
    right, wrong = error * v / m, error * (r - v) / m
    for i in range(v - 1, -1, -1):
        raised = max(wrong, inverse(right))
        if raised == wrong:  # then neither changes again
            break
        right = min(right + i / (r - i) * (raised - wrong), 1.0)
        wrong = raised
    return right + wrong > r / m


def _largest(refuted: Callable[[float], bool], *, ceiling: float = _LARGEST) -> float:
    """The largest number that is refuted, by doubling and bisection; 0 where none is."""
    if not refuted(1e-6):
        return 0.0
    low, high = 1e-6, 1.0
    while refuted(high):
        low, high = high, 2 * high
        if low >= ceiling:
            return low
    while high - low > 1e-6 * max(1.0, low):
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(middle) else (low, middle)
    return low


def _checked(scores: ArrayLike, included: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values, coins = np.asarray(scores, dtype=np.float64), np.asarray(included, dtype=np.bool_)
    if values.ndim != 1 or values.shape != coins.shape:
        raise ValueError(f"there must be one coin to each score, got the shapes {values.shape} and {coins.shape}")
    if np.isnan(values).any():
        raise ValueError("a canary's score is no number")
    return values, coins
