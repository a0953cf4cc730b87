"""Fidelity of series: levels, spread between patients, correlations, trends, persistence and who is measured when.

Every number is a difference between a cohort and the training patients over the cells that were measured, beside the
same number of the holdout, which another draw of patients reaches. It is described and never judged.

* values: difference of means in real standard deviations, Kolmogorov-Smirnov distance of hourly values;
* between patients: variance of patients' means over the real one, minus one; a generator that forgets who a patient is
  has a ratio far below one;
* correlations: of hourly ranks, and of the ranks of patients' means;
* trend and cycle correlations, as Health Gym has them: each patient's series of a column is its least-squares line and
  what is left. The lines of two columns agree or disagree in sign, what is left correlates; both are averaged over
  patients who have three cells of both;
* autocorrelation of hourly ranks after one and six steps;
* presence: share of measured cells; length: Kolmogorov-Smirnov distance of the numbers of rows.

Source: Kuo et al. 2022 (arXiv 2203.06369), trends and cycles.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from synth.scores.score import described, not_computed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from synth.scores.score import Score
    from synth.series import Grid

    Array = NDArray[np.float64]

FEWEST = 100  # patients, or hours, behind a number that is compared: with fewer, chance alone moves one by .1
_HOURS = 3  # cells behind a line
_LAGS = (1, 6)
_PAIRED = ("correlations of hours", "correlations of patients' means", "trend correlations", "cycle correlations")
_REPLICATES = 100


@dataclass(frozen=True, slots=True)
class Parts:
    """Sums of each patient, from which every number follows for any selection of patients; N patients, F columns.

    Attributes:
        sums: by name, float64 [N, ...].
    """

    sums: dict[str, Array]

    def of(self, weights: Array) -> dict[str, Array]:
        """The weighted totals of all sums."""
        return {name: np.tensordot(weights, each, axes=1) for name, each in self.sums.items()}


@dataclass(frozen=True, slots=True)
class Compared:
    """What may be compared of a cohort, NaN where too little is behind it.

    Attributes:
        numbers: by name, vectors over columns or matrices over pairs.
    """

    numbers: dict[str, Array]


def describe_series(training: Grid, holdout: Grid, synthetic: Grid, rng: np.random.Generator) -> dict[str, Score]:
    """Measures every number of this module.

    Args:
        training: series the generator was fitted to.
        holdout: of other patients of the same draw.
        synthetic: of the cohort.
        rng: draws patients for the intervals.

    Returns:
        Name → score with a basic bootstrap interval over patients of both sides; the baseline is the holdout's.
    """
    names = [column.name for column in training.table.measured if column.kind != "categorical"]
    parts = [parts_of(grid) for grid in (training, holdout, synthetic)]
    whole = [compared(each, np.ones(_patients(each))) for each in parts]
    values, baselines = differences(whole[2], whole[0]), differences(whole[1], whole[0])
    draws: dict[str, list[float]] = {name: [] for name in values}
    for _ in range(_REPLICATES):
        one, other = (compared(each, _redrawn(_patients(each), rng)) for each in (parts[0], parts[2]))
        for name, value in differences(other, one).items():
            draws[name].append(value)
    found: dict[str, Score] = {}
    for name, value in values.items():
        if np.isnan([value, baselines[name]]).any() or np.isnan(draws[name]).all():
            found[name] = not_computed(f"fewer than {FEWEST} patients or hours are behind it")
            continue
        least, most = np.nanquantile(draws[name], [0.025, 0.975])
        reason = f"over {len(names)} columns; described, not judged"
        found[name] = described(
            value, min(value, 2 * value - most), max(value, 2 * value - least), baseline=baselines[name], reason=reason
        )
    distances = _distributions(training, synthetic), _distributions(training, holdout)
    for name, value in distances[0].items():
        found[name] = described(value, value, value, baseline=distances[1][name], reason="without an interval")
    return found


def differences(made: Compared, real: Compared) -> dict[str, float]:
    """Numbers of a cohort against the real ones: means of absolute differences, and of ratios what they are named."""
    found = {}
    gaps = {name: np.abs(made.numbers[name] - real.numbers[name]) for name in real.numbers}
    found["means, in standard deviations"] = _mean(gaps["mean"] / real.numbers["spread"])
    ratio = made.numbers["between"] / real.numbers["between"]
    known = ratio[~np.isnan(ratio)]
    found["variance between patients, median ratio"] = float(np.median(known)) if len(known) else float("nan")
    found["variance between patients, mean deviation"] = _mean(np.abs(ratio - 1))
    found["variance between patients, columns within 20 %"] = _mean(np.abs(known - 1) <= 0.2)
    for name in (
        "correlations of hours",
        "correlations of patients' means",
        "trend correlations",
        "cycle correlations",
    ):
        pairs = gaps[name][np.triu_indices(len(gaps[name]), 1)]
        found[name] = _mean(pairs)
        found[f"{name}, pairs within .1"] = _mean((pairs <= 0.1)[~np.isnan(pairs)])
    for lag in _LAGS:
        found[f"autocorrelation after {lag}"] = _mean(gaps[f"autocorrelation after {lag}"])
    found["presence"] = _mean(gaps["presence"])
    return found


def parts_of(grid: Grid) -> Parts:
    """Returns each patient's sums over the columns that have an order."""
    ordered = [f for f, column in enumerate(grid.table.measured) if column.kind != "categorical"]
    values = grid.cells[..., ordered]
    there = ~np.isnan(values)
    count = there.sum(axis=1)
    sums: dict[str, Array] = {"count": count, "alive": grid.lengths.astype(float)}
    sums["first"], sums["second"] = np.nansum(values, axis=1), np.nansum(values**2, axis=1)
    means = np.divide(sums["first"], count, out=np.full(count.shape, np.nan), where=count > 0)
    sums["seen"], sums["means"] = (count > 0).astype(float), np.nan_to_num(means)
    sums["means squared"] = sums["means"] ** 2
    ranks = np.where(there, _ranks(values), 0.0)
    sums |= _pair_sums("hours", ranks, there)
    sums |= _pair_sums("patients", np.nan_to_num(_ranks(means))[:, None], (count > 0)[:, None])
    for lag in _LAGS:
        both = there[:, lag:] & there[:, :-lag]
        for name, left, right in (("xy", 0, 1), ("xx", 0, 0), ("yy", 1, 1), ("x", 0, None), ("y", 1, None)):
            sides = (ranks[:, :-lag], ranks[:, lag:])
            second = sides[right] if right is not None else 1.0
            sums[f"lag {lag} {name}"] = (sides[left] * second * both).sum(axis=1)
        sums[f"lag {lag} n"] = both.sum(axis=1)
    return Parts({name: np.asarray(each, dtype=np.float64) for name, each in (sums | _lines(values, there)).items()})


def compared(parts: Parts, weights: Array) -> Compared:
    """Returns the numbers of weighted patients."""
    total = parts.of(weights)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total["first"] / total["count"]
        spread = np.sqrt(total["second"] / total["count"] - mean**2)
        level = total["means"] / total["seen"]
        between = total["means squared"] / total["seen"] - level**2
        enough = np.where(total["seen"] >= FEWEST, 1.0, np.nan)
        numbers = {
            "mean": mean * enough,
            "spread": spread * enough,
            "between": between * enough,
            "presence": total["count"] / total["alive"],
            "correlations of hours": _correlation(total, "hours"),
            "correlations of patients' means": _correlation(total, "patients"),
        }
        for name in ("trend", "cycle"):
            averaged = total[f"{name}s"] / total[f"{name}s n"]
            numbers[f"{name} correlations"] = np.where(total[f"{name}s n"] >= FEWEST, averaged, np.nan)
        for lag in _LAGS:
            xy, xx, yy, x, y, n = (total[f"lag {lag} {part}"] for part in ("xy", "xx", "yy", "x", "y", "n"))
            value = (xy / n - x * y / n**2) / np.sqrt((xx / n - (x / n) ** 2) * (yy / n - (y / n) ** 2))
            numbers[f"autocorrelation after {lag}"] = np.where(n >= FEWEST, value, np.nan)
    return Compared(numbers)


def _pair_sums(name: str, ranks: Array, there: NDArray[np.bool_]) -> dict[str, Array]:
    """Of each patient, sums over hours where both columns are there, [N, F, F]; ranks are zero where they are not."""
    here = there.astype(np.float64)
    return {
        f"{name} n": np.einsum("nti,ntj->nij", here, here, optimize=True),
        f"{name} x": np.einsum("nti,ntj->nij", ranks, here, optimize=True),
        f"{name} xx": np.einsum("nti,ntj->nij", ranks**2, here, optimize=True),
        f"{name} xy": np.einsum("nti,ntj->nij", ranks, ranks, optimize=True),
    }


def _correlation(total: dict[str, Array], name: str) -> Array:
    n, x, xx, xy = (total[f"{name} {part}"] for part in ("n", "x", "xx", "xy"))
    variance = xx / n - (x / n) ** 2
    found: Array = (xy / n - x * x.T / n**2) / np.sqrt(variance * variance.T)
    kept: Array = np.where(n >= FEWEST, found, np.nan)
    return kept


def _lines(values: Array, there: NDArray[np.bool_]) -> dict[str, Array]:
    """Of each patient and pair of columns, whether lines agree in sign and how what is left of them correlates."""
    here = there.astype(np.float64)
    time = np.arange(values.shape[1], dtype=np.float64)[None, :, None]
    filled = np.nan_to_num(values)
    count = np.maximum(here.sum(axis=1, keepdims=True), 1)
    at = (time - (time * here).sum(axis=1, keepdims=True) / count) * here
    up = (filled - filled.sum(axis=1, keepdims=True) / count) * here
    power = (at**2).sum(axis=1, keepdims=True)
    slope = np.divide((at * up).sum(axis=1, keepdims=True), power, out=np.zeros_like(power), where=power > 0)
    left = up - slope * at
    usable = (here.sum(axis=1) >= _HOURS).astype(np.float64)
    signs = np.sign(np.where(np.abs(slope) > 1e-9, slope, 0.0))[:, 0] * usable
    both = usable[:, :, None] * usable[:, None, :]
    products = np.einsum("nti,ntj->nij", left, left, optimize=True)
    squares = np.einsum("nti,ntj->nij", left**2, here, optimize=True)
    size = np.sqrt(squares * squares.transpose(0, 2, 1))
    together = np.einsum("nti,ntj->nij", here, here, optimize=True)
    known = both * (size > 1e-9) * (together >= _HOURS)
    cycles = np.divide(products, size, out=np.zeros_like(size), where=known > 0)
    return {
        "trends": signs[:, :, None] * signs[:, None, :],
        "trends n": both,
        "cycles": np.clip(cycles, -1, 1),
        "cycles n": known,
    }


def _ranks(values: Array) -> Array:
    """Ranks of each column among all its cells in (0, 1), ties shared; NaN where missing."""
    from scipy.stats import rankdata

    flat = values.reshape(-1, values.shape[-1])
    ranks = rankdata(flat, axis=0, nan_policy="omit") / np.maximum((~np.isnan(flat)).sum(axis=0), 1)
    shaped: Array = ranks.reshape(values.shape)
    return shaped


def _distributions(real: Grid, other: Grid) -> dict[str, float]:
    """Kolmogorov-Smirnov distances of values, mean over columns, and of lengths."""
    from scipy.stats import ks_2samp

    apart = []
    for f in range(real.cells.shape[2]):
        one, two = (grid.cells[..., f][~np.isnan(grid.cells[..., f])] for grid in (real, other))
        if min(len(one), len(two)) >= FEWEST:
            apart.append(ks_2samp(one, two, method="asymp").statistic)
    lengths = ks_2samp(real.lengths, other.lengths, method="asymp").statistic
    return {"distributions": float(np.mean(apart)) if apart else float("nan"), "lengths": float(lengths)}


def _redrawn(patients: int, rng: np.random.Generator) -> Array:
    """How often each patient is drawn, with replacement."""
    return np.bincount(rng.integers(patients, size=patients), minlength=patients).astype(np.float64)


def _patients(parts: Parts) -> int:
    return len(parts.sums["alive"])


def _mean(numbers: Array) -> float:
    """The mean of what is known; NaN of nothing."""
    known = numbers[~np.isnan(numbers)] if numbers.dtype != bool else numbers
    return float(known.mean()) if len(known) else float("nan")
