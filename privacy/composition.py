"""The epsilon of many noisy steps by privacy loss random variables: one FFT for all of them, and never below the truth.

A step's privacy loss is a random variable, losses of independent steps add up, and delta at epsilon is
E[(1 - exp(epsilon - loss))+]. Here every loss is put on one grid by splitting it between its two neighbours such that
exp(-loss) keeps its expectation. Delta is convex in exp(-loss), so by Jensen's inequality a split can only raise it: at
*any* width of the grid the result is an upper bound, and no discretisation error has to be estimated. The width only
decides how close the bound is.

The distributions are tilted by exp(tilt * loss) before the Fourier transform, which puts their bulk where epsilon will
be. Rounding errors of the transform are then small beside delta, however small delta is. What a finite window
cannot hold is bounded (Chernoff) and taken from delta. A removed and an added patient are composed separately, since
neither case dominates the other under composition, and the larger epsilon counts.

Source: Gopi, Lee & Wutschitz, "Numerical Composition of Differential Privacy", NeurIPS 2021 (arXiv 2106.02848);
the split: Doroshenko et al., "Connect the Dots: Tighter Discrete Approximations of Privacy Loss Distributions", PoPETs
2022 (arXiv 2207.04380); both directions: Lebeda et al. 2024 (arXiv 2405.20769).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Group = tuple[float, float, int]  # sampling rate, noise multiplier, steps
Floats = NDArray[np.float64]

CLOSENESS = 1e-4  # how far the grid alone may lift epsilon, relative
LARGEST_GRID = 1 << 21
WIDEST = 690.0  # exp of a loss beyond this leaves the floating-point range

_ORDERS = np.array((*range(2, 33), 40, 48, 64, 96, 128, 192, 256, 512, 1024, 2048, 4096, 8192))
_TILTS: Floats = np.geomspace(0.01, 1e5, 120)
_TAILS = 1e-3  # share of delta that windows may lose
_WRAPPED = 16.0  # of the tilted mass exp(-16) at most may lie beyond either end of the window and wrap to the other
_REFINEMENTS = 3  # the rough epsilon may be far too high where rare steps reveal much; then the grid is refined
_FEWEST = 1024  # points of the smallest grid
_TINY = 1e-4  # epsilon below which closeness is absolute
_VANISHES = 1e-40


@dataclass(frozen=True, slots=True)
class _Plan:
    """Losses `width * i` for the integers i in [bottom, bottom + size), and how they are weighted."""

    width: float
    bottom: int
    size: int
    tilt: float  # of the transform
    tail_tilt: float  # whose Chernoff bound limits what lies above the window
    cut: float  # probability a single step may lose at each end

    @property
    def top(self) -> float:
        return self.width * (self.bottom + self.size - 1)


@dataclass(frozen=True, slots=True)
class _Loss:
    """One step's loss on the grid."""

    start: int  # of the first point, in widths
    mass: Floats  # [points]
    lost: float  # probability of losses above, counted as infinite


@dataclass(frozen=True, slots=True)
class _Sum:
    """The loss of a composition over the plan's window: probability = mass * exp(log_mass - tilt * loss)."""

    mass: Floats  # [size], tilted
    noise: float  # bound of the transform's rounding, a point
    log_mass: float
    lost: float


def renyi_epsilon(groups: tuple[Group, ...], delta: float) -> float:
    """Bounds epsilon by integer Rényi orders: loose, cheap and always an upper bound.

    Source: Mironov, Talwar & Zhang 2019 (arXiv 1908.10530); conversion by Balle et al. 2020 (arXiv 1905.09982).
    """
    orders = _ORDERS.astype(float)
    total = sum((steps * _renyi_divergence(q, sigma) for q, sigma, steps in groups), start=np.zeros(len(orders)))
    bounds = total + np.log1p(-1 / orders) - (math.log(delta) + np.log(orders)) / (orders - 1)
    return max(float(bounds.min()), 0.0)


def prv_epsilon(groups: tuple[Group, ...], delta: float, *, closeness: float = CLOSENESS) -> float:
    """Bounds the epsilon of a composition of Poisson-sampled Gaussian sums.

    Args:
        groups: distinct (sampling rate in (0, 1], noise multiplier > 0, steps >= 1).
        delta: in (0, 1).
        closeness: how far the grid may lift epsilon, relative, > 0; smaller is slower.

    Returns:
        Epsilon >= 0; infinity where losses leave the floating-point range.

    Guarantee:
        The composition is (epsilon, delta)-differentially private for a patient added or removed, at every
        `closeness`. Rounding of the transform is estimated from its own residue and taken from delta.
    """
    around: float | None = None
    for _ in range(_REFINEMENTS):
        width = grid_width(groups, delta, closeness=closeness, around=around)
        plan = _plan(groups, delta, width)
        if plan is None:
            return math.inf
        around = _on_grid(groups, delta, plan)
        if width <= 2 * grid_width(groups, delta, closeness=closeness, around=around):
            break
    assert around is not None
    return around


def _on_grid(groups: tuple[Group, ...], delta: float, plan: _Plan) -> float:
    """The worse epsilon of a patient removed and one added; an upper bound with every plan."""
    split = [_split(q, sigma, plan) for q, sigma, _ in groups]
    steps = [group[2] for group in groups]
    removed = _compose([pair[0] for pair in split], steps, plan)
    added = _compose([pair[1] for pair in split], steps, plan)
    return max(_smallest_epsilon(removed, plan, delta), _smallest_epsilon(added, plan, delta))


def grid_width(groups: tuple[Group, ...], delta: float, *, closeness: float, around: float | None = None) -> float:
    """Returns the grid width whose splits lift epsilon by about `closeness`, relative.

    A split lifts the cumulant at tilt t by at most t (t + 1) width^2 / 8 a step, hence epsilon by a t-th of that.

    Args:
        groups: as in `prv_epsilon`.
        delta: in (0, 1).
        closeness: relative, > 0.
        around: epsilon where it is known; otherwise a rough one is worked out, which may be too high.
    """
    rough, tilt = _saddle(_cumulants(groups, delta), delta)
    return math.sqrt(8 * closeness * max(rough if around is None else around, _TINY) / (_count(groups) * (tilt + 1)))


def _saddle(cumulants: Floats, delta: float) -> tuple[float, float]:
    """A rough epsilon and the tilt at which it is found."""
    rough = cumulants / _TILTS + np.log1p(-1 / (_TILTS + 1)) - (math.log(delta) + np.log(_TILTS + 1)) / _TILTS
    best = int(np.argmin(rough[:-1]))  # one tilt beyond it is needed
    return float(rough[best]), float(_TILTS[best])


def _plan(groups: tuple[Group, ...], delta: float, width: float) -> _Plan | None:
    """Chooses grid and tilts; None where losses are too large for floating point. Nothing here needs to be exact."""
    from scipy.fft import next_fast_len

    cumulants = _cumulants(groups, delta)
    _, tilt = _saddle(cumulants, delta)
    tops = (cumulants - math.log(_TAILS * delta / 4)) / _TILTS
    tilts = np.append(0.0, _TILTS)
    beyond, gain = tilts - tilt, np.append(0.0, cumulants) - cumulants[tilt == _TILTS]
    low = float(((gain[beyond < 0] + _WRAPPED) / beyond[beyond < 0]).max())
    top = max(float(tops.min()), float(((gain[beyond > 0] + _WRAPPED) / beyond[beyond > 0]).min()))
    if top > WIDEST:
        return None
    cut = _cut(groups, delta)
    span = max(top - low, *(high - low for low, high in (_support(q, sigma, cut) for q, sigma, _ in groups)))
    width = min(max(width, span / LARGEST_GRID), span / _FEWEST)
    size = next_fast_len(math.ceil(span / width) + 4, real=True)
    tail_tilt = float(_TILTS[int(np.argmin(tops))])
    return _Plan(width, math.floor(top / width) - size + 2, size, tilt, tail_tilt, cut)


def _count(groups: tuple[Group, ...]) -> int:
    return sum(steps for *_, steps in groups)


def _cut(groups: tuple[Group, ...], delta: float) -> float:
    """What a single step's loss may lose at each end."""
    return _TAILS * delta / 4 / _count(groups)


def _support(q: float, sigma: float, cut: float) -> tuple[float, float]:
    """The losses of one step that matter: outside lies at most `cut` of its probability, at either end."""
    from scipy.special import ndtri

    reach = -float(ndtri(cut)) * sigma
    lowest, highest = _loss(q, sigma, np.array([-reach, 1 + reach]))
    return float(lowest), float(highest)


def _split(q: float, sigma: float, plan: _Plan) -> tuple[_Loss, _Loss]:
    """Puts one step's privacy loss on the grid, for a patient removed and for one added.

    With P = (1-q) N(0, sigma^2) + q N(1, sigma^2) and Q = N(0, sigma^2), the loss log(P/Q) grows with the output x, so
    a cell of losses is an interval of outputs, whose mass under P and Q is known.
    """
    from scipy.special import ndtr

    h = plan.width
    lowest, highest = _support(q, sigma, plan.cut)
    last = min(math.ceil(highest / h), plan.bottom + plan.size - 1)
    first = max(math.floor(lowest / h), last - plan.size + 1)
    t = h * np.arange(first, last + 1)
    absent = math.log1p(-q) if q < 1 else -math.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        x = sigma**2 * (t + np.log(np.maximum(-np.expm1(absent - t), 0.0)) - math.log(q)) + 0.5  # [cells + 1]
    away, drawn = x / sigma, (x - 1) / sigma
    under_q = _cells(away)
    under_p = (1 - q) * under_q + q * _cells(drawn)
    removed = _halves(under_p, under_q * np.exp(t[:-1]), h)
    removed[0] += (1 - q) * ndtr(away[0]) + q * ndtr(drawn[0])
    lost = (1 - q) * ndtr(-away[-1]) + q * ndtr(-drawn[-1])
    added = _halves(under_q[::-1], (under_p * np.exp(-t[1:]))[::-1], h)
    added[0] += ndtr(-away[-1])
    return _Loss(first, removed, float(lost)), _Loss(-last, added, float(ndtr(away[0])))


def _cells(edges: Floats) -> Floats:
    """Standard normal mass between neighbouring edges, each taken from the side where it is small."""
    from scipy.special import ndtr

    below, above = ndtr(edges), ndtr(-edges)
    return np.where(edges[:-1] > 0, above[:-1] - above[1:], below[1:] - below[:-1])


def _halves(mass: Floats, tilted: Floats, width: float) -> Floats:
    """Splits each cell's mass between its edges; `tilted` is the cell's E[exp(lower edge - loss)], which is kept."""
    upper = np.clip((mass - tilted) / -math.expm1(-width), 0.0, mass)
    result = np.append(mass - upper, 0.0)
    result[1:] += upper
    return result


def _compose(losses: list[_Loss], steps: list[int], plan: _Plan) -> _Sum:
    """Adds independent losses: powers of their characteristic functions, multiplied, and one inverse transform."""
    from scipy.fft import irfft, rfft

    spectrum: NDArray[np.complex128] = np.ones(plan.size // 2 + 1, dtype=complex)
    log_mass = tail = lost = 0.0
    position = 0
    for loss, count in zip(losses, steps, strict=True):
        t = plan.width * (loss.start + np.arange(len(loss.mass)))
        tilted, log_total = _tilted(loss.mass, plan.tilt * t)
        log_mass += count * log_total
        tail += count * _tilted(loss.mass, plan.tail_tilt * t)[1]
        lost += count * loss.lost
        position += count * loss.start
        spectrum *= _power(rfft(tilted, plan.size), count)
    mass = np.roll(irfft(spectrum, plan.size), (position - plan.bottom) % plan.size)
    rounding: float = 16 * float(np.finfo(float).eps) * (sum(steps) + 64) * float(np.abs(spectrum).sum()) / plan.size
    noise = max(rounding, -4 * float(mass.min()))
    lost += math.exp(min(tail - plan.tail_tilt * plan.top, 0.0))
    return _Sum(np.maximum(mass, 0.0), noise, log_mass, lost)


def _tilted(mass: Floats, exponents: Floats) -> tuple[Floats, float]:
    """Weights by exp(exponents), normalised, and the logarithm of what it was divided by."""
    highest = float(exponents.max())
    weighted = mass * np.exp(exponents - highest)
    total = float(weighted.sum())
    return weighted / total, math.log(total) + highest


def _power(base: NDArray[np.complex128], exponent: int) -> NDArray[np.complex128]:
    """Integer power by squaring, where it does not vanish: most frequencies of a long composition do."""
    result = np.zeros_like(base)
    alive = np.flatnonzero(np.abs(base) > _VANISHES ** (1 / exponent))
    square, power = base[alive], np.ones(len(alive), dtype=complex)
    while exponent:
        if exponent & 1:
            power *= square
        exponent >>= 1
        if exponent:
            square *= square
    result[alive] = power
    return result


def _smallest_epsilon(total: _Sum, plan: _Plan, delta: float) -> float:
    """The smallest epsilon >= 0 at which the hockey-stick divergence, with all that was lost, is at most delta."""
    start = max(0, -plan.bottom)
    t = plan.width * (plan.bottom + np.arange(start, plan.size))
    weight = np.exp(np.minimum(total.log_mass - plan.tilt * t, WIDEST))
    mass = total.mass[start:] * weight
    above = np.cumsum(mass[::-1])[::-1]
    shrunk = np.cumsum((mass * np.exp(-t))[::-1])[::-1]
    rounding = total.noise * np.cumsum(weight[::-1])[::-1]
    allowed = delta - total.lost - rounding  # [grid]
    too_much = np.flatnonzero(above - np.exp(t) * shrunk > allowed)
    if len(too_much) == 0:
        return max(float(t[0]), 0.0) if plan.bottom + start > 0 else 0.0
    i = int(too_much[-1]) + 1
    if i == len(t):
        return math.inf
    between = math.log((above[i] - allowed[i - 1]) / shrunk[i]) if shrunk[i] > 0 and above[i] > allowed[i - 1] else t[i]
    return float(min(max(between, t[i - 1]), t[i]))


def _cumulants(groups: tuple[Group, ...], delta: float) -> Floats:
    """Log E[exp(tilt * loss)] of the whole composition at every tilt, without what each step cuts off."""
    cut = _cut(groups, delta)
    return sum((steps * _cumulant(q, sigma, cut) for q, sigma, steps in groups), start=np.zeros(len(_TILTS)))


def _cumulant(q: float, sigma: float, cut: float) -> Floats:
    """The same of one step, by quadrature over the noise: close enough to plan by."""
    from scipy.special import logsumexp, ndtri

    reach = -float(ndtri(cut)) * sigma
    x = np.linspace(-reach, 1 + reach, math.ceil(8 * (2 * reach + 1) / sigma))
    loss = _loss(q, sigma, x)
    density = loss - x * x / (2 * sigma**2)
    return np.asarray(logsumexp(density + _TILTS[:, None] * loss, axis=1) - logsumexp(density))


def _loss(q: float, sigma: float, x: Floats) -> Floats:
    """The privacy loss of one step's output."""
    absent = math.log1p(-q) if q < 1 else -math.inf
    return np.logaddexp(absent, math.log(q) + (2 * x - 1) / (2 * sigma**2))


@functools.lru_cache(maxsize=1024)
def _renyi_divergence(q: float, sigma: float) -> Floats:
    """Rényi divergence of one step at every order, in closed form."""
    from scipy.special import gammaln, logsumexp

    if q == 1.0:
        return _ORDERS / (2 * sigma**2)
    result = np.empty(len(_ORDERS))
    for i, order in enumerate(_ORDERS):
        k = np.arange(order + 1)
        binomial = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        terms = binomial + k * math.log(q) + (order - k) * math.log1p(-q) + (k * k - k) / (2 * sigma**2)
        result[i] = logsumexp(terms) / (order - 1)
    return result
