"""A tree of columns with the counts of its edges, made from noisy tables: everything after the noise, so free.

Noisy counts are rough where cells hold few patients, so codes with little mass are first merged (`grouping`), the
table of an edge is drawn towards independence as far as its noise deserves (`shrunk`), and then made to agree with the
one-way counts (`fitted_to`). None of it looks at the patients again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDS = 200
_CLOSE = 1e-9


@dataclass(frozen=True, slots=True)
class Edge:
    """A column drawn given another one.

    Attributes:
        parent: column that is drawn first.
        child: column that depends on it.
        table: counts of [groups of the parent, groups of the child], not negative.
    """

    parent: int
    child: int
    table: NDArray[np.float64]


def grouping(counts: NDArray[np.float64], *, least: float, ordered: bool, alone: int) -> NDArray[np.int64]:
    """Merges codes until each group holds enough.

    Args:
        counts: of the codes, [K], not negative.
        least: what a group should hold, >= 0.
        ordered: True merges neighbours, False all rare codes together.
        alone: codes at the end that stay by themselves (the one that says missing).

    Returns:
        Group of each code, from 0 without gaps, int64 [K].

    >>> grouping(np.array([1.0, 4, 9, 1, 7]), least=5, ordered=True, alone=1).tolist()
    [0, 0, 1, 1, 2]
    """
    inner = counts[: len(counts) - alone]
    if ordered:
        groups, held, group = np.zeros(len(inner), dtype=np.int64), 0.0, 0
        for code, count in enumerate(inner):
            groups[code] = group
            held += count
            if held >= least and inner[code + 1 :].sum() >= least:
                group, held = group + 1, 0.0
    else:
        rare = inner < least
        groups = np.where(rare, 0, np.cumsum(~rare) - (0 if rare.any() else 1)).astype(np.int64)
    return np.concatenate([groups, groups.max(initial=-1) + 1 + np.arange(alone)])


def shrunk(noisy: NDArray[np.float64], independent: NDArray[np.float64], deviation: float) -> NDArray[np.float64]:
    """Draws a noisy table towards what independence expects, the more the less it stands out of its noise.

    Source: James & Stein 1961, positive part.
    """
    apart = noisy - independent
    energy = float(np.square(apart).sum())
    kept = max(0.0, 1 - apart.size * deviation**2 / energy) if energy > 0 else 0.0
    return independent + kept * apart


def fitted_to(
    table: NDArray[np.float64], rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Scales a table until its sums are the given ones: iterative proportional fitting.

    Args:
        table: counts [R, C]; negative ones become zero, and a hair of independence keeps every sum reachable.
        rows: counts [R] with the same total as `columns`.
        columns: counts [C].

    Source: Deming & Stephan 1940.
    """
    expected = np.outer(rows, columns) / rows.sum()
    table = np.maximum(table, 0.0) + 1e-6 * expected
    for _ in range(_ROUNDS):
        table = table * _ratio(columns, table.sum(axis=0))
        table = table * _ratio(rows, table.sum(axis=1))[:, None]
        if np.abs(table.sum(axis=0) - columns).max() <= _CLOSE * rows.sum():
            break
    return table


def _ratio(wanted: NDArray[np.float64], have: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(wanted, have, out=np.zeros_like(wanted), where=have > 0)


def draw(probabilities: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Draws a column of each row of [N, K] weights that are not negative and not all zero."""
    sums = np.cumsum(probabilities, axis=1)
    uniform = rng.random(len(sums)) * sums[:, -1]
    return np.minimum((sums <= uniform[:, None]).sum(axis=1), sums.shape[1] - 1)
