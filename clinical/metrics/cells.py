"""Minimum cells: what a hospital does not say about codes that few of its patients have.

The cell is counted in *patients*: ten notes of one patient are one person. Totals stay exact, so a single withheld code
could be had by subtraction; small cells are therefore never withheld alone (complementary suppression).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from clinical.metrics.blocks import Counts32
    from clinical.metrics.tally import Tally


class ByCode(Protocol):
    """Counts of one hospital that can drop the rows of a code."""

    @property
    def carriers(self) -> Counts32:
        """Distinct patients with each code, int32 [K]."""

    def without(self, codes: NDArray[np.bool_]) -> Self:
        """The same counts with the rows of some codes (bool [K]) zeroed and flagged."""


ByCodeT = TypeVar("ByCodeT", bound=ByCode)


def withhold(counts: ByCodeT, *, minimum: int) -> ByCodeT:
    """Withhold the rows of codes with small cells from one hospital's tally or histogram.

    Args:
        counts: What the hospital counted, before pooling.
        minimum: The fewest patients a shown cell may have; 1 or less withholds nothing.

    Guarantee:
        No code is shown that has 0 < patients < `minimum` at this hospital, and where any is withheld, at least two
        codes and together at least `minimum` patients are (if the hospital has them), so that exact totals less shown
        rows do not give a small cell back. Micro metrics and document-level metrics do not change.
    """
    hidden = _small_cells(counts.carriers, minimum=minimum)
    return counts.without(hidden) if hidden.any() else counts


def _small_cells(carriers: Counts32, *, minimum: int) -> NDArray[np.bool_]:
    hidden = (carriers > 0) & (carriers < minimum)
    if not hidden.any():
        return hidden
    shown = np.flatnonzero(carriers >= minimum)
    for code in shown[np.argsort(carriers[shown], kind="stable")]:
        if hidden.sum() >= 2 and carriers[hidden].sum() >= minimum:
            break
        hidden[code] = True
    return hidden


@dataclass(frozen=True, slots=True)
class Withheld:
    """How many codes of a pooled tally are incomplete.

    Attributes:
        fully: Codes of which no hospital shows a positive and at least one withheld its counts.
        partly: Codes shown by some hospitals and withheld by others; their figures are those of the former.
    """

    fully: int
    partly: int


def count_withheld(tally: Tally) -> Withheld:
    """Count the codes that hospitals withheld, fully and partly."""
    incomplete = tally.withheld > 0
    visible = tally.positives[0] > 0
    return Withheld(fully=int(np.sum(incomplete & ~visible)), partly=int(np.sum(incomplete & visible)))
