"""Counts over patients, with noise that hides any one of them: where a private generator meets the table.

A patient's rows together weigh at most one in each table of counts, so one more or one fewer patient moves D tables
together by at most the square root of D.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from privacy.release import NoisySum
from synth.account import bounded_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from synth.account import Account, Spending
    from synth.admission import Admitted
    from synth.encoding import Bins

Pair = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Release:
    """Tables of counts as they may be shown.

    Attributes:
        tables: float64 arrays of the asked shapes, flat; may be negative.
        deviation: standard deviation of the noise in every cell, in the weight of a patient.
    """

    tables: tuple[NDArray[np.float64], ...]
    deviation: float


@dataclass(frozen=True, slots=True)
class Patients:
    """A coded table whose rows belong to patients.

    Attributes:
        codes: int64 [M, columns].
        owner: patient of each row, from 0, int64 [M].
        weight: of each row; a patient's rows add up to at most one where the fit is private.
    """

    codes: NDArray[np.int64]
    owner: NDArray[np.int64]
    weight: float

    @classmethod
    def of(cls, admitted: Admitted, bins: Bins, *, rng: np.random.Generator, privacy: Account | None) -> Patients:
        """Codes a table; privately, a patient keeps only as many rows, drawn at random, as the allowance says.

        Which rows is drawn in secret: for one who knows the seed, one patient more would change the others' rows too.
        """
        codes = bins.encode(admitted.rows)
        most = privacy.allowance.patient_rows if privacy else len(codes)
        rng = np.random.default_rng(privacy.noise.words(8)) if privacy else rng
        kept, owner = bounded_rows(admitted.patients, len(codes), most=most, rng=rng)
        shared = privacy is not None and admitted.patients is not None
        return cls(codes[kept], owner, 1 / most if shared else 1.0)

    def count(self, flat: Sequence[NDArray[np.int64]], sizes: Sequence[int], spending: Spending | None) -> Release:
        """Counts the rows in the cells of several tables at once.

        Args:
            flat: for each table the cell of every row, int64 [M].
            sizes: cells of each table, public.
            spending: charged one step before anything is counted; None counts without noise.

        Guarantee:
            With `spending`, a patient moves all tables together by at most sqrt(tables), and the noise has that times
            the multiplier as its deviation: one step of the reservation.
        """
        from scipy.sparse import csr_matrix

        splits = np.cumsum(sizes)[:-1]
        if spending is None:
            whole = [np.bincount(cells, minlength=size) * self.weight for cells, size in zip(flat, sizes, strict=True)]
            return Release(tuple(whole), 0.0)
        spending.charge()
        starts = np.concatenate([[0], splits]).astype(np.int64)
        cells = np.concatenate([cells + start for cells, start in zip(flat, starts, strict=True)])
        owners = np.tile(self.owner, len(sizes))
        contributions = csr_matrix(
            (np.full(len(cells), self.weight), (owners, cells)), shape=(int(self.owner.max()) + 1, int(sum(sizes)))
        )
        mechanism = NoisySum(math.sqrt(len(sizes)), spending.multiplier)
        total = mechanism.release(contributions, spending.account.noise)
        return Release(tuple(np.split(total, splits)), mechanism.deviation)


def onto_simplex(counts: NDArray[np.float64], total: float) -> NDArray[np.float64]:
    """Returns the nearest counts that are not negative and add up to `total` > 0.

    Source: Duchi et al., "Efficient Projections onto the l1-Ball", ICML 2008, figure 1.
    """
    ordered = np.sort(counts)[::-1]
    above = (np.cumsum(ordered) - total) / np.arange(1, len(counts) + 1)
    last = np.flatnonzero(ordered > above)[-1]
    return np.maximum(counts - float(above[last]), 0.0).astype(np.float64)


def consistent(release: Release) -> list[NDArray[np.float64]]:
    """Returns one-way counts as probabilities' numerators: not negative, all with the same total of at least one.

    The total is the mean of the tables' sums, each weighted by its precision: a table of K cells sums K noises.
    """
    weights = np.array([1 / len(table) for table in release.tables])
    total = max(float(np.average([table.sum() for table in release.tables], weights=weights)), 1.0)
    return [onto_simplex(table, total) for table in release.tables]
