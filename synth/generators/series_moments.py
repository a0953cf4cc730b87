"""What a cohort of series has in common with another: levels, trends, what is left, and who is measured when.

Each is a mean, a spread or a correlation over what was measured. Every part is differentiable, so that a generator can
be held to the real cohort's: to the correlations of hours, as Health Gym holds it, and to those between patients and
within them, which those of hours confuse.

Source: Kuo et al. 2022 (arXiv 2203.06369), the alignment loss; the division into between and within patients is that of
a linear mixed model (Laird & Ware 1982).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

_FEWEST_HOURS = 3  # of a trend
_FEWEST_PAIRS = 40  # patients or hours behind a correlation
_RIDGE = 0.02  # keeps the trend of a few neighbouring hours from being anything


@dataclass(frozen=True, slots=True)
class Sequences:
    """Series with what stands beside them, as networks see them.

    Attributes:
        values: float32 [N, T, C], zero where not present.
        present: float32 [N, T, F], 1 where measured.
        alive: float32 [N, T], 1 before the end.
        static: float32 [N, Cs], zero where not known.
        known: float32 [N, Fs], 1 where known.
    """

    values: Tensor
    present: Tensor
    alive: Tensor
    static: Tensor
    known: Tensor

    def until(self, steps: int) -> Sequences:
        """The first steps of each."""
        return Sequences(
            self.values[:, :steps], self.present[:, :steps], self.alive[:, :steps], self.static, self.known
        )

    def chosen(self, rows: Tensor) -> Sequences:
        """The same of some patients."""
        return Sequences(self.values[rows], self.present[rows], self.alive[rows], self.static[rows], self.known[rows])


@dataclass(frozen=True, slots=True)
class Moments:
    """Numbers to be matched, and how much each counts: 0 where too little is behind it.

    Attributes:
        numbers: by name, each a vector or matrix.
        weights: of the same shapes.
    """

    numbers: dict[str, Tensor]
    weights: dict[str, Tensor]


def summaries(cohort: Sequences, owners: Tensor) -> dict[str, Tensor]:
    """Levels and trends of patients by least squares over what was measured; [N, C] each, residuals [N, T, C].

    Args:
        cohort: of N patients.
        owners: int64 [C], the column of each channel.
    """
    here = cohort.present[..., owners]
    time = torch.linspace(0, 1, cohort.values.shape[1]).reshape(1, -1, 1)
    count = here.sum(1)
    safe = count.clamp(min=1)
    level = (cohort.values * here).sum(1) / safe
    centred = (time - ((here * time).sum(1) / safe).unsqueeze(1)) * here
    trend = (centred * cohort.values).sum(1) / ((centred * centred).sum(1) + _RIDGE)
    left = (cohort.values - level.unsqueeze(1) - trend.unsqueeze(1) * centred) * here
    rate = cohort.present.sum(1) / cohort.alive.sum(1, keepdim=True).clamp(min=1)
    return {"count": count, "level": level, "trend": trend, "left": left, "here": here, "rate": rate}


def moments(cohort: Sequences, owners: Tensor, static_owners: Tensor) -> Moments:
    """Returns the moments of a cohort; owners as for `summaries`, of series and of static channels."""
    found = summaries(cohort, owners)
    here, left = found["here"], found["left"]
    often = (found["count"] >= _FEWEST_HOURS).float()
    sides = {
        "level": (found["level"], (found["count"] > 0).float()),
        "trend": (found["trend"], often),
        "rate": (found["rate"], torch.ones_like(found["rate"])),
        "static": (cohort.static, cohort.known[..., static_owners]),
        "known": (cohort.known, torch.ones_like(cohort.known)),
    }
    patients, counted = (torch.cat([side[part] for side in sides.values()], 1) for part in (0, 1))
    numbers: dict[str, Tensor] = {}
    weights: dict[str, Tensor] = {}

    def keep(name: str, number: Tensor, count: Tensor) -> None:
        numbers[name] = number
        weights[name] = (count >= _FEWEST_PAIRS).float()

    mean, spread, together, count = _of_columns(patients, counted)
    keep("patients, mean", mean, count.diagonal())
    keep("patients, spread", torch.log(spread), count.diagonal())
    keep("patients, together", together, count)
    for name in ("level", "trend"):
        _, _, together, count = _of_columns(*sides[name])
        keep(f"{name}, together", together, count)
    typical = (found["trend"].detach() ** 2 * often).sum(0) / often.sum(0).clamp(min=1)
    signs = torch.tanh(2 * found["trend"] / (typical.sqrt() + 1e-3)) * often
    pairs = often.T @ often
    keep("trend, same sign", signs.T @ signs / pairs.clamp(min=1), pairs)
    hours = torch.cat([cohort.values, cohort.present], 2).flatten(0, 1)
    alive = cohort.alive.unsqueeze(2).expand_as(cohort.present)
    _, _, together, count = _of_columns(hours, torch.cat([here, alive], 2).flatten(0, 1))
    keep("hours, together", together, count)
    _, spread, together, count = _of_columns(left.flatten(0, 1), here.flatten(0, 1))
    keep("left, spread", torch.log(spread), count.diagonal())
    keep("left, together", together, count)
    pairs = here[:, 1:] * here[:, :-1]
    power = ((left[:, 1:] ** 2 + left[:, :-1] ** 2) / 2 * pairs).sum((0, 1))
    keep("left, next hour", (left[:, 1:] * left[:, :-1] * pairs).sum((0, 1)) / (power + 1e-3), pairs.sum((0, 1)))
    steps = cohort.present * cohort.alive.unsqueeze(2)
    stayed = (steps[:, 1:] * steps[:, :-1]).sum((0, 1)) / (steps[:, :-1].sum((0, 1)) + 1)
    keep("presence, next hour", stayed, steps.sum((0, 1)))
    count = cohort.alive.sum(0).unsqueeze(1).expand(-1, steps.shape[2])
    keep("presence, by hour", steps.sum(0) / (count + 1e-3), count)
    return Moments(numbers, weights)


def apart(made: Moments, real: Moments) -> dict[str, Tensor]:
    """Mean absolute difference of each group of moments, over those with enough real patients behind them."""
    found = {}
    for name, number in made.numbers.items():
        weight = real.weights[name] * (made.weights[name] > 0)
        found[name] = ((number - real.numbers[name]).abs() * weight).sum() / weight.sum().clamp(min=1)
    return found


def _of_columns(rows: Tensor, counted: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean [C] and spread [C] of columns, correlations [C, C] over rows where both are counted, and how many."""
    count = counted.T @ counted
    safe = count.clamp(min=1)
    kept = rows * counted
    first = (kept.T @ counted) / safe  # of the row's column, where the other is counted
    variance = ((kept * rows).T @ counted) / safe - first**2
    together = (kept.T @ kept) / safe - first * first.T
    spread = (variance.clamp(min=0) * variance.T.clamp(min=0) + 1e-6).sqrt()
    return first.diagonal(), (variance.diagonal().clamp(min=0) + 1e-4).sqrt(), together / spread, count
